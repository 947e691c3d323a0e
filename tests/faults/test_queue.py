"""The queue when it refuses, fails, loses answers or is gone: what is sent again, what waits, what is put aside."""

from __future__ import annotations

import asyncio
import json

import pytest

from poller.events import (
    DeadLettered,
    DeadLetterFailing,
    Delivered,
    LeaseLost,
    QueueFailing,
    QueueRecovered,
    ReadingPaused,
    ReadingResumed,
    RecordRetrying,
    Resent,
    SendFailed,
)
from tests.faults.harness import HASTY, PATIENCE_S, Site, in_order
from tests.standin import Fault, Kind, Outage

FIFO = {"POLLER_QUEUE": "jobs.fifo"}


def resent(site: Site) -> int:
    return sum(event.count for event in site.said(Resent))


# --- refused entries --------------------------------------------------------------------------------------------------


async def test_entries_that_the_queue_refuses_for_now_are_sent_again_and_their_neighbours_are_not(site: Site) -> None:
    site.queue.refuse(every=3, times=8)
    expected = site.uploads(8)
    async with site.running():
        await site.until_received(expected)
        await site.until(site.settled)
    assert site.heard_once(expected)
    assert site.dead_letters.arrived == []


async def test_an_entry_that_the_queue_refuses_for_good_is_put_aside_whole_and_its_neighbours_go_on(site: Site) -> None:
    site.queue.refuse(contains='"b"', sender_fault=True, code="InvalidMessageContents")
    records = {name: stored for name in ("a", "b", "c") for stored in [site.upload(name)]}
    async with site.running():
        await site.until_received(["a/1", "c/1"])
        await site.until(site.settled)
    (letter,) = site.dead_letters.arrived
    assert letter.body.encode() == records["b"].body
    assert letter.attributes["reason"]["StringValue"] == "refused"
    assert letter.attributes["errorCode"]["StringValue"] == "InvalidMessageContents"
    assert site.heard_once(["a/1", "c/1"])


