"""One HTTP/1.1 connection, one request at a time, and no more of HTTP than AWS's services and what stands before them.

A large answer's body is received straight into a buffer of its own; everything else goes through httptools. What goes
wrong is said with botocore's own exceptions, so that it is understood in one place (`poller.aws.errors`).
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

import httptools
from botocore.exceptions import ConnectionClosedError, HTTPClientError, ReadTimeoutError

from poller.aws.errors import UnreadableAnswer

_CHUNK_BYTES: Final = 64 << 10
# Far above what any of the services answers: a page has 1 MB, and a record more at most.
_BODY_BYTES_MAX: Final = 64 << 20
# A body from this size on gets a buffer of its own.
_LARGE_BYTES: Final = 16 << 10
_FINAL_STATUS: Final = 200  # below it, an answer only announces another
# The names of headers in lower case; each server has its dozen, and whoever answers in its place could make up others.
_NAMES: Final[dict[bytes, str]] = {}
_NAMES_MAX: Final = 200


class Answer:
    """One answer. Header names are in lower case; of two with one name, the last is kept."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes | bytearray) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class _Incoming:
    """What is there of the answer that comes next. `rest`: what is still empty of `body`, that of a large one."""

    __slots__ = ("body", "filled", "headers", "length", "parts", "rest", "until_eof")

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.body: bytearray | None = None
        self.rest: memoryview | None = None
        self.filled = 0
        self.length: int | None = None
        self.until_eof = False


class Connection(asyncio.BufferedProtocol):
    """The protocol of one connection to `url`. `usable`: it is open, and the next request may go out on it."""

    def __init__(self, url: str) -> None:
        self.usable = False
        self._url = url
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        # Left to run from one request to the next, and set again when it comes: to set and cancel one for each request
        # costs as much as to sign it.
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._silence_max_s = 0.0
        self._heard_at = self._until = 0.0
        self._chunk = memoryview(bytearray(_CHUNK_BYTES))
        self._incoming = _Incoming()
        # As they came, of one message. The parser itself puts them there, without a call into Python for each.
        self._raw_headers: dict[bytes, bytes] = {}
        self.on_header: Final = self._raw_headers.__setitem__
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    async def ask(self, request: bytes, silence_max_s: float, whole_max_s: float) -> Answer:
        """The answer to a request. After anything but an answer the connection is closed.

        ReadTimeoutError: nothing came for so long, or not all of it in time. ConnectionClosedError. UnreadableAnswer:
        half of an answer, or something else.
        """
        transport = self._transport
        if transport is None or not self.usable:
            raise ConnectionClosedError(endpoint_url=self._url)
        self.usable = False
        self._waiter = self._loop.create_future()
        self._heard_at = self._loop.time()
        self._silence_max_s = silence_max_s
        self._until = self._heard_at + whole_max_s
        self._listen_until(min(self._heard_at + silence_max_s, self._until))
        transport.write(request)
        try:
            return await self._waiter
        finally:
            self._waiter = None
            if not self.usable:
                transport.abort()

    def close(self) -> None:
        """At once."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.BufferedProtocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.usable = True

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        rest = self._incoming.rest
        return self._chunk if rest is None else rest

    def buffer_updated(self, nbytes: int) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.close()  # whatever this is, it is no answer to a request that is still to come
            return
        self._heard_at = self._loop.time()
        incoming = self._incoming
        if incoming.rest is None:
            self._parse(self._chunk[:nbytes])
            return
        incoming.filled += nbytes
        incoming.rest = incoming.rest[nbytes:]
        if not incoming.rest:
            self._complete()

    def eof_received(self) -> None:
        """The transport closes itself, and `connection_lost` follows."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        incoming = self._incoming
        if exc is not None:
            self._fail(ConnectionClosedError(endpoint_url=self._url, error=exc))
        elif incoming.until_eof:
            self._complete()
        elif incoming.length is not None:
            text = f"{incoming.filled} bytes came of {incoming.length} announced"
            self._fail(UnreadableAnswer("AnswerCutShort", text))
        elif incoming.headers:
            self._fail(UnreadableAnswer("AnswerCutShort", "the connection was closed in the middle of the answer"))
        else:
            self._fail(ConnectionClosedError(endpoint_url=self._url))
        # They refer to this as well, and the garbage collector comes seldom: while a queue fails, connections go by the
        # dozen, with 64 kB each.
        self._parser = self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- httptools ---

    def on_message_begin(self) -> None:
        self._raw_headers.clear()  # of what may stand behind a body
        if self._waiter is None or self._waiter.done():
            self.usable = False  # a second answer to one request

    def on_headers_complete(self) -> None:
        incoming = self._incoming
        incoming.headers = {
            _NAMES.get(name) or _lower(name): value.decode("latin-1") for name, value in self._raw_headers.items()
        }
        if self._status < _FINAL_STATUS or "transfer-encoding" in incoming.headers:
            return
        length = incoming.headers.get("content-length")
        if length is None:
            incoming.until_eof = True
            return
        incoming.length = int(length)
        if incoming.length >= _LARGE_BYTES:
            _check_size(incoming.length)
            incoming.body = bytearray(incoming.length)

    def on_body(self, part: bytes) -> None:
        incoming = self._incoming
        begin = incoming.filled
        incoming.filled += len(part)
        _check_size(incoming.filled)
        if incoming.body is None:
            incoming.parts.append(part)
        else:
            incoming.body[begin : incoming.filled] = part

    def on_message_complete(self) -> None:
        if self._status < _FINAL_STATUS:
            self._incoming = _Incoming()
        else:
            self._complete()

    # --- the answer ---

    @property
    def _status(self) -> int:
        return 0 if self._parser is None else self._parser.get_status_code()

    def _parse(self, chunk: memoryview) -> None:
        if self._parser is None:
            return
        try:
            self._parser.feed_data(chunk)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(UnreadableAnswer("UnreadableAnswer", "the answer is no HTTP that is understood here"))
            return
        incoming = self._incoming
        if incoming.body is not None:
            incoming.rest = memoryview(incoming.body)[incoming.filled :]

    def _complete(self) -> None:
        waiter, transport, parser, incoming = self._waiter, self._transport, self._parser, self._incoming
        self._incoming = _Incoming()
        if waiter is None or waiter.done() or transport is None or parser is None:
            return
        body = b"".join(incoming.parts) if incoming.body is None else incoming.body
        waiter.set_result(Answer(parser.get_status_code(), incoming.headers, body))
        # An answer to a request that was not even taken whole is the last one on its connection.
        self.usable = parser.should_keep_alive() and not incoming.until_eof and not transport.get_write_buffer_size()
        if incoming.body is not None:
            self._parser = httptools.HttpResponseParser(self)  # this one waits for a body that went past it

    def _fail(self, error: HTTPClientError | UnreadableAnswer) -> None:
        self.usable = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _listen_until(self, at: float) -> None:
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(at, self._listen), at

    def _listen(self) -> None:
        """Has something been heard in time?"""
        self._timer = None
        if self._waiter is None:
            return
        at = min(self._heard_at + self._silence_max_s, self._until)
        if at > self._loop.time():
            self._listen_until(at)
        else:
            self._fail(ReadTimeoutError(endpoint_url=self._url, error="no whole answer in time"))


def _lower(name: bytes) -> str:
    """A header's name in lower case."""
    known = name.decode("latin-1").lower()
    if len(_NAMES) < _NAMES_MAX:
        _NAMES[name] = known
    return known


def _check_size(size_bytes: int) -> None:
    if size_bytes > _BODY_BYTES_MAX:
        raise ValueError("larger than any answer of the services")
