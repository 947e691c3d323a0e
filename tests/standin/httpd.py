"""A minimal HTTP/1.1 server: keep-alive, pipelining, Content-Length and chunked bodies, `Expect: 100-continue`.

It answers one request of a connection at a time, in order, and can be told to answer badly (see `Ending`).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum
from typing import Final, NamedTuple, cast

from tests.standin.wire import Answer

_HEAD_BYTES_MAX: Final = 64 * 1024
_BODY_BYTES_MAX: Final = 8 * 1024 * 1024
_BUFFER_BYTES_MAX: Final = _BODY_BYTES_MAX + _HEAD_BYTES_MAX
_CHUNK_BYTES: Final = 16 * 1024
_REASONS: Final = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 413: "Content Too Large"} | {
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Request(NamedTuple):
    """One request. Header names are lower case."""

    method: bytes
    path: bytes
    headers: dict[bytes, bytes]
    body: bytes


class Ending(Enum):
    """How an exchange ends."""

    ANSWER = "answer"  # as it should
    RESET = "reset"  # the connection is reset and nothing is answered
    HALF = "half"  # the head and half of the body, then the connection ends in order
    HALF_RESET = "half_reset"  # the same, and then it is reset
    HANG = "hang"  # nothing, ever


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and how it is brought."""

    answer: Answer
    ending: Ending = Ending.ANSWER
    delay_s: float = 0.0


class BadRequestError(Exception):
    """The bytes are no request that this server understands; the connection is closed after the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def parse_head(head: bytes) -> tuple[bytes, bytes, dict[bytes, bytes]]:
    """Method, path and headers of a request's head."""
    lines = head.split(b"\r\n")
    words = lines[0].split(b" ")
    if len(words) != 3:
        raise BadRequestError(400, "malformed request line")
    headers: dict[bytes, bytes] = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    return words[0], words[1], headers


def decode_chunked(buffer: bytearray) -> tuple[bytes, int] | None:
    """The body at the buffer's start and how many bytes it took there; None while it is not all there."""
    pieces: list[bytes] = []
    at = 0
    while (line_end := buffer.find(b"\r\n", at)) >= 0:
        try:
            size = int(buffer[at:line_end].split(b";")[0], 16)
        except ValueError:
            raise BadRequestError(400, "malformed chunk size") from None
        if size == 0:
            trailers_end = buffer.find(b"\r\n\r\n", at)
            return None if trailers_end < 0 else (b"".join(pieces), trailers_end + 4)
        start = line_end + 2
        if len(buffer) < start + size + 2:
            return None
        pieces.append(bytes(buffer[start : start + size]))
        at = start + size + 2
    return None


