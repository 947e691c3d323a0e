"""Where lines go: a file descriptor that is written to without ever waiting for whoever reads it.

A reader that stands still (a log driver whose disk is full, a terminal that was stopped) must not stop the daemon.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
from contextlib import suppress
from typing import BinaryIO, TextIO, cast

from typing_extensions import Buffer, override

from poller.observe.fanout import Text


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


def standard_output(*, shared: bool = False) -> BinaryIO:
    """Where the log goes; nowhere for a process that was started with its output closed.

    `shared`: other processes write there at the same time, none of them more than a pipe takes at once.
    """
    if sys.stdout is None:
        return open(os.devnull, "wb")
    descriptor = _descriptor(sys.stdout)
    if descriptor is None:
        return sys.stdout.buffer
    return cast("BinaryIO", Outlet(_unwaiting(descriptor) if shared else descriptor))


def _unwaiting(descriptor: int) -> int:
    """For a pipe that others may fill between a look and a write: the same pipe opened anew, as one that never waits.

    Only Linux knows how, and not everybody may; else it stays as it is, and the write waits in that one moment.
    """
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        with suppress(OSError):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
    return descriptor


def last_resort() -> Text:
    """Where it is said that the log fails."""
    if sys.stderr is None:
        return io.StringIO()
    descriptor = _descriptor(sys.stderr)
    return sys.stderr if descriptor is None else TextOutlet(descriptor)


def _descriptor(stream: TextIO) -> int | None:
    """None for what somebody has put in its place."""
    try:
        return stream.fileno()
    except io.UnsupportedOperation:
        return None


def give_up_standard_output() -> None:
    """What nobody reads any more is still in the buffer: Python's own end would fail on it, with exit code 120."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
