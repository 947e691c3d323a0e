"""Replays of a span: what is read of it, in which order, where it ends, and how it is broken off and gone on with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pytest

from poller.decide.pacing import PacingLimits
from poller.errors import AccessDenied, Throttled, Unavailable
from poller.model import Message, Position, Refused
from poller.operate.account import Left
from tests.memory.gates import failing, fault, no_answer
from tests.replays import Desk, in_order
from tests.virtual import VirtualClock, run


def test_everything_wanted_is_sent_once_and_what_is_not_wanted_is_not() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        expected = [desk.upload(f"item-{number}") for number in range(25)]
        ended = await desk.send()
        assert (ended.outcome, ended.progress.sent, ended.progress.records) == ("sent", {"default": 25}, 50)
        assert sorted(desk.received) == sorted(expected)

    run(story)


def test_roll_overs_and_splits_are_followed_and_every_item_keeps_its_order() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        expected = [desk.upload(item, 1) for item in "abcdefgh"]
        (root,) = desk.shards
        children = desk.stream.shards.split(root)
        expected += [desk.upload(item, 2) for item in "abcdefgh"]
        desk.stream.shards.roll(children[0])
        expected += [desk.upload(item, 3) for item in "abcdefgh"]
        await desk.send()
        assert sorted(desk.received) == sorted(expected)
        assert in_order(desk.received)

    run(story)


def test_a_child_that_no_listing_shows_is_found_when_its_parent_has_ended() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        expected = [desk.upload("a")]
        (root,) = desk.shards
        child = desk.stream.shards.roll(root)
        expected.append(desk.upload("a", 2))
        desk.stream.shards.hide(child, answers=3)
        await desk.send()
        assert desk.received == expected

    run(story)


def test_a_parent_that_no_listing_shows_is_asked_for_and_read_first() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        expected = [desk.upload("a")]
        (root,) = desk.shards
        desk.stream.shards.roll(root)
        expected.append(desk.upload("a", 2))
        desk.stream.shards.hide(root, answers=1_000)
        await desk.send()
        assert desk.received == expected

    run(story)


def test_empty_pages_in_between_are_not_the_end() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        expected = desk.upload("a")
        desk.stream.shards.empty(desk.shards[0], pages=9)
        await desk.send()
        assert desk.received == [expected]

    run(story)


def test_a_closed_shard_is_read_to_its_end_however_many_pages_of_it_are_empty() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        expected = [desk.upload("a")]
        (root,) = desk.shards
        desk.stream.shards.roll(root)
        expected.append(desk.upload("a", 2))
        desk.stream.shards.empty(root, pages=500)
        ended = await desk.send()
        assert (ended.outcome, desk.received) == ("sent", expected)

    run(story)


def test_a_span_of_time_holds_what_was_created_in_it_and_nothing_else() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        desk.upload("before")
        await clock.sleep(60)
        start_ms = int(clock.wall()) * 1000
        expected = desk.upload("within")
        await clock.sleep(60)
        until_s = float(int(clock.wall()))
        desk.upload("after")
        desk.stream.shards.roll(desk.shards[0])
        desk.upload("long-after")
        span = desk.span(Position("AT_TIMESTAMP", timestamp_ms=start_ms), until_s=until_s)
        counted = await desk.count(span)
        await desk.send(span)
        assert desk.received == [expected]
        assert (counted.tally.records, counted.tally.routes) == (2, [1])

    run(story)


def test_from_a_record_on_it_is_the_first() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        desk.upload("before")
        (root,) = desk.shards
        expected = [desk.upload("a"), desk.upload("b")]
        number = str(desk.stream.shards[root].entries[3].sequence_number)
        await desk.send(desk.span(roots=frozenset({root}), places={root: Position.at(number)}))
        assert desk.received == expected

    run(story)


def test_only_one_item_is_sent_if_a_key_is_given() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        expected = [desk.upload("a"), desk.upload("a", 2)]
        desk.upload("b")
        await desk.send(keys=[("id", "a")])
        assert desk.received == expected

    run(story)


def test_counts_tell_events_and_the_values_that_the_filter_looks_for() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        for number in range(3):
            desk.upload(f"item-{number}")
        desk.table.delete("item-0")
        tally = (await desk.count()).tally
        assert {name: count for name, count in tally.events.items() if count} == {"INSERT": 3, "MODIFY": 3, "REMOVE": 1}
        ((name, values),) = tally.values()
        assert name == "NewImage.phase"
        assert {(one.value, one.records, one.wanted) for one in values} == {
            ("CREATED", 3, 0),
            ("FILE_UPLOAD_COMPLETE", 3, 3),
            ("(absent)", 1, 0),
        }
        assert desk.queue.messages == []

    run(story)


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_refused_entries_are_tried_again_in_the_order_of_their_item() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        expected = [desk.upload(item, revision) for revision in range(1, 6) for item in "abcdefghijkl"]
        seen: dict[str, int] = {}

        def refuse(message: Message) -> Refused | None:
            seen[message.body] = seen.get(message.body, 0) + 1
            return Refused("InternalError", "for now", sender_fault=False) if seen[message.body] % 3 == 1 else None

        desk.queue.refuse = refuse
        ended = await desk.send()
        assert (ended.outcome, ended.progress.unsent) == ("sent", 0)
        assert sorted(desk.received) == sorted(expected)
        assert in_order(desk.received)

    run(story)


def test_what_the_queue_never_takes_is_listed_and_the_rest_goes_on() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        expected = [desk.upload(f"item-{number}") for number in range(12)]
        poison, hopeless = expected[3], expected[5]

        def refuse(message: Message) -> Refused | None:
            if '"item-3"' in message.body:
                return Refused("InternalError", "again and again", sender_fault=False)
            return Refused("InvalidMessage", "no", sender_fault=True) if '"item-5"' in message.body else None

        desk.queue.refuse = refuse
        ended = await desk.send()
        assert ended.outcome == "sent"
        assert sorted((one.reason, one.attempts) for one in ended.progress.listed) == [
            ("max_attempts", 3),
            ("refused", 1),
        ]
        assert sorted(desk.received) == sorted(set(expected) - {poison, hopeless})

    run(story)


def test_a_queue_that_takes_nothing_is_given_up_and_what_is_left_can_be_resumed() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        expected = [desk.upload(f"item-{number}") for number in range(30)]
        desk.queue.before = failing(lambda operation, name: fault(Throttled, operation, name, "RequestThrottled"))
        began = clock.monotonic()
        ended = await desk.send(patience_s=10)
        assert 10 <= clock.monotonic() - began < 25
        assert ended.outcome == "gave_up"
        assert "nothing was taken for 10 s" in ended.why
        desk.queue.before = failing(no_answer, times=0)
        again = await desk.send(ended.rest.span, left=ended.rest.left)
        assert again.outcome == "sent"
        assert sorted(desk.received) == sorted(expected)

    run(story)


def test_a_stream_that_throttles_for_a_while_is_read_to_its_end() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        expected = desk.upload("a")
        desk.stream.before = failing(
            lambda operation, name: fault(Throttled, operation, name, "LimitExceededException"), times=8
        )
        ended = await desk.send()
        assert (ended.outcome, desk.received) == ("sent", [expected])

    run(story)


def test_a_stream_that_never_answers_is_given_up() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        desk.upload("a")
        desk.stream.before = failing(
            lambda operation, name: fault(Unavailable, operation, name, "InternalServerError"), "GetRecords"
        )
        ended = await desk.send(patience_s=5)
        assert ended.outcome == "gave_up"
        assert "InternalServerError" in ended.why
        assert ended.rest.span.places.keys() == set(desk.shards)

    run(story)


def test_a_refused_permission_is_not_waited_for() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        desk.upload("a")
        desk.stream.before = failing(
            lambda operation, name: fault(AccessDenied, operation, name, "AccessDeniedException"), "GetRecords"
        )
        began = clock.monotonic()
        ended = await desk.send(patience_s=60)
        assert clock.monotonic() - began < 2
        assert ended.outcome == "gave_up"

    run(story)


def test_records_that_are_trimmed_before_they_are_read_are_told_and_the_rest_is_sent() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        desk.upload("a")
        (root,) = desk.shards
        first, last = (str(entry.sequence_number) for entry in desk.stream.shards[root].entries)
        expected = desk.upload("b")
        desk.stream.shards.trim(root, int(last))
        ended = await desk.send(desk.span(roots=frozenset({root}), places={root: Position.after(first)}))
        assert len(ended.progress.lost) == 1
        assert desk.received == [expected]

    run(story)


# --- broken off, gone on with -----------------------------------------------------------------------------------------


def test_stopped_in_order_and_resumed_nothing_is_sent_twice_and_nothing_is_missing() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        expected = [desk.upload(item, 1) for item in "abcdefgh"]
        desk.stream.shards.split(desk.shards[0])
        expected += [desk.upload(item, 2) for item in "abcdefgh"]
        span, parts = desk.span(), 0
        left: Mapping[str, Left] = {}
        while True:
            parts += 1
            ended = await desk.send(
                span,
                stop_when=partial(lambda before: len(desk.received) > before, len(desk.received)),
                rate=10,
                left=left,
            )
            span, left = ended.rest
            if ended.outcome == "sent":
                break
        assert parts > 1
        assert sorted(desk.received) == sorted(expected)
        assert in_order(desk.received)

    run(story)


def test_a_fifo_queue_drops_what_it_has_had_unless_the_ids_are_fresh() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock, "jobs.fifo", POLLER_QUEUE="jobs.fifo")
        desk.upload("a")
        for fresh in (None, None, "one", "two"):
            await desk.send(fresh=fresh)
        assert len(desk.received) == 3
        assert len({message.deduplication_id for message in desk.queue.messages}) == 3
        assert len({message.group_id for message in desk.queue.messages}) == 1

    run(story)


def test_the_rate_is_kept() -> None:
    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        for number in range(100):
            desk.upload(f"item-{number}")
        began = clock.monotonic()
        await desk.send(rate=10)
        assert 8 <= clock.monotonic() - began <= 12

    run(story)


def test_a_shard_is_asked_no_more_often_than_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poller.operate.replay._PACING", PacingLimits(0.0, 0.05, page_limit=1))

    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock)
        for number in range(40):
            desk.upload(f"item-{number}")
        asked: list[float] = []

        async def note(operation: str, _resource: str) -> None:
            if operation == "GetRecords":
                asked.append(clock.monotonic())

        desk.stream.before = note
        await desk.send()
        assert len(asked) >= 80, "two records an upload, each a page"
        assert all(later - asked[index] >= 0.99 for index, later in enumerate(asked[20:]))

    run(story)
