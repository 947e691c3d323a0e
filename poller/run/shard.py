"""The reader of one shard: iterator, page, sift, on to the routes, and again, as long as its tenure lasts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from poller.decide.frontier import Ticket
from poller.decide.pacing import PacingLimits, next_pause_s
from poller.decide.retry import Backoff
from poller.decide.trouble import SAY_AGAIN_S, Trouble
from poller.errors import AwsError, DataTrimmed, InvalidRequest, IteratorExpired, NotFound, Unavailable
from poller.events import (
    DataLost,
    Emit,
    IteratorRenewed,
    PageRead,
    ReadFailing,
    ReadRecovered,
    ShardBehind,
    ShardStarted,
    StartTimeUnsupported,
)
from poller.model import (
    AT_SEQUENCE_NUMBER,
    AT_TIMESTAMP,
    LATEST,
    SENTINELS,
    TRIM_HORIZON,
    Lease,
    Match,
    Page,
    Position,
    Record,
    Sifted,
    Trace,
)
from poller.run.buffer import Buffer
from poller.run.moments import Moments
from poller.run.ports import Clock, Limiter, StreamSource
from poller.run.tenure import Tenure
from poller.run.thrift import Thrift

# How far before the start time a record may be stamped and still belong to what came after it: creation times are
# rounded down, to the second by the service and to the minute by DynamoDB Local. A record too many is sent, none too
# few.
START_TIME_SLACK_S = 60.0
# How many records of one shard may stand behind an unsettled one. Reading waits there: bounded, as everything is.
_WINDOW_MAX = 100_000
_AT_TIMESTAMP_TRIES = 3
# How often, and for how long, a shard must not be found before it is gone.
_GONE_AFTER = 3
_GONE_S = 5.0


class Route(Protocol):
    """Where matched records go, in the shard's order."""

    @property
    def name(self) -> str: ...

    def add(self, tenure: Tenure, records: Iterable[tuple[Record, Ticket]], trace: Trace | None = None) -> None:
        """`trace`: the span of the page that they are from."""


