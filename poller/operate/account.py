"""The account of a replay: which records each route still has to send, so that a resumed one sends no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from poller.decide.span import Span
from poller.model import Accepted, EntryOutcome, Message, Page, QueueInfo, Record, Sifted
from poller.run.delivery import Messages
from poller.run.ports import Queue
from poller.run.shard import Sift
from poller.run.span import only


@dataclass(frozen=True, slots=True)
class Left:
    """Of a shard that was read up to the record `upto`: the sequence numbers that each route had not sent by then."""

    upto: str
    unsent: Mapping[str, frozenset[str]]


class Rest(NamedTuple):
    """What is left of a replay: of the span, and of what was read already."""

    span: Span
    left: Mapping[str, Left]


class Book:
    """One route's account, kept between its delivery and its messages and queue.

    `under_way`: requests that have no answer yet.
    """

    def __init__(self, route: str, messages: Messages, queue: Queue) -> None:
        self.route = route
        self.under_way = 0
        self._messages = messages
        self._queue = queue
        self._open: dict[Record, Message] = {}
        self._records: dict[Message, Record] = {}

    @property
    def info(self) -> QueueInfo:
        return self._queue.info

    def build(self, record: Record) -> Message:
        message = self._messages.build(record)
        self._open[record] = message
        self._records[message] = record
        return message

    async def send(self, batch: Sequence[Message], not_after: float) -> Sequence[EntryOutcome]:
        self.under_way += 1
        try:
            outcomes = await self._queue.send(batch, not_after)
        finally:
            self.under_way -= 1
        for message, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Accepted):
                self.close(self._records[message])
        return outcomes

    def close(self, record: Record) -> None:
        """The route is done with the record."""
        message = self._open.pop(record, None)
        if message is not None:
            del self._records[message]

    def unsent(self) -> dict[str, set[str]]:
        """The sequence numbers that are not sent, by shard."""
        numbers: dict[str, set[str]] = {}
        for record in self._open:
            numbers.setdefault(record.shard_id, set()).add(record.sequence_number)
        return numbers


class Remainder:
    """A sift without what an earlier part of the replay has sent. `routes`: the routes' names, in their order."""

    def __init__(self, sift: Sift, left: Mapping[str, Left], routes: Sequence[str]) -> None:
        self._sift = sift
        self._left = left
        self._routes = routes

    def sift(self, page: Page, shard_id: str, not_before_s: float | None = None) -> Sifted:
        sifted = self._sift.sift(page, shard_id, not_before_s)
        left = self._left.get(shard_id)
        if left is None:
            return sifted
        upto = int(left.upto)
        matches = []
        for match in sifted.matches:
            number = match.record.sequence_number
            if number and int(number) <= upto:
                routes = tuple(
                    index for index in match.routes if number in left.unsent.get(self._routes[index], frozenset())
                )
                if routes:
                    matches.append(msgspec.structs.replace(match, routes=routes))
            else:
                matches.append(match)
        return only(sifted, matches)


def left_of(read: Mapping[str, str | None], books: Sequence[Book], before: Mapping[str, Left]) -> dict[str, Left]:
    """What is left of the shards that are not done. `read`: up to which record each was read in this part.

    `before`: what the parts before this one had left.
    """
    open_by_route = {book.route: book.unsent() for book in books}
    left: dict[str, Left] = {}
    for shard_id in read.keys() | before.keys():
        last, earlier = read.get(shard_id), before.get(shard_id)
        if last is None:
            if earlier is not None:
                left[shard_id] = earlier
            continue
        unsent = {route: frozenset(numbers.get(shard_id, ())) for route, numbers in open_by_route.items()}
        upto = last
        if earlier is not None and int(earlier.upto) > int(last):
            upto = earlier.upto
            for route, numbers in earlier.unsent.items():
                later = {number for number in numbers if int(number) > int(last)}
                unsent[route] = unsent.get(route, frozenset()) | later
        left[shard_id] = Left(upto, unsent)
    return left
