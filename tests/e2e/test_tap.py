"""`poller tap` as a user types it: which records are shown, what of them, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Self

import pytest

from tests.e2e.command import Ended, endpoints, poller_inside
from tests.e2e.daemon import DEADLINE_S
from tests.e2e.story import CREDENTIALS, Mailbox, Table, dynamodb, sqs
from tests.standin import Shard, World
from tests.standin.world import credentials

ROOT = Path(__file__).resolve().parents[2]
TABLE = "AnalysisMetadataTable"
SETTINGS = {"POLLER_TABLE": TABLE, "POLLER_QUEUE": "jobs"}
SOON = ("--requests-per-second", "100")


class Site:
    """The stand-in with a stream of one shard, and the command before it. There is no queue, and none is needed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stream = world.stream(TABLE)
        self.shard = self.stream.add_shard()

    def environment(self, **settings: str) -> dict[str, str]:
        return {**credentials("us-east-1", "test"), "AWS_ENDPOINT_URL": self.world.url, **SETTINGS, **settings}

    async def tap(self, *arguments: str, **settings: str) -> Ended:
        return await asyncio.to_thread(
            poller_inside, "tap", *SOON, *arguments, environment=self.environment(**settings)
        )

    def put(self, item: str, phase: str, shard: Shard | None = None) -> str:
        image = {"phase": {"S": phase}, "secret": {"S": "hush"}}
        return (shard or self.shard).put(item, new_image=image).sequence_number


@pytest.fixture
async def site(world: World) -> Site:
    return Site(world)


