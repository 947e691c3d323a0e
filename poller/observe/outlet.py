"""Where lines go: a file descriptor that is written to without ever waiting for whoever reads it.

A reader that stands still (a log driver whose disk is full, a terminal that was stopped) must not stop the daemon.
"""

from __future__ import annotations

import errno
import io
import os
import select

from typing_extensions import Buffer, override


class Outlet(io.RawIOBase):
    """A line goes out whole or not at all. OSError: it did not; BlockingIOError if nobody reads what is there already.

    A line that has begun is finished before the next one, however long that takes. The descriptor stays as it is, since
    others may write to it as well: hence no O_NONBLOCK, but pieces that a pipe takes at once when it takes any.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    @override
    def writable(self) -> bool:
        return True

    @override
    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    @override
    def write(self, line: Buffer, /) -> int:
        """Line by line: whole ones."""
        self._pour()
        if self._rest:
            raise BlockingIOError(errno.EAGAIN, "nobody reads it")
        whole = self._rest = bytes(line)
        try:
            self._pour()
        except OSError:
            if self._rest == whole:
                self._rest = b""
                raise
        if self._rest == whole:
            self._rest = b""
            raise BlockingIOError(errno.EAGAIN, "nobody reads it")
        return len(whole)

    def _pour(self) -> None:
        while self._rest and self._poll.poll(0):
            written = os.write(self._descriptor, self._rest[: select.PIPE_BUF])
            self._rest = self._rest[written:]


class TextOutlet:
    """The same for text."""

    def __init__(self, descriptor: int) -> None:
        self._outlet = Outlet(descriptor)

    def write(self, text: str) -> None:
        self._outlet.write(text.encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """Nothing is kept back."""
