"""Several workers on one lease table: joining, leaving, dying, rolling over; what it costs, and what nobody notices."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from poller.errors import Unavailable
from poller.events import (
    DataLost,
    Discovered,
    DiscoveryFailed,
    ForeignOwnersGone,
    ForeignOwnersSeen,
    LeaseLost,
    LeaseReleased,
    LeaseTaken,
    ShardFinished,
    ShardStarted,
    StreamSwitched,
)
from poller.model import SHARD_END, Lease, ViewType
from tests.fleet import LEASE_READS, LEASE_WRITES, Fleet
from tests.memory.gates import failing, fault, no_answer, open_gate
from tests.memory.lease_table import MemoryLeaseTable
from tests.rig import by_item
from tests.virtual import VirtualClock, run

DURATION_S = 10.0
LOOK_S = 4.2


async def written_meanwhile(fleet: Fleet, seconds: float, name: str) -> list[str]:
    """Uploads, twenty a second, for so long; what the queue must hear of them."""
    expected: list[str] = []
    for number in range(round(seconds * 20)):
        fleet.rig.upload(f"{name}-{number}")
        expected.append(f"{name}-{number}/1")
        await fleet.clock.sleep(0.05)
    return expected


# --- joining, leaving, dying ---


def test_workers_that_join_hold_their_share_within_two_durations_and_nothing_is_sent_twice() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=12) as fleet:
            fleet.start("w1")
            expected = await written_meanwhile(fleet, 20, "alone")
            fleet.start("w2", "w3")
            expected += await written_meanwhile(fleet, 2 * DURATION_S, "joined")
            assert sorted(fleet.loads().values()) == [4, 4, 4]
            settled_at = clock.monotonic()
            expected += await written_meanwhile(fleet, 60, "rest")
            await fleet.rig.until(lambda: set(expected) <= set(fleet.rig.received()))
            assert len(fleet.rig.received()) == len(expected)
            assert fleet.said(LeaseTaken, settled_at) == []
            assert fleet.said(LeaseLost) == []

    run(story)


def test_a_join_moves_only_the_new_workers_share_and_no_shard_stands_still() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=20) as fleet:
            fleet.start("w1", "w2", "w3")
            await clock.sleep(40)
            assert fleet.balanced()
            joined_at = clock.monotonic()
            fleet.start("w4")
            await clock.sleep(40)
            assert fleet.balanced()
            moved = fleet.said(LeaseTaken, joined_at)
            assert [(said.worker, said.event.reason) for said in moved] == [("w4", "handed_over")] * 5
            assert fleet.silence(joined_at) < 2.0

    run(story)


@pytest.mark.parametrize("workers", [2, 4])
def test_a_leaving_workers_shards_are_read_on_within_two_seconds_and_nothing_is_sent_twice(workers: int) -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=12) as fleet:
            fleet.start(*(f"w{n}" for n in range(workers)))
            await clock.sleep(40)
            writing = asyncio.create_task(written_meanwhile(fleet, 20, "item"))
            await clock.sleep(5)
            left_at = clock.monotonic()
            assert await fleet.leave("w0")
            assert clock.monotonic() - left_at < 9.0
            expected = await writing
            await fleet.rig.until(lambda: set(expected) <= set(fleet.rig.received()))
            assert len(fleet.rig.received()) == len(expected)
            assert fleet.silence(left_at) < 2.0
            assert all(said.event.successor for said in fleet.said(LeaseReleased, left_at))
            assert fleet.balanced()
            assert all(said.event.reason == "handed_over" for said in fleet.said(LeaseTaken, left_at))

    run(story)


def test_a_worker_without_a_lease_stands_in_within_two_seconds() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=1) as fleet:
            fleet.start("w1", "w2")
            await clock.sleep(20)
            reader = next(worker for worker, load in fleet.loads().items() if load)
            left_at = clock.monotonic()
            assert await fleet.leave(reader)
            assert clock.monotonic() - left_at < 1.0
            await clock.sleep(10)
            assert fleet.silence(left_at) < 2.0

    run(story)


@pytest.mark.parametrize("moment_s", [0.0, 0.6, 1.2, 1.8, 2.4, 3.0, 3.6])
def test_a_killed_workers_shards_are_read_on_after_the_duration_and_one_look(moment_s: float) -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=12) as fleet:
            fleet.start("w1", "w2", "w3")
            await clock.sleep(40 + moment_s)
            killed_at = clock.monotonic()
            await fleet.kill("w2")
            await clock.sleep(40)
            assert fleet.silence(killed_at) < DURATION_S + LOOK_S + 0.5
            assert fleet.balanced()
            assert len(fleet.said(LeaseTaken, killed_at)) == 4

    run(story)


def test_a_rolling_deploy_of_three_sends_nothing_twice_and_leaves_no_shard_unread() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=9) as fleet:
            fleet.start("a1", "a2", "a3")
            await clock.sleep(40)
            writing = asyncio.create_task(written_meanwhile(fleet, 60, "item"))
            began = clock.monotonic()
            for number in (1, 2, 3):
                fleet.start(f"b{number}")
                await clock.sleep(8)
                assert await fleet.leave(f"a{number}")
            expected = await writing
            await fleet.rig.until(lambda: set(expected) <= set(fleet.rig.received()))
            assert len(fleet.rig.received()) == len(expected)
            assert fleet.silence(began) < 2.0
            await clock.sleep(20)
            assert fleet.balanced()

    run(story)


def test_a_worker_cut_off_from_the_table_loses_its_shards_to_the_others_and_joins_again() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=8) as fleet:
            fleet.start("w1", "w2")
            await clock.sleep(30)
            expected = fleet.rig.uploads(20, "before")
            await clock.sleep(5)
            table = fleet.workers["w1"].keeper.table.rows
            cut = MemoryLeaseTable(clock)
            cut.rows, cut.before = fleet.rig.leases.rows, failing(no_answer)
            fleet.workers["w1"].keeper.table.rows = cut
            await clock.sleep(DURATION_S)
            assert fleet.loads()["w1"] == 0
            expected += fleet.rig.uploads(20, "meanwhile")
            await clock.sleep(10)
            assert fleet.loads()["w2"] == 8
            fleet.workers["w1"].keeper.table.rows = table
            await clock.sleep(2 * DURATION_S)
            assert fleet.loads() == {"w1": 4, "w2": 4}
            await fleet.rig.until(lambda: sorted(fleet.rig.received()) == sorted(expected))

    run(story)


def test_a_frozen_worker_that_wakes_reads_nothing_before_it_has_taken_its_shards_again() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=12) as fleet:
            fleet.start("w1")
            for number in range(20):
                await clock.sleep(20 + number / 19)
                clock.freeze(2 * DURATION_S)
                woken_at = clock.monotonic()
                await clock.sleep(10)
                taken = fleet.said(LeaseTaken, woken_at)
                reads = [at for at, operation in fleet.calls if operation == "GetRecords" and at >= woken_at]
                assert len(taken) == 12
                assert min(reads) >= taken[0].at

    run(story)


def test_what_is_not_settled_in_time_is_left_to_the_next_owner_and_not_lost() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=4) as fleet:
            fleet.start("w1")
            await clock.sleep(10)
            fleet.rig.queue.before = failing(no_answer)
            expected = fleet.rig.uploads(40)
            await clock.sleep(3)
            fleet.start("w2")
            await clock.sleep(20)
            assert fleet.loads() == {"w1": 2, "w2": 2}
            fleet.rig.queue.before = open_gate
            await fleet.rig.until(lambda: set(fleet.rig.received()) == set(expected))
            await fleet.rig.until(fleet.rig.caught_up)

    run(story)


# --- lineage ---


def test_the_children_of_a_rolled_shard_are_read_within_two_seconds_of_its_last_settlement() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=6) as fleet:
            fleet.start("w1", "w2", "w3")
            await clock.sleep(40)
            for shard in fleet.open_shards()[:3]:
                fleet.rig.stream.shards.split(shard)
                await clock.sleep(20)
            finished = {child: said.at for said in fleet.said(ShardFinished) for child in said.event.children}
            begun = {said.event.shard: said.at for said in reversed(fleet.said(ShardStarted))}
            assert len(finished) == 6
            assert all(begun[child] - at < 2.0 for child, at in finished.items())
            await clock.sleep(20)
            assert fleet.balanced()

    run(story)


def test_a_tree_that_rolls_every_few_seconds_is_read_by_a_changing_fleet_completely_and_in_order() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=4, queue="jobs.fifo") as fleet:
            fleet.start("w1", "w2")
            expected: list[str] = []
            for round_ in range(1, 31):
                shards = fleet.open_shards()
                turn = fleet.rig.stream.shards.roll if round_ % 3 else fleet.rig.stream.shards.split
                turn(shards[round_ % len(shards)])
                for item in range(30):
                    fleet.rig.upload(f"item-{item}", round_)
                expected += [f"item-{item}/{round_}" for item in range(30)]
                await clock.sleep(2)
                match round_:
                    case 8:
                        fleet.start("w3")
                    case 15:
                        await fleet.leave("w1")
                    case 22:
                        await fleet.kill("w2")
            await fleet.rig.until(lambda: set(expected) <= set(fleet.rig.received()))
            revisions = by_item(fleet.rig.received())
            assert all(seen == [str(n) for n in range(1, 31)] for seen in revisions.values())

    run(story)


def test_finished_rows_stay_while_their_shards_are_listed_and_go_once_these_are_trimmed() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=2) as fleet:
            fleet.start("w1", "w2")
            await clock.sleep(20)
            for _ in range(3):
                for shard in fleet.open_shards():
                    fleet.rig.stream.shards.roll(shard)
                await clock.sleep(10)
            await clock.sleep(300)
            rows = fleet.rig.leases.rows
            assert sum(row.finished for row in rows.values()) == 6
            began = clock.monotonic()
            for closed in [shard.shard_id for shard in fleet.rig.stream.shards if shard.closed]:
                fleet.rig.stream.shards.forget(closed)
            fleet.rig.uploads(20)  # a child that has not begun needs its parent's row
            await clock.sleep(600)
            assert sorted(rows) == sorted(fleet.open_shards())
            assert fleet.said(ShardStarted, began) == []

    run(story)


def test_a_replaced_stream_is_followed_by_the_whole_fleet_and_the_old_rows_go() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=6) as fleet:
            fleet.start("w1", "w2", "w3")
            expected = fleet.rig.uploads(50, "old")
            await clock.sleep(30)
            fleet.rig.table.disable()
            fleet.rig.table.enable(ViewType.NEW_IMAGE)
            fleet.rig.stream.before = fleet._gate()
            expected += fleet.rig.uploads(50, "new")
            await fleet.rig.until(lambda: sorted(fleet.rig.received()) == sorted(expected), at_most_s=60)
            await clock.sleep(200)
            assert {said.worker for said in fleet.said(StreamSwitched)} == {"w1", "w2", "w3"}
            assert {row.stream_arn for row in fleet.rig.leases.rows.values()} == {fleet.rig.stream.info.arn}

    run(story)


@pytest.mark.parametrize("late_s", [n / 100 for n in range(16)])
def test_a_worker_that_leaves_while_it_inherits_children_ends_and_leaves_no_lease_behind(late_s: float) -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=2) as fleet:
            fleet.start("w1")
            await clock.sleep(10)

            async def slowly(operation: str, _row: str) -> None:
                await clock.sleep(0.1 if operation == "GetItem" else 0.01)

            fleet.rig.leases.before = slowly
            fleet.rig.stream.shards.split(fleet.open_shards()[0])
            await fleet.rig.until(lambda: bool(fleet.said(ShardFinished)))
            await clock.sleep(late_s)
            async with asyncio.timeout(10):
                await fleet.leave("w1")
            await clock.sleep(5)
            assert {row.owner for row in fleet.rig.leases.rows.values()} == {None}

    run(story)


def test_a_shard_that_a_leaving_worker_inherits_late_is_given_back_unread() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=1) as fleet:
            fleet.start("w1")
            await clock.sleep(10)

            async def slowly(_operation: str, _row: str) -> None:
                await clock.sleep(0.2)

            fleet.rig.leases.after = slowly
            fleet.rig.stream.shards.roll(fleet.open_shards()[0])
            expected = fleet.rig.uploads(20)
            await fleet.rig.until(lambda: bool(fleet.said(ShardFinished)))
            async with asyncio.timeout(10):
                await fleet.leave("w1")
            fleet.start("w2")
            await fleet.rig.until(lambda: sorted(fleet.rig.received()) == sorted(expected), at_most_s=60)
            assert [said.worker for said in fleet.said(ShardStarted)] == ["w1", "w2"]

    run(story)


# --- what coordination costs ---


@pytest.mark.parametrize("workers", [1, 3, 10])
def test_64_idle_leases_cost_less_than_240_writes_a_minute_and_15_looks_a_worker(workers: int) -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=64) as fleet:
            fleet.start(*(f"w{n}" for n in range(workers)))
            await clock.sleep(60)
            assert fleet.balanced()
            since = clock.monotonic()
            await clock.sleep(60)
            assert 17 * workers <= fleet.lease_calls(since, LEASE_WRITES) <= 240
            assert fleet.lease_calls(since, LEASE_READS) <= 15 * workers

    run(story)


def test_one_worker_lists_the_shards_for_all_and_another_does_when_it_is_gone() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=6) as fleet:
            fleet.start("w1", "w2", "w3")
            await clock.sleep(60)
            since = clock.monotonic()
            await clock.sleep(600)
            listings = [said.worker for said in fleet.said(Discovered, since)]
            assert listings.count("w1") == 10
            assert len(listings) <= 22  # the others now and then, as often as that one altogether
            await fleet.kill("w1")
            killed_at = clock.monotonic()
            await clock.sleep(DURATION_S + LOOK_S + 1)
            assert "w2" in [said.worker for said in fleet.said(Discovered, killed_at)]

    run(story)


@pytest.mark.parametrize("made", [True, False], ids=["a table that one of them makes", "an empty table"])
def test_fifty_workers_start_on_a_thousand_shards_within_the_services_limit(made: bool) -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=1000) as fleet:
            fleet.rig.workers = 0 if made else 1
            fleet.start(*(f"w{n:02}" for n in range(50)))
            await clock.sleep(2 * DURATION_S)
            assert set(fleet.loads().values()) <= {19, 20, 21}
            assert sum(fleet.loads().values()) == 1000
            assert fleet.most_in_a_second("DescribeStream") <= 10
            assert fleet.said(LeaseLost) == []

    run(story)


def test_two_hundred_shards_of_a_thousand_roll_over_at_once_and_ten_workers_die() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=1000) as fleet:
            fleet.start(*(f"w{n:02}" for n in range(50)))
            await clock.sleep(60)
            fleet.calls.clear()
            rolled_at = clock.monotonic()
            for shard in fleet.open_shards()[::5]:
                fleet.rig.stream.shards.roll(shard)
            await clock.sleep(2)
            await fleet.rig.until(lambda: fleet.held(fleet.open_shards()), at_most_s=30)
            assert clock.monotonic() - rolled_at < 15
            for number in range(10):
                await fleet.kill(f"w{number:02}")
            await clock.sleep(3 * DURATION_S)
            assert fleet.balanced()
            assert fleet.most_in_a_second("DescribeStream") <= 10

    run(story)


# --- Java's workers at the table ---


def test_beside_a_living_java_worker_every_lease_is_renewed_and_none_of_its_is_taken() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=8) as fleet:
            javas = fleet.open_shards()[:4]
            rows = fleet.rig.leases.rows
            for shard in javas:
                rows[shard] = Lease(shard, owner="java", counter=1)
            fleet.start("w1")
            for _ in range(20):  # it renews every 3 s
                for shard in javas:
                    rows[shard] = replace(rows[shard], counter=rows[shard].counter + 1)
                await clock.sleep(3)
            assert fleet.loads() == {"w1": 4}
            (seen,) = fleet.said(ForeignOwnersSeen)
            assert (seen.event.owners, seen.event.leases) == (("java",), 4)
            before = {shard: rows[shard].counter for shard in fleet.open_shards()[4:]}
            await clock.sleep(4)
            assert all(rows[shard].counter > counter for shard, counter in before.items())
            await fleet.rig.until(lambda: fleet.loads() == {"w1": 8})  # and now it does not any more
            await fleet.rig.until(lambda: len(fleet.said(ForeignOwnersGone)) == 1)
            await clock.sleep(10)  # the last of the single renewals are through
            since = clock.monotonic()
            await clock.sleep(60)
            assert fleet.operations(since)["renew"] <= 19

    run(story)


def test_leases_that_java_takes_are_lost_at_once_and_the_others_are_read_on() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=4) as fleet:
            fleet.start("w1")
            await clock.sleep(30)
            rows = fleet.rig.leases.rows
            shard = fleet.open_shards()[0]
            rows[shard] = replace(rows[shard], owner="java", counter=rows[shard].counter + 1)
            await clock.sleep(5)
            assert fleet.loads() == {"w1": 3}
            assert [said.event.new_owner for said in fleet.said(LeaseLost)] == ["java"]

    run(story)


def test_what_java_left_unread_of_a_stream_that_was_replaced_is_read_before_the_new_one() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=1, queue="jobs.fifo") as fleet:
            (root,) = fleet.open_shards()
            fleet.rig.uploads(5, "javas")
            place = str(fleet.rig.stream.shards[root].last)
            expected = fleet.rig.uploads(5, "old")
            await clock.sleep(5)
            fleet.rig.table.disable()
            fleet.rig.table.enable(ViewType.NEW_IMAGE)
            expected += fleet.rig.uploads(5, "new")
            fleet.rig.leases.rows[root] = Lease(root, owner="java", counter=9, checkpoint=place)
            fleet.start("w1", "w2")
            await fleet.rig.until(lambda: len(fleet.rig.received()) == 10)
            assert sorted(fleet.rig.received()[:5]) == sorted(expected[:5])
            assert sorted(fleet.rig.received()[5:]) == sorted(expected[5:])

    run(story)


def test_what_java_left_unread_of_a_shard_that_is_gone_is_said_to_be_lost() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=2) as fleet:
            fleet.rig.leases.rows["shardId-gone"] = Lease("shardId-gone", counter=9, checkpoint="7")
            fleet.start("w1")
            expected = fleet.rig.uploads(5)
            await clock.sleep(30)
            assert sorted(fleet.rig.received()) == sorted(expected)
            assert [said.event.reason for said in fleet.said(DataLost)] == ["shard_gone"]

    run(story)


def test_that_the_stream_of_javas_rows_cannot_be_asked_for_is_said() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=2) as fleet:
            away = failing(lambda op, name: fault(Unavailable, op, name, "ServiceUnavailable"), "ListStreams")
            fleet.rig.tables.before = away
            fleet.rig.leases.rows["shardId-gone"] = Lease("shardId-gone", counter=9, checkpoint="7")
            fleet.start("w1")
            expected = fleet.rig.uploads(5)
            await clock.sleep(90)
            assert fleet.rig.received() == []
            assert [said.event.code for said in fleet.said(DiscoveryFailed)] == ["ServiceUnavailable"] * 2
            fleet.rig.tables.before = open_gate
            await fleet.rig.until(lambda: sorted(fleet.rig.received()) == sorted(expected))

    run(story)


def test_rows_that_java_finished_are_not_read_again() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=1) as fleet:
            (root,) = fleet.open_shards()
            fleet.rig.uploads(5, "javas")
            fleet.rig.stream.shards.roll(root)
            expected = fleet.rig.uploads(5, "ours")
            fleet.rig.leases.rows[root] = Lease(root, counter=9, checkpoint=SHARD_END)
            fleet.start("w1")
            await fleet.rig.until(lambda: sorted(fleet.rig.received()) == sorted(expected))

    run(story)
