"""The contract of `Queue`: what a consumer gets, and who is to blame for what it does not get."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Protocol

import pytest

from poller.aws.errors import Target
from poller.aws.pool import NEVER
from poller.aws.session import Aws
from poller.aws.sqs import BotoQueue, find_queue
from poller.errors import DeadlinePassed, InvalidRequest, NotFound, TooLarge
from poller.model import Accepted, EntryOutcome, Message, Refused
from poller.run.ports import Queue
from tests.contract.conftest import OpenAws
from tests.memory.clock import ManualClock
from tests.memory.queue import MemoryQueue, size_bytes

ELASTICMQ = pytest.param("elasticmq", marks=pytest.mark.real)
SERVERS = [ELASTICMQ, "moto_server", "standin"]


class Backed(Protocol):
    """Queues, and the consumer at their other end."""

    async def create(self, name: str) -> Queue: ...

    async def delete(self, queue: Queue) -> None: ...

    async def receive(self, queue: Queue) -> list[Message]:
        """All messages, taken from the queue; a standard queue's in any order."""


class MemoryBacked:
    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.queues: dict[str, MemoryQueue] = {}

    async def create(self, name: str) -> Queue:
        self.queues[name] = MemoryQueue(name, self.clock)
        return self.queues[name]

    async def delete(self, queue: Queue) -> None:
        self.queues[queue.info.name].deleted = True

    async def receive(self, queue: Queue) -> list[Message]:
        return self.queues[queue.info.name].messages


class ServerBacked:
    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.client = aws.sends.client

    async def create(self, name: str) -> BotoQueue:
        call, create = self.aws.sends.pool.call, self.client.create_queue
        if name.endswith(".fifo"):
            await call("CreateQueue", Target(name), NEVER, create, QueueName=name, Attributes={"FifoQueue": "true"})
        else:
            await call("CreateQueue", Target(name), NEVER, create, QueueName=name)
        return await find_queue(self.aws, name)

    async def delete(self, queue: Queue) -> None:
        await self.aws.sends.pool.call(
            "DeleteQueue", Target("queue"), NEVER, self.client.delete_queue, QueueUrl=queue.info.url
        )

    async def receive(self, queue: Queue) -> list[Message]:
        messages: list[Message] = []
        while True:
            answer = await self.aws.sends.pool.call(
                "ReceiveMessage",
                Target("queue"),
                NEVER,
                self.client.receive_message,
                QueueUrl=queue.info.url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                AttributeNames=["All"],
            )
            received = answer.get("Messages", [])
            if not received:
                return messages
            for message in received:
                system = message.get("Attributes", {})
                texts = {key: value["StringValue"] for key, value in message.get("MessageAttributes", {}).items()}
                messages.append(
                    Message(
                        message["Body"],
                        0,
                        system.get("MessageGroupId"),
                        system.get("MessageDeduplicationId"),
                        texts,
                    )
                )
                await self.aws.sends.pool.call(
                    "DeleteMessage",
                    Target("queue"),
                    NEVER,
                    self.client.delete_message,
                    QueueUrl=queue.info.url,
                    ReceiptHandle=message["ReceiptHandle"],
                )


