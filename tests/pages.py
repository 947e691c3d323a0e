"""A daemon's HTTP port, as those see it who ask: what it answers is the test's."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit


class PageServer(HTTPServer, ABC):
    """On a free port of this machine. `answer` gives the status and the body for a path and its query."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)

    @abstractmethod
    def answer(self, path: str, query: Mapping[str, str]) -> tuple[int, bytes]: ...

    @property
    def port(self) -> str:
        return str(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        status, body = self.server.answer(address.path, query)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
        """Nobody reads it."""


S = TypeVar("S", bound=PageServer)


@contextmanager
def serving(server: S) -> Iterator[S]:
    """Answers in a thread of its own."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