async def test_a_record_that_is_refused_again_and_again_while_others_pass_is_put_aside(site: Site) -> None:
    site.queue.refuse(contains='"poison"')
    site.upload("poison")
    expected: list[str] = []
    async with site.running(POLLER_ROUTE__MAX_ATTEMPTS="2"):
        async with asyncio.timeout(PATIENCE_S):
            while not site.dead_letters.arrived:
                expected += site.uploads(1, first=1 + len(expected) // 3)
                await site.until_received(expected)
    assert [letter.attributes["attempts"]["StringValue"] for letter in site.dead_letters.arrived] == ["2"]
    assert [event.attempts for event in site.said(RecordRetrying)] == [1]
    assert site.heard_once(expected)


async def test_order_per_item_holds_while_entries_are_refused_answers_lost_and_connections_dropped(site: Site) -> None:
    for every, times in ((4, 5), (3, 3)):
        site.queue.refuse(every=every, times=times)
    for skipped, kind in enumerate((Kind.LOST, Kind.RESET, Kind.HALF)):
        site.fault(Fault(kind, operation="SendMessageBatch", skip=2 + skipped, times=1))
    expected = site.uploads(12, *"abcdefgh")
    async with site.running():
        await site.until_received(expected)
        await site.until(site.settled)
    assert resent(site) > 0
    assert site.heard_once(expected)


# --- a queue that is down ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outage", Outage)
async def test_a_queue_that_is_down_is_waited_for_and_the_checkpoint_with_it(site: Site, outage: Outage) -> None:
    expected = site.uploads(1)
    async with site.running():
        await site.until_received(expected)
        site.queue.down(outage)
        first = site.upload("first")
        expected += ["first/1", *site.uploads(2, first=2)]
        await site.until(lambda: bool(site.said(QueueFailing)))
        assert not site.passed(first)
        site.queue.up()
        await site.until_received(expected)
        await site.until(site.settled)
    assert len(site.said(QueueRecovered)) == 1
    assert site.dead_letters.arrived == []
    assert site.said(LeaseLost) == []
    assert site.heard_once(expected)


async def test_a_queue_that_throttles_everything_is_waited_for_and_nobody_is_put_aside(site: Site) -> None:
    throttled = site.fault(Fault.throttle("RequestThrottled", operation="SendMessageBatch"))
    expected = site.uploads(4)
    async with site.running(POLLER_ROUTE__MAX_ATTEMPTS="1"):
        await site.until(lambda: bool(site.said(QueueFailing)))
        site.mend(throttled)
        await site.until_received(expected)
    assert site.dead_letters.arrived == []
    assert site.heard_once(expected)


async def test_a_queue_that_refuses_every_entry_is_down_and_nobody_is_put_aside(site: Site) -> None:
    site.queue.refuse()
    expected = site.uploads(2)
    async with site.running(POLLER_ROUTE__MAX_ATTEMPTS="1"):
        await site.until(lambda: bool(site.said(QueueFailing)))
        site.queue.refusals.clear()
        await site.until_received(expected)
    assert site.dead_letters.arrived == []
    assert site.heard_once(expected)


async def test_a_queue_that_is_deleted_is_waited_for_and_made_again_it_gets_everything(site: Site) -> None:
    expected = site.uploads(1)
    async with site.running():
        await site.until_received(expected)
        del site.world.queues["jobs"]
        meanwhile = site.uploads(2, first=2)
        await site.until(lambda: bool(site.said(QueueFailing)))
        again = site.world.queue("jobs")
        await site.until_received(meanwhile, again)
    assert {event.code for event in site.said(QueueFailing)} == {"AWS.SimpleQueueService.NonExistentQueue"}
    assert site.dead_letters.arrived == []
    assert site.heard_once(meanwhile, again)


async def test_while_a_send_hangs_the_lease_is_kept_and_afterwards_everything_arrives(site: Site) -> None:
    site.settings.update(HASTY)
    expected = site.uploads(1)
    async with site.running():
        await site.until_received(expected)
        hang = site.fault(Fault(Kind.HANG, operation="SendMessageBatch"))
        expected += site.uploads(2, first=2)
        await site.until(lambda: hang.hits >= 3)
        await site.until(lambda: site.renewals() > 0)
        site.mend(hang)
        await site.until_received(expected)
        await site.until(site.settled)
    assert {event.code for event in site.said(SendFailed)} == {"ReadTimeoutError"}
    assert site.said(LeaseLost) == []
    assert site.heard_once(expected)


async def test_with_the_queue_down_memory_stays_within_its_bound_and_reading_pauses(site: Site) -> None:
    count, bound, page, page_bytes = 600, 1 << 20, 50, 50 * 4_000
    async with site.running(**HASTY, POLLER_POLLING__BUFFER_MAX="1MiB", POLLER_POLLING__PAGE_LIMIT=str(page)):
        site.queue.down()
        site.shard.fill(count, match_every=1)
        await site.until(lambda: bool(site.said(ReadingPaused)))
        reads = site.world.count("GetRecords")
        renewals = site.renewals()
        await site.until(lambda: site.renewals() > renewals)
        assert site.world.count("GetRecords") == reads
        site.queue.up()
        await site.until(lambda: len(set(site.queue.bodies)) == count)
        await site.until(site.settled)
    assert bound <= site.buffered_bytes_most() < bound + page_bytes
    assert site.said(ReadingResumed)
    assert site.said(LeaseLost) == []


# --- answers that are lost --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.LOST, Kind.HALF, Kind.TRUNCATED])
async def test_after_a_lost_answer_a_standard_queue_has_the_batch_twice_and_it_is_counted(
    site: Site, kind: Kind
) -> None:
    site.fault(Fault(kind, operation="SendMessageBatch", times=1))
    expected = site.uploads(1)
    async with site.running():
        await site.until(lambda: sum(event.count for event in site.said(Delivered)) == 3)
        await site.until(site.settled)
    assert sorted(site.received()) == sorted([*expected, *expected])
    assert resent(site) == 3


async def test_after_a_lost_answer_a_fifo_queue_has_the_batch_once(site: Site) -> None:
    queue = site.world.queue("jobs.fifo")
    site.fault(Fault(Kind.LOST, operation="SendMessageBatch", times=1))
    expected = site.uploads(1)
    async with site.running(**FIFO):
        await site.until(lambda: sum(event.count for event in site.said(Delivered)) == 3)
        await site.until(site.settled)
    assert sorted(site.received(queue)) == sorted(expected)
    assert [arrival.duplicate for arrival in queue.arrived] == [False] * 3 + [True] * 3
    assert resent(site) == 3


async def test_a_fifo_queue_gets_the_changes_of_an_item_in_order_through_every_kind_of_failure(site: Site) -> None:
    queue = site.world.queue("jobs.fifo")
    queue.refuse(every=4, times=4)
    for skipped, kind in enumerate((Kind.LOST, Kind.RESET, Kind.TRUNCATED)):
        site.fault(Fault(kind, operation="SendMessageBatch", skip=1 + skipped, times=1))
    expected = site.uploads(8)
    async with site.running(**FIFO):
        await site.until_received(expected, queue)
    assert sorted(site.received(queue)) == sorted(expected)
    assert in_order(site.received(queue))
    assert len({arrival.group_id for arrival in queue.arrived}) == 3


# --- sizes ------------------------------------------------------------------------------------------------------------


async def test_a_batch_that_is_too_long_for_the_service_is_sent_in_parts(site: Site) -> None:
    site.queue.batch_bytes_max = 3_000  # the queue does not say so: its limit for one message is 1 MiB
    expected = site.uploads(4, *"abcdefgh")
    async with site.running():
        await site.until_received(expected)
    assert site.world.count("SendMessageBatch", "BatchRequestTooLong") > 0
    assert site.dead_letters.arrived == []
    assert site.heard_once(expected)


async def test_messages_for_a_small_queue_are_packed_to_its_size(site: Site) -> None:
    site.queue.attributes["MaximumMessageSize"] = "2048"
    site.queue.batch_bytes_max = 2048
    expected = site.uploads(3, *"abcdefgh")
    async with site.running():
        await site.until_received(expected)
    assert site.world.count("SendMessageBatch", "BatchRequestTooLong") == 0
    assert site.heard_once(expected)


async def test_what_is_too_large_for_its_queue_is_put_aside_whole_where_it_fits(site: Site) -> None:
    site.queue.attributes["MaximumMessageSize"] = "2048"
    large = site.upload("large", padding={"S": "x" * 3_000})
    expected = site.uploads(2)
    async with site.running():
        await site.until_received(expected)
        await site.until(site.settled)
    (letter,) = site.dead_letters.arrived
    assert letter.body.encode() == large.body
    assert letter.attributes["reason"]["StringValue"] == "too_large"
    assert site.heard_once(expected)


async def test_what_fits_into_no_queue_leaves_its_keys_and_its_position(site: Site) -> None:
    for queue in (site.queue, site.dead_letters):
        queue.attributes["MaximumMessageSize"] = "2048"
    large = site.upload("large", padding={"S": "x" * 3_000})
    expected = site.uploads(2)
    async with site.running():
        await site.until_received(expected)
        await site.until(site.settled)
    (letter,) = site.dead_letters.arrived
    body = json.loads(letter.body)
    assert body["keys"] == {"analysisRequestId": {"S": "large"}}
    assert (body["streamArn"], body["shardId"]) == (site.stream.arn, site.shard.shard_id)
    assert (body["sequenceNumber"], body["eventID"]) == (large.sequence_number, large.event_id)
    assert [event.content for event in site.said(DeadLettered)] == ["keys"]


async def test_many_dead_letters_go_into_a_small_queue_one_batch_after_another(site: Site) -> None:
    site.dead_letters.attributes["MaximumMessageSize"] = "2048"
    site.dead_letters.batch_bytes_max = 2048
    site.queue.refuse(sender_fault=True)
    records = [site.upload(f"item-{number}") for number in range(12)]
    async with site.running():
        await site.until(lambda: len(site.dead_letters.arrived) == 12)
        await site.until(site.settled)
    assert {letter.body.encode() for letter in site.dead_letters.arrived} == {stored.body for stored in records}


# --- the dead-letter queue --------------------------------------------------------------------------------------------


async def test_while_the_dead_letter_queue_fails_too_the_checkpoint_waits_and_others_go_on(site: Site) -> None:
    site.queue.refuse(contains='"poison"', sender_fault=True)
    async with site.running():
        site.dead_letters.down()
        poison = site.upload("poison")
        expected = site.uploads(2)
        await site.until_received(expected)
        await site.until(lambda: bool(site.said(DeadLetterFailing)))
        assert not site.passed(poison)
        site.dead_letters.up()
        await site.until(lambda: len(site.dead_letters.arrived) == 1)
        await site.until(site.settled)
    assert site.heard_once(expected)


async def test_a_dead_letter_queue_whose_limit_was_lowered_meanwhile_gets_what_still_fits(site: Site) -> None:
    site.queue.refuse(contains='"poison"', sender_fault=True)
    async with site.running():
        site.dead_letters.attributes["MaximumMessageSize"] = "1024"
        poison = site.upload("poison", padding={"S": "x" * 2_000})
        await site.until(lambda: bool(site.said(DeadLettered)))
        await site.until(site.settled)
    (letter,) = site.dead_letters.arrived
    assert json.loads(letter.body)["sequenceNumber"] == poison.sequence_number


async def test_a_dead_letter_whose_answer_was_lost_is_stored_again_rather_than_not_at_all(site: Site) -> None:
    site.queue.refuse(contains='"poison"', sender_fault=True)
    site.fault(Fault(Kind.LOST, queue="dead-letters", operation="SendMessageBatch", times=1))
    poison = site.upload("poison")
    async with site.running():
        await site.until(lambda: bool(site.said(DeadLettered)))
        await site.until(site.settled)
    assert [letter.body.encode() for letter in site.dead_letters.arrived] == [poison.body] * 2
