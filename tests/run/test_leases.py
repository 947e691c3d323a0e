"""Leases over time: taking, renewing, lost answers, deadlines, a table that is away, and a second worker."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from poller.decide.lineage import Start
from poller.errors import DeadlinePassed, NotFound, Unavailable
from poller.events import (
    CheckpointWritten,
    LeaseLost,
    LeaseOperation,
    LeaseTableFailing,
    LeaseTableRecovered,
    LeaseTaken,
    ShardStarted,
)
from poller.model import LATEST, SHARD_END, TRIM_HORIZON, Lease
from tests.memory.gates import Gate, failing, fault, no_answer, open_gate
from tests.rig import Options, Rig
from tests.virtual import VirtualClock, run


def test_a_killed_workers_lease_is_taken_after_its_duration_and_one_look() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.killed():
            await clock.sleep(20)
        killed_at = clock.monotonic()
        async with rig.running(rig.worker("worker-2")):
            await rig.until(lambda: any(event.reason == "expired" for event in rig.said(LeaseTaken)))
            assert 10.0 < clock.monotonic() - killed_at < 10.0 + 4.0 + 1.0

    run(story)


def test_a_killed_worker_repeats_no_more_than_a_checkpoint_interval() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, queue="jobs")  # a standard queue shows every duplicate
        async with rig.killed():
            for number in range(100):
                rig.upload(f"item-{number}")
                await clock.sleep(0.1)
        async with rig.running(rig.worker("worker-2")):
            await rig.until(lambda: len(set(rig.received())) == 100)
            await rig.until(rig.caught_up)
        assert len(rig.received()) - 100 <= 15  # 1 s of records, and what was read within a poll

    run(story)


def test_two_workers_on_one_table_share_no_shard() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = list(rig.stream.shards.shards)
        for child in rig.stream.shards.split(root):
            rig.stream.shards.split(child)
        expected = rig.uploads(100)
        async with rig.running(rig.worker("worker-1")), rig.running(rig.worker("worker-2")):
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
            await clock.sleep(30)
            owners = [row.owner for row in rig.leases.rows.values() if not row.finished]
            assert None not in owners
        assert sorted(rig.received()) == sorted(expected)
        assert rig.said(LeaseLost) == []

    run(story)


@pytest.mark.parametrize("lost", ["renewal", "checkpoint"])
def test_a_write_that_landed_though_its_answer_was_lost_does_not_cost_the_lease(lost: str) -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running():
            await clock.sleep(7.0)
            rig.leases.after = once(no_answer_on("UpdateItem"))
            if lost == "checkpoint":
                rig.upload("item")
            await clock.sleep(60)
            rig.upload("another")
            await rig.until(rig.caught_up)
        assert rig.said(LeaseLost) == []
        assert "landed" in [event.result for event in rig.said(LeaseOperation)]

    run(story)


def test_a_lost_answer_to_a_take_is_found_out_at_the_next_look() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.leases.after = once(no_answer_on("UpdateItem"))
        rig.upload("item")
        async with rig.running():
            await rig.until(lambda: rig.received() == ["item/1"], at_most_s=6)
        assert [event.reason for event in rig.said(LeaseTaken)] == ["returned"]

    run(story)


def test_a_lease_that_another_worker_took_ends_at_once_and_checkpoints_nothing_more() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running():
            await clock.sleep(5)
            (row,) = rig.leases.rows.values()
            stolen = row.taken_by("java-worker")
            rig.leases.rows[row.shard_id] = stolen
            rig.upload("item")
            await rig.until(lambda: bool(rig.said(LeaseLost)))
            assert rig.said(LeaseLost)[0].reason == "taken"
            assert rig.leases.rows[row.shard_id] == stolen

    run(story)


def test_a_worker_cut_off_from_the_table_stops_before_anybody_may_take_over() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running() as worker:
            await clock.sleep(5)
            rig.leases.before = failing(lambda op, name: fault(Unavailable, op, name, "ConnectTimeoutError"))
            cut_at = clock.monotonic()
            await rig.until(lambda: not worker.keeper.tenures)
            assert clock.monotonic() - cut_at < 10.0
            sent = len(rig.queue.messages)
            rig.upload("item")
            await clock.sleep(60)
            assert len(rig.queue.messages) == sent
            rig.leases.before = open_gate
            await rig.until(lambda: rig.received() == ["item/1"], at_most_s=10)
        assert rig.said(LeaseLost)[0].reason == "deadline"
        assert rig.said(LeaseTableFailing)
        assert rig.said(LeaseTableRecovered)

    run(story)


def test_nothing_is_sent_that_could_not_be_checkpointed_while_the_table_is_away() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, queue="jobs")
        away = failing(lambda op, name: fault(Unavailable, op, name, "ConnectTimeoutError"))
        async with rig.running():
            for number in range(400):
                if number == 100:
                    rig.leases.before = away
                if number == 300:
                    rig.leases.before = open_gate
                rig.upload(f"item-{number}")
                await clock.sleep(0.1)
            await rig.until(lambda: len(set(rig.received())) == 400)
        assert len(rig.received()) - 400 <= 40  # four seconds' worth of a table that is away for twenty

    run(story)


def test_a_short_outage_of_the_table_costs_no_lease() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running():
            await clock.sleep(5)
            rig.leases.before = failing(lambda op, name: fault(Unavailable, op, name, "ServiceUnavailable"))
            await clock.sleep(4)
            rig.leases.before = open_gate
            await clock.sleep(60)
        assert rig.said(LeaseLost) == []

    run(story)


def test_a_deleted_row_is_made_again_and_read_from_the_horizon() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, queue="jobs")
        rig.upload("before")
        async with rig.running():
            await rig.until(rig.caught_up)
            rig.leases.rows.clear()
            rig.upload("after")
            await rig.until(lambda: {"before/1", "after/1"} <= set(rig.received()), at_most_s=10)
            await rig.until(rig.caught_up)

    run(story)


def test_a_row_made_anew_begins_at_another_counter() -> None:
    """So that a write which was sent before, and takes effect late, conflicts."""

    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        counters: list[int] = []
        async with rig.running():
            for _ in range(5):
                await rig.until(lambda: bool(rig.leases.rows))
                (row,) = rig.leases.rows.values()
                counters.append(row.counter)
                rig.leases.rows.clear()
        nearest = min(abs(one - other) for one, other in pairwise(sorted(counters)))
        assert nearest > 1_000_000

    run(story)


def test_a_row_that_was_deleted_made_anew_and_taken_is_lost_at_the_next_look_though_its_counter_is_lower() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = list(rig.stream.shards.shards)
        rig.stream.shards.split(root)
        async with rig.running() as worker:
            await clock.sleep(7)
            kept, lost = worker.keeper.tenures.values()
            await worker.keeper.checkpoint(lost, "100000000000000000001")
            await worker.keeper.checkpoint(lost, "100000000000000000002")
            await clock.sleep(0.1)
            anew = Lease(lost.shard_id, parents=lost.lease.parents, stream_arn=lost.lease.stream_arn)
            rig.leases.rows[lost.shard_id] = anew.taken_by("worker-2")
            assert rig.leases.rows[lost.shard_id].counter < lost.lease.counter
            await clock.sleep(4.5)
            assert [(said.reason, said.new_owner) for said in rig.said(LeaseLost)] == [("taken", "worker-2")]
            assert kept.valid(clock.monotonic())

    run(story)


def test_a_shard_waits_for_its_parent_whose_row_was_deleted_before_this_worker_had_heard_of_it() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        shards = rig.stream.shards
        (root,) = list(shards.shards)
        async with rig.running():
            await clock.sleep(5)
            row = rig.leases.rows[root]
            # Another worker reads the shard to its end, and a person deletes the row of its child.
            rig.leases.rows[root] = replace(row.released(), checkpoint=SHARD_END, children=frozenset({"the child"}))
            await rig.until(lambda: bool(rig.said(LeaseLost)))
            child = shards.roll(root)
            rig.upload("item", 1)
            grandchild = shards.roll(child)
            rig.upload("item", 2)
            rig.leases.rows[grandchild] = Lease(grandchild, parents=frozenset({child}), stream_arn=rig.stream.info.arn)
            await rig.until(lambda: "item/2" in rig.received())
            assert rig.received() == ["item/1", "item/2"]

    run(story)


@pytest.mark.parametrize("start", [Start(TRIM_HORIZON), Start(LATEST)], ids=["horizon", "latest"])
def test_a_deleted_table_is_made_again_and_nothing_is_skipped(start: Start) -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(start=start), queue="jobs")
        async with rig.running():
            await clock.sleep(5)
            rig.upload("before")
            await rig.until(rig.caught_up)
            rig.leases.before = failing(lambda op, name: fault(NotFound, op, name, "ResourceNotFoundException"))
            rig.upload("meanwhile")
            await rig.until(lambda: "meanwhile/1" in rig.received(), at_most_s=60)
            await rig.until(rig.caught_up)

    run(story)


def test_the_wall_clock_may_jump_an_hour_either_way() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running():
            for offset_s in (3600.0, -3600.0, 0.0):
                clock.wall_offset_s = offset_s
                rig.upload(f"at{offset_s}")
                await clock.sleep(30)
            await rig.until(lambda: len(rig.received()) == 3)
        assert rig.said(LeaseLost) == []
        assert len(rig.said(LeaseTaken)) == 1

    run(story)


def test_an_idle_lease_is_renewed_every_third_of_its_duration() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running():
            await clock.sleep(30)
            began = len([event for event in rig.said(LeaseOperation) if event.operation == "renew"])
            await clock.sleep(60)
            renewals = len([event for event in rig.said(LeaseOperation) if event.operation == "renew"]) - began
        assert 15 <= renewals <= 18

    run(story)


def test_who_takes_or_gives_back_many_leases_writes_sixteen_rows_at_once_and_no_more() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        tree = rig.stream.shards
        for _ in range(7):
            for shard in [shard.shard_id for shard in tree if not shard.closed]:
                tree.split(shard)
        under_way: Counter[str] = Counter()
        most: Counter[str] = Counter()
        answers_in_s = 0.05

        async def slow(operation: str, _: str) -> None:
            under_way[operation] += 1
            most[operation] = max(most[operation], under_way[operation])
            await clock.sleep(answers_in_s)
            under_way[operation] -= 1

        rig.leases.before = slow
        async with rig.running():
            await rig.until(lambda: len({event.shard for event in rig.said(ShardStarted)}) == 255)
            answers_in_s = 0.4  # 128 leases are given back in some three seconds
        assert rig.said(LeaseLost) == []
        assert all(row.owner is None for row in rig.leases.rows.values())
        assert most["UpdateItem"] == 16
        assert most["PutItem"] <= 32, "a listing's rows, and children of shards that end meanwhile"

    run(story)


def test_no_more_than_max_leases_are_held() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(max_leases=1))
        (root,) = list(rig.stream.shards.shards)
        rig.stream.shards.split(root)
        async with rig.running() as worker:
            await clock.sleep(60)
            assert len(worker.keeper.tenures) == 1

    run(story)


def test_a_stopped_worker_that_wakes_after_its_deadline_sends_and_checkpoints_nothing() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, queue="jobs")
        async with rig.running() as worker:
            await clock.sleep(5)
            (tenure,) = worker.keeper.tenures.values()
            (row,) = rig.leases.rows.values()
            # As if the process had been stopped until now.
            tenure.written_at = clock.monotonic() - 9.0
            worker.keeper.standing.dropped([tenure])
            rig.leases.rows[row.shard_id] = replace(row, owner="worker-2", counter=row.counter + 7)
            rig.upload("item")
            await clock.sleep(8)
            assert rig.received() == []
            assert rig.leases.rows[row.shard_id].owner == "worker-2"

    run(story)


def test_a_row_that_java_made_goes_on_at_its_checkpoint_and_is_pinned_to_the_stream() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.uploads(5, "javas")
        (shard,) = rig.stream.shards
        rig.leases.rows[shard.shard_id] = Lease(shard.shard_id, counter=41, checkpoint=str(shard.last))
        expected = rig.uploads(5, "ours")
        async with rig.running():
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
            await rig.until(rig.caught_up)
        assert rig.leases.rows[shard.shard_id].stream_arn == rig.stream.info.arn

    run(story)


def test_a_row_that_java_makes_while_this_worker_is_at_work_is_pinned_as_well_once_it_is_given_back() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = list(rig.stream.shards.shards)
        rows = rig.leases.rows
        async with rig.running():
            await clock.sleep(5)
            low, _ = rig.stream.shards.split(root)
            rows[low] = Lease(low, counter=3, owner="java", parents=frozenset({root}))
            await clock.sleep(5)
            assert (rows[low].owner, rows[low].stream_arn) == ("java", None)
            rows[low] = replace(rows[low], owner=None, counter=4)
            await rig.until(lambda: rows[low].owner == "worker-1")
            await clock.sleep(5)
        assert rows[low].stream_arn == rig.stream.info.arn

    run(story)


def test_only_a_write_that_moves_the_counter_makes_a_lease_last_longer() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running() as worker:
            await clock.sleep(2.05)
            (tenure,) = worker.keeper.tenures.values()
            before = (tenure.lease.counter, tenure.written_at, tenure.deadline)
            await worker.keeper.add_children(tenure, ["shardId-child"])
            assert (tenure.lease.counter, tenure.written_at, tenure.deadline) == before

    run(story)


def test_a_write_made_again_on_top_of_one_that_had_landed_survives_losing_its_own_answer() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running():
            await clock.sleep(5)
            rig.upload("item")
            rig.leases.after = failing(no_answer, "UpdateItem", times=3)
            await rig.until(rig.caught_up)
            await clock.sleep(30)
        assert rig.said(LeaseLost) == []

    run(story)


def test_a_lease_whose_end_was_written_unheard_is_given_back_though_the_stream_is_gone() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = rig.stream.shards.shards

        async def end_unheard(operation: str, resource: str) -> None:
            if resource == root and rig.leases.rows[root].finished:
                rig.leases.after = open_gate
                rig.stream.before = failing(lambda *asked: fault(NotFound, asked[0], asked[1], "ResourceNotFound"))
                raise no_answer(operation, resource)

        async with rig.running():
            rig.upload("item")
            await rig.until(rig.caught_up)
            rig.leases.after = end_unheard
            rig.stream.shards.roll(root)
            await rig.until(lambda: rig.leases.rows[root].finished)
            heard = len(rig.events)
            await rig.until(lambda: rig.leases.rows[root].owner is None, at_most_s=20)
        assert [event for event in rig.events[heard:] if isinstance(event, CheckpointWritten)] == []
        assert rig.said(LeaseLost) == []

    run(story)


def test_a_checkpoint_that_waits_for_the_write_of_a_shards_end_does_not_take_that_back() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running() as worker:
            await clock.sleep(5)
            (tenure,) = worker.keeper.tenures.values()
            await asyncio.gather(
                worker.keeper.checkpoint(tenure, SHARD_END), worker.keeper.checkpoint(tenure, "100000000000000000001")
            )
            assert rig.leases.rows[tenure.shard_id].checkpoint == SHARD_END

    run(story)


def test_a_lease_that_is_over_before_its_release_is_answered_ends_once_and_harms_nobody() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running() as worker:
            await clock.sleep(5)
            (tenure,) = worker.keeper.tenures.values()
            rig.leases.after = once_late(clock, 12.0)
            assert await worker.keeper.release(tenure)
            assert len(rig.said(LeaseLost)) == 1
            rig.upload("item")
            await rig.until(lambda: rig.received() == ["item/1"])

    run(story)


def test_nothing_is_sent_for_a_lease_that_is_being_given_back() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running() as worker:
            await clock.sleep(5)
            (tenure,) = worker.keeper.tenures.values()
            rig.leases.after = once_late(clock, 3.0)
            release = asyncio.create_task(worker.keeper.release(tenure))
            await clock.sleep(0.1)
            rig.upload("item")
            await clock.sleep(2.5)
            assert rig.received() == []
            assert await release
            await rig.until(lambda: rig.received() == ["item/1"])

    run(story)


def test_a_write_that_waits_for_a_release_which_is_tried_again_does_not_end_the_lease_before_that() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running() as worker:
            await clock.sleep(5)
            (tenure,) = worker.keeper.tenures.values()
            rig.leases.before = failing(
                lambda op, name: fault(Unavailable, op, name, "ServiceUnavailable"), "UpdateItem", times=1
            )
            release = asyncio.create_task(worker.keeper.release(tenure, insist=True))
            await clock.sleep(0)
            with pytest.raises(DeadlinePassed):
                await worker.keeper.checkpoint(tenure, "100000000000000000001")
            assert await release
            assert rig.leases.rows[tenure.shard_id].owner is None
        assert rig.said(LeaseLost) == []

    run(story)


def test_a_lease_that_is_being_given_back_keeps_none_of_the_others_alive() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = list(rig.stream.shards.shards)
        rig.stream.shards.split(root)
        async with rig.running() as worker:
            await clock.sleep(7)
            first, second = worker.keeper.tenures.values()
            await worker.keeper.checkpoint(second, "100000000000000000001")
            await clock.sleep(2)
            await worker.keeper.checkpoint(first, "100000000000000000001")
            assert second.deadline == first.deadline > second.written_at + worker.keeper.limits.own_s
            rig.leases.after = once_late(clock, 3.0)
            release = asyncio.create_task(worker.keeper.release(first))
            await clock.sleep(0.1)
            assert rig.leases.rows[first.shard_id].owner is None
            assert second.deadline == second.written_at + worker.keeper.limits.own_s
            assert await release

    run(story)


def once_late(clock: VirtualClock, seconds: float) -> Gate:
    """The next update's answer comes so late; the others come at once."""
    spent = False

    async def one(operation: str, resource: str) -> None:
        nonlocal spent
        if operation == "UpdateItem" and not spent:
            spent = True
            await clock.sleep(seconds)

    return one


def once(gate: Gate) -> Gate:
    """The gate for the first call that it stops; open afterwards."""
    spent = False

    async def one(operation: str, resource: str) -> None:
        nonlocal spent
        if not spent:
            try:
                await gate(operation, resource)
            except Exception:
                spent = True
                raise

    return one


def no_answer_on(operation: str) -> Gate:
    return failing(no_answer, operation)
