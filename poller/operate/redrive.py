"""`poller redrive`: letters back into their routes' queues, each out of the dead-letter queue only once it is sent.

A letter that cannot be sent stays. In a FIFO queue it holds up what is behind it in its group, so that the order of an
item's changes is kept; what was sent and could not be deleted is sent again some day, under the same deduplication id.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from poller.errors import AwsError, InvalidRequest, Throttled, Unavailable
from poller.model import Accepted, EntryOutcome, Message, ReceivedMessage, Refused
from poller.operate.box import IN_HAND_MAX, Hand
from poller.operate.letters import Letter, letter_in
from poller.operate.originals import Gone, Originals
from poller.operate.patience import BACKOFF, TRIES
from poller.operate.ports import LetterBox
from poller.run.message import MessageBuilder, Unsendable
from poller.run.ports import Clock, Queue

_BATCH_MAX: Final = 10
# So many of those that stay are kept to be listed; all of them are counted.
LISTED_MAX: Final = 1_000
_BEHIND: Final = "behind another letter of its group that stays"
_NO_ANSWER: Final = Refused("NoAnswer", "it is not known whether the queue has it", sender_fault=False)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the letters of a route go, and how its messages are made."""

    queue: Queue
    builder: MessageBuilder


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters, how many and how fast. Empty: whatever the reason, or the route. `rate`: letters a second."""

    reasons: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    letters_max: int | None = None
    rate: float | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Stayed:
    """A message that is still in the dead-letter queue. What it is no letter for is None."""

    message_id: str
    why: str
    event_id: str | None = None
    position: str | None = None
    reason: str | None = None
    route: str | None = None


@dataclass(slots=True)
class Report:
    """What became of the messages of one dead-letter queue; filled as it goes, so that it is right at any moment.

    `sent` by reason and route: with `dry_run` those that would be. `unwanted`: letters that were not asked for.
    `trouble`: why it ended before its time.
    """

    queue: str
    dry_run: bool
    waiting: int
    looked_at: int = 0
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    stayed: list[Stayed] = field(default_factory=list)
    stayed_count: int = 0
    undeleted: list[Stayed] = field(default_factory=list)
    others: list[Stayed] = field(default_factory=list)
    others_count: int = 0
    unwanted: int = 0
    complete: bool = False
    trouble: str | None = None

    @property
    def failed(self) -> bool:
        return bool(self.stayed_count or self.undeleted or self.trouble)

    def stays(self, letter: Letter, why: str) -> None:
        self.stayed_count += 1
        if len(self.stayed) < LISTED_MAX:
            self.stayed.append(_listed(letter, why))

    def other(self, message: ReceivedMessage) -> None:
        self.others_count += 1
        if len(self.others) < LISTED_MAX:
            self.others.append(Stayed(message.message_id, "not a letter of this daemon"))


@dataclass(slots=True, eq=False)
class _Ready:
    """A letter and the message that its route would send. `lane`: its item; two of one lane never share a batch."""

    letter: Letter
    message: Message
    lane: str
    route: str


class Redrive:
    """One run through one dead-letter queue. `targets` by the routes' names; `table` is the stream's.

    A letter that does not name its route is of `only_route`, if the queue is that of one route alone.
    """

    def __init__(
        self,
        box: LetterBox,
        targets: Mapping[str, Target],
        originals: Originals,
        wanted: Wanted,
        *,
        table: str,
        only_route: str | None,
        clock: Clock,
        rng: random.Random,
        progress: Callable[[Report], None] = lambda _: None,
    ) -> None:
        self._hand = Hand(box, clock, rng)
        self._fifo = box.info.fifo
        self._targets = targets
        self._originals = originals
        self._wanted = wanted
        self._table = table
        self._only_route = only_route
        self._clock = clock
        self._rng = rng
        self._progress = progress
        self._held_up: set[str | None] = set()  # groups of a FIFO queue whose next letter stays
        self.report: Final = Report(box.info.name, wanted.dry_run, 0)

    async def run(self) -> None:
        """Until there is no more to be seen, or enough. AwsError: the dead-letter queue itself is in trouble.

        When it is cancelled, the letters in hand are sent and deleted, or neither, before it ends.
        """
        self.report.waiting = await self._hand.box.waiting()
        try:
            await self._all()
        finally:
            await self._hand.give_back()

    async def _all(self) -> None:
        next_at = self._clock.monotonic()
        while (count := self._room()) > 0 and self.report.trouble is None:
            await self._until(next_at)
            messages = await self._hand.more(count)
            if not messages:
                break
            sent = await _to_its_end(self._take(messages))
            if self._wanted.rate is not None:
                next_at = max(next_at, self._clock.monotonic()) + sent / self._wanted.rate
            self._progress(self.report)
        self.report.complete = self._hand.exhausted
        if self._hand.full:
            mend = "redrive others with --reason or --route, or mend these first"
            self.report.trouble = f"{IN_HAND_MAX:,} messages stay: {mend}"

    def _room(self) -> int:
        """How many to receive: as many as may be sent in a second, and no more than are wanted."""
        most = _BATCH_MAX if self._wanted.rate is None else max(1, min(_BATCH_MAX, int(self._wanted.rate)))
        if self._wanted.letters_max is None:
            return most
        return min(most, self._wanted.letters_max - self.report.sent.total() - self.report.stayed_count)

    async def _until(self, at: float) -> None:
        while (left_s := at - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(left_s, 5.0))
            await self._hand.keep()

    async def _take(self, messages: Sequence[ReceivedMessage]) -> int:
        """Whatever becomes of these messages; how many were sent."""
        before = self.report.sent.total()
        ready: list[_Ready] = []
        for message in messages:
            await self._hand.keep()
            self.report.looked_at += 1
            one = await self._made_ready(message)
            if one is not None:
                ready.append(one)
        if self._wanted.dry_run:
            self._count(ready)
        else:
            for route in dict.fromkeys(one.route for one in ready):
                await self._deliver(self._targets[route].queue, [one for one in ready if one.route == route])
        return self.report.sent.total() - before

    async def _made_ready(self, message: ReceivedMessage) -> _Ready | None:
        """None: it stays."""
        letter = letter_in(message)
        if letter is None:
            self.report.other(message)
        elif not self._is_wanted(letter):
            self.report.unwanted += 1
        elif self._fifo and message.group_id in self._held_up:
            self.report.stays(letter, _BEHIND)
        else:
            try:
                return await self._with_message(letter)
            except Gone as gone:
                self.report.stays(letter, str(gone))
        self._held_up.add(message.group_id)
        return None

    def _is_wanted(self, letter: Letter) -> bool:
        wanted, route = self._wanted, letter.route or self._only_route
        if wanted.reasons and letter.reason not in wanted.reasons:
            return False
        return not wanted.routes or route in wanted.routes

    async def _with_message(self, letter: Letter) -> _Ready:
        """Gone: there is no message that its route would send."""
        route = letter.route or self._only_route
        if letter.table is not None and letter.table != self._table:
            raise Gone(f"a letter of another table, {letter.table}")
        if route is None:
            raise Gone("it does not say from which route it is, and the queue is that of several")
        target = self._targets.get(route)
        if target is None:
            raise Gone(f"its route {route} is not in the settings")
        record = await self._originals.record(letter, self._hand.keep)
        try:
            message = target.builder.build(record)
        except Unsendable as error:
            raise Gone(str(error)) from error
        limit = target.queue.info.message_bytes_max
        if message.size_bytes > limit:
            raise Gone(f"{message.size_bytes:,} bytes; {target.queue.info.name} takes {limit:,}")
        return _Ready(letter, message, record.group or letter.message.message_id, route)

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _deliver(self, queue: Queue, ready: Sequence[_Ready]) -> None:
        """Batch by batch; never the next change of an item before it is known what became of the one before."""
        left = list(ready)
        while left and self.report.trouble is None:
            batch = _next_batch(left, queue.info.message_bytes_max)
            left = [one for one in left if one not in batch]
            outcomes = await self._send(queue, batch)
            accepted = [one for one, outcome in zip(batch, outcomes, strict=True) if isinstance(outcome, Accepted)]
            self._count(accepted)
            await self._delete(accepted)
            for one, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Refused):
                    left = self._refused(one, outcome, left)
        for one in left:
            self.report.stays(one.letter, "not tried any more")

    def _refused(self, one: _Ready, outcome: Refused, left: list[_Ready]) -> list[_Ready]:
        """It stays; in a FIFO queue so do those behind it. What is left."""
        self.report.stays(one.letter, f"not taken by its queue: {outcome.code}: {outcome.text}")
        if not self._fifo:
            return left
        group = one.letter.message.group_id
        self._held_up.add(group)
        for other in left:
            if other.letter.message.group_id == group:
                self.report.stays(other.letter, _BEHIND)
        return [other for other in left if other.letter.message.group_id != group]

    async def _send(self, queue: Queue, batch: Sequence[_Ready]) -> list[EntryOutcome]:
        """What became of each. Of a queue that takes nothing, or denies everything, the report's `trouble` tells."""
        outcomes: list[EntryOutcome] = [_NO_ANSWER] * len(batch)
        pending = list(range(len(batch)))
        for attempt in range(1, TRIES + 1):
            try:
                answers = await self._ask(queue, [batch[index].message for index in pending])
            except AwsError as error:
                if attempt == TRIES or not isinstance(error, Throttled | Unavailable):
                    self.report.trouble = str(error)
                    break
            else:
                for index, answer in zip(pending, answers, strict=True):
                    outcomes[index] = answer
                pending = [index for index in pending if _again(outcomes[index])]
            if not pending or attempt == TRIES:
                break
            await self._clock.sleep(BACKOFF.wait_s(attempt, self._rng.random()))
        return outcomes

    async def _ask(self, queue: Queue, messages: Sequence[Message]) -> list[EntryOutcome]:
        """Refused as a whole for the content of one of them, they are sent one by one."""
        await self._hand.keep()  # ten requests to a slow queue outlast the letters' time
        try:
            return list(await queue.send(messages, math.inf))
        except InvalidRequest as error:
            if len(messages) == 1:
                return [Refused(error.code, str(error), sender_fault=True)]
        answers: list[EntryOutcome] = []
        for message in messages:
            try:
                answers += await self._ask(queue, [message])
            except AwsError as error:
                if not answers:
                    raise
                answers.append(Refused(error.code, str(error), sender_fault=False))
        return answers

    async def _delete(self, accepted: Sequence[_Ready]) -> None:
        if not accepted:
            return
        left = await self._hand.delete([one.letter.message for one in accepted])
        for one in accepted:
            if one.letter.message in left:
                why = "sent, and not deleted from here: the next redrive sends it again"
                self.report.undeleted.append(_listed(one.letter, why))

    def _count(self, sent: Sequence[_Ready]) -> None:
        self.report.sent.update((one.letter.reason, one.route) for one in sent)


def _again(outcome: EntryOutcome) -> bool:
    return isinstance(outcome, Refused) and not outcome.sender_fault


def _next_batch(ready: Sequence[_Ready], bytes_max: int) -> list[_Ready]:
    """From the front, the first of each item, within the limits of one request; at least one."""
    batch: list[_Ready] = []
    lanes: set[str] = set()
    size = 0
    for one in ready:
        if len(batch) == _BATCH_MAX:
            break
        fits = not batch or size + one.message.size_bytes <= bytes_max
        if one.lane not in lanes and fits:
            batch.append(one)
            size += one.message.size_bytes
        lanes.add(one.lane)
    return batch


def _listed(letter: Letter, why: str) -> Stayed:
    return Stayed(letter.message.message_id, why, letter.event_id, letter.position, letter.reason, letter.route)


async def _to_its_end(work: Coroutine[Any, Any, int]) -> int:
    """Also when it is cancelled meanwhile: what is sent must be deleted."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
