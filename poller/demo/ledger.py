"""The books of the demo: what was written and must arrive, what has arrived, and the difference.

Pure: it is told facts with their times and asked for the counts. Facts may come in any order, since the message of a
write can be received before its writer has said that it wrote.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Bounds, so that a demo that runs for days stays small: how many arrivals are remembered to know a second one by, how
# many latencies stand behind the percentiles, and over how long the rate is taken.
REMEMBERED_MAX: Final = 50_000
LATENCIES_MAX: Final = 1_000
RATE_WINDOW_S: Final = 5.0
RATE_ARRIVALS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Wrote:
    """A write is in the table. `at_s`: when it was begun, so that a latency is never flattered."""

    request_id: str
    phase: str | None  # None: the item was deleted
    expected: bool
    at_s: float


@dataclass(frozen=True, slots=True)
class Received:
    """A message was received; `body` is the stream record's JSON in it."""

    request_id: str
    phase: str
    sequence_number: str
    body: str
    at_s: float


Fact = Wrote | Received
_Identity = tuple[
    str, str | None
]  # an item reaches a phase at most once, so item and phase name a write and its message


@dataclass(frozen=True, slots=True)
class Counts:
    """The state of the books. `received` counts no message twice; `in_flight` is expected and not received.

    `unexpected`: received, and no write asked for it; final only when everything written has been told.
    """

    written: int
    expected: int
    received: int
    duplicates: int
    in_flight: int
    unexpected: int
    per_second: float
    latency_p50_s: float | None
    latency_p99_s: float | None
    awaited_since_s: float | None = None  # when the oldest of those in flight was written


class Ledger:
    """One owner, one thread. Times are seconds on one monotonic clock."""

    def __init__(self) -> None:
        self._written = self._expected = self._received = self._duplicates = 0
        self._awaited: dict[_Identity, float] = {}  # when it was written
        self._early: dict[_Identity, float] = {}  # when it was received, before its write was told
        self._settled: dict[_Identity, None] = {}  # an ordered set: written and received, oldest first
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES_MAX)
        self._arrivals_s: deque[float] = deque(maxlen=RATE_ARRIVALS_MAX)

    def note(self, fact: Fact) -> None:
        match fact:
            case Wrote():
                self._note_written(fact)
            case Received():
                self._note_received(fact)

    def _note_written(self, fact: Wrote) -> None:
        self._written += 1
        if not fact.expected:
            return
        self._expected += 1
        what = (fact.request_id, fact.phase)
        received_at_s = self._early.pop(what, None)
        if received_at_s is None:
            self._awaited[what] = fact.at_s
        else:
            self._settle(what, received_at_s - fact.at_s)

    def _note_received(self, fact: Received) -> None:
        self._arrivals_s.append(fact.at_s)
        what = (fact.request_id, fact.phase)
        if what in self._settled or what in self._early:
            self._duplicates += 1
            return
        self._received += 1
        written_at_s = self._awaited.pop(what, None)
        if written_at_s is None:
            self._early[what] = fact.at_s
        else:
            self._settle(what, fact.at_s - written_at_s)

    def _settle(self, what: _Identity, latency_s: float) -> None:
        self._latencies_s.append(latency_s)
        self._settled[what] = None
        if len(self._settled) > REMEMBERED_MAX:
            del self._settled[next(iter(self._settled))]

    def counts(self, now_s: float) -> Counts:
        while self._arrivals_s and self._arrivals_s[0] <= now_s - RATE_WINDOW_S:
            self._arrivals_s.popleft()
        latencies_s = sorted(self._latencies_s)
        return Counts(
            written=self._written,
            expected=self._expected,
            received=self._received,
            duplicates=self._duplicates,
            in_flight=len(self._awaited),
            unexpected=len(self._early),
            per_second=len(self._arrivals_s) / RATE_WINDOW_S,
            latency_p50_s=_percentile(latencies_s, 50),
            latency_p99_s=_percentile(latencies_s, 99),
            awaited_since_s=min(self._awaited.values(), default=None),
        )


def _percentile(ascending: Sequence[float], percent: int) -> float | None:
    """The smallest value that `percent` of all values do not exceed (nearest rank)."""
    return ascending[max(0, -(-len(ascending) * percent // 100) - 1)] if ascending else None
