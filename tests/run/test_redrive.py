"""A redrive on virtual time: what leaves the dead-letter queue and when, what stays, and in which order it goes."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from poller.errors import AccessDenied, DataTrimmed, InvalidRequest, NotFound, PollerError, Throttled, Unavailable
from poller.model import EntryOutcome, Message, Page, Position, Refused
from poller.operate.box import HIDDEN_S
from poller.operate.dead_letters import look
from poller.operate.originals import Originals
from poller.operate.patience import TRIES
from poller.operate.redrive import Redrive, Report, Target, Wanted
from poller.run.message import MessageBuilder
from tests.letters import SHARD, TABLE, body_of, letter_of
from tests.memory.clock import ManualClock
from tests.memory.gates import failing, fault, no_answer
from tests.memory.letter_box import MemoryLetterBox
from tests.memory.queue import MemoryQueue


def denied(operation: str, resource: str) -> PollerError:
    return fault(AccessDenied, operation, resource, "AccessDenied")


def unavailable(operation: str, resource: str) -> PollerError:
    return fault(Unavailable, operation, resource, "ServiceUnavailable")


def throttled(operation: str, resource: str) -> PollerError:
    return fault(Throttled, operation, resource, "LimitExceededException")


class OneShard:
    """A stream that still has these records, by sequence number."""

    def __init__(self, records: Mapping[str, bytes]) -> None:
        self.records_by_number = dict(sorted(records.items()))
        self.failing: list[PollerError] = []

    async def iterator(self, shard_id: str, position: Position) -> str:
        if self.failing:
            raise self.failing.pop(0)
        if shard_id != SHARD:
            raise fault(NotFound, "GetShardIterator", shard_id, "ResourceNotFoundException")
        number = position.sequence_number or ""
        if self.records_by_number and number < min(self.records_by_number):
            raise fault(DataTrimmed, "GetShardIterator", shard_id, "TrimmedDataAccessException")
        return number

    async def records(self, iterator: str, limit: int) -> Page:
        found = [body for number, body in self.records_by_number.items() if number >= iterator][:limit]
        return Page(found, iterator, 0)


class Site:
    """A dead-letter queue, a route's queue, a bucket and a stream in memory, and the redrive between them."""

    def __init__(self, *, fifo_letters: bool = False, fifo: bool = False, queue_bytes_max: int = 1 << 20) -> None:
        self.clock = ManualClock()
        self.box = MemoryLetterBox("letters.fifo" if fifo_letters else "letters", self.clock)
        self.queue = MemoryQueue("jobs.fifo" if fifo else "jobs", self.clock, message_bytes_max=queue_bytes_max)
        self.objects: dict[str, bytes] = {}
        self.stream = OneShard({})
        self.builder = MessageBuilder(table=TABLE, form="record", attributes=["eventID"], fifo=fifo, group_by="auto")
        self.fifo_letters = fifo_letters

    def put(self, item: str, number: int = 1, reason: str = "max_attempts", **how: Any) -> bytes:
        body = body_of(item, number, padding=how.pop("padding", 0))
        self.box.put(letter_of(body, reason, fifo=self.fifo_letters, **how))
        return body

    async def fetch(self, bucket: str, key: str) -> bytes:
        if key not in self.objects:
            raise fault(NotFound, "GetObject", bucket, "NoSuchKey")
        return self.objects[key]

    def redrive(self, wanted: Wanted = Wanted(), only_route: str | None = "default") -> Redrive:  # noqa: B008
        rng = random.Random(1)
        originals = Originals(TABLE, {"bucket"}, self.fetch, lambda _: self.stream, clock=self.clock, rng=rng)
        return Redrive(
            self.box,
            {"default": Target(self.queue, self.builder)},
            originals,
            wanted,
            table=TABLE,
            only_route=only_route,
            clock=self.clock,
            rng=rng,
        )

    async def run(self, **wanted: Any) -> Report:
        redrive = self.redrive(Wanted(**wanted))
        await redrive.run()
        assert self.box.hidden == [], "what is still there can be received at once"
        return redrive.report

    @property
    def sent(self) -> list[str]:
        """The changes that consumers see, in order: `item-1`."""
        return [json.loads(message.body)["eventID"].removeprefix("event-") for message in self.queue.messages]

    @property
    def left(self) -> int:
        return len(self.box.bodies)


