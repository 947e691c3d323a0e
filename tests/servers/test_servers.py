"""The test servers themselves: their life, the relay, the guard, and what happens where they cannot run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

import pytest
import uvloop
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.exceptions import HTTPClientError

from tests.servers import Moto, Relay, ServerError, ServerProcess
from tests.servers.guard import ForeignConnectionError
from tests.servers.process import free_port
from tests.standin.clients import Clients

ELSEWHERE = "192.0.2.1"  # reserved for documentation: nobody is there


class FileServer(ServerProcess):
    """The standard library's: up in no time."""

    name: ClassVar[str] = "file-server"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "http.server", str(self.port), "--bind", "127.0.0.1"]


class Dying(ServerProcess):
    name: ClassVar[str] = "dying"

    def command(self) -> list[str]:
        return [sys.executable, "-c", "print('no licence'); raise SystemExit(3)"]


class Unlucky(FileServer):
    """Finds its first port taken."""

    taken = True

    def command(self) -> list[str]:
        if self.taken:
            self.taken = False
            return [sys.executable, "-c", "raise SystemExit('Address already in use')"]
        return super().command()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    with FileServer(tmp_path) as server:
        yield server


@pytest.fixture
def relay(server: FileServer) -> Iterator[Relay]:
    with Relay(server.port) as relay:
        yield relay


def status(url: str, timeout_s: float = 10.0) -> int:
    with urllib.request.urlopen(url, timeout=timeout_s) as answer:
        return int(answer.status)


# --- processes ------------------------------------------------------------------------------------------------------


def test_a_server_answers_until_it_is_stopped_and_comes_back_at_its_port(server: FileServer) -> None:
    url, first = server.url, server.pid
    assert status(url) == 200
    server.stop()
    with pytest.raises(urllib.error.URLError):
        status(url)
    server.start()
    assert (status(url), server.url) == (200, url)
    assert server.pid != first


def test_a_paused_server_does_not_answer_and_still_ends(server: FileServer) -> None:
    server.pause()
    with pytest.raises(TimeoutError):
        status(server.url, timeout_s=0.2)
    server.resume()
    assert status(server.url) == 200
    server.pause()
    server.stop()


def test_a_server_that_dies_early_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"(?s)dying ended with exit code 3.*no licence"):
        Dying(tmp_path).start()


def test_a_port_that_was_taken_is_exchanged_for_another(tmp_path: Path) -> None:
    with Unlucky(tmp_path) as server:
        assert status(server.url) == 200


def test_a_server_does_not_see_the_settings_of_whoever_runs_the_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("POLLER_TABLE", "production")
    assert not {"AWS_PROFILE", "POLLER_TABLE"} & set(FileServer(tmp_path).environment())


def make_table(aws: Clients, table: str) -> None:
    aws.dynamodb.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )


def test_moto_has_tables_streams_and_queues(
    moto_server: str, clients: Callable[..., Clients], unique: Callable[[str], str]
) -> None:
    aws, table = clients(moto_server), unique("table")
    make_table(aws, table)
    assert [stream["TableName"] for stream in aws.streams.list_streams(TableName=table)["Streams"]] == [table]
    assert aws.sqs.create_queue(QueueName=table)["QueueUrl"].endswith(f"/{table}")


def test_moto_ends_with_its_block(tmp_path: Path) -> None:
    with Moto(tmp_path) as server:
        pid = server.pid
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.real
def test_dynamodb_local_has_tables_and_streams(
    dynamodb_local: str, clients: Callable[..., Clients], unique: Callable[[str], str]
) -> None:
    aws, table = clients(dynamodb_local), unique("table")
    make_table(aws, table)
    assert [stream["TableName"] for stream in aws.streams.list_streams(TableName=table)["Streams"]] == [table]


