"""The stand-in's queues, as boto3 sees them: limits, partial failures, outages, FIFO, receiving."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError, HTTPClientError

from tests.standin import Outage, Queue, World
from tests.standin.clients import Clients

MIB = 1024 * 1024


@pytest.fixture
def aws(world: World, clients: Callable[..., Clients]) -> Clients:
    return clients(world.url)


async def send(aws: Clients, queue: Queue, *entries: str | Mapping[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """Sends a batch of bodies or entries, numbered from 0; the ids that were taken, and the failures."""
    batch: list[Any] = [
        {"Id": str(number), **({"MessageBody": entry} if isinstance(entry, str) else entry)}
        for number, entry in enumerate(entries)
    ]
    url = (await to_thread(aws.sqs.get_queue_url, QueueName=queue.name))["QueueUrl"]
    answer = await to_thread(aws.sqs.send_message_batch, QueueUrl=url, Entries=batch)
    return [one["Id"] for one in answer["Successful"]], [dict(one) for one in answer.get("Failed", [])]


async def receive(aws: Clients, queue: Queue, **more: Any) -> list[Any]:
    answer = await to_thread(aws.sqs.receive_message, QueueUrl=queue.name, MaxNumberOfMessages=10, **more)
    return list(answer.get("Messages", []))


async def code_of(call: Any) -> str:
    with pytest.raises(ClientError) as caught:
        await call
    return str(caught.value.response["Error"]["Code"])


def fifo(body: str, group: str, deduplication_id: str) -> dict[str, str]:
    return {"MessageBody": body, "MessageGroupId": group, "MessageDeduplicationId": deduplication_id}


async def test_a_queue_is_created_found_and_described(world: World, aws: Clients) -> None:
    sqs = aws.sqs
    url = (await to_thread(sqs.create_queue, QueueName="q", Attributes={"MaximumMessageSize": "2048"}))["QueueUrl"]
    assert url == f"{world.url}/000000000000/q"
    assert (await to_thread(sqs.get_queue_url, QueueName="q"))["QueueUrl"] == url
    described = (await to_thread(sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["All"]))["Attributes"]
    assert described["QueueArn"] == "arn:aws:sqs:us-east-1:000000000000:q"
    assert described["MaximumMessageSize"] == "2048"
    assert "FifoQueue" not in described
    assert (await to_thread(sqs.list_queues, QueueNamePrefix="q"))["QueueUrls"] == [url]
    other = to_thread(sqs.create_queue, QueueName="q", Attributes={"MaximumMessageSize": "4096"})
    assert await code_of(other) == "QueueAlreadyExists"
    await to_thread(sqs.delete_queue, QueueUrl=url)
    assert await code_of(to_thread(sqs.get_queue_url, QueueName="q")) == "AWS.SimpleQueueService.NonExistentQueue"


async def test_what_arrives_is_kept_in_order_with_its_sender(world: World, aws: Clients) -> None:
    queue = world.queue("q")
    attribute = {"route": {"DataType": "String", "StringValue": "main"}}
    taken, failed = await send(aws, queue, "first", {"MessageBody": "second", "MessageAttributes": attribute})
    assert (taken, failed) == (["0", "1"], [])
    assert [arrival.body for arrival in queue.arrived] == ["first", "second"]
    assert queue.arrived[1].attributes == attribute
    assert queue.arrived[0].access_key == "test"
    assert queue.taken == 2


async def test_answers_carry_the_checksums_that_the_service_computes(world: World, aws: Clients) -> None:
    world.queue("q")
    attributes: Any = {"a": {"DataType": "String", "StringValue": "v"}}
    answer = await to_thread(aws.sqs.send_message, QueueUrl="q", MessageBody="hello", MessageAttributes=attributes)
    assert answer["MD5OfMessageBody"] == "5d41402abc4b2a76b9719d911017c592"
    assert answer["MD5OfMessageAttributes"] == "a18cbb58171ebf4ce88d9fb787f9210b"  # as ElasticMQ has it


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        (["x"] * 11, "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"),
        ([{"Id": "same", "MessageBody": "x"}] * 2, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"),
        ([{"Id": "a b", "MessageBody": "x"}], "AWS.SimpleQueueService.InvalidBatchEntryId"),
        (["x" * (MIB // 2), "y" * (MIB // 2 + 1)], "AWS.SimpleQueueService.BatchRequestTooLong"),
        ([], "AWS.SimpleQueueService.EmptyBatchRequest"),
    ],
)
async def test_a_batch_beyond_the_limits_is_refused_whole(
    world: World, aws: Clients, entries: list[str | dict[str, str]], code: str
) -> None:
    queue = world.queue("q")
    assert await code_of(send(aws, queue, *entries)) == code
    assert queue.arrived == []


async def test_a_batch_of_exactly_one_mebibyte_is_taken(world: World, aws: Clients) -> None:
    assert (await send(aws, world.queue("q"), "x" * (MIB // 2), "y" * (MIB // 2)))[0] == ["0", "1"]


async def test_a_message_over_the_queues_own_limit_is_refused_alone(world: World, aws: Clients) -> None:
    queue = world.queue("q", {"MaximumMessageSize": "2048"})
    counted = {"a": {"DataType": "String", "StringValue": "v" * 40}}
    taken, failed = await send(
        aws, queue, "x" * 2048, "x" * 2049, {"MessageBody": "x" * 2001 + "é", "MessageAttributes": counted}
    )
    assert taken == ["0"]
    assert [(one["Id"], one["Code"], one["SenderFault"]) for one in failed] == [
        ("1", "InvalidParameterValue", True),
        ("2", "InvalidParameterValue", True),
    ]
    single = to_thread(aws.sqs.send_message, QueueUrl="q", MessageBody="x" * 2049)
    assert await code_of(single) == "InvalidParameterValue"


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x0b", "\x1f", "\ufffe", "\uffff", "\ud800"])
async def test_an_illegal_character_is_refused_per_entry(world: World, aws: Clients, character: str) -> None:
    taken, [failure] = await send(aws, world.queue("q"), "good", f"bad{character}")
    assert taken == ["0"]
    assert (failure["Id"], failure["Code"], failure["SenderFault"]) == ("1", "InvalidMessageContents", True)


async def test_every_legal_character_passes(world: World, aws: Clients) -> None:
    queue = world.queue("q")
    body = "\t\n\r \x7f\x80\ud7ff\ue000\ufffd\U00010000\U0010ffff"
    await send(aws, queue, body)
    assert queue.bodies == [body]
    assert [message["Body"] for message in await receive(aws, queue)] == [body]


async def test_entries_are_refused_by_what_they_contain_so_many_times(world: World, aws: Clients) -> None:
    queue = world.queue("q")
    queue.refuse(contains="poison", times=2)
    for _ in range(2):
        taken, [failure] = await send(aws, queue, "fine", "poison")
        assert taken == ["0"]
        assert (failure["Id"], failure["Code"], failure["SenderFault"]) == ("1", "InternalError", False)
    assert (await send(aws, queue, "poison"))[0] == ["0"]


async def test_every_nth_entry_is_refused(world: World, aws: Clients) -> None:
    queue = world.queue("q")
    queue.refuse(every=3, sender_fault=True, code="InvalidParameterValue")
    taken, failed = await send(aws, queue, *"abcdefg")
    assert taken == ["0", "1", "3", "4", "6"]
    assert {(one["Code"], one["SenderFault"]) for one in failed} == {("InvalidParameterValue", True)}


async def test_a_queue_that_is_down_answers_503_until_it_is_up(world: World, aws: Clients) -> None:
    queue = world.queue("q")
    queue.down()
    assert await code_of(to_thread(aws.sqs.send_message, QueueUrl="q", MessageBody="x")) == "ServiceUnavailable"
    queue.down(Outage.RESET)
    with pytest.raises(HTTPClientError):
        await to_thread(aws.sqs.send_message, QueueUrl="q", MessageBody="x")
    assert queue.arrived == []
    queue.up()
    assert (await send(aws, queue, "x"))[0] == ["0"]


async def test_a_fifo_queue_drops_duplicates_for_five_minutes(world: World, aws: Clients) -> None:
    queue = world.queue("q.fifo")
    assert (await send(aws, queue, fifo("one", "g", "id"), fifo("two", "g", "id")))[0] == ["0", "1"]
    world.clock.advance(299)
    await send(aws, queue, fifo("three", "g", "id"))
    assert [(arrival.body, arrival.duplicate) for arrival in queue.arrived] == [
        ("one", False),
        ("two", True),
        ("three", True),
    ]
    assert len({arrival.message_id for arrival in queue.arrived}) == 1
    world.clock.advance(2)
    await send(aws, queue, fifo("four", "g", "id"))
    assert queue.bodies == ["one", "four"]
    assert queue.arrived[0].group_id == "g"


async def test_a_fifo_queue_wants_a_group_and_a_deduplication_id(world: World, aws: Clients) -> None:
    _, failed = await send(aws, world.queue("q.fifo"), "x", {"MessageBody": "x", "MessageGroupId": "g"})
    assert [(one["Code"], one["SenderFault"]) for one in failed] == [
        ("MissingParameter", True),
        ("InvalidParameterValue", True),
    ]


async def test_a_standard_queue_takes_a_group_id_for_fair_queueing(world: World, aws: Clients) -> None:
    queue = world.queue("q")
    await send(aws, queue, {"MessageBody": "x", "MessageGroupId": "g"})
    assert queue.arrived[0].group_id == "g"


async def test_a_message_is_hidden_once_received_and_gone_once_deleted(world: World, aws: Clients) -> None:
    queue = world.queue("q")
    await send(aws, queue, "a", "b")
    messages = await receive(aws, queue, MessageSystemAttributeNames=["All"])
    assert [message["Body"] for message in messages] == ["a", "b"]
    assert messages[0]["Attributes"]["ApproximateReceiveCount"] == "1"
    assert await receive(aws, queue) == []
    world.clock.advance(31)
    await to_thread(aws.sqs.delete_message, QueueUrl="q", ReceiptHandle=messages[0]["ReceiptHandle"])
    assert [message["Body"] for message in await receive(aws, queue)] == ["b"]
    entry: Any = {"Id": "b", "ReceiptHandle": messages[1]["ReceiptHandle"]}
    await to_thread(aws.sqs.delete_message_batch, QueueUrl="q", Entries=[entry])
    assert queue.messages == {}
    assert queue.bodies == ["a", "b"]


async def test_a_fifo_group_waits_for_its_message_in_flight(world: World, aws: Clients) -> None:
    queue = world.queue("q.fifo")
    await send(aws, queue, fifo("a1", "a", "1"), fifo("a2", "a", "2"), fifo("b1", "b", "3"))
    first = await to_thread(aws.sqs.receive_message, QueueUrl="q.fifo", MaxNumberOfMessages=1)
    assert [message["Body"] for message in first["Messages"]] == ["a1"]
    assert [message["Body"] for message in await receive(aws, queue)] == ["b1"]


async def test_a_purge_empties_the_queue_and_not_its_history(world: World, aws: Clients) -> None:
    queue = world.queue("q")
    await send(aws, queue, "a")
    await to_thread(aws.sqs.purge_queue, QueueUrl="q")
    assert await receive(aws, queue) == []
    assert queue.bodies == ["a"]


async def test_a_discarding_queue_only_counts(world: World, aws: Clients) -> None:
    queue = world.queue("q")
    queue.discard = True
    assert (await send(aws, queue, "a", "b"))[0] == ["0", "1"]
    assert (queue.taken, queue.arrived) == (2, [])
