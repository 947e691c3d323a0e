"""Which entries go into the next batch: at most one of a lane in flight, ten entries, the queue's bytes.

A lane is one item of the table on one route. Its entries leave strictly one after another, so that neither a partial
failure nor a retry can change their order; different lanes do not wait for each other.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What the lanes need to know of an entry: its lane, and its bytes as the queue counts them."""

    @property
    def lane(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...


E = TypeVar("E", bound=Waiting)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """`entries_max` (10 for SQS), `bytes_max` (the queue's own limit), and how long a batch may wait to fill."""

    entries_max: int
    bytes_max: int
    window_s: float


class Lanes(Generic[E]):
    """Entries on their way, each in its lane.

    An entry is in exactly one of four places: behind another of its lane, ready (a lane's head that may be sent),
    resting (a head that is tried again at a time), or out (given by `next_batch`, until `done` or `again`).
    """

    def __init__(self, limits: BatchLimits) -> None:
        self.limits = limits
        # Each lane there is; nothing waits in most of them.
        self._behind: dict[str, deque[E] | None] = {}
        self._ready: deque[tuple[E, float]] = deque()
        self._resting: list[tuple[float, int, E]] = []
        self._count = 0
        self._order = 0

    def __len__(self) -> int:
        """How many entries there are, those that are out included."""
        return self._count

    def add(self, entry: E, now: float) -> None:
        """A new entry, after all others of its lane."""
        self._count += 1
        lane, lanes = entry.lane, self._behind
        if lane not in lanes:
            lanes[lane] = None
            self._ready.append((entry, now))
            return
        behind = lanes[lane]
        if behind is None:
            lanes[lane] = deque((entry,))
        else:
            behind.append(entry)

    def next_batch(self, now: float) -> list[E]:
        """The entries to send now; empty: none are due (`wait_s` says until when). They are out until settled.

        A batch that is not full waits until its oldest entry has been ready for the window.
        """
        self._wake(now)
        if not self._ready or not self._due(now):
            return []
        batch: list[E] = []
        room_bytes, ready = self.limits.bytes_max, self._ready
        for _ in range(min(len(ready), self.limits.entries_max)):
            entry = ready[0][0]
            room_bytes -= entry.size_bytes
            if batch and room_bytes < 0:
                break
            ready.popleft()
            batch.append(entry)
        return batch

    def wait_s(self, now: float) -> float | None:
        """How long until `next_batch` may give something, 0 for at once; None: not before an entry comes or settles."""
        moments = []
        if self._ready:
            if self._due(now):
                return 0.0
            moments.append(self._ready[0][1] + self.limits.window_s)
        if self._resting:
            moments.append(self._resting[0][0])
        return max(0.0, min(moments) - now) if moments else None

    def done(self, entries: Sequence[E], now: float) -> None:
        """The entries are settled: the next of each one's lane may go."""
        self._count -= len(entries)
        lanes = self._behind
        for entry in entries:
            behind = lanes[entry.lane]
            if behind:
                self._ready.append((behind.popleft(), now))
            else:
                del lanes[entry.lane]

    def again(self, entry: E, at: float) -> None:
        """The entry stays at the head of its lane and is ready again at `at`."""
        self._order += 1
        heapq.heappush(self._resting, (at, self._order, entry))

    def drop(self, unwanted: Callable[[E], bool]) -> int:
        """Takes out every unwanted entry that is not out; how many they were.

        For a shard whose lease is over. An entry that is out is its sender's, who settles it with `done`.
        """
        before = self._count
        lost_heads = [entry for entry, _ in self._ready if unwanted(entry)]
        lost_heads += [entry for _, _, entry in self._resting if unwanted(entry)]
        self._ready = deque(pair for pair in self._ready if not unwanted(pair[0]))
        self._resting = [item for item in self._resting if not unwanted(item[2])]
        heapq.heapify(self._resting)
        for lane, behind in self._behind.items():
            if not behind:
                continue
            kept = deque(entry for entry in behind if not unwanted(entry))
            self._count -= len(behind) - len(kept)
            self._behind[lane] = kept
        self.done(lost_heads, 0.0)
        return before - self._count

    def _due(self, now: float) -> bool:
        # The comparison is the one that wait_s() makes, so that a caller who slept as long as it said finds a batch
        # due.
        return len(self._ready) >= self.limits.entries_max or self._ready[0][1] + self.limits.window_s <= now

    def _wake(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            at, _, entry = heapq.heappop(self._resting)
            self._ready.append((entry, at))
