"""Clients that mean harm: the server answers metrics meanwhile, and needs no more memory for them."""

from __future__ import annotations

import re
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

CONNECTIONS = 1_000
GROWTH_BYTES_MAX = 24 << 20  # what Python's allocator keeps of 64 connections' buffers; floods bring many times that
FLOOD_BYTES = 32 << 20
FLOOD_S = 1.0
PROBE_S = 10.0  # however slow the machine: a server that is held up does not answer at all

SERVER = """
import asyncio
from poller.observe.http import HttpServer, standard_pages
from poller.observe.metrics import Metrics

async def main():
    metrics = Metrics()
    for number in range(20):
        metrics.register_route("table", f"route-{number}")
    print(await HttpServer(standard_pages(metrics.render)).start("127.0.0.1", 0), flush=True)
    await asyncio.Event().wait()

import uvloop
uvloop.run(main())
"""


class Server:
    """A server in a process of its own, so that its memory can be told from the clients'."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.port = port

    def rss_bytes(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text("ascii")
        return int(re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[0]) * 1024

    def metrics(self) -> float:
        """Asks for them; how long that took."""
        began = time.monotonic()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PROBE_S)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read().endswith(b"\n")
        connection.close()
        return time.monotonic() - began

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PROBE_S)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = Server(process, int(process.stdout.readline().rpartition(":")[2]))
        for _ in range(50):
            found.metrics()
        yield found
        process.kill()


@contextmanager
def steady(server: Server) -> Iterator[None]:
    """Within the block the server answers, and its memory stays what it was."""
    before = server.rss_bytes()
    yield
    for _ in range(5):
        server.metrics()
    grown = server.rss_bytes() - before
    assert grown < GROWTH_BYTES_MAX, f"{grown >> 20} MiB more"


@pytest.fixture
def many_sockets() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4 * CONNECTIONS, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "sent", [b"", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Half: ", b"GET /metrics HTTP/1.1\r\n\r\n"]
)
def test_a_thousand_connections_silent_half_open_or_unread_keep_nobody_out(
    server: Server, many_sockets: None, sent: bytes
) -> None:
    with steady(server), ExitStack() as stack:
        for number in range(CONNECTIONS):
            client = stack.enter_context(server.connect())
            with suppress(ConnectionError):  # another one's place was needed
                client.sendall(sent)
            if number % 100 == 99:
                server.metrics()


def endless_header_lines(number: int) -> bytes:
    return b"".join(b"X-%d-%d: y\r\n" % (number, line) for line in range(4_000))


FLOODS: dict[str, tuple[bytes, Callable[[int], bytes]]] = {
    "endless header": (b"GET /metrics HTTP/1.1\r\nX: ", lambda _: b"x" * 65_536),
    "endless headers": (b"GET /metrics HTTP/1.1\r\n", endless_header_lines),
    "endless path": (b"GET /", lambda _: b"x" * 65_536),
    "endless method": (b"", lambda _: b"X" * 65_536),
    "pipelined and unread": (b"", lambda _: b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000),
    "pipelined misses, unread": (b"", lambda _: b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000),
    "a body": (b"GET /metrics HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", lambda _: b"x" * 65_536),
    "chunks": (b"POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", lambda _: b"1\r\nx\r\n" * 10_000),
    "one endless chunk size": (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", lambda _: b"0" * 65_536),
    "compressed": (
        b"POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 999999999\r\n\r\n\x1f\x8b",
        lambda _: b"\0" * 65_536,
    ),
    "an upgrade": (
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        lambda _: b"x" * 65_536,
    ),
    "noise": (b"", lambda number: bytes(range(256)) * 256),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_cut_off_or_slowed_down_and_fills_no_memory(server: Server, flood: str) -> None:
    opening, more = FLOODS[flood]
    over = time.monotonic() + FLOOD_S

    def pour() -> None:
        with suppress(OSError), server.connect() as client:
            client.settimeout(0.2)
            client.sendall(opening)
            for number in range(FLOOD_BYTES // 65_536):
                if time.monotonic() > over:
                    break
                client.sendall(more(number))

    with steady(server):
        threads = [threading.Thread(target=pour) for _ in range(4)]
        for thread in threads:
            thread.start()
        server.metrics()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    "request_line",
    ["CONNECT example.com:443", "TRACE /metrics", "OPTIONS *", "DEBUG /metrics", "PRI *", "get /metrics"],
)
def test_no_other_method_does_anything(server: Server, request_line: str) -> None:
    with server.connect() as client:
        client.sendall(f"{request_line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    assert re.match(rb"HTTP/1\.[01] (405|400) ", answer), answer[:200]
    assert b"poller_" not in answer


def codes(server: Server, sent: bytes) -> list[int]:
    """The answers to what is sent in one piece, until the server closes."""
    with server.connect() as client:
        client.sendall(sent)
        answers = b"".join(iter(lambda: client.recv(65_536), b""))
    return [int(code) for code in re.findall(rb"^HTTP/1\.[01] (\d+)", answers, re.MULTILINE)]


def test_requests_in_one_piece_are_answered_in_their_order(server: Server) -> None:
    first = b"".join(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path for path in (b"/livez", b"/no", b"/metrics"))
    last = b"HEAD /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert codes(server, first + last) == [200, 404, 200, 200]


def test_no_request_hides_in_another(server: Server) -> None:
    head = b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert codes(server, head + b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") == [400]
