"""The benchmarks' stand-in speaks as AWS does: the real clients understand it, and it counts what they do.

Needs Go. Not in CI: there Go's own library would have to be compiled first, which takes longer than all of these tests.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import md5
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from benchmarks.contestants import CONTESTANTS
from benchmarks.measure import measure
from benchmarks.server import QUEUE, TABLE, StandIn
from benchmarks.workloads import Kind, Workload
from tests.standin.clients import Clients
from tests.standin.queues import attributes_md5

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams.type_defs import RecordTypeDef

pytestmark = pytest.mark.skipif(
    shutil.which("go") is None or os.environ.get("CI") == "true", reason="needs Go, and is not run in CI"
)

Start = Callable[..., tuple[StandIn, Clients]]


@pytest.fixture
def start() -> Iterator[Start]:
    """A stand-in with so many shards and records, and clients of it."""
    with ExitStack() as around:

        def begin(**flags: Any) -> tuple[StandIn, Clients]:
            arguments = [part for name, value in flags.items() for part in (f"-{name.replace('_', '-')}", str(value))]
            standin = around.enter_context(StandIn(arguments))
            clients = Clients(standin.url)
            around.callback(clients.close)
            return standin, clients

        yield begin


def shards_of(standin: StandIn, clients: Clients) -> list[str]:
    pages = [clients.streams.describe_stream(StreamArn=standin.stream_arn)["StreamDescription"]]
    while last := pages[-1].get("LastEvaluatedShardId"):
        answer = clients.streams.describe_stream(StreamArn=standin.stream_arn, ExclusiveStartShardId=last)
        pages.append(answer["StreamDescription"])
    return [shard["ShardId"] for page in pages for shard in page["Shards"]]


def read(clients: Clients, iterator: str, limit: int = 1000) -> tuple[list[RecordTypeDef], str]:
    page = clients.streams.get_records(ShardIterator=iterator, Limit=limit)
    return page["Records"], page["NextShardIterator"]


def test_a_table_names_its_stream_and_the_stream_lists_its_shards_in_pages(start: Start) -> None:
    standin, clients = start(shards=150)

    described = clients.dynamodb.describe_table(TableName=TABLE)["Table"]
    shards = shards_of(standin, clients)

    assert described["LatestStreamArn"] == standin.stream_arn
    assert clients.streams.list_streams(TableName=TABLE)["Streams"][0]["StreamArn"] == standin.stream_arn
    assert len(set(shards)) == 150
    assert shards == sorted(shards)
    children = clients.streams.describe_stream(
        StreamArn=standin.stream_arn, ShardFilter={"Type": "CHILD_SHARDS", "ShardId": shards[0]}
    )
    assert children["StreamDescription"]["Shards"] == []


def test_a_shard_is_read_from_wherever_it_is_asked_for(start: Start) -> None:
    standin, clients = start(shards=2, records=1500, match_every=10)
    shard = {"StreamArn": standin.stream_arn, "ShardId": shards_of(standin, clients)[1]}

    def iterator(kind: Any, **more: Any) -> str:
        return clients.streams.get_shard_iterator(**shard, ShardIteratorType=kind, **more)["ShardIterator"]

    first, following = read(clients, iterator("TRIM_HORIZON"))
    second, at_end = read(clients, following)
    numbers = [record["dynamodb"]["SequenceNumber"] for record in (*first, *second)]

    assert (len(first), len(second)) == (1000, 500)
    assert read(clients, at_end)[0] == []
    assert numbers == sorted(numbers, key=int)
    assert len({record["eventID"] for record in (*first, *second)}) == 1500
    assert len({record["dynamodb"]["Keys"]["analysisRequestId"]["S"] for record in (*first, *second)}) == 1500
    phases = [record["dynamodb"]["NewImage"]["phase"]["S"] for record in (*first, *second)]
    assert phases.count("FILE_UPLOAD_COMPLETE") == 150
    place = {"SequenceNumber": numbers[700]}
    assert read(clients, iterator("AT_SEQUENCE_NUMBER", **place), 1)[0] == first[700:701]
    assert read(clients, iterator("AFTER_SEQUENCE_NUMBER", **place), 2)[0] == first[701:703]
    assert read(clients, iterator("LATEST"))[0] == []
    assert read(clients, iterator("AT_TIMESTAMP", Timestamp=time.time() - 60))[0] == first


def test_a_page_carries_the_checksum_of_its_body_and_images_have_the_size_asked_for(start: Start) -> None:
    standin, clients = start(shards=1, records=10, image_bytes=600)
    seen: list[Any] = []
    clients.streams.meta.events.register("before-parse.*", lambda response_dict, **_: seen.append(response_dict))
    shard = shards_of(standin, clients)[0]
    iterator = clients.streams.get_shard_iterator(
        StreamArn=standin.stream_arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]

    read(clients, iterator)

    body, headers = seen[-1]["body"], seen[-1]["headers"]
    assert int(headers["x-amz-crc32"]) == zlib.crc32(body)
    image = json.loads(body)["Records"][0]["dynamodb"]["NewImage"]
    assert len(json.dumps(image, separators=(",", ":"))) == 600


def test_a_lease_row_is_written_under_its_condition_only(start: Start) -> None:
    _, clients = start()
    table = clients.dynamodb
    table.create_table(
        TableName="leases",
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    row = {"leaseKey": {"S": "a"}, "leaseCounter": {"N": "9"}}
    absent = "attribute_not_exists(leaseKey)"
    table.put_item(TableName="leases", Item=row, ConditionExpression=absent)
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        table.put_item(TableName="leases", Item=row, ConditionExpression=absent)
    change: Any = {
        "TableName": "leases",
        "Key": {"leaseKey": {"S": "a"}},
        "UpdateExpression": "SET leaseCounter = leaseCounter + :one, leaseOwner = :me ADD childShardIds :children"
        " REMOVE successor",
        "ConditionExpression": "leaseCounter = :nine AND (attribute_not_exists(leaseOwner) OR leaseOwner <> :me)",
        "ExpressionAttributeValues": {
            ":one": {"N": "1"},
            ":nine": {"N": "9"},
            ":me": {"S": "me"},
            ":children": {"SS": ["b", "c"]},
        },
    }
    table.update_item(**change)
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        table.update_item(**change)

    assert table.scan(TableName="leases")["Items"] == [
        {
            "leaseKey": {"S": "a"},
            "leaseCounter": {"N": "10"},
            "leaseOwner": {"S": "me"},
            "childShardIds": {"SS": ["b", "c"]},
        }
    ]
    table.delete_item(TableName="leases", Key={"leaseKey": {"S": "a"}})
    assert "Item" not in table.get_item(TableName="leases", Key={"leaseKey": {"S": "a"}})


def test_a_queue_answers_with_the_digests_of_what_it_took(start: Start) -> None:
    standin, clients = start(queues=QUEUE)
    url = clients.sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    body = 'a "quoted"\\\n\u00e9\U0001f600 text'
    attributes: Any = {"eventName": {"DataType": "String", "StringValue": "MODIFY"}}
    entries: Any = [
        {"Id": "0", "MessageBody": body},
        {"Id": "1", "MessageBody": "plain", "MessageAttributes": attributes},
    ]

    taken = clients.sqs.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]

    assert [one["MD5OfMessageBody"] for one in taken] == [md5(body.encode()).hexdigest(), md5(b"plain").hexdigest()]
    assert taken[1]["MD5OfMessageAttributes"] == attributes_md5(attributes)
    assert standin.stats()["taken"] == {QUEUE: 2}
    with pytest.raises(ClientError, match="NonExistentQueue"):
        clients.sqs.get_queue_url(QueueName="other")


def test_live_records_come_on_the_clock_and_their_delay_is_measured(start: Start) -> None:
    standin, clients = start(shards=1, rate=100, match_every=1)
    shard = shards_of(standin, clients)[0]
    iterator = clients.streams.get_shard_iterator(
        StreamArn=standin.stream_arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    url = clients.sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    assert read(clients, iterator)[0] == []

    standin.do("begin")
    while not (records := read(clients, iterator)[0]):
        pass
    clients.sqs.send_message_batch(
        QueueUrl=url, Entries=[{"Id": "0", "MessageBody": json.dumps(records[0], default=str)}]
    )
    standin.do("end")
    stats = standin.stats()

    assert stats["distinct"] == 1
    assert 0 < stats["latency_ms"]["max"] < 10_000
    assert stats["expected"] >= len(records)


def test_the_daemon_brings_every_match_once_and_unchanged() -> None:
    figures = measure(CONTESTANTS["poller"], Workload("small", Kind.BACKLOG, 2, 3_000, 10.0))

    assert figures["verbatim_share"] == 1.0
    assert figures["repeated"] == 0
    assert figures["calls_SendMessageBatch"] >= 600 / 10
