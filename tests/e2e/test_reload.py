"""SIGHUP: new filters, rates and levels while the daemon works; a bad file changes nothing."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, wait_until
from tests.standin import Remote, StandInProcess

TABLE = "Orders"
FILE = """
[stream]
table = "Orders"
[log]
level = "{level}"
[[route]]
name = "jobs"
queue = "jobs"
filter = [{filter}]
max_attempts = {attempts}
"""
UPLOADED = """'{"dynamodb": {"NewImage": {"phase": {"S": ["FILE_UPLOAD_COMPLETE"]}}}}'"""
UPLOAD = {"phase": {"S": "FILE_UPLOAD_COMPLETE"}}
REMOVED = """'{"eventName": ["REMOVE"]}'"""


@pytest.fixture
def remote() -> Iterator[Remote]:
    with StandInProcess() as remote:
        yield remote


def write(config: Path, **changes: object) -> None:
    config.write_text(FILE.format(**{"level": "info", "filter": UPLOADED, "attempts": 3, **changes}), encoding="utf-8")


def received(remote: Remote) -> list[str]:
    keys = [json.loads(arrival.body)["dynamodb"]["Keys"] for arrival in remote.arrived("jobs")]
    return [next(iter(key.values()))["S"] for key in keys]


def test_sighup_takes_over_what_can_be_and_a_bad_file_changes_nothing(remote: Remote, tmp_path: Path) -> None:
    shard = remote.stream(TABLE).shards[0]
    remote.queue("jobs")
    config = tmp_path / "poller.toml"
    write(config)
    environment = {**remote.env(), "POLLER_CONFIG": str(config), "POLLER_POLLING__IDLE_MAX": "250ms"}
    with Daemon(environment, tmp_path / "log.jsonl") as daemon:
        wait_until(lambda: bool(daemon.events("daemon_ready")), lambda: "not ready")
        remote.put(TABLE, shard, {"key": "uploaded", "new_image": UPLOAD})
        wait_until(lambda: received(remote) == ["uploaded"], lambda: str(received(remote)))

        def reload(event: str, count: int) -> dict[str, object]:
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: len(daemon.events(event)) == count, lambda: f"no {event}")
            return daemon.events(event)[-1]

        write(config, filter="'{\"eventNam\": 1}'")
        assert "filter" in str(reload("settings_refused", 1)["error"])
        remote.put(TABLE, shard, {"key": "still", "new_image": UPLOAD})
        wait_until(lambda: received(remote) == ["uploaded", "still"], lambda: str(received(remote)))

        write(config, filter=REMOVED, level="warning", attempts=5)
        config.write_text(config.read_text("utf-8") + "batch_size = 5\n", encoding="utf-8")
        write_again = config.read_text("utf-8")
        daemon.process.send_signal(signal.SIGHUP)  # from now on the log has warnings only
        wait_until(lambda: '_reloads_total{result="ok"} 1.0' in metrics(daemon), lambda: metrics(daemon))
        remote.put(TABLE, shard, {"key": "no-more", "new_image": UPLOAD})
        remote.put(TABLE, shard, {"key": "removed", "event_name": "REMOVE"})
        wait_until(lambda: received(remote)[2:] == ["removed"], lambda: str(received(remote)))

        write(config, filter="""'{"eventName": ["DELETE"]}'""", level="warning", attempts=5)
        assert str(reload("settings_doubtful", 2)["text"]).startswith(
            'the filter of route jobs wants eventName ["DELETE"]'
        )

        config.write_text(write_again.replace('"warning"', '"info"'), encoding="utf-8")
        said = reload("settings_reloaded", 1)
        assert said["applied"] == ["log.level", "route jobs.filter"]
        assert said["need_restart"] == ["route jobs.batch_size"]
        assert daemon.terminate()[0] == 0


def test_a_filter_that_can_never_match_on_this_stream_is_refused_at_work_as_at_the_start(
    remote: Remote, tmp_path: Path
) -> None:
    shard = remote.stream(TABLE, view_type="NEW_IMAGE").shards[0]
    remote.queue("jobs")
    config = tmp_path / "poller.toml"
    write(config)
    environment = {**remote.env(), "POLLER_CONFIG": str(config), "POLLER_POLLING__IDLE_MAX": "250ms"}
    with Daemon(environment, tmp_path / "log.jsonl") as daemon:
        wait_until(lambda: bool(daemon.events("lease_taken")), lambda: "not at work")
        write(config, filter="""'{"dynamodb": {"OldImage": {"phase": {"S": ["FILE_UPLOAD_COMPLETE"]}}}}'""")
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: bool(daemon.events("settings_refused")), daemon.tail)
        remote.put(TABLE, shard, {"key": "still", "new_image": UPLOAD})
        wait_until(lambda: received(remote) == ["still"], lambda: str(received(remote)))
        assert daemon.terminate()[0] == 0

    [refused] = daemon.events("settings_refused")
    assert "reads OldImage, and the stream's view type is NEW_IMAGE: it can never match" in str(refused["error"])
    assert daemon.events("settings_reloaded") == []


def test_a_filter_that_can_never_match_any_record_is_warned_of_at_the_start_and_when_it_comes(
    remote: Remote, tmp_path: Path
) -> None:
    _ = remote.stream(TABLE)
    remote.queue("jobs")
    config = tmp_path / "poller.toml"
    write(config, filter="""'{"dynamodb": {"NewImage": {"meta": {"M": {"N": ["5"]}}}}}'""")
    environment = {**remote.env(), "POLLER_CONFIG": str(config)}
    with Daemon(environment, tmp_path / "log.jsonl") as daemon:
        wait_until(lambda: bool(daemon.events("lease_taken")), lambda: "not at work")
        for count, wanted in ((1, "MODIFIED"), (2, "MODIFIED")):
            write(config, filter=f"""'{{"eventName": ["{wanted}"]}}'""", attempts=3 + count)
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: len(daemon.events("settings_reloaded")) == count, daemon.tail)  # noqa: B023
        assert daemon.terminate()[0] == 0

    at_the_start, later = [doubt["text"] for doubt in daemon.events("settings_doubtful") if "filter" in doubt["text"]]
    assert at_the_start == (
        "the filter of route jobs reads dynamodb.NewImage.meta.M.N, where no item has a value: it can never match;"
        ' put the type of the attribute around its values: {"N": {"S": [...]}}'
    )
    assert later.startswith('the filter of route jobs wants eventName ["MODIFIED"]: no record has that')


def metrics(daemon: Daemon) -> str:
    url = str(daemon.events("http_listening")[0]["url"])
    with urllib.request.urlopen(f"{url.rstrip('/')}/metrics", timeout=10) as answer:
        return str(answer.read().decode())
