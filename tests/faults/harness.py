"""The daemon's real parts before the stand-in: settings, start, boto3 adapters, worker, all over HTTP and in real time.

The daemon and the stand-in share the test's event loop, so that a test sees both and sets a fault between two calls.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from poller.assemble import assemble
from poller.events import Buffered, Event, LeaseLost, LeaseOperation, Resent
from poller.filters import compile_filters
from poller.model import SHARD_END
from poller.run.clock import SystemClock
from poller.run.traced import Tracing
from poller.run.worker import Worker
from poller.settings import Settings, load
from poller.startup import Startup
from poller.startup import World as Surroundings
from tests.standin import Fault, Queue, Shard, Stored, Stream, World

TABLE = "AnalysisMetadataTable"
LEASES = f"{TABLE}-leases"
COMPLETE = "FILE_UPLOAD_COMPLETE"
# However slow the machine: a condition that has not come true by then does not come true.
PATIENCE_S = 30.0

E = TypeVar("E", bound=Event)

# Everything soon, but for time-outs and leases: a busy machine must not be taken for a fault.
_SETTINGS = {
    "POLLER_TABLE": TABLE,
    "POLLER_QUEUE": "jobs",
    "POLLER_DEAD_LETTER_QUEUE": "dead-letters",
    "POLLER_WORKER_ID": "worker-1",
    "POLLER_LEASE__DISCOVERY_INTERVAL": "1s",
    "POLLER_POLLING__IDLE_MIN": "50ms",
    "POLLER_POLLING__IDLE_MAX": "100ms",
    "POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD": "10",
    "POLLER_CHECKPOINT__INTERVAL": "50ms",
}
# For tests in which somebody never answers: a short lease, and time-outs well below a third of it.
HASTY = {
    "POLLER_LEASE__DURATION": "2s",
    "POLLER_AWS__REQUEST_TIMEOUT": "200ms",
    "POLLER_AWS__CONNECT_TIMEOUT": "200ms",
}
# For tests that wait until a lease is over.
BRIEF = {**HASTY, "POLLER_LEASE__DURATION": "1200ms"}


class Site:
    """The table of the story with one open shard, a queue and a dead-letter queue; the daemon's settings and events.

    `settings` are POLLER_* variables on top of the harness's own; a test adds to them before it starts a worker. With
    `config`, a file has the rest, and routes of its own. `clean` says of each worker that has left whether everything
    in flight was settled.
    """

    def __init__(self, world: World, **settings: str) -> None:
        self.world = world
        self.settings = settings
        self.config: Path | None = None
        self.tracing: Tracing | None = None
        self.stream: Stream = world.stream(TABLE)
        self.shard: Shard = self.stream.add_shard()
        self.queue: Queue = world.queue("jobs")
        self.dead_letters: Queue = world.queue("dead-letters")
        self.events: list[Event] = []
        self.clean: list[bool] = []
        self._tasks: list[asyncio.Task[bool]] = []

    # --- the writer ---------------------------------------------------------------------------------------------------

    def upload(self, item: str, revision: int = 1, *, shard: Shard | None = None, **image: Mapping[str, Any]) -> Stored:
        """One change that must be heard of, after one of the same item that must not."""
        shard = shard or self.shard
        number = {"N": str(revision)}
        shard.put(item, new_image={"phase": {"S": "FILE_UPLOAD_STARTED"}, "revision": number})
        return shard.put(item, new_image={"phase": {"S": COMPLETE}, "revision": number, **image})

    def uploads(self, revisions: int, *items: str, first: int = 1, shard: Shard | None = None) -> list[str]:
        """So many changes of each item (a, b and c if none is named); what the queue must hear, as `received` says."""
        names = []
        for revision in range(first, first + revisions):
            for item in items or ("a", "b", "c"):
                self.upload(item, revision, shard=shard)
                names.append(f"{item}/{revision}")
        return names

    def fault(self, fault: Fault) -> Fault:
        return self.world.faults.add(fault)

    def mend(self, *faults: Fault) -> None:
        for fault in faults:
            self.world.faults.remove(fault)

    # --- the daemon ---------------------------------------------------------------------------------------------------

    def load(self, **settings: str) -> Settings:
        """The settings in force, short of those that are empty, and of the only route's where a file has its own."""
        environ = {name: value for name, value in {**_SETTINGS, **self.settings, **settings}.items() if value}
        if self.config is not None:
            environ = {name: value for name, value in environ.items() if name not in _OF_THE_ROUTE}
        return load(environ, self.config)

    @asynccontextmanager
    async def running(self, **settings: str) -> AsyncIterator[Worker]:
        """A worker, found, assembled and at work; it leaves in order at the end of the block."""
        async with self._started(settings) as worker:
            stop = asyncio.Event()
            task = asyncio.create_task(worker.run(stop))
            self._tasks.append(task)
            try:
                yield worker
            finally:
                stop.set()
                self.clean.append(await task)

    @asynccontextmanager
    async def _started(self, settings: Mapping[str, str]) -> AsyncIterator[Worker]:
        loaded = self.load(**settings)
        surroundings = Surroundings(SystemClock(), self.events.append, random.Random(7), self.tracing)
        startup = Startup(loaded, surroundings)
        try:
            async with asyncio.timeout(PATIENCE_S):
                found = await startup.find(compile_filters(loaded))
            yield assemble(loaded, found, surroundings, loaded.lease.worker_id).worker
        finally:
            startup.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition; fails if it has not come true in all patience, or if a worker has ended by itself."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while not condition():
            for task in self._tasks:
                if task.done() and task.exception() is not None:
                    task.result()
            if loop.time() > deadline:
                raise AssertionError(f"waited {PATIENCE_S:g} s in vain; {self._state()}")
            await asyncio.sleep(0.01)

    async def until_received(self, expected: Sequence[str], queue: Queue | None = None) -> None:
        """Waits until the queue has heard of each of these at least once."""
        await self.until(lambda: set(expected) <= set(self.received(queue)))

    async def until_settled(self) -> None:
        """Waits until every shard's checkpoint stands at its last record, or at its end."""
        await self.until(self.settled)

    def _state(self) -> str:
        rows = {key: row.get("checkpoint", {}).get("S") for key, row in self.rows().items()}
        loud = [str(event) for event in self.events if event.level not in (None, "debug")]
        return f"received {len(self.queue.arrived)}, rows {rows}, calls {self.world.calls.counts()}, said {loud[-12:]}"

    # --- what is seen of it -------------------------------------------------------------------------------------------

    def received(self, queue: Queue | None = None) -> list[str]:
        """What the queue holds, in order, as item/revision."""
        return [named(json.loads(body)) for body in (queue or self.queue).bodies]

    def renewals(self) -> int:
        """How many leases have been renewed so far, checkpoints not counted."""
        return sum(1 for event in self.said(LeaseOperation) if (event.operation, event.result) == ("renew", "ok"))

    def said(self, kind: type[E]) -> list[E]:
        """All events of a kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def heard_once(self, expected: Sequence[str], queue: Queue | None = None) -> bool:
        """Did the queue hear of each of these and of nothing else, item by item in order, and never twice unexplained?

        A message may be there twice where the daemon says so: its answer was lost, or the lease that it was sent under.
        """
        received = self.received(queue)
        twice = len(received) - len(set(received))
        explained = self.said(LeaseLost) or twice <= sum(event.count for event in self.said(Resent))
        return set(received) == set(expected) and in_order(received) and bool(explained)

    def rows(self) -> dict[str, dict[str, Any]]:
        """The lease table's items by shard id; none before there is a table."""
        table = self.world.tables.get(LEASES)
        return {} if table is None else table.items

    def row(self, shard: Shard | None = None) -> dict[str, Any]:
        return self.rows()[(shard or self.shard).shard_id]

    def checkpoint(self, shard: Shard | None = None) -> str | None:
        """None while the shard has no row."""
        row = self.rows().get((shard or self.shard).shard_id)
        return None if row is None else str(row["checkpoint"]["S"])

    def passed(self, stored: Stored) -> bool:
        """Has the checkpoint of the one shard reached this record?"""
        checkpoint = self.checkpoint() or ""
        return checkpoint == SHARD_END or (checkpoint.isdigit() and int(checkpoint) >= int(stored.sequence_number))

    def finished(self, shard: Shard | None = None) -> bool:
        return self.checkpoint(shard) == SHARD_END

    def settled(self, stream: Stream | None = None) -> bool:
        """Does every shard's checkpoint stand at its last record, or at its end?"""
        shards = (stream or self.stream).shards.values()
        return all(self._settled(shard) for shard in shards if shard.log.end > shard.log.trimmed)

    def _settled(self, shard: Shard) -> bool:
        checkpoint = self.checkpoint(shard) or ""
        if not checkpoint.isdigit():
            return checkpoint == SHARD_END
        return shard.log.index_at_or_after(int(checkpoint) + 1) == shard.log.end

    def buffered_bytes_most(self) -> int:
        """The most that was ever reported as read and not settled."""
        return max((event.size_bytes for event in self.said(Buffered)), default=0)


_OF_THE_ROUTE = {"POLLER_QUEUE", "POLLER_DEAD_LETTER_QUEUE"}


def named(record: dict[str, Any]) -> str:
    """A record of the story as item/revision."""
    image = record["dynamodb"]["NewImage"]
    return f"{image['analysisRequestId']['S']}/{image['revision']['N']}"


def by_item(received: Sequence[str]) -> dict[str, list[int]]:
    """The revisions of each item in the order in which they came, each where it came first."""
    items: dict[str, list[int]] = defaultdict(list)
    for name in dict.fromkeys(received):
        item, _, revision = name.rpartition("/")
        items[item].append(int(revision))
    return dict(items)


def in_order(received: Sequence[str]) -> bool:
    """Did the changes of every item come in their order, first deliveries counted?"""
    return all(revisions == sorted(revisions) for revisions in by_item(received).values())
