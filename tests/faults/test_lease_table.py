"""The lease table when it fails, loses answers, is away, or is not what it should be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from poller.errors import ConfigurationError
from poller.events import (
    CheckpointFailed,
    Delivered,
    Event,
    LeaseLost,
    LeaseOperation,
    LeaseTableFailing,
    LeaseTableRecovered,
    LeaseTaken,
    SettingsDoubtful,
    StartupWaiting,
)
from poller.model import TRIM_HORIZON
from tests.faults.harness import BRIEF, HASTY, LEASES, Site
from tests.standin import Fault, Kind

NO_ANSWER = [Kind.LOST, Kind.WRONG_CRC32]


def results(site: Site, operation: str) -> list[str]:
    return [event.result for event in site.said(LeaseOperation) if event.operation == operation]


def between(site: Site, first: type[Event], last: type[Event]) -> list[Event]:
    """What was said from the first event of one kind to the next of another."""
    kinds = [type(event) for event in site.events]
    start = kinds.index(first)
    return site.events[start : kinds.index(last, start)]


# --- answers that are lost --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NO_ANSWER)
async def test_a_renewal_that_landed_though_its_answer_was_lost_does_not_cost_the_lease(site: Site, kind: Kind) -> None:
    async with site.running(**HASTY):
        await site.until(lambda: bool(site.said(LeaseTaken)))
        site.fault(Fault(kind, operation="UpdateItem", table=LEASES, times=1))
        await site.until(lambda: "landed" in results(site, "renew"))
        expected = site.uploads(2)
        await site.until_received(expected)
        await site.until(site.settled)
    assert site.said(LeaseLost) == []
    assert site.heard_once(expected)


@pytest.mark.parametrize("kind", NO_ANSWER)
async def test_a_checkpoint_that_landed_though_its_answer_was_lost_does_not_cost_the_lease(
    site: Site, kind: Kind
) -> None:
    async with site.running():
        await site.until(lambda: bool(site.said(LeaseTaken)))
        site.fault(Fault(kind, operation="UpdateItem", table=LEASES, times=1))
        expected = site.uploads(2)
        await site.until(lambda: bool(results(site, "checkpoint")))
        await site.until(site.settled)
        expected += site.uploads(2, first=3)
        await site.until_received(expected)
        await site.until(site.settled)
    assert "landed" in results(site, "checkpoint") + results(site, "renew")
    assert site.said(LeaseLost) == []
    assert site.heard_once(expected)


@pytest.mark.parametrize("kind", [Kind.LOST, Kind.HANG])
async def test_two_answers_lost_in_a_row_do_not_cost_the_lease(site: Site, kind: Kind) -> None:
    async with site.running(**HASTY):
        await site.until(lambda: bool(site.said(LeaseTaken)))
        site.fault(Fault(Kind.LOST, operation="UpdateItem", table=LEASES, times=1))
        site.fault(Fault(kind, table=LEASES, skip=1, times=1))
        expected = site.uploads(2)
        await site.until_received(expected)
        await site.until(site.settled)
    assert site.said(LeaseLost) == []
    assert site.heard_once(expected)


async def test_a_take_whose_answer_was_lost_is_found_out_at_the_next_look(site: Site) -> None:
    site.fault(Fault(Kind.LOST, operation="UpdateItem", table=LEASES, times=1))
    expected = site.uploads(2)
    async with site.running(**BRIEF):
        await site.until_received(expected)
    assert [event.reason for event in site.said(LeaseTaken)] == ["returned"]
    assert site.heard_once(expected)


async def test_a_row_whose_making_was_not_answered_is_made_once(site: Site) -> None:
    site.fault(Fault(Kind.LOST, operation="PutItem", table=LEASES, times=1))
    expected = site.uploads(2)
    async with site.running():
        await site.until_received(expected)
    assert results(site, "create") == ["error", "conflict"]
    assert site.heard_once(expected)


async def test_the_last_checkpoint_and_the_release_are_tried_though_their_answers_are_lost(site: Site) -> None:
    expected = site.uploads(2)
    async with site.running(POLLER_CHECKPOINT__INTERVAL="10m"):
        await site.until_received(expected)
        site.fault(Fault(Kind.LOST, operation="UpdateItem", table=LEASES))
    assert site.settled()
    assert "leaseOwner" not in site.row()


# --- refusals and absence ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["Scan", "UpdateItem", "PutItem"])
async def test_a_throttled_table_costs_time_and_nothing_else(site: Site, operation: str) -> None:
    expected = site.uploads(2)
    throttled = Fault.throttle("ProvisionedThroughputExceededException", operation=operation, table=LEASES)
    site.fault(replace(throttled, skip=1, times=3) if operation == "UpdateItem" else replace(throttled, times=2))
    async with site.running():
        await site.until_received(expected)
        await site.until(site.settled)
    assert site.said(LeaseLost) == []
    assert site.heard_once(expected)


@pytest.mark.parametrize("away", [Fault(Kind.RESET), Fault(Kind.HANG)], ids=lambda away: away.kind)
async def test_while_the_table_is_away_for_longer_than_a_lease_nothing_is_sent_and_then_all_goes_on(
    site: Site, away: Fault
) -> None:
    expected = site.uploads(2)
    async with site.running(**BRIEF) as worker:
        await site.until_received(expected)
        await site.until(site.settled)
        away = site.fault(replace(away, table=LEASES))
        await site.until(lambda: bool(site.said(LeaseLost)))
        assert worker.keeper.tenures == {}
        reads = site.world.count("GetRecords")
        meanwhile = site.uploads(2, first=3)
        failures = results(site, "list").count("error")
        await site.until(lambda: results(site, "list").count("error") > failures)
        assert site.received() == expected
        assert site.world.count("GetRecords") <= reads + 1  # one may have been on its way
        site.mend(away)
        await site.until_received(meanwhile)
        await site.until(site.settled)
    assert [event.reason for event in site.said(LeaseLost)] == ["deadline"]
    assert [event.reason for event in site.said(LeaseTaken)] == ["unowned", "returned"]
    assert site.said(LeaseTableFailing)
    assert site.said(LeaseTableRecovered)
    assert site.heard_once([*expected, *meanwhile])


async def test_what_could_not_be_checkpointed_any_more_is_sent_again_and_nothing_is_left_out(site: Site) -> None:
    async with site.running(**BRIEF):
        await site.until(lambda: bool(site.said(LeaseTaken)))
        away = site.fault(Fault(Kind.RESET, table=LEASES, operation="UpdateItem"))
        expected = site.uploads(2)
        await site.until(lambda: bool(site.said(LeaseLost)))
        assert site.checkpoint() == TRIM_HORIZON
        expected += site.uploads(2, first=3)
        site.mend(away)
        await site.until_received(expected)
        await site.until(site.settled)
    assert site.said(CheckpointFailed)
    assert set(site.received()) == set(expected)
    assert len(site.received()) <= len(expected) + 6


async def test_a_table_that_is_deleted_and_made_again_is_filled_again_and_nothing_is_left_out(
    site: Site,
) -> None:
    async with site.running(**BRIEF, POLLER_START_POSITION="LATEST"):
        await site.until(lambda: site.world.count("GetRecords") > 0)
        expected = site.uploads(2)
        await site.until_received(expected)
        del site.world.tables[LEASES]
        await site.until(lambda: bool(site.said(LeaseLost)))
        expected += site.uploads(2, first=3)
        site.world.table(LEASES)
        await site.until_received(expected)
        await site.until(site.settled)
    # A single call that has failed by then is not worth a line.
    assert {event.code for event in site.said(LeaseTableFailing)} <= {"ResourceNotFoundException"}


async def test_a_row_that_is_deleted_under_its_reader_is_made_again_and_nothing_is_left_out(site: Site) -> None:
    expected = site.uploads(2)
    async with site.running(**BRIEF):
        await site.until_received(expected)
        site.rows().clear()
        expected += site.uploads(2, first=3)
        await site.until_received(expected)
        await site.until(site.settled)
    assert [event.reason for event in site.said(LeaseLost)] == ["deleted"]


# --- another owner ----------------------------------------------------------------------------------------------------


async def test_a_lease_that_another_worker_took_is_let_go_at_once_and_taken_again_only_when_that_one_is_dead(
    site: Site,
) -> None:
    expected = site.uploads(2)
    async with site.running(**BRIEF):
        await site.until_received(expected)
        await site.until(site.settled)
        counter = int(site.row()["leaseCounter"]["N"])
        site.row().update(leaseOwner={"S": "java-worker"}, leaseCounter={"N": str(counter + 1)})
        await site.until(lambda: bool(site.said(LeaseLost)))
        expected += site.uploads(2, first=3)
        await site.until_received(expected)
    (lost,) = site.said(LeaseLost)
    assert (lost.reason, lost.new_owner) == ("taken", "java-worker")
    assert not any(isinstance(event, Delivered) for event in between(site, LeaseLost, LeaseTaken))
    taken = site.said(LeaseTaken)[-1]
    assert (taken.reason, taken.previous_owner) == ("expired", "java-worker")
    assert site.heard_once(expected)


async def test_a_lease_whose_hand_over_to_another_worker_has_begun_is_let_go_at_once(site: Site) -> None:
    async with site.running(**BRIEF):
        await site.until(lambda: bool(site.said(LeaseTaken)))
        site.row().update(leaseOwner={"S": "java-worker"}, checkpointOwner={"S": "worker-1"})
        await site.until(lambda: bool(site.said(LeaseLost)))
        row = dict(site.row())
    assert [(lost.reason, lost.new_owner) for lost in site.said(LeaseLost)] == [("taken", "java-worker")]
    assert site.row() == row


async def test_two_workers_share_the_shards_and_leave_them_in_order_to_a_third(site: Site) -> None:
    shards = [site.shard, *(site.stream.add_shard() for _ in range(3))]

    def uploads(first: int) -> list[str]:
        return [name for shard in shards for name in site.uploads(4, shard.shard_id, first=first, shard=shard)]

    expected = uploads(first=1)
    async with site.running(POLLER_LEASE__MAX_LEASES="2"), site.running(POLLER_WORKER_ID="worker-2"):
        await site.until_received(expected)
        expected += uploads(first=5)
        await site.until_received(expected)
        owners = [site.row(shard)["leaseOwner"]["S"] for shard in shards]
    expected += uploads(first=9)
    async with site.running(POLLER_WORKER_ID="worker-3"):
        await site.until_received(expected)
    assert sorted(owners) == ["worker-1", "worker-1", "worker-2", "worker-2"]
    assert site.clean == [True, True, True]
    assert site.heard_once(expected)


# --- what the table must be -------------------------------------------------------------------------------------------


async def test_a_lease_table_that_must_exist_and_does_not_ends_the_start_before_anything_is_written(site: Site) -> None:
    with pytest.raises(ConfigurationError, match=f"POLLER_LEASE_TABLE={LEASES}: there is no such table"):
        async with site.running(POLLER_LEASE__CREATE="false"):
            pass
    assert LEASES not in site.world.tables


async def test_a_lease_table_that_must_exist_and_does_is_used(site: Site) -> None:
    site.world.table(LEASES)
    expected = site.uploads(1)
    async with site.running(POLLER_LEASE__CREATE="false"):
        await site.until_received(expected)
    assert site.world.count("CreateTable") == 0


async def test_a_table_with_another_key_is_refused_and_stays_as_it_is(site: Site) -> None:
    site.world.table(LEASES, "orderId")
    with pytest.raises(ConfigurationError, match=r"its key is orderId \(S\), a lease table's is leaseKey"):
        async with site.running():
            pass
    assert site.rows() == {}


async def test_the_lease_table_of_another_tables_stream_is_refused_and_stays_as_it_is(site: Site) -> None:
    other = site.world.stream("Orders")
    row = {
        "leaseKey": {"S": "shardId-1"},
        "leaseCounter": {"N": "1"},
        "checkpoint": {"S": TRIM_HORIZON},
        "streamArn": {"S": other.arn},
    }
    site.world.table(LEASES).items["shardId-1"] = dict(row)
    with pytest.raises(ConfigurationError, match=rf"{LEASES} belongs to another stream \({other.arn}\)"):
        async with site.running():
            pass
    assert site.rows() == {"shardId-1": row}


async def test_a_row_that_is_no_lease_is_passed_over_and_said_once(site: Site) -> None:
    malformed = {"leaseKey": {"S": "stray"}, "leaseCounter": {"S": "seven"}}
    foreign = {"leaseKey": {"S": "leader"}, "entityType": {"S": "COORDINATOR_STATE"}}
    site.world.table(LEASES).items.update(stray=dict(malformed), leader=dict(foreign))
    expected = site.uploads(2)
    async with site.running(**BRIEF):
        await site.until_received(expected)
        await site.until(lambda: len(results(site, "list")) >= 3)
    assert [event.text for event in site.said(SettingsDoubtful) if "stray" in event.text] == [
        f"lease table {LEASES}: the row stray is no lease and is passed over: leaseCounter is not a whole number"
    ]
    assert (site.rows()["stray"], site.rows()["leader"]) == (malformed, foreign)
    assert site.heard_once(expected)


async def test_a_table_that_takes_its_time_to_be_made_is_waited_for(site: Site) -> None:
    site.world.creating_describes = 3
    expected = site.uploads(1)
    async with site.running():
        await site.until_received(expected)


async def test_a_start_while_aws_is_away_waits_says_so_and_comes_up(site: Site) -> None:
    for operation in ("DescribeTable", "GetQueueUrl"):
        site.fault(Fault(Kind.RESET, operation=operation, times=1))
    expected = site.uploads(1)
    async with site.running():
        await site.until_received(expected)
    assert {event.what for event in site.said(StartupWaiting)} == {"stream", "queue jobs"}
