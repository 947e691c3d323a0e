"""Dead letters of one route: each is tried until its queue has it; its record stays unsettled till then."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from poller.decide.retry import Backoff
from poller.decide.trouble import Trouble
from poller.errors import AwsError, DeadlinePassed, InvalidRequest
from poller.events import DeadLettered, DeadLetterFailing, DeadLetterRecovered, Emit
from poller.model import Accepted, Content, EntryOutcome, Message, Refused
from poller.run.entry import Entry, Grave
from poller.run.message import Why, letter, store_key
from poller.run.ports import Clock, LetterStore, Queue

_BACKOFF = Backoff(first_s=0.2, max_s=10.0)
# Without a dead-letter queue the record is offered to its own queue again, whose limits may have been mended.
_NO_QUEUE_WAIT_S = 60.0
_BATCH_MAX = 10
# What a letter is cut down to when the queue refuses it though its limit seemed to allow it: a position always fits.
_SMALLEST_BYTES = 1024


class Owner(Protocol):
    """Whose entries these are, until each is settled, given up with its lease, or taken back to be sent again."""

    def settle(self, entry: Entry) -> None: ...

    def give_up(self, entry: Entry) -> None: ...

    def take_back(self, entry: Entry, wait_s: float) -> None: ...


@dataclass(slots=True, eq=False)
class _Letter:
    entry: Entry
    grave: Grave
    limit_bytes: int
    message: Message | None = None
    content: Content = Content.RECORD


class DeadLetters:
    """The way of refused entries to the dead-letter queue, None if the route has none, and to the optional bucket.

    What cannot be stored keeps its record unsettled: the shard's checkpoint waits, the other items go on. `stream_arn`:
    the stream of the shards whose rows name none.
    """

    def __init__(
        self,
        queue: Queue | None,
        store: LetterStore | None,
        *,
        stream: str,
        stream_arn: str,
        route: str,
        clock: Clock,
        emit: Emit,
        rng: random.Random,
    ) -> None:
        self._queue = queue
        self._store = store
        self._stream = stream
        self._stream_arn = stream_arn
        self._route = route
        self._clock = clock
        self._emit = emit
        self._rng = rng
        self._letters: deque[_Letter] = deque()
        self._wake = asyncio.Event()
        self._trouble = Trouble()

    def __len__(self) -> int:
        """How many entries wait to be stored."""
        return len(self._letters)

    def bury(self, entry: Entry, grave: Grave) -> None:
        """The entry will be stored; its owner hears when it is."""
        self._letters.append(_Letter(entry, grave, self._queue.info.message_bytes_max if self._queue else 0))
        self._wake.set()

    def calm(self) -> None:
        """Nothing that failed here is this worker's any more: what it was is for whoever has the lease to find out."""
        if not self._letters:
            self._worked()

    async def run(self, owner: Owner) -> None:
        """Stores letters until it is cancelled."""
        while True:
            if not self._letters:
                self._wake.clear()
                await self._wake.wait()
            wait_s = await self.step(owner)
            if wait_s:
                await self._clock.sleep(wait_s)

    async def step(self, owner: Owner) -> float:
        """One request to the dead-letter queue; how long to wait before the next."""
        now = self._clock.monotonic()
        batch = self._next_batch(owner, now)
        if not batch:
            self.calm()
            return 0.0
        if self._queue is None:
            return self._without_queue(batch, owner)
        written, wait_s = await self._write_some(batch)
        if not written:
            return wait_s
        try:
            sized = _within(written, self._queue.info.message_bytes_max)
            messages = [one.message for one in sized if one.message is not None]
            outcomes = await self._send(self._queue, messages, min(one.entry.tenure.deadline for one in sized))
        except DeadlinePassed:
            return _BACKOFF.first_s  # a lease is renewed meanwhile, or ends, and its letters with it
        except AwsError as error:
            return self._failed(written[0], error.code, str(error))
        return self._answered(sized, outcomes, owner, wait_s)

    def _next_batch(self, owner: Owner, now: float) -> list[_Letter]:
        over = [one for one in self._letters if not one.entry.tenure.valid(now)]
        for one in over:
            self._letters.remove(one)
            owner.give_up(one.entry)
        return list(self._letters)[:_BATCH_MAX]

    def _without_queue(self, batch: Sequence[_Letter], owner: Owner) -> float:
        for one in batch:
            self._letters.remove(one)
            owner.take_back(one.entry, _NO_QUEUE_WAIT_S)
        self._failed(batch[0], "NoDeadLetterQueue", "the route has no dead-letter queue; name one and restart")
        return 0.0

    async def _write_some(self, batch: Sequence[_Letter]) -> tuple[list[_Letter], float]:
        """The letters from the front that are written, up to one that the bucket does not take; how long to wait then.

        That one is put last: most letters need no bucket.
        """
        written: list[_Letter] = []
        for one in batch:
            try:
                await self._write(one)
            except AwsError as error:
                self._put_last(one)
                return written, self._failed(one, error.code, str(error))
            written.append(one)
        return written, 0.0

    async def _write(self, one: _Letter) -> None:
        """Makes the letter as whole as the queue's limit and the bucket allow, once."""
        if one.message is not None or self._queue is None:
            return
        record, why, fifo = one.entry.record, self._why(one), self._queue.info.fifo
        message, content = letter(record, why, limit_bytes=one.limit_bytes, fifo=fifo)
        if content is not Content.RECORD and self._store is not None:
            url = await self._store.put(store_key(record, why), record.body)
            message, content = letter(record, why, limit_bytes=one.limit_bytes, fifo=fifo, stored_at=url)
        if one.entry.message.trace is not None:
            message = msgspec.structs.replace(message, trace=one.entry.message.trace)
        # Not before the bucket has the record: a letter without it would be sent as it is at the next try.
        one.message, one.content = message, content

    def _why(self, one: _Letter) -> Why:
        now_s = self._clock.wall()
        return Why(
            route=self._route,
            reason=one.grave.reason,
            code=one.grave.code,
            text=one.grave.text,
            attempts=one.entry.attempts,
            first_failed_s=one.entry.first_failed_s or now_s,
            now_s=now_s,
            # Of several streams of the table, one after another, the one that the shard is of.
            stream_arn=one.entry.tenure.lease.stream_arn or self._stream_arn,
            table=self._stream,
        )

    async def _send(self, queue: Queue, messages: Sequence[Message], deadline: float) -> Sequence[EntryOutcome]:
        """The outcome of each; a batch that is refused for its content is sent one by one."""
        try:
            return await queue.send(messages, deadline)
        except InvalidRequest as error:
            if len(messages) == 1:
                return [Refused(error.code, str(error), sender_fault=True)]
        outcomes: list[EntryOutcome] = []
        try:
            for message in messages:
                outcomes += await self._send(queue, [message], deadline)
        except (AwsError, DeadlinePassed) as error:
            if not outcomes:
                raise
            # Of those that are stored it must be known, or they are stored again.
            outcomes += [_not_sent(error)] * (len(messages) - len(outcomes))
        return outcomes

    def _answered(
        self, batch: Sequence[_Letter], outcomes: Sequence[EntryOutcome], owner: Owner, wait_s: float
    ) -> float:
        """How long to wait, `wait_s` at least, which tells of a letter that could not even be written."""
        for one, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Accepted):
                self._stored(one)
                owner.settle(one.entry)
            else:
                if outcome.sender_fault:
                    one.message, one.limit_bytes = None, min(one.limit_bytes, _SMALLEST_BYTES)
                wait_s = max(wait_s, self._failed(one, outcome.code, outcome.text))
                self._put_last(one)  # the letters behind it need not wait
        if not wait_s:
            self._worked()
        return wait_s

    def _put_last(self, one: _Letter) -> None:
        self._letters.remove(one)
        self._letters.append(one)

    def _worked(self) -> None:
        over = self._trouble.worked(self._clock.monotonic())
        if over is not None:
            self._emit(DeadLetterRecovered(stream=self._stream, route=self._route, failing_s=over.lasted_s))

    def _stored(self, one: _Letter) -> None:
        self._letters.remove(one)
        record = one.entry.record
        self._emit(
            DeadLettered(
                stream=self._stream,
                route=self._route,
                shard=record.shard_id,
                event_id=record.event_id,
                sequence_number=record.sequence_number,
                reason=one.grave.reason,
                code=one.grave.code,
                attempts=one.entry.attempts,
                content=one.content.value,
            )
        )

    def _failed(self, one: _Letter, code: str, text: str) -> float:
        record = one.entry.record
        if self._trouble.failed(self._clock.monotonic()):
            self._emit(
                DeadLetterFailing(
                    stream=self._stream,
                    route=self._route,
                    shard=record.shard_id,
                    event_id=record.event_id,
                    reason=one.grave.reason,
                    error=f"{code}: {text}",
                )
            )
        return _BACKOFF.wait_s(self._trouble.failures, self._rng.random())


def _not_sent(error: AwsError | DeadlinePassed) -> Refused:
    code = error.code if isinstance(error, AwsError) else "DeadlinePassed"
    return Refused(code, str(error), sender_fault=False)


def _within(batch: Sequence[_Letter], bytes_max: int) -> list[_Letter]:
    """As many from the front as fit into one request; at least one."""
    sized: list[_Letter] = []
    total = 0
    for one in batch:
        total += one.message.size_bytes if one.message is not None else 0
        if sized and total > bytes_max:
            break
        sized.append(one)
    return sized
