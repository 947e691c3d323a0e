"""A stream's shards as a tree, each with its records: what a test does to them, without the port.

Every key belongs to one open shard at a time, by its place on a ring that splitting divides, as in the service.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

RING = 1 << 32
# Not at 1: the numbers grow a digit soon, which shows who compares them as text.
FIRST_SEQUENCE_NUMBER = 99_999_999_999_999_999_990


@dataclass(frozen=True, slots=True)
class Entry:
    """A record in a shard. `body` is its JSON as it goes over the wire."""

    sequence_number: int
    created_s: float
    body: bytes


@dataclass(slots=True, eq=False)
class MemoryShard:
    """`low <= place on the ring < high`; `trimmed` is the last sequence number that is gone."""

    shard_id: str
    parent_id: str | None
    low: int
    high: int
    trimmed: int
    closed: bool = False
    hidden_answers: int = 0
    empty_pages: int = 0
    entries: list[Entry] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The newest sequence number, that of the trim horizon for an empty shard."""
        return self.entries[-1].sequence_number if self.entries else self.trimmed


class ShardTree:
    """What can happen to shards. Shard ids grow with time, as the service's do."""

    def __init__(self, created_s: float) -> None:
        self._created_ms = int(created_s * 1000)
        self._next = FIRST_SEQUENCE_NUMBER
        self._added = 0
        self.shards: dict[str, MemoryShard] = {}
        self._add(None, 0, RING)

    def __iter__(self) -> Iterator[MemoryShard]:
        return iter(self.shards.values())

    def __getitem__(self, shard_id: str) -> MemoryShard:
        return self.shards[shard_id]

    def next_sequence_number(self) -> int:
        self._next += 3
        return self._next

    def open_shard(self, key: str) -> MemoryShard:
        """The open shard that a key belongs to."""
        place = zlib.crc32(key.encode())
        return next(shard for shard in self if not shard.closed and shard.low <= place < shard.high)

    def split(self, shard_id: str) -> tuple[str, str]:
        """Closes a shard and opens two that share its keys; their ids."""
        parent = self.close(shard_id)
        middle = (parent.low + parent.high) // 2
        return self._add(shard_id, parent.low, middle), self._add(shard_id, middle, parent.high)

    def roll(self, shard_id: str) -> str:
        """Closes a shard and opens one in its place, as the service does every four hours; its id."""
        parent = self.close(shard_id)
        return self._add(shard_id, parent.low, parent.high)

    def close(self, shard_id: str) -> MemoryShard:
        """Closes a shard without children; nothing can be written to its keys until `roll` or `split` is called."""
        shard = self.shards[shard_id]
        shard.closed = True
        return shard

    def trim(self, shard_id: str, sequence_number: int | None = None) -> None:
        """Forgets a shard's records up to and with that one, or all of them."""
        shard = self.shards[shard_id]
        shard.trimmed = shard.last if sequence_number is None else sequence_number
        shard.entries = [entry for entry in shard.entries if entry.sequence_number > shard.trimmed]

    def forget(self, shard_id: str) -> None:
        """The shard itself is trimmed: it is not listed any more, and its children name a parent that is not there."""
        del self.shards[shard_id]

    def hide(self, shard_id: str, answers: int) -> None:
        """Leaves a shard out of the next answers that would list it."""
        self.shards[shard_id].hidden_answers = answers

    def empty(self, shard_id: str, pages: int) -> None:
        """Answers the next reads of a shard with empty pages though it holds more."""
        self.shards[shard_id].empty_pages = pages

    def _add(self, parent_id: str | None, low: int, high: int) -> str:
        self._added += 1
        shard_id = f"shardId-{self._created_ms + self._added:020d}-{zlib.crc32(b'%d' % self._added):08x}"
        self.shards[shard_id] = MemoryShard(shard_id, parent_id, low, high, trimmed=self.next_sequence_number())
        return shard_id