def whys(report: Report) -> list[str]:
    return [stayed.why for stayed in report.stayed]


# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_a_letters_record_is_sent_as_its_route_would_send_it_and_the_letter_goes() -> None:
    site = Site(fifo=True)
    body = site.put("a")
    report = await site.run()

    (message,) = site.queue.messages
    assert message.body.encode() == body
    assert (message.deduplication_id, message.attributes) == ("event-a-1", {"eventID": "event-a-1"})
    assert message.group_id is not None
    assert (site.left, report.failed, dict(report.sent)) == (0, False, {("max_attempts", "default"): 1})


async def test_a_route_of_images_gets_the_image() -> None:
    site = Site()
    site.builder = MessageBuilder(table=TABLE, form="image", attributes=[], fifo=False, group_by="auto")
    site.put("a")
    await site.run()

    assert json.loads(site.queue.messages[0].body) == {"analysisRequestId": "a", "revision": 1, "padding": ""}


async def test_a_record_in_the_bucket_is_fetched() -> None:
    site = Site()
    body = site.put("a", limit_bytes=1024, padding=3000, stored_at="s3://bucket/t/a.json")
    site.objects["t/a.json"] = body
    report = await site.run()

    assert (site.sent, site.left, report.failed) == (["a-1"], 0, False)
    assert site.queue.messages[0].body.encode() == body


async def test_a_record_is_read_again_from_the_stream_while_that_has_it() -> None:
    site = Site()
    body = site.put("a", 7, limit_bytes=1200, padding=3000)
    site.stream = OneShard({f"{7:021d}": body, f"{8:021d}": body_of("b", 8)})
    site.stream.failing = [throttled("GetShardIterator", SHARD)]
    report = await site.run()

    assert (site.sent, site.left, report.failed) == (["a-7"], 0, False)
    assert site.queue.messages[0].body.encode() == body


async def test_more_than_a_batch_is_sent_in_batches_each_item_in_the_order_of_the_fifo_queue() -> None:
    site = Site(fifo=True, fifo_letters=True)
    for number in range(1, 13):
        for item in "abc":
            site.put(item, number)
    await site.run()

    assert site.left == 0
    for item in "abc":
        assert [one for one in site.sent if one.startswith(item)] == [f"{item}-{number}" for number in range(1, 13)]


async def test_only_letters_of_a_reason_or_a_route_are_sent_if_they_are_asked_for() -> None:
    site = Site()
    site.put("a", reason="max_attempts")
    site.put("b", reason="refused")
    report = await site.run(reasons=frozenset({"refused"}))
    assert (site.sent, site.left, report.unwanted, report.failed) == (["b-1"], 1, 1, False)

    report = await site.run(routes=frozenset({"other"}))
    assert (site.sent, report.unwanted) == (["b-1"], 1)


async def test_no_more_than_so_many_are_sent() -> None:
    site = Site()
    for number in range(25):
        site.put(f"item{number}")
    report = await site.run(letters_max=12)

    assert (len(site.sent), site.left, report.complete) == (12, 13, False)


async def test_no_more_than_so_many_a_second_are_sent() -> None:
    site = Site()
    for number in range(40):
        site.put(f"item{number}")
    began = site.clock.monotonic()
    await site.run(rate=4.0)

    assert len(site.sent) == 40
    assert site.clock.monotonic() - began >= 39 / 4.0


async def test_letters_stay_hidden_from_others_for_as_long_as_a_slow_redrive_needs() -> None:
    site = Site()
    site.put("a", route="elsewhere")  # it stays, in hand
    for number in range(30):
        site.put(f"item{number}")
    report = await site.run(rate=0.1)

    assert site.clock.monotonic() - 1_000.0 > 2 * HIDDEN_S
    assert (len(site.sent), site.left, report.stayed_count) == (30, 1, 1)


class SlowQueue(MemoryQueue):
    """Takes its time for every request, takes no two messages at once, and looks whether the letters are hidden."""

    def __init__(self, clock: ManualClock, box: MemoryLetterBox) -> None:
        super().__init__("jobs", clock)
        self.clock, self.box = clock, box
        self.seen: list[int] = []

    async def send(self, batch: Sequence[Message], not_after: float) -> Sequence[EntryOutcome]:
        self.clock.advance(13.0)
        self.seen.append(len(self.box.bodies) - len(self.box.hidden))
        if len(batch) > 1:
            raise fault(InvalidRequest, "SendMessageBatch", "jobs", "InvalidMessageContents")
        return await super().send(batch, not_after)


