"""A worker and its world in memory, on virtual time: what the tests of the loops are told with."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from poller.decide.batch import BatchLimits
from poller.decide.cost import Prices
from poller.decide.filter import DEFAULT_PATTERN, compile_filter
from poller.decide.lineage import Start
from poller.decide.pacing import PacingLimits
from poller.decide.retry import Backoff, RetryLimits
from poller.events import Emit, Event
from poller.model import SHARD_END, TRIM_HORIZON, ViewType
from poller.run.buffer import Buffer
from poller.run.dead_letters import DeadLetters
from poller.run.delivery import Delivery, RouteLimits
from poller.run.follow import Follower
from poller.run.leases import LeaseKeeper, LeaseLimits
from poller.run.limiter import ThrottleLimiter
from poller.run.message import MessageBuilder
from poller.run.pace import Pace
from poller.run.ports import StreamSource
from poller.run.shard import Reading
from poller.run.sift import Sifter
from poller.run.thrift import Thrift
from poller.run.worker import Worker
from tests.memory.gates import open_gate
from tests.memory.lease_table import MemoryLeaseTable
from tests.memory.queue import MemoryLetterStore, MemoryQueue
from tests.memory.streams import MemoryStream, MemoryTables
from tests.virtual import VirtualClock

TABLE = "AnalysisMetadataTable"
COMPLETE = "FILE_UPLOAD_COMPLETE"
PRICES = Prices(0.2e-6, 0.125e-6, 0.625e-6, 0.4e-6, 0.5e-6)

E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Options:
    """What a test may want otherwise; times in seconds."""

    start: Start = field(default_factory=lambda: Start(TRIM_HORIZON))
    on_data_loss: Literal["stop", "skip"] = "stop"
    duration_s: float = 10.0
    max_leases: int | None = None
    buffer_max_bytes: int = 64 << 20
    page_limit: int = 1000
    concurrency: int = 32
    max_attempts: int = 3
    max_record_age_s: float | None = None
    batches_in_flight: int = 8
    batch_window_s: float = 0.0
    messages_per_second: float | None = None
    follows_table: bool = True
    patterns: Sequence[object] = (DEFAULT_PATTERN,)
    monthly_budget_usd: float | None = None
    checkpoint_s: float = 1.0


class Rig:
    """The table of the story with its stream, a lease table, a queue and a dead-letter queue; any number of workers."""

    def __init__(self, clock: VirtualClock, options: Options | None = None, *, queue: str = "jobs.fifo") -> None:
        self.clock = clock
        self.options = options or Options()
        self.tables = MemoryTables(clock)
        self.table = self.tables.create(TABLE, ViewType.NEW_IMAGE)
        self.leases = MemoryLeaseTable(clock)
        self.queue = MemoryQueue(queue, clock)
        self.dead_letter_queue: MemoryQueue | None = MemoryQueue("dead-letters", clock)
        self.letter_store: MemoryLetterStore | None = None
        self.events: list[Event] = []
        self.workers = 0
        self._seeds = itertools.count(1)

    @property
    def stream(self) -> MemoryStream:
        return self.table.stream

    # --- the writer ---------------------------------------------------------------------------------------------------

    def upload(self, item_id: str, revision: int = 1) -> None:
        """An upload through its phases: exactly one change to FILE_UPLOAD_COMPLETE."""
        for phase in ("FILE_UPLOAD_STARTED", COMPLETE):
            self.table.put({"id": {"S": item_id}, "phase": {"S": phase}, "revision": {"N": str(revision)}})

    def uploads(self, count: int, prefix: str = "item") -> list[str]:
        """So many new items; what the queue must hear of them, as `received` tells it."""
        for number in range(count):
            self.table.put({"id": {"S": f"{prefix}-{number}"}, "phase": {"S": "CREATED"}})
            self.upload(f"{prefix}-{number}")
        return [f"{prefix}-{number}/1" for number in range(count)]

    # --- the worker ---------------------------------------------------------------------------------------------------

    def worker(self, worker_id: str = "worker-1", options: Options | None = None, emit: Emit | None = None) -> Worker:
        """A worker, not yet running. `emit`: where its events go, instead of to `events`."""
        options, emit = options or self.options, emit or self.events.append
        clock, rng = self.clock, random.Random(next(self._seeds))
        pacing = PacingLimits(0.25, 1.0, options.page_limit)
        thrift, emit = self._thrift(options, pacing, emit)
        buffer = Buffer(options.buffer_max_bytes, stream=TABLE, clock=clock, emit=emit)
        keeper = LeaseKeeper(
            self.leases,
            LeaseLimits(options.duration_s, options.max_leases),
            worker_id=worker_id,
            stream=TABLE,
            buffer=buffer,
            clock=clock,
            emit=emit,
        )
        follower = Follower(
            self.stream.info,
            table=TABLE if options.follows_table else None,
            start=options.start,
            tables=self.tables,
            open_source=self._source,
            lease_table=self.leases,
            describe_limiter=ThrottleLimiter("describe_stream", 10, clock, emit),
            on_created=keeper.note_created,
            clock=clock,
            emit=emit,
            rng=rng,
        )
        delivery = self._delivery(options, keeper.table_failing, emit, rng)
        reading = Reading(
            stream=TABLE,
            source=follower.source,
            sifter=Sifter([compile_filter(options.patterns)]),
            routes=[delivery],
            pacing=pacing,
            backoff=Backoff(0.1, 5.0),
            on_data_loss=options.on_data_loss,
            slots=asyncio.Semaphore(options.concurrency),
            buffer=buffer,
            clock=clock,
            emit=emit,
            rng=rng,
            thrift=thrift,
        )
        self.workers += 1
        return Worker(
            follower,
            keeper,
            [delivery],
            reading,
            Pace(checkpoint_s=options.checkpoint_s, discovery_s=60.0),
            shard_limiter=lambda: ThrottleLimiter("get_records", 5, clock, emit),
            remake_table=self._remake_table,
            made_table=self.workers == 1,
            clock=clock,
            emit=emit,
            rng=rng,
        )

    def _thrift(self, options: Options, pacing: PacingLimits, emit: Emit) -> tuple[Thrift | None, Emit]:
        """The budget's keeper, and where events go if there is one."""
        if options.monthly_budget_usd is None:
            return None, emit
        thrift = Thrift(
            pacing,
            options.monthly_budget_usd,
            PRICES,
            fifo_routes=["default"],
            stream=TABLE,
            clock=self.clock,
            emit=emit,
        )

        def both(event: Event) -> None:
            emit(event)
            thrift(event)

        return thrift, both

    def _delivery(self, options: Options, held_back: Callable[[], bool], emit: Emit, rng: random.Random) -> Delivery:
        clock = self.clock
        letters = DeadLetters(
            self.dead_letter_queue,
            self.letter_store,
            stream=TABLE,
            stream_arn=self.stream.info.arn,
            route="default",
            clock=clock,
            emit=emit,
            rng=rng,
        )
        limits = RouteLimits(
            batch=BatchLimits(10, self.queue.info.message_bytes_max, options.batch_window_s),
            retry=RetryLimits(options.max_attempts, options.max_record_age_s, Backoff(0.2, 60.0)),
            in_flight_max=options.batches_in_flight,
            messages_per_second=options.messages_per_second,
        )
        builder = MessageBuilder(table=TABLE, form="record", attributes=(), fifo=self.queue.info.fifo, group_by="auto")
        return Delivery(
            "default",
            self.queue,
            builder,
            limits,
            stream=TABLE,
            dead_letters=letters,
            held_back=held_back,
            clock=clock,
            emit=emit,
            rng=rng,
        )

    async def _remake_table(self) -> None:
        self.leases.rows.clear()
        self.leases.before = open_gate

    def _source(self, arn: str) -> StreamSource:
        return next(stream for stream in self.tables.all_streams(TABLE) if stream.info.arn == arn)

    @asynccontextmanager
    async def running(self, worker: Worker | None = None) -> AsyncIterator[Worker]:
        """A worker at work; it leaves in order at the end of the block."""
        worker = worker or self.worker()
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(stop))
        try:
            yield worker
        finally:
            stop.set()
            await task

    @asynccontextmanager
    async def killed(self, worker: Worker | None = None) -> AsyncIterator[Worker]:
        """A worker at work that is gone at the end of the block, as by kill -9: it writes nothing any more."""
        worker = worker or self.worker()
        task = asyncio.create_task(worker.run(asyncio.Event()))
        try:
            yield worker
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def until(self, condition: Callable[[], bool], at_most_s: float = 120.0) -> None:
        """Waits for a condition. TimeoutError: it did not come true within so many virtual seconds."""
        async with asyncio.timeout(at_most_s):
            while not condition():  # noqa: ASYNC110 - on virtual time a look costs nothing
                await asyncio.sleep(0.01)

    # --- what is seen of it -------------------------------------------------------------------------------------------

    def received(self, queue: MemoryQueue | None = None) -> list[str]:
        """What the queue holds, in order, as item/revision."""
        return [named(json.loads(message.body)) for message in (queue or self.queue).messages]

    def said(self, kind: type[E]) -> list[E]:
        """All events of a kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def caught_up(self) -> bool:
        """Does every shard's checkpoint stand at its last record, or at its end?"""
        last = {shard.shard_id: str(shard.last) for shard in self.stream.shards}
        checkpoints = self.checkpoints()
        return all(checkpoints.get(shard_id) in (number, SHARD_END) for shard_id, number in last.items())

    def checkpoints(self) -> dict[str, str]:
        return {shard_id: row.checkpoint for shard_id, row in self.leases.rows.items()}


def named(record: dict[str, Any]) -> str:
    """A record of the story as item/revision."""
    image = record["dynamodb"]["NewImage"]
    return f"{image['id']['S']}/{image['revision']['N']}"


def by_item(received: Sequence[str]) -> dict[str, list[str]]:
    """The revisions of each item in the order in which they came."""
    items: dict[str, list[str]] = defaultdict(list)
    for name in received:
        item, _, revision = name.partition("/")
        items[item].append(revision)
    return dict(items)
