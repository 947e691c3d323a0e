"""The connections to one endpoint: made when they are needed, kept while they are good."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, SSLError

from poller.aws.direct.blueprint import Origin
from poller.aws.direct.http import Answer, Connection
from poller.aws.direct.threads import ignore, in_thread

# AWS closes a connection that was idle for about 20 s and more. One that is closed by the other side is known at once;
# one that something on the way has forgotten is not, and whoever asks on it waits for nothing.
_IDLE_MAX_S: Final = 15.0
# How many questions to the resolver are left behind at most, each with its thread: one that hangs does so for minutes.
_QUESTIONS_MAX: Final = 4


class Connections:
    """The connections to an origin; `url` is its name in errors, `context` None for plain http.

    Those of another event loop than the running one are forgotten.
    """

    def __init__(self, origin: Origin, url: str, context: ssl.SSLContext | None, connect_max_s: float) -> None:
        self._origin = origin
        self._url = url
        self._context = context
        self._connect_max_s = connect_max_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: list[tuple[Connection, float]] = []
        self._question: asyncio.Task[list[str]] | None = None
        self._questions = 0
        self._asked_at = 0.0

    async def ask(self, request: Callable[[], bytes], silence_max_s: float, whole_max_s: float) -> Answer:
        """One request, made by `request` when there is a connection for it.

        Raises what it raises, and what `Connection.ask` does. EndpointConnectionError, ConnectTimeoutError, SSLError:
        there is no connection.
        """
        loop = asyncio.get_running_loop()
        connection = self._take(loop) or await self._connect(loop)
        try:
            return await connection.ask(request(), silence_max_s, whole_max_s)
        finally:
            if connection.usable:
                self._idle.append((connection, loop.time()))

    def close(self) -> None:
        for connection, _ in self._idle:
            connection.close()
        self._idle.clear()

    def _take(self, loop: asyncio.AbstractEventLoop) -> Connection | None:
        """The one that was used last, so that the others may go."""
        if loop is not self._loop:
            self._loop = loop
            self._idle.clear()
            self._question, self._questions = None, 0
        oldest = loop.time() - _IDLE_MAX_S
        while self._idle and self._idle[0][1] < oldest:
            self._idle.pop(0)[0].close()
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        """One address after another, each with its share of the time."""
        until = loop.time() + self._connect_max_s
        try:
            async with asyncio.timeout_at(until):
                addresses = await self._resolve()
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=self._url, error="the name was not resolved") from error
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=self._url, error=error) from error
        failure: Exception | None = None
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                async with asyncio.timeout((until - loop.time()) / left):
                    return await self._connect_to(address)
            except TimeoutError as error:
                failure = ConnectTimeoutError(endpoint_url=self._url, error=error)
            except ssl.SSLError as error:
                raise SSLError(endpoint_url=self._url, error=error) from error
            except OSError as error:
                failure = EndpointConnectionError(endpoint_url=self._url, error=error)
        raise failure or EndpointConnectionError(endpoint_url=self._url, error="it has no address")

    async def _resolve(self) -> list[str]:
        """One question for all who come meanwhile. Once they have given up on it, another is asked, but few in all."""
        loop = asyncio.get_running_loop()
        old = loop.time() >= self._asked_at + self._connect_max_s
        if self._question is None or (old and self._questions < _QUESTIONS_MAX):
            self._question = loop.create_task(in_thread(lambda: _addresses(self._origin)))
            self._question.add_done_callback(self._answered)
            self._questions, self._asked_at = self._questions + 1, loop.time()
        return await asyncio.shield(self._question)

    def _answered(self, question: asyncio.Task[list[str]]) -> None:
        ignore(question)
        self._questions -= 1
        if question is self._question:
            self._question = None  # not kept, nor what its error knows

    async def _connect_to(self, address: str) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._url),
            address,
            self._origin.port,
            ssl=self._context,
            server_hostname=self._origin.host if self._context else None,
            ssl_handshake_timeout=self._connect_max_s if self._context else None,
        )
        return connection


def _addresses(origin: Origin) -> list[str]:
    found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))