class Tapping:
    """A tap as a process of its own, for as long as the block lasts."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "poller", "tap", *SOON, *arguments],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self.out, self.err):
            pipe.close()
        self._process.wait()

    @property
    def out(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def err(self) -> IO[str]:
        assert self._process.stderr is not None
        return self._process.stderr

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self) -> int:
        return self._process.wait(DEADLINE_S)


async def test_each_record_is_a_line_with_its_keys_and_what_the_filter_says(site: Site) -> None:
    first, second = site.put("a", "CREATED"), site.put("b", "FILE_UPLOAD_COMPLETE")
    ended = await site.tap("--from", "TRIM_HORIZON", "--limit", "2")

    assert ended.code == 0
    assert [line.split("  ")[1:] for line in ended.lines] == [
        [
            "MODIFY",
            site.shard.shard_id,
            first,
            "analysisRequestId=a",
            'dropped by default: dynamodb.NewImage.phase.S wanted ["FILE_UPLOAD_COMPLETE"]',
        ],
        ["MODIFY", site.shard.shard_id, second, "analysisRequestId=b", "matched default"],
    ]
    assert ended.err.splitlines() == [
        (
            f"poller: reads {TABLE}'s stream beside the daemon: a shard allows two readers at a time, and this is one"
            " of them, with at most 100 requests a second and shard"
        ),
        "poller: 2 read, 1 matched, 1 dropped, 2 shown",
    ]
    assert not any(site.world.count(name) for name in ("SendMessageBatch", "PutItem", "UpdateItem"))


@pytest.mark.parametrize(("option", "items"), [("--matched", ["b"]), ("--dropped", ["a", "c"])])
async def test_only_the_matched_or_only_the_dropped(site: Site, option: str, items: list[str]) -> None:
    for item, phase in (("a", "CREATED"), ("b", "FILE_UPLOAD_COMPLETE"), ("c", "ANALYSED")):
        site.put(item, phase)
    ended = await site.tap("--from", "TRIM_HORIZON", option, "--limit", str(len(items)), "--json")
    records = [json.loads(line) for line in ended.lines]

    assert [record["keys"]["analysisRequestId"]["S"] for record in records] == items
    assert [record["matched"] for record in records] == [["default"] if option == "--matched" else []] * len(items)


async def test_content_is_shown_only_when_it_is_asked_for(site: Site) -> None:
    site.put("a", "CREATED")
    for form in ((), ("--json",)):
        without = await site.tap("--from", "TRIM_HORIZON", "--limit", "1", *form)
        assert "hush" not in without.out
        assert "CREATED" not in without.out
        with_images = await site.tap("--from", "TRIM_HORIZON", "--limit", "1", "--images", *form)
        assert "hush" in with_images.out
        assert "CREATED" in with_images.out


async def test_the_reason_is_that_of_the_pattern_that_came_nearest_and_of_what_did_not_change(site: Site) -> None:
    patterns = [{"eventName": ["INSERT"], "awsRegion": ["mars"]}, {"dynamodb": {"NewImage": {"phase": {"S": ["A"]}}}}]
    site.put("a", "CREATED")
    ended = await site.tap("--from", "TRIM_HORIZON", "--limit", "1", "--json", POLLER_FILTER=json.dumps(patterns))

    assert json.loads(ended.out)["reasons"] == [
        {"route": "default", "path": "dynamodb.NewImage.phase.S", "wanted": '["A"]'}
    ]


async def test_a_record_that_cannot_be_understood_is_shown_as_the_dead_letter_that_it_becomes(site: Site) -> None:
    site.shard.put_raw(
        lambda number: b'{"eventName": "MODIFY", "dynamodb": {"SequenceNumber": "%s"}}' % number.encode()
    )
    ended = await site.tap("--from", "TRIM_HORIZON", "--limit", "1", POLLER_FILTER="{}")

    assert ended.code == 0
    assert "DEAD LETTER for default: " in ended.out


async def test_it_begins_with_what_comes_and_follows_shards_until_ctrl_c(site: Site) -> None:
    site.put("before", "CREATED")
    with Tapping(site.environment()) as tapping:
        async with asyncio.timeout(DEADLINE_S):
            while not site.world.count("GetRecords"):  # noqa: ASYNC110 - another process is to do it
                await asyncio.sleep(0.02)
        site.put("a", "CREATED")
        first = await asyncio.to_thread(tapping.out.readline)
        site.put("b", "CREATED", site.stream.roll(site.shard))
        second = await asyncio.to_thread(tapping.out.readline)
        code = await asyncio.to_thread(tapping.interrupt)
        err = tapping.err.read()

    assert code == 0
    assert "analysisRequestId=a" in first
    assert "analysisRequestId=b" in second
    assert err.splitlines()[1:] == ["poller: 2 read, 0 matched, 2 dropped, 2 shown"]


async def test_a_reader_that_has_what_it_wanted_ends_it_quietly(site: Site) -> None:
    for number in range(2_000):
        site.put(f"item-{number}", "CREATED")
    with Tapping(site.environment(), "--from", "TRIM_HORIZON") as tapping:
        assert "analysisRequestId=item-0" in await asyncio.to_thread(tapping.out.readline)
        tapping.out.close()
        code = await asyncio.to_thread(tapping.ended)
        err = tapping.err.read()

    assert code == 0
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


async def test_a_stream_that_has_ended_ends_it(site: Site) -> None:
    site.put("a", "CREATED")
    site.stream.disable()
    ended = await site.tap("--from", "TRIM_HORIZON")

    assert (ended.code, len(ended.lines)) == (0, 1)
    assert "poller: the stream has ended: no shard follows those that were read" in ended.err


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--from", "yesterday"), "must be TRIM_HORIZON, LATEST or a time such as"),
        (("--limit", "0"), "0 is not in the range x>=1"),
        (("--route", "other"), "there is no such route; there are: default"),
    ],
)
def test_wrong_usage_ends_with_exit_code_2(arguments: tuple[str, ...], fault: str) -> None:
    ended = poller_inside("tap", *arguments, environment=SETTINGS)

    assert (ended.code, ended.out) == (2, "")
    assert fault in ended.err


def test_its_help_has_examples() -> None:
    assert "  poller tap --dropped --limit 20" in poller_inside("tap", "--help", environment={}).out


@pytest.mark.real
def test_on_real_servers_records_are_shown_as_they_pass(
    dynamodb_local: str, elasticmq: str, unique: Callable[[str], str]
) -> None:
    table = Table(dynamodb(dynamodb_local), unique("Uploads"))
    jobs = Mailbox(sqs(elasticmq), unique("jobs"))
    own = {"POLLER_TABLE": table.name, "POLLER_QUEUE": jobs.name}
    environment = {**CREDENTIALS, **endpoints(dynamodb_local, elasticmq), **own}
    table.uploads(["a"])
    with Tapping(environment, "--from", "TRIM_HORIZON", "--json") as tapping:
        shown: list[dict[str, Any]] = [json.loads(tapping.out.readline()) for _ in range(4)]
        table.put("b", "FILE_UPLOAD_COMPLETE", 1)
        shown.append(json.loads(tapping.out.readline()))
        code = tapping.interrupt()
        err = tapping.err.read()

    assert code == 0
    assert [record["keys"]["analysisRequestId"]["S"] for record in shown] == ["a", "a", "a", "a", "b"]
    assert [record["matched"] for record in shown] == [[], [], ["default"], [], []]
    assert err.splitlines()[-1] == "poller: 5 read, 1 matched, 4 dropped, 5 shown"
