"""`poller replay`: a span of the stream is read again, counted or sent, beside the daemon and without the leases."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from poller.decide.batch import BatchLimits
from poller.decide.pacing import PacingLimits
from poller.decide.retry import Backoff, RetryLimits
from poller.decide.span import Span
from poller.errors import PollerError
from poller.events import (
    DataLost,
    Delivered,
    Event,
    PageRead,
    QueueFailing,
    QueueRecovered,
    ReadFailing,
    ReadRecovered,
    StartTimeUnsupported,
)
from poller.model import Message, Record
from poller.operate.account import Book, Left, Remainder, Rest, left_of
from poller.operate.hold import Say
from poller.operate.stream import Manners, StreamSite
from poller.operate.tally import Counted, Tally
from poller.operate.wanted import Wanted
from poller.run.dead_letters import Owner
from poller.run.delivery import Delivery, Messages, RouteLimits
from poller.run.entry import Entry, Grave
from poller.run.message import MessageBuilder
from poller.run.ports import Queue
from poller.run.shard import Sift
from poller.run.sift import Sifter
from poller.run.span import SpanReader
from poller.settings import RouteSettings

# How often progress is shown, and how often it is looked whether to stop.
_LOOK_EVERY_S: Final = 0.1
# The requests under way when a replay is broken off have so long to be answered.
_ANSWERS_S: Final = 8.0
_UNSENT_LISTED_MAX: Final = 1_000
_RETRYING: Final = Backoff(first_s=0.2, max_s=5.0)
# The limiter paces: no pause of its own but where a window is full.
_PACING: Final = PacingLimits(idle_min_s=0.0, idle_max_s=0.05, page_limit=1_000)

Outcome = Literal["sent", "interrupted", "gave_up"]


@dataclass(frozen=True, slots=True)
class Target:
    """A route of the replay: which records it wants, and where they go."""

    route: RouteSettings
    wanted: Wanted
    queue: Queue


@dataclass(frozen=True, slots=True)
class NotSent:
    """A record that its queue does not take, or of which there is no message."""

    route: str
    shard: str
    sequence_number: str
    event_id: str
    reason: str
    code: str
    text: str
    attempts: int


@dataclass(slots=True)
class Progress:
    """How far a replay is. `sent` counts by route; `lost`: where records are gone that belonged to the span."""

    sent: dict[str, int]
    records: int = 0
    unsent: int = 0
    listed: list[NotSent] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    waiting: int = 0
    part: float = 0.0


@dataclass(frozen=True, slots=True)
class Count:
    """What a span holds. `shards`: how many it reaches over."""

    tally: Tally
    shards: int


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a replay. `rest` is what is left, `why` why it was broken off."""

    outcome: Outcome
    progress: Progress
    rest: Rest
    why: str = ""


class FreshIds:
    """The daemon's messages with other deduplication ids: a FIFO queue takes them however soon they come again."""

    def __init__(self, builder: Messages, fresh: str) -> None:
        self._builder = builder
        self._fresh = fresh

    def build(self, record: Record) -> Message:
        message = self._builder.build(record)
        if message.deduplication_id is None:
            return message
        text = f"{self._fresh}\0{message.deduplication_id}"
        fresh = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return msgspec.structs.replace(message, deduplication_id=fresh)


class Unsent:
    """What stands in the place of dead letters (`poller.run.delivery.Letters`): it is listed, and the rest goes on."""

    def __init__(self, book: Book, progress: Progress) -> None:
        self._book = book
        self._progress = progress
        self._entries: list[Entry] = []
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._entries)

    def calm(self) -> None:
        """Nothing is kept of what failed but the list."""

    def bury(self, entry: Entry, grave: Grave) -> None:
        self._entries.append(entry)
        self._wake.set()
        self._progress.unsent += 1
        if len(self._progress.listed) < _UNSENT_LISTED_MAX:
            record = entry.record
            self._progress.listed.append(
                NotSent(
                    self._book.route,
                    record.shard_id,
                    record.sequence_number,
                    record.event_id,
                    grave.reason,
                    grave.code,
                    grave.text,
                    entry.attempts,
                )
            )

    async def run(self, owner: Owner) -> None:
        while True:
            self._wake.clear()
            for entry in self._entries:
                self._book.close(entry.record)
                owner.settle(entry)
            self._entries.clear()
            await self._wake.wait()


