"""Delivery on one route: matched records become messages, messages batches, every entry ends as sent or dead letter.

A queue that takes nothing is waited for, with one batch at a time as a probe; a record that it refuses while it takes
others is tried a bounded number of times. Whatever a shard's lease is over for is not sent any more.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

import msgspec

from poller.decide.batch import BatchLimits, Lanes
from poller.decide.frontier import Ticket
from poller.decide.retry import Again, Backoff, DeadLetter, RetryLimits, Sent, fate
from poller.decide.trouble import SAY_AGAIN_S, Trouble
from poller.errors import AwsError, DeadlinePassed, InvalidRequest, Unavailable
from poller.events import (
    Delivered,
    Emit,
    QueueFailing,
    QueueRecovered,
    RecordRetrying,
    RecordRetryingEnded,
    Resent,
    RouteWaiting,
    SendFailed,
    ShardRetrying,
)
from poller.model import Accepted, EntryOutcome, Message, Record, Refused, Trace
from poller.run.dead_letters import Owner
from poller.run.entry import Entry, Grave
from poller.run.message import Unsendable
from poller.run.ports import Clock, Queue
from poller.run.tenure import Tenure

# How often a route that is held back asks whether it still is.
_HELD_BACK_S = 0.1
# A request is not begun so shortly before the lease is over that it could arrive later. Either the lease is renewed
# meanwhile, or it ends, and its entries with it.
_PAST_DEADLINE_S = 0.2
_NOTHING = Message(body="", size_bytes=0)


class Messages(Protocol):
    """From a record to its message (`poller.run.message.MessageBuilder`)."""

    def build(self, record: Record) -> Message:
        """Unsendable: there is none, now or ever."""


class Letters(Protocol):
    """What becomes of entries that cannot be sent: each is settled by its owner once it is safe."""

    def __len__(self) -> int:
        """How many wait for that."""

    def bury(self, entry: Entry, grave: Grave) -> None: ...

    def calm(self) -> None:
        """Nothing that has failed is waiting in the route any more."""

    async def run(self, owner: Owner) -> None:
        """Until it is cancelled."""


@dataclass(frozen=True, slots=True)
class RouteLimits:
    """`in_flight_max`: batches under way at once; `messages_per_second`: None is no limit."""

    batch: BatchLimits
    retry: RetryLimits
    in_flight_max: int
    messages_per_second: float | None = None


# How soon a queue that takes nothing is asked again: soon enough that its recovery is seen within seconds.
_PROBE = Backoff(first_s=0.2, max_s=5.0)


class Delivery:
    """One route: its lanes, its queue, and where its dead letters go."""

    def __init__(
        self,
        name: str,
        queue: Queue,
        builder: Messages,
        limits: RouteLimits,
        *,
        stream: str,
        dead_letters: Letters,
        held_back: Callable[[], bool],
        clock: Clock,
        emit: Emit,
        rng: random.Random,
    ) -> None:
        self.name = name
        self._queue = queue
        self._builder = builder
        self._limits = limits
        self._stream = stream
        self.dead_letters = dead_letters
        self._held_back = held_back
        self._clock = clock
        self._emit = emit
        self._rng = rng
        self._lanes: Lanes[Entry] = Lanes(limits.batch)
        self._wake = asyncio.Event()
        self._sends: set[asyncio.Task[None]] = set()
        # When the latest batch was sent of which the queue has taken something.
        self._taken_at = -math.inf
        self._defect: BaseException | None = None
        self._trouble = Trouble(quiet_failures=1)
        self._refusals = Trouble()
        self._refused_at = 0.0
        self._probe_at = 0.0
        self._free_at = 0.0
        self._retrying: dict[str, dict[Entry, None]] = {}

    # --- in -----------------------------------------------------------------------------------------------------------

    def add(self, tenure: Tenure, records: Iterable[tuple[Record, Ticket]], trace: Trace | None = None) -> None:
        """Records that this route wants, in their shard's order. `trace`: the span of the page that they are from."""
        build: Callable[[Record], Message] = self._builder.build
        add, now = self._lanes.add, self._clock.monotonic()
        limit_bytes, nothing = self._limits.batch.bytes_max, _NOTHING
        if trace is not None:
            build, nothing = _traced(build, trace), msgspec.structs.replace(_NOTHING, trace=trace)
        for record, ticket in records:
            doomed: Grave | None = None
            try:
                message = build(record)
            except Unsendable as error:
                message, doomed = nothing, Grave(error.reason, "Unsendable", error.text)
            if message.size_bytes > limit_bytes:
                text = f"{message.size_bytes} bytes; the queue takes {limit_bytes}"
                message, doomed = nothing, Grave("too_large", "TooLarge", text)
            lane = record.group
            add(Entry(tenure, ticket, record, message, lane, message.size_bytes, now, doomed), now)
        self._wake.set()

    def forget(self, tenure: Tenure) -> None:
        """The tenure is over: nothing of it is sent any more."""
        if self._lanes.drop(lambda entry: entry.tenure is tenure):
            self._wake.set()
        if self._retrying.pop(tenure.shard_id, None):
            self._tell_since(tenure.shard_id, None)
        if not self._retrying:
            self.dead_letters.calm()

    @property
    def message_bytes_max(self) -> int:
        """What its queue takes."""
        return self._limits.batch.bytes_max

    def adjust(self, limits: RouteLimits) -> None:
        """Other limits from now on, also for what waits already."""
        if limits.messages_per_second != self._limits.messages_per_second:
            self._free_at = 0.0  # by the old rate, that may be minutes away
        self._limits = limits
        self._lanes.limits = limits.batch
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Entries that are not settled."""
        return len(self._lanes)

    @property
    def failing(self) -> bool:
        """The whole queue takes nothing at present."""
        return self._trouble.since is not None

    # --- out ----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Sends until it is cancelled; what is under way then is cancelled too."""
        burying = asyncio.create_task(self.dead_letters.run(self))
        burying.add_done_callback(self._sent)
        try:
            while True:
                await self._step()
        finally:
            for task in (burying, *self._sends):
                task.cancel()

    async def _step(self) -> None:
        """Starts the next batch when there is one and a place for it; otherwise waits for either."""
        if self._defect is not None:
            raise self._defect
        now = self._clock.monotonic()
        in_flight_max = 1 if self.failing else self._limits.in_flight_max
        if len(self._sends) >= in_flight_max:
            await self._wait(None)
            return
        blocked_s = _HELD_BACK_S if self._held_back() else max(self._probe_at, self._free_at) - now
        if blocked_s > 0:
            await self._wait(blocked_s)
            return
        batch = self._lanes.next_batch(now)
        if not batch:
            await self._wait(self._lanes.wait_s(now))
            return
        if self._limits.messages_per_second is not None:
            self._free_at = max(now, self._free_at) + len(batch) / self._limits.messages_per_second
        task = asyncio.create_task(self._send(batch))
        self._sends.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sends.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._defect = task.exception()
        self._wake.set()

    async def _wait(self, seconds: float | None) -> None:
        """For so long at most, or until something has changed."""
        self._wake.clear()
        if seconds is None:
            await self._wake.wait()
            return
        alarm = asyncio.get_running_loop().call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            alarm.cancel()

    async def _send(self, batch: Sequence[Entry]) -> None:
        """One request, and what becomes of each of its entries."""
        now = self._clock.monotonic()
        live = self._sendable(batch, now)
        if not live:
            return
        deadline = min([tenure.deadline for tenure in {entry.tenure for entry in live}])
        try:
            outcomes = await self._queue.send([entry.message for entry in live], deadline)
        except DeadlinePassed:
            self._rest(live, _PAST_DEADLINE_S)
        except InvalidRequest as error:
            await self._blame(live, error)
        except AwsError as error:
            if isinstance(error, Unavailable) and error.sent and not error.answered:
                self._emit(Resent(stream=self._stream, route=self.name, reason="no_answer", count=len(live)))
            self._emit(SendFailed(stream=self._stream, route=self.name, code=error.code, count=len(live)))
            for entry in live:
                entry.tries += 1
                self._mark_retrying(entry)
            self._rest(live)
            self._queue_fails(error.code, str(error))
        else:
            self._answered(live, outcomes, now)

    def _sendable(self, batch: Sequence[Entry], now: float) -> list[Entry]:
        """Without the entries whose lease is over and those that can only be buried."""
        valid = {tenure for tenure in {entry.tenure for entry in batch} if tenure.valid(now)}
        live: list[Entry] = []
        for entry in batch:
            if entry.tenure not in valid:
                self.give_up(entry)
            elif entry.doomed is not None:
                self._mark_retrying(entry)
                self.dead_letters.bury(entry, entry.doomed)
            else:
                live.append(entry)
        return live

    def _rest(self, entries: Sequence[Entry], seconds: float = 0.0) -> None:
        at = self._clock.monotonic() + seconds
        for entry in entries:
            self._lanes.again(entry, at)

    async def _blame(self, batch: Sequence[Entry], error: InvalidRequest) -> None:
        """The batch's content is refused as a whole: halves, down to the entries that are to blame."""
        if len(batch) == 1:
            refused = Refused(error.code, str(error), sender_fault=True)
            self._answered(batch, [refused], self._clock.monotonic())
            return
        middle = len(batch) // 2
        await self._send(batch[:middle])
        await self._send(batch[middle:])

    def _answered(self, batch: Sequence[Entry], outcomes: Sequence[EntryOutcome], sent_at: float) -> None:
        """The queue has answered; each entry for itself."""
        refused = [
            (entry, outcome)
            for entry, outcome in zip(batch, outcomes, strict=True)
            if not isinstance(outcome, Accepted)
        ]
        accepted = batch
        if refused:
            left = {entry for entry, _ in refused}
            accepted = [entry for entry in batch if entry not in left]
        if accepted:
            self._taken_at = max(self._taken_at, sent_at)
            self.settle(*accepted)
            self._queue_works()
            wall = self._clock.wall()
            self._emit(
                Delivered(
                    stream=self._stream,
                    route=self.name,
                    count=len(accepted),
                    latencies_s=tuple([entry.record.age_s(wall) for entry in accepted]),
                    size_bytes=sum([entry.size_bytes for entry in batch]),
                )
            )
        if refused:
            self._refused_some(refused, sent_at)

    def _refused_some(self, refused: Sequence[tuple[Entry, Refused]], sent_at: float) -> None:
        """What the queue did not take of a batch of which it may have taken others."""
        for code in {outcome.code for _, outcome in refused}:
            count = sum(1 for _, outcome in refused if outcome.code == code)
            self._emit(SendFailed(stream=self._stream, route=self.name, code=code, count=count))
        hopeless = [pair for pair in refused if pair[1].sender_fault]
        others = [pair for pair in refused if not pair[1].sender_fault]
        for entry, outcome in [*hopeless, *others]:
            self._refused(entry, outcome)
        if others and self._taken_at < sent_at:
            # It has taken nothing of this batch, nor of one that was sent later: it is to blame, and asked more slowly.
            self._queue_fails(others[0][1].code, others[0][1].text)

    def _refused(self, entry: Entry, outcome: Refused) -> None:
        now = self._clock.monotonic()
        entry.tries += 1
        decided = fate(
            outcome,
            self._limits.retry,
            attempts=entry.attempts,
            tries=entry.tries,
            queue_alive=self._taken_at >= entry.tried_at,
            age_s=entry.record.age_s(self._clock.wall()),
            random_unit=self._rng.random(),
        )
        match decided:
            case Sent():
                self.settle(entry)
            case Again(wait_s, attempts):
                counted = attempts > entry.attempts
                entry.attempts = attempts
                entry.tried_at = now
                self._mark_retrying(entry)
                self._lanes.again(entry, now + wait_s)
                if counted:
                    self._tell_retrying(entry, outcome.code, wait_s)
            case DeadLetter(reason, attempts):
                entry.attempts = attempts
                self._mark_retrying(entry)
                self.dead_letters.bury(entry, Grave(reason, outcome.code, outcome.text))
            case _ as never:
                assert_never(never)

    def settle(self, *entries: Entry) -> None:
        """The entries are sent or safely dead-lettered."""
        self._lanes.done(entries, self._clock.monotonic())
        tickets: dict[Tenure, list[Ticket]] = {}
        for entry in entries:
            tickets.setdefault(entry.tenure, []).append(entry.ticket)
            if entry.first_failed_s is not None:
                self._unmark_retrying(entry)
        for tenure, settled in tickets.items():
            tenure.settle(*settled)
        self._wake.set()

    def give_up(self, entry: Entry) -> None:
        """The entry's lease is over: it is the next owner's."""
        self._lanes.done((entry,), self._clock.monotonic())
        self._wake.set()  # the same item's next change may be of this worker's again, and wait behind it

    def take_back(self, entry: Entry, wait_s: float) -> None:
        """The entry cannot be dead-lettered and is tried again."""
        self._lanes.again(entry, self._clock.monotonic() + wait_s)
        self._wake.set()

    # --- what is said of it -------------------------------------------------------------------------------------------

    def report(self) -> None:
        """Says how much is not settled, and when single records have ceased to be refused."""
        self._tell_calm()
        waiting, letters = len(self._lanes), len(self.dead_letters)
        self._emit(RouteWaiting(stream=self._stream, route=self.name, waiting=waiting, dead_letters=letters))

    def _queue_fails(self, code: str, text: str) -> None:
        """The whole queue takes nothing: ask again after a while, with one batch."""
        now = self._clock.monotonic()
        if self.failing and now < self._probe_at:
            return  # another of the batches that were under way when it began
        if self._trouble.failed(now):
            self._emit(
                QueueFailing(
                    stream=self._stream,
                    route=self.name,
                    queue=self._queue.info.name,
                    code=code,
                    error=text,
                    failing_s=self._trouble.lasting_s(now),
                    waiting=len(self._lanes),
                )
            )
        self._probe_at = now + _PROBE.wait_s(self._trouble.failures, self._rng.random())

    def _queue_works(self) -> None:
        over = self._trouble.worked(self._clock.monotonic())
        self._probe_at = 0.0
        if over is not None:
            self._emit(
                QueueRecovered(
                    stream=self._stream, route=self.name, queue=self._queue.info.name, failing_s=over.lasted_s
                )
            )

    def _tell_retrying(self, entry: Entry, code: str, wait_s: float) -> None:
        self._refused_at = self._clock.monotonic()
        if not self._refusals.failed(self._refused_at):
            return  # a queue that refuses one entry of each batch would fill the log
        self._emit(
            RecordRetrying(
                stream=self._stream,
                route=self.name,
                shard=entry.record.shard_id,
                event_id=entry.record.event_id,
                code=code,
                attempts=entry.attempts,
                retry_in_s=wait_s,
                retrying=sum(map(len, self._retrying.values())),
            )
        )

    def _tell_calm(self) -> None:
        now = self._clock.monotonic()
        if self._retrying or now - self._refused_at < SAY_AGAIN_S:
            return
        over = self._refusals.worked(now)
        if over is not None:
            failing_s = over.lasted_s - (now - self._refused_at)
            self._emit(
                RecordRetryingEnded(stream=self._stream, route=self.name, failing_s=failing_s, refusals=over.failures)
            )

    def _mark_retrying(self, entry: Entry) -> None:
        if entry.first_failed_s is not None or entry.tenure.over:  # nobody would take back what is said of a lost one
            return
        entry.first_failed_s = self._clock.wall()
        of_shard = self._retrying.setdefault(entry.tenure.shard_id, {})
        of_shard[entry] = None
        if len(of_shard) == 1:
            self._tell_since(entry.tenure.shard_id, entry.first_failed_s)

    def _unmark_retrying(self, entry: Entry) -> None:
        of_shard = self._retrying.get(entry.tenure.shard_id, {})
        if entry not in of_shard:
            return  # its tenure is over
        oldest = next(iter(of_shard))
        del of_shard[entry]
        if not of_shard:
            del self._retrying[entry.tenure.shard_id]
            self._tell_since(entry.tenure.shard_id, None)
        elif oldest is entry:
            self._tell_since(entry.tenure.shard_id, next(iter(of_shard)).first_failed_s)

    def _tell_since(self, shard_id: str, since_s: float | None) -> None:
        self._emit(ShardRetrying(stream=self._stream, shard=shard_id, route=self.name, since_s=since_s))


def _traced(build: Callable[[Record], Message], trace: Trace) -> Callable[[Record], Message]:
    """The same messages, which say what page they are from."""
    return lambda record: msgspec.structs.replace(build(record), trace=trace)
