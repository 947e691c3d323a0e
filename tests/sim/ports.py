"""The poller's ports as one simulated process sees them: its links before the shared world in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from poller.errors import NotFound
from poller.model import (
    Accepted,
    EntryOutcome,
    Lease,
    Message,
    Page,
    Position,
    QueueInfo,
    Refused,
    Shard,
    ShardPage,
    StreamInfo,
)
from tests.memory.gates import fault
from tests.memory.queue import MemoryQueue
from tests.memory.streams import MemoryStream
from tests.sim.host import Host
from tests.sim.ledger import Sending
from tests.sim.network import REQUEST_TIMEOUT_S
from tests.sim.themes import NEVER

T = TypeVar("T")


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """What the world in memory answers; with its gates open it waits for nothing."""
    try:
        call.send(None)
    except StopIteration as answer:
        value: T = answer.value
        return value
    raise AssertionError("the world in memory has waited")


class SimLeaseTable:
    """`poller.run.ports.LeaseTable` of one process."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._world = host.world
        self._table = host.world.leases
        self._link = host.leases

    async def list(self) -> Sequence[Lease]:
        """As a Scan does it: page by page, at different moments."""
        self._host.looked_s = self._world.now_s
        leases: list[Lease] = []
        after = ""
        self._link.slow_scan = self._link.knobs.slow_scan_s != NEVER and self._link.rng.random() < 0.5
        page = self._host.world.knobs.scan_page or self._link.rng.choice((2, 1000, 1000))
        while True:
            part = await self._link.request("Scan", "leases", self._page(after, page))
            leases += part
            if len(part) < page:
                return leases
            after = part[-1].shard_id

    def _page(self, after: str, page: int) -> Callable[[], Sequence[Lease]]:
        def effect() -> Sequence[Lease]:
            self._there("Scan")
            return [self._table.rows[name] for name in sorted(self._table.rows) if name > after][:page]

        return effect

    async def read(self, shard_id: str) -> Lease | None:
        def effect() -> Lease | None:
            self._there("GetItem")
            self._world.on_row_request(self._host, "read")
            self._world.on_row_read(self._host)
            return self._table.rows.get(shard_id)

        return await self._link.request("GetItem", shard_id, effect)

    async def create(self, lease: Lease) -> bool:
        return await self._write("create", lease, lambda: self._table.create(lease))

    async def take(self, lease: Lease, worker_id: str) -> Lease:
        self._world.oracle.taking(self._host, lease)
        return await self._write("take", lease, lambda: self._table.take(lease, worker_id))

    async def renew(self, lease: Lease, not_after: float) -> Lease:
        return await self._write("renew", lease, lambda: self._table.renew(lease, math.inf), not_after)

    async def checkpoint(self, lease: Lease, checkpoint: str, time_ms: int, not_after: float) -> Lease:
        self._world.oracle.tried(self._host, lease.shard_id, checkpoint)
        return await self._write(
            "checkpoint", lease, lambda: self._table.checkpoint(lease, checkpoint, time_ms, math.inf), not_after
        )

    async def release(self, lease: Lease) -> Lease:
        return await self._write("release", lease, lambda: self._table.release(lease))

    async def promise(self, lease: Lease, successor: str) -> Lease:
        if successor == self._host.name:
            self._world.oracle.claiming(self._host, lease)
        return await self._write("promise", lease, lambda: self._table.promise(lease, successor))

    async def add_children(self, lease: Lease, children: frozenset[str], not_after: float) -> Lease:
        return await self._write(
            "add_children", lease, lambda: self._table.add_children(lease, children, math.inf), not_after
        )

    async def adopt(self, lease: Lease, stream_arn: str) -> Lease:
        return await self._write("adopt", lease, lambda: self._table.adopt(lease, stream_arn))

    async def delete(self, lease: Lease) -> None:
        await self._write("delete", lease, lambda: self._table.delete(lease))

    async def remake(self) -> None:
        """The table itself, should it be gone."""

        def effect() -> None:
            self._world.table_there = True

        await self._link.request("CreateTable", "leases", effect)

    async def _write(
        self, operation: str, lease: Lease, call: Callable[[], Coroutine[Any, Any, T]], not_after: float = math.inf
    ) -> T:
        shard_id, world, rows, asked_s = lease.shard_id, self._world, self._table.rows, self._world.now_s

        def effect() -> T:
            self._there(operation)
            before = rows.get(shard_id)
            result = at_once(call())
            after = rows.get(shard_id)
            if before is None and after is not None and world.now_s > asked_s + REQUEST_TIMEOUT_S:
                world.oracle.made_late(shard_id)
            if after is not before:
                world.row_changed(self._host, operation, before, after)
            return result

        return await self._link.request(operation, shard_id, effect, not_after=not_after)

    def _there(self, operation: str) -> None:
        if not self._world.table_there:
            raise fault(NotFound, operation, "leases", "ResourceNotFoundException")