@pytest.mark.parametrize("items", [10, 1], ids=["one by one", "batch by batch"])
async def test_letters_stay_hidden_while_a_slow_queue_takes_them_one_after_another(items: int) -> None:
    site = Site()
    site.queue = slow = SlowQueue(site.clock, site.box)
    for number in range(10):
        site.put(f"item{number % items}", number + 1)
    await site.run()

    assert site.clock.monotonic() - 1_000.0 > HIDDEN_S
    assert (len(site.sent), site.left, set(slow.seen)) == (10, 0, {0})


class SlowStream(OneShard):
    """Takes its time, fails at first, has its record behind empty pages, and looks whether the letters are hidden."""

    def __init__(self, records: Mapping[str, bytes], site: Site) -> None:
        super().__init__(records)
        self.site = site
        self.failing = [unavailable("GetShardIterator", SHARD)] * (TRIES - 1)
        self.empty = 4
        self.seen: list[int] = []

    def dawdle(self) -> None:
        self.site.clock.advance(25.0)
        self.seen.append(len(self.site.box.bodies) - len(self.site.box.hidden))

    async def iterator(self, shard_id: str, position: Position) -> str:
        self.dawdle()
        return await super().iterator(shard_id, position)

    async def records(self, iterator: str, limit: int) -> Page:
        self.dawdle()
        self.empty -= 1
        return Page([], iterator, 0) if self.empty >= 0 else await super().records(iterator, limit)


async def test_letters_stay_hidden_while_the_record_of_one_is_looked_up_in_a_slow_stream() -> None:
    site = Site()
    body = site.put("a", 7, limit_bytes=1200, padding=3000)
    site.put("b", 2)
    site.stream = slow = SlowStream({f"{7:021d}": body}, site)
    await site.run()

    assert site.clock.monotonic() - 1_000.0 > HIDDEN_S
    assert (len(site.sent), site.left, set(slow.seen)) == (2, 0, {0})


# --- what stays -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"route": "elsewhere"}, "its route elsewhere is not in the settings"),
        ({"table": "Orders"}, "a letter of another table, Orders"),
        (
            {"limit_bytes": 1024, "padding": 3000, "stored_at": "s3://bucket/gone"},
            "its record is not in the bucket bucket any more: GetObject on bucket: NoSuchKey",
        ),
        (
            {"limit_bytes": 1024, "padding": 3000, "stored_at": "s3://foreign/x"},
            "its record is in the bucket foreign, which no route of the settings names",
        ),
        (
            {"limit_bytes": 1200, "padding": 3000, "shard_id": "shardId-gone"},
            "the stream does not have its record any more: it keeps them for 24 hours",
        ),
        ({"limit_bytes": 1200, "padding": 3000}, "the stream has no record where its record was"),
    ],
)
async def test_what_cannot_be_redriven_stays_and_is_listed_with_the_reason(how: dict[str, Any], why: str) -> None:
    site = Site()
    site.put("a", **how)
    site.put("b")
    report = await site.run()

    assert (site.sent, site.left, whys(report), report.failed) == (["b-1"], 1, [why], True)


async def test_a_trimmed_record_stays() -> None:
    site = Site()
    site.put("a", 7, limit_bytes=1200, padding=3000)
    site.stream = OneShard({f"{8:021d}": body_of("b", 8)})
    report = await site.run()

    assert whys(report) == ["the stream does not have its record any more: it keeps them for 24 hours"]


async def test_another_record_in_its_place_is_not_sent_for_it() -> None:
    site = Site()
    site.put("a", 7, limit_bytes=1200, padding=3000)
    site.stream = OneShard({f"{6:021d}": body_of("b", 6), f"{8:021d}": body_of("b", 8)})
    report = await site.run()

    assert (whys(report), site.sent) == (["the stream has another record where its record was"], [])


async def test_a_record_that_is_still_too_large_stays() -> None:
    site = Site(queue_bytes_max=2000)
    site.put("a", padding=3000)
    report = await site.run()

    assert (site.left, len(whys(report))) == (1, 1)
    assert whys(report)[0].endswith("bytes; jobs takes 2,000")


