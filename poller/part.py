"""What a process knows of being one of several (`poller run --processes N`): its number, and the tie to its parent.

The tie is a pair of sockets. Its end tells either side that the other is gone, however that died, on every system.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from poller.events import DaemonReady, Event

# What the child says: it has found all that its settings name, and the others may start.
FOUND: Final = b"found\n"
_WORD_BYTES_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class Part:
    """`number`: from 1. The descriptors are inherited; `serve_on_fd`: a socket that listens already; None: no HTTP."""

    number: int
    tied_to_fd: int
    serve_on_fd: int | None = None


class Tie:
    """The child's end. It is a sink of events, which tell what the parent waits for."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._heard = b""
        self._found = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, DaemonReady) and not self._found:
            self._found = True
            with suppress(OSError):  # the parent is gone, which is heard of as well
                self._socket.send(FOUND)

    def takers(self, kind: type[Event]) -> tuple[Callable[[Event], None], ...]:
        """Nothing but for the one kind (`poller.observe.fanout.Choosy`)."""
        return (self,) if kind is DaemonReady else ()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """To the parent this is the process's end."""
        self._socket.close()

    def listen(self, leave: Callable[[str], None]) -> None:
        """From now on `leave` is called when the parent says so, with its reason, or is gone."""
        loop = asyncio.get_running_loop()

        def hear() -> None:
            try:
                said = self._socket.recv(_WORD_BYTES_MAX)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                said = b""
            self._heard += said
            if not said or len(self._heard) > _WORD_BYTES_MAX:
                loop.remove_reader(self._socket)
                leave(self._heard.decode("ascii", "replace").strip() or "the parent process is gone")

        loop.add_reader(self._socket, hear)