class Replay:
    """One span, and where its records go. `say` gets a line about whatever its user should know meanwhile.

    `left`: what earlier parts of the replay had read and not sent.
    """

    def __init__(
        self,
        site: StreamSite,
        span: Span,
        targets: Sequence[Target],
        *,
        manners: Manners,
        say: Say,
        left: Mapping[str, Left],
    ) -> None:
        self._site = site
        self._span = span
        self._targets = targets
        self._manners = manners
        self._say = say
        self._left = left
        self._stopped = False
        self._progress = Progress(sent={target.route.name: 0 for target in targets})
        self._queue_error: dict[str, str] = {}
        self._told: set[str] = set()

    async def count(self, look: Callable[[Progress], None]) -> Count:
        """Reads the span and sends nothing. GaveUp: the stream does not answer."""
        tally = Tally(self._sifter(), [target.wanted for target in self._targets], self._span.until_s or 0.0)
        routes = [Counted(target.route.name) for target in self._targets]
        reader = self._site.reader(self._span, tally, routes, pacing=_PACING, manners=self._manners, emit=self._note)
        reading = asyncio.create_task(reader.run())
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=_LOOK_EVERY_S)
                self._look(reader, (), look)
            reading.result()
        finally:
            await _end(reading)
        return Count(tally, reader.shards_within)

    async def send(
        self,
        stop: asyncio.Event,
        look: Callable[[Progress, Callable[[], Rest]], None],
        *,
        rate: float | None,
        fresh: str | None,
    ) -> Ended:
        """Reads the span and sends what is wanted of it, until it is done, `stop` is set, or a queue takes nothing.

        `look` is called again and again, with a way to learn what is left.
        """
        books = [self._book(target, fresh) for target in self._targets]
        deliveries = [self._delivery(target, book, rate) for target, book in zip(self._targets, books, strict=True)]
        reader = self._site.reader(
            self._span, self._sifter(), deliveries, pacing=_PACING, manners=self._manners, emit=self._note
        )
        sending = [asyncio.create_task(delivery.run()) for delivery in deliveries]
        reading = asyncio.create_task(reader.run())
        stopping = asyncio.create_task(stop.wait())
        failing = _Failing(self._manners.patience_s)

        def rest() -> Rest:
            undone = {one.shard_id: one.last_sequence_number for one in reader.passages.values() if not one.done}
            span = reader.rest()
            before = {shard_id: left for shard_id, left in self._left.items() if shard_id not in span.finished}
            return Rest(span, left_of(undone, books, before))

        ended: tuple[Outcome, str] | None = None
        try:
            while ended is None:
                await asyncio.wait(
                    {reading, stopping, *sending}, timeout=_LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED
                )
                self._look(reader, deliveries, lambda progress: look(progress, rest))
                ended = self._ended(
                    reading, stopping, sending, failing.too_long(deliveries, self._site.clock.monotonic())
                )
            # What is read and not on its way is left for the next part; what is under way is waited for.
            self._stopped = True
            await _end(reading)
            await self._answers(books)
            self._look(reader, deliveries, lambda progress: look(progress, rest))
        finally:
            await _end(reading, stopping, *sending)
        return Ended(ended[0], self._progress, rest(), ended[1])

    def _ended(
        self,
        reading: asyncio.Task[None],
        stopping: asyncio.Task[bool],
        sending: Sequence[asyncio.Task[None]],
        refusing: str | None,
    ) -> tuple[Outcome, str] | None:
        for task in sending:
            if task.done():
                task.result()  # it never returns: a defect
        if reading.done():
            try:
                reading.result()
            except PollerError as error:
                return "gave_up", str(error)
            return "sent", ""
        if stopping.done():
            return "interrupted", ""
        if refusing is not None:
            seconds = f"{self._manners.patience_s:g} s"
            return "gave_up", f"route {refusing}: nothing was taken for {seconds}: {self._queue_error.get(refusing)}"
        return None

    async def _answers(self, books: Sequence[Book]) -> None:
        clock = self._site.clock
        give_up_at = clock.monotonic() + _ANSWERS_S
        while any(book.under_way for book in books) and clock.monotonic() < give_up_at:
            await clock.sleep(_LOOK_EVERY_S / 4)

    def _sifter(self) -> Sift:
        sifter = Sifter([target.wanted for target in self._targets])
        return Remainder(sifter, self._left, [target.route.name for target in self._targets])

    def _book(self, target: Target, fresh: str | None) -> Book:
        route, info, site = target.route, target.queue.info, self._site
        builder: Messages = MessageBuilder(
            table=site.stream.table,
            form=route.message,
            attributes=route.attributes,
            fifo=info.fifo,
            group_by=route.group_by,
        )
        if fresh is not None:
            builder = FreshIds(builder, fresh)
        return Book(route.name, builder, target.queue)

    def _delivery(self, target: Target, book: Book, rate: float | None) -> Delivery:
        route, site = target.route, self._site
        limits = RouteLimits(
            batch=BatchLimits(route.batch_size, book.info.message_bytes_max, 0.0),
            retry=RetryLimits(route.max_attempts, None, _RETRYING, count_all=True),
            in_flight_max=route.batches_in_flight,
            messages_per_second=rate if rate is not None else route.messages_per_second,
        )
        return Delivery(
            route.name,
            book,
            book,
            limits,
            stream=site.stream.table,
            dead_letters=Unsent(book, self._progress),
            held_back=lambda: self._stopped,
            clock=site.clock,
            emit=self._note,
            rng=site.world.rng,
        )

    def _look(self, reader: SpanReader, deliveries: Sequence[Delivery], look: Callable[[Progress], None]) -> None:
        self._progress.waiting = sum(delivery.waiting for delivery in deliveries)
        self._progress.part = _part(reader, self._span)
        look(self._progress)

    def _note(self, event: Event) -> None:
        """What the daemon's own parts say: some of it counts, some is worth a line."""
        match event:
            case Delivered():
                self._progress.sent[event.route] += event.count
            case PageRead():
                self._progress.records += sum(event.events.values())
            case DataLost():
                text = told(event, self._told) or ""
                self._progress.lost.append(text)
                self._say(text)
            case QueueFailing():
                self._queue_error[event.route] = event.error
                self._say(f"queue {event.queue} takes nothing ({event.code}); it is tried again: {event.error}")
            case _:
                if line := told(event, self._told):
                    self._say(line)


