"""Two ways to wait that every loop needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """Returns when the event is set, or after so long; it is not set then."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()


async def bounded(seconds: float, work: Sequence[Awaitable[bool]]) -> bool:
    """Did every part of the work succeed, and within the bound?"""
    try:
        async with asyncio.timeout(seconds):
            return all(await asyncio.gather(*work))
    except TimeoutError:
        return False
