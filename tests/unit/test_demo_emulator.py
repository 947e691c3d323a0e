"""The demo's processes: they start, say where they are, and end with the demo."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws

from poller.demo import children, emulator, stage
from poller.demo.children import Daemon, Emulator, Workers, started_emulator
from poller.demo.failure import DemoFailed

SLEEPER = "import time; time.sleep(600)"
HTTP_LISTENING = '{"event": "http_listening", "url": "http://127.0.0.1:9464/"}'


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Emulator]:
    with started_emulator(tmp_path / "emulator.log") as started:
        yield started


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[[str], Daemon]]:
    """Starts a Python script in the daemon's place."""
    started: list[subprocess.Popen[bytes]] = []

    def start(script: str) -> Daemon:
        log = tmp_path / "daemon.log"
        with log.open("wb") as log_file:
            process = subprocess.Popen([sys.executable, "-u", "-c", script], stdout=log_file, stderr=log_file)
        started.append(process)
        return Daemon("daemon", process, log)

    yield start
    for process in started:
        process.kill()
        process.wait()


def lose_the_demo(running: Emulator) -> None:
    """What the kernel does for a demo that was killed."""
    assert running.process.stdin is not None
    running.process.stdin.close()


# --- the emulator ----------------------------------------------------------------------------------------------------


