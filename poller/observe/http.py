"""Metrics and health over HTTP, on the event loop itself: a loop that stands still answers nobody, and fails its probe.

Nothing that a client does may cost much: requests are small, connections few, and whoever dawdles is cut off.
On loopback it answers to no name but this machine's: a page of the web cannot read it by a name of its own.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Generic, Protocol, TypeVar

from aiohttp import web

from poller.errors import ConfigurationError
from poller.observe.exposition import CONTENT_TYPE

CONNECTIONS_MAX: Final = 64
# A connection that brings no whole request for so long is closed, be it slow, silent or just kept alive.
IDLE_S: Final = 15.0
# An answer that its reader does not take in so long is given up, and its bytes with it.
ANSWER_S: Final = 5.0
_LINE_BYTES_MAX: Final = 4096
# What a connection may bring before it is answered: far more than a request that anybody sends, bodies included.
_UNANSWERED_BYTES_MAX: Final = 1 << 16

_TEXT: Final = "text/plain; charset=utf-8"
_METHODS: Final = ("GET", "HEAD")
# aiohttp's own default tells its version and Python's.
_HEADERS: Final = {"Server": "poller", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page says."""

    body: bytes
    content_type: str = _TEXT
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


# What an answer is made from is known here, or has to be asked for elsewhere.
Known = Callable[[], Answer]
Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Queried(Generic[T]):
    """A page that takes what the address has behind its `?`."""

    answer: Callable[[Query], T]

    def __call__(self) -> T:
        return self.answer({})


Page = Known | Callable[[], Awaitable[Answer]]
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Health(Protocol):
    """What there is to tell of a daemon's health."""

    def readiness(self) -> Answer: ...

    def status(self, query: Query = ..., /) -> Answer: ...


def standard_pages(
    render_metrics: Callable[[], bytes], health: Health | None = None, front: Known | None = None
) -> dict[str, Known]:
    """The pages that every process has, by path, and those of a daemon's health; another one is one line more.

    `front` is the one for people.
    """
    pages: dict[str, Known] = {
        "/metrics": lambda: Answer(render_metrics(), CONTENT_TYPE),
        "/livez": lambda: Answer(b"ok\n"),
    }
    if health is not None:
        pages["/readyz"] = health.readiness
        pages["/status"] = Queried(health.status)
    if front is not None:
        pages["/"] = front
    return pages


