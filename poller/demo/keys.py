"""What is typed while the demo runs: single keys, without Return. The terminal is as it was before afterwards."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

READ_BYTES: Final = 64


class Keys:
    """The keys of a terminal (its file descriptor), or of nobody."""

    def __init__(self, terminal: int | None) -> None:
        self._terminal = terminal

    @property
    def there(self) -> bool:
        return self._terminal is not None

    def typed(self, wait_s: float) -> str:
        """What was typed within `wait_s`, at once when something is; empty: nothing."""
        if self._terminal is None:
            time.sleep(wait_s)
            return ""
        if not select.select([self._terminal], [], [], wait_s)[0]:
            return ""
        try:
            some = os.read(self._terminal, READ_BYTES)
        except OSError:  # the terminal is gone; its SIGHUP ends the demo, unless that is ignored
            some = b""
        if not some:
            self._terminal = None
        return some.decode("ascii", errors="ignore").lower()


@contextmanager
def keys_of_terminal() -> Iterator[Keys]:
    """Keys count at once and are not shown, if this is a terminal that somebody sits at. Ctrl-C stays what it is."""
    if not _somebody_types():
        yield Keys(None)
        return
    import termios  # noqa: PLC0415 - not everywhere
    import tty  # noqa: PLC0415

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def on_continued(*_: object) -> None:
        """After Ctrl-Z and `fg` the terminal is as the shell had it meanwhile."""
        if _somebody_types():
            tty.setcbreak(terminal)

    before_continued = signal.signal(signal.SIGCONT, on_continued)
    try:
        tty.setcbreak(terminal)
        yield Keys(terminal)
    finally:
        signal.signal(signal.SIGCONT, before_continued)
        # What is typed and not read is meant for the demo, not for the shell after it.
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)


def _somebody_types() -> bool:
    """A job in the background would be stopped for touching the terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:  # a terminal that is not this session's own, which nobody can send to the background
        return True
