"""What was written and what reached the queues; lost, out of order, twice. Small enough for hours at a high rate."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Final, NamedTuple

_SEEN_MAX: Final = 100_000


class Change(NamedTuple):
    """One revision of one item. Items are named `table/number`."""

    item: str
    revision: int

    @property
    def table(self) -> str:
        return self.item.partition("/")[0]


class Again(NamedTuple):
    """A message that came another time: when the queue got it first, and when now (ms since the epoch)."""

    queue: str
    change: Change
    first_ms: int
    again_ms: int


class Book:
    """One queue: each change's first arrival. `ordered`: the queue keeps the order in which it was given messages."""

    def __init__(self, queue: str, *, ordered: bool) -> None:
        self.queue = queue
        self.ordered = ordered
        self.first_ms: dict[Change, int] = {}
        self.again: list[Again] = []
        self.disordered: list[str] = []
        self._newest: dict[str, int] = {}

    def note(self, change: Change, sent_ms: int) -> None:
        """A message, in the order of reception. A later copy may be received first: the earliest sent is the first."""
        first_ms = self.first_ms.get(change)
        if first_ms is not None:
            self.again.append(Again(self.queue, change, min(first_ms, sent_ms), max(first_ms, sent_ms)))
            self.first_ms[change] = min(first_ms, sent_ms)
            return
        self.first_ms[change] = sent_ms
        newest = self._newest.get(change.item, 0)
        if self.ordered and change.revision < newest:
            self.disordered.append(f"{self.queue}: {change.item} revision {change.revision} after {newest}")
        self._newest[change.item] = max(newest, change.revision)

    def out_of_order(self) -> list[str]:
        """First deliveries of an item that were not sent in the order of its revisions."""
        found = list(self.disordered)
        items: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for change, sent_ms in self.first_ms.items():
            items[change.item].append((change.revision, sent_ms))
        for item, seen in items.items():
            seen.sort()
            found += [
                f"{self.queue}: {item} revision {later[0]} sent {earlier[1] - later[1]} ms before {earlier[0]}"
                for earlier, later in pairwise(seen)
                if later[1] < earlier[1]
            ]
        return found


class Ledger:
    """What is expected in every book. May be used from several threads."""

    def __init__(self, books: Iterable[Book]) -> None:
        self.books = {book.queue: book for book in books}
        self.expected: list[Change] = []
        self._seen: dict[str, None] = {}  # the ids of the messages received last, oldest first
        self._lock = threading.Lock()

    def expect(self, changes: Iterable[Change]) -> None:
        with self._lock:
            self.expected += changes

    def note(self, queue: str, message_id: str, change: Change, sent_ms: int) -> None:
        """A message was received. The queue may hand out one message twice: that is the queue's doing."""
        with self._lock:
            if message_id in self._seen:
                return
            self._seen[message_id] = None
            if len(self._seen) > _SEEN_MAX:
                del self._seen[next(iter(self._seen))]
            self.books[queue].note(change, sent_ms)

    def missing(self) -> dict[str, list[Change]]:
        """What has not reached each queue yet."""
        with self._lock:
            return {
                book.queue: [one for one in self.expected if one not in book.first_ms] for book in self.books.values()
            }

    def foreign(self) -> list[Change]:
        """What nobody has written, or no route should have let through."""
        with self._lock:
            expected = set(self.expected)
            return [one for book in self.books.values() for one in book.first_ms if one not in expected]

    def again(self) -> list[Again]:
        with self._lock:
            return [one for book in self.books.values() for one in book.again]

    def delivered(self) -> int:
        with self._lock:
            return sum(len(book.first_ms) for book in self.books.values())
