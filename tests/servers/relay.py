"""A TCP relay before a server: cuts the line, holds it up, slows it down, resets it, loses answers; half-open lines.

The server keeps its contents, whatever becomes of the line.

It runs in a thread of its own, so that its methods may be called from tests of every kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine
from typing import Any, Final, Self

from tests.standin.httpd import reset_transport

_PIECE_BYTES: Final = 64 * 1024
_COMMAND_TIMEOUT_S: Final = 10.0
_TRICKLE_S: Final = 0.05


class Relay:
    """Listens on a free port of the loopback interface and passes everything on to `target_port`.

    May be set at any moment: `delay_s`, how long every piece of up to 64 KiB is held, each way; `bytes_per_s`, how fast
    bytes trickle through a connection, each way; `lose_every`, of how many answers one is lost: the server has done
    what it was asked to, and the line is reset in the midst of its answer.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        # Bound and never listening: while the line is cut it keeps the port ours, and connections to it are refused.
        self._holder = _bound_socket(0)
        self.port = int(self._holder.getsockname()[1])
        self._deaf = False
        self._answers = 0
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self.lose_every: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop.call_soon_threadsafe(self._flowing.set)
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_COMMAND_TIMEOUT_S)
        self._loop.close()
        self._holder.close()

    @property
    def connections(self) -> int:
        """How many clients are connected through it."""
        return len(self._tasks)

    def cut(self) -> None:
        """Resets every connection and refuses new ones, until `restore`."""
        self._do(self._cut())

    def restore(self) -> None:
        """Listens again."""
        self._do(self._listen())

    def reset(self) -> None:
        """Resets every connection; new ones pass."""
        self._do(self._reset())

    def freeze(self) -> None:
        """Holds everything up, until `thaw`: connections stay open, new ones are accepted, and no byte passes."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def thaw(self) -> None:
        """Lets everything pass again, what was held up first."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def deafen(self) -> None:
        """Half-open: connections are accepted and bytes taken, and nobody ever answers. Open ones end up so as well."""
        self._loop.call_soon_threadsafe(setattr, self, "_deaf", True)

    def hear(self) -> None:
        """The end of it. What was said is lost, so that the connections of that time are reset."""
        self._do(self._hear())

    def mend(self) -> None:
        """As on the first day."""
        self.delay_s, self.bytes_per_s, self.lose_every = 0.0, None, None
        self.thaw()
        self.hear()
        self.restore()

    def _do(self, command: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(command, self._loop).result(_COMMAND_TIMEOUT_S)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, sock=_bound_socket(self.port))

    async def _cut(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            # asyncio forgets to close what it has accepted and not yet passed on when its server is closed.
            for listening in server.sockets:
                self._loop.remove_reader(listening.fileno())
            await asyncio.sleep(0)
            server.close()
        await self._reset()

    async def _hear(self) -> None:
        if self._deaf:
            self._deaf = False
            await self._reset()

    async def _reset(self) -> None:
        for line in list(self._lines):
            reset_transport(line.transport)

    async def _end(self) -> None:
        await self._cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        lines = {writer}
        self._lines.add(writer)
        try:
            if self._deaf:
                await _swallow(reader)
                return
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            lines.add(there_writer)
            self._lines.add(there_writer)
            await asyncio.gather(self._pass_on(reader, there_writer), self._pass_on(there_reader, writer, answers=True))
        except OSError:
            for line in lines:  # nobody is there, or one side has gone: so has the line
                if not line.is_closing():
                    reset_transport(line.transport)
        finally:
            for line in lines:
                line.close()
            self._lines -= lines
            self._tasks.discard(task)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            await asyncio.sleep(self.delay_s)
            await self._flowing.wait()
            if self._deaf:
                continue
            if answers and self._to_be_lost():
                writer.write(piece[: len(piece) // 2])
                raise ConnectionResetError("this answer is to be lost")
            await self._write(writer, piece)
        with contextlib.suppress(OSError):
            writer.write_eof()

    def _to_be_lost(self) -> bool:
        self._answers += 1
        return self.lose_every is not None and self._answers % self.lose_every == 0

    async def _write(self, writer: asyncio.StreamWriter, piece: bytes) -> None:
        while piece and (rate := self.bytes_per_s) is not None:
            some = max(1, int(rate * _TRICKLE_S))
            writer.write(piece[:some])
            piece = piece[some:]
            await writer.drain()  # raises once the line is reset
            await asyncio.sleep(_TRICKLE_S)
        writer.write(piece)
        await writer.drain()


async def _swallow(reader: asyncio.StreamReader) -> None:
    while await reader.read(_PIECE_BYTES):
        pass


def _bound_socket(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock
