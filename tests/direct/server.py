"""A server that answers with the bytes that a test gives it, in the pieces in which it gives them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

CLOSE = b"<close>"
RESET = b"<reset>"
HANG = b"<hang>"


def answer(body: bytes = b"{}", *headers: str, status: str = "200 OK") -> bytes:
    """A whole answer with the length of its body."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass
class Server:
    """`scripts`: for each request in turn, the pieces of its answer, or what becomes of the connection.

    `requests`: what came, each whole. `connections`: how many there were. `asked` is set when a request came.
    """

    port: int = 0
    scripts: list[Sequence[bytes]] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    early: bool = False  # answer before the request's body was read
    pause_s: float = 0.0  # between two pieces

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            body = b"" if self.early else await reader.readexactly(length)
            self.requests.append(head + body)
            self.asked.set()
            for piece in self.scripts.pop(0):
                if piece == CLOSE:
                    writer.close()
                    await writer.wait_closed()
                    return
                if piece == RESET:
                    # Zero seconds to linger: the close is a reset.
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    writer.transport.abort()
                    return
                if piece == HANG:
                    await asyncio.sleep(3600)
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(self.pause_s)


@asynccontextmanager
async def serving(*scripts: Sequence[bytes], context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on a free port of the loopback."""
    server = Server(scripts=list(scripts))
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve(reader, writer)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
