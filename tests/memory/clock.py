"""A clock that moves when it is told to, or when somebody sleeps on it."""

from __future__ import annotations

import asyncio


class ManualClock:
    """`poller.run.ports.Clock` without waiting: a sleep moves both clocks and gives way to other tasks once."""

    def __init__(self, monotonic_s: float = 1_000.0, wall_s: float = 1_795_000_000.0) -> None:
        self._monotonic_s = monotonic_s
        self._wall_s = wall_s

    def monotonic(self) -> float:
        return self._monotonic_s

    def wall(self) -> float:
        return self._wall_s

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self._monotonic_s += seconds
        self._wall_s += seconds

    def set_wall(self, wall_s: float) -> None:
        """Moves the wall clock alone, as an operator or NTP does."""
        self._wall_s = wall_s
