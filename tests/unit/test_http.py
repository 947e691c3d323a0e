"""The HTTP server for metrics and health: what it answers, and that no client can hold it up."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from poller.errors import ConfigurationError
from poller.observe.http import Answer, HttpServer, Page, Queried, standard_pages
from poller.observe.log import LogSink, capture_libraries
from poller.observe.metrics import Metrics

PAGES = standard_pages(Metrics().render)


class Client:
    """One connection, on which requests are written byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, head: str, *, has_body: bool = True) -> tuple[str, dict[str, str], bytes]:
        """The status line, the headers and the body of the answer to a request."""
        return await self._answer(f"{head}\r\nHost: localhost\r\n\r\n", has_body)

    async def ask_of(self, host: str) -> tuple[str, dict[str, str], bytes]:
        """The same, of /livez under a name."""
        return await self._answer(f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n", has_body=True)

    async def _answer(self, request: str, has_body: bool) -> tuple[str, dict[str, str], bytes]:
        self.writer.write(request.encode())
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = text.rstrip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return status, headers, await self.reader.readexactly(int(headers["Content-Length"])) if has_body else b""

    async def ended(self) -> bool:
        """Waits until the server closes the connection; the limit is only there for a server that never does."""
        async with asyncio.timeout(30):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


class Running:
    """A server that listens, and clients of it."""

    def __init__(self, server: HttpServer, url: str) -> None:
        self.server = server
        self.host, self.port = str(urlsplit(url).hostname).replace("0.0.0.0", "127.0.0.1"), int(urlsplit(url).port or 0)
        self._clients: list[Client] = []

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection(self.host, self.port))
        self._clients.append(client)
        return client

    async def close(self) -> None:
        await self.server.stop()
        for client in self._clients:
            client.writer.close()


@asynccontextmanager
async def running(
    pages: Mapping[str, Page] = PAGES,
    *,
    host: str = "127.0.0.1",
    connections_max: int = 64,
    idle_s: float = 3600.0,
    answer_s: float = 3600.0,
) -> AsyncIterator[Running]:
    server = HttpServer(pages, connections_max=connections_max, idle_s=idle_s, answer_s=answer_s)
    run = Running(server, await server.start(host, 0))
    try:
        yield run
    finally:
        await run.close()


async def test_the_loop_turns_and_says_so() -> None:
    async with running() as run:
        status, headers, body = await (await run.client()).ask("GET /livez HTTP/1.1")
    assert (status, headers["Content-Type"], body) == ("HTTP/1.1 200 OK", "text/plain; charset=utf-8", b"ok\n")


async def test_a_page_gets_what_was_asked_behind_the_question_mark_and_sends_its_own_headers() -> None:
    asked = Queried(lambda query: Answer(json.dumps(dict(query)).encode(), headers={"Referrer-Policy": "no-referrer"}))
    async with running({"/status": asked}) as run:
        client = await run.client()
        _, headers, body = await client.ask("GET /status?shards=50&find=a%20b&find=c HTTP/1.1")
        assert json.loads(body) == {"shards": "50", "find": "a b"}
        assert headers["Referrer-Policy"] == "no-referrer"
        assert (await client.ask("GET /status HTTP/1.1"))[2] == b"{}"


async def test_metrics_are_served_in_prometheus_text_format() -> None:
    async with running() as run:
        status, headers, body = await (await run.client()).ask("GET /metrics?x=1 HTTP/1.1")
    assert (status, headers["Content-Type"]) == ("HTTP/1.1 200 OK", "text/plain; version=0.0.4; charset=utf-8")
    assert body.startswith(b"# HELP poller_records_read_total ")


async def test_a_further_page_is_one_more_line_and_says_what_it_likes() -> None:
    pages = {**PAGES, "/readyz": lambda: Answer(b'{"ready": false}', "application/json", 503)}
    async with running(pages) as run:
        status, headers, body = await (await run.client()).ask("GET /readyz HTTP/1.1")
    assert (status, headers["Content-Type"]) == ("HTTP/1.1 503 Service Unavailable", "application/json")
    assert json.loads(body) == {"ready": False}


@pytest.mark.parametrize("path", ["/", "/livez/", "/LIVEZ", "/nothing", "/../metrics"])
async def test_any_other_path_is_not_found(path: str) -> None:
    async with running() as run:
        status, _, body = await (await run.client()).ask(f"GET {path} HTTP/1.1")
    assert (status, body) == ("HTTP/1.1 404 Not Found", b"404 Not Found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/livez", "/nothing"])
