"""The stream's own surprises: start positions, trimming, replacement, lost shards, faults of its API."""

from __future__ import annotations

import asyncio

import pytest

from poller.decide.lineage import Start
from poller.errors import DataTrimmed, InvalidRequest, IteratorExpired, NotFound, Throttled, Unavailable
from poller.events import (
    CheckpointWritten,
    DataLost,
    DiscoveryFailed,
    DiscoveryRecovered,
    IteratorRenewed,
    LeaseOperation,
    LookFailed,
    ReadFailing,
    ReadRecovered,
    SettingsDoubtful,
    ShardStarted,
    StartTimeUnsupported,
    StreamEnded,
    StreamReplaced,
    StreamSwitched,
    ViewChanged,
)
from poller.model import AT_TIMESTAMP, LATEST, SHARD_END, Lease, StreamInfo, ViewType
from tests.memory.gates import Gate, failing, fault, no_answer, open_gate
from tests.rig import Options, Rig
from tests.virtual import VirtualClock, run


def test_latest_passes_over_what_was_there_and_reads_what_comes() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(start=Start(LATEST)))
        rig.uploads(10, "before")
        async with rig.running():
            await clock.sleep(5)
            expected = rig.uploads(10, "after")
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))

    run(story)


@pytest.mark.parametrize("slow", ["PutItem", "UpdateItem", "GetShardIterator"])
def test_latest_is_not_a_later_now_when_a_first_start_takes_its_time(slow: str) -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(start=Start(LATEST)))

        async def takes_its_time(operation: str, _resource: str) -> None:
            await clock.sleep(4.0 if operation == slow else 0.0)

        rig.leases.before = rig.stream.before = takes_its_time
        async with rig.running():
            await clock.sleep(2)
            expected = rig.uploads(10, "meanwhile")
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))

    run(story)


def test_a_shard_that_began_and_ended_before_a_late_first_listing_at_latest_is_read() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(start=Start(LATEST)))
        (root,) = list(rig.stream.shards.shards)
        rig.stream.shards.split(root)
        rig.stream.shards.forget(root)

        async def late(operation: str, _resource: str) -> None:
            await clock.sleep(20.0 if operation == "UpdateItem" and clock.monotonic() < began + 5 else 0.0)

        began, rig.leases.before = clock.monotonic(), late
        async with rig.running():
            await clock.sleep(5)
            children = [rig.stream.shards.roll(shard.shard_id) for shard in list(rig.stream.shards)]
            expected = rig.uploads(10, "meanwhile")
            for child in children:
                rig.stream.shards.roll(child)
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))

    run(story)


def test_a_restart_before_the_first_record_does_not_apply_latest_again() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(start=Start(LATEST)))
        rig.uploads(10, "long-before")
        await clock.sleep(300)
        async with rig.killed():
            await clock.sleep(5)
        expected = rig.uploads(10, "between")
        async with rig.running(rig.worker("worker-2")):
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
            await clock.sleep(30)
        assert sorted(rig.received()) == sorted(expected)

    run(story)


def test_latest_is_not_applied_to_the_children_of_a_shard_that_rolled_unnoticed() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(start=Start(LATEST)))
        rig.uploads(5, "before")
        await clock.sleep(300)
        (root,) = list(rig.stream.shards.shards)
        child = rig.stream.shards.roll(root)
        rig.stream.shards.hide(child, answers=3)
        async with rig.running():
            expected = rig.uploads(5, "child")
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))

    run(story)


def test_an_expired_latest_iterator_is_not_replaced_by_a_newer_now() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(start=Start(LATEST)))
        async with rig.running():
            await clock.sleep(300)
            rig.stream.before = failing(
                lambda op, name: fault(Throttled, op, name, "ThrottlingException"), "GetRecords"
            )
            expected = rig.uploads(5)
            await clock.sleep(1200)
            rig.stream.before = open_gate
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))

    run(story)


def test_a_start_time_reads_from_there() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.uploads(5, "before")
        await clock.sleep(600)
        since_ms = int(clock.wall() * 1000)
        await clock.sleep(600)
        expected = rig.uploads(5, "after")
        async with rig.running(rig.worker(options=Options(start=Start(AT_TIMESTAMP, since_ms)))):
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))

    run(story)


