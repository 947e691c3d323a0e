"""The clocks of simulated machines: none shows true time, none shows the same as another."""

from __future__ import annotations

import asyncio

from tests.sim.loop import Process, SimLoop
from tests.virtual import WALL_AT_START_S


class TrueClock:
    """`poller.run.ports.Clock` of the world: the services' own."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        return self._loop.true_s

    def wall(self) -> float:
        return WALL_AT_START_S + self._loop.true_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ProcessClock:
    """`poller.run.ports.Clock` of one process; `wall_offset_s` is for the weather to move."""

    def __init__(self, loop: SimLoop, process: Process) -> None:
        self._loop = loop
        self._skew = process.skew
        self.wall_offset_s = 0.0

    def monotonic(self) -> float:
        return self._skew.own(self._loop.true_s)

    def wall(self) -> float:
        return WALL_AT_START_S + self._skew.rate * self._loop.true_s + self.wall_offset_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
