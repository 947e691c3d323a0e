"""What reference counting does not free: the daemon lets the garbage collector come seldom, so this must be little."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError

from poller.aws.direct.http import Answer, Connection
from poller.errors import PollerError

_KEPT = (Connection, Answer, PollerError, BotoCoreError)


@contextmanager
def no_garbage() -> Iterator[None]:
    """Fails if connections, answers or errors are left over from the block that only the collector can free."""
    gc.collect()
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [type(one).__name__ for one in gc.garbage if isinstance(one, _KEPT)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left == []
