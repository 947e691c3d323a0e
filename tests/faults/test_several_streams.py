"""Two applications in one process: a defect of one is begun again, and nothing of the other is touched.

They share an event loop with the test and the stand-in, so that a test can put a defect into one of them.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from poller import startup as opening
from poller.application import Application, Muster
from poller.assemble import Assembled, assemble
from poller.aws.session import Aws
from poller.errors import ConfigurationError
from poller.events import (
    DaemonReady,
    Event,
    LeaseTaken,
    ShardStopped,
    StartupContinued,
    StartupFailed,
    StartupWaiting,
    StreamUnsuited,
    TaskFailed,
)
from poller.filters import compile_filters
from poller.model import ViewType
from poller.run.clock import SystemClock
from poller.run.worker import Worker
from poller.settings import Settings, load_all
from poller.startup import Found, Startup
from poller.startup import World as Surroundings
from tests.faults.harness import PATIENCE_S
from tests.standin import Fault, Shard, World
from tests.virtual import VirtualClock, run

WELL, ILL = "Well", "Ill"
SETTINGS = {
    "POLLER_LEASE__DISCOVERY_INTERVAL": "1s",
    "POLLER_POLLING__IDLE_MIN": "50ms",
    "POLLER_POLLING__IDLE_MAX": "100ms",
    "POLLER_CHECKPOINT__INTERVAL": "50ms",
}


class Process:
    """Two applications, their tables and queues, and what has been said of them."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.events: list[Event] = []
        self.shards: dict[str, Shard] = {}
        for table in (WELL, ILL):
            self.shards[table] = world.stream(table).add_shard()
            world.queue(f"{table}-jobs")
            path = folder / f"{table}.toml"
            path.write_text(f'[stream]\ntable = "{table}"\n[[route]]\nqueue = "{table}-jobs"\n', "utf-8")
        self.settings = load_all(SETTINGS, [folder / f"{table}.toml" for table in (WELL, ILL)])
        self._stop = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[list[asyncio.Task[bool]]]:
        """Both at work until the end of the block; what one of them raises is raised there."""
        muster = Muster((WELL, ILL))

        def emit(event: Event) -> None:
            self.events.append(event)
            muster(event)

        surroundings = Surroundings(SystemClock(), emit, random.Random(7))
        tasks = [
            asyncio.create_task(
                Application(one, compile_filters(one), surroundings, muster, stop=self._stop, worker_id="me").run()
            )
            for one in self.settings
        ]
        try:
            yield tasks
        finally:
            self._stop.set()
            await asyncio.gather(*tasks)

    def upload(self, table: str, item: str) -> None:
        self.shards[table].put(item, new_image={"phase": {"S": "FILE_UPLOAD_COMPLETE"}})

    def received(self, table: str) -> list[str]:
        records = (json.loads(body) for body in self.world.queue(f"{table}-jobs").bodies)
        return [record["dynamodb"]["Keys"]["analysisRequestId"]["S"] for record in records]

    def said(self, kind: type[Event], table: str) -> list[Any]:
        return [one for one in self.events if isinstance(one, kind) and getattr(one, "stream", None) == table]

    async def until(self, condition: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while not condition():
            if loop.time() > deadline:
                raise AssertionError(f"waited {PATIENCE_S:g} s in vain; said {self.events[-12:]}")
            await asyncio.sleep(0.01)


@pytest.fixture
def process(world: World, aws_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Process:
    monkeypatch.setenv("AWS_ENDPOINT_URL", world.url)
    return Process(world, tmp_path)


class Defective:
    """A worker with a defect."""

    async def run(self, stop: asyncio.Event) -> bool:
        raise KeyError("a defect")


async def test_a_defect_of_one_worker_begins_it_again_and_touches_no_other(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def once_defective(settings: Settings, found: Found, world: Surroundings, worker_id: str) -> Assembled:
        built.append(found.stream.table)
        first = found.stream.table == ILL and built.count(ILL) == 1
        assembled = assemble(settings, found, world, worker_id)
        return replace(assembled, worker=cast("Worker", Defective())) if first else assembled

    monkeypatch.setattr("poller.application.assemble", once_defective)
    process.upload(WELL, "a")
    process.upload(ILL, "b")
    async with process.running():
        await process.until(lambda: process.received(ILL) == ["b"])

    assert [(failed.task, failed.error.split(" in ")[0]) for failed in process.said(TaskFailed, ILL)] == [
        ("worker", "KeyError")
    ]
    assert (built.count(WELL), built.count(ILL)) == (1, 2)
    assert (process.said(TaskFailed, WELL), process.received(WELL)) == ([], ["a"])
    assert len(process.said(LeaseTaken, WELL)) == len(process.said(ShardStopped, WELL)) == 1


async def test_a_stream_that_lacks_images_is_said_of_the_one_that_reads_it_which_goes_on(process: Process) -> None:
    async with process.running():
        await process.until(lambda: process.said(LeaseTaken, ILL) != [] and process.said(LeaseTaken, WELL) != [])
        new = process.world.replace_stream(ILL, ViewType.KEYS_ONLY)
        await process.until(lambda: process.said(StreamUnsuited, ILL) != [])

    (unsuited,) = process.said(StreamUnsuited, ILL)
    assert unsuited.stream_arn == new.arn
    assert "reads NewImage, and the stream's view type is KEYS_ONLY: it can never match" in unsuited.error
    assert process.said(StreamUnsuited, WELL) == process.said(TaskFailed, ILL) == []


async def test_a_defect_of_one_start_while_the_other_is_at_work_is_begun_again(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = Startup.find, []

    async def once_defective(self: Startup, *arguments: Any) -> Found:
        found = await real(self, *arguments)
        if found.stream.table == ILL:
            tries.append(ILL)
            if len(tries) == 1:
                await process.until(lambda: bool(process.said(LeaseTaken, WELL)))
                raise KeyError("a defect")
        return found

    monkeypatch.setattr(Startup, "find", once_defective)
    process.upload(ILL, "b")
    async with process.running():
        await process.until(lambda: process.received(ILL) == ["b"])

    assert [failed.task for failed in process.said(TaskFailed, ILL)] == ["start"]
    assert process.said(TaskFailed, WELL) == []


async def test_neither_begins_before_both_have_seen_what_their_settings_name(process: Process) -> None:
    process.world.faults.add(Fault.internal(operation="GetQueueUrl", queue=f"{ILL}-jobs", delay_s=0.3, times=1))
    async with process.running():
        await process.until(lambda: bool(process.said(DaemonReady, ILL)))

    kinds = [type(event) for event in process.events if isinstance(event, StartupWaiting | DaemonReady)]
    # The first one waits until it is known that the other one waits, and then no longer.
    assert kinds == [StartupWaiting, DaemonReady, DaemonReady]
    assert process.said(DaemonReady, WELL) == [next(event for event in process.events if type(event) is DaemonReady)]


async def test_what_is_wrong_with_one_is_raised_while_the_other_one_only_waits(process: Process) -> None:
    del process.world.queues[f"{ILL}-jobs"]
    process.world.faults.add(Fault.internal(operation="DescribeTable", table=WELL))
    with pytest.raises(ConfigurationError, match=r"^route\.queue = \"Ill-jobs\" \(.*Ill\.toml, line 4\): there is no"):
        async with process.running() as tasks:
            await asyncio.wait(tasks, timeout=PATIENCE_S, return_when=asyncio.FIRST_EXCEPTION)

    assert process.said(StartupFailed, ILL) == []
    assert process.world.count("CreateTable") == 0


async def test_of_a_start_that_has_failed_nothing_goes_on_asking(process: Process) -> None:
    del process.world.tables[ILL]
    process.world.faults.add(Fault.internal(operation="GetQueueUrl", queue=f"{ILL}-jobs"))
    (settings,) = [one for one in process.settings if one.stream.table_name == ILL]
    startup = Startup(settings, Surroundings(SystemClock(), process.events.append, random.Random(7)))
    before = asyncio.all_tasks()
    with pytest.raises(ConfigurationError, match="there is no such thing"):
        await startup.find(compile_filters(settings))
    startup.close()

    assert asyncio.all_tasks() == before


async def test_a_start_that_hangs_for_credentials_says_so_once_and_when_it_goes_on(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, open_aws = asyncio.Event(), opening.open_aws

    def emit(event: Event) -> None:
        process.events.append(event)
        if isinstance(event, StartupWaiting):
            told.set()

    async def hang_first(settings: Settings, world: Surroundings) -> Aws:
        await told.wait()
        return await open_aws(settings, world)

    monkeypatch.setattr(opening, "open_aws", hang_first)
    monkeypatch.setattr(opening, "_SILENCE_S", 0.01)
    (settings,) = [one for one in process.settings if one.stream.table_name == WELL]
    startup = Startup(settings, Surroundings(SystemClock(), emit, random.Random(7)))
    async with asyncio.timeout(PATIENCE_S):
        await startup.find(compile_filters(settings))
    startup.close()

    said = [one for one in process.events if isinstance(one, StartupWaiting | StartupContinued | DaemonReady)]
    assert [type(one) for one in said] == [StartupWaiting, StartupContinued, DaemonReady]
    assert "credentials" in str(said[0])


# --- the muster -------------------------------------------------------------------------------------------------------


async def test_the_muster_waits_for_all_and_for_nobody_who_waits_himself() -> None:
    muster = Muster(("a", "b", "c"))
    first = asyncio.create_task(muster.wait("a"))
    await asyncio.sleep(0)
    muster(StartupWaiting(stream="b", what="stream", error="no answer", retry_in_s=1.0))
    await asyncio.sleep(0)
    assert (first.done(), muster.others_at_work("b")) == (False, False)
    await asyncio.gather(muster.wait("c"), first)

    assert muster.others_at_work("b")


async def test_the_muster_of_one_waits_for_nothing_and_touches_nobody() -> None:
    muster = Muster(("a",))
    await muster.wait("a")

    assert (muster.several, muster.others_at_work("a")) == (False, False)


def test_the_muster_waits_for_nobody_for_ever() -> None:
    async def main(clock: VirtualClock) -> float:
        muster, began = Muster(("a", "b")), clock.monotonic()
        await muster.wait("a")
        assert muster.others_at_work("b")
        return clock.monotonic() - began

    assert run(main, at_most_s=60.0) < 10.0
