"""An event loop whose time is virtual: it jumps to the next timer as soon as nothing else can happen.

The real loops of `poller/run/` run on it at full speed, in an order that depends on nothing outside.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

WALL_AT_START_S = 1_795_000_000.0


class Deadlock(Exception):
    """Every task waits, and no timer will wake any of them."""


class _Selector(selectors.SelectSelector):
    """Waits for nobody: what it would have slept is added to the loop's time."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        super().__init__()
        self._advance = advance

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Deadlock
        self._advance(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 1,000 s and only moves when the loop has nothing else to do."""

    def __init__(self) -> None:
        self._now_s = 1_000.0
        super().__init__(_Selector(self._advance))

    def time(self) -> float:
        return self._now_s

    def freeze(self, seconds: float) -> None:
        """Nothing runs for so long, as in a process that gets SIGSTOP and SIGCONT."""
        self._advance(seconds)

    def _advance(self, seconds: float) -> None:
        # A timer is due when it is less than the clock's resolution away: land just behind it, never before.
        self._now_s += max(seconds, 1e-9)


class VirtualClock:
    """`poller.run.ports.Clock` on a virtual loop; `wall_offset_s` is the test's to move."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.wall_offset_s = 0.0

    def monotonic(self) -> float:
        return self._loop.time()

    def wall(self) -> float:
        return WALL_AT_START_S + self._loop.time() + self.wall_offset_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def freeze(self, seconds: float) -> None:
        """As `VirtualLoop.freeze`: the caller and everybody else find it later all at once."""
        self._loop.freeze(seconds)


def run(main: Callable[[VirtualClock], Coroutine[Any, Any, T]], *, at_most_s: float = 36_000.0) -> T:
    """Runs `main` to its end on a virtual loop. TimeoutError: it was not over after so many virtual seconds."""
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:

        async def bounded() -> T:
            async with asyncio.timeout(at_most_s):
                return await main(VirtualClock(loop))

        return runner.run(bounded())
