"""What requests come to: from counts and prices to US dollars a month. Upper bounds, since free tiers are left out.

A month has 30 days. Billed are GetRecords by the call, the lease table by request units, SQS by requests of 64 KiB.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, fields
from typing import Final

MONTH_S: Final = 30 * 86_400.0
# Rates are those of the last quarter of an hour; a rate of less than that many seconds says nothing.
WINDOW_S: Final = 900.0
_STEP_S: Final = 15.0
_LEAST_S: Final = 10.0
# A consistent read of 4 KiB is a unit; a row of the lease table has less than half a KiB.
_ROWS_A_UNIT: Final = 8
_QUEUE_REQUEST_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars for one of each."""

    get_records: float
    lease_read: float
    lease_write: float
    queue_request: float
    fifo_request: float


@dataclass(frozen=True, slots=True)
class Rates:
    """So many of each, a second. The lease table's are request units."""

    get_records: float = 0.0
    lease_reads: float = 0.0
    lease_writes: float = 0.0
    queue_requests: float = 0.0
    fifo_requests: float = 0.0


@dataclass(frozen=True, slots=True)
class Costs:
    """US dollars a month, by what for; the fields' names are those of the metric's label `what`."""

    stream_reads: float = 0.0
    lease_reads: float = 0.0
    lease_writes: float = 0.0
    queue: float = 0.0

    @property
    def total(self) -> float:
        return sum(self.by_what().values())

    def by_what(self) -> dict[str, float]:
        return {one.name: getattr(self, one.name) for one in fields(self)}


def costs(rates: Rates, prices: Prices) -> Costs:
    queue = rates.queue_requests * prices.queue_request + rates.fifo_requests * prices.fifo_request
    return Costs(
        stream_reads=rates.get_records * prices.get_records * MONTH_S,
        lease_reads=rates.lease_reads * prices.lease_read * MONTH_S,
        lease_writes=rates.lease_writes * prices.lease_write * MONTH_S,
        queue=queue * MONTH_S,
    )


def idle_shard_usd(idle_max_s: float, prices: Prices) -> float:
    """What polling one shard costs a month while nothing is in it."""
    return MONTH_S / idle_max_s * prices.get_records


def idle_rates(*, shards: int, workers: int, idle_max_s: float, renew_every_s: float, look_every_s: float) -> Rates:
    """Those of a fleet that has nothing to do: polls, signs of life, looks at the lease table."""
    return Rates(
        get_records=shards / idle_max_s,
        lease_reads=workers * scan_units(shards) / look_every_s,
        lease_writes=min(workers, shards) / renew_every_s,
    )


def scan_units(rows: int) -> int:
    """Request units of one look at a lease table with so many rows."""
    return max(1, math.ceil(rows / _ROWS_A_UNIT))


def queue_requests(size_bytes: int) -> int:
    """As how many requests one call of that size is billed."""
    return max(1, math.ceil(size_bytes / _QUEUE_REQUEST_BYTES))


class Meter:
    """Counts, and tells the rate of what it has counted lately. Times are seconds of one monotonic clock."""

    __slots__ = ("_marks", "_total")

    def __init__(self, now: float) -> None:
        self._total = 0.0
        self._marks: deque[tuple[float, float]] = deque([(now, 0.0)])

    def count(self, number: float, now: float) -> None:
        self._total += number
        self._roll(now)

    def rate(self, now: float) -> float:
        """A second, over the last quarter of an hour, or since the beginning."""
        self._roll(now)
        began, before = self._marks[0]
        return (self._total - before) / (now - began) if now - began >= _LEAST_S else 0.0

    def _roll(self, now: float) -> None:
        """Of the marks, one every few seconds, the oldest is at most so old that the rest fills the window."""
        if now - self._marks[-1][0] >= _STEP_S:
            self._marks.append((now, self._total))
        while len(self._marks) > 1 and self._marks[1][0] <= now - WINDOW_S:
            self._marks.popleft()
