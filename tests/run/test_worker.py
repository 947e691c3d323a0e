"""One worker from the stream to the queue, on virtual time."""

from __future__ import annotations

import asyncio

import pytest

from poller.errors import Unavailable
from poller.events import Event, LeaseReleased, PageRead, ShardFinished, ShardStarted
from poller.model import SHARD_END
from tests.memory.gates import failing, fault, no_answer
from tests.rig import Options, Rig, by_item
from tests.virtual import VirtualClock, run


def test_every_match_reaches_the_queue_and_the_checkpoint_follows() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        expected = rig.uploads(50)
        async with rig.running():
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
            await rig.until(rig.caught_up)

    run(story)


def test_a_restart_goes_on_where_it_stopped() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        first = rig.uploads(20, "before")
        async with rig.running():
            await rig.until(lambda: len(rig.received()) == 20)
        second = rig.uploads(20, "after")
        async with rig.running(rig.worker("worker-2")):
            await rig.until(lambda: len(rig.received()) == 40)
            await clock.sleep(30)
        assert sorted(rig.received()) == sorted(first + second)

    run(story)


def test_leaving_gives_every_lease_back_after_a_last_checkpoint() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.uploads(5)
        async with rig.running():
            await rig.until(lambda: len(rig.received()) == 5)
        assert [event.checkpoint for event in rig.said(LeaseReleased)] == list(rig.checkpoints().values())
        assert all(row.owner is None for row in rig.leases.rows.values())

    run(story)


@pytest.mark.parametrize("gate", ["before", "after"])
def test_leaving_lets_no_hiccup_of_the_lease_table_cost_the_last_checkpoint_or_keep_a_lease(gate: str) -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.uploads(5)
        async with rig.running():
            await rig.until(lambda: len(rig.received()) == 5)
            setattr(rig.leases, gate, failing(no_answer, "UpdateItem", times=3))
        assert rig.caught_up()
        assert [event.checkpoint for event in rig.said(LeaseReleased)] == list(rig.checkpoints().values())
        assert all(row.owner is None for row in rig.leases.rows.values())

    run(story)


def test_the_changes_of_an_item_arrive_in_order() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        for revision in range(1, 30):
            for item in ("a", "b", "c"):
                rig.upload(item, revision)
        async with rig.running():
            await rig.until(lambda: len(rig.received()) == 3 * 29)
        revisions = [str(revision) for revision in range(1, 30)]
        assert by_item(rig.received()) == {"a": revisions, "b": revisions, "c": revisions}

    run(story)


def test_a_split_shards_children_start_after_their_parent_is_finished() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        expected = rig.uploads(30, "parent")
        (root,) = list(rig.stream.shards.shards)
        children = rig.stream.shards.split(root)
        expected += rig.uploads(30, "child")
        async with rig.running():
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
        order = [event.shard for event in rig.events if isinstance(event, ShardStarted | ShardFinished)]
        assert order[:2] == [root, root]
        assert rig.checkpoints()[root] == SHARD_END
        assert rig.leases.rows[root].children == set(children)

    run(story)


def test_children_of_a_shard_that_rolls_while_it_is_read_are_read_within_two_seconds() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running():
            await clock.sleep(20)
            (root,) = list(rig.stream.shards.shards)
            rig.stream.shards.roll(root)
            rig.upload("late")
            rolled_at = clock.monotonic()
            await rig.until(lambda: rig.received() == ["late/1"])
            assert clock.monotonic() - rolled_at < 3.0

    run(story)


def test_what_follows_on_a_shards_last_page_does_not_wait_for_the_next_poll() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        said: list[tuple[float, Event]] = []
        async with rig.running(rig.worker(emit=lambda event: said.append((clock.monotonic(), event)))):
            await clock.sleep(20)
            (root,) = list(rig.stream.shards.shards)
            rig.stream.shards.roll(root)
            await rig.until(lambda: rig.checkpoints()[root] == SHARD_END)
        (read_at,) = [at for at, event in said if isinstance(event, PageRead) and event.last]
        (finished_at,) = [at for at, event in said if isinstance(event, ShardFinished)]
        assert finished_at - read_at < 0.1

    run(story)


def test_late_children_are_found_and_read_from_their_beginning() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        async with rig.running():
            await clock.sleep(20)
            (root,) = list(rig.stream.shards.shards)
            child = rig.stream.shards.roll(root)
            rig.stream.shards.hide(child, answers=8)
            rig.upload("late")
            await rig.until(lambda: rig.received() == ["late/1"])
        assert rig.checkpoints()[root] == SHARD_END

    run(story)


def test_a_page_with_records_and_no_next_iterator_keeps_its_records() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        expected = rig.uploads(3)
        rig.table.disable()
        async with rig.running():
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
            await rig.until(lambda: list(rig.checkpoints().values()) == [SHARD_END])

    run(story)


def test_five_hundred_empty_pages_do_not_hide_what_is_behind_them() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.upload("far")
        (root,) = list(rig.stream.shards.shards)
        rig.stream.shards.empty(root, pages=500)
        async with rig.running():
            await rig.until(lambda: rig.received() == ["far/1"], at_most_s=600)

    run(story)


def test_a_small_buffer_slows_reading_and_loses_nothing() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(buffer_max_bytes=20_000, page_limit=10))
        expected = rig.uploads(200)
        async with rig.running() as worker:
            most = 0
            while len(rig.received()) < 200:
                most = max(most, worker._reading.buffer.size_bytes)
                await clock.sleep(0.01)
        assert sorted(rig.received()) == sorted(expected)
        assert most < 20_000 + 10 * 3_000

    run(story)


def test_leaving_is_over_in_time_whatever_does_not_answer() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.uploads(30)
        (root,) = list(rig.stream.shards.shards)
        rig.stream.shards.split(root)

        async with rig.running():
            await clock.sleep(1)
            rig.queue.before = rig.leases.before = rig.stream.before = never
            rig.uploads(30, "more")
            await clock.sleep(2)
            began = clock.monotonic()
        assert clock.monotonic() - began < 10.0

    run(story)


def test_leaving_while_a_finished_shard_waits_for_its_queue_is_over_in_time() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.uploads(30)
        rig.table.disable()
        rig.queue.before = failing(lambda op, name: fault(Unavailable, op, name, "ServiceUnavailable"))
        async with rig.running():
            await clock.sleep(5)
            rig.leases.before = never
            began = clock.monotonic()
        assert clock.monotonic() - began < 10.0

    run(story)


async def never(_operation: str, _resource: str) -> None:
    """A far side that does not answer, and a client that does not mind."""
    await asyncio.Event().wait()