async def test_bytes_that_are_no_record_stay() -> None:
    site = Site()
    site.box.put(letter_of(b"\xff not a record", "undecodable"))
    report = await site.run()

    assert (site.left, len(report.stayed)) == (1, 1)
    assert whys(report)[0].startswith("undecodable: ")


async def test_other_messages_are_left_alone_and_counted_and_are_no_failure() -> None:
    site = Site()
    site.box.put(Message('{"not": "ours"}', 15), Message("text", 4, attributes={"reason": "because"}))
    site.put("a")
    report = await site.run()

    assert (site.sent, site.left, report.others_count, report.failed) == (["a-1"], 2, 2, False)


async def test_a_letter_without_its_routes_name_is_of_the_only_route_or_stays() -> None:
    site = Site()
    nameless = letter_of(body_of("a", 1))
    nameless = msgspec.structs.replace(
        nameless, attributes={k: v for k, v in nameless.attributes.items() if k != "route"}
    )
    site.box.put(nameless)
    redrive = site.redrive(only_route=None)
    await redrive.run()
    assert whys(redrive.report) == ["it does not say from which route it is, and the queue is that of several"]

    report = await site.run()
    assert (site.sent, report.failed) == (["a-1"], False)


async def test_a_letter_that_its_queue_refuses_stays_and_its_neighbours_go() -> None:
    site = Site()
    site.queue.refuse = lambda message: Refused("Bad", "no", sender_fault=True) if "bad" in message.body else None
    for item in ("a", "bad", "c"):
        site.put(item)
    report = await site.run()

    assert (site.sent, site.left, whys(report)) == (["a-1", "c-1"], 1, ["not taken by its queue: Bad: no"])


async def test_a_refusal_that_passes_is_waited_out() -> None:
    site = Site()
    left = [Refused("Internal", "", sender_fault=False)] * (TRIES - 1)
    site.queue.refuse = lambda _: left.pop() if left else None
    site.put("a")
    report = await site.run()

    assert (site.sent, site.left, report.failed) == (["a-1"], 0, False)


async def test_in_a_fifo_queue_what_stays_holds_up_the_later_changes_of_its_item_and_no_others() -> None:
    site = Site(fifo=True, fifo_letters=True)
    site.queue.refuse = lambda message: Refused("Bad", "no", sender_fault=True) if "event-a-2" in message.body else None
    for number in range(1, 4):
        for item in "ab":
            site.put(item, number)
    report = await site.run()

    assert site.sent == ["a-1", "b-1", "b-2", "b-3"]
    assert whys(report) == ["not taken by its queue: Bad: no", "behind another letter of its group that stays"]
    assert site.left == 2


# --- what fails -------------------------------------------------------------------------------------------------------


async def test_a_queue_that_takes_nothing_ends_it_with_everything_still_there() -> None:
    site = Site()
    for item in "abc":
        site.put(item)
    site.queue.before = failing(unavailable, "SendMessageBatch")
    report = await site.run()

    assert (site.left, report.sent.total(), report.stayed_count) == (3, 0, 3)
    assert report.trouble == "SendMessageBatch on jobs: ServiceUnavailable"


async def test_a_queue_that_denies_everything_is_asked_once() -> None:
    site = Site()
    site.put("a")
    asked = 0

    async def deny(operation: str, resource: str) -> None:
        nonlocal asked
        asked += 1
        raise denied(operation, resource)

    site.queue.before = deny
    report = await site.run()

    assert (asked, site.left, report.trouble) == (1, 1, "SendMessageBatch on jobs: AccessDenied")


async def test_what_was_taken_before_the_queue_went_down_leaves_the_dead_letter_queue() -> None:
    site = Site()
    calls = 0

    async def gate(operation: str, resource: str) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise unavailable(operation, resource)

    site.queue.before = gate
    site.queue.refuse = lambda message: Refused("Busy", "", sender_fault=False) if "event-b" in message.body else None
    for item in "abc":
        site.put(item)
    report = await site.run()

    assert (site.sent, site.left, report.sent.total()) == (["a-1", "c-1"], 1, 2)


async def test_a_lost_answer_sends_again_under_the_same_deduplication_id() -> None:
    site = Site(fifo=True)
    site.queue.after = failing(no_answer, "SendMessageBatch", times=1)
    site.put("a")
    report = await site.run()

    assert (site.sent, site.left, report.failed) == (["a-1"], 0, False)


