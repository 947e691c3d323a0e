"""Spans around a source, a sifter and a queue, where somebody wants them: without traces none of these is there.

A page's span begins with its request and ends with the filters' verdict, a send's is that of its request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from poller.errors import AwsError
from poller.model import EntryOutcome, Message, Page, Position, QueueInfo, Refused, Shard, ShardPage, Sifted, Trace
from poller.run.fields import Place
from poller.run.ports import Clock, Queue, StreamSource
from poller.run.shard import Sift

_first_of = msgspec.json.Decoder(Place).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSpan:
    """A page with records, by its position and counts; times on the wall clock.

    `events` counts by event name; `matched` are the records that some route wants, `skipped` those before the start
    time. A sequence number is None where the record could not be understood.
    """

    stream: str
    shard: str
    begun_s: float
    ended_s: float
    size_bytes: int
    events: Mapping[str, int]
    matched: int
    skipped: int
    first_sequence_number: str | None
    last_sequence_number: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendSpan:
    """A SendMessageBatch of so many messages; times on the wall clock.

    `pages` are the spans of the pages that its records are from, each once. `code`: why the queue refused all of it,
    or the first of the `refused` messages.
    """

    stream: str
    route: str
    queue: str
    begun_s: float
    ended_s: float
    messages: int
    refused: int
    code: str | None
    pages: tuple[Trace, ...]


class Tracing(Protocol):
    """Whoever keeps spans. It neither waits nor fails."""

    def page(self, span: PageSpan) -> Trace | None:
        """None: nobody wants to hear of what comes of it."""

    def send(self, span: SendSpan) -> None: ...


class TracedSource:
    """`poller.run.ports.StreamSource`: another one, whose pages say when they were asked for."""

    def __init__(self, source: StreamSource, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._source = source

    async def describe(self, after_shard_id: str | None = None) -> ShardPage:
        return await self._source.describe(after_shard_id)

    async def children(self, shard_id: str) -> tuple[Shard, ...]:
        return await self._source.children(shard_id)

    async def iterator(self, shard_id: str, position: Position) -> str:
        return await self._source.iterator(shard_id, position)

    async def records(self, iterator: str, limit: int) -> Page:
        asked_s = self._wall()
        return msgspec.structs.replace(await self._source.records(iterator, limit), asked_s=asked_s)


class TracedSifter:
    """`poller.run.shard.Sift`: another one, of whose pages every one with records has a span."""

    def __init__(self, sifter: Sift, tracing: Tracing, stream: str, wall: Callable[[], float]) -> None:
        self._sifter = sifter
        self._tracing = tracing
        self._stream = stream
        self._wall = wall

    def sift(self, page: Page, shard_id: str, not_before_s: float | None = None) -> Sifted:
        sifted = self._sifter.sift(page, shard_id, not_before_s)
        if not any(sifted.events.values()):
            return sifted
        now_s = self._wall()
        span = PageSpan(
            stream=self._stream,
            shard=shard_id,
            begun_s=now_s if page.asked_s is None else page.asked_s,
            ended_s=now_s,
            size_bytes=page.size_bytes,
            events=sifted.events,
            matched=len(sifted.matches),
            skipped=sifted.skipped,
            first_sequence_number=_first_sequence_number(page),
            last_sequence_number=sifted.last_sequence_number,
        )
        return replace(sifted, trace=self._tracing.page(span))


class TracedQueue:
    """`poller.run.ports.Queue`: another one, each of whose requests has a span."""

    def __init__(self, queue: Queue, tracing: Tracing, *, stream: str, route: str, clock: Clock) -> None:
        self._queue = queue
        self._tracing = tracing
        self._stream = stream
        self._route = route
        self._wall = clock.wall

    @property
    def info(self) -> QueueInfo:
        return self._queue.info

    async def send(self, batch: Sequence[Message], not_after: float) -> Sequence[EntryOutcome]:
        begun_s = self._wall()
        try:
            outcomes = await self._queue.send(batch, not_after)
        except AwsError as error:
            self._tell(batch, begun_s, len(batch), error.code)
            raise
        codes = [outcome.code for outcome in outcomes if isinstance(outcome, Refused)]
        self._tell(batch, begun_s, len(codes), codes[0] if codes else None)
        return outcomes

    def _tell(self, batch: Sequence[Message], begun_s: float, refused: int, code: str | None) -> None:
        self._tracing.send(
            SendSpan(
                stream=self._stream,
                route=self._route,
                queue=self._queue.info.name,
                begun_s=begun_s,
                ended_s=self._wall(),
                messages=len(batch),
                refused=refused,
                code=code,
                pages=tuple(dict.fromkeys([message.trace for message in batch if message.trace is not None])),
            )
        )


def _first_sequence_number(page: Page) -> str | None:
    try:
        return _first_of(page.records[0]).dynamodb.sequence_number
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
