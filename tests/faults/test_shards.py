"""The shard tree while it changes and while its listing fails, lags or contradicts itself."""

from __future__ import annotations

import pytest

from poller.events import DiscoveryFailed, LeaseTaken, ShardFinished
from tests.faults.harness import LEASES, Site
from tests.standin import Fault, Kind


def trail(site: Site) -> list[str]:
    """The shards in the order in which they were taken and finished."""
    return [event.shard for event in site.events if isinstance(event, LeaseTaken | ShardFinished)]


# --- roll and split ---------------------------------------------------------------------------------------------------


async def test_a_shard_that_splits_while_it_is_read_is_finished_before_its_children_begin(site: Site) -> None:
    expected = site.uploads(3)
    async with site.running():
        await site.until_received(expected)
        expected += site.uploads(3, first=4)
        left, right = site.stream.split(site.shard)
        expected += site.uploads(3, "a", first=7, shard=left)
        expected += site.uploads(3, "b", "c", first=7, shard=right)
        await site.until_received(expected)
    assert site.heard_once(expected)
    assert trail(site)[:2] == [site.shard.shard_id] * 2
    assert set(site.row()["childShardIds"]["SS"]) == {left.shard_id, right.shard_id}


async def test_the_end_of_a_shard_is_written_when_its_childrens_rows_are_there_and_not_before(site: Site) -> None:
    async with site.running():
        await site.until_received(site.uploads(1))
        children = site.stream.split(site.shard)
        await site.until(site.finished)
        await site.until(lambda: all(site.checkpoint(child) for child in children))
    writes = [(call.operation, call.subject.key) for call in site.world.calls.kept if call.subject.table == LEASES]
    last = max(index for index, (_, key) in enumerate(writes) if key == site.shard.shard_id)
    assert all(writes.index(("PutItem", child.shard_id)) < last for child in children)


async def test_a_shard_that_rolls_again_and_again_is_followed_in_order(site: Site) -> None:
    expected, shard = site.uploads(2), site.shard
    async with site.running():
        for generation in range(1, 4):
            shard = site.stream.roll(shard)
            expected += site.uploads(2, first=1 + 2 * generation, shard=shard)
            await site.until_received(expected)
    assert site.heard_once(expected)


async def test_a_tree_of_three_generations_is_read_from_the_root(site: Site) -> None:
    site.world.table(LEASES).page_items = 2
    expected = site.uploads(2)
    for child in site.stream.split(site.shard):
        expected += site.uploads(2, f"of-{child.shard_id}", shard=child)
        grandchild = site.stream.roll(child)
        expected += site.uploads(2, f"of-{child.shard_id}", first=3, shard=grandchild)
    async with site.running():
        await site.until_received(expected)
    assert site.heard_once(expected)


@pytest.mark.parametrize("damage", [Kind.LOST, Kind.HTML])
async def test_calls_that_fail_just_at_a_shards_end_do_not_part_it_from_its_children(site: Site, damage: Kind) -> None:
    expected = site.uploads(2)
    async with site.running():
        await site.until_received(expected)
        await site.until(site.settled)
        for operation in ("DescribeStream", "PutItem", "UpdateItem"):
            site.fault(Fault(damage, operation=operation, times=1))
        child = site.stream.roll(site.shard)
        expected += site.uploads(2, first=3, shard=child)
        await site.until_received(expected)
        await site.until(site.finished)
    assert site.heard_once(expected)
    assert site.row()["childShardIds"]["SS"] == [child.shard_id]


# --- late, hidden, trimmed --------------------------------------------------------------------------------------------


async def test_children_that_are_listed_late_are_read_from_their_beginning(site: Site) -> None:
    expected = site.uploads(2)
    async with site.running():
        await site.until_received(expected)
        left, right = site.stream.split(site.shard)
        left.hide(listings=1)
        right.hide(listings=3)
        expected += site.uploads(2, "a", first=3, shard=left)
        expected += site.uploads(2, "b", first=3, shard=right)
        await site.until_received(expected)
    assert site.heard_once(expected)
    assert (left.hidden_listings, right.hidden_listings) == (0, 0)


async def test_a_shard_that_some_listings_leave_out_is_read_between_its_parent_and_its_child(site: Site) -> None:
    expected = site.uploads(3)
    hidden = site.stream.roll(site.shard)
    expected += site.uploads(3, first=4, shard=hidden)
    child = site.stream.roll(hidden)
    expected += site.uploads(3, first=7, shard=child)
    hidden.hide(listings=2)
    site.fault(Fault(Kind.RESET, operation="GetRecords", shard=site.shard.shard_id, times=2))
    async with site.running():
        await site.until_received(expected)
    assert site.heard_once(expected)