class Sift(Protocol):
    """A page through every route's filter. AwsError: the answer turns out to be no page."""

    def sift(self, page: Page, shard_id: str, not_before_s: float | None = None) -> Sifted: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What all readers of a stream share. `slots` bounds the GetRecords calls under way.

    `suspect` is called when a shard is not found: the stream itself may be gone. `thrift`: how often idle shards are
    polled, where there is a budget.
    """

    stream: str
    source: StreamSource
    sifter: Sift
    routes: Sequence[Route]
    pacing: PacingLimits
    backoff: Backoff
    on_data_loss: Literal["stop", "skip"]
    slots: asyncio.Semaphore
    buffer: Buffer
    clock: Clock
    emit: Emit
    rng: random.Random
    suspect: Callable[[], None] = lambda: None
    thrift: Thrift | None = None
    moments: Moments = field(default_factory=Moments)


class ShardReader:
    """Reads one shard from its checkpoint to its end.

    `closed()` tells whether the shard is known to be closed. `stopped` is true when data was lost and the settings say
    to stop there: nothing more is read, the lease is kept, and it is said again every minute. It begins within
    `spread_s`, at `start` if that is given, whatever the lease says.
    """

    def __init__(
        self,
        tenure: Tenure,
        reading: Reading,
        limiter: Limiter,
        closed: Callable[[], bool],
        spread_s: float = 0.05,
        *,
        start: Position | None = None,
    ) -> None:
        self.tenure = tenure
        self.stopped = False
        self._reading = reading
        self._names = [route.name for route in reading.routes]
        self._limiter = limiter
        self._closed = closed
        self._spread_s = spread_s
        self._position, self._not_before_s = self._begin() if start is None else (start, None)
        self._iterator: str | None = None
        self._pause_s = 0.0
        self._caught_up = False
        self._at_tip = False
        self._last_created_s: float | None = None
        self._at_timestamp_failures = 0
        self._trouble = Trouble(quiet_failures=1)
        self._absence = Trouble()

    async def run(self) -> None:
        """Returns when the shard's last page was read; everything else goes on until it is cancelled."""
        reading = self._reading
        reading.emit(ShardStarted(stream=reading.stream, shard=self.tenure.shard_id, position=_text(self._position)))
        # Shards taken in the same moment do not stay in step, and many of them do not ask for their iterators at once.
        await reading.clock.sleep(reading.rng.random() * min(reading.pacing.idle_max_s, self._spread_s))
        while not self.tenure.frontier.ended:
            pause_s = await self.step()
            await reading.moments.rest(pause_s, reading.clock, reading.rng)

    async def step(self) -> float:
        """One page, or one failure; how long to wait before the next."""
        if self.stopped:
            self._fail("GetRecords", "DataTrimmed", "data was lost here; stream.on_data_loss = stop")
            return SAY_AGAIN_S
        try:
            page = await self._next_page()
            if page is None or self._over():
                return self._reading.pacing.idle_max_s  # the keeper is about to end this tenure
            sifted = self._reading.sifter.sift(page, self.tenure.shard_id, self._not_before_s)
        except AwsError as error:
            return self._failed(error)
        self._recovered()
        return self._take(page, sifted)

    def _over(self) -> bool:
        return not self.tenure.valid(self._reading.clock.monotonic())

    async def _next_page(self) -> Page | None:
        """None: the lease was over before the request could be made, as in a process that was frozen meanwhile."""
        reading = self._reading
        await reading.buffer.room()
        while self.tenure.frontier.window >= _WINDOW_MAX:
            await reading.clock.sleep(reading.pacing.idle_max_s)
        if self._iterator is None:
            if self._over():
                return None
            self._iterator = await self._new_iterator()
        await self._limiter.acquire()
        async with reading.slots:
            if self._over():
                return None
            return await reading.source.records(self._iterator, reading.pacing.page_limit)

    async def _new_iterator(self) -> str:
        async with self._reading.slots:
            position = self._place()
            iterator = await self._iterator_at(position)
            if position.kind == LATEST and self._begin()[0].kind != LATEST:
                return await self._iterator_at(self._position)  # its "now" may be as late as its answer
            return iterator

    def _place(self) -> Position:
        """Where to read from. LATEST is asked for once, and only while "now" still is the first start's instant.

        Should that be past, the request fail, or its iterator be lost before the first record, the place is found by
        time.
        """
        if self._position.kind != LATEST:
            return self._position
        position, _ = self._begin()
        self._position, self._not_before_s = begin(self.tenure.lease, fresh=False)
        return position

    def _begin(self) -> tuple[Position, float | None]:
        return begin(self.tenure.lease, fresh=self._reading.clock.monotonic() < self.tenure.fresh_until)

    async def _iterator_at(self, position: Position) -> str:
        try:
            return await self._reading.source.iterator(self.tenure.shard_id, position)
        except InvalidRequest as error:
            if position.kind == AT_TIMESTAMP:
                self._do_without_at_timestamp(error)
            raise

    def _do_without_at_timestamp(self, error: AwsError) -> None:
        """The server does not know AT_TIMESTAMP: the same place is found by the records' creation times."""
        self._not_before_s = (self._position.timestamp_ms or 0) / 1000 - START_TIME_SLACK_S
        self._position = Position(TRIM_HORIZON)
        self._iterator = None
        self._reading.emit(
            StartTimeUnsupported(stream=self._reading.stream, shard=self.tenure.shard_id, code=error.code)
        )

    def _take(self, page: Page, sifted: Sifted) -> float:
        """Everything in the page finds its way, synchronously: no other task sees half of it."""
        tenure, reading = self.tenure, self._reading
        records = sum(sifted.events.values())
        matches = sifted.matches
        if matches:
            self._hand_on(matches, sifted.trace)
        if sifted.last_sequence_number is not None:
            tenure.frontier.saw(sifted.last_sequence_number)
            self._position = Position.after(sifted.last_sequence_number)
        if page.next_iterator is None:
            tenure.frontier.saw_end()
        self._iterator = page.next_iterator
        self._at_tip = not records
        self._caught_up = self._caught_up or self._at_tip
        self._last_created_s = sifted.last_created_s or self._last_created_s
        thrift = reading.thrift
        self._pause_s = next_pause_s(
            reading.pacing if thrift is None else thrift.limits,
            self._pause_s,
            records=records,
            size_bytes=page.size_bytes,
            caught_up=self._caught_up,
            closed=page.next_iterator is None or self._closed(),
        )
        if thrift is not None:
            thrift.polled(records=records, pause_s=self._pause_s)
        self._report(page, sifted)
        return self._pause_s

    def _hand_on(self, matches: Sequence[Match], trace: Trace | None) -> None:
        """To each route what it wants."""
        routes = self._reading.routes
        wanted: list[list[tuple[Record, Ticket]]] = [[] for _ in routes]
        for match, ticket in zip(matches, self.tenure.admit(matches), strict=True):
            for index in match.routes:
                wanted[index].append((match.record, ticket))
        for route, records in zip(routes, wanted, strict=True):
            if records:
                route.add(self.tenure, records, trace)

    def _report(self, page: Page, sifted: Sifted) -> None:
        reading, names = self._reading, self._names
        reading.emit(
            PageRead(
                stream=reading.stream,
                shard=self.tenure.shard_id,
                size_bytes=page.size_bytes,
                events=sifted.events,
                matched=dict(zip(names, sifted.matched, strict=True)),
                filtered=dict(zip(names, sifted.filtered, strict=True)),
                behind_s=self.behind_s(),
                polled_at_s=reading.clock.wall(),
                last=page.next_iterator is None,
            )
        )

    def behind_s(self) -> float:
        """The age of the oldest unsettled record, else of the last one read; 0 after an empty page."""
        created_s = self.tenure.frontier.oldest_open_created_s
        if created_s is None:
            created_s = None if self._at_tip else self._last_created_s
        return 0.0 if created_s is None else max(0.0, self._reading.clock.wall() - created_s)

    def tell(self) -> None:
        """Says where the shard stands, also while no page is read."""
        self._reading.emit(
            ShardBehind(
                stream=self._reading.stream,
                shard=self.tenure.shard_id,
                behind_s=self.behind_s(),
                oldest_created_s=self.tenure.frontier.oldest_open_created_s,
                position=_text(self._position),
            )
        )

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    def _failed(self, error: AwsError) -> float:
        """What to do about a failed call; how long to wait."""
        if not isinstance(error, NotFound):
            self._absence = Trouble()  # whatever it was, it did not say that the shard is not there
        match error:
            case IteratorExpired():
                self._iterator = None
                position = _text(self._position)
                self._reading.emit(
                    IteratorRenewed(stream=self._reading.stream, shard=self.tenure.shard_id, position=position)
                )
                return self._fail(error.operation, error.code, str(error), quick=True)
            case DataTrimmed():
                return self._lost("trimmed")
            case NotFound():
                return self._missing(error)
            case InvalidRequest():
                self._iterator = None  # an iterator that the server does not know (any more)
            case Unavailable(answered=True) if self._position.kind == AT_TIMESTAMP:
                # DynamoDB Local answers AT_TIMESTAMP with an internal error, moto the iterator that comes of it.
                self._at_timestamp_failures += 1
                if self._at_timestamp_failures >= _AT_TIMESTAMP_TRIES:
                    self._do_without_at_timestamp(error)
        return self._fail(error.operation, error.code, str(error))

    def _fail(self, operation: str, code: str, text: str, *, quick: bool = False) -> float:
        """Another failure in a row; how long to wait. `quick`: the first one is mended by asking again at once."""
        reading, trouble = self._reading, self._trouble
        now = reading.clock.monotonic()
        if trouble.failed(now):
            reading.emit(
                ReadFailing(
                    stream=reading.stream,
                    shard=self.tenure.shard_id,
                    operation=operation,
                    code=code,
                    error=text,
                    failing_s=trouble.lasting_s(now),
                    attempts=trouble.failures,
                )
            )
        if quick and trouble.failures == 1:
            return 0.0
        return reading.backoff.wait_s(trouble.failures, reading.rng.random())

    def _recovered(self) -> None:
        self._absence = Trouble()
        over = self._trouble.worked(self._reading.clock.monotonic())
        if over is not None:
            self._reading.emit(
                ReadRecovered(
                    stream=self._reading.stream,
                    shard=self.tenure.shard_id,
                    failing_s=over.lasted_s,
                    attempts=over.failures,
                )
            )

    def _missing(self, error: NotFound) -> float:
        """The shard is not there. That may be a passing fault of the service; for some seconds on end it is gone.

        Should the whole stream be gone, a look at it tells by then, and says what was lost.
        """
        self._iterator = None
        self._reading.suspect()
        wait_s = self._fail(error.operation, error.code, str(error))
        now, absence = self._reading.clock.monotonic(), self._absence
        absence.failed(now)
        gone = absence.failures >= _GONE_AFTER and absence.lasting_s(now) >= _GONE_S
        return self._lost("shard_gone") if gone else wait_s

    def _lost(self, reason: Literal["trimmed", "shard_gone"]) -> float:
        """Records are gone that were never read. Never silently: it stops here, or goes on where there is something."""
        reading = self._reading
        self._iterator = None
        lease = self.tenure.lease
        from_horizon = self._position.kind == TRIM_HORIZON and (not lease.parents or lease.seek_time_ms is not None)
        if reason == "trimmed" and from_horizon:
            # The horizon moved on between iterator and read: "from the horizon" is all that was promised.
            return self._fail("GetRecords", "TrimmedDataAccessException", "the trim horizon moved on", quick=True)
        skip = reading.on_data_loss == "skip"
        action = ("read on from the trim horizon" if reason == "trimmed" else "end the shard") if skip else "stop"
        reading.emit(
            DataLost(
                stream=reading.stream,
                shard=self.tenure.shard_id,
                reason=reason,
                position=_text(self._position),
                action=action,
            )
        )
        if not skip:
            self.stopped = True
        elif reason == "trimmed":
            self._position = Position(TRIM_HORIZON)
        else:
            self.tenure.frontier.saw_end()
        return 0.0


