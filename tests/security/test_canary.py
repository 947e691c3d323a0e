"""A string that stands in keys, images, credentials and whatever the services quote of them is seen nowhere."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from poller.errors import ConfigurationError
from poller.settings import load
from tests.e2e.daemon import Daemon, wait_until
from tests.standin import Fault, Kind
from tests.standin.remote import Remote, StandInProcess

TABLE = "AnalysisMetadataTable"
CANARY = "KanarienVogel"
SPELLINGS = (CANARY.lower(), base64.b64encode(CANARY.encode()).decode().rstrip("=")[:-1].lower(), CANARY.encode().hex())
QUOTED = f"Value '{CANARY}' is not good, {{'S': '{CANARY}'}}, said {CANARY}: x-amz-security-token:{CANARY}"
SECRETS = {
    "AWS_ACCESS_KEY_ID": f"AKIA{CANARY}",
    "AWS_SECRET_ACCESS_KEY": f"secret{CANARY}",
    "AWS_SESSION_TOKEN": f"token{CANARY}",
}
# What a service, or something before it, may say of a call while quoting what it was asked, or with what credentials.
FAULTS = (
    Fault(operation="GetRecords", message=QUOTED, times=1),
    Fault(operation="GetRecords", code=f"<{CANARY}>", status=400, message=QUOTED, times=1),
    Fault(Kind.TRUNCATED, operation="GetRecords", times=1),
    Fault(Kind.HALF, operation="GetRecords", times=1),
    Fault(operation="GetRecords", code="IncompleteSignature", status=400, message=QUOTED, times=1),
    Fault(operation="UpdateItem", code="SignatureDoesNotMatch", status=403, message=QUOTED, times=1, skip=2),
    Fault(operation="SendMessageBatch", message=QUOTED, times=1),
    Fault(operation="SendMessageBatch", code="InvalidParameterValue", status=400, message=QUOTED, times=1, skip=1),
    Fault(operation="SendMessageBatch", code="AccessDenied", status=403, message=QUOTED, times=1, skip=1),
    Fault(operation="SendMessageBatch", code=f"not {CANARY}", status=403, message=QUOTED, times=1, skip=1),
    Fault(Kind.HALF_RESET, operation="SendMessageBatch", times=1, skip=1),
)


def seen_in(text: str) -> bool:
    return any(spelling in text.lower() for spelling in SPELLINGS)


@pytest.fixture
def remote() -> Iterator[Remote]:
    with StandInProcess() as remote:
        yield remote


def records(count: int) -> list[dict[str, object]]:
    """Changes that are wanted, the canary in key, value and name."""
    phase = {"phase": {"S": "FILE_UPLOAD_COMPLETE"}}
    odd = {"N": f"{CANARY}"}  # a number that is none, as no table holds it
    return [
        {"key": f"{CANARY}-{number}", "new_image": {**phase, CANARY: {"S": CANARY}, "odd": odd}}
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("calls", "arguments"),
    [("direct", ()), ("boto3", ()), ("direct", ("--processes", "2"))],
    ids=["direct", "boto3", "processes"],
)
def test_no_content_and_no_secret_is_told_at_any_level(
    remote: Remote, tmp_path: Path, calls: str, arguments: tuple[str, ...]
) -> None:
    shard = remote.stream(TABLE).shards[0]
    remote.queue("jobs")
    remote.queue("letters")
    remote.refuse("jobs", contains=f"{CANARY}-3", sender_fault=True, code="InvalidMessageContents")
    remote.refuse("jobs", contains=f"{CANARY}-4", times=1)
    remote.refuse("letters", contains=f"{CANARY}-3", times=1)
    for fault in FAULTS:
        remote.fault(fault)
    environment = (
        remote.env()
        | SECRETS
        | {
            "POLLER_TABLE": TABLE,
            "POLLER_QUEUE": "jobs",
            "POLLER_DEAD_LETTER_QUEUE": "letters",
            "POLLER_LOG_LEVEL": "debug",
            "POLLER_AWS__CALLS": calls,
            "POLLER_POLLING__IDLE_MAX": "250ms",
        }
    )
    told = []
    with Daemon(environment, tmp_path / "log", arguments) as daemon:
        for _ in range(4):
            remote.put(TABLE, shard, *records(8))
            wait_until(lambda: len(remote.arrived("jobs")) >= 7, daemon.tail)
            told += [daemon.get(page) for page in ("/metrics", "/status", "/livez", "/")]
        wait_until(lambda: len(remote.arrived("letters")) >= 4, daemon.tail)
        wait_until(lambda: len({one.body for one in remote.arrived("jobs")}) >= 28, daemon.tail)
        told += [daemon.get(page) for page in ("/metrics", "/status")]
        assert daemon.terminate()[0] == 0
    told.append(daemon.log.read_text())
    told.append(json.dumps(remote.rows(f"{TABLE}-leases")))
    told += [json.dumps(letter.attributes) for letter in remote.arrived("letters")]

    assert all(CANARY in one.body for one in (*remote.arrived("jobs"), *remote.arrived("letters")))
    assert {"send_failed", "read_failing", "dead_lettered"} <= {event["event"] for event in daemon.events()}
    assert [text for text in told if seen_in(text)] == []


def test_a_defect_shows_its_places_and_no_errors_text() -> None:
    program = f"""if True:
        import threading
        from poller.observe.log import hide_texts_of_errors
        hide_texts_of_errors()

        def fail():
            raise ValueError({CANARY!r})

        class Unraisable:
            def __del__(self):
                fail()

        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        Unraisable()
        try:
            fail()
        except ValueError as error:
            raise RuntimeError({CANARY!r}) from error
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert not seen_in(done.stdout + done.stderr)
    assert [line for line in done.stderr.splitlines() if line.startswith("poller: ")] == [
        "poller: a defect: ValueError",
        "poller: a defect: ValueError",
        "poller: a defect: RuntimeError, from ValueError",
    ]
    assert "fail" in done.stderr


@pytest.mark.parametrize(
    "setting",
    [
        {"POLLER_QUEUE": f"https://user:{CANARY}@sqs.eu-west-1.amazonaws.com/1/jobs\n"},
        {"POLLER_QUEUE": "jobs", "POLLER_DEAD_LETTER_QUEUE": f"https://{CANARY}@host/a b"},
    ],
)
def test_a_password_in_a_setting_that_is_refused_is_not_told(setting: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load({"POLLER_TABLE": TABLE, **setting}, None)
    assert not seen_in(str(refused.value))
