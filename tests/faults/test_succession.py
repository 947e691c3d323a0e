"""A stream that is disabled or replaced while it is read: to its end first, then its successor."""

from __future__ import annotations

from poller.events import DataLost, ShardFinished, StreamEnded, StreamReplaced, StreamSwitched
from tests.faults.harness import TABLE, Site
from tests.standin import Fault, Kind


async def test_a_stream_that_is_replaced_is_read_to_its_end_before_the_new_one(site: Site) -> None:
    expected = site.uploads(2)
    async with site.running():
        await site.until_received(expected)
        expected += site.uploads(2, first=3)
        new = site.world.replace_stream(TABLE)
        (shard,) = new.shards.values()
        expected += site.uploads(2, first=5, shard=shard)
        await site.until_received(expected)
        await site.until(lambda: site.settled(new))
    assert site.heard_once(expected)
    (switched,) = site.said(StreamSwitched)
    assert (switched.old_arn, switched.new_arn) == (site.stream.arn, new.arn)
    assert site.row(shard)["streamArn"]["S"] == new.arn
    assert site.said(DataLost) == []


async def test_a_stream_that_is_replaced_twice_while_nobody_reads_is_followed_through_all_three(site: Site) -> None:
    async with site.running():
        await site.until_received(site.uploads(1))
    expected = site.uploads(1, first=2)
    for revision in (3, 4):
        (shard,) = site.world.replace_stream(TABLE).shards.values()
        expected += site.uploads(1, first=revision, shard=shard)
    async with site.running():
        await site.until_received(expected)
    assert site.heard_once(["a/1", "b/1", "c/1", *expected])
    assert len(site.said(StreamSwitched)) == 2


async def test_calls_that_fail_while_a_successor_is_looked_for_are_made_again(site: Site) -> None:
    expected = site.uploads(1)
    async with site.running():
        await site.until_received(expected)
        for operation in ("DescribeTable", "ListStreams", "DescribeStream"):
            site.fault(Fault(Kind.HALF, operation=operation, times=1))
        (shard,) = site.world.replace_stream(TABLE).shards.values()
        expected += site.uploads(1, first=2, shard=shard)
        await site.until_received(expected)
    assert site.heard_once(expected)


async def test_a_disabled_stream_is_read_to_its_end_and_enabled_again_it_is_taken_up(site: Site) -> None:
    expected = site.uploads(2)
    async with site.running():
        site.stream.disable()
        await site.until_received(expected)
        await site.until(lambda: bool(site.said(StreamEnded)))
        (shard,) = site.world.replace_stream(TABLE).shards.values()
        expected += site.uploads(2, first=3, shard=shard)
        await site.until_received(expected)
    assert site.heard_once(expected)
    assert len(site.said(ShardFinished)) == 1


async def test_a_stream_given_by_its_arn_has_no_successor(site: Site) -> None:
    expected = site.uploads(1)
    async with site.running(POLLER_TABLE="", POLLER_STREAM_ARN=site.stream.arn):
        (shard,) = site.world.replace_stream(TABLE).shards.values()
        site.uploads(1, first=2, shard=shard)
        await site.until(lambda: bool(site.said(StreamEnded)))
    assert site.heard_once(expected)
    assert site.said(StreamReplaced) == []
