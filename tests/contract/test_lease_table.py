"""The contract of `LeaseTable`: KCL's rows and conditions, the same in memory and in every server."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from poller.aws.errors import Target
from poller.aws.lease_table import BotoLeaseTable
from poller.aws.pool import NEVER
from poller.errors import ConfigurationError, DeadlinePassed, LeaseConflict, NotFound
from poller.model import SHARD_END, TRIM_HORIZON, Lease
from poller.run.ports import LeaseTable
from tests.contract.conftest import OpenAws
from tests.memory.clock import ManualClock
from tests.memory.lease_table import MemoryLeaseTable

SERVERS = [pytest.param("dynamodb_local", marks=pytest.mark.real), "moto_server", "standin"]

NEW = Lease("shardId-1", parents=frozenset({"shardId-0"}), stream_arn="arn:s", start_time_ms=1_700_000_000_000)
HELD = replace(
    NEW, owner="me", counter=7, checkpoint="111", owner_switches=2, checkpoint_time_ms=5, children=frozenset({"a"})
)


@pytest.fixture(params=["memory", *SERVERS])
async def table(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> LeaseTable:
    if request.param == "memory":
        return MemoryLeaseTable(clock)
    return (await _server_table(request.getfixturevalue(request.param), open_aws, clock)).table


@dataclass
class ServerTable:
    """A lease table in a server, with a way around the port."""

    table: BotoLeaseTable
    put: Callable[[dict[str, Any]], Awaitable[Any]]
    get: Callable[[str], Awaitable[dict[str, Any]]]
    reports: list[str] = field(default_factory=list)


@pytest.fixture(params=SERVERS)
async def server(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> ServerTable:
    return await _server_table(request.getfixturevalue(request.param), open_aws, clock)


async def _server_table(url: str, open_aws: OpenAws, clock: ManualClock) -> ServerTable:
    aws = await open_aws(url)
    name, reports = f"leases-{uuid.uuid4().hex}", list[str]()
    table = BotoLeaseTable(aws, name, reports.append)
    await table.ensure(create=True, clock=clock)
    lane, target = aws.leases, Target(name)

    async def put(item: dict[str, Any]) -> None:
        await lane.pool.call("PutItem", target, NEVER, lane.client.put_item, TableName=name, Item=item)

    async def get(shard_id: str) -> dict[str, Any]:
        key = {"leaseKey": {"S": shard_id}}
        function = lane.client.get_item
        answer = await lane.pool.call("GetItem", target, NEVER, function, TableName=name, Key=key, ConsistentRead=True)
        return dict(answer["Item"])

    return ServerTable(table, put, get, reports)


# --- what every write leaves behind ---


async def test_a_created_row_reads_as_the_lease_that_was_created(table: LeaseTable) -> None:
    assert await table.create(HELD)

    assert await table.read("shardId-1") == HELD


async def test_creating_a_row_that_is_there_says_so_and_changes_nothing(table: LeaseTable) -> None:
    await table.create(NEW)

    assert not await table.create(replace(NEW, checkpoint="999"))
    assert await table.read("shardId-1") == NEW


async def test_a_row_that_is_not_there_reads_as_none(table: LeaseTable) -> None:
    assert await table.read("shardId-1") is None


async def test_taking_raises_the_counter_and_counts_the_change_of_owner(table: LeaseTable) -> None:
    await table.create(HELD)

    taken = await table.take(HELD, "other")

    assert taken == replace(HELD, owner="other", counter=8, owner_switches=3)
    assert await table.read("shardId-1") == taken


async def test_taking_what_is_mine_already_is_no_change_of_owner(table: LeaseTable) -> None:
    await table.create(HELD)

    assert (await table.take(HELD, "me")).owner_switches == 2


async def test_taking_ends_a_hand_off_that_is_under_way(table: LeaseTable) -> None:
    handing = replace(HELD, checkpoint_owner="old")
    await table.create(handing)

    taken = await table.take(handing, "other")

    assert taken.checkpoint_owner is None
    assert await table.read("shardId-1") == taken


async def test_renewing_raises_the_counter_and_nothing_else(table: LeaseTable) -> None:
    await table.create(HELD)

    renewed = await table.renew(HELD, NEVER)

    assert renewed == replace(HELD, counter=8)
    assert await table.read("shardId-1") == renewed


async def test_a_checkpoint_raises_the_counter_and_forgets_the_changes_of_owner(table: LeaseTable) -> None:
    await table.create(HELD)

    written = await table.checkpoint(HELD, "222", 99, NEVER)

    assert written == replace(HELD, counter=8, checkpoint="222", checkpoint_time_ms=99, owner_switches=0)
    assert await table.read("shardId-1") == written


async def test_a_shards_end_is_a_checkpoint_like_any_other(table: LeaseTable) -> None:
    await table.create(HELD)

    assert (await table.checkpoint(HELD, SHARD_END, 99, NEVER)).finished


async def test_releasing_leaves_the_place_and_no_owner(table: LeaseTable) -> None:
    await table.create(HELD)

    released = await table.release(HELD)

    assert released == replace(HELD, owner=None, counter=8)
    assert await table.read("shardId-1") == released


async def test_a_counter_never_falls_when_a_release_knows_an_old_one(table: LeaseTable) -> None:
    await table.create(HELD)
    await table.renew(HELD, NEVER)  # its answer was lost

    await table.release(HELD)

    row = await table.read("shardId-1")
    assert row is not None
    assert row.counter == 9


async def test_children_are_added_to_those_already_named_under_the_same_counter(table: LeaseTable) -> None:
    await table.create(HELD)

    named = await table.add_children(HELD, frozenset({"b", "c"}), NEVER)

    assert named == replace(HELD, children=frozenset({"a", "b", "c"}))
    assert await table.read("shardId-1") == named


async def test_adopting_pins_the_stream_on_a_row_that_has_none(table: LeaseTable) -> None:
    theirs = replace(HELD, stream_arn=None)
    await table.create(theirs)

    adopted = await table.adopt(theirs, "arn:new")

    assert adopted == replace(theirs, stream_arn="arn:new")
    assert await table.read("shardId-1") == adopted


async def test_a_deleted_row_is_gone(table: LeaseTable) -> None:
    await table.create(HELD)

    await table.delete(HELD)

    assert await table.read("shardId-1") is None


async def test_a_whole_life_can_be_followed_in_the_rows_that_the_writes_return(table: LeaseTable) -> None:
    await table.create(NEW)

    lease = await table.take(NEW, "me")
    for number in range(3):
        lease = await table.renew(lease, NEVER)
        lease = await table.checkpoint(lease, str(number), number, NEVER)
    lease = await table.add_children(lease, frozenset({"b"}), NEVER)
    lease = await table.checkpoint(lease, SHARD_END, 9, NEVER)
    lease = await table.release(lease)

    assert lease.counter == 9
    assert await table.read("shardId-1") == lease


# --- what every write stands on ---

Write = Callable[[LeaseTable, Lease], Awaitable[object]]
WRITES: dict[str, Write] = {
    "take": lambda table, lease: table.take(lease, "me"),
    "renew": lambda table, lease: table.renew(lease, NEVER),
    "checkpoint": lambda table, lease: table.checkpoint(lease, "222", 99, NEVER),
    "release": lambda table, lease: table.release(lease),
    "add_children": lambda table, lease: table.add_children(lease, frozenset({"b"}), NEVER),
    "adopt": lambda table, lease: table.adopt(lease, "arn:new"),
    "delete": lambda table, lease: table.delete(lease),
}
ADOPTABLE = replace(HELD, stream_arn=None)  # every one of the writes above fits it


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_to_a_row_that_is_gone_conflicts_and_makes_none(table: LeaseTable, write: str) -> None:
    with pytest.raises(LeaseConflict):
        await WRITES[write](table, ADOPTABLE)

    assert await table.list() == []


@pytest.mark.parametrize("write", [name for name in WRITES if name != "release"])
async def test_a_write_under_another_counter_conflicts_and_changes_nothing(table: LeaseTable, write: str) -> None:
    moved = replace(ADOPTABLE, counter=8)
    await table.create(moved)

    with pytest.raises(LeaseConflict):
        await WRITES[write](table, ADOPTABLE)

    assert await table.read("shardId-1") == moved


@pytest.mark.parametrize("write", ["checkpoint", "release", "add_children"])
@pytest.mark.parametrize("owner", ["other", None])
async def test_a_holders_write_conflicts_when_the_row_has_another_owner(
    table: LeaseTable, write: str, owner: str | None
) -> None:
    theirs = replace(ADOPTABLE, owner=owner)  # as after the beginning of a hand-off: the counter is still the same
    await table.create(theirs)

    with pytest.raises(LeaseConflict):
        await WRITES[write](table, ADOPTABLE)

    assert await table.read("shardId-1") == theirs


@pytest.mark.parametrize("write", ["checkpoint", "release", "add_children"])
async def test_nobody_can_write_as_the_holder_of_a_row_without_one(table: LeaseTable, write: str) -> None:
    nobodys = replace(ADOPTABLE, owner=None)
    await table.create(nobodys)

    with pytest.raises(LeaseConflict):
        await WRITES[write](table, nobodys)


async def test_a_renewal_conflicts_while_the_lease_is_being_handed_off(table: LeaseTable) -> None:
    await table.create(replace(HELD, checkpoint_owner="me"))

    with pytest.raises(LeaseConflict):
        await table.renew(HELD, NEVER)


async def test_a_row_that_has_a_stream_is_not_adopted_by_another(table: LeaseTable) -> None:
    await table.create(HELD)

    with pytest.raises(LeaseConflict):
        await table.adopt(HELD, "arn:new")


DEADLINES: dict[str, Callable[[LeaseTable, float], Awaitable[object]]] = {
    "renew": lambda table, not_after: table.renew(HELD, not_after),
    "checkpoint": lambda table, not_after: table.checkpoint(HELD, "222", 99, not_after),
    "add_children": lambda table, not_after: table.add_children(HELD, frozenset({"b"}), not_after),
}


@pytest.mark.parametrize("write", DEADLINES)
async def test_past_the_holders_deadline_nothing_is_written(table: LeaseTable, clock: ManualClock, write: str) -> None:
    await table.create(HELD)
    deadline = clock.monotonic() + 5
    clock.advance(5)

    with pytest.raises(DeadlinePassed):
        await DEADLINES[write](table, deadline)

    assert await table.read("shardId-1") == HELD


# --- looking at all rows ---


async def test_all_rows_are_listed(table: LeaseTable) -> None:
    leases = [replace(NEW, shard_id=f"shardId-{number}") for number in range(5)]
    for lease in leases:
        await table.create(lease)

    assert sorted(await table.list(), key=lambda lease: lease.shard_id) == leases


async def test_a_listing_longer_than_a_page_is_complete(server: ServerTable) -> None:
    # A page of Scan ends at 1 MB: seven rows of 300 kB make three.
    for number in range(7):
        await server.put(_row(f"shardId-{number}", padding={"S": "x" * 300_000}))

    assert len(await server.table.list()) == 7


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
