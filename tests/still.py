"""A clock that goes on only when it is told."""

from __future__ import annotations

from typing import Final

EPOCH_S: Final = 1_795_420_800.0  # 2026-11-23T08:00:00Z


class StillClock:
    """Both of a process's clocks; they go together, `passed_s` after they began."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def monotonic(self) -> float:
        return 500.0 + self.passed_s

    def wall(self) -> float:
        return EPOCH_S + self.passed_s

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")
