"""What `poller leases release` and `set` do to workers at work, and what they wait for; on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import pytest

from poller.decide.lineage import Start
from poller.errors import ConfigurationError, Throttled, Unavailable
from poller.events import DataLost, LeaseLost
from poller.model import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Lease, Position
from poller.operate.between import PAGES_MAX, Between, ShardRecords, between
from poller.operate.fleet import State
from poller.operate.hold import FORCED_TRIES, Refused, free_row
from poller.operate.move import Plan, checked, move, plan_move
from poller.operate.places import Place
from poller.operate.release import release
from poller.operate.watch import Seen, Watch
from tests.memory.gates import failing, fault, open_gate
from tests.memory.lease_table import MemoryLeaseTable
from tests.rig import Options, Rig
from tests.virtual import VirtualClock, run

DURATION_S = 10.0
Story = Callable[[VirtualClock], Coroutine[Any, Any, None]]


def rig_of(clock: VirtualClock, options: Options | None = None) -> Rig:
    """With a standard queue: a FIFO queue would not show what comes again within five minutes."""
    return Rig(clock, options, queue="jobs")


def shard_of(rig: Rig) -> str:
    (shard_id,) = rig.stream.shards.shards
    return shard_id


async def planned(rig: Rig, target: Position, *, shard_id: str | None = None, force: bool = False) -> Plan:
    lease = rig.leases.rows[shard_id or shard_of(rig)]
    records = ShardRecords(rig.stream, lease.shard_id, rig.clock)
    return await plan_move(records, lease, rig.leases.rows, target, now_s=rig.clock.wall(), force=force)


async def set_to(rig: Rig, target: Position, *, force: bool = False) -> Lease:
    return await move(rig.leases, rig.clock, await planned(rig, target, force=force))


async def read_and_gone(rig: Rig, count: int, prefix: str) -> list[str]:
    """A worker reads so many uploads to the end, and leaves; what it has sent."""
    expected = rig.uploads(count, prefix)
    async with rig.running():
        await rig.until(rig.caught_up)
    assert sorted(rig.received()) == sorted(expected)
    return expected


# --- workers ----------------------------------------------------------------------------------------------------------


def test_a_lease_taken_from_a_living_worker_is_noticed_and_reading_goes_on_with_nothing_lost() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        async with rig.running():
            expected = rig.uploads(5, "before")
            await rig.until(rig.caught_up)
            lease = rig.leases.rows[shard_of(rig)]
            released = await release(rig.leases, clock, lease, duration_s=DURATION_S, force=True, say=lambda _: None)
            expected += rig.uploads(5, "after")
            await rig.until(lambda: set(rig.received()) == set(expected))
        assert released.done
        assert [event.reason for event in rig.said(LeaseLost)] == ["taken"]

    run(story)


def test_set_to_the_horizon_under_a_living_worker_everything_is_read_again() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        async with rig.running():
            expected = rig.uploads(5)
            await rig.until(rig.caught_up)
            await set_to(rig, Position(TRIM_HORIZON), force=True)
            await rig.until(lambda: len(rig.received()) >= 10)
            await rig.until(rig.caught_up)
        assert sorted(rig.received()) == sorted(2 * expected)

    run(story)


def test_set_to_latest_what_was_there_is_skipped_however_late_somebody_begins_to_read() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        await read_and_gone(rig, 1, "first")
        rig.uploads(5, "skipped")
        await clock.sleep(300)
        await set_to(rig, Position(LATEST))
        expected = rig.uploads(5, "between")
        await clock.sleep(300)
        async with rig.killed(rig.worker("worker-2")):
            await clock.sleep(0.02)  # it has the lease, and has read nothing
        async with rig.running(rig.worker("worker-3")):
            await rig.until(lambda: set(expected) <= set(rig.received()))
        assert sorted(rig.received()) == sorted(["first-0/1", *expected])

    run(story)


def test_set_to_the_horizon_what_the_first_start_at_latest_passed_over_is_read() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock, Options(start=Start(LATEST)))
        passed_over = rig.uploads(5, "before")
        await clock.sleep(300)
        async with rig.running():
            await clock.sleep(5)
        assert rig.received() == []
        await set_to(rig, Position(TRIM_HORIZON))
        async with rig.running(rig.worker("worker-2")):
            await rig.until(lambda: sorted(rig.received()) == sorted(passed_over))

    run(story)


def test_set_to_a_time_records_created_before_it_are_not_read_again() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        early = rig.uploads(2, "early")
        await clock.sleep(100)
        since_ms = int(clock.wall() * 1000)
        await clock.sleep(1)
        late = rig.uploads(2, "late")
        async with rig.running():
            await rig.until(rig.caught_up)
        await set_to(rig, Position(AT_TIMESTAMP, timestamp_ms=since_ms))
        async with rig.running(rig.worker("worker-2")):
            await rig.until(lambda: len(rig.received()) == 6)
            await clock.sleep(30)
        assert sorted(rig.received()) == sorted([*early, *late, *late])

    run(story)


def test_set_to_a_record_reading_goes_on_after_it() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        await read_and_gone(rig, 2, "item")
        third = rig.stream.shards[shard_of(rig)].entries[2]  # the last of the first upload's three changes
        after = await set_to(rig, Position.after(str(third.sequence_number)))
        async with rig.running(rig.worker("worker-2")):
            await rig.until(lambda: len(rig.received()) == 3)
            await clock.sleep(30)
        assert after.checkpoint == str(third.sequence_number)
        assert sorted(rig.received()) == ["item-0/1", "item-1/1", "item-1/1"]

    run(story)


def test_what_is_trimmed_behind_a_checkpoint_at_the_horizon_is_no_loss() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        rig.uploads(2, "old")
        child = rig.stream.shards.roll(shard_of(rig))
        rig.uploads(2, "trimmed")
        async with rig.running():
            await rig.until(rig.caught_up)
        await move(rig.leases, clock, await planned(rig, Position(TRIM_HORIZON), shard_id=child))
        trimmed_once = False

        async def trimming(operation: str, resource: str) -> None:
            nonlocal trimmed_once
            if operation == "GetRecords" and not trimmed_once:  # the iterator at the horizon has just been given
                trimmed_once = True
                rig.stream.shards.trim(child)

        rig.stream.before = trimming
        async with rig.running(rig.worker("worker-2")):
            await rig.until(lambda: trimmed_once)
            expected = rig.uploads(1, "new")
            await rig.until(lambda: set(expected) <= set(rig.received()))
        assert rig.said(DataLost) == []

    run(story)


# --- whether a holder is at work --------------------------------------------------------------------------------------


def table_of(clock: VirtualClock, *rows: Lease) -> MemoryLeaseTable:
    table = MemoryLeaseTable(clock)
    table.rows = {row.shard_id: row for row in rows}
    return table


def held(shard_id: str, owner: str = "w", **fields: Any) -> Lease:
    return Lease(shard_id, **{"owner": owner, "poller_owner": owner, "counter": 7, "checkpoint": "5", **fields})


async def freed(table: MemoryLeaseTable, clock: VirtualClock, said: list[str] | None = None) -> Lease:
    return await free_row(table, clock, table.rows["a"], DURATION_S, (said if said is not None else []).append)


async def renewing(table: MemoryLeaseTable, shard_id: str, clock: VirtualClock) -> None:
    while True:
        await clock.sleep(DURATION_S / 3)
        table.rows[shard_id] = table.rows[shard_id].renewed()


def test_a_row_that_nobody_holds_is_free_at_once() -> None:
    async def story(clock: VirtualClock) -> None:
        said: list[str] = []
        began = clock.monotonic()
        assert await freed(table_of(clock, Lease("a")), clock, said) == Lease("a")
        assert (clock.monotonic(), said) == (began, [])

    run(story)


def test_a_holder_that_stands_still_for_as_long_as_a_lease_lasts_is_gone_and_the_wait_is_said() -> None:
    async def story(clock: VirtualClock) -> None:
        said: list[str] = []
        began = clock.monotonic()
        assert await freed(table_of(clock, held("a")), clock, said) == held("a")
        assert DURATION_S < clock.monotonic() - began < DURATION_S + 1
        assert said == ["w holds a: watching whether it is still at work, for up to 10 s (--force does not wait)"]

    run(story)


def test_a_holder_that_renews_another_of_its_rows_is_at_work() -> None:
    async def story(clock: VirtualClock) -> None:
        table = table_of(clock, held("a"), held("b"))
        task = asyncio.create_task(renewing(table, "b", clock))
        began = clock.monotonic()
        with pytest.raises(Refused, match="its holder w is at work; stop that worker, or take the lease from it"):
            await freed(table, clock)
        assert clock.monotonic() - began < DURATION_S / 2
        task.cancel()

    run(story)


def test_a_java_holder_is_judged_by_this_row_alone() -> None:
    async def story(clock: VirtualClock) -> None:
        table = table_of(clock, held("a", poller_owner=None), held("b", poller_owner=None))
        task = asyncio.create_task(renewing(table, "b", clock))
        assert (await freed(table, clock)).shard_id == "a"
        task.cancel()

    run(story)


@pytest.mark.parametrize(
    ("then", "fault"), [(held("a", "other"), "other has taken it over just now"), (None, "its row was deleted")]
)
def test_a_row_that_becomes_another_meanwhile_is_left_alone(then: Lease | None, fault: str) -> None:
    async def story(clock: VirtualClock) -> None:
        table = table_of(clock, held("a"))

        async def change() -> None:
            await clock.sleep(5)
            del table.rows["a"]
            if then is not None:
                table.rows["a"] = then

        task = asyncio.create_task(change())
        with pytest.raises(Refused, match=fault):
            await freed(table, clock)
        await task

    run(story)


def test_a_lease_that_is_given_back_meanwhile_is_free() -> None:
    async def story(clock: VirtualClock) -> None:
        table = table_of(clock, held("a"))

        async def give_back() -> None:
            await clock.sleep(5)
            table.rows["a"] = table.rows["a"].released()

        task = asyncio.create_task(give_back())
        assert (await freed(table, clock)).owner is None
        await task

    run(story)


# --- the write --------------------------------------------------------------------------------------------------------


async def release_under_writes(clock: VirtualClock, change: Callable[[Lease], Lease | None], times: int) -> Lease:
    """A forced release, before which the holder gets in first so many times; the row afterwards."""
    table = table_of(clock, held("a"))
    left = times

    async def first(operation: str, resource: str) -> None:
        nonlocal left
        if operation == "UpdateItem" and left:
            left -= 1
            changed = change(table.rows.pop("a"))
            if changed is not None:
                table.rows["a"] = changed

    table.before = first
    result = await release(table, clock, held("a"), duration_s=DURATION_S, force=True, say=lambda _: None)
    assert table.rows["a"] == result.after
    return result.after


def test_whoever_insists_gets_the_lease_though_its_holder_goes_on_writing() -> None:
    async def story(clock: VirtualClock) -> None:
        after = await release_under_writes(clock, lambda row: row.checkpointed("6", 1), times=FORCED_TRIES - 1)
        assert (after.owner, after.checkpoint, after.counter) == (None, "6", 7 + FORCED_TRIES)

    run(story)


def test_a_holder_that_gives_the_lease_back_meanwhile_has_done_what_was_wanted() -> None:
    async def story(clock: VirtualClock) -> None:
        assert (await release_under_writes(clock, lambda row: row.released(), times=1)).owner is None

    run(story)


@pytest.mark.parametrize(
    ("change", "times"),
    [
        (lambda row: row.renewed(), FORCED_TRIES),
        (lambda row: row.checkpointed(SHARD_END, 1), 1),
        (lambda row: None, 1),
    ],
    ids=["it never ends", "the shard is finished", "the row is gone"],
)
def test_even_whoever_insists_is_refused_where_the_row_is_another(
    change: Callable[[Lease], Lease | None], times: int
) -> None:
    async def story(clock: VirtualClock) -> None:
        with pytest.raises(Refused, match="nothing was written"):
            await release_under_writes(clock, change, times)

    run(story)


def test_a_move_is_only_made_on_the_row_that_was_shown() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        await read_and_gone(rig, 1, "item")
        plan = await planned(rig, Position(TRIM_HORIZON))
        taken = rig.leases.rows[shard_of(rig)] = plan.lease.taken_by("worker-2")

        with pytest.raises(Refused, match="its row has changed since it was looked at; nothing was written"):
            await move(rig.leases, clock, plan)

        assert rig.leases.rows[shard_of(rig)] == taken

    run(story)


def test_releasing_what_nobody_holds_writes_nothing() -> None:
    async def story(clock: VirtualClock) -> None:
        table = table_of(clock, Lease("a"))
        result = await release(table, clock, Lease("a"), duration_s=DURATION_S, force=False, say=lambda _: None)
        assert not result.done
        assert table.rows["a"] == Lease("a")

    run(story)


# --- what a move means ------------------------------------------------------------------------------------------------


async def counted(rig: Rig, old: Place, new: Place) -> Between:
    return await between(ShardRecords(rig.stream, shard_of(rig), rig.clock), old, new)


async def two_minutes(rig: Rig) -> tuple[list[int], float]:
    """Three records, a minute, three more; their sequence numbers, and a time between the two."""
    rig.uploads(1, "early")
    await rig.clock.sleep(60)
    middle = rig.clock.wall()
    await rig.clock.sleep(60)
    rig.uploads(1, "late")
    await rig.clock.sleep(1)
    return [entry.sequence_number for entry in rig.stream.shards[shard_of(rig)].entries], middle


@pytest.mark.parametrize("backwards", [False, True], ids=["skipped", "again"])
def test_the_records_between_two_places_are_counted_whichever_comes_first(backwards: bool) -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        numbers, middle = await two_minutes(rig)
        rig.stream.shards.close(shard_of(rig))
        horizon, time, end = Place("horizon"), Place("time", middle), Place("time", clock.wall())
        second, fifth = Place("after", numbers[1]), Place("after", numbers[4])
        expected = [
            (horizon, second, 2),
            (horizon, time, 3),
            (horizon, end, 6),
            (second, time, 1),
            (second, fifth, 3),
            (time, fifth, 2),
            (time, end, 3),
            (fifth, end, 1),
            (fifth, Place("end"), 1),
        ]
        for first, then, count in expected:
            found = await (counted(rig, then, first) if backwards else counted(rig, first, then))
            assert (found.direction, found.count, found.complete) == ("again" if backwards else "skipped", count, True)

    run(story)


def test_it_is_told_when_the_first_and_the_last_of_them_were_created() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        await two_minutes(rig)
        found = await counted(rig, Place("horizon"), Place("end"))
        assert found.first_s is not None
        assert found.last_s is not None
        assert found.last_s - found.first_s == 120

    run(story)


def test_where_a_server_does_not_know_times_the_records_own_times_show_the_place() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        _, middle = await two_minutes(rig)
        internal = failing(
            lambda op, name: fault(Unavailable, op, name, "InternalFailure"), "GetShardIterator", times=1
        )
        rig.stream.before = internal
        assert (await counted(rig, Place("time", middle), Place("end"))).count == 3

    run(story)


def test_counting_ends_after_so_many_pages_and_says_so() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        rig.uploads(350 * PAGES_MAX)  # three records each
        found = await counted(rig, Place("horizon"), Place("end"))
        assert (found.count, found.complete) == (1_000 * PAGES_MAX, False)

    run(story)


def test_a_count_goes_on_behind_an_empty_page() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        rig.uploads(1)
        rig.stream.shards[shard_of(rig)].empty_pages = 2
        assert (await counted(rig, Place("horizon"), Place("end"))).count == 3

    run(story)


@pytest.mark.parametrize("pages", [10, 100])
def test_a_count_is_not_complete_before_the_record_or_the_end_that_it_reaches_to(pages: int) -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        numbers, _ = await two_minutes(rig)
        shard = rig.stream.shards.close(shard_of(rig))
        for upper, count in ((Place("after", numbers[-1]), 6), (Place("end"), 6)):
            shard.empty_pages = pages
            found = await counted(rig, upper, Place("horizon"))
            within = pages < PAGES_MAX
            assert (found.count, found.complete) == (count if within else 0, within)

    run(story)


def test_the_last_record_of_an_open_shard_is_a_complete_count() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        numbers, _ = await two_minutes(rig)
        found = await counted(rig, Place("horizon"), Place("after", numbers[-1]))
        assert (found.count, found.complete) == (6, True)

    run(story)


def test_a_stream_that_lets_nobody_read_leaves_the_move_uncounted_and_possible() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        await read_and_gone(rig, 1, "item")
        rig.stream.before = failing(lambda op, name: fault(Throttled, op, name, "LimitExceededException"), "GetRecords")
        plan = await planned(rig, Position(TRIM_HORIZON))
        assert plan.between is None
        assert plan.uncounted is not None
        assert plan.uncounted.startswith("the stream was not read: GetRecords on ")

    run(story)


def test_from_a_place_whose_records_are_gone_a_move_is_still_possible() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        await read_and_gone(rig, 1, "item")
        rig.uploads(1, "late")
        rig.stream.shards.trim(shard_of(rig))
        plan = await planned(rig, Position(LATEST))
        assert plan.uncounted == "records at its present place are gone: the stream keeps them for 24 hours"

    run(story)


# --- places that there are not ----------------------------------------------------------------------------------------


async def refused(rig: Rig, target: Position) -> str:
    with pytest.raises((Refused, ConfigurationError)) as caught:
        await checked(ShardRecords(rig.stream, shard_of(rig), rig.clock), target, rig.clock.wall())
    return str(caught.value)


def test_a_sequence_number_must_be_that_of_a_record_that_is_there() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        numbers, _ = await two_minutes(rig)
        nothing = await refused(rig, Position.after(str(numbers[1] + 1)))
        assert nothing.endswith(f"has no such record; the next one behind it is {numbers[2]}")
        behind = await refused(rig, Position.after(str(numbers[-1] + 1)))
        assert behind.endswith("has no such record, nor any behind it")
        rig.stream.shards.trim(shard_of(rig))
        assert "older than what the stream still has" in await refused(rig, Position.after(str(numbers[1])))

    run(story)


def test_leading_zeros_of_a_sequence_number_do_not_reach_the_row() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        numbers, _ = await two_minutes(rig)
        records = ShardRecords(rig.stream, shard_of(rig), clock)
        target = Position.after(f"{numbers[1]:030d}")
        assert await checked(records, target, clock.wall()) == Position.after(str(numbers[1]))

    run(story)


def test_a_time_that_is_yet_to_come_is_refused() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        target = Position(AT_TIMESTAMP, timestamp_ms=int(clock.wall() * 1000) + 60_000)
        assert "yet to come" in await refused(rig, target)

    run(story)


def test_a_shard_that_is_gone_from_the_stream_is_left_alone() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        records = ShardRecords(rig.stream, "gone", clock)
        with pytest.raises(Refused, match="gone: there is nothing left of it in the stream"):
            await checked(records, Position(TRIM_HORIZON), clock.wall())

    run(story)


# --- warnings ---------------------------------------------------------------------------------------------------------


async def warned(rig: Rig, rows: Sequence[Lease], target: Position) -> str:
    rig.leases.rows = {row.shard_id: row for row in rows}
    return "\n".join((await planned(rig, target, shard_id=shard_of(rig))).warnings)


def test_setting_a_finished_shard_back_warns_of_children_that_were_read_beyond_it() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        done = Lease(shard_of(rig), checkpoint=SHARD_END, children=frozenset({"child"}))
        child = Lease("child", parents=frozenset({done.shard_id}))
        waits = await warned(rig, [done, child], Position(TRIM_HORIZON))
        begun = await warned(rig, [done, replace(child, checkpoint="7")], Position(TRIM_HORIZON))
        assert waits == "it is finished: its children wait again until it is read to its end"
        assert begun.startswith("it is finished, and its children are read already (child): ")

    run(story)


def test_a_sequence_number_for_a_shard_that_waits_for_its_parent_warns_that_it_does_not_wait_any_more() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        numbers, _ = await two_minutes(rig)
        rows = [Lease(shard_of(rig), parents=frozenset({"parent"})), Lease("parent")]
        warning = await warned(rig, rows, Position.after(str(numbers[-1])))
        assert "its parent parent is not read to its end" in warning
        assert "parent is not read" not in await warned(rig, rows, Position(TRIM_HORIZON))

    run(story)


def test_what_is_skipped_is_warned_of_and_what_comes_again_is_not() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        await two_minutes(rig)
        assert "what is skipped is never sent" in await warned(rig, [Lease(shard_of(rig))], Position(LATEST))
        done = Lease(shard_of(rig), checkpoint=SHARD_END)
        assert await warned(rig, [done], Position(TRIM_HORIZON)) == ""

    run(story)


def test_a_time_before_all_that_is_kept_and_a_java_holder_are_warned_of() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = rig_of(clock)
        row = Lease(shard_of(rig), owner="java", checkpoint=SHARD_END)
        warning = await warned(rig, [row], Position(AT_TIMESTAMP, timestamp_ms=int(clock.wall() - 90_000) * 1000))
        assert "that time is more than 24 hours ago" in warning
        assert "java is a worker of Java's KCL" in warning

    run(story)


# --- watching ---------------------------------------------------------------------------------------------------------


def test_looking_ends_as_soon_as_every_owner_was_seen_at_work() -> None:
    async def story(clock: VirtualClock) -> None:
        table = table_of(clock, held("a"), held("b"), Lease("c"))
        task = asyncio.create_task(renewing(table, "b", clock))
        began = clock.monotonic()
        seen = await Watch(table, clock, name="leases", duration_s=DURATION_S).for_life(60)
        assert DURATION_S / 3 <= clock.monotonic() - began < DURATION_S / 2
        assert [shard.state for shard in seen.fleet.shards] == [State.READING, State.READING, State.UNOWNED]
        task.cancel()

    run(story)


def test_looking_for_an_owner_that_is_gone_ends_when_the_time_is_over() -> None:
    async def story(clock: VirtualClock) -> None:
        began = clock.monotonic()
        seen = await Watch(table_of(clock, held("a")), clock, name="leases", duration_s=DURATION_S).for_life(4)
        assert clock.monotonic() - began == pytest.approx(4)
        assert seen.looked_for_s == pytest.approx(4)
        assert seen.fleet.shards[0].state is State.HELD

    run(story)


def test_one_look_is_one_call() -> None:
    async def story(clock: VirtualClock) -> None:
        seen = await Watch(table_of(clock, held("a")), clock, name="leases", duration_s=DURATION_S).for_life(0)
        assert (seen.looks, seen.looked_for_s) == (1, 0)

    run(story)


def test_a_watch_says_that_the_table_does_not_answer_and_claims_nothing_meanwhile() -> None:
    async def story(clock: VirtualClock) -> None:
        table = table_of(clock, held("a"))
        shown: list[Seen] = []
        async for seen in Watch(table, clock, name="leases", duration_s=DURATION_S).endless(every_s=8):
            shown.append(seen)
            if len(shown) == 1:
                table.before = failing(lambda op, name: fault(Throttled, op, name, "ThrottlingException"))
            elif len(shown) == 4:
                table.before = open_gate
            elif len(shown) == 5:
                break
        states = [one.fleet.shards[0].state for one in shown]
        assert states == [*[State.HELD] * 4, State.EXPIRED]
        assert [one.trouble is None for one in shown] == [True, False, False, False, True]

    run(story)
