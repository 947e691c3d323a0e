"""Not in the tree: each of these fails on the tree of c5b72ea."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from poller.aws.sqs import BotoQueue
from poller.events import DataLost, LeaseLost, LeaseTaken, StreamReplaced, StreamSwitched
from poller.model import EntryOutcome, Message
from tests.faults.harness import BRIEF, LEASES, TABLE, Site
from tests.standin import Fault, Kind


async def test_what_is_written_between_the_making_of_a_latest_row_and_its_late_taking_is_not_skipped(
    site: Site,
) -> None:
    down = site.fault(Fault(Kind.RESET, operation="Scan", skip=2))  # the start's look and the worker's first pass
    async with site.running(POLLER_START_POSITION="LATEST"):
        await site.until(lambda: down.hits >= 2)
        assert site.checkpoint() == "LATEST"
        expected = site.uploads(2)
        site.mend(down)
        await site.until_received(expected)


async def test_a_lease_that_can_no_longer_be_used_does_not_make_its_worker_spin(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    sends = 0
    send = BotoQueue.send

    async def counted(self: BotoQueue, batch: Sequence[Message], not_after: float) -> Sequence[EntryOutcome]:
        nonlocal sends
        sends += 1
        return await send(self, batch, not_after)

    monkeypatch.setattr(BotoQueue, "send", counted)
    async with site.running(**BRIEF):
        await site.until(lambda: bool(site.said(LeaseTaken)))
        site.queue.refuse(times=10)  # something is always waiting to be sent again
        site.fault(Fault(Kind.HANG, table=LEASES))
        revision = 0
        while not site.said(LeaseLost):
            revision += 1
            site.uploads(1, first=revision)
            await asyncio.sleep(0.02)
        print("SENDS", sends, revision)
        site.world.faults.clear()
    assert sends < 10 * revision


async def test_a_stream_that_is_not_found_once_is_not_given_up_for_its_successor(site: Site) -> None:
    expected = site.uploads(1)
    async with site.running():
        await site.until_received(expected)
        down = site.fault(Fault(Kind.RESET, operation="GetRecords", shard=site.shard.shard_id))
        expected += site.uploads(1, first=2)
        (shard,) = site.world.replace_stream(TABLE).shards.values()
        expected += site.uploads(1, first=3, shard=shard)
        await site.until(lambda: bool(site.said(StreamReplaced)))
        blip = site.fault(Fault.throttle("ResourceNotFoundException", operation="DescribeStream", times=1))
        await site.until(lambda: blip.hits == 1)
        await asyncio.sleep(1)
        site.mend(down)
        await site.until_received(expected)
    assert site.said(DataLost) == []
    assert site.heard_once(expected)


async def lose_the_stream(site: Site) -> None:
    """A daemon whose stream is gone before its end was read, and that goes on with the next one."""
    expected = site.uploads(1)
    async with site.running() as worker:
        await site.until_received(expected)
        await site.until(site.settled)
        (shard,) = site.world.replace_stream(TABLE).shards.values()
        down = site.fault(Fault(Kind.RESET, operation="GetRecords"))
        await site.until(lambda: bool(site.said(StreamReplaced)))
        site.world.forget_stream(site.stream)
        site.mend(down)
        expected += site.uploads(1, first=2, shard=shard)
        await site.until_received(expected)
        assert site.said(StreamSwitched)
        assert set(worker.keeper.tenures) == {shard.shard_id}


async def test_nobody_holds_a_lease_of_a_stream_that_is_gone(site: Site) -> None:
    await lose_the_stream(site)


async def test_a_stream_that_is_gone_is_said_to_be_lost_once_and_not_at_every_start(site: Site) -> None:
    try:
        await lose_the_stream(site)
    except AssertionError:
        pass
    before = len(site.said(DataLost))
    async with site.running():
        (shard,) = site.world.latest_stream(TABLE).shards.values()  # type: ignore[union-attr]
        await site.until_received(site.uploads(1, first=3, shard=shard))
    assert len(site.said(DataLost)) == before