class SimStreamSource:
    """`poller.run.ports.StreamSource` of one process and one stream."""

    def __init__(self, host: Host, stream: MemoryStream) -> None:
        self._host = host
        self._stream = stream
        self._link = host.streams
        self._knobs = host.world.knobs

    async def describe(self, after_shard_id: str | None = None) -> ShardPage:
        def effect() -> ShardPage:
            page = at_once(self._stream.describe(after_shard_id))
            shards = tuple(map(self._as_shown, page.shards))
            return replace(page, shards=shards, served_at_s=math.floor(self._host.world.clock.wall()))

        return await self._link.request("DescribeStream", "table", effect)

    async def children(self, shard_id: str) -> tuple[Shard, ...]:
        def effect() -> tuple[Shard, ...]:
            return tuple(map(self._as_shown, at_once(self._stream.children(shard_id))))

        if not self._knobs.child_filter:
            raise self._host.world.unknown_filter()
        return await self._link.request("DescribeStream", shard_id, effect)

    def _as_shown(self, shard: Shard) -> Shard:
        """An answer may be older than the shard's end."""
        stale = shard.closed and self._link.rng.random() < self._knobs.shown_open_p
        return replace(shard, closed=False) if stale and not self._host.world.calm else shard

    async def iterator(self, shard_id: str, position: Position) -> str:
        return await self._link.request(
            "GetShardIterator", shard_id, lambda: at_once(self._stream.iterator(shard_id, position))
        )

    async def records(self, iterator: str, limit: int) -> Page:
        shard_id = iterator.split("|")[1]
        reached = -1

        def effect() -> Page:
            nonlocal reached
            shard = self._stream.shards.shards.get(shard_id)
            if shard is not None and not shard.empty_pages and self._link.rng.random() < self._link.knobs.empty_pages_p:
                shard.empty_pages = self._link.rng.randrange(1, 60)
            page = at_once(self._stream.records(iterator, limit))
            reached = _reached(page, self._stream.shards[shard_id].last)
            return page

        page = await self._link.request("GetRecords", "table", effect)
        self._host.world.oracle.read(self._host, shard_id, reached)
        return page


def _reached(page: Page, last: int) -> int:
    return last if page.next_iterator is None else int(page.next_iterator.split("|")[2])


class SimTables:
    """`poller.run.ports.Tables` of one process."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._tables = host.world.tables

    async def latest_stream(self, table: str) -> StreamInfo | None:
        return await self._host.leases.request(
            "DescribeTable", table, lambda: at_once(self._tables.latest_stream(table))
        )

    async def streams(self, table: str) -> Sequence[str]:
        return await self._host.streams.request("ListStreams", table, lambda: at_once(self._tables.streams(table)))


class SimQueue:
    """`poller.run.ports.Queue`: a route's queue as one process sees it."""

    def __init__(self, host: Host, route: str, queue: MemoryQueue) -> None:
        self._host = host
        self._route = route
        self._queue = queue
        self._oracle = host.world.oracle

    @property
    def info(self) -> QueueInfo:
        return self._queue.info

    async def send(self, batch: Sequence[Message], not_after: float) -> Sequence[EntryOutcome]:
        sendings: list[Sending] = []

        begun_s = self._host.world.now_s

        def on_wire(stale: bool) -> None:
            sendings.extend(self._oracle.issued(self._host, self._route, batch, begun_s, stale))

        def effect() -> Sequence[EntryOutcome]:
            outcomes = at_once(self._queue.send(batch, math.inf))
            for sending, outcome in zip(sendings, outcomes, strict=False):
                match outcome:
                    case Accepted():
                        self._oracle.accepted(sending)
                    case Refused():
                        self._oracle.refused(sending, self._host.world.refusing[self._route])
            return outcomes

        try:
            answer = await self._host.sqs.request(
                "SendMessageBatch", self._route, effect, not_after=not_after, on_wire=on_wire
            )
        except BaseException:
            for sending in sendings:
                sending.fate = "unanswered"
            raise
        for sending in sendings:
            self._oracle.confirmed(sending)
        return answer


class SimLetterQueue:
    """`poller.run.ports.Queue`: a dead-letter queue as one process sees it."""

    def __init__(self, host: Host, queue: MemoryQueue) -> None:
        self._host = host
        self._queue = queue

    @property
    def info(self) -> QueueInfo:
        return self._queue.info

    async def send(self, batch: Sequence[Message], not_after: float) -> Sequence[EntryOutcome]:
        def effect() -> Sequence[EntryOutcome]:
            outcomes = at_once(self._queue.send(batch, math.inf))
            for message, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Accepted):
                    self._host.world.oracle.letter(self._host, message)
            return outcomes

        outcomes = await self._host.sqs.request("SendMessageBatch", "letters", effect, not_after=not_after)
        for message, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Accepted):
                self._host.world.oracle.letter_confirmed(self._host, message)
        return outcomes
