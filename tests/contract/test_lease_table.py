"""The contract of `LeaseTable`: KCL's conditions, the same in memory and in every server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from poller.aws.pool import NEVER
from poller.errors import DeadlinePassed, LeaseConflict
from poller.model import SHARD_END, SOUGHT, Lease
from poller.run.ports import LeaseTable
from tests.contract.conftest import OpenAws
from tests.contract.lease_tables import SERVERS, server_table
from tests.memory.clock import ManualClock
from tests.memory.lease_table import MemoryLeaseTable

NEW = Lease("shardId-1", parents=frozenset({"shardId-0"}), stream_arn="arn:s", start_time_ms=1_700_000_000_000)
HELD = replace(
    NEW,
    owner="me",
    poller_owner="me",
    counter=7,
    checkpoint="111",
    owner_switches=2,
    checkpoint_time_ms=5,
    children=frozenset({"a"}),
)


@pytest.fixture(params=["memory", *SERVERS])
async def table(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> LeaseTable:
    if request.param == "memory":
        return MemoryLeaseTable(clock)
    return (await server_table(request.getfixturevalue(request.param), open_aws, clock)).table


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

    assert taken == replace(HELD, owner="other", poller_owner="other", counter=8, owner_switches=3)
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


async def test_renewing_is_refused_where_another_owner_has_reached_the_same_counter(table: LeaseTable) -> None:
    await table.create(replace(HELD, owner="other", poller_owner="other"))

    with pytest.raises(LeaseConflict):
        await table.renew(HELD, NEVER)


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

    assert released == replace(HELD, owner=None, poller_owner=None, counter=8)
    assert await table.read("shardId-1") == released


async def test_a_counter_never_falls_when_a_release_knows_an_old_one(table: LeaseTable) -> None:
    await table.create(HELD)
    await table.renew(HELD, NEVER)  # its answer was lost

    await table.release(HELD)

    row = await table.read("shardId-1")
    assert row is not None
    assert row.counter == 9


async def test_a_release_that_comes_late_is_none_of_a_tenure_that_began_since(table: LeaseTable) -> None:
    await table.create(HELD)
    released = await table.release(HELD)
    again = await table.take(released, "me")

    with pytest.raises(LeaseConflict):
        await table.release(replace(HELD, owner="me"))

    assert await table.read("shardId-1") == again


@pytest.mark.parametrize("counter", [6, 9])
async def test_a_release_that_comes_late_is_none_of_a_row_made_anew(table: LeaseTable, counter: int) -> None:
    anew = replace(HELD, counter=counter)  # held by the same worker
    await table.create(anew)

    with pytest.raises(LeaseConflict):
        await table.release(HELD)

    assert await table.read("shardId-1") == anew


async def test_children_are_added_to_those_already_named_under_the_same_counter(table: LeaseTable) -> None:
    await table.create(HELD)

    named = await table.add_children(HELD, frozenset({"b", "c"}), NEVER)

    assert named == replace(HELD, children=frozenset({"a", "b", "c"}))
    assert await table.read("shardId-1") == named


async def test_a_lease_is_promised_under_the_same_counter_and_released_for_its_successor(table: LeaseTable) -> None:
    await table.create(HELD)

    promised = await table.promise(HELD, "other")

    assert promised == replace(HELD, successor="other")
    assert await table.read("shardId-1") == promised
    released = await table.release(await table.renew(promised, NEVER))
    assert released == replace(HELD, owner=None, poller_owner=None, counter=9, successor="other")
    assert await table.read("shardId-1") == released


async def test_a_lease_for_which_a_successor_is_sought_is_promised_to_the_first_that_asks(table: LeaseTable) -> None:
    await table.create(HELD)
    await table.promise(HELD, SOUGHT)
    await table.promise(HELD, "first")

    with pytest.raises(LeaseConflict):
        await table.promise(HELD, "second")
    with pytest.raises(LeaseConflict):
        await table.promise(HELD, SOUGHT)
    row = await table.read("shardId-1")
    assert row is not None
    assert row.successor == "first"


@pytest.mark.parametrize("owner", ["other", "me"])
async def test_a_promise_ends_with_the_next_taking(table: LeaseTable, owner: str) -> None:
    await table.create(HELD)
    promised = await table.promise(HELD, "other")

    taken = await table.take(promised, owner)

    assert taken.successor is None
    assert await table.read("shardId-1") == taken


async def test_a_row_that_java_took_is_foreign_though_it_still_bears_our_sign(table: LeaseTable) -> None:
    await table.create(replace(HELD, owner="java"))

    row = await table.read("shardId-1")

    assert row is not None
    assert row.foreign
    assert not (await table.take(row, "me")).foreign


async def test_adopting_pins_the_stream_on_a_row_that_has_none(table: LeaseTable) -> None:
    theirs = replace(HELD, stream_arn=None)
    await table.create(theirs)

    adopted = await table.adopt(theirs, "arn:new")

    assert adopted == replace(theirs, stream_arn="arn:new")
    assert await table.read("shardId-1") == adopted


async def test_a_row_made_anew_is_not_deleted_for_the_one_that_had_the_same_counter(table: LeaseTable) -> None:
    await table.create(Lease("shard-1"))
    with pytest.raises(LeaseConflict):
        await table.delete(Lease("shard-1", checkpoint=SHARD_END))
    assert await table.read("shard-1") is not None


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
    "promise": lambda table, lease: table.promise(lease, "other"),
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


@pytest.mark.parametrize("write", [name for name in WRITES if name not in ("release", "promise")])
async def test_a_write_under_another_counter_conflicts_and_changes_nothing(table: LeaseTable, write: str) -> None:
    moved = replace(ADOPTABLE, counter=8)
    await table.create(moved)

    with pytest.raises(LeaseConflict):
        await WRITES[write](table, ADOPTABLE)

    assert await table.read("shardId-1") == moved


@pytest.mark.parametrize("write", ["checkpoint", "release", "promise", "add_children"])
@pytest.mark.parametrize("owner", ["other", None])
async def test_a_holders_write_conflicts_when_the_row_has_another_owner(
    table: LeaseTable, write: str, owner: str | None
) -> None:
    theirs = replace(ADOPTABLE, owner=owner)  # as after the beginning of a hand-off: the counter is still the same
    await table.create(theirs)

    with pytest.raises(LeaseConflict):
        await WRITES[write](table, ADOPTABLE)

    assert await table.read("shardId-1") == theirs


@pytest.mark.parametrize("write", ["checkpoint", "release", "promise", "add_children"])
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
