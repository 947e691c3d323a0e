"""A worker's process as its parent has it: started, asked, told to leave, waited for."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from poller.observe.http import Answer
from poller.part import FOUND
from poller.run.ports import Clock

# A probe waits for a second by default, and should still hear of the one that did not answer.
ANSWER_S: Final = 0.9
# A process that has never answered may still be on its way there for so long.
START_S: Final = 30.0
_HOST: Final = "127.0.0.1"
_ANSWER_BYTES_MAX: Final = 64 << 20
_REAP_EVERY_S: Final = 0.01


class Child:
    """The worker of that number. Times are on the clock's monotonic side; None: it has not come to that."""

    def __init__(self, number: int, command: Sequence[str], clock: Clock, *, serves: bool) -> None:
        """`command`: what starts a worker. `serves`: it has pages to be asked for."""
        self.number: Final = number
        self.started_at: float | None = None
        self.answered_at: float | None = None
        self.ended_at: float | None = None
        self.found: Final = asyncio.Event()
        self._command = command
        self._clock = clock
        self._serves = serves
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._tie: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def newborn(self) -> bool:
        """Has it been started just now, and not answered yet?"""
        if self.started_at is None or self.answered_at is not None or self.ended_at is not None:
            return False
        return self._clock.monotonic() - self.started_at < START_S

    def start(self) -> int:
        """Its process id. The sockets that it inherits are open nowhere else, so that its end is the end of them."""
        self._tie, theirs = socket.socketpair()
        self._tie.setblocking(False)
        inherited = {"--tied-to-fd": theirs}
        try:
            if self._serves:
                listening = inherited["--serve-on-fd"] = socket.create_server((_HOST, 0))
                self._port = listening.getsockname()[1]
            options = [word for name, one in inherited.items() for word in (name, str(one.fileno()))]
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                [*self._command, "--process", str(self.number), *options],
                pass_fds=[one.fileno() for one in inherited.values()],
            )
        finally:
            for one in inherited.values():
                one.close()
        self.started_at = self._clock.monotonic()
        return self._process.pid

    async def ended(self) -> int:
        """Waits until the process has ended; its exit code, or minus the signal that killed it."""
        assert self._tie is not None  # noqa: S101 - for the type checker: it was started
        assert self._process is not None  # noqa: S101
        loop, heard = asyncio.get_running_loop(), b""
        with suppress(OSError):  # killed, with something unread on its side
            while said := await loop.sock_recv(self._tie, len(FOUND)):
                heard += said
                if heard.startswith(FOUND):
                    self.found.set()
        while (code := self._process.poll()) is None:
            await self._clock.sleep(_REAP_EVERY_S)
        self.ended_at = self._clock.monotonic()
        self._tie.close()
        return code

    def tell_to_leave(self, reason: str) -> None:
        """Once; it says the reason in its log."""
        if self._tie is not None and self.ended_at is None:
            with suppress(OSError):  # it has ended just now
                self._tie.send(reason.encode("ascii"))
                self._tie.shutdown(socket.SHUT_WR)

    def reload(self) -> None:
        """SIGHUP, for a worker that is at work; one that is still starting has just read the settings."""
        if self._process is not None and self.found.is_set() and self.ended_at is None:
            self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()

    async def ask(self, path: str) -> Answer | None:
        """What it has on that page; None: nothing within `ANSWER_S`."""
        if self._port is None or self.ended_at is not None:
            return None
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await _get(self._port, path)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, KeyError):
            return None
        self.answered_at = self._clock.monotonic()
        return answer


async def _get(port: int, path: str) -> Answer:
    """ValueError, KeyError: an answer of another kind than our own server gives."""
    reader, writer = await asyncio.open_connection(_HOST, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {_HOST}\r\nConnection: close\r\n\r\n".encode("ascii"))
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        if length > _ANSWER_BYTES_MAX:
            raise ValueError(length)
        body = await reader.readexactly(length)
        return Answer(body, headers["content-type"], HTTPStatus(int(status.split(" ")[1])))
    finally:
        writer.transport.abort()


def said_of(code: int) -> str:
    """How a process has ended, in words: `exit code 1`, `SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
