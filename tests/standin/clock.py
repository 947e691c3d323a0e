"""The stand-in's clock: real time, plus what a test has moved it forward by.

Iterators age, FIFO deduplication forgets and messages become visible again on this clock and on no other.
"""

from __future__ import annotations

import time


class Clock:
    """Wall-clock and monotonic seconds, both moved by `advance`."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def wall(self) -> float:
        return time.time() + self._ahead_s

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Lets `seconds` pass for the stand-in, and for nobody else."""
        self._ahead_s += seconds