async def test_any_other_method_is_refused_and_told_which_are_not(method: str, path: str) -> None:
    async with running() as run:
        status, headers, body = await (await run.client()).ask(f"{method} {path} HTTP/1.1\r\nContent-Length: 0")
    assert (status, headers["Allow"]) == ("HTTP/1.1 405 Method Not Allowed", "GET, HEAD")
    assert body == b"405 Method Not Allowed\n"


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    async with running() as run:
        client = await run.client()
        status, headers, _ = await client.ask("HEAD /livez HTTP/1.1", has_body=False)
        assert (status, headers["Content-Length"]) == ("HTTP/1.1 200 OK", "3")
        assert (await client.ask("GET /livez HTTP/1.1"))[2] == b"ok\n"


async def test_no_answer_tells_a_version() -> None:
    def broken() -> Answer:
        raise RuntimeError

    async with running({**PAGES, "/broken": broken}) as run:
        for request in ("GET /livez HTTP/1.1", "GET /no HTTP/1.1", "POST / HTTP/1.1", "GET /broken HTTP/1.1", "\x00"):
            _, headers, _ = await (await run.client()).ask(request)
            assert headers["Server"] == "poller"


async def test_a_page_that_fails_is_a_500_and_a_line_in_the_log_and_no_other_page_suffers() -> None:
    def broken() -> Answer:
        raise RuntimeError("the reason")

    log = io.BytesIO()
    undo = capture_libraries(LogSink("info", "json", log))
    async with running({**PAGES, "/broken": broken}) as run:
        status, _, body = await (await run.client()).ask("GET /broken HTTP/1.1")
        assert (status, body) == ("HTTP/1.1 500 Internal Server Error", b"500 Internal Server Error\n")
        assert (await (await run.client()).ask("GET /livez HTTP/1.1"))[2] == b"ok\n"
    undo()
    (line,) = log.getvalue().splitlines()
    assert json.loads(line)["message"] == "/broken failed"
    assert json.loads(line)["error"].startswith("RuntimeError in ")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9464", "127.0.0.1", "127.0.0.1:1", "[::1]:9464", "10.0.0.1", ""]
)
async def test_on_loopback_it_answers_to_this_machines_names_and_to_addresses(host: str) -> None:
    async with running() as run:
        assert (await (await run.client()).ask_of(host))[0] == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("host", ["example.com", "localhost.example.com:9464", "127.0.0.1.example.com", "x", "[::1].x"])
async def test_on_loopback_it_answers_to_no_other_name(host: str) -> None:
    async with running() as run:
        assert (await (await run.client()).ask_of(host))[0] == "HTTP/1.1 421 Misdirected Request"


async def test_a_socket_that_was_opened_elsewhere_is_served_as_carefully() -> None:
    server = HttpServer(PAGES)
    listening = socket.create_server(("127.0.0.1", 0))
    await server.start_on(listening)
    run = Running(server, f"http://127.0.0.1:{listening.getsockname()[1]}")
    try:
        assert (await (await run.client()).ask_of("localhost"))[0] == "HTTP/1.1 200 OK"
        assert (await (await run.client()).ask_of("example.com"))[0] == "HTTP/1.1 421 Misdirected Request"
    finally:
        await run.close()


async def test_elsewhere_it_answers_to_whatever_name_it_has_there() -> None:
    async with running(host="0.0.0.0") as run:
        assert (await (await run.client()).ask_of("poller:9464"))[0] == "HTTP/1.1 200 OK"


# --- clients that do not behave ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_head",
    [
        "\x16\x03\x01 a TLS greeting",
        "GET /livez HTTP/1.1\r\nNo colon",
        f"GET /{'x' * 5000} HTTP/1.1",
        f"GET /livez HTTP/1.1\r\nX: {'x' * 5000}",
        "GET /livez HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
    ],
    ids=["tls", "bad header", "long path", "long header", "two lengths"],
)
async def test_a_request_that_is_none_is_refused_without_a_word_in_the_log(request_head: str) -> None:
    log = io.BytesIO()
    undo = capture_libraries(LogSink("debug", "json", log))
    async with running() as run:
        client = await run.client()
        status, _, _ = await client.ask(request_head)
        assert status == "HTTP/1.0 400 Bad Request"
        assert await client.ended()
    undo()
    assert log.getvalue() == b""


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: "], ids=["silent", "slow"])
async def test_a_client_that_brings_no_request_is_cut_off(sent: bytes) -> None:
    async with running(idle_s=0.01) as run:
        client = await run.client()
        client.writer.write(sent)
        assert await client.ended()


