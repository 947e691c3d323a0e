"""The adapters against answers that no server gives on demand: damaged, cut short, incomplete, out of the ordinary."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from poller.aws.lease_table import BotoLeaseTable
from poller.aws.pool import NEVER
from poller.aws.s3 import BotoLetterStore
from poller.aws.session import Aws, AwsConfig
from poller.aws.sqs import BotoQueue, find_queue
from poller.aws.streams import BotoStreamSource, BotoTables
from poller.errors import (
    AccessDenied,
    ConfigurationError,
    DataTrimmed,
    IteratorExpired,
    LeaseConflict,
    NotFound,
    Throttled,
    Unavailable,
)
from poller.model import Accepted, Lease, Message, Position, QueueInfo, Refused, Shard, StreamInfo, Trace, ViewType
from tests.memory.clock import ManualClock
from tests.memory.wire import Answer, Wire

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2026-11-23T00:00:00.000"
# By boto3, whose requests are stopped and answered before they go out.
CONFIG = AwsConfig(
    region="eu-west-1",
    connect_timeout_s=1,
    request_timeout_s=3,
    read_threads=1,
    lease_threads=1,
    send_threads=1,
    calls="boto3",
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def aws(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> AsyncIterator[Aws]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    aws = await Aws.open(CONFIG, lambda event: None, clock.monotonic)
    yield aws
    aws.close()


# --- pages of records ---

PAGE = b'{"Records":[{"eventID":"1","n":1.50},  {"eventID":"2"}],"NextShardIterator":"next"}'


async def test_a_pages_records_are_the_bytes_that_came(aws: Aws) -> None:
    wire = Wire(aws.reads.client, Answer(PAGE, headers={"x-amz-crc32": str(zlib.crc32(PAGE))}))

    page = await BotoStreamSource(aws, ARN, "orders").records("iterator", 1000)

    assert [bytes(record) for record in page.records] == [b'{"eventID":"1","n":1.50}', b'{"eventID":"2"}']
    assert (page.next_iterator, page.size_bytes) == ("next", len(PAGE))
    assert wire.bodies == [{"ShardIterator": "iterator", "Limit": 1000}]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(PAGE, headers={"x-amz-crc32": str(zlib.crc32(PAGE) ^ 1)}), "ChecksumMismatch"),
        (Answer(PAGE, headers={"x-amz-crc32": "not a number"}), "ChecksumMismatch"),
        (Answer(PAGE[:-9], headers={"content-length": str(len(PAGE))}), "AnswerCutShort"),
        (Answer(PAGE[:-9]), "UnreadableAnswer"),
        (Answer(b""), "UnreadableAnswer"),
        (Answer(b"<html>please log in</html>"), "UnreadableAnswer"),
        (Answer(b'{"Nothing":1}'), "UnreadableAnswer"),
    ],
)
async def test_a_damaged_page_is_never_read_as_an_empty_one(aws: Aws, answer: Answer, code: str) -> None:
    Wire(aws.reads.client, answer)

    with pytest.raises(Unavailable) as caught:
        await BotoStreamSource(aws, ARN, "orders").records("iterator", 1000)

    assert caught.value.code == code
    assert not caught.value.answered


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ExpiredIteratorException", IteratorExpired),
        ("TrimmedDataAccessException", DataTrimmed),
        ("LimitExceededException", Throttled),
        ("ThrottlingException", Throttled),
        ("ResourceNotFoundException", NotFound),
    ],
)
async def test_errors_are_told_apart_though_pages_are_not_parsed(aws: Aws, code: str, kind: type[Exception]) -> None:
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "words"}
    content = json.dumps(body).encode()
    Wire(aws.reads.client, Answer(content, 400, {"x-amz-crc32": str(zlib.crc32(content))}))

    with pytest.raises(kind, match=f"GetRecords on orders: .* \\({code}\\)"):
        await BotoStreamSource(aws, ARN, "orders").records("iterator", 1000)


async def test_a_denied_access_names_the_action_and_the_stream(aws: Aws) -> None:
    Wire(aws.reads.client, Answer({"__type": "AccessDeniedException"}, 400))

    with pytest.raises(AccessDenied, match=f"allow dynamodb:GetRecords on {ARN}"):
        await BotoStreamSource(aws, ARN, "orders").records("iterator", 1000)


# --- shards and streams ---


async def test_a_time_is_asked_for_in_milliseconds(aws: Aws) -> None:
    wire = Wire(aws.reads.client, Answer({"ShardIterator": "iterator"}))
    position = Position("AT_TIMESTAMP", timestamp_ms=1_791_316_726_480)

    assert await BotoStreamSource(aws, ARN, "orders").iterator("shard", position) == "iterator"

    assert wire.bodies == [
        {"StreamArn": ARN, "ShardId": "shard", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1_791_316_726.48}
    ]


async def test_a_listings_page_holds_parents_ends_and_where_to_go_on(aws: Aws) -> None:
    description = {
        "StreamArn": ARN,
        "TableName": "orders",
        "StreamStatus": "DISABLED",
        "StreamViewType": "NEW_IMAGE",
        "Shards": [
            {"ShardId": "a", "SequenceNumberRange": {"StartingSequenceNumber": "1", "EndingSequenceNumber": "2"}},
            {"ShardId": "b", "ParentShardId": "a", "SequenceNumberRange": {"StartingSequenceNumber": "3"}},
        ],
        "LastEvaluatedShardId": "b",
    }
    wire = Wire(aws.reads.client, Answer({"StreamDescription": description}))

    page = await BotoStreamSource(aws, ARN, "orders").describe(after_shard_id="0")

    assert page.stream == StreamInfo(ARN, "orders", ViewType.NEW_IMAGE, enabled=False)
    assert page.shards == (Shard("a", None, closed=True), Shard("b", "a", closed=False))
    assert page.last_shard_id == "b"
    assert wire.bodies == [{"StreamArn": ARN, "ExclusiveStartShardId": "0"}]


@pytest.mark.parametrize("body", [{}, {"StreamDescription": {"StreamArn": ARN}}])
async def test_a_listing_without_its_content_is_unavailable_and_not_empty(aws: Aws, body: dict[str, Any]) -> None:
    Wire(aws.reads.client, Answer(body))

    with pytest.raises(Unavailable, match="DescribeStream on orders"):
        await BotoStreamSource(aws, ARN, "orders").describe()


async def test_a_stream_that_is_named_and_gone_is_none(aws: Aws) -> None:
    Wire(aws.leases.client, Answer({"Table": {"TableName": "orders", "LatestStreamArn": ARN}}))
    Wire(aws.reads.client, Answer({"__type": "ResourceNotFoundException"}, 400))

    assert await BotoTables(aws).latest_stream("orders") is None


async def test_a_long_list_of_streams_comes_whole_and_by_age(aws: Aws) -> None:
    wire = Wire(
        aws.reads.client,
        Answer({"Streams": [{"StreamArn": "arn:2", "StreamLabel": "2026-02"}], "LastEvaluatedStreamArn": "arn:2"}),
        Answer({"Streams": [{"StreamArn": "arn:1", "StreamLabel": "2026-01"}]}),
    )

    assert await BotoTables(aws).streams("orders") == ["arn:1", "arn:2"]
    assert wire.bodies == [{"TableName": "orders"}, {"TableName": "orders", "ExclusiveStartStreamArn": "arn:2"}]


# --- leases ---

LEASE = Lease("shard", owner="me", counter=7, checkpoint="1")


async def test_a_lost_answer_is_no_conflict(aws: Aws) -> None:
    Wire(aws.leases.client, ReadTimeoutError(endpoint_url="https://x"))

    with pytest.raises(Unavailable, match="UpdateItem on leases/shard: no answer"):
        await BotoLeaseTable(aws, "leases", print).renew(LEASE, NEVER)


async def test_a_conflict_says_which_row_and_keeps_its_cause(aws: Aws) -> None:
    Wire(aws.leases.client, Answer({"__type": "ConditionalCheckFailedException"}, 400))

    with pytest.raises(LeaseConflict, match="UpdateItem on leases/shard: not the row with the counter 7") as caught:
        await BotoLeaseTable(aws, "leases", print).renew(LEASE, NEVER)

    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("answer", [Answer(b'{"Item":', headers={"content-length": "99"}), Answer(b"<html>")])
async def test_a_damaged_answer_is_not_a_row_that_is_gone(aws: Aws, answer: Answer) -> None:
    Wire(aws.leases.client, answer)

    with pytest.raises(Unavailable):
        await BotoLeaseTable(aws, "leases", print).read("shard")


async def test_a_scan_without_items_is_not_an_empty_table(aws: Aws) -> None:
    Wire(aws.leases.client, Answer({}))

    with pytest.raises(Unavailable, match="Scan on leases"):
        await BotoLeaseTable(aws, "leases", print).list()


ITEM = {"leaseKey": {"S": "shard"}, "leaseCounter": {"N": "7"}, "checkpoint": {"S": "1"}, "leaseOwner": {"S": "me"}}


async def test_rows_are_read_consistently_and_to_the_last_page(aws: Aws) -> None:
    start = {"leaseKey": {"S": "shard"}}
    wire = Wire(
        aws.leases.client,
        Answer({"Items": [ITEM], "LastEvaluatedKey": start}),
        Answer({"Items": [{**ITEM, "leaseKey": {"S": "other"}}]}),
        Answer({"Item": ITEM}),
    )
    table = BotoLeaseTable(aws, "leases", print)

    assert [lease.shard_id for lease in await table.list()] == ["shard", "other"]
    assert await table.read("shard") == LEASE

    assert wire.bodies == [
        {"TableName": "leases", "ConsistentRead": True},
        {"TableName": "leases", "ConsistentRead": True, "ExclusiveStartKey": start},
        {"TableName": "leases", "Key": start, "ConsistentRead": True},
    ]


KEY = {
    "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
}
MISSING = Answer({"__type": "ResourceNotFoundException"}, 400)
CREATING = Answer({"Table": {**KEY, "TableStatus": "CREATING"}})
ACTIVE = Answer({"Table": {**KEY, "TableStatus": "ACTIVE"}})


async def test_a_new_table_is_waited_for_until_it_is_active(aws: Aws, clock: ManualClock) -> None:
    created = Answer({"TableDescription": {**KEY, "TableStatus": "CREATING"}})
    wire = Wire(aws.leases.client, MISSING, created, CREATING, MISSING, created, CREATING, ACTIVE)

    assert await BotoLeaseTable(aws, "leases", print).ensure(create=True, clock=clock)

    assert wire.answers == []


async def test_when_another_worker_makes_the_table_it_is_waited_for_as_well(aws: Aws, clock: ManualClock) -> None:
    Wire(aws.leases.client, MISSING, Answer({"__type": "ResourceInUseException"}, 400), CREATING, ACTIVE)

    assert not await BotoLeaseTable(aws, "leases", print).ensure(create=True, clock=clock)


async def test_a_table_that_never_becomes_active_is_given_up(aws: Aws, clock: ManualClock) -> None:
    wire = Wire(aws.leases.client, *[CREATING] * 100)
    started = clock.monotonic()

    with pytest.raises(Unavailable, match="still CREATING after 10 s"):
        await BotoLeaseTable(aws, "leases", print).ensure(create=True, clock=clock, wait_s=10)

    assert 10 <= clock.monotonic() - started <= 11
    assert len(wire.requests) < 20


async def test_a_denied_creation_is_said_as_such(aws: Aws, clock: ManualClock) -> None:
    Wire(aws.leases.client, MISSING, Answer({"__type": "AccessDeniedException"}, 400))

    with pytest.raises(AccessDenied, match=r"allow dynamodb:CreateTable on arn:aws:dynamodb:eu-west-1:\*:table/leases"):
        await BotoLeaseTable(aws, "leases", print).ensure(create=True, clock=clock)


# --- queues ---

QUEUE = QueueInfo("work", "http://elsewhere:9324/000000000000/work", "arn:aws:sqs:eu-west-1:1:work", False, 1_048_576)
BATCH = [Message("a", 1), Message("b", 1, "group", "dedup"), Message("c", 1, attributes={"table": "orders"})]


async def test_a_batch_goes_to_the_clients_endpoint_whatever_host_the_queues_url_names(aws: Aws) -> None:
    wire = Wire(aws.sends.client, Answer({"Successful": [{"Id": "0"}, {"Id": "1"}, {"Id": "2"}]}))

    assert await BotoQueue(aws, QUEUE).send(BATCH, NEVER) == [Accepted()] * 3

    assert wire.requests[0].url == "https://sqs.eu-west-1.amazonaws.com/"
    assert wire.bodies == [
        {
            "QueueUrl": QUEUE.url,
            "Entries": [
                {"Id": "0", "MessageBody": "a"},
                {"Id": "1", "MessageBody": "b", "MessageGroupId": "group", "MessageDeduplicationId": "dedup"},
                {
                    "Id": "2",
                    "MessageBody": "c",
                    "MessageAttributes": {"table": {"DataType": "String", "StringValue": "orders"}},
                },
            ],
        }
    ]


@pytest.mark.parametrize("sampled", [True, False])
async def test_a_trace_goes_with_its_message_in_x_rays_form(aws: Aws, sampled: bool) -> None:
    wire = Wire(aws.sends.client, Answer({"Successful": [{"Id": "0"}, {"Id": "1"}]}))
    trace = Trace(0x6740_5A7B_0000_0000_0000_0000_0000_00AB, 0xCD, sampled)

    await BotoQueue(aws, QUEUE).send([Message("a", 1, trace=trace), Message("b", 1)], NEVER)

    traced, plain = wire.bodies[0]["Entries"]
    header = f"Root=1-67405a7b-0000000000000000000000ab;Parent=00000000000000cd;Sampled={int(sampled)}"
    assert traced["MessageSystemAttributes"] == {"AWSTraceHeader": {"DataType": "String", "StringValue": header}}
    assert plain == {"Id": "1", "MessageBody": "b"}


async def test_each_entry_has_the_outcome_that_the_answer_gives_it_in_the_batchs_order(aws: Aws) -> None:
    failed = [
        {"Id": "2", "Code": "InvalidMessageContents", "Message": "bad\ncharacter", "SenderFault": True},
        {"Id": "0", "Code": "InternalError", "SenderFault": False},
    ]
    Wire(aws.sends.client, Answer({"Successful": [{"Id": "1"}], "Failed": failed}))

    assert await BotoQueue(aws, QUEUE).send(BATCH, NEVER) == [
        Refused("InternalError", "", sender_fault=False),
        Accepted(),
        Refused("InvalidMessageContents", "the request is refused", sender_fault=True),
    ]


async def test_an_entry_that_the_answer_forgets_is_refused_for_now(aws: Aws) -> None:
    Wire(aws.sends.client, Answer({"Successful": [{"Id": "0"}, {"Id": "2"}]}))

    accepted, forgotten, _ = await BotoQueue(aws, QUEUE).send(BATCH, NEVER)

    assert accepted == Accepted()
    assert isinstance(forgotten, Refused)
    assert (forgotten.code, forgotten.sender_fault) == ("NoOutcome", False)


async def test_an_entry_that_is_both_accepted_and_failed_counts_as_failed(aws: Aws) -> None:
    failed = [{"Id": "0", "Code": "InternalError", "SenderFault": False}]
    Wire(aws.sends.client, Answer({"Successful": [{"Id": "0"}], "Failed": failed}))

    assert isinstance((await BotoQueue(aws, QUEUE).send(BATCH[:1], NEVER))[0], Refused)


@pytest.mark.parametrize("body", [{}, {"Successful": []}, {"Successful": [{"Id": "7"}]}, {"Successful": [{"Id": "x"}]}])
async def test_an_answer_that_knows_no_entry_leaves_open_what_took_effect(aws: Aws, body: dict[str, Any]) -> None:
    Wire(aws.sends.client, Answer(body))

    with pytest.raises(Unavailable) as caught:
        await BotoQueue(aws, QUEUE).send(BATCH[:1], NEVER)

    assert not caught.value.answered


@pytest.mark.parametrize(
    "url",
    [
        "https://sqs.us-east-1.amazonaws.com/123456789012/work",
        "https://us-east-1.queue.amazonaws.com/123456789012/work",
        "https://vpce-1-x.sqs.us-east-1.vpce.amazonaws.com/123456789012/work",
    ],
)
async def test_a_queue_of_another_region_is_refused(aws: Aws, url: str) -> None:
    with pytest.raises(ConfigurationError, match="a queue of us-east-1, but the region is eu-west-1"):
        await find_queue(aws, url)


async def test_a_queue_on_a_host_that_no_request_would_go_to_is_refused_with_the_mend(aws: Aws) -> None:
    with pytest.raises(ConfigurationError, match=r"set AWS_ENDPOINT_URL_SQS=http://127\.0\.0\.1:9324$"):
        await find_queue(aws, "http://127.0.0.1:9324/000000000000/work")


@pytest.mark.parametrize("url", ["https://sqs.eu-west-1.amazonaws.com/", "http://[::1/000000000000/work"])
async def test_a_url_without_a_queue_is_refused(aws: Aws, url: str) -> None:
    with pytest.raises(ConfigurationError, match="not the URL of a queue"):
        await find_queue(aws, url)


async def test_a_queue_says_how_much_it_takes(aws: Aws) -> None:
    attributes = {"QueueArn": QUEUE.arn, "MaximumMessageSize": "2048"}
    Wire(aws.sends.client, Answer({"QueueUrl": QUEUE.url}), Answer({"Attributes": attributes}))

    assert (await find_queue(aws, "work")).info.message_bytes_max == 2048


# --- letters ---


async def test_a_letter_is_stored_whole_and_found_by_its_url(aws: Aws) -> None:
    wire = Wire((await aws.s3()).client, Answer(b""))

    assert await BotoLetterStore(aws, "letters").put("orders/1.json", b'{"a":1}') == "s3://letters/orders/1.json"

    assert wire.requests[0].url == "https://letters.s3.eu-west-1.amazonaws.com/orders/1.json"
    body: Any = wire.requests[0].body
    assert b'{"a":1}' in (body if isinstance(body, bytes) else body.read())


async def test_a_bucket_that_is_closed_to_us_is_named(aws: Aws) -> None:
    error = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    Wire((await aws.s3()).client, Answer(error, 403))

    with pytest.raises(AccessDenied, match=r"allow s3:PutObject on arn:aws:s3:::letters/\*"):
        await BotoLetterStore(aws, "letters").put("orders/1.json", b"{}")
