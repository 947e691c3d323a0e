"""Where reading begins and goes on: expired iterators, trimmed data, start positions that a server may not know."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from poller.events import DataLost, IteratorRenewed, ShardFinished, StartTimeUnsupported
from tests.faults.harness import Site
from tests.standin import AtTimestamp, Fault, Kind

# --- iterators --------------------------------------------------------------------------------------------------------


async def test_an_iterator_older_than_15_minutes_is_replaced_and_nothing_is_lost_or_repeated(site: Site) -> None:
    expected = site.uploads(3)
    async with site.running():
        await site.until_received(expected)
        site.world.clock.advance(16 * 60)
        expected += site.uploads(3, first=4)
        await site.until_received(expected)
    assert len(site.said(IteratorRenewed)) == 1
    assert site.heard_once(expected)


async def test_iterators_that_expire_before_each_page_still_lead_to_the_end(site: Site) -> None:
    site.stream.page_records = 12
    expected = site.uploads(8)
    for skipped in range(3):
        site.fault(Fault.throttle("ExpiredIteratorException", operation="GetRecords", skip=skipped, times=1))
    async with site.running():
        await site.until_received(expected)
    assert len(site.said(IteratorRenewed)) == 3
    assert site.heard_once(expected)


async def test_a_shard_that_is_not_found_once_or_twice_is_no_shard_that_is_gone(site: Site) -> None:
    expected = site.uploads(3)
    async with site.running():
        await site.until_received(expected)
        site.fault(Fault.throttle("ResourceNotFoundException", operation="GetRecords", times=2))
        await site.until(lambda: site.world.count("GetRecords", "ResourceNotFoundException") == 2)
        expected += site.uploads(3, first=4)
        await site.until_received(expected)
    assert site.said(DataLost) == []
    assert site.heard_once(expected)


# --- trimmed data -----------------------------------------------------------------------------------------------------


async def fall_behind(site: Site) -> list[str]:
    """A daemon stopped for so long that records after its checkpoint were trimmed; what can still be read."""
    async with site.running():
        await site.until_received(site.uploads(2))
        await site.until(site.settled)
    site.uploads(2, first=3)
    first_kept = site.upload("b", 0).sequence_number
    site.shard.trim(before=first_kept)
    return ["b/0", *site.uploads(2, first=5)]


async def test_at_trimmed_data_a_shard_stops_loudly_and_keeps_its_checkpoint(site: Site) -> None:
    await fall_behind(site)
    checkpoint, before = site.checkpoint(), site.received()
    async with site.running():
        await site.until(lambda: bool(site.said(DataLost)))
        other = site.stream.add_shard()
        await site.until_received(site.uploads(1, "other", shard=other))
    (lost,) = site.said(DataLost)
    assert (lost.shard, lost.reason, lost.action) == (site.shard.shard_id, "trimmed", "stop")
    assert site.checkpoint() == checkpoint
    assert site.received() == [*before, "other/1"]


async def test_at_trimmed_data_a_shard_skips_to_the_horizon_if_it_is_told_to_and_says_so(site: Site) -> None:
    kept = await fall_behind(site)
    async with site.running(POLLER_STREAM__ON_DATA_LOSS="skip"):
        await site.until_received(kept)
        await site.until(site.settled)
    (lost,) = site.said(DataLost)
    assert (lost.reason, lost.action) == ("trimmed", "read on from the trim horizon")
    assert not {"a/3", "b/3", "c/3", "a/4", "b/4", "c/4"} & set(site.received())


async def test_data_that_is_trimmed_while_its_shard_is_read_is_noticed(site: Site) -> None:
    expected = site.uploads(2)
    async with site.running(POLLER_STREAM__ON_DATA_LOSS="skip"):
        await site.until_received(expected)
        down = site.fault(Fault(Kind.RESET, operation="GetRecords"))
        site.uploads(2, first=3)
        site.shard.trim()
        expected += site.uploads(2, first=5)
        site.mend(down)
        await site.until_received(expected)
    assert [lost.reason for lost in site.said(DataLost)] == ["trimmed"]
    assert site.heard_once(expected)


async def test_a_shard_that_is_gone_is_a_loss_and_no_end_that_passes_in_silence(site: Site) -> None:
    async with site.running():
        await site.until_received(site.uploads(1))
        await site.until(site.settled)
        checkpoint = site.checkpoint()
        site.shard.vanish()
        await site.until(lambda: bool(site.said(DataLost)))
    assert [lost.reason for lost in site.said(DataLost)] == ["shard_gone"]
    assert site.said(ShardFinished) == []
    assert site.checkpoint() == checkpoint


# --- start positions --------------------------------------------------------------------------------------------------


def hours_ago(hours: float) -> float:
    return time.time() - hours * 3600


def written(site: Site, item: str, created_s: float) -> str:
    """A matching change that was made at that time."""
    image = {"phase": {"S": "FILE_UPLOAD_COMPLETE"}, "revision": {"N": "1"}}
    site.shard.put(item, new_image=image, created_s=created_s)
    return f"{item}/1"


@pytest.mark.parametrize("answer", AtTimestamp)
async def test_a_start_time_is_found_with_or_without_the_servers_help(site: Site, answer: AtTimestamp) -> None:
    site.stream.at_timestamp = answer
    written(site, "too-old", hours_ago(2))
    wanted = [written(site, "wanted", hours_ago(0.5)), written(site, "new", hours_ago(0))]
    start = datetime.fromtimestamp(hours_ago(1), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    async with site.running(POLLER_START_POSITION=start):
        await site.until_received(wanted)
        await site.until(site.settled)
    assert len(site.said(StartTimeUnsupported)) == (0 if answer is AtTimestamp.SUPPORTED else 1)
    assert site.heard_once(wanted)


async def test_a_latest_start_survives_that_its_first_iterator_expires_unread(site: Site) -> None:
    written(site, "too-old", hours_ago(2))
    down = site.fault(Fault.internal(operation="GetRecords"))
    async with site.running(POLLER_START_POSITION="LATEST"):
        await site.until(lambda: site.world.count("GetRecords") >= 1)
        wanted = [written(site, "new", hours_ago(0))]
        site.stream.expire_iterators()
        site.mend(down)
        await site.until_received(wanted)
    assert len(site.said(IteratorRenewed)) == 1
    assert site.heard_once(wanted)