@pytest.fixture(params=["memory", *SERVERS])
async def backed(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> Backed:
    return await _backed(request, open_aws, clock)


@pytest.fixture(params=["memory", ELASTICMQ, "standin"])
async def strict(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> Backed:
    """Those that look at a body's characters: moto takes them all."""
    return await _backed(request, open_aws, clock)


async def _backed(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> Backed:
    if request.param == "memory":
        return MemoryBacked(clock)
    return ServerBacked(await open_aws(request.getfixturevalue(request.param)))


def _message(body: str, group_id: str | None = None, deduplication_id: str | None = None) -> Message:
    message = Message(body, 0, group_id, deduplication_id)
    return Message(body, size_bytes(message), group_id, deduplication_id)


def _name(ending: str = "") -> str:
    return f"queue-{uuid.uuid4().hex}{ending}"


def _kinds(outcomes: object) -> list[type[EntryOutcome]]:
    assert isinstance(outcomes, list)
    return [type(outcome) for outcome in outcomes]


# --- what is sent comes out ---


async def test_a_queue_says_its_name_its_kind_and_how_much_it_takes(backed: Backed) -> None:
    standard, fifo = await backed.create(_name()), await backed.create(_name(".fifo"))

    assert not standard.info.fifo
    assert fifo.info.fifo
    assert standard.info.arn.endswith(f":{standard.info.name}")
    assert standard.info.message_bytes_max == 1_048_576


async def test_a_whole_batch_comes_out(backed: Backed) -> None:
    queue = await backed.create(_name())

    outcomes = await queue.send([_message(f"body {number}") for number in range(10)], NEVER)

    assert outcomes == [Accepted()] * 10
    assert sorted(message.body for message in await backed.receive(queue)) == [f"body {number}" for number in range(10)]


async def test_a_body_comes_out_as_it_was(backed: Backed) -> None:
    queue = await backed.create(_name())
    body = '{"quote": "\\" \\\\", "control": "\\u0000", "text": "\t\n \u00e4 \u20ac \U0001f600 \ufffd"}'

    await queue.send([_message(body)], NEVER)

    assert [message.body for message in await backed.receive(queue)] == [body]


async def test_attributes_come_out_with_their_message(backed: Backed) -> None:
    queue = await backed.create(_name())
    attributes = {"eventName": "MODIFY", "table": "orders", "sequenceNumber": "1" * 21}

    await queue.send([Message("body", 4, attributes=attributes)], NEVER)

    assert [message.attributes for message in await backed.receive(queue)] == [attributes]


# --- partial failure ---


async def test_one_message_with_an_illegal_character_is_refused_for_good_and_the_others_go_on(strict: Backed) -> None:
    queue = await strict.create(_name())

    outcomes = await queue.send([_message("good"), _message("bad \x01"), _message("also good")], NEVER)

    assert _kinds(outcomes) == [Accepted, Refused, Accepted]
    refused = outcomes[1]
    assert isinstance(refused, Refused)
    assert refused.sender_fault
    assert refused.code
    assert sorted(message.body for message in await strict.receive(queue)) == ["also good", "good"]


# --- failure as a whole ---


async def test_a_batch_above_the_size_limit_is_too_large_as_a_whole(backed: Backed) -> None:
    queue = await backed.create(_name())

    with pytest.raises(InvalidRequest) as caught:
        await queue.send([_message("x" * 600_000), _message("y" * 600_000)], NEVER)

    # ElasticMQ blames the content as well, by a code of its own.
    assert isinstance(caught.value, TooLarge) or caught.value.code == "InvalidAttributeValue"
    assert await backed.receive(queue) == []


async def test_more_than_ten_entries_are_an_invalid_request(backed: Backed) -> None:
    queue = await backed.create(_name())

    with pytest.raises(InvalidRequest):
        await queue.send([_message("body")] * 11, NEVER)


async def test_a_queue_that_is_gone_is_not_found(backed: Backed) -> None:
    queue = await backed.create(_name())
    await backed.delete(queue)

    with pytest.raises(NotFound) as caught:
        await queue.send([_message("body")], NEVER)

    assert (caught.value.operation, caught.value.resource) == ("SendMessageBatch", queue.info.name)


async def test_past_its_deadline_a_batch_is_not_sent(backed: Backed, clock: ManualClock) -> None:
    queue = await backed.create(_name())
    deadline = clock.monotonic() + 1
    clock.advance(1)

    with pytest.raises(DeadlinePassed):
        await queue.send([_message("body")], deadline)

    assert await backed.receive(queue) == []


# --- FIFO ---


async def test_a_fifo_queue_keeps_the_order_of_a_group(backed: Backed) -> None:
    queue = await backed.create(_name(".fifo"))

    for start in (0, 10):
        batch = [_message(f"{number:02d}", "group", f"id-{number}") for number in range(start, start + 10)]
        assert await queue.send(batch, NEVER) == [Accepted()] * 10

    received = await backed.receive(queue)
    assert [message.body for message in received] == [f"{number:02d}" for number in range(20)]
    assert {message.group_id for message in received} == {"group"}


async def test_a_fifo_queue_accepts_a_duplicate_and_shows_it_to_nobody(backed: Backed) -> None:
    queue = await backed.create(_name(".fifo"))

    for _ in range(2):
        assert await queue.send([_message("body", "group", "the-same")], NEVER) == [Accepted()]

    assert len(await backed.receive(queue)) == 1


# --- finding a queue ---


@pytest.mark.parametrize("server", SERVERS)
async def test_a_queue_is_found_by_its_url_as_well(
    request: pytest.FixtureRequest, server: str, open_aws: OpenAws
) -> None:
    aws = await open_aws(request.getfixturevalue(server))
    by_name = await ServerBacked(aws).create(_name())

    by_url = await find_queue(aws, by_name.info.url)

    assert by_url.info == by_name.info


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("form", [lambda name: name, lambda name: f"http://127.0.0.1:1/000000000000/{name}"])
async def test_a_queue_that_does_not_exist_is_not_found(
    request: pytest.FixtureRequest, server: str, form: Callable[[str], str], open_aws: OpenAws
) -> None:
    aws = await open_aws(request.getfixturevalue(server))

    with pytest.raises(NotFound, match="check its name, the region and the account"):
        await find_queue(aws, form(_name()))
