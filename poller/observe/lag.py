"""How late the event loop wakes a timer: whatever blocks the loop delays renewals, and shows here first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from poller.events import Emit, LoopLagged

INTERVAL_S = 0.5


class LagMeter:
    """Sleeps on `sleep` and measures with `monotonic`, both in seconds and of one clock."""

    def __init__(
        self,
        emit: Emit,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._emit = emit
        self._monotonic = monotonic
        self._sleep = sleep
        self._interval_s = interval_s

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.step()

    async def step(self) -> None:
        """One measurement."""
        due = self._monotonic() + self._interval_s
        await self._sleep(self._interval_s)
        self._emit(LoopLagged(seconds=max(0.0, self._monotonic() - due)))