def test_where_the_server_has_no_start_times_older_records_are_passed_over_and_it_is_said() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.uploads(5, "before")
        await clock.sleep(600)
        since_ms = int(clock.wall() * 1000)
        await clock.sleep(600)
        expected = rig.uploads(5, "after")
        iterator = rig.stream.iterator

        async def without(shard_id: str, position: object) -> str:
            if getattr(position, "kind", None) == AT_TIMESTAMP:
                raise fault(Unavailable, "GetShardIterator", shard_id, "InternalFailure")
            return await iterator(shard_id, position)  # type: ignore[arg-type]

        rig.stream.iterator = without  # type: ignore[method-assign]
        async with rig.running(rig.worker(options=Options(start=Start(AT_TIMESTAMP, since_ms)))):
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
        assert [event.code for event in rig.said(StartTimeUnsupported)] == ["InternalFailure"]

    run(story)


def test_trimmed_data_stops_the_shard_loudly_and_keeps_its_checkpoint() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.uploads(5, "first")
        async with rig.running():
            await rig.until(rig.caught_up)
        rig.uploads(5, "lost")
        (shard,) = rig.stream.shards
        rig.stream.shards.trim(shard.shard_id)
        rig.uploads(5, "after")
        before = rig.checkpoints()
        async with rig.running(rig.worker("worker-2")) as worker:
            await clock.sleep(200)
            assert rig.checkpoints() == before
            assert len(worker.keeper.tenures) == 1
        assert [(event.reason, event.action) for event in rig.said(DataLost)] == [("trimmed", "stop")]
        assert len(rig.said(ReadFailing)) >= 2

    run(story)


def test_trimmed_data_can_be_skipped_and_is_counted() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(on_data_loss="skip"))
        rig.uploads(5, "first")
        async with rig.running():
            await rig.until(rig.caught_up)
        rig.uploads(5, "lost")
        (shard,) = rig.stream.shards
        rig.stream.shards.trim(shard.shard_id)
        expected = rig.uploads(5, "after")
        async with rig.running(rig.worker("worker-2")):
            await rig.until(lambda: len(rig.received()) == 10)
        assert sorted(rig.received()[5:]) == sorted(expected)
        assert len(rig.said(DataLost)) == 1

    run(story)


def test_a_shard_that_vanished_is_not_taken_for_finished() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.uploads(5)
        async with rig.running():
            await rig.until(rig.caught_up)
            (root,) = list(rig.stream.shards.shards)
            rig.stream.shards.roll(root)
            rig.stream.shards.forget(root)
            await clock.sleep(60)
            assert rig.checkpoints()[root] != SHARD_END
        assert [event.reason for event in rig.said(DataLost)] == ["shard_gone"]

    run(story)


def test_a_disabled_and_enabled_stream_is_read_to_its_end_and_the_new_one_from_its_beginning() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running():
            expected = rig.uploads(10, "old")
            await clock.sleep(3)
            expected += rig.uploads(10, "old-end")
            rig.table.disable()
            rig.table.enable(ViewType.NEW_IMAGE)
            expected += rig.uploads(10, "new")
            await rig.until(lambda: sorted(rig.received()) == sorted(expected), at_most_s=20)
        assert len(rig.said(StreamReplaced)) == 1
        assert len(rig.said(StreamSwitched)) == 1
        assert sorted(rig.received()[-10:]) == sorted(expected[-10:])

    run(story)


def test_a_stream_replaced_twice_while_nobody_looked_is_read_one_after_the_other() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        expected = rig.uploads(5, "first")
        async with rig.running():
            await rig.until(rig.caught_up)
        for name in ("second", "third"):
            rig.table.disable()
            await clock.sleep(10)
            rig.table.enable(ViewType.NEW_IMAGE)
            expected += rig.uploads(5, name)
        async with rig.running(rig.worker("worker-2")):
            await rig.until(lambda: sorted(rig.received()) == sorted(expected), at_most_s=60)
        assert [sorted(rig.received()[n : n + 5]) for n in (0, 5, 10)] == [
            sorted(expected[n : n + 5]) for n in (0, 5, 10)
        ]
        assert len(rig.said(StreamSwitched)) == 2

    run(story)


