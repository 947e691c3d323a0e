"""What was written and what became of it: the oracle's books, kept at the services, not in the workers.

Nothing here knows how the poller works; it is what a user could find out with the stream in one hand and the queues in
the other.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.sim.host import Host

# A bit less than a worker that leaves waits for what it has read to be settled, once others have not claimed it all.
_DRAIN_S: Final = 2.0
# How long the last checkpoint and the release take at most, if nothing goes wrong with them.
_AT_LAST_S: Final = 0.5


@dataclass(slots=True, eq=False)
class Sending:
    """One entry of one request to a route's queue. `fate`: open, confirmed (its sender knows), or unanswered."""

    host: Host
    tenure: Tenure | None
    record: Written
    route: str
    stale: bool
    issued_s: float
    accepted_s: float | None = None
    fate: str = "open"


@dataclass(slots=True, eq=False)
class Written:
    """One record of the stream. `open`: the routes that want it and have not settled it.

    `optional`: written before the start position, sent or not.
    """

    number: int
    key: str
    shard_id: str
    sequence: int
    body: str
    routes: tuple[str, ...]
    poison: str | None
    optional: bool = False
    lost: bool = False
    open: dict[str, None] = field(default_factory=dict)
    accepted: dict[str, list[Sending]] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return not self.open or self.lost or self.optional

    def __str__(self) -> str:
        return f"{self.key}#{self.number} ({self.shard_id[-14:]}/{self.sequence % 1_000_000})"


@dataclass(slots=True, eq=False)
class Tenure:
    """A worker's time with a shard, as the lease table saw it: from the taking that took effect.

    `checkpoint`: what the row said then. `end`: released, taken, deleted, or None while it lasts. `read_to`: the last
    sequence number that was delivered to it, `tried_to` that for which it asked a checkpoint. `drained`: at its release
    everything that it had read was settled.
    """

    host: Host | None  # None: a worker of Java's
    began_s: float
    checkpoint: int
    end: str | None = None
    end_s: float = math.inf
    read_to: int = -1
    read_s: float = -math.inf  # when that was
    backlog: int = 0  # how many records were not settled then
    tried_to: int = -1
    drained: bool = False
    troubled: bool = False
    lapsed_s: float = math.inf  # when its worker said that it had lost the lease
    written_s: float = 0.0  # when its worker last moved a row, at its end
    # What its worker has heard of: the routes of a record that are settled, and since when a checkpoint may cover it.
    heard: defaultdict[int, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))
    coverable_s: dict[int, float] = field(default_factory=dict)
    covered: int = 0

    def knew(self, record: Written) -> bool:
        """Had the worker heard in time that it is settled, and all before it?"""
        coverable_s = self.coverable_s.get(record.number, math.inf)
        return coverable_s <= self.in_time_s and len(self.heard[record.number]) == len(record.routes) > 0

    @property
    def hurried(self) -> bool:
        """Did it end soon after the last page, with all the time that there is for what was read to be settled?"""
        return self.end_s - self.read_s < _DRAIN_S

    @property
    def in_time_s(self) -> float:
        """What it had heard of by then its last checkpoint could cover, if nothing went wrong.

        Who has waited as long as it may leaves out what is settled while that is on its way.
        """
        return self.end_s if self.hurried else self.end_s - _AT_LAST_S

    def hears(self, book: ShardBook, record: Written, route: str, now_s: float) -> None:
        """The worker knows now that a route has settled a record."""
        self.heard[record.number][route] = None
        records = book.records
        while self.covered < len(records):
            each = records[self.covered]
            if (
                each.sequence > self.checkpoint
                and not each.optional
                and len(self.heard[each.number]) < len(each.routes)
            ):
                break
            self.coverable_s[each.number] = now_s
            self.covered += 1


@dataclass(slots=True, eq=False)
class ShardBook:
    """One shard's records in their order, and who held it. `settled`: how many are done, from the first on."""

    shard_id: str
    arn: str
    parent: ShardBook | None
    records: list[Written] = field(default_factory=list)
    settled: int = 0
    tenures: list[Tenure] = field(default_factory=list)
    holder: Tenure | None = None
    closed: bool = False
    deleted_s: float = -math.inf
    cleaned_up: bool = False  # its row, finished, by a worker
    losing: bool = False
    stopped: bool = False
    begun: bool = False  # something in it was sent
    moves: deque[tuple[float, str | None]] = field(default_factory=lambda: deque(maxlen=50))  # of its row: when, whose
    of_old: bool = False  # trimmed before the first worker started
    checkpoint: int = -1
    trimmed_to: int = -1

    def advance(self) -> None:
        records = self.records
        while self.settled < len(records) and records[self.settled].done:
            self.settled += 1

    def moved_s(self, owner: str, by_s: float = math.inf) -> float:
        """When an owner last moved the row, up to that moment."""
        return max((at_s for at_s, name in self.moves if name == owner and at_s <= by_s), default=-math.inf)

    @property
    def complete(self) -> bool:
        return self.closed and self.settled == len(self.records)

    @property
    def first_open(self) -> Written | None:
        return self.records[self.settled] if self.settled < len(self.records) else None

    def lose(self, after: int, up_to: float) -> list[Written]:
        """Somebody has said that these are gone."""
        lost = [each for each in self.records[self.settled :] if after < each.sequence <= up_to and not each.done]
        for each in lost:
            each.lost = True
        self.advance()
        return lost


class Ledger:
    """All records and shards, and the order of each item's changes on each route."""

    def __init__(self) -> None:
        self.shards: dict[str, ShardBook] = {}
        self.by_body: dict[str, Written] = {}
        self.by_place: dict[str, Written] = {}
        self.records: list[Written] = []
        self._lanes: defaultdict[tuple[str, str], list[Written]] = defaultdict(list)
        self._lane_settled: defaultdict[tuple[str, str], int] = defaultdict(int)

    def opened(self, shard_id: str, arn: str, parent_id: str | None) -> ShardBook:
        parent = self.shards.get(parent_id or "")
        if parent is not None:
            parent.closed = True
        book = self.shards[shard_id] = ShardBook(shard_id, arn, parent)
        return book

    def wrote(self, record: Written) -> None:
        self.records.append(record)
        self.by_body[record.body] = record
        self.by_place[f"{record.shard_id}/{record.sequence}"] = record
        record.open = dict.fromkeys(record.routes)
        for route in record.routes:
            record.accepted[route] = []
            if record.poison != "unreadable":
                self._lanes[route, record.key].append(record)
        book = self.shards[record.shard_id]
        book.records.append(record)
        book.advance()

    def settle(self, record: Written, route: str) -> None:
        record.open.pop(route, None)
        self.shards[record.shard_id].advance()

    def overtaken(self, record: Written, route: str) -> Written | None:
        """An earlier change of the same item that this route has not settled, None if there is none."""
        if record.poison == "unreadable":
            return None
        lane, place = self._lanes[route, record.key], self._lane_settled[route, record.key]
        while place < len(lane) and (route not in lane[place].open or lane[place].lost or lane[place].optional):
            place += 1
        self._lane_settled[route, record.key] = place
        earlier = lane[place] if place < len(lane) else None
        return earlier if earlier is not None and earlier.number < record.number else None

    def ancestors(self, book: ShardBook) -> Iterator[ShardBook]:
        parent = book.parent
        while parent is not None:
            yield parent
            parent = parent.parent

    def open_records(self) -> list[Written]:
        return [each for book in self.shards.values() for each in book.records[book.settled :] if not each.done]