async def test_a_connection_that_is_kept_alive_without_need_is_closed() -> None:
    async with running(idle_s=0.01) as run:
        client = await run.client()
        assert (await client.ask("GET /livez HTTP/1.1"))[0] == "HTTP/1.1 200 OK"
        assert await client.ended()


async def test_a_client_that_is_slow_to_take_its_answer_is_cut_off() -> None:
    async with running({**PAGES, "/large": lambda: Answer(b"x" * 50_000_000)}, answer_s=0.0) as run:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await (await run.client()).ask("GET /large HTTP/1.1")
        assert (await (await run.client()).ask("GET /livez HTTP/1.1"))[2] == b"ok\n"


async def test_a_body_that_nobody_asked_for_is_not_waited_for() -> None:
    async with running() as run:
        client = await run.client()
        status, _, _ = await client.ask("POST /livez HTTP/1.1\r\nContent-Length: 1000000000")
        assert status == "HTTP/1.1 405 Method Not Allowed"
        assert await client.ended()


async def test_a_probe_gets_through_however_many_connections_lie_about() -> None:
    async with running(connections_max=3) as run:
        idle = [await run.client() for _ in range(10)]
        probe = await run.client()
        assert (await probe.ask("GET /livez HTTP/1.1"))[2] == b"ok\n"
        for client in idle[:8]:
            assert await client.ended()


# --- starting and stopping --------------------------------------------------------------------------------------------


async def test_a_port_that_is_taken_is_refused_with_the_setting_and_the_mend() -> None:
    async with running() as run:
        with pytest.raises(ConfigurationError) as refusal:
            await HttpServer(PAGES).start("127.0.0.1", run.port)
    assert str(refusal.value) == (
        f"http.port = {run.port}: another process listens there on 127.0.0.1; "
        "choose another one (POLLER_HTTP_PORT), or 0 for any that is free"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "::1%no-such-interface"])
async def test_a_host_that_is_not_this_machine_is_refused_with_the_setting_and_the_mend(host: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        await HttpServer(PAGES).start(host, 0)
    mend = 'choose one that is, such as "127.0.0.1"'
    assert str(refusal.value) == f'http.host = "{host}": not an address of this machine; {mend}'


async def test_the_url_names_the_port_that_was_found() -> None:
    server = HttpServer(PAGES)
    url = await server.start("127.0.0.1", 0)
    await server.stop()
    assert url.startswith("http://127.0.0.1:")
    assert not url.endswith(":0")


async def test_stopping_waits_for_nobody() -> None:
    async with running({**PAGES, "/large": lambda: Answer(b"x" * 50_000_000)}) as run:
        silent, slow, unread = await run.client(), await run.client(), await run.client()
        slow.writer.write(b"GET /livez HTTP/1.1\r\n")
        unread.writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await unread.reader.readuntil(b"\r\n\r\n")
        await run.server.stop()
        assert await silent.ended()
        assert await slow.ended()
        with pytest.raises(ConnectionError):
            await run.client()


async def test_stopping_twice_or_before_the_start_is_no_fault() -> None:
    server = HttpServer(PAGES)
    await server.stop()
    await server.start("127.0.0.1", 0)
    await server.stop()
    await server.stop()


@contextmanager
def in_a_thread() -> Iterator[tuple[int, Callable[[Callable[[], object]], None]]]:
    """A server on a loop in a thread of its own: its port, and how to make the loop do something."""
    loop = asyncio.new_event_loop()
    server = HttpServer(PAGES)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    url = asyncio.run_coroutine_threadsafe(server.start("127.0.0.1", 0), loop).result()

    def call_in_loop(function: Callable[[], object]) -> None:
        loop.call_soon_threadsafe(function)

    try:
        yield int(urlsplit(url).port or 0), call_in_loop
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def probe(port: int, timeout_s: float) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_loop_that_stands_still_fails_its_probe() -> None:
    with in_a_thread() as (port, call_in_loop):
        assert probe(port, timeout_s=60.0) == 200
        thawed = threading.Event()
        call_in_loop(thawed.wait)
        with pytest.raises(TimeoutError):
            probe(port, timeout_s=0.05)
        thawed.set()
        assert probe(port, timeout_s=60.0) == 200
