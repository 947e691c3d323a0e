"""The stand-in's faults, its HTTP, and its life as a process of its own."""

from __future__ import annotations

import asyncio
import json
import zlib
from asyncio import to_thread
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError, ReadTimeoutError

from tests.standin import Fault, Kind, Remote, Shard, StandIn, StandInProcess, World
from tests.standin.clients import Clients
from tests.standin.remote import RemoteError

TABLE = "AnalysisMetadataTable"


@pytest.fixture
def aws(world: World, clients: Callable[..., Clients]) -> Clients:
    return clients(world.url)


@pytest.fixture
async def shard(world: World) -> Shard:
    return world.stream(TABLE).add_shard()


async def describe(aws: Clients, shard: Shard) -> Any:
    return await to_thread(aws.streams.describe_stream, StreamArn=shard.stream.arn)


async def write(aws: Clients, table: str = "leases", key: str = "k") -> Any:
    return await to_thread(aws.dynamodb.put_item, TableName=table, Item={"leaseKey": {"S": key}})


async def code_of(call: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        await call
    response = caught.value.response
    return str(response["Error"]["Code"]), int(response["ResponseMetadata"]["HTTPStatusCode"])


async def raw_exchange(world: World, request: bytes, until: bytes) -> bytes:
    """Sends bytes and reads until an answer has come that ends so."""
    host, port = world.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await reader.readuntil(until)
    writer.close()
    await writer.wait_closed()
    return answer


LIST_TABLES = b"X-Amz-Target: DynamoDB_20120810.ListTables\r\nHost: x\r\n"


# --- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        (Fault.throttle(), ("ThrottlingException", 400)),
        (Fault.throttle("LimitExceededException"), ("LimitExceededException", 400)),
        (Fault.internal(), ("InternalServerError", 500)),
        (Fault.unavailable(), ("ServiceUnavailableException", 503)),
        (Fault.access_denied(), ("AccessDeniedException", 400)),
        (Fault.expired_token(), ("ExpiredTokenException", 400)),
        (Fault(code="Anything", status=418), ("Anything", 418)),
    ],
)
async def test_a_fault_answers_with_its_error_so_many_times(
    world: World, aws: Clients, shard: Shard, fault: Fault, answer: tuple[str, int]
) -> None:
    fault.times = 2
    world.faults.add(fault)
    assert [await code_of(describe(aws, shard)) for _ in range(2)] == [answer, answer]
    assert await describe(aws, shard)
    assert fault.hits == world.count("DescribeStream", answer[0]) == 2


async def test_a_fault_meets_only_the_calls_that_it_names(
    world: World, aws: Clients, shard: Shard, clients: Callable[..., Clients]
) -> None:
    world.table("leases")
    world.faults.add(Fault.throttle(operation="PutItem", table="leases", key="bad", access_key="worker-1"))
    assert await describe(aws, shard)
    assert await write(aws, key="bad")
    worker = clients(world.url, access_key="worker-1")
    assert await write(worker, key="good")
    assert (await code_of(write(worker, key="bad")))[0] == "ThrottlingException"


async def test_a_fault_may_let_some_calls_pass_first_and_may_be_taken_away(
    world: World, aws: Clients, shard: Shard
) -> None:
    fault = world.faults.add(Fault.internal(shard=None, table=TABLE, skip=1))
    assert await describe(aws, shard)
    assert await code_of(describe(aws, shard))
    world.faults.remove(fault)
    assert await describe(aws, shard)


async def test_faults_of_sqs_carry_the_codes_that_boto3_reports(world: World, aws: Clients) -> None:
    world.queue("q")
    world.faults.add(Fault.access_denied(queue="q", status=403))
    assert await code_of(to_thread(aws.sqs.send_message, QueueUrl="q", MessageBody="x")) == ("AccessDenied", 403)