async def test_a_parent_that_no_listing_ever_shows_is_read_before_its_child_all_the_same(site: Site) -> None:
    expected = site.uploads(3)
    child = site.stream.roll(site.shard)
    expected += site.uploads(3, first=4, shard=child)
    site.shard.hide()
    async with site.running():
        await site.until_received(expected)
    assert site.heard_once(expected)


async def test_below_a_parent_that_was_trimmed_everything_is_read(site: Site) -> None:
    child = site.stream.roll(site.shard)
    expected = site.uploads(2, shard=child)
    grandchild = site.stream.roll(child)
    expected += site.uploads(2, first=3, shard=grandchild)
    site.shard.vanish()
    async with site.running():
        await site.until_received(expected)
    assert site.heard_once(expected)


async def test_a_closed_shard_that_never_gets_children_stops_nobody_else(site: Site) -> None:
    childless = site.stream.add_shard()
    expected = site.uploads(1, "x", shard=childless)
    childless.close()
    async with site.running():
        await site.until(lambda: site.finished(childless))
        expected += site.uploads(2)
        child = site.stream.roll(site.shard)
        expected += site.uploads(2, first=3, shard=child)
        await site.until_received(expected)
    assert site.heard_once(expected)


# --- listings ---------------------------------------------------------------------------------------------------------


async def test_a_shard_that_splits_between_two_pages_of_a_listing_comes_before_its_children(site: Site) -> None:
    site.stream.page_shards = 1
    site.stream.page_overlap = 1
    others = [site.stream.add_shard() for _ in range(2)]
    expected = site.uploads(3)
    expected += [name for shard in others for name in site.uploads(2, shard.shard_id, shard=shard)]

    def split(page: int) -> None:
        if page == 1 and not site.shard.closed:
            for child, item in zip(site.stream.split(site.shard), ("a", "b"), strict=True):
                expected.extend(site.uploads(2, item, first=4, shard=child))

    site.stream.on_page = split
    async with site.running():
        await site.until(lambda: site.shard.closed)
        await site.until_received(expected)
    assert site.heard_once(expected)


async def test_each_failing_call_of_a_listing_is_made_again_by_itself_until_all_300_shards_are_found(
    site: Site,
) -> None:
    shards = [site.shard, *(site.stream.add_shard() for _ in range(299))]
    site.world.rates.limit("DescribeStream", 10)
    damages = [Fault.internal(), Fault.throttle(), Fault(Kind.RESET), Fault(Kind.HALF), Fault(Kind.HTML)]
    for skipped, damage in enumerate(damages):
        damage.operation, damage.times, damage.skip = "DescribeStream", 1, skipped
        site.fault(damage)
    expected = [name for number, shard in enumerate(shards) for name in site.uploads(1, f"of-{number}", shard=shard)]
    async with site.running(**MANY):
        await site.until_received(expected)
    assert site.said(DiscoveryFailed) == []
    assert site.world.count("DescribeStream", "OK") < 10
    assert site.heard_once(expected)


# 300 shards on one core: looked at less often than the few of the other tests.
MANY = {
    "POLLER_LEASE__DURATION": "30s",
    "POLLER_LEASE__DISCOVERY_INTERVAL": "30s",
    "POLLER_POLLING__IDLE_MIN": "1s",
    "POLLER_POLLING__IDLE_MAX": "5s",
    "POLLER_AWS__REQUEST_TIMEOUT": "5s",
}


async def test_a_listing_that_fails_for_long_is_said_and_made_again_while_known_shards_are_read_on(
    site: Site,
) -> None:
    expected = site.uploads(1)
    async with site.running():
        await site.until_received(expected)
        down = site.fault(Fault.internal(operation="DescribeStream"))
        await site.until(lambda: bool(site.said(DiscoveryFailed)))
        expected += site.uploads(1, first=2)
        await site.until_received(expected)
        late = site.stream.add_shard()
        site.mend(down)
        expected += site.uploads(1, "x", shard=late)
        await site.until_received(expected)
    assert site.heard_once(expected)


async def test_a_server_without_the_shard_filter_is_asked_for_the_whole_listing(site: Site) -> None:
    expected = site.uploads(2)
    unknown = site.fault(
        Fault(code="ValidationException", status=400, operation="DescribeStream", shard=site.shard.shard_id)
    )
    async with site.running():
        await site.until_received(expected)
        child = site.stream.roll(site.shard)
        expected += site.uploads(2, first=3, shard=child)
        await site.until_received(expected)
    assert unknown.hits == 1
    assert site.heard_once(expected)
