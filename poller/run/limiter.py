"""The limiter behind the port `poller.run.ports.Limiter`: asyncio-throttle's sliding window, without its traps.

Pacing decides when to call; this is the safety net below it, so that no defect there can exceed a service's rate.
"""

from __future__ import annotations

import asyncio
from weakref import WeakSet

from asyncio_throttle.throttler import Throttler

from poller.events import Emit, LimiterWaited
from poller.run.ports import Clock


class ThrottleLimiter(Throttler):
    """At most `rate` calls a second, in the order of asking.

    Of asyncio-throttle 1.0.2 it keeps the log of calls in a window. Its `acquire` wakes every 10 ms while it waits,
    lets waiters overtake each other and reads the real clock: this one sleeps exactly until the window has room, in
    order, on the clock that it is given. ValueError: a rate that is not positive, on which the original would hang.
    """

    def __init__(self, name: str, rate: float, clock: Clock, emit: Emit) -> None:
        super().__init__(rate_limit=1)
        self.set_rate(rate)
        self._name = name
        self._clock = clock
        self._emit = emit
        self._turn = asyncio.Lock()
        self._waiting = 0

    def set_rate(self, rate: float) -> None:
        """From the next call on."""
        if not rate > 0:
            raise ValueError(f"a limiter needs a positive rate, not {rate}")
        self.rate_limit = max(1, round(rate))
        self.period = self.rate_limit / rate

    def flush(self) -> None:
        """Forgets the calls that have left the window."""
        now, period, log = self._clock.monotonic(), self.period, self._task_logs
        # Reckoned as `acquire` does when it waits, so that a call that waited so long finds room: rounding decides.
        while log and log[0] + period - now <= 0:
            log.popleft()

    async def acquire(self) -> None:
        """Returns when the next call may be made."""
        asked = self._clock.monotonic()
        if not self._waiting:
            self.flush()
            if len(self._task_logs) < self.rate_limit:  # nearly always
                self._task_logs.append(asked)
                return
        self._waiting += 1
        try:
            async with self._turn:
                now = await self._room()
        finally:
            self._waiting -= 1
        if now > asked:
            self._emit(LimiterWaited(limiter=self._name, seconds=now - asked))

    async def _room(self) -> float:
        """Waits until the window has room for a call, and takes it; when that was."""
        self.flush()
        while len(self._task_logs) >= self.rate_limit:
            await self._clock.sleep(max(0.0, self._task_logs[0] + self.period - self._clock.monotonic()))
            self.flush()
        now = self._clock.monotonic()
        self._task_logs.append(now)
        return now


class ShardLimiters:
    """A limiter for each shard, all with the same rate, which may change while they are in use."""

    def __init__(self, name: str, rate: float, clock: Clock, emit: Emit) -> None:
        self._name = name
        self._rate = rate
        self._clock = clock
        self._emit = emit
        self._made: WeakSet[ThrottleLimiter] = WeakSet()

    def __call__(self) -> ThrottleLimiter:
        """A new one."""
        limiter = ThrottleLimiter(self._name, self._rate, self._clock, self._emit)
        self._made.add(limiter)
        return limiter

    def set_rate(self, rate: float) -> None:
        """Of all of them, from the next call on."""
        self._rate = rate
        for limiter in self._made:
            limiter.set_rate(rate)
