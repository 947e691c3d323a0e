"""What the queue does, and what becomes of the records: outages, refusals, lost answers, dead letters."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from poller.errors import AccessDenied, InvalidRequest, NotFound, Throttled, Unavailable
from poller.events import (
    DeadLettered,
    DeadLetterFailing,
    DeadLetterRecovered,
    LeaseLost,
    QueueFailing,
    QueueRecovered,
    ReadingPaused,
    ReadingResumed,
    RecordRetrying,
    RecordRetryingEnded,
    Resent,
    SendFailed,
    ShardRetrying,
    ShardStarted,
)
from poller.model import Message, Refused, ViewType
from tests.memory.gates import failing, fault, no_answer, open_gate
from tests.memory.queue import MemoryLetterStore, MemoryQueue
from tests.rig import Options, Rig, by_item
from tests.virtual import VirtualClock, run

Refuse = Callable[[Message], Refused | None]


def holds(item: str) -> Callable[[Message], bool]:
    """A predicate over messages: is it about this item?"""
    return lambda message: f'"S":"{item}"' in message.body


def refusing(item: str, code: str = "InternalError", *, sender_fault: bool = False, times: int | None = None) -> Refuse:
    """Refuses every message about an item, or its first `times`."""
    left = times

    def refuse(message: Message) -> Refused | None:
        nonlocal left
        if f'"id":{{"S":"{item}"}}' not in message.body or left == 0:
            return None
        if left is not None:
            left -= 1
        return Refused(code, "no", sender_fault=sender_fault)

    return refuse


def test_a_queue_that_is_down_for_an_hour_is_waited_for_and_nothing_is_dead_lettered() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        expected = rig.uploads(30)
        rig.queue.before = failing(lambda op, name: fault(Unavailable, op, name, "ServiceUnavailable"))
        async with rig.running():
            await clock.sleep(3600)
            assert rig.received() == []
            assert not rig.caught_up()
            rig.queue.before = open_gate
            await rig.until(lambda: sorted(rig.received()) == sorted(expected), at_most_s=10)
        assert rig.said(DeadLettered) == []

    run(story)


def test_an_outage_is_said_as_it_begins_once_a_minute_and_when_it_is_over() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.uploads(30)
        rig.queue.before = failing(lambda op, name: fault(AccessDenied, op, name, "AccessDenied"))
        async with rig.running():
            await clock.sleep(600)
            rig.queue.before = open_gate
            await rig.until(lambda: len(rig.received()) == 30)
        assert 9 <= len(rig.said(QueueFailing)) <= 11
        (recovered,) = rig.said(QueueRecovered)
        assert 600 <= recovered.failing_s <= 610

    run(story)


def test_a_deleted_queue_is_waited_for_as_well() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        expected = rig.uploads(3)
        rig.queue.before = failing(lambda op, name: fault(NotFound, op, name, "QueueDoesNotExist"))
        async with rig.running():
            await clock.sleep(300)
            rig.queue.before = open_gate
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
        assert rig.said(DeadLettered) == []

    run(story)


def test_while_the_queue_is_down_reading_pauses_leases_are_kept_and_the_buffer_is_bounded() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(buffer_max_bytes=50_000, page_limit=20))
        expected = rig.uploads(300)
        rig.queue.before = failing(lambda op, name: fault(Throttled, op, name, "RequestThrottled"))
        async with rig.running() as worker:
            await clock.sleep(120)
            assert worker._reading.buffer.size_bytes < 50_000 + 20 * 3_000
            assert len(worker.keeper.tenures) == 1
            rig.queue.before = open_gate
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
        assert rig.said(ReadingPaused)
        assert rig.said(ReadingResumed)

    run(story)


def test_an_iterator_that_expired_during_a_long_outage_is_replaced() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(buffer_max_bytes=20_000, page_limit=10))
        expected = rig.uploads(100)
        rig.queue.before = failing(lambda op, name: fault(Unavailable, op, name, "ServiceUnavailable"))
        async with rig.running():
            await clock.sleep(1800)
            rig.queue.before = open_gate
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))

    run(story)


def test_of_a_batch_only_the_refused_entries_are_sent_again_as_they_were() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        expected = rig.uploads(10)
        sent: list[tuple[str | None, str]] = []
        refuse = refusing("item-3", times=1)

        def watch(message: Message) -> Refused | None:
            sent.append((message.deduplication_id, message.body))
            return refuse(message)

        rig.queue.refuse = watch
        async with rig.running():
            await rig.until(lambda: len(rig.received()) == 10)
        assert sorted(rig.received()) == sorted(expected)
        again = [entry for entry in sent if sent.count(entry) == 2]
        assert len(set(again)) == 1
        assert len(sent) == 11

    run(story)


def test_a_record_that_can_never_succeed_goes_to_the_dead_letter_queue_at_once() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        expected = [name for name in rig.uploads(20) if name != "item-7/1"]
        rig.queue.refuse = refusing("item-7", "InvalidMessageContents", sender_fault=True)
        async with rig.running():
            await rig.until(lambda: sorted(rig.received()) == sorted(expected) and len(dead(rig)) == 1)
            await rig.until(rig.caught_up)
        (letter,) = dead(rig)
        assert json.loads(letter.body)["dynamodb"]["Keys"] == {"id": {"S": "item-7"}}
        assert letter.attributes["reason"] == "refused"

    run(story)


def test_a_record_that_is_refused_while_others_pass_is_dead_lettered_after_its_attempts() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(max_attempts=3))
        rig.queue.refuse = refusing("bad")
        rig.upload("bad")
        async with rig.running():
            for number in range(200):
                rig.upload(f"good-{number}")
                await clock.sleep(0.5)
            await rig.until(lambda: len(rig.received()) == 200)
        (letter,) = dead(rig)
        assert (letter.attributes["reason"], letter.attributes["attempts"]) == ("max_attempts", "3")
        assert [event.attempts for event in rig.said(RecordRetrying)] == [1]

    run(story)


def test_a_queue_that_refuses_some_of_every_batch_for_minutes_is_a_line_a_minute_and_one_when_it_is_over() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(max_attempts=50))
        rng = random.Random(1)
        refused = Refused("InternalError", "not now", sender_fault=False)
        rig.queue.refuse = lambda _: refused if rng.random() < 0.4 else None
        async with rig.running():
            for number in range(100):
                rig.uploads(10, f"batch-{number}")
                await clock.sleep(1.5)
            rig.queue.refuse = lambda _: None
            await rig.until(lambda: len(rig.received()) == 1_000)
            assert rig.said(RecordRetryingEnded) == []
            await clock.sleep(70.0)
        said = rig.said(RecordRetrying)
        assert len(said) in (3, 4)
        assert said[-1].retrying >= 1
        (over,) = rig.said(RecordRetryingEnded)
        assert 120.0 < over.failing_s < 170.0
        assert over.refusals > 200

    run(story)


def test_a_lone_record_that_is_refused_is_not_blamed_for_its_queue() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(max_attempts=3, max_record_age_s=60))
        rig.queue.refuse = refusing("only", times=40)
        rig.upload("only")
        async with rig.running():
            await rig.until(lambda: rig.received() == ["only/1"], at_most_s=36_000)
        assert dead(rig) == []

    run(story)


def test_what_a_queue_took_before_it_went_down_is_not_held_against_a_record_though_the_answers_come_later() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(max_attempts=3, batches_in_flight=5))
        rig.uploads(30)
        answers_after_s = [5.0, 10.0, 15.0]

        async def late(_operation: str, _resource: str) -> None:
            await asyncio.sleep(answers_after_s.pop() if answers_after_s else 0)

        rig.queue.after = late
        async with rig.running():
            await rig.until(lambda: len(rig.received()) == 30)
            rig.queue.refuse = lambda _message: Refused("InternalError", "not now", sender_fault=False)
            rig.upload("meanwhile")
            await clock.sleep(60)
            assert dead(rig) == []
            rig.queue.refuse = lambda _message: None
            await rig.until(lambda: rig.received()[-1] == "meanwhile/1")
        assert rig.said(RecordRetrying) == []

    run(story)


def test_a_queue_that_takes_others_meanwhile_is_not_blamed_for_a_record_that_it_refuses() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(max_attempts=50, batches_in_flight=2))
        rig.queue.refuse = refusing("bad")
        holds_up_s = [5.0]

        async def slow_at_first(_operation: str, _resource: str) -> None:
            await asyncio.sleep(holds_up_s.pop() if holds_up_s else 0)

        rig.queue.before = slow_at_first
        rig.upload("bad")
        async with rig.running() as worker:
            await rig.until(lambda: not holds_up_s)
            rig.upload("other")
            await rig.until(lambda: rig.received() == ["other/1"])
            await rig.until(lambda: bool(rig.said(SendFailed)))
            assert not worker.deliveries[0].failing

    run(story)


def test_later_changes_of_a_retried_item_wait_and_other_items_do_not() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(max_attempts=50))
        rig.queue.refuse = refusing("a", times=4)
        for revision in (1, 2, 3):
            rig.upload("a", revision)
            rig.upload("b", revision)
        async with rig.running():
            await rig.until(lambda: len(rig.received()) == 6)
        assert by_item(rig.received()) == {"b": ["1", "2", "3"], "a": ["1", "2", "3"]}
        assert rig.received()[:3] == ["b/1", "b/2", "b/3"]

    run(story)


def test_since_when_a_shard_is_retrying_is_said_and_taken_back() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(max_attempts=50))
        rig.queue.refuse = refusing("a", times=3)
        rig.uploads(3)
        rig.upload("a")
        began = clock.wall()
        async with rig.running():
            await rig.until(lambda: len(rig.received()) == 4)
        first, *_, last = rig.said(ShardRetrying)
        assert first.since_s is not None
        assert began < first.since_s < began + 5
        assert last.since_s is None

    run(story)


def test_a_send_that_fails_after_its_lease_was_lost_leaves_nothing_behind_that_is_retried() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(max_attempts=50))
        answered = asyncio.Event()

        async def held(operation: str, name: str) -> None:
            await answered.wait()
            raise fault(Unavailable, operation, name, "ServiceUnavailable")

        rig.queue.before = held
        rig.upload("a")
        async with rig.running() as worker:
            await clock.sleep(5)
            rig.leases.before = failing(lambda op, name: fault(Unavailable, op, name, "ServiceUnavailable"))
            await rig.until(lambda: bool(rig.said(LeaseLost)))
            answered.set()
            await clock.sleep(1)
            (delivery,) = worker.deliveries
            assert delivery._retrying == {}
            assert rig.said(ShardRetrying) == []  # it is for the next owner to say
            rig.queue.before = open_gate
            rig.queue.refuse = refusing("a", times=3)
            rig.leases.before = open_gate
            await rig.until(lambda: rig.received() == ["a/1"])
        assert [event.since_s is not None for event in rig.said(ShardRetrying)] == [True, False]

    run(story)


def test_after_a_lost_answer_the_same_entries_go_again_under_the_same_deduplication_id() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        expected = rig.uploads(10)
        rig.queue.after = failing(no_answer, times=1)
        async with rig.running():
            await rig.until(lambda: sorted(rig.received()) == sorted(expected))
            await clock.sleep(5)
        assert sorted(rig.received()) == sorted(expected)
        assert [event.count for event in rig.said(Resent)] == [10]

    run(story)


def test_a_batch_refused_as_a_whole_for_its_content_is_taken_apart() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        expected = [name for name in rig.uploads(10) if name != "item-4/1"]
        send = rig.queue.send

        async def strict(batch: list[Message], not_after: float) -> object:
            if any(holds("item-4")(message) for message in batch):
                raise fault(InvalidRequest, "SendMessageBatch", "jobs", "InvalidMessageContents")
            return await send(batch, not_after)

        rig.queue.send = strict  # type: ignore[assignment, method-assign]
        async with rig.running():
            await rig.until(lambda: sorted(rig.received()) == sorted(expected) and len(dead(rig)) == 1)

    run(story)


def test_a_record_larger_than_the_queue_takes_is_dead_lettered_and_its_neighbours_go_on() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.queue = MemoryQueue("jobs.fifo", clock, message_bytes_max=2_000)
        rig.dead_letter_queue = MemoryQueue("dead-letters", clock)
        rig.table.put({"id": {"S": "large"}, "phase": {"S": "x"}})
        rig.table.put({"id": {"S": "large"}, "phase": {"S": "FILE_UPLOAD_COMPLETE"}, "pad": {"S": "x" * 3_000}})
        expected = rig.uploads(5)
        async with rig.running():
            await rig.until(lambda: sorted(rig.received()) == sorted(expected) and len(dead(rig)) == 1)
        assert dead(rig)[0].attributes["reason"] == "too_large"

    run(story)


def test_a_dead_letter_that_fits_in_no_queue_goes_to_the_bucket() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.letter_store = store_of_small_queues(rig, clock)
        rig.table.put({"id": {"S": "large"}, "phase": {"S": "x"}})
        rig.table.put({"id": {"S": "large"}, "phase": {"S": "FILE_UPLOAD_COMPLETE"}, "pad": {"S": "x" * 3_000}})
        async with rig.running():
            await rig.until(lambda: len(dead(rig)) == 1)
            (body,) = rig.letter_store.letters.values()
        assert json.loads(body)["dynamodb"]["NewImage"]["pad"]["S"] == "x" * 3_000
        assert [event.content for event in rig.said(DeadLettered)] == ["s3"]

    run(story)


def test_a_bucket_that_fails_for_a_moment_costs_no_letter_its_record() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.letter_store = store_of_small_queues(rig, clock)
        rig.letter_store.before = failing(lambda op, name: fault(Unavailable, op, name, "SlowDown"), times=1)
        upload_large(rig)
        async with rig.running():
            await rig.until(lambda: len(dead(rig)) == 1)
        assert len(rig.letter_store.letters) == 1
        assert [event.content for event in rig.said(DeadLettered)] == ["s3"]

    run(story)


def test_a_bucket_that_refuses_holds_up_only_the_letters_that_need_it() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.letter_store = store_of_small_queues(rig, clock)
        rig.letter_store.before = failing(lambda op, name: fault(AccessDenied, op, name, "AccessDenied"))
        rig.queue.refuse = refusing("bad", sender_fault=True)
        upload_large(rig)
        rig.upload("bad")
        async with rig.running():
            await clock.sleep(120)
            assert [event.reason for event in rig.said(DeadLettered)] == ["refused"]
            assert {event.reason for event in rig.said(DeadLetterFailing)} == {"too_large"}
            assert len(rig.said(DeadLetterFailing)) <= 3
            assert not rig.caught_up()
            rig.letter_store.before = open_gate
            await rig.until(rig.caught_up)
        assert [event.content for event in rig.said(DeadLettered)] == ["record", "s3"]
        assert len(rig.said(DeadLetterRecovered)) == 1

    run(story)


def test_without_a_bucket_such_a_letter_says_where_to_read_the_record_again() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.queue = MemoryQueue("jobs.fifo", clock, message_bytes_max=2_048)
        rig.dead_letter_queue = MemoryQueue("dead-letters", clock, message_bytes_max=2_048)
        rig.table.put({"id": {"S": "large"}, "phase": {"S": "x"}})
        number = rig.table.put(
            {"id": {"S": "large"}, "phase": {"S": "FILE_UPLOAD_COMPLETE"}, "pad": {"S": "x" * 3_000}}
        )
        async with rig.running():
            await rig.until(lambda: len(dead(rig)) == 1)
        (event,) = rig.said(DeadLettered)
        assert (event.content, event.sequence_number) == ("keys", number)
        assert number is not None
        assert number in dead(rig)[0].body

    run(story)


def test_such_a_letter_names_the_stream_that_its_record_is_in_also_once_that_was_replaced() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.queue = MemoryQueue("jobs.fifo", clock, message_bytes_max=2_048)
        rig.dead_letter_queue = MemoryQueue("dead-letters", clock, message_bytes_max=2_048)
        rig.upload("a")
        async with rig.running():
            await rig.until(lambda: len(rig.received()) == 1)
            rig.table.disable()
            rig.table.enable(ViewType.NEW_IMAGE)
            upload_large(rig)
            await rig.until(lambda: len(dead(rig)) == 1)
        assert json.loads(dead(rig)[0].body)["streamArn"] == rig.stream.info.arn

    run(story)


def test_while_the_dead_letter_queue_fails_too_the_record_stays_unsettled_and_it_is_said() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        assert rig.dead_letter_queue is not None
        rig.queue.refuse = refusing("bad", sender_fault=True)
        rig.dead_letter_queue.before = failing(lambda op, name: fault(Unavailable, op, name, "ServiceUnavailable"))
        rig.upload("bad")
        rig.uploads(5)
        async with rig.running():
            await clock.sleep(120)
            assert len(rig.received()) == 5
            assert not rig.caught_up()
            assert len(rig.said(DeadLetterFailing)) >= 2
            rig.dead_letter_queue.before = open_gate
            await rig.until(lambda: len(dead(rig)) == 1)

    run(story)


def test_letters_that_are_sent_one_by_one_are_stored_once_though_one_of_them_fails() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        assert rig.dead_letter_queue is not None
        faults = iter([InvalidRequest, None, Unavailable])

        async def gate(operation: str, name: str) -> None:
            if (kind := next(faults, None)) is not None:
                raise fault(kind, operation, name, kind.__name__)

        rig.queue.refuse = lambda _: Refused("InvalidMessageContents", "no", sender_fault=True)
        rig.dead_letter_queue.before = gate
        rig.uploads(2)
        async with rig.running():
            await rig.until(rig.caught_up)
        assert len(dead(rig)) == len(rig.said(DeadLettered)) == 2

    run(story)


def test_a_change_that_waits_behind_a_lost_leases_letter_goes_once_that_is_given_up() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        assert rig.dead_letter_queue is not None
        answered = asyncio.Event()

        async def held(operation: str, name: str) -> None:
            await answered.wait()
            raise fault(Unavailable, operation, name, "ServiceUnavailable")

        rig.queue.refuse = refusing("bad", sender_fault=True)
        rig.dead_letter_queue.before = held
        rig.upload("bad")
        async with rig.running():
            await clock.sleep(5)
            rig.leases.before = failing(lambda op, name: fault(Unavailable, op, name, "ServiceUnavailable"))
            await rig.until(lambda: bool(rig.said(LeaseLost)))
            rig.leases.before = open_gate
            await rig.until(lambda: len(rig.said(ShardStarted)) == 2)
            await clock.sleep(5)  # the record is read again, and its place is still taken by the one of before
            rig.queue.refuse = lambda _: None
            rig.dead_letter_queue.before = open_gate
            answered.set()
            await rig.until(lambda: rig.received() == ["bad/1"])
        assert rig.said(DeadLettered) == []

    run(story)


def test_without_a_dead_letter_queue_a_bad_record_holds_the_checkpoint_and_nobody_else() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.dead_letter_queue = None
        rig.queue.refuse = refusing("bad", sender_fault=True)
        rig.upload("bad")
        expected = rig.uploads(5)
        async with rig.running():
            await clock.sleep(300)
            assert sorted(rig.received()) == sorted(expected)
            told = {event.error for event in rig.said(DeadLetterFailing)}
            assert told == {"NoDeadLetterQueue: the route has no dead-letter queue; name one and restart"}
            rig.queue.refuse = lambda _: None
            await rig.until(lambda: "bad/1" in rig.received())

    run(story)


def test_behind_a_record_that_cannot_be_settled_no_more_than_a_window_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poller.run.shard._WINDOW_MAX", 30)

    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(page_limit=9))  # three records an upload, of which one is wanted
        rig.dead_letter_queue = None
        rig.queue.refuse = refusing("bad", sender_fault=True)
        rig.upload("bad")
        expected = rig.uploads(100)
        async with rig.running():
            await clock.sleep(120)
            assert 29 <= len(rig.received()) <= 33
            rig.queue.refuse = lambda _: None
            await rig.until(lambda: sorted(rig.received()) == sorted([*expected, "bad/1"]))

    run(story)


def test_a_record_that_cannot_be_read_is_dead_lettered_whole() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock)
        (shard,) = rig.stream.shards
        expected = rig.uploads(4)
        shard.entries[5] = replace(shard.entries[5], body=b'{"eventID":"e","eventName":"MODIFY","dynamodb":7}')
        async with rig.running():
            await rig.until(lambda: len(dead(rig)) == 1)
            await rig.until(lambda: len(rig.received()) == len(expected) - 1)
        assert dead(rig)[0].body == '{"eventID":"e","eventName":"MODIFY","dynamodb":7}'
        assert dead(rig)[0].attributes["reason"] == "undecodable"

    run(story)


def test_at_most_so_many_messages_a_second_are_sent() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(messages_per_second=20))
        rig.uploads(200)
        async with rig.running():
            began = clock.monotonic()
            await rig.until(lambda: len(rig.received()) == 200)
            assert 9.0 < clock.monotonic() - began < 12.0

    run(story)


def test_another_rate_is_in_force_at_once_and_not_after_the_pause_that_the_old_one_asked_for() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(messages_per_second=0.1))
        rig.uploads(20)
        async with rig.running() as worker:
            await rig.until(lambda: len(rig.received()) == 10)
            (delivery,) = worker.deliveries
            delivery.adjust(replace(delivery._limits, messages_per_second=None))
            await rig.until(lambda: len(rig.received()) == 20, at_most_s=1.0)

    run(story)


def test_several_batches_are_under_way_at_once() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(batches_in_flight=4))
        rig.uploads(200)
        under_way = most = 0

        async def slow(_operation: str, _resource: str) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.1)
            under_way -= 1

        rig.queue.before = slow
        async with rig.running():
            await rig.until(lambda: len(rig.received()) == 200)
        assert most == 4

    run(story)


def store_of_small_queues(rig: Rig, clock: VirtualClock) -> MemoryLetterStore:
    """What the queues do not take is for a bucket: this one."""
    rig.queue = MemoryQueue("jobs.fifo", clock, message_bytes_max=2_048)
    rig.dead_letter_queue = MemoryQueue("dead-letters", clock, message_bytes_max=2_048)
    return MemoryLetterStore()


def upload_large(rig: Rig) -> None:
    """A record that no letter of 2,048 bytes can hold."""
    rig.table.put({"id": {"S": "large"}, "phase": {"S": "x"}})
    rig.table.put({"id": {"S": "large"}, "phase": {"S": "FILE_UPLOAD_COMPLETE"}, "pad": {"S": "x" * 3_000}})


def dead(rig: Rig) -> list[Message]:
    assert rig.dead_letter_queue is not None
    return rig.dead_letter_queue.messages