@pytest.mark.parametrize(("kind", "applied"), [(Kind.RESET, False), (Kind.LOST, True), (Kind.HALF_RESET, True)])
async def test_a_broken_connection_may_or_may_not_have_taken_effect(
    world: World, aws: Clients, kind: Kind, applied: bool
) -> None:
    world.table("leases")
    world.faults.add(Fault(kind, operation="PutItem", times=1))
    with pytest.raises(HTTPClientError):
        await write(aws)
    assert ("k" in world.tables["leases"].items) is applied
    assert world.count("PutItem", kind.value) == 1


async def test_boto3_takes_half_an_answer_for_an_empty_success(world: World, aws: Clients, shard: Shard) -> None:
    """botocore sets urllib3's `enforce_content_length` to false: whoever wants to know has to look for himself."""
    world.faults.add(Fault(Kind.HALF, times=1))
    half = await describe(aws, shard)
    assert "StreamDescription" not in half
    assert half["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert "StreamDescription" in await describe(aws, shard)


async def test_a_call_that_hangs_is_never_answered_while_others_are(
    world: World, aws: Clients, shard: Shard, clients: Callable[..., Clients]
) -> None:
    world.faults.add(Fault(Kind.HANG, times=1))
    impatient = clients(world.url, read_timeout_s=0.2)
    with pytest.raises(ReadTimeoutError):
        await describe(impatient, shard)
    assert await describe(aws, shard)


async def test_an_answer_may_be_late(world: World, aws: Clients, shard: Shard) -> None:
    world.faults.add(Fault(Kind.DELAY, delay_s=0.2))
    began = asyncio.get_running_loop().time()
    assert await describe(aws, shard)
    assert asyncio.get_running_loop().time() - began >= 0.2


async def test_a_checksum_may_be_wrong(world: World, aws: Clients, shard: Shard) -> None:
    bodies: list[tuple[int, int]] = []
    aws.streams.meta.events.register(
        "before-parse.dynamodb-streams.DescribeStream",
        lambda response_dict, **_: bodies.append(
            (int(response_dict["headers"]["x-amz-crc32"]), zlib.crc32(response_dict["body"]))
        ),
    )
    await describe(aws, shard)
    world.faults.add(Fault(Kind.WRONG_CRC32))
    await describe(aws, shard)
    assert [said == computed for said, computed in bodies] == [True, False]


async def test_an_answers_json_may_break_off_and_an_html_page_may_come_instead(
    world: World, aws: Clients, shard: Shard
) -> None:
    bodies: list[bytes] = []
    aws.streams.meta.events.register(
        "before-parse.dynamodb-streams.DescribeStream", lambda response_dict, **_: bodies.append(response_dict["body"])
    )
    await describe(aws, shard)
    world.faults.add(Fault(Kind.TRUNCATED, times=1))
    await describe(aws, shard)
    whole, broken = bodies
    assert whole.startswith(broken)
    assert 0 < len(broken) < len(whole)
    world.faults.add(Fault(Kind.HTML, status=502))
    with pytest.raises(ClientError):
        await describe(aws, shard)
    assert bodies[-1].startswith(b"<html>")


async def test_an_operation_may_be_limited_per_second(world: World, aws: Clients, shard: Shard) -> None:
    world.rates.limit("DescribeStream", 2)
    assert [bool(await describe(aws, shard)) for _ in range(2)] == [True, True]
    assert (await code_of(describe(aws, shard)))[0] == "ThrottlingException"
    world.clock.advance(1)
    assert await describe(aws, shard)


# --- HTTP -----------------------------------------------------------------------------------------------------------


async def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    world.table("leases")
    one = b"POST / HTTP/1.1\r\n" + LIST_TABLES + b"Content-Length: 2\r\n\r\n{}"
    two = one.replace(b"ListTables", b"Nothing")
    answer = await raw_exchange(world, one + two, until=b'UnknownOperationException","message":""}')
    assert answer.index(b"leases") < answer.index(b"UnknownOperationException")
    assert answer.count(b"HTTP/1.1 ") == 2


async def test_a_request_may_come_in_chunks_and_in_pieces(world: World) -> None:
    request = (
        b"POST / HTTP/1.1\r\n"
        + LIST_TABLES
        + b"Transfer-Encoding: chunked\r\n\r\n1;x=y\r\n{\r\n1\r\n}\r\n0\r\nA: b\r\n\r\n"
    )
    assert b"TableNames" in await raw_exchange(world, request, until=b"]}")
    host, port = world.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for number in range(len(request)):
        writer.write(request[number : number + 1])
        await asyncio.sleep(0)
    assert b"TableNames" in await reader.readuntil(b"]}")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_asks_before_sending_its_body_is_told_to_go_on(world: World) -> None:
    host, port = world.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST / HTTP/1.1\r\n" + LIST_TABLES + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"{}")
    assert b"200 OK" in await reader.readuntil(b"]}")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nA: " + b"x" * 70_000, b"431"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
    ],
)
async def test_what_is_no_request_is_refused(world: World, head: bytes, status: bytes) -> None:
    assert b"HTTP/1.1 " + status in await raw_exchange(world, head, until=b"\r\n\r\n")