def test_the_emulator_carries_the_stage(running: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in stage.environment({}, running.url).items():
        monkeypatch.setenv(name, value)
    clients = stage.connect()
    queues = stage.build(clients)
    table = clients.dynamodb.describe_table(TableName="AnalysisMetadataTable")["Table"]

    assert table["KeySchema"] == [{"AttributeName": "analysisRequestId", "KeyType": "HASH"}]
    assert [index["IndexName"] for index in table["GlobalSecondaryIndexes"]] == ["requestorId-gsi"]
    assert table["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    assert queues.jobs.endswith("/analysis-jobs")
    assert stage.dead_letters(clients, queues) == 0


def test_the_emulator_ends_when_the_demo_is_gone_and_takes_the_daemon_along(
    running: Emulator, daemon: Callable[[str], Daemon]
) -> None:
    orphan = daemon(SLEEPER)
    running.take_along(orphan.process.pid)
    lose_the_demo(running)

    assert running.process.wait(60) == 0
    assert orphan.process.wait(60) == -signal.SIGTERM


def test_the_emulator_leaves_a_daemon_alone_that_was_taken_back(
    running: Emulator, daemon: Callable[[str], Daemon]
) -> None:
    other = daemon(SLEEPER)
    running.take_along(other.process.pid)
    running.take_along(None)
    lose_the_demo(running)

    assert running.process.wait(60) == 0
    assert other.process.poll() is None


def test_a_broken_queue_refuses_messages_until_it_is_mended(running: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in stage.environment({}, running.url).items():
        monkeypatch.setenv(name, value)
    sqs = boto3.client("sqs", config=Config(retries={"total_max_attempts": 1}))
    queue = sqs.create_queue(QueueName="jobs")["QueueUrl"]

    def codes() -> set[str]:
        try:
            sqs.send_message_batch(QueueUrl=queue, Entries=[{"Id": "0", "MessageBody": "job"}])
        except ClientError as error:
            return {error.response["Error"]["Code"]}
        return set()

    def until(wanted: set[str]) -> None:
        deadline = time.monotonic() + 60
        while codes() != wanted:
            assert time.monotonic() < deadline

    sqs.send_message(QueueUrl=queue, MessageBody="before")
    running.take_messages(take=False)
    until({"ServiceUnavailable"})
    assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "before"
    running.take_messages(take=True)
    until(set())


def test_an_emulator_that_cannot_start_is_told_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "moto"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('moto is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(DemoFailed, match="the emulator did not start") as caught, started_emulator(tmp_path / "log"):
        pass
    assert caught.value.log_lines[-1] == "ImportError: moto is broken"


def test_requests_to_dynamodb_go_one_by_one_and_those_to_sqs_freely() -> None:
    inside: list[str] = []
    long_poll_may_end = threading.Event()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        target = environ["HTTP_X_AMZ_TARGET"]
        inside.append(target)
        if target == "AmazonSQS.ReceiveMessage":
            long_poll_may_end.wait(60)
        else:
            assert one_at_a_time._lock.locked()
        return [target.encode()]

    one_at_a_time = emulator.OneAtATime(application, trim=lambda: None)

    def request(target: str) -> Iterable[bytes]:
        return one_at_a_time({"HTTP_X_AMZ_TARGET": target}, lambda *_: None)

    long_poll = threading.Thread(target=request, args=("AmazonSQS.ReceiveMessage",))
    long_poll.start()
    assert request("DynamoDB_20120810.PutItem") == [b"DynamoDB_20120810.PutItem"]
    assert request("DynamoDBStreams_20120810.GetRecords") == [b"DynamoDBStreams_20120810.GetRecords"]
    assert long_poll.is_alive()
    long_poll_may_end.set()
    long_poll.join()


def test_what_moto_keeps_is_trimmed_every_so_many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "REQUESTS_BETWEEN_TRIMS", 3)
    trims: list[None] = []
    one_at_a_time = emulator.OneAtATime(lambda *_: [], trim=lambda: trims.append(None))
    for _ in range(7):
        one_at_a_time({"HTTP_X_AMZ_TARGET": "DynamoDB_20120810.PutItem"}, lambda *_: None)

    assert len(trims) == 2


@mock_aws
def test_a_trimmed_stream_keeps_its_newest_records_their_numbers_and_its_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(emulator, "RECORDS_MAX", 4)
    monkeypatch.setattr(emulator, "ITERATORS_MAX", 1)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCOUNT_ID_ENDPOINT_MODE", "disabled")  # moto does not know an account's own endpoints
    clients = stage.connect()
    stage.build(clients)
    streams = boto3.client("dynamodbstreams")
    arn = streams.list_streams(TableName=stage.TABLE)["Streams"][0]["StreamArn"]
    shard_id = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]

    def put(number: int) -> None:
        clients.dynamodb.put_item(TableName=stage.TABLE, Item={"analysisRequestId": {"S": f"{number}"}})

    def iterator() -> str:
        return streams.get_shard_iterator(StreamArn=arn, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")[
            "ShardIterator"
        ]

    def read(iterator: str) -> tuple[list[str], list[int], str]:
        page = streams.get_records(ShardIterator=iterator)
        records = [record["dynamodb"] for record in page["Records"]]
        items = [record["Keys"]["analysisRequestId"]["S"] for record in records]
        return items, [int(record["SequenceNumber"]) for record in records], page["NextShardIterator"]

    for number in range(10):
        put(number)
    old = iterator()
    _, numbers, tip = read(old)
    emulator.trim()
    put(10)

    with pytest.raises(KeyError):  # how moto says that it does not know an iterator
        read(old)
    assert read(tip)[:2] == (["10"], [numbers[-1] + 1])
    assert read(iterator())[:2] == (["6", "7", "8", "9", "10"], [*numbers[-4:], numbers[-1] + 1])
    emulator.trim()
    assert read(iterator())[0] == ["7", "8", "9", "10"]


# --- the daemon ----------------------------------------------------------------------------------------------------


def test_the_daemons_address_is_found_in_its_log_among_anything(daemon: Callable[[str], Daemon]) -> None:
    lines = ["a warning", '"text"', '{"event": "daemon_starting"}', '{"event": ', HTTP_LISTENING]
    started = daemon(f"import time; print({chr(10).join(lines)!r}); time.sleep(600)")

    assert started.address() == "http://127.0.0.1:9464"


def test_a_daemon_that_ends_before_it_listens_is_told_with_its_last_lines(daemon: Callable[[str], Daemon]) -> None:
    started = daemon("import sys; print('starting'); sys.exit('poller: no such setting')")

    with pytest.raises(DemoFailed, match="the daemon ended by itself with exit code 1") as caught:
        started.address()
    assert caught.value.log_lines == ["starting", "poller: no such setting"]


def test_a_daemon_that_never_says_where_it_listens_is_given_up(
    daemon: Callable[[str], Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "DAEMON_START_MAX_S", 0.01)

    with pytest.raises(DemoFailed, match=r"the daemon did not say `http_listening` within 0\.01 s"):
        daemon(SLEEPER).address()


def test_a_killed_worker_is_followed_by_another_at_the_same_address(
    tmp_path: Path, running: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    @contextmanager
    def started(environ: Mapping[str, str], log: Path, _: Emulator) -> Iterator[Daemon]:
        begun.append(f"{log.name} at {environ['POLLER_HTTP_PORT']}")
        with subprocess.Popen([sys.executable, "-u", "-c", f"print({HTTP_LISTENING!r}); {SLEEPER}"]) as process:
            log.write_text(HTTP_LISTENING + "\n", "utf-8")
            yield Daemon("daemon", process, log)
            process.kill()

    monkeypatch.setattr(children, "started_daemon", started)
    with Workers({"POLLER_HTTP_PORT": "0"}, tmp_path, running) as workers:
        first = workers.current
        workers.replace()
        assert first.process.poll() == -signal.SIGKILL
        assert workers.current.process.poll() is None
    assert begun == ["daemon.log at 0", "daemon-2.log at 9464"]
    assert (workers.killed, workers.current.process.poll()) == (1, -signal.SIGKILL)


def test_stopping_the_daemon_tells_its_exit_code(daemon: Callable[[str], Daemon]) -> None:
    on_sigterm = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); "
    started = daemon(f"{on_sigterm} print({HTTP_LISTENING!r}); {SLEEPER}")
    started.address()

    assert started.stop().exit_code == 3


def test_a_daemon_that_does_not_stop_is_killed(
    daemon: Callable[[str], Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "DAEMON_STOP_MAX_S", 0.01)
    on_sigterm = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    started = daemon(f"{on_sigterm} print({HTTP_LISTENING!r}); {SLEEPER}")
    started.address()

    assert started.stop().exit_code == -signal.SIGKILL