def test_of_two_applications_that_have_begun_with_one_lease_table_each_reads_its_own_stream_and_says_so() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        strange = rig.stream.info.arn.replace(f"table/{rig.stream.info.table}", "table/Aardvarks")
        rows = [
            Lease("shardId-1", checkpoint=SHARD_END, counter=7, stream_arn=strange),
            Lease("shardId-2", owner="stranger", counter=7, checkpoint="1", stream_arn=strange),
        ]
        rig.leases.rows = {row.shard_id: row for row in rows}
        expected = rig.uploads(5)
        async with rig.running():
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
            await clock.sleep(200)
        assert [rig.leases.rows.get(row.shard_id) for row in rows] == rows
        (doubt,) = rig.said(SettingsDoubtful)
        assert strange in doubt.text

    run(story)


def test_that_a_later_stream_carries_other_images_is_said_and_told_once_it_is_read() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        worker = rig.worker()
        told: list[StreamInfo] = []
        worker.follower.on_view = told.append
        async with rig.running(worker):
            await clock.sleep(10)
            for view_type in (ViewType.NEW_IMAGE, ViewType.KEYS_ONLY):
                rig.table.disable()
                rig.table.enable(view_type)
                await rig.until(lambda: worker.follower.stream.arn == rig.stream.info.arn, at_most_s=90)
                await clock.sleep(30)
        assert told == [rig.stream.info]
        (changed,) = rig.said(ViewChanged)
        assert (changed.stream_arn, changed.view_type) == (rig.stream.info.arn, "KEYS_ONLY")

    run(story)


def test_a_row_of_a_stream_that_was_gone_on_from_brings_back_what_hangs_on_it_and_not_the_whole_stream() -> None:
    """As a request does that takes effect long after its row was cleaned up; or a child that was listed very late."""

    async def a_moment(_operation: str, _resource: str) -> None:
        await asyncio.sleep(0.001)

    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, queue="jobs")  # no FIFO queue, which would pass over what comes again
        rig.leases.before = a_moment
        (first,) = rig.stream.shards.shards
        async with rig.running():
            rig.uploads(5, "first")
            await rig.until(rig.caught_up)
            second = rig.stream.shards.roll(first)
            again = rig.uploads(5, "second")
            await rig.until(rig.caught_up)
            rig.stream.shards.roll(second)
            again += rig.uploads(5, "third")
            old = rig.stream.info.arn
            rig.table.disable()
            rig.table.enable(ViewType.NEW_IMAGE)
            rig.uploads(5, "new")
            await rig.until(lambda: len(rig.received()) == 20)
            await rig.until(lambda: all(row.stream_arn != old for row in rig.leases.rows.values()))
        rig.leases.rows[second] = Lease(second, parents=frozenset({first}), stream_arn=old)
        async with rig.running(rig.worker("worker-2")):
            expected = rig.uploads(5, "newer")
            await rig.until(lambda: set(expected) <= set(rig.received()))
        assert sorted(rig.received()[20:]) == sorted(again + expected)

    run(story)


def test_a_table_made_anew_is_followed() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running():
            expected = rig.uploads(5, "old")
            await clock.sleep(10)
            rig.tables.drop("AnalysisMetadataTable")
            await clock.sleep(10)
            rig.table = rig.tables.create("AnalysisMetadataTable")
            expected += rig.uploads(5, "new")
            await rig.until(lambda: sorted(rig.received()) == sorted(expected), at_most_s=120)

    run(story)


def test_a_stream_that_is_gone_with_unread_records_is_said_and_its_successor_is_read() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.uploads(5, "old")
        async with rig.running():
            await rig.until(rig.caught_up)
        old = rig.stream
        rig.uploads(5, "lost")
        rig.table.disable()
        await clock.sleep(1)
        rig.table.enable(ViewType.NEW_IMAGE)
        old.gone = True
        expected = rig.uploads(5, "new")
        async with rig.running(rig.worker("worker-2")):
            await rig.until(lambda: sorted(rig.received()[5:]) == sorted(expected), at_most_s=120)
        assert [event.reason for event in rig.said(DataLost)] == ["stream_gone"]

    run(story)


