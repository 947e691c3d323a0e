"""The two sides of the demo, one pass at a time, and the thread that repeats it."""

from __future__ import annotations

import json
from threading import Event
from typing import Any, cast

import pytest
from types_boto3_dynamodb import DynamoDBClient
from types_boto3_sqs import SQSClient

from poller.demo.actor import Actor
from poller.demo.consumer import Consumer
from poller.demo.failure import DemoFailed
from poller.demo.ledger import Fact, Received, Wrote
from poller.demo.story import Write
from poller.demo.writer import Writer


class Table:
    """Notes the calls; refuses them once it is `broken`."""

    def __init__(self, *, broken: bool = False) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.broken = broken

    def put_item(self, TableName: str, Item: dict[str, Any]) -> None:  # noqa: N803 - boto3's names
        if self.broken:
            raise ConnectionError("nobody there")
        self.calls.append(("put", Item))

    def delete_item(self, TableName: str, Key: dict[str, Any]) -> None:  # noqa: N803 - boto3's names
        self.calls.append(("delete", Key))


class Queue:
    """Gives its messages once; notes which are deleted."""

    def __init__(self, *bodies: str) -> None:
        self.messages = [{"Body": body, "ReceiptHandle": f"handle of {body}"} for body in bodies]
        self.deleted: list[str] = []

    def receive_message(self, **_: Any) -> dict[str, Any]:
        messages, self.messages = self.messages, []
        return {"Messages": messages} if messages else {}

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> None:  # noqa: N803 - boto3's names
        self.deleted += [entry["ReceiptHandle"] for entry in Entries]


class Stubborn(Actor):
    """Passes until it is told to fail."""

    def __init__(self) -> None:
        super().__init__("stubborn one")
        self.passed = Event()
        self.fails = False

    def step(self) -> None:
        self.passed.set()
        if self.fails:
            raise ValueError("enough")


def writer(table: Table, *writes: Write) -> tuple[Writer, list[Fact]]:
    told: list[Fact] = []
    return Writer(iter(writes), cast("DynamoDBClient", table), told.append), told


def record(request_id: str) -> str:
    image = {"analysisRequestId": {"S": request_id}, "phase": {"S": "FILE_UPLOAD_COMPLETE"}}
    return json.dumps({"dynamodb": {"NewImage": image, "SequenceNumber": "7"}})


def test_the_writer_puts_the_item_as_dynamodb_has_it_and_tells() -> None:
    table = Table()
    side, told = writer(table, Write(0.0, "a", {"analysisRequestId": "a", "phase": "CREATED", "sizeBytes": 7}))
    side.step()
    [(call, item)] = table.calls

    assert call == "put"
    assert {name: item[name] for name in ("analysisRequestId", "phase", "sizeBytes")} == {
        "analysisRequestId": {"S": "a"},
        "phase": {"S": "CREATED"},
        "sizeBytes": {"N": "7"},
    }
    assert [(fact.request_id, fact.phase) for fact in told] == [("a", "CREATED")]


def test_the_writer_tells_which_write_is_expected() -> None:
    done = {"analysisRequestId": "a", "phase": "FILE_UPLOAD_COMPLETE"}
    side, told = writer(Table(), Write(0.0, "a", done), Write(0.0, "a", {**done, "phase": "ANALYSED"}))
    side.step()
    side.step()

    assert [isinstance(fact, Wrote) and fact.expected for fact in told] == [True, False]


def test_the_writer_deletes_an_item_by_its_key() -> None:
    table = Table()
    side, _ = writer(table, Write(0.0, "a", None))
    side.step()

    assert table.calls == [("delete", {"analysisRequestId": {"S": "a"}})]


def test_a_write_that_failed_is_not_told() -> None:
    side, told = writer(Table(broken=True), Write(0.0, "a", {"analysisRequestId": "a", "phase": "CREATED"}))

    with pytest.raises(ConnectionError):
        side.step()
    assert told == []


def test_a_stopped_writer_makes_no_write_that_is_not_due_yet() -> None:
    table = Table()
    side, told = writer(table, Write(3600.0, "a", {"analysisRequestId": "a", "phase": "CREATED"}))
    side.start()
    side.stop()

    assert (table.calls, told) == ([], [])


def test_the_consumer_tells_each_message_and_deletes_it() -> None:
    queue, told = Queue(record("a"), record("b")), list[Fact]()
    side = Consumer("http://queue", cast("SQSClient", queue), told.append)

    assert side.receive() == 2
    assert [(fact.request_id, fact.phase) for fact in told if isinstance(fact, Received)] == [
        ("a", "FILE_UPLOAD_COMPLETE"),
        ("b", "FILE_UPLOAD_COMPLETE"),
    ]
    assert queue.deleted == [f"handle of {record('a')}", f"handle of {record('b')}"]


def test_a_long_poll_that_brings_nothing_is_no_error() -> None:
    told: list[Fact] = []

    assert Consumer("http://queue", cast("SQSClient", Queue()), told.append).receive() == 0
    assert told == []


def test_an_actor_repeats_its_step_until_it_is_stopped() -> None:
    actor = Stubborn()
    actor.start()
    for _ in range(3):
        actor.passed.clear()
        assert actor.passed.wait(60)
    actor.stop()
    actor.passed.clear()

    actor.check()
    assert not actor.passed.is_set()


def test_an_actor_that_failed_says_why() -> None:
    actor = Stubborn()
    actor.fails = True
    actor.start()
    assert actor.passed.wait(60)
    actor.stop()

    with pytest.raises(DemoFailed, match="the stubborn one failed: enough"):
        actor.check()