async def test_a_letter_that_was_sent_and_cannot_be_deleted_is_said_and_not_sent_twice() -> None:
    site = Site()
    site.box.undeletable = True
    site.put("a")
    redrive = site.redrive()
    await redrive.run()
    report = redrive.report

    assert (site.sent, site.left, report.failed) == (["a-1"], 1, True)
    assert [one.why for one in report.undeleted] == ["sent, and not deleted from here: the next redrive sends it again"]


async def test_a_deletion_that_fails_is_tried_again() -> None:
    site = Site()
    site.box.before = failing(unavailable, "DeleteMessageBatch", times=2)
    site.put("a")
    report = await site.run()

    assert (site.sent, site.left, report.failed) == (["a-1"], 0, False)


async def test_an_end_between_sending_and_deleting_loses_nothing_and_the_next_run_brings_no_second_one() -> None:
    site = Site(fifo=True)
    site.put("a")

    async def crash(operation: str, resource: str) -> None:
        if operation == "DeleteMessageBatch":
            raise RuntimeError("the process dies here")

    site.box.before = crash
    with pytest.raises(RuntimeError):
        await site.redrive().run()
    assert (site.sent, site.left) == (["a-1"], 1)

    site.box.before = failing(unavailable, times=0)
    site.clock.advance(HIDDEN_S)
    await site.run()
    assert (site.sent, site.left) == (["a-1"], 0)


async def test_cancelled_in_the_middle_of_a_batch_it_ends_after_that_batch() -> None:
    site = Site()
    site.put("a")
    sending, go_on = asyncio.Event(), asyncio.Event()

    async def slow(operation: str, resource: str) -> None:
        sending.set()
        await go_on.wait()

    site.queue.after = slow
    task = asyncio.create_task(site.redrive().run())
    await sending.wait()
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (site.sent, site.left) == (["a-1"], 0)


async def test_a_dead_letter_queue_that_is_busy_for_a_moment_is_asked_again() -> None:
    site = Site()
    site.box.before = failing(throttled, "ReceiveMessage", times=2)
    site.put("a")
    await site.run()

    assert site.sent == ["a-1"]


# --- looking ----------------------------------------------------------------------------------------------------------


async def test_a_dry_run_tells_the_same_and_changes_nothing() -> None:
    site = Site()
    site.put("a")
    site.put("b", route="elsewhere")
    report = await site.run(dry_run=True)

    assert (site.sent, site.left, report.sent.total(), report.stayed_count) == ([], 2, 1, 1)


async def test_a_look_counts_by_reason_and_route_with_ages_and_leaves_everything_where_it_was() -> None:
    site = Site()
    for number in range(23):
        site.put(f"item{number}", reason="refused" if number % 2 else "max_attempts", died_s=1_000.0 + number)
    site.box.put(Message("not ours", 8))
    seen = await look(site.box, site.clock, random.Random(1), letters_max=1_000, examples_max=2)

    kinds = {(kind.reason, kind.route): kind for kind in seen.kinds.values()}
    assert {name: kind.count for name, kind in kinds.items()} == {
        ("max_attempts", "default"): 12,
        ("refused", "default"): 11,
    }
    first = kinds["max_attempts", "default"]
    assert (first.oldest_s, first.newest_s, len(first.examples)) == (1_000.0, 1_022.0, 2)
    assert (first.examples[0].event_id, first.examples[0].attempts) == ("event-item0-1", 10)
    assert (seen.others, seen.complete, site.left, site.box.hidden) == (1, True, 24, [])


async def test_a_look_that_sees_only_a_part_knows_it() -> None:
    site = Site()
    for number in range(30):
        site.put(f"item{number}")
    seen = await look(site.box, site.clock, random.Random(1), letters_max=15, examples_max=1)

    assert (seen.looked_at, seen.waiting, seen.complete) == (15, 30, False)


async def test_of_a_fifo_group_a_look_sees_only_the_first_ones() -> None:
    site = Site(fifo_letters=True)
    for number in range(1, 16):
        site.put("a", number)
    seen = await look(site.box, site.clock, random.Random(1), letters_max=100, examples_max=1)

    assert (seen.looked_at, seen.complete, site.box.hidden) == (10, False, [])