def test_a_lease_table_that_is_not_found_is_not_taken_for_a_stream_that_is_gone() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = rig.stream.shards.shards
        expected = rig.uploads(5, "first")
        async with rig.running():
            await rig.until(rig.caught_up)
            rig.leases.before = failing(
                lambda op, name: fault(NotFound, op, name, "ResourceNotFoundException"), "PutItem"
            )
            rig.stream.shards.split(root)
            expected += rig.uploads(5, "below")
            rig.table.disable()
            rig.table.enable(ViewType.NEW_IMAGE)
            await clock.sleep(120)
            rig.leases.before = open_gate
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
        assert rig.said(DiscoveryFailed)

    run(story)


def test_a_stream_that_is_not_found_for_a_second_is_not_given_up_for_its_successor() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        expected = rig.uploads(5, "first")
        old = rig.stream
        async with rig.running():
            await rig.until(rig.caught_up)
            old.gone = True
            expected += rig.uploads(5, "second")
            rig.table.disable()
            rig.table.enable(ViewType.NEW_IMAGE)
            await clock.sleep(1.5)
            old.gone = False
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
        assert rig.said(DataLost) == []

    run(story)


def test_readers_that_were_stopped_for_a_stream_that_seemed_gone_read_on_once_it_is_there() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        expected = rig.uploads(5, "first")
        rig.queue.before = failing(lambda op, name: fault(Unavailable, op, name, "ServiceUnavailable"))
        old = rig.stream
        async with rig.running():
            await clock.sleep(5)
            old.gone = True
            expected += rig.uploads(5, "second")
            rig.table.disable()
            rig.table.enable(ViewType.NEW_IMAGE)
            await clock.sleep(30)
            old.gone = False
            await clock.sleep(60)  # till the next look at the stream
            rig.queue.before = open_gate
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))

    run(story)


def test_a_stream_given_by_its_arn_is_not_left_for_a_newer_one() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(follows_table=False))
        async with rig.running():
            expected = rig.uploads(5, "old")
            await clock.sleep(5)
            rig.table.disable()
            rig.table.enable(ViewType.NEW_IMAGE)
            rig.uploads(5, "new")
            await clock.sleep(120)
            assert sorted(rig.received()) == sorted(expected)
        assert len(rig.said(StreamEnded)) == 1

    run(story)


@pytest.mark.parametrize(
    "gate",
    [
        failing(lambda op, name: fault(Throttled, op, name, "ThrottlingException"), times=20),
        failing(lambda op, name: fault(Unavailable, op, name, "InternalServerError"), times=20),
        failing(no_answer, times=20),
        failing(lambda op, name: fault(IteratorExpired, op, name, "ExpiredIteratorException"), "GetRecords", times=9),
        failing(lambda op, name: fault(InvalidRequest, op, name, "ValidationException"), "GetRecords", times=9),
    ],
    ids=["throttled", "internal errors", "no answers", "iterators expire", "unknown iterators"],
)
def test_a_burst_of_faults_is_survived(gate: Gate) -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        expected = rig.uploads(20)
        rig.stream.before = gate
        async with rig.running():
            await rig.until(lambda: sorted(rig.received()) == sorted(expected), at_most_s=300)

    run(story)


def test_a_fault_while_reading_is_said_once_and_so_is_its_end() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running():
            await clock.sleep(5)
            rig.stream.before = failing(
                lambda op, name: fault(Unavailable, op, name, "InternalServerError"), "GetRecords"
            )
            await clock.sleep(50)
            rig.stream.before = open_gate
            await clock.sleep(10)
        assert len(rig.said(ReadFailing)) == 1
        assert len(rig.said(ReadRecovered)) == 1

    run(story)


def test_an_expired_iterator_is_renewed_from_the_last_position() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.uploads(3)
        async with rig.running():
            await rig.until(rig.caught_up)
            rig.stream.before = failing(
                lambda op, name: fault(IteratorExpired, op, name, "ExpiredIteratorException"), "GetRecords", times=1
            )
            rig.uploads(3, "after")
            await rig.until(lambda: len(rig.received()) == 6)
        (renewed,) = rig.said(IteratorRenewed)
        assert renewed.position.startswith("after ")

    run(story)


