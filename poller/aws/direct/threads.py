"""What blocks, in a daemon thread of its own: one that hangs holds up neither its caller nor the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """What the function returns or raises. A caller that is cancelled leaves the thread behind."""
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if waiter.done():
            return
        if error is None:
            waiter.set_result(result)  # type: ignore[arg-type]
        else:
            waiter.set_exception(error)

    def run() -> None:
        result: T | None = None
        error: Exception | None = None
        try:
            result = function()
        except Exception as raised:  # noqa: BLE001 - it is the caller's
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="aws-direct", daemon=True).start()
    return await waiter


def ignore(task: asyncio.Task[Any]) -> None:
    """Whoever waits for it has its error; where nobody does it is simply made again."""
    if not task.cancelled():
        task.exception()
