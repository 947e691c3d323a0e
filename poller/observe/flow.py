"""What flows through, counted in steps of time: the rates of now, the last minutes and the last day. Pure.

It costs nothing a record: totals that are kept anyway are looked at twice a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

# A step in seconds and how many are kept: five minutes to see it live, a day to see since when.
FINE: Final = (2.0, 150)
COARSE: Final = (300.0, 288)
# Rates are of so many of the last fine steps.
_RATE_STEPS: Final = 5


class Counts(NamedTuple):
    """Records. The last three are of all routes together."""

    read: float = 0
    matched: float = 0
    delivered: float = 0
    dead_lettered: float = 0

    def since(self, before: Counts) -> Counts:
        return Counts(*(now - then for now, then in zip(self, before, strict=True)))


class Steps:
    """What came in each of the last `size` steps, oldest first. Those during which nobody looked have nothing."""

    def __init__(self, step_s: float, size: int) -> None:
        self.step_s: Final = step_s
        self.done: Final[deque[Counts]] = deque(maxlen=size)
        self.ended_at: float | None = None
        self._size = size
        self._before = Counts()

    def look(self, now: float, totals: Counts) -> None:
        """`totals` since the beginning, `now` on a monotonic clock."""
        if self.ended_at is None:
            self.ended_at = now
            return
        over = int((now - self.ended_at) / self.step_s)
        if not over:
            return
        self.done.extend([Counts()] * min(over - 1, self._size))
        self.done.append(totals.since(self._before))
        self.ended_at += over * self.step_s
        self._before = totals


class Flow:
    """The history of one stream in this process."""

    def __init__(self) -> None:
        self.fine: Final = Steps(*FINE)
        self.coarse: Final = Steps(*COARSE)

    def look(self, now: float, totals: Counts) -> None:
        self.fine.look(now, totals)
        self.coarse.look(now, totals)

    def per_second(self) -> Counts:
        """Over the last ten seconds."""
        last = list(self.fine.done)[-_RATE_STEPS:]
        return _divided(_sum(last), len(last) * self.fine.step_s) if last else Counts()

    def recently(self) -> Counts:
        """In all of the fine steps: the last five minutes."""
        return _sum(self.fine.done)


def _sum(steps: Sequence[Counts] | deque[Counts]) -> Counts:
    return Counts(*map(sum, zip(*steps, strict=True))) if steps else Counts()


def _divided(counts: Counts, seconds: float) -> Counts:
    return Counts(*(count / seconds for count in counts))
