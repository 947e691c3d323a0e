"""The adapters over real sockets when the way to AWS fails: the error, and what has taken effect all the same."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest

from poller.aws.lease_table import BotoLeaseTable
from poller.aws.pool import NEVER
from poller.aws.session import Aws
from poller.aws.sqs import BotoQueue, find_queue
from poller.aws.streams import BotoStreamSource
from poller.errors import AccessDenied, AwsError, Throttled, Unavailable
from poller.model import TRIM_HORIZON, Accepted, Lease, Message, Position, Refused
from tests.contract.conftest import CONFIG, OpenAws
from tests.memory.clock import ManualClock
from tests.standin import Fault, Kind, Remote

HELD = Lease("shardId-1", owner="me", counter=7, checkpoint="111", owner_switches=2)


@pytest.fixture(autouse=True)
def _no_faults_left(remote: Remote) -> Iterator[None]:
    yield
    remote.clear_faults()


@pytest.fixture
async def aws(standin: str, open_aws: OpenAws) -> Aws:
    return await open_aws(standin)


@pytest.fixture
async def table(aws: Aws, clock: ManualClock) -> BotoLeaseTable:
    """A lease table that holds one row."""
    table = BotoLeaseTable(aws, f"leases-{uuid.uuid4().hex}", print)
    await table.ensure(create=True, clock=clock)
    await table.create(HELD)
    return table


@pytest.fixture
async def queue(aws: Aws, remote: Remote) -> BotoQueue:
    return await find_queue(aws, remote.queue(f"queue-{uuid.uuid4().hex}"))


@pytest.fixture
async def source(aws: Aws, remote: Remote) -> BotoStreamSource:
    """A stream with one shard that holds one record."""
    table = f"orders-{uuid.uuid4().hex}"
    stream = remote.stream(table)
    remote.put(table, stream.shards[0], {"key": "a"})
    return BotoStreamSource(aws, stream.arn, table)


# --- reading ---


@pytest.mark.parametrize(
    ("fault", "kind", "code", "answered"),
    [
        (Fault(Kind.RESET), Unavailable, "ConnectionClosedError", False),
        (Fault(Kind.HALF), Unavailable, "AnswerCutShort", False),
        (Fault(Kind.HALF_RESET), Unavailable, "ConnectionClosedError", False),
        (Fault(Kind.TRUNCATED), Unavailable, "UnreadableAnswer", False),
        (Fault(Kind.WRONG_CRC32), Unavailable, "ChecksumMismatch", False),
        (Fault(Kind.HTML, status=502), Unavailable, "HTTP502", True),
        (Fault(Kind.HTML, status=200), Unavailable, "UnreadableAnswer", False),
        (Fault.internal(), Unavailable, "InternalServerError", True),
        (Fault.unavailable(), Unavailable, "ServiceUnavailableException", True),
        (Fault.throttle(), Throttled, "ThrottlingException", None),
        (Fault.throttle("LimitExceededException"), Throttled, "LimitExceededException", None),
        (Fault.access_denied(), AccessDenied, "AccessDeniedException", None),
        (Fault.expired_token(), AccessDenied, "ExpiredTokenException", None),
        (Fault.clock_skew(), AccessDenied, "InvalidSignatureException", None),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Fault) else None,
)
async def test_a_page_that_does_not_come_whole_is_an_error_of_its_class_and_comes_the_next_time(
    source: BotoStreamSource, remote: Remote, fault: Fault, kind: type[AwsError], code: str, answered: bool | None
) -> None:
    (shard,) = (await source.describe()).shards
    iterator = await source.iterator(shard.shard_id, Position(TRIM_HORIZON))
    remote.fault(replace(fault, operation="GetRecords", times=1))

    with pytest.raises(kind) as caught:
        await source.records(iterator, 1000)

    assert type(caught.value) is kind
    assert caught.value.code == code
    assert getattr(caught.value, "answered", None) is answered
    assert len((await source.records(iterator, 1000)).records) == 1


@pytest.mark.parametrize("fault", [Kind.HALF, Kind.TRUNCATED, Kind.HTML])
async def test_a_listing_that_does_not_come_whole_is_no_short_listing(
    source: BotoStreamSource, remote: Remote, fault: Kind
) -> None:
    remote.fault(Fault(fault, operation="DescribeStream", times=1, status=200))

    with pytest.raises(Unavailable):
        await source.describe()


async def test_a_connection_that_was_dropped_while_idle_is_made_anew(source: BotoStreamSource, remote: Remote) -> None:
    await source.describe()

    remote.drop_connections()
    await asyncio.sleep(0.1)  # both sides know of it

    assert len((await source.describe()).shards) == 1


async def test_a_socket_that_never_answers_is_given_up_after_the_time_out(
    remote: Remote, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = f"orders-{uuid.uuid4().hex}"
    stream = remote.stream(table)
    for name, value in remote.env().items():
        monkeypatch.setenv(name, value)
    hasty = await Aws.open(replace(CONFIG, request_timeout_s=0.05), lambda event: None, ManualClock().monotonic)
    remote.fault(Fault(Kind.HANG, operation="DescribeStream", times=1))

    with pytest.raises(Unavailable, match="ReadTimeoutError"):
        await BotoStreamSource(hasty, stream.arn, table).describe()

    hasty.close()


async def test_a_server_that_is_not_there_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, remote: Remote, unused_tcp_port: int
) -> None:
    for name, value in remote.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_tcp_port}")
    nowhere = await Aws.open(CONFIG, lambda event: None, ManualClock().monotonic)

    with pytest.raises(Unavailable, match="EndpointConnectionError"):
        await BotoStreamSource(nowhere, "arn:x", "orders").describe()

    nowhere.close()


# --- leases ---

WRITES: dict[str, Callable[[BotoLeaseTable], Awaitable[Lease]]] = {
    "take": lambda table: table.take(HELD, "other"),
    "renew": lambda table: table.renew(HELD, NEVER),
    "checkpoint": lambda table: table.checkpoint(HELD, "222", 99, NEVER),
    "release": lambda table: table.release(HELD),
    "add_children": lambda table: table.add_children(HELD, frozenset({"b"}), NEVER),
    "adopt": lambda table: table.adopt(HELD, "arn:s"),
}
AFTERWARDS: dict[str, Lease] = {
    "take": HELD.taken_by("other"),
    "renew": HELD.renewed(),
    "checkpoint": HELD.checkpointed("222", 99),
    "release": HELD.released(),
    "add_children": HELD.with_children(frozenset({"b"})),
    "adopt": replace(HELD, stream_arn="arn:s"),
}


@pytest.mark.parametrize("fault", [Kind.LOST, Kind.HALF_RESET, Kind.WRONG_CRC32])
@pytest.mark.parametrize("write", WRITES)
async def test_a_write_whose_answer_was_lost_left_the_row_that_a_reader_expects(
    table: BotoLeaseTable, remote: Remote, write: str, fault: Kind
) -> None:
    remote.fault(Fault(fault, operation="UpdateItem", times=1))

    with pytest.raises(Unavailable) as caught:
        await WRITES[write](table)

    assert not caught.value.answered
    assert await table.read("shardId-1") == AFTERWARDS[write]


@pytest.mark.parametrize("fault", [Kind.HALF, Kind.TRUNCATED, Kind.HTML])
async def test_a_row_that_does_not_come_whole_is_not_a_row_that_is_gone(
    table: BotoLeaseTable, remote: Remote, fault: Kind
) -> None:
    remote.fault(Fault(fault, operation="GetItem", times=1, status=200))

    with pytest.raises(Unavailable):
        await table.read("shardId-1")


@pytest.mark.parametrize("fault", [Kind.HALF, Kind.TRUNCATED, Kind.HTML])
async def test_a_scan_that_does_not_come_whole_is_not_an_empty_table(
    table: BotoLeaseTable, remote: Remote, fault: Kind
) -> None:
    remote.fault(Fault(fault, operation="Scan", times=1, status=200))

    with pytest.raises(Unavailable):
        await table.list()


# --- sending ---


@pytest.mark.parametrize("fault", [Kind.LOST, Kind.HALF, Kind.HALF_RESET, Kind.TRUNCATED])
async def test_a_batch_whose_answer_was_lost_may_be_in_the_queue_all_the_same(
    queue: BotoQueue, remote: Remote, fault: Kind
) -> None:
    remote.fault(Fault(fault, queue=queue.info.name, times=1))

    with pytest.raises(Unavailable) as caught:
        await queue.send([Message("body", 4)], NEVER)

    assert not caught.value.answered
    assert [arrival.body for arrival in remote.arrived(queue.info.name)] == ["body"]


@pytest.mark.parametrize(("outage", "answered"), [("unavailable", True), ("reset", False)])
async def test_a_queue_that_is_down_is_unavailable_and_has_nothing(
    queue: BotoQueue, remote: Remote, outage: str, answered: bool
) -> None:
    remote.queue_down(queue.info.name, outage)

    with pytest.raises(Unavailable) as caught:
        await queue.send([Message("body", 4)], NEVER)

    assert caught.value.answered is answered
    assert remote.arrived(queue.info.name) == []


@pytest.mark.parametrize("sender_fault", [True, False])
async def test_a_refused_entry_says_whose_fault_it_is_and_its_neighbours_are_taken(
    queue: BotoQueue, remote: Remote, sender_fault: bool
) -> None:
    remote.refuse(queue.info.name, contains="poison", sender_fault=sender_fault, code="Because")

    outcomes = await queue.send([Message("good", 4), Message("poison", 6), Message("also good", 9)], NEVER)

    assert [type(outcome) for outcome in outcomes] == [Accepted, Refused, Accepted]
    refused = outcomes[1]
    assert isinstance(refused, Refused)
    assert (refused.code, refused.sender_fault) == ("Because", sender_fault)
    assert [arrival.body for arrival in remote.arrived(queue.info.name)] == ["good", "also good"]
