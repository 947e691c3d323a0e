"""The contract of `operate.ports.Leases`: what people do to a row, the same in memory and in every server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol

import pytest

from poller.aws.pool import NEVER
from poller.errors import LeaseConflict
from poller.model import AT_TIMESTAMP, SHARD_END, SOUGHT, TRIM_HORIZON, Lease
from poller.operate.ports import Leases
from poller.run.ports import LeaseTable
from tests.contract.conftest import OpenAws
from tests.contract.lease_tables import SERVERS, ServerTable, server_table
from tests.memory.clock import ManualClock
from tests.memory.lease_table import MemoryLeaseTable

HELD = Lease(
    "shardId-1",
    owner="w",
    poller_owner="w",
    counter=7,
    checkpoint="111",
    parents=frozenset({"shardId-0"}),
    children=frozenset({"shardId-2"}),
    owner_switches=2,
    stream_arn="arn:s",
    start_time_ms=1_700_000_000_000,
    checkpoint_time_ms=5,
)
NOBODYS = replace(HELD, owner=None, poller_owner=None)


class Table(LeaseTable, Leases, Protocol):
    """A lease table as a worker and as a person see it."""


@pytest.fixture(params=["memory", *SERVERS])
async def table(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> Table:
    if request.param == "memory":
        return MemoryLeaseTable(clock)
    return (await server_table(request.getfixturevalue(request.param), open_aws, clock)).table


@pytest.fixture(params=SERVERS)
async def server(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> ServerTable:
    return await server_table(request.getfixturevalue(request.param), open_aws, clock)


# --- what a write leaves behind ---


async def test_an_evicted_lease_is_nobodys_and_keeps_its_place(table: Table) -> None:
    await table.create(HELD)

    evicted = await table.evict(HELD)

    assert evicted == replace(NOBODYS, counter=8)
    assert await table.read("shardId-1") == evicted


async def test_evicting_ends_a_hand_over_that_was_promised(table: Table) -> None:
    promised = replace(HELD, successor=SOUGHT, checkpoint_owner="old")
    await table.create(promised)

    evicted = await table.evict(promised)

    assert (evicted.successor, evicted.checkpoint_owner) == (None, None)
    assert await table.read("shardId-1") == evicted


@pytest.mark.parametrize(
    ("checkpoint", "seek_time_ms"), [("222", None), (TRIM_HORIZON, 0), (AT_TIMESTAMP, 1_800_000_000_000)]
)
async def test_a_moved_lease_stands_elsewhere_and_is_nobodys(
    table: Table, checkpoint: str, seek_time_ms: int | None
) -> None:
    held = replace(HELD, seek_time_ms=3, successor=SOUGHT, checkpoint_owner="old")
    await table.create(held)

    moved = await table.move(held, checkpoint, seek_time_ms, 99)

    expected = replace(NOBODYS, counter=8, checkpoint=checkpoint, seek_time_ms=seek_time_ms)
    assert moved == replace(expected, checkpoint_time_ms=99, owner_switches=0)
    assert await table.read("shardId-1") == moved


async def test_a_finished_lease_that_nobody_holds_can_be_moved_back(table: Table) -> None:
    finished = replace(NOBODYS, checkpoint=SHARD_END)
    await table.create(finished)

    moved = await table.move(finished, TRIM_HORIZON, 0, 99)

    assert not moved.finished
    assert await table.read("shardId-1") == moved


async def test_moving_removes_what_java_left_pending(server: ServerTable) -> None:
    pending: dict[str, Any] = {
        "pendingCheckpoint": {"S": "9"},
        "pendingCheckpointSubSequenceNumber": {"N": "0"},
        "pendingCheckpointState": {"B": b"x"},
    }
    row = {"leaseKey": {"S": "shardId-1"}, "leaseCounter": {"N": "7"}, "checkpoint": {"S": "111"}}
    await server.put({**row, "checkpointSubSequenceNumber": {"N": "4"}, "throughputKBps": {"N": "1.5"}, **pending})
    lease = await server.table.read("shardId-1")
    assert lease is not None

    await server.table.move(lease, "222", None, 99)

    left = await server.get("shardId-1")
    assert not pending.keys() & left.keys()
    assert (left["checkpointSubSequenceNumber"], left["throughputKBps"]) == ({"N": "0"}, {"N": "1.5"})


# --- what it stands on ---

Write = Callable[[Leases, Lease], Awaitable[object]]
WRITES: dict[str, Write] = {
    "evict": lambda table, lease: table.evict(lease),
    "move": lambda table, lease: table.move(lease, "222", None, 99),
}


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_to_a_row_that_is_gone_conflicts_and_makes_none(table: Table, write: str) -> None:
    with pytest.raises(LeaseConflict):
        await WRITES[write](table, HELD)

    assert await table.list() == []


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("changed", [{"counter": 8}, {"owner": "other"}])
async def test_a_write_to_a_row_that_has_changed_conflicts_and_changes_nothing(
    table: Table, write: str, changed: dict[str, Any]
) -> None:
    other = replace(HELD, **changed)
    await table.create(other)

    with pytest.raises(LeaseConflict):
        await WRITES[write](table, HELD)

    assert await table.read("shardId-1") == other


async def test_a_lease_whose_checkpoint_is_another_is_not_moved(table: Table) -> None:
    other = replace(NOBODYS, checkpoint="112")
    await table.create(other)

    with pytest.raises(LeaseConflict):
        await table.move(NOBODYS, "222", None, 99)

    assert await table.read("shardId-1") == other


async def test_what_nobody_holds_cannot_be_evicted(table: Table) -> None:
    await table.create(NOBODYS)

    with pytest.raises(LeaseConflict):
        await table.evict(NOBODYS)


@pytest.mark.parametrize("write", WRITES)
async def test_the_holders_next_writes_fail_after_it(table: Table, write: str) -> None:
    await table.create(HELD)
    await WRITES[write](table, HELD)
    after = await table.read("shardId-1")

    with pytest.raises(LeaseConflict):
        await table.renew(HELD, NEVER)
    with pytest.raises(LeaseConflict):
        await table.checkpoint(HELD, "333", 99, NEVER)

    assert await table.read("shardId-1") == after
