"""The system's clocks."""

from __future__ import annotations

import asyncio
import time

# A suspended machine must find its leases over when it wakes: CLOCK_MONOTONIC stands still meanwhile, CLOCK_BOOTTIME
# does not. Elsewhere than on Linux the monotonic clock is what there is.
_MONOTONIC = getattr(time, "CLOCK_BOOTTIME", None) or getattr(time, "CLOCK_MONOTONIC", None)


class SystemClock:
    """The clock of this machine (port `poller.run.ports.Clock`)."""

    def monotonic(self) -> float:
        return time.monotonic() if _MONOTONIC is None else time.clock_gettime(_MONOTONIC)

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