@pytest.mark.real
def test_elasticmq_has_queues(elasticmq: str, clients: Callable[..., Clients], unique: Callable[[str], str]) -> None:
    sqs = clients(elasticmq).sqs
    url = sqs.create_queue(QueueName=unique("queue"))["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="hello")
    assert [message["Body"] for message in sqs.receive_message(QueueUrl=url)["Messages"]] == ["hello"]


# --- the relay ------------------------------------------------------------------------------------------------------


def test_a_cut_line_refuses_connections_until_it_is_restored(relay: Relay) -> None:
    assert status(relay.url) == 200
    relay.cut()
    with pytest.raises(urllib.error.URLError, match="refused"):
        status(relay.url)
    relay.restore()
    assert status(relay.url) == 200


def test_a_frozen_line_holds_up_what_passes_later(relay: Relay) -> None:
    relay.freeze()
    with socket.create_connection(("127.0.0.1", relay.port), timeout=0.2) as line:
        line.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(TimeoutError):
            line.recv(1)
        relay.thaw()
        line.settimeout(10)
        with line.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.0 200 OK\r\n"


def test_open_connections_are_reset_and_new_ones_pass(relay: Relay) -> None:
    relay.freeze()
    with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as line:
        line.sendall(b"GET / HTTP/1.0\r\n\r\n")
        deadline = time.monotonic() + 10
        while not relay.connections and time.monotonic() < deadline:
            os.sched_yield()
        relay.reset()
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    relay.thaw()
    assert status(relay.url) == 200


def test_a_line_may_be_slow(relay: Relay) -> None:
    relay.delay_s = 0.15
    with pytest.raises(TimeoutError):
        status(relay.url, timeout_s=0.1)
    assert status(relay.url) == 200


def test_bytes_may_trickle(relay: Relay) -> None:
    relay.bytes_per_s = 20.0
    with socket.create_connection(("127.0.0.1", relay.port), timeout=0.2) as line:
        line.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(TimeoutError):
            line.recv(1)
    relay.mend()
    assert status(relay.url) == 200


def test_every_second_answer_may_be_lost(relay: Relay) -> None:
    relay.lose_every = 2
    answered = 0
    for _ in range(4):
        with contextlib.suppress(OSError, HTTPException), urllib.request.urlopen(relay.url, timeout=10) as answer:
            answered += bool(answer.read())
    assert answered < 4
    relay.mend()
    assert status(relay.url) == 200


def test_a_deaf_line_accepts_and_never_answers_until_it_hears(relay: Relay) -> None:
    relay.deafen()
    with socket.create_connection(("127.0.0.1", relay.port), timeout=0.2) as line:
        line.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(TimeoutError):
            line.recv(1)
        relay.hear()
        line.settimeout(10)
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    assert status(relay.url) == 200


def test_a_relay_before_nobody_ends_its_connections() -> None:
    with Relay(free_port()) as relay, pytest.raises(OSError, match=r"reset|closed"):
        status(relay.url)


# --- guards ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [ELSEWHERE, "example.com", "::ffff:192.0.2.1"])
def test_no_test_connects_beyond_this_machine(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock, pytest.raises(ForeignConnectionError, match="loopback"):
        sock.connect((host, 80))
    with socket.socket(family) as sock, pytest.raises(ForeignConnectionError):
        sock.connect_ex((host, 80))


def test_no_test_asks_the_network_for_a_name() -> None:
    with pytest.raises(socket.gaierror, match="must not look up"):
        socket.getaddrinfo("example.com", 80)
    assert socket.getaddrinfo("localhost", 80)


def test_boto3_and_uvloop_are_guarded_as_well(clients: Callable[..., Clients]) -> None:
    with pytest.raises((ForeignConnectionError, BotoConnectionError, HTTPClientError)) as caught:
        clients(f"http://{ELSEWHERE}").sqs.list_queues()
    assert "loopback" in str(caught.value)

    async def connect() -> None:
        await asyncio.get_running_loop().create_connection(asyncio.Protocol, ELSEWHERE, 80)

    with pytest.raises(ForeignConnectionError):
        uvloop.run(connect())


def test_no_test_sees_settings_of_whoever_runs_it() -> None:
    seen = {name for name in os.environ if name.startswith(("AWS_", "POLLER_"))}
    assert seen == {"AWS_EC2_METADATA_DISABLED", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"}


def test_fake_credentials_are_there_for_the_asking(aws_env: dict[str, str]) -> None:
    assert os.environ["AWS_ACCESS_KEY_ID"] == aws_env["AWS_ACCESS_KEY_ID"] == "test"
    assert "AWS_ENDPOINT_URL" not in aws_env


@pytest.mark.parametrize(
    ("ci", "code", "said"),
    [
        ("", 0, "NOT TESTED ON REAL SERVERS: not found on this machine: java (>= 17)"),
        ("true", 1, "needs a real local server; not found: java (>= 17)"),
    ],
)
def test_without_java_real_tests_are_skipped_loudly_and_fail_in_ci(
    tmp_path: Path, ci: str, code: int, said: str
) -> None:
    this = f"{Path(__file__)}::test_elasticmq_has_queues"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", this],
        cwd=Path(__file__).parents[2],
        env={"PATH": str(tmp_path), "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == code, run.stdout
    assert said in run.stdout


def test_ctrl_c_is_for_the_tests_and_not_for_their_servers(server: FileServer) -> None:
    assert os.getpgid(server.pid) != os.getpgid(os.getpid())
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
