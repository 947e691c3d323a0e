"""The lease table as Java sees it: its rows, rows that are not ours, and the table itself."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from poller.aws.errors import Target
from poller.aws.lease_table import BotoLeaseTable
from poller.aws.pool import NEVER
from poller.errors import ConfigurationError, NotFound
from poller.model import TRIM_HORIZON, Lease
from tests.contract.conftest import OpenAws
from tests.contract.lease_tables import SERVERS, ServerTable, server_table
from tests.memory.clock import ManualClock

NEW = Lease("shardId-1", parents=frozenset({"shardId-0"}), stream_arn="arn:s", start_time_ms=1_700_000_000_000)


@pytest.fixture(params=SERVERS)
async def server(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> ServerTable:
    return await server_table(request.getfixturevalue(request.param), open_aws, clock)


# --- rows that others write ---


def _row(key: str, **attributes: dict[str, Any]) -> dict[str, Any]:
    """The least that Java writes."""
    return {
        "leaseKey": {"S": key},
        "leaseCounter": {"N": "3"},
        "checkpoint": {"S": TRIM_HORIZON},
        "checkpointSubSequenceNumber": {"N": "0"},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
        **attributes,
    }


async def test_a_listing_longer_than_a_page_is_complete(server: ServerTable) -> None:
    # A page of Scan ends at 1 MB: seven rows of 300 kB make three.
    for number in range(7):
        await server.put(_row(f"shardId-{number}", padding={"S": "x" * 300_000}))

    assert len(await server.table.list()) == 7


async def test_a_new_row_is_written_as_java_writes_it(server: ServerTable) -> None:
    await server.table.create(NEW)

    assert await server.get("shardId-1") == {
        "leaseKey": {"S": "shardId-1"},
        "leaseCounter": {"N": "0"},
        "checkpoint": {"S": "TRIM_HORIZON"},
        "checkpointSubSequenceNumber": {"N": "0"},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
        "parentShardIds": {"SS": ["shardId-0"]},
        "startingHashKey": {"S": "0"},
        "endingHashKey": {"S": "1"},
        "streamArn": {"S": "arn:s"},
        "startTime": {"N": "1700000000000"},
    }


async def test_what_java_put_on_a_row_survives_our_writes(server: ServerTable) -> None:
    await server.put(_row("shardId-1", leaseOwner={"S": "me"}, throughputKBps={"N": "1.5"}, later={"BOOL": True}))
    lease = await server.table.read("shardId-1")
    assert lease is not None

    await server.table.release(await server.table.checkpoint(await server.table.renew(lease, NEVER), "1", 2, NEVER))

    row = await server.get("shardId-1")
    assert row["throughputKBps"] == {"N": "1.5"}
    assert row["later"] == {"BOOL": True}


async def test_a_checkpoint_removes_what_java_left_pending(server: ServerTable) -> None:
    pending: dict[str, Any] = {
        "pendingCheckpoint": {"S": "9"},
        "pendingCheckpointSubSequenceNumber": {"N": "0"},
        "pendingCheckpointState": {"B": b"x"},
    }
    await server.put(_row("shardId-1", leaseOwner={"S": "me"}, checkpointSubSequenceNumber={"N": "4"}, **pending))
    lease = await server.table.read("shardId-1")
    assert lease is not None

    await server.table.checkpoint(lease, "10", 2, NEVER)

    row = await server.get("shardId-1")
    assert not pending.keys() & row.keys()
    assert row["checkpointSubSequenceNumber"] == {"N": "0"}


async def test_rows_of_other_kinds_are_ignored(server: ServerTable) -> None:
    await server.put(_row("shardId-1", entityType={"S": "LEASE"}))
    await server.put({"leaseKey": {"S": "worker-1"}, "entityType": {"S": "WORKER_METRICS"}})

    assert [lease.shard_id for lease in await server.table.list()] == ["shardId-1"]
    assert server.reports == []


@pytest.mark.parametrize(
    ("attributes", "fault"),
    [
        ({"leaseCounter": {"S": "3"}}, "leaseCounter is not a whole number"),
        ({"leaseCounter": {"N": "3.5"}}, "leaseCounter is not a whole number"),
        ({"checkpoint": {"S": "elsewhere"}}, "checkpoint is neither a sequence number nor one of"),
        ({"leaseOwner": {"N": "1"}}, "leaseOwner is not a string"),
        ({"startTime": {"N": "9" * 38}}, "startTime is no time in milliseconds since 1970"),
        ({"seekTime": {"N": "-1"}}, "seekTime is no time in milliseconds since 1970"),
        ({"checkpointTime": {"N": "253402300800000"}}, "checkpointTime is no time in milliseconds since 1970"),
    ],
)
async def test_a_row_that_is_no_lease_is_passed_over_and_reported_once(
    server: ServerTable, attributes: dict[str, Any], fault: str
) -> None:
    await server.put(_row("shardId-1"))
    await server.put(_row("shardId-2", **attributes))

    for _ in range(2):
        assert [lease.shard_id for lease in await server.table.list()] == ["shardId-1"]

    assert await server.table.read("shardId-2") is None
    (report,) = server.reports
    assert "shardId-2" in report
    assert fault in report


async def test_parents_as_a_plain_string_are_read_as_none_as_java_does(server: ServerTable) -> None:
    await server.put(_row("shardId-1", parentShardIds={"S": "shardId-0"}))

    (lease,) = await server.table.list()

    assert lease.parents == frozenset()


# --- the table itself ---


@pytest.fixture(params=SERVERS)
async def unmade(request: pytest.FixtureRequest, open_aws: OpenAws) -> BotoLeaseTable:
    """A lease table that is not there yet."""
    aws = await open_aws(request.getfixturevalue(request.param))
    return BotoLeaseTable(aws, f"leases-{uuid.uuid4().hex}", lambda text: None)


async def test_a_missing_table_is_made_once(unmade: BotoLeaseTable, clock: ManualClock) -> None:
    assert await unmade.ensure(create=True, clock=clock)
    assert not await unmade.ensure(create=True, clock=clock)
    assert not await unmade.ensure(create=False, clock=clock)
    assert await unmade.list() == []


async def test_a_table_that_is_made_is_billed_on_demand(
    dynamodb_local: str, open_aws: OpenAws, clock: ManualClock
) -> None:
    aws, name = await open_aws(dynamodb_local), f"leases-{uuid.uuid4().hex}"
    await BotoLeaseTable(aws, name, lambda text: None).ensure(create=True, clock=clock)

    described = aws.leases.client.describe_table
    answer = await aws.leases.pool.call("DescribeTable", Target(name), NEVER, described, TableName=name)
    assert answer["Table"]["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


async def test_a_missing_table_that_must_not_be_made_is_refused_with_the_mend(
    unmade: BotoLeaseTable, clock: ManualClock
) -> None:
    with pytest.raises(ConfigurationError, match=r"POLLER_LEASE_TABLE=leases-.* set POLLER_LEASE__CREATE=true"):
        await unmade.ensure(create=False, clock=clock)


async def test_reading_from_a_missing_table_says_not_found(unmade: BotoLeaseTable) -> None:
    with pytest.raises(NotFound, match="leases-"):
        await unmade.list()


@pytest.mark.parametrize("server_name", SERVERS)
async def test_a_table_with_another_key_is_refused_before_anything_is_written(
    request: pytest.FixtureRequest, server_name: str, open_aws: OpenAws, clock: ManualClock
) -> None:
    aws = await open_aws(request.getfixturevalue(server_name))
    name = f"orders-{uuid.uuid4().hex}"
    await aws.leases.pool.call(
        "CreateTable",
        Target(name),
        NEVER,
        aws.leases.client.create_table,
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )

    with pytest.raises(ConfigurationError, match=r"its key is id \(S\), a lease table's is leaseKey \(S\)"):
        await BotoLeaseTable(aws, name, lambda text: None).ensure(create=True, clock=clock)