@pytest.mark.parametrize("body", [b"{", b"[]"])
async def test_a_body_that_is_no_json_object_is_refused(world: World, body: bytes) -> None:
    request = b"POST / HTTP/1.1\r\n" + LIST_TABLES + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    assert b"SerializationException" in await raw_exchange(world, request, until=b"}")


async def test_answers_may_come_in_chunks_and_connections_may_close_after_some(
    world: World, aws: Clients, shard: Shard
) -> None:
    world.http.chunked = True
    world.http.close_after = 1
    shard.fill(100)
    first = await describe(aws, shard)
    assert first["ResponseMetadata"]["HTTPHeaders"]["transfer-encoding"] == "chunked"
    assert first["ResponseMetadata"]["HTTPHeaders"]["connection"] == "close"
    assert (await describe(aws, shard))["StreamDescription"] == first["StreamDescription"]


async def test_connections_may_be_dropped_at_any_time(world: World, aws: Clients, shard: Shard) -> None:
    world.faults.add(Fault(Kind.DELAY, delay_s=60, times=1))
    asked = asyncio.Event()
    shard.stream.on_page = lambda number: asked.set()
    hanging = asyncio.create_task(describe(aws, shard))
    async with asyncio.timeout(10):
        await asked.wait()
    world.http.drop_connections()
    with pytest.raises(ConnectionClosedError):
        await hanging


async def test_a_defect_of_the_stand_in_is_answered_and_raised_at_its_end(clients: Callable[..., Clients]) -> None:
    def defect(page: int) -> None:
        raise ZeroDivisionError

    async def use() -> None:
        async with StandIn() as world:
            shard = world.stream(TABLE).add_shard()
            shard.stream.on_page = defect
            assert (await code_of(describe(clients(world.url), shard)))[1] == 500

    with pytest.raises(ExceptionGroup, match="the stand-in itself is broken"):
        await use()


# --- a process of its own -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def remote() -> Any:
    with StandInProcess("--backlog", "2:1500", "--match-percent", "10", "--queue", "backlog-queue") as remote:
        yield remote