class HttpServer:
    """Serves `pages` by path, to GET and HEAD."""

    def __init__(
        self,
        pages: Mapping[str, Page],
        *,
        connections_max: int = CONNECTIONS_MAX,
        idle_s: float = IDLE_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._pages = dict(pages)
        self._connections_max = connections_max
        self._idle_s = idle_s
        self._answer_s = answer_s
        self._names: frozenset[str] | None = None
        self._listener: _Listener | None = None
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> str:
        """Listens; the answer is the URL. Port 0: any free one. ConfigurationError: host or port cannot be had."""
        loop = asyncio.get_running_loop()
        self._names = _names_of(host)
        self._listener = _Listener(self._answer, self._connections_max, self._idle_s)
        try:
            self._server = await loop.create_server(self._listener, host, port)
        except (OSError, UnicodeError) as error:
            raise ConfigurationError(_refusal(host, port, error)) from error
        bound = self._server.sockets[0].getsockname()[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{bound}"

    async def start_on(self, listening: socket.socket) -> None:
        """Takes over a socket that listens already."""
        self._names = _names_of(str(listening.getsockname()[0]))
        self._listener = _Listener(self._answer, self._connections_max, self._idle_s)
        self._server = await asyncio.get_running_loop().create_server(self._listener, sock=listening)

    async def stop(self) -> None:
        """Closes everything at once, whatever clients are doing."""
        if self._server is None or self._listener is None:
            return
        self._server.close()
        await self._listener.cut_all()
        await self._server.wait_closed()
        self._server = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await self._respond(request)
        if isinstance(request.protocol, _Connection):
            request.protocol.unanswered_bytes = 0
        try:
            async with asyncio.timeout(self._answer_s):
                await response.prepare(request)
                await response.write_eof()
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        if request.method not in _METHODS:
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": ", ".join(_METHODS)})
        if self._names is not None and not _names_one_of(request.headers.get("Host", ""), self._names):
            return _plain(HTTPStatus.MISDIRECTED_REQUEST)
        page = self._pages.get(request.path)
        if page is None:
            return _plain(HTTPStatus.NOT_FOUND)
        made = page.answer(request.query) if isinstance(page, Queried) else page()
        answer = made if isinstance(made, Answer) else await made
        headers = {**_HEADERS, "Content-Type": answer.content_type, **answer.headers}
        return web.Response(body=answer.body, status=answer.status, headers=headers)


def _names_of(host: str) -> frozenset[str] | None:
    """The names that whoever listens there answers to; None: to any, since what it is called there nobody knows."""
    return frozenset({"localhost", host.lower()}) if _is_loopback(host) else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _names_one_of(written: str, names: frozenset[str]) -> bool:
    """Is a Host header one of these names, an address, or nothing at all? Browsers never leave it out."""
    host = re.sub(r":\d*$", "", written.lower())
    if not host or host in names:
        return True
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _plain(status: HTTPStatus, headers: Mapping[str, str] | None = None) -> web.Response:
    body = f"{status.value} {status.phrase}\n".encode()
    return web.Response(body=body, status=status, headers={**_HEADERS, "Content-Type": _TEXT, **(headers or {})})


def _refusal(host: str, port: int, error: OSError | UnicodeError) -> str:
    mend = "choose another one (POLLER_HTTP_PORT), or 0 for any that is free"
    # No errno: what asyncio says since Python 3.13 when none of the addresses is this machine's.
    if isinstance(error, socket.gaierror | UnicodeError) or error.errno in (None, errno.EADDRNOTAVAIL):
        return f'http.host = "{host}": not an address of this machine; choose one that is, such as "127.0.0.1"'
    if error.errno == errno.EADDRINUSE:
        return f"http.port = {port}: another process listens there on {host}; {mend}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"http.port = {port}: this user may not listen there; {mend}"
    return f"http.port = {port}: cannot listen there on {host} ({error.strerror}); {mend}"


class _Connection(web.RequestHandler):
    """A connection whose errors neither fill the log with what strangers send nor tell them what runs here.

    Whoever sends on and on is cut off: aiohttp takes in what comes after a request that it refuses, and keeps it in the
    errors that it makes of it.
    """

    unanswered_bytes = 0

    def data_received(self, data: bytes) -> None:
        self.unanswered_bytes += len(data)
        if self.unanswered_bytes <= _UNANSWERED_BYTES_MAX:
            super().data_received(data)
        elif isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature
    ) -> web.StreamResponse:
        if status >= 500:
            _log.error("%s failed", request.path, exc_info=exc)
        response = _plain(HTTPStatus(status))
        response.force_close()
        return response


class _Listener(web.Server):
    """Makes connections and keeps them few: one more than `connections_max` costs the oldest its place.

    So that the probe which decides over this process's life gets through, however many connections lie about half-open.
    """

    def __init__(self, handler: Handler, connections_max: int, idle_s: float) -> None:
        super().__init__(handler)
        self._connections_max = connections_max
        self._idle_s = idle_s
        self._open: dict[web.RequestHandler, asyncio.Transport] = {}

    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # how aiohttp is told to keep none
            keepalive_timeout=self._idle_s,
            lingering_time=0.0,
            max_line_size=_LINE_BYTES_MAX,
            max_field_size=_LINE_BYTES_MAX,
            auto_decompress=False,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        if len(self._open) >= self._connections_max:
            oldest = next(iter(self._open))
            self._open.pop(oldest).abort()
        self._open[handler] = transport
        super().connection_made(handler, transport)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._open.pop(handler, None)
        super().connection_lost(handler, exc)

    async def cut_all(self) -> None:
        for transport in self._open.values():
            transport.abort()
        await self.shutdown(timeout=1.0)
