"""What the loops say for those who watch over them: rows of the lease table, a shard's last page, what waits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from poller.errors import Unavailable
from poller.events import (
    Buffered,
    CheckpointWritten,
    DeadLettered,
    DeadLetterFailing,
    DeadLetterRecovered,
    Delivered,
    Discovered,
    FleetSeen,
    PageRead,
    QueueRecovered,
    RouteWaiting,
    ShardBehind,
)
from poller.model import Refused
from tests.memory.gates import failing, fault, open_gate
from tests.rig import Options, Rig
from tests.virtual import VirtualClock, run


def states(rig: Rig) -> dict[str, tuple[str | None, str]]:
    """Owner and state of each shard, as last told."""
    return {lease.shard_id: (lease.owner, state) for lease, state in rig.said(FleetSeen)[-1].rows}


def test_a_look_at_the_table_tells_every_row_and_mine_as_i_last_wrote_it() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = rig.stream.shards.shards
        left, right = rig.stream.shards.split(root)
        async with rig.running():
            await rig.until(lambda: rig.said(FleetSeen)[-1:] != [] and len(rig.said(FleetSeen)[-1].rows) == 3)
            await clock.sleep(30)
            assert states(rig)[root] == (None, "finished")
            assert {states(rig)[left], states(rig)[right]} == {("worker-1", "reading")}
            counters = {lease.shard_id: lease.counter for lease, _ in rig.said(FleetSeen)[-1].rows}
            await clock.sleep(30)
            moved = [lease for lease, _ in rig.said(FleetSeen)[-1].rows if lease.counter > counters[lease.shard_id]]
            assert {lease.shard_id for lease in moved} == {left, right}

    run(story)


def test_a_shard_whose_row_somebody_has_spoilt_is_told_as_unowned_until_the_row_is_gone() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = rig.stream.shards.shards
        async with rig.running():
            await clock.sleep(10)
            assert rig.said(FleetSeen)[-1].rowless == ()
            rig.leases.unreadable.add(root)
            await clock.sleep(30)
            assert rig.said(FleetSeen)[-1].rowless == (root,)
            assert rig.said(FleetSeen)[-1].shards["unowned"] == 1
            rig.leases.unreadable.clear()
            del rig.leases.rows[root]
            await clock.sleep(90)
            assert rig.said(FleetSeen)[-1].rowless == ()
            assert states(rig)[root] == ("worker-1", "reading")

    run(story)


def test_a_dead_workers_shard_that_nobody_may_take_is_told_as_expired_and_a_free_one_as_unowned() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = rig.stream.shards.shards
        left, right = rig.stream.shards.split(root)
        async with rig.killed():
            await rig.until(lambda: len(rig.said(FleetSeen)[-1].rows) == 3 if rig.said(FleetSeen) else False)
            await clock.sleep(10)
        rig.leases.rows[right] = replace(rig.leases.rows[right], owner=None)
        async with rig.running(rig.worker("worker-2", replace(rig.options, max_leases=1))):
            await clock.sleep(60)
            assert states(rig)[right] == ("worker-2", "reading")
            assert states(rig)[left] == ("worker-1", "expired")
            rig.leases.rows[left] = replace(rig.leases.rows[left], owner=None)
            await clock.sleep(10)
            assert states(rig)[left] == (None, "unowned")

    run(story)


def test_only_the_last_page_of_a_closed_shard_is_told_as_the_last() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (root,) = rig.stream.shards.shards
        async with rig.running():
            await clock.sleep(10)
            assert not any(page.last for page in rig.said(PageRead))
            rig.stream.shards.split(root)
            await clock.sleep(10)
        assert [page.shard for page in rig.said(PageRead) if page.last] == [root]

    run(story)


def test_spans_of_time_are_told_in_seconds_and_moments_as_seconds_since_the_epoch() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)

        async def slow(operation: str, _: str) -> None:
            await clock.sleep(1.0 if operation == "DescribeStream" else 0.0)

        rig.stream.before = slow
        rig.queue.before = failing(lambda op, name: fault(Unavailable, op, name, "ServiceUnavailable"))
        began = clock.wall()
        rig.upload("a")
        async with rig.running():
            await clock.sleep(40)
            waiting = rig.said(ShardBehind)[-1]
            rig.queue.before = open_gate
            await rig.until(lambda: rig.received() == ["a/1"])
            delivered = clock.wall()
            await clock.sleep(5)
        page = next(page for page in rig.said(PageRead) if sum(page.events.values()))
        assert began <= page.polled_at_s < began + 10
        assert 0 <= page.behind_s < 10
        assert 35 < waiting.behind_s < 45
        assert waiting.oldest_created_s is not None
        assert began - 1 <= waiting.oldest_created_s <= began
        (latency_s,) = rig.said(Delivered)[0].latencies_s
        assert abs(latency_s - (delivered - began)) < 2
        checkpoint = rig.said(CheckpointWritten)[-1]
        assert delivered <= checkpoint.at_s < delivered + 3
        assert 35 < rig.said(QueueRecovered)[0].failing_s < 50
        assert 1 <= rig.said(Discovered)[0].seconds < 3
        rest = rig.said(ShardBehind)[-1]
        assert (rest.behind_s, rest.oldest_created_s) == (0.0, None)

    run(story)


@pytest.mark.parametrize("checkpoint_s", [0.5, 1.0, 300.0])
def test_where_a_shard_stands_and_what_waits_is_told_once_a_second_however_seldom_checkpoints_are(
    checkpoint_s: float,
) -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(checkpoint_s=checkpoint_s))
        rig.queue.before = failing(lambda op, name: fault(Unavailable, op, name, "ServiceUnavailable"))
        rig.uploads(3)
        async with rig.running():
            await clock.sleep(10)
            assert (rig.said(RouteWaiting)[-1].waiting, rig.said(RouteWaiting)[-1].dead_letters) == (3, 0)
            rig.queue.before = open_gate
            await rig.until(lambda: len(rig.received()) == 3)
            await clock.sleep(2)
            assert rig.said(RouteWaiting)[-1].waiting == rig.said(Buffered)[-1].records == 0
            assert rig.said(ShardBehind)[-1].oldest_created_s is None
            assert bool(rig.said(CheckpointWritten)) is (checkpoint_s < 300)
            await clock.sleep(checkpoint_s)
            (checkpoint,) = rig.checkpoints().values()
            assert rig.said(ShardBehind)[-1].position == f"after {checkpoint}"

    run(story)


def test_that_dead_letters_can_be_stored_again_is_told_once_they_all_are() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options())
        assert rig.dead_letter_queue is not None
        rig.queue.refuse = lambda _: Refused("InvalidMessageContents", "no", sender_fault=True)
        rig.dead_letter_queue.before = failing(lambda op, name: fault(Unavailable, op, name, "ServiceUnavailable"))
        rig.uploads(2)
        async with rig.running():
            await clock.sleep(90)
            assert rig.said(DeadLetterFailing)
            assert rig.said(DeadLetterRecovered) == []
            assert rig.said(RouteWaiting)[-1].dead_letters == 2
            rig.dead_letter_queue.before = open_gate
            await rig.until(lambda: len(rig.said(DeadLettered)) == 2)
        (recovered,) = rig.said(DeadLetterRecovered)
        assert 80 < recovered.failing_s < 120

    run(story)