def test_another_process_offers_a_backlog_at_the_address_it_prints(
    remote: Remote, clients: Callable[..., Clients]
) -> None:
    aws = clients(remote.url)
    arn = aws.dynamodb.describe_table(TableName=TABLE)["Table"]["LatestStreamArn"]
    shards = aws.streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    text = aws.streams.get_shard_iterator(
        StreamArn=arn, ShardId=shards[1]["ShardId"], ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    first = aws.streams.get_records(ShardIterator=text)
    second = aws.streams.get_records(ShardIterator=first["NextShardIterator"])
    records = first["Records"] + second["Records"]
    assert len(records) == 1500
    matching = [record for record in records if record["dynamodb"]["NewImage"]["phase"]["S"] == "FILE_UPLOAD_COMPLETE"]
    assert len(matching) == 150
    assert aws.sqs.get_queue_url(QueueName="backlog-queue")


def test_a_stream_is_scripted_from_outside(remote: Remote, clients: Callable[..., Clients]) -> None:
    aws = clients(remote.url)
    arn, [first] = remote.stream("T")

    def shards() -> list[str]:
        return [shard["ShardId"] for shard in aws.streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]]

    one, two = remote.put("T", first, {"key": "a", "new_image": {"phase": {"S": "X"}}}, {"key": "b"})
    assert remote.trim("T", first, before=two) == 1
    assert one < two
    left, right = remote.split("T", first)
    remote.hide("T", right)
    assert shards() == [first, left]
    remote.show("T", right)
    remote.vanish("T", first)
    rolled = remote.roll("T", left)
    remote.close("T", right)
    assert shards() == [left, right, rolled]
    remote.empty_pages("T", rolled, 2)
    remote.fill("T", rolled, 3, match_every=1)
    remote.switch("T", page_shards=2, at_timestamp="refused")
    assert len(shards()) == 2
    assert remote.replace_stream("T").arn != arn
    remote.disable("T")
    remote.expire_iterators("T")
    with pytest.raises(RemoteError, match="no switch"):
        remote.switch("T", no_such_switch=1)


def test_queues_are_scripted_from_outside(remote: Remote, clients: Callable[..., Clients]) -> None:
    sqs = clients(remote.url).sqs
    url = remote.queue("q")
    remote.refuse("q", contains="poison", sender_fault=True)
    entries: list[Any] = [{"Id": "a", "MessageBody": "fine"}, {"Id": "b", "MessageBody": "poison"}]
    assert [one["Id"] for one in sqs.send_message_batch(QueueUrl=url, Entries=entries)["Failed"]] == ["b"]
    remote.accept("q")
    assert "Failed" not in sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert [arrival.body for arrival in remote.arrived("q")] == ["fine", "fine", "poison"]
    assert [arrival.body for arrival in remote.arrived("q", since=2)] == ["poison"]
    remote.queue_down("q")
    with pytest.raises(ClientError):
        sqs.send_message(QueueUrl=url, MessageBody="x")
    remote.queue_up("q")
    assert sqs.send_message(QueueUrl=url, MessageBody="x")


def test_rows_faults_and_counters_are_within_reach_from_outside(
    remote: Remote, clients: Callable[..., Clients]
) -> None:
    aws = clients(remote.url, access_key="worker-1")
    remote.do("put_row", table="leases", item={"leaseKey": {"S": "k"}, "owner": {"S": "me"}})
    assert remote.rows("leases")["k"]["owner"] == {"S": "me"}
    remote.keep_journal("leases")
    aws.dynamodb.delete_item(TableName="leases", Key={"leaseKey": {"S": "j"}})
    assert [(one.access_key, one.key, one.item) for one in remote.journal("leases")] == [("worker-1", "j", None)]
    remote.fault(Fault.throttle(operation="Scan", table="leases", times=1))
    with pytest.raises(ClientError):
        aws.dynamodb.scan(TableName="leases")
    assert aws.dynamodb.scan(TableName="leases")["Count"] == 1
    assert [(call.access_key, call.outcome) for call in remote.calls("Scan")] == [
        ("worker-1", "ThrottlingException"),
        ("worker-1", "OK"),
    ]
    assert (remote.count("Scan"), remote.count("Scan", "OK")) == (2, 1)
    remote.delete_row("leases", "k")
    remote.delete_table("leases")
    assert remote.rows("leases") == {}
    remote.clear_faults()
    remote.limit("ListTables", 1)
    aws.dynamodb.list_tables()
    with pytest.raises(ClientError):
        aws.dynamodb.list_tables()
    remote.advance(2)
    remote.drop_connections()
    assert aws.dynamodb.list_tables()
    assert remote.stats()["cpu_s"] > 0
    assert json.dumps(remote.env("worker-1")).count(remote.url) == 1
