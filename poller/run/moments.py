"""When polls begin: those of all shards of a stream share moments, since to wake a process costs more than a poll."""

from __future__ import annotations

import asyncio
import math
import random
from typing import Final

from poller.run.ports import Clock

# In so many moments of a pause the polls of all shards begin, a few milliseconds apart at least and a second at most.
_TICKS: Final = 3
_TICK_MIN_S: Final = 0.02
TICK_MAX_S: Final = 1.0
# By how much of itself a pause is longer or shorter at most, before it ends in one of the moments; on average it is
# what the pacing says. A little more than half of a tick: one poll in a dozen moves to the next moment or the last.
SPREAD: Final = 0.18


class _Moment(asyncio.Event):
    """Set when it is there, or when whoever slept until then has been cancelled."""

    reached = False


class Moments:
    """The moments of a stream's readers. One of those that wait for the same one sleeps, and wakes all others."""

    def __init__(self) -> None:
        self._coming: dict[float, _Moment] = {}

    async def rest(self, pause_s: float, clock: Clock, rng: random.Random) -> None:
        """Returns after about that time."""
        tick_s = min(pause_s / _TICKS, TICK_MAX_S)
        if tick_s < _TICK_MIN_S:
            await clock.sleep(pause_s)
            return
        # Longer or shorter, now and then: the polls of shards that were in step once spread evenly.
        spread_s = pause_s * (1 - SPREAD + 2 * SPREAD * rng.random())
        await self._until(math.ceil((clock.monotonic() + spread_s) / tick_s - 0.5) * tick_s, clock)

    async def _until(self, at: float, clock: Clock) -> None:
        while (left_s := at - clock.monotonic()) > 0:
            moment = self._coming.get(at)
            if moment is None:
                await self._sleep(at, left_s, clock)
                return
            await moment.wait()
            if moment.reached:
                return

    async def _sleep(self, at: float, left_s: float, clock: Clock) -> None:
        moment = self._coming[at] = _Moment()
        try:
            await clock.sleep(left_s)
            moment.reached = True
        finally:
            del self._coming[at]
            moment.set()
