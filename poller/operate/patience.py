"""Some tries more, for commands that somebody waits for: what passes in seconds need not be told."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from poller.decide.retry import Backoff
from poller.errors import Throttled, Unavailable
from poller.run.ports import Clock

T = TypeVar("T")

TRIES: Final = 4
BACKOFF: Final = Backoff(first_s=0.2, max_s=3.0)


async def patiently(call: Callable[[], Awaitable[T]], clock: Clock, rng: random.Random) -> T:
    """What the call returns or raises, at the last try if it is throttled or unavailable before."""
    for attempt in range(1, TRIES):
        with suppress(Throttled, Unavailable):
            return await call()
        await clock.sleep(BACKOFF.wait_s(attempt, rng.random()))
    return await call()