def begin(lease: Lease, *, fresh: bool) -> tuple[Position, float | None]:
    """Where a lease says to begin, and the creation time (seconds since the epoch) before which records are not wanted.

    LATEST is only taken at its word by the process that has just written it (`fresh`). Whoever finds the row unread
    later reads from the horizon and passes over what is older than the first start, so that no restart skips
    anything. A place to which a person has moved the lease comes before what the first start said.
    """
    if lease.checkpoint not in SENTINELS:
        return Position.after(lease.checkpoint), None
    since_ms = lease.start_time_ms if lease.seek_time_ms is None else lease.seek_time_ms
    not_before_s = None if since_ms is None else since_ms / 1000 - START_TIME_SLACK_S
    if lease.checkpoint == LATEST and (fresh or since_ms is None):
        return Position(LATEST), None
    if lease.checkpoint == AT_TIMESTAMP and since_ms is not None:
        return Position(AT_TIMESTAMP, timestamp_ms=since_ms), None
    return Position(TRIM_HORIZON), not_before_s


def _text(position: Position) -> str:
    if position.sequence_number is not None:
        return f"{'at' if position.kind == AT_SEQUENCE_NUMBER else 'after'} {position.sequence_number}"
    return position.kind if position.timestamp_ms is None else f"{position.kind} {position.timestamp_ms} ms"
