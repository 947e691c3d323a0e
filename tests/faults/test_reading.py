"""GetRecords when the way to it fails: what is damaged is read again, and nothing is taken for what it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from poller.events import LeaseLost, PageRead, ReadFailing, ReadRecovered, ShardFinished
from tests.faults.harness import HASTY, Site
from tests.standin import Fault, Kind

DAMAGES = [
    Fault(Kind.WRONG_CRC32),
    Fault(Kind.TRUNCATED),
    Fault(Kind.HALF),
    Fault(Kind.HALF_RESET),
    Fault(Kind.RESET),
    Fault(Kind.HTML, status=500),
    Fault(Kind.HTML, status=200),
    Fault.internal(),
    Fault.throttle(),
    Fault.throttle("LimitExceededException"),
    Fault.throttle("ExpiredIteratorException"),
    Fault.expired_token(),
    Fault(code="NobodyKnowsThisException", status=418),
]


def name_of(value: object) -> str | None:
    """A fault as it shows in a test's name."""
    if not isinstance(value, Fault):
        return None
    return value.code if value.kind is Kind.ERROR else f"{value.kind}-{value.status}"


@pytest.mark.parametrize("damage", DAMAGES, ids=name_of)
async def test_pages_that_do_not_come_whole_are_read_again(site: Site, damage: Fault) -> None:
    site.stream.page_records = 12
    site.fault(replace(damage, operation="GetRecords", skip=1, times=2))
    expected = site.uploads(8)
    async with site.running():
        await site.until_received(expected)
        await site.until(site.settled)
        assert not site.finished()
    assert site.heard_once(expected)
    assert [event.attempts for event in site.said(ReadFailing)] == [2]
    assert site.said(ShardFinished) == []
    assert site.clean == [True]


@pytest.mark.parametrize("damage", [Kind.HALF, Kind.HTML])
async def test_an_answer_without_a_readable_body_is_not_the_end_of_a_shard_whose_children_wait(
    site: Site, damage: Kind
) -> None:
    site.stream.page_records = 6
    expected = site.uploads(6)
    child = site.stream.roll(site.shard)
    expected += site.uploads(6, first=7, shard=child)
    site.fault(Fault(damage, operation="GetRecords", shard=site.shard.shard_id, skip=2, times=2, status=200))
    async with site.running():
        await site.until_received(expected)
        await site.until(lambda: site.finished() and site.settled())
    assert site.heard_once(expected)


@pytest.mark.parametrize("damage", [Kind.RESET, Kind.HALF])
async def test_an_iterator_that_does_not_come_is_asked_for_again(site: Site, damage: Kind) -> None:
    site.fault(Fault(damage, operation="GetShardIterator", times=2))
    expected = site.uploads(3)
    async with site.running():
        await site.until_received(expected)
    assert site.heard_once(expected)


async def test_while_reads_hang_leases_are_renewed_and_reading_goes_on_when_they_do_not(site: Site) -> None:
    site.settings.update(HASTY)
    expected = site.uploads(3)
    async with site.running():
        await site.until_received(expected)
        hang = site.fault(Fault(Kind.HANG, operation="GetRecords"))
        expected += site.uploads(3, first=4)
        renewals = site.renewals()
        await site.until(lambda: site.renewals() >= renewals + 2)
        read = len(site.said(PageRead))
        site.mend(hang)
        await site.until_received(expected)
    assert read < len(site.said(PageRead))
    assert site.said(LeaseLost) == []
    assert {event.code for event in site.said(ReadFailing)} == {"ReadTimeoutError"}
    assert len(site.said(ReadRecovered)) == 1
    assert site.heard_once(expected)


async def test_a_shard_that_never_answers_does_not_hold_up_its_neighbour(site: Site) -> None:
    site.settings.update(HASTY)
    silent = site.stream.add_shard()
    site.uploads(3, "x", shard=silent)
    hang = site.fault(Fault(Kind.HANG, operation="GetRecords", shard=silent.shard_id))
    expected = site.uploads(3)
    async with site.running():
        await site.until_received(expected)
        assert site.received() == expected
        site.mend(hang)
        await site.until_received(["x/3"])
    assert site.heard_once([*expected, "x/1", "x/2", "x/3"])


async def test_slow_answers_cost_time_and_nothing_else(site: Site) -> None:
    site.stream.page_records = 12
    site.fault(Fault(Kind.DELAY, operation="GetRecords", delay_s=0.15))
    expected = site.uploads(8)
    async with site.running():
        await site.until_received(expected)
    assert site.said(ReadFailing) == []
    assert site.heard_once(expected)


async def test_connections_that_a_load_balancer_drops_are_made_anew(site: Site) -> None:
    expected = site.uploads(3)
    async with site.running():
        await site.until_received(expected)
        for revision in (4, 5, 6):
            site.world.http.drop_connections()
            expected += site.uploads(1, first=revision)
            await site.until_received(expected)
    assert site.heard_once(expected)


@pytest.mark.parametrize("chunked", [True, False])
async def test_chunked_answers_and_connections_for_one_call_each_are_understood(site: Site, chunked: bool) -> None:
    site.world.http.chunked = chunked
    site.world.http.close_after = 1
    expected = site.uploads(3)
    async with site.running():
        await site.until_received(expected)
    assert site.heard_once(expected)


@pytest.mark.parametrize("final_page_empty", [True, False])
async def test_a_last_page_with_records_and_no_next_iterator_keeps_its_records(
    site: Site, final_page_empty: bool
) -> None:
    site.stream.final_page_empty = final_page_empty
    expected = site.uploads(3)
    site.shard.close()
    async with site.running():
        await site.until_received(expected)
        await site.until(site.finished)
    assert site.heard_once(expected)


async def test_a_run_of_empty_pages_does_not_hide_what_is_behind_it(site: Site) -> None:
    site.shard.empty_pages = 12
    expected = site.uploads(3)
    async with site.running():
        await site.until_received(expected)
    assert site.shard.empty_pages == 0
    assert site.heard_once(expected)
