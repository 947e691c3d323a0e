"""The client: what it takes for an answer, what it keeps a connection after, and what it says of everything else."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

import pytest
from botocore.exceptions import ConnectionClosedError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from poller.aws.direct.blueprint import Origin
from poller.aws.direct.http import Answer
from poller.aws.direct.origin import Connections
from poller.aws.errors import UnreadableAnswer
from tests.direct.server import CLOSE, HANG, RESET, Server, answer, serving

REQUEST = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{}"
PATIENCE_S = 30.0
PAGE = bytes(random.Random(1).randrange(32, 127) for _ in range(1 << 10)) * 900


def connections(server: Server) -> Connections:
    return Connections(Origin("127.0.0.1", server.port, tls=False), "http://here", None, PATIENCE_S)


async def ask(to: Connections, silence_max_s: float = PATIENCE_S, whole_max_s: float = PATIENCE_S) -> Answer:
    return await to.ask(lambda: REQUEST, silence_max_s, whole_max_s)


def in_pieces(text: bytes, size: int) -> list[bytes]:
    return [text[begin : begin + size] for begin in range(0, len(text), size)]


@pytest.mark.parametrize(
    "script",
    [
        [answer(b"hello")],
        in_pieces(answer(b"hello"), 1),
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"],
        in_pieces(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", 3),
        [b"HTTP/1.1 100 Continue\r\n\r\n", answer(b"hello")],
        [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(b"hello")],
    ],
    ids=["whole", "byte by byte", "chunked", "chunks in pieces", "100 first", "103 first"],
)
async def test_an_answer_is_read_however_it_comes_and_its_connection_kept(script: Sequence[bytes]) -> None:
    async with serving(script, [answer(b"again")]) as server:
        to = connections(server)
        first, second = await ask(to), await ask(to)
        to.close()

    assert (first.status, bytes(first.body), bytes(second.body)) == (200, b"hello", b"again")
    assert server.connections == 1
    assert server.requests == [REQUEST, REQUEST]


@pytest.mark.parametrize("size", [1 << 30, 100_000, 4096], ids=["whole", "large pieces", "small pieces"])
async def test_a_page_is_read_whole_and_the_next_answer_after_it(size: int) -> None:
    async with serving(in_pieces(answer(PAGE), size), [answer(b"small")], [answer(PAGE)]) as server:
        to = connections(server)
        bodies = [bytes((await ask(to)).body) for _ in range(3)]
        to.close()

    assert bodies == [PAGE, b"small", PAGE]
    assert server.connections == 1


@pytest.mark.parametrize(
    "script",
    [
        [answer(b"hello", "Connection: close"), CLOSE],
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhel", b"lo", CLOSE],
        [b"HTTP/1.0 200 OK\r\n\r\nhello", CLOSE],
    ],
    ids=["close", "to the end", "1.0"],
)
async def test_after_an_answer_that_closes_the_next_request_has_a_new_connection(script: Sequence[bytes]) -> None:
    async with serving(script, [answer(b"again")]) as server:
        to = connections(server)
        first, second = await ask(to), await ask(to)
        to.close()

    assert (bytes(first.body), bytes(second.body)) == (b"hello", b"again")
    assert server.connections == 2


@pytest.mark.parametrize(
    ("script", "error", "text"),
    [
        ([CLOSE], ConnectionClosedError, "closed"),
        ([RESET], ConnectionClosedError, "closed"),
        ([b"HTTP/1.1 200 OK\r\nContent-Le", CLOSE], ConnectionClosedError, "closed"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", CLOSE], UnreadableAnswer, "3 bytes came of 5"),
        ([answer(PAGE)[:-1], CLOSE], UnreadableAnswer, f"{len(PAGE) - 1} bytes came of {len(PAGE)}"),
        ([answer(PAGE)[:300_000], RESET], ConnectionClosedError, "closed"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", CLOSE], UnreadableAnswer, "middle"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n", HANG], UnreadableAnswer, "no HTTP"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n", HANG], UnreadableAnswer, "no HTTP"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", HANG], UnreadableAnswer, "no HTTP"),
        (
            [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", HANG],
            UnreadableAnswer,
            "no HTTP",
        ),
    ],
)
async def test_half_an_answer_is_none(script: Sequence[bytes], error: type[Exception], text: str) -> None:
    async with serving(script, [answer(b"again")]) as server:
        to = connections(server)
        with pytest.raises(error, match=text):
            await ask(to, silence_max_s=5.0)
        second = await ask(to)
        to.close()

    assert bytes(second.body) == b"again"
    assert server.connections == 2


@pytest.mark.parametrize("script", [[HANG], [b"HTTP/1.1 200 OK\r\n", HANG], [answer(PAGE)[:100_000], HANG]])
async def test_a_server_that_falls_silent_is_given_up(script: Sequence[bytes]) -> None:
    async with serving(script) as server:
        to = connections(server)
        with pytest.raises(ReadTimeoutError):
            await ask(to, silence_max_s=0.1)


async def test_a_server_that_dribbles_is_given_up_when_its_time_is_over() -> None:
    async with serving(in_pieces(answer(b"x" * 10_000), 10)) as server:
        server.pause_s = 0.01
        to = connections(server)
        with pytest.raises(ReadTimeoutError):
            await ask(to, silence_max_s=PATIENCE_S, whole_max_s=0.2)


async def test_slow_pieces_are_waited_for() -> None:
    async with serving(in_pieces(answer(b"hello"), 5)) as server:
        server.pause_s = 0.05
        to = connections(server)
        assert bytes((await ask(to, silence_max_s=2.0)).body) == b"hello"
        to.close()


async def test_the_time_limit_of_one_request_is_none_of_the_next() -> None:
    async with serving([answer(b"first")], [b"", answer(b"second")], [HANG]) as server:
        server.pause_s = 0.2
        to = connections(server)
        await ask(to)
        [(connection, _)] = to._idle
        second = asyncio.create_task(ask(to))
        await asyncio.sleep(0)
        assert connection._waiter is not None
        connection._listen()  # the first one's timer, which has been left to run
        assert bytes((await second).body) == b"second"
        async with asyncio.timeout(PATIENCE_S / 2):  # it must not wait for a timer of theirs
            with pytest.raises(ReadTimeoutError):
                await ask(to, silence_max_s=0.1)
        assert server.connections == 1


async def test_what_comes_unasked_is_no_answer_to_the_next_request() -> None:
    async with serving([answer(b"first") + answer(b"surplus")], [answer(b"second")]) as server:
        to = connections(server)
        first, second = await ask(to), await ask(to)
        to.close()

    assert (bytes(first.body), bytes(second.body)) == (b"first", b"second")
    assert server.connections == 2


async def test_what_comes_later_unasked_is_no_answer_to_the_next_request_either() -> None:
    async with serving([answer(b"first"), b"", answer(b"surplus")], [answer(b"second")]) as server:
        server.pause_s = 0.05
        to = connections(server)
        first = await ask(to)
        await asyncio.sleep(0.3)
        second = await ask(to)
        to.close()

    assert (bytes(first.body), bytes(second.body)) == (b"first", b"second")


async def test_an_answer_that_comes_before_the_request_was_taken_is_the_answer() -> None:
    large = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 20000000\r\n\r\n" + b"x" * 20_000_000
    async with serving([answer(b"no", status="413 Too Large"), HANG], [answer(b"yes")]) as server:
        server.early = True
        to = connections(server)
        refused = await to.ask(lambda: large, PATIENCE_S, PATIENCE_S)
        server.early = False
        second = await ask(to)
        to.close()

    assert (refused.status, bytes(refused.body), bytes(second.body)) == (413, b"no", b"yes")


async def test_a_connection_that_is_closed_while_idle_is_not_used_again() -> None:
    async with serving([answer(b"first"), CLOSE], [answer(b"second")]) as server:
        to = connections(server)
        await ask(to)
        await asyncio.sleep(0.1)
        assert bytes((await ask(to)).body) == b"second"
        to.close()


async def test_a_caller_that_is_cancelled_leaves_no_connection_with_half_an_answer() -> None:
    async with serving([b"HTTP/1.1 200 OK\r\n", HANG], [answer(b"second")]) as server:
        to = connections(server)
        task = asyncio.create_task(ask(to))
        await server.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bytes((await ask(to)).body) == b"second"
        to.close()

    assert server.connections == 2


async def test_requests_at_once_have_connections_of_their_own_and_the_latest_is_used_again() -> None:
    async with serving(*[[answer(str(number).encode())] for number in range(6)]) as server:
        to = connections(server)
        await asyncio.gather(*(ask(to) for _ in range(5)))
        assert server.connections == 5
        await ask(to)
        assert server.connections == 5
        to.close()


async def test_a_request_that_cannot_be_made_leaves_the_connection_as_it_was() -> None:
    async with serving([answer(b"first")], [answer(b"second")]) as server:
        to = connections(server)
        await ask(to)

        def fail() -> bytes:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await to.ask(fail, PATIENCE_S, PATIENCE_S)
        await ask(to)
        to.close()

    assert server.connections == 1


async def test_nobody_there() -> None:
    async with serving() as server:
        to = connections(server)
    with pytest.raises(EndpointConnectionError):
        await ask(to)


async def test_a_name_that_does_not_exist() -> None:
    to = Connections(Origin("nowhere.invalid", 80, tls=False), "http://nowhere.invalid", None, PATIENCE_S)
    with pytest.raises(EndpointConnectionError):
        await ask(to)


async def test_an_address_that_takes_no_connection_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forever(*_: object, **__: object) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", forever)
    to = Connections(Origin("127.0.0.1", 9, tls=False), "http://here", None, 0.1)
    with pytest.raises(ConnectTimeoutError):
        await ask(to)


async def test_a_resolver_that_hangs_holds_few_threads_however_often_it_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released, asked = threading.Event(), 0

    def hang(*_: object, **__: object) -> NoReturn:
        nonlocal asked
        asked += 1
        released.wait(PATIENCE_S)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    to = Connections(Origin("slow.invalid", 80, tls=False), "http://slow.invalid", None, 0.05)
    try:
        for _ in range(10):
            answers = await asyncio.gather(*(ask(to) for _ in range(10)), return_exceptions=True)
            assert {type(answer) for answer in answers} == {ConnectTimeoutError}
    finally:
        released.set()
    assert 2 <= asked <= 4


async def test_a_question_to_the_resolver_that_was_lost_does_not_hold_up_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released, asked, resolve = threading.Event(), 0, socket.getaddrinfo

    def hang_once(*args: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            released.wait(PATIENCE_S)
        return resolve(*args, **options)

    async with serving([answer(b"hello")]) as server:
        monkeypatch.setattr(socket, "getaddrinfo", hang_once)
        to = Connections(Origin("127.0.0.1", server.port, tls=False), "http://here", None, 0.5)
        try:
            with pytest.raises(ConnectTimeoutError):
                await ask(to)
            assert bytes((await ask(to)).body) == b"hello"
        finally:
            released.set()
        to.close()