def test_a_listing_of_many_pages_with_failing_calls_is_completed_call_by_call() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.stream.page_shards = 5
        shards = rig.stream.shards
        for _ in range(4):
            for shard in [shard.shard_id for shard in shards if not shard.closed]:
                shards.split(shard)
        calls = 0

        async def every_third_fails(operation: str, resource: str) -> None:
            nonlocal calls
            calls += operation == "DescribeStream"
            if operation == "DescribeStream" and calls % 3 == 0:
                raise fault(Unavailable, operation, resource, "InternalServerError")

        rig.stream.before = every_third_fails
        expected = rig.uploads(100)
        async with rig.running():
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
        assert rig.said(DiscoveryFailed) == []

    run(story)


def test_a_listing_that_fails_for_long_is_said_as_it_begins_once_a_minute_and_when_it_is_over() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running():
            await rig.until(lambda: bool(rig.said(ShardStarted)))
            rig.stream.before = failing(
                lambda op, name: fault(Throttled, op, name, "LimitExceededException"), "DescribeStream"
            )
            await rig.until(lambda: bool(rig.said(DiscoveryFailed)))
            began = clock.monotonic()
            await clock.sleep(150.0)
            said, looks = len(rig.said(DiscoveryFailed)), len(rig.said(LookFailed))
            rig.stream.before = open_gate
            await rig.until(lambda: bool(rig.said(DiscoveryRecovered)))
            await clock.sleep(150.0)
        (over,) = rig.said(DiscoveryRecovered)
        assert over.failing_s == pytest.approx(clock.monotonic() - began - 150.0, abs=1.0)
        assert said == 3
        assert looks > 20, "each of them is counted"

    run(story)


def test_children_whose_roots_were_trimmed_are_read() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = list(rig.stream.shards.shards)
        rig.stream.shards.split(root)
        rig.stream.shards.forget(root)
        expected = rig.uploads(20)
        async with rig.running():
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))

    run(story)


def test_the_end_of_a_shard_comes_after_its_childrens_rows_and_their_names_as_java_expects_it() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = list(rig.stream.shards.shards)
        async with rig.running():
            await rig.until(lambda: bool(rig.said(ShardStarted)))
            before = len(rig.events)
            rig.stream.shards.split(root)
            await rig.until(lambda: rig.checkpoints()[root] == SHARD_END and len(rig.said(ShardStarted)) == 3)
        told = rig.events[before:]
        writes = [event.operation if isinstance(event, LeaseOperation) else "" for event in told]
        (end,) = [
            at
            for at, event in enumerate(told)
            if isinstance(event, CheckpointWritten) and event.checkpoint == SHARD_END
        ]
        named = writes.index("add_children")
        assert writes[:named].count("create") == 2
        assert named < end

    run(story)


def test_a_parent_that_a_listing_hides_is_waited_for() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = list(rig.stream.shards.shards)
        rig.upload("item", 1)
        rig.stream.shards.roll(root)
        rig.upload("item", 2)
        rig.stream.shards.hide(root, answers=3)
        async with rig.running():
            await rig.until(lambda: rig.received() == ["item/1", "item/2"])
        assert rig.said(ShardStarted)[0].shard == root

    run(story)


def test_a_closed_shard_without_children_holds_nobody_up() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = list(rig.stream.shards.shards)
        low, _high = rig.stream.shards.split(root)
        rig.uploads(20)
        rig.stream.shards.close(low)
        async with rig.running():
            await rig.until(lambda: len(rig.received()) == 20)
            await clock.sleep(600)

    run(story)


def test_behind_five_hundred_empty_pages_everything_is_found() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = list(rig.stream.shards.shards)
        expected = rig.uploads(20)
        rig.stream.shards.empty(root, 500)
        async with rig.running():
            await rig.until(lambda: sorted(rig.received()) == sorted(expected), at_most_s=700.0)
        assert rig.stream.shards[root].empty_pages == 0

    run(story)


def test_the_trim_horizon_may_move_on_while_a_root_is_begun() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.stream.before = failing(
            lambda op, name: fault(DataTrimmed, op, name, "TrimmedDataAccessException"), "GetRecords", times=1
        )
        expected = rig.uploads(5)
        async with rig.running():
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
        assert rig.said(DataLost) == []

    run(story)