def told(event: Event, already: set[str]) -> str | None:
    """What of a reader's trouble its user should know; the same only once."""
    text: str | None = None
    match event:
        case DataLost():
            text = f"{event.shard}: records are gone ({event.reason}) {event.position}: {event.action}"
        case ReadFailing():
            text = f"reading {event.shard} fails, and is tried again: {event.error}"
            if event.code == "LimitExceededException":
                text += "; somebody else may read it beside the daemon"
        case ReadRecovered():
            text = f"{event.shard} is read again, after {event.failing_s:.1f} s"
        case QueueRecovered():
            text = f"queue {event.queue} takes messages again, after {event.failing_s:.1f} s"
        case StartTimeUnsupported():
            text = (
                "this server does not know AT_TIMESTAMP: shards are read from their trim horizon, and what is more than"
                " a minute older than the start is passed over"
            )
            if text in already:
                return None
            already.add(text)
        case _:
            pass
    return text


class _Failing:
    """Since when each queue has taken nothing."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: dict[str, float] = {}

    def too_long(self, deliveries: Sequence[Delivery], now: float) -> str | None:
        """The route whose queue has done so for too long."""
        self._since = {each.name: self._since.get(each.name, now) for each in deliveries if each.failing}
        return next((name for name, since in self._since.items() if now - since >= self._patience_s), None)


def _part(reader: SpanReader, span: Span) -> float:
    """How much of the span is read, from 0 to 1, by the records' creation times: the mean of its shards."""
    within = reader.shards_within
    if not within:
        return 0.0
    until_s = span.until_s or 0.0
    parts = float(reader.shards_done)
    for passage in reader.passages.values():
        if passage.done or passage.first_created_s is None or passage.last_created_s is None:
            continue
        length_s = until_s - passage.first_created_s
        parts += min(1.0, (passage.last_created_s - passage.first_created_s) / length_s) if length_s > 0 else 0.0
    return min(1.0, max(0.0, parts / within))


async def _end(*tasks: asyncio.Task[None] | asyncio.Task[bool]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
