"""LATEST is the instant of the first start, whatever happens to the first lease and iterator."""

from __future__ import annotations

from poller.events import LeaseLost, LeaseTaken
from tests.faults.harness import BRIEF, LEASES, Site
from tests.standin import Fault, Kind


async def test_an_idle_shard_whose_lease_was_lost_for_a_while_is_not_read_from_latest_again(site: Site) -> None:
    async with site.running(**BRIEF, POLLER_START_POSITION="LATEST"):
        await site.until(lambda: site.world.count("GetRecords", "OK") > 0)
        away = site.fault(Fault(Kind.RESET, table=LEASES))
        await site.until(lambda: bool(site.said(LeaseLost)))
        expected = site.uploads(2)
        site.mend(away)
        await site.until_received(expected)


async def test_what_is_written_while_the_first_iterator_of_a_latest_start_is_refused_is_not_skipped(site: Site) -> None:
    down = site.fault(Fault.throttle(operation="GetShardIterator"))
    async with site.running(POLLER_START_POSITION="LATEST"):
        await site.until(lambda: down.hits > 1)
        expected = site.uploads(2)
        site.mend(down)
        await site.until_received(expected)


async def test_a_shard_that_waited_for_a_free_place_since_the_start_is_not_read_from_latest_then(site: Site) -> None:
    other = site.stream.add_shard()
    async with site.running(**BRIEF, POLLER_START_POSITION="LATEST", POLLER_LEASE__MAX_LEASES="1"):
        await site.until(lambda: site.world.count("GetRecords", "OK") > 0)
        (first,) = [event.shard for event in site.said(LeaseTaken)]
        waiting = other if first == site.shard.shard_id else site.shard
        expected = site.uploads(2, shard=waiting)
        site.stream.shards[first].close()
        await site.until_received(expected)


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
