"""A command on a terminal, as somebody sits before it: what is shown, what is typed, Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from typing import Self

from tests.e2e.daemon import DEADLINE_S, wait_until

_ROWS = 40


class Terminal:
    """`python -m poller ARGUMENTS` on a terminal so many columns wide, for as long as the block lasts."""

    def __init__(self, *arguments: str, environment: Mapping[str, str], columns: int = 100) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
        self._ours = ours
        self._shown = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "poller", *arguments],
            env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,  # the terminal of whoever runs the tests is none of its business
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join(DEADLINE_S)
        os.close(self._ours)

    def _read(self) -> None:
        try:
            while some := os.read(self._ours, 65536):
                self._shown += some
        except OSError:
            return  # nobody has the other end open any more

    @property
    def shown(self) -> str:
        """Everything that was ever shown, with what moves the cursor."""
        return self._shown.decode(errors="replace")

    def until_shown(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.shown.count(text) >= times, lambda: f"{text!r} not {times} times in {self.shown!r}")

    def keys_count_at_once(self) -> bool:
        """And are not shown; otherwise it is as a shell leaves it."""
        return not termios.tcgetattr(self._ours)[3] & (termios.ICANON | termios.ECHO)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def ended(self) -> int:
        """Waits for the end; the exit code."""
        code = self._process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return code
