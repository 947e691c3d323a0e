"""A stream that is gone: believed after several answers, said once, its rows closed, its successor read."""

from __future__ import annotations

from poller.events import DataLost, PageRead, QueueFailing, StreamReplaced, StreamSwitched
from tests.faults.harness import HASTY, TABLE, Site
from tests.standin import Fault, Kind


async def test_a_stream_that_is_not_found_once_is_not_given_up_for_its_successor(site: Site) -> None:
    expected = site.uploads(1)
    async with site.running(**HASTY):
        await site.until_received(expected)
        down = site.fault(Fault(Kind.RESET, operation="GetRecords", shard=site.shard.shard_id))
        expected += site.uploads(1, first=2)
        (shard,) = site.world.replace_stream(TABLE).shards.values()
        expected += site.uploads(1, first=3, shard=shard)
        await site.until(lambda: bool(site.said(StreamReplaced)))
        blip = site.fault(Fault.throttle("ResourceNotFoundException", operation="DescribeStream", times=1))
        await site.until(lambda: blip.hits == 1)
        described = site.world.count("DescribeStream", "OK")
        await site.until(lambda: site.world.count("DescribeStream", "OK") > described)
        site.mend(down)
        await site.until_received(expected)
    assert site.said(DataLost) == []
    assert site.heard_once(expected)


async def lose_the_stream(site: Site) -> None:
    """A daemon whose stream is gone before its end was read, and that goes on with the next one and holds no other."""
    expected = site.uploads(1)
    async with site.running(**HASTY) as worker:
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


async def test_a_stream_that_is_gone_is_said_to_be_lost_once_and_not_at_every_start(site: Site) -> None:
    await lose_the_stream(site)
    before = len(site.said(DataLost))
    async with site.running(**HASTY):
        newest = site.world.latest_stream(TABLE)
        assert newest is not None
        (shard,) = newest.shards.values()
        await site.until_received(site.uploads(1, first=3, shard=shard))
    assert len(site.said(DataLost)) == before


async def test_what_was_read_before_its_stream_was_gone_is_still_delivered(site: Site) -> None:
    expected = site.uploads(1)
    async with site.running(**HASTY):
        await site.until_received(expected)
        site.queue.down()
        expected += site.uploads(1, first=2)
        await site.until(lambda: bool(site.said(QueueFailing)))
        down = site.fault(Fault(Kind.RESET, operation="GetRecords", shard=site.shard.shard_id))
        (shard,) = site.world.replace_stream(TABLE).shards.values()
        expected += site.uploads(1, first=3, shard=shard)
        await site.until(lambda: bool(site.said(StreamReplaced)))
        site.world.forget_stream(site.stream)
        site.mend(down)
        reads = site.world.count("DescribeStream", "ResourceNotFoundException")
        await site.until(
            lambda: (
                bool(site.said(StreamSwitched))
                or site.world.count("DescribeStream", "ResourceNotFoundException") > reads + 3
            )
        )
        site.queue.up()
        await site.until_received(expected)
    assert site.heard_once(expected)


async def test_a_shard_that_was_read_to_its_end_before_its_stream_was_gone_is_no_loss(site: Site) -> None:
    expected = site.uploads(1)
    async with site.running(**HASTY):
        await site.until_received(expected)
        await site.until(site.settled)
        down = site.fault(Fault(Kind.RESET, operation="DescribeStream"))
        (shard,) = site.world.replace_stream(TABLE).shards.values()
        expected += site.uploads(1, first=2, shard=shard)
        await site.until(lambda: any(event.last for event in site.said(PageRead)))
        site.world.forget_stream(site.stream)
        site.mend(down)
        await site.until_received(expected)
    assert site.said(StreamSwitched)
    assert site.said(DataLost) == []
    assert site.heard_once(expected)


async def test_the_loss_of_a_shard_whose_stream_is_gone_is_said_once(site: Site) -> None:
    await lose_the_stream(site)
    assert [lost.shard for lost in site.said(DataLost)] == [site.shard.shard_id]