class HttpServer:
    """Listens, keeps its connections, and hands each request to `handle`.

    `chunked` answers with chunked bodies; `close_after` closes a connection after so many answers, 0: never. `defects`
    collects what went wrong in `handle` itself, which is answered with a 500.
    """

    def __init__(self, handle: Callable[[Request], Reply]) -> None:
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._date = (0, "")
        self._asking: Connection | None = None
        self.connections: set[Connection] = set()
        self.chunked = False
        self.close_after = 0
        self.defects: list[Exception] = []

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Binds and listens; returns the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self, loop), host, port, backlog=1024, ssl=tls)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.drop_connections()
            await self._server.wait_closed()

    def drop_connections(self) -> None:
        """Resets every connection, as a load balancer may do at any time; not the one whose request asks for it."""
        for connection in self.connections - {self._asking}:
            connection.reset()

    def reply_to(self, connection: Connection, request: Request) -> Reply:
        self._asking = connection
        try:
            return self._handle(request)
        except Exception as defect:  # noqa: BLE001 - the stand-in's own defect: answered, and raised when it stops
            self.defects.append(defect)
            text = "".join(traceback.format_exception(defect))
            return Reply(Answer(500, (text.encode(),), content_type="text/plain"))
        finally:
            self._asking = None

    def head(self, answer: Answer, *, close: bool) -> bytes:
        lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Other')}", "Server: Server"]
        lines += [f"Date: {self._http_date()}", f"Content-Type: {answer.content_type}"]
        lines.append("Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {answer.size_bytes}")
        lines.append("Connection: close" if close else "Connection: keep-alive")
        if answer.crc32 is not None:
            lines.append(f"x-amz-crc32: {answer.crc32}")
        lines += [f"{name}: {value}" for name, value in answer.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _http_date(self) -> str:
        now = int(asyncio.get_running_loop().time())
        if self._date[0] != now:
            self._date = (now, formatdate(usegmt=True))
        return self._date[1]


def reset_transport(transport: asyncio.WriteTransport) -> None:
    """Ends a connection with a TCP reset: a linger time of zero makes the kernel send RST instead of FIN."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:  # else it has been closed already, and its transport does not know yet
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._head: tuple[bytes, bytes, dict[bytes, bytes]] | None = None
        self._busy = False  # a request is being answered
        self._blocked = False  # the client does not take its answers fast enough
        self._deaf = False  # the client sends more than is answered
        self._answered = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._advance()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()
        if self._transport is not None and not self._deaf and len(self._buffer) > _BUFFER_BYTES_MAX:
            self._deaf = True
            self._transport.pause_reading()

    def reset(self) -> None:
        if self._transport is not None:
            reset_transport(self._transport)

    def _advance(self) -> None:
        try:
            while self._transport is not None and not (self._busy or self._blocked):
                request = self._next_request()
                if request is None:
                    break
                self._busy = True
                self._bring(self._server.reply_to(self, request))
        except BadRequestError as bad:
            self._refuse(bad)

    def _next_request(self) -> Request | None:
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _HEAD_BYTES_MAX:
                    raise BadRequestError(431, "head too large")
                return None
            self._head = parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            if self._head[2].get(b"expect", b"").lower() == b"100-continue" and self._transport is not None:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._take_body(self._head[2])
        if body is None:
            return None
        request = Request(*self._head, body)
        self._head = None
        if self._transport is not None and self._deaf:
            self._deaf = False
            self._transport.resume_reading()
        return request

    def _take_body(self, headers: dict[bytes, bytes]) -> bytes | None:
        if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            decoded = decode_chunked(self._buffer)
            if decoded is None:
                if len(self._buffer) > _BODY_BYTES_MAX:
                    raise BadRequestError(413, "body too large")
                return None
            body, length = decoded
        else:
            try:
                length = int(headers.get(b"content-length", b"0"))
            except ValueError:
                raise BadRequestError(400, "malformed Content-Length") from None
            if length > _BODY_BYTES_MAX:
                raise BadRequestError(413, "body too large")
            if len(self._buffer) < length:
                return None
            body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _bring(self, reply: Reply) -> None:
        if reply.delay_s > 0:
            self._timer = self._loop.call_later(reply.delay_s, self._finish_and_go_on, reply)
        else:
            self._finish(reply)

    def _finish_and_go_on(self, reply: Reply) -> None:
        self._finish(reply)
        self._advance()

    def _finish(self, reply: Reply) -> None:
        if self._transport is None:
            return
        match reply.ending:
            case Ending.ANSWER:
                self._answer(reply.answer)
            case Ending.RESET:
                self.reset()
            case Ending.HALF:
                self._transport.write(self._half(reply.answer))
                self._transport.close()
            case Ending.HALF_RESET:
                self._transport.write(self._half(reply.answer))
                self.reset()
            case Ending.HANG:
                pass  # stays busy for as long as the client has the patience

    def _half(self, answer: Answer) -> bytes:
        body = b"".join(answer.parts)
        return self._server.head(answer, close=False) + body[: len(body) // 2]

    def _answer(self, answer: Answer) -> None:
        assert self._transport is not None
        self._answered += 1
        close = 0 < self._server.close_after <= self._answered
        head = self._server.head(answer, close=close)
        if self._server.chunked:
            self._transport.write(head + _chunks(b"".join(answer.parts)))
        else:
            self._transport.writelines((head, *answer.parts))
        self._busy = False
        if close:
            self._transport.close()

    def _refuse(self, bad: BadRequestError) -> None:
        if self._transport is not None:
            answer = Answer(bad.status, (str(bad).encode(),), content_type="text/plain")
            self._transport.writelines((self._server.head(answer, close=True), *answer.parts))
            self._transport.close()
        self._busy = True


def _chunks(body: bytes) -> bytes:
    pieces: list[bytes] = []
    for at in range(0, len(body), _CHUNK_BYTES):
        piece = body[at : at + _CHUNK_BYTES]
        pieces += [b"%x\r\n" % len(piece), piece, b"\r\n"]
    return b"".join([*pieces, b"0\r\n\r\n"])
