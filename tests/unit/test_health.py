"""Readiness: each reason comes when it must, goes when it may, and none is there without a cause."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from poller.events import (
    Buffered,
    DaemonReady,
    DaemonStarting,
    DaemonStopping,
    DataLost,
    DeadLetterFailing,
    DeadLetterRecovered,
    Delivered,
    Discovered,
    DiscoveryFailed,
    Event,
    FleetSeen,
    IdlePollingRestored,
    IdlePollingStretched,
    LeaseLost,
    LeaseTableFailing,
    LeaseTableRecovered,
    LeaseTaken,
    PageRead,
    QueueFailing,
    QueueRecovered,
    ReadFailing,
    ReadingPaused,
    ReadingResumed,
    ReadRecovered,
    RouteWaiting,
    SeenLease,
    SendFailed,
    SettingsReloaded,
    ShardBehind,
    ShardFinished,
    ShardRetrying,
    StartupWaiting,
    StreamUnsuited,
    TaskFailed,
    ViewChanged,
)
from poller.model import Lease
from poller.observe.health import Bounds, Reason, readiness
from poller.observe.watch import Watch
from poller.settings import load

STREAM, ROUTE = "Uploads", "default"
ME, OTHER = "worker-1", "worker-2"
SECRET = "hunter2"

BOUNDS = Bounds(unread_s=10, unrenewed_s=20, unlooked_s=30, undiscovered_s=150, patience_s=30, silent_s={ROUTE: 120.0})


class Story:
    """A daemon's events at their times. `lists`: it is for this worker to look for new shards."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.watch = Watch([ROUTE], lambda: self.now)
        self.mine: list[str] = []
        self.others: dict[str, str] = {}
        self.rowless: tuple[str, ...] = ()
        self.lists = True
        self.renewed_at = self.now

    def tell(self, *events: Event, after_s: float = 0.0) -> Story:
        self.now += after_s
        for event in events:
            self.watch(event)
        return self

    def take(self, *shards: str) -> Story:
        self.mine += shards
        return self.tell(
            *(
                LeaseTaken(stream=STREAM, shard=shard, reason="unowned", previous_owner=None, checkpoint="1")
                for shard in shards
            )
        )

    def look(self, *, renewing: bool = True) -> Story:
        """A look at the lease table: my shards, and `others` by state."""
        self.renewed_at = self.now if renewing else self.renewed_at
        rows = [SeenLease(Lease(shard, owner=ME), "reading") for shard in self.mine]
        rows += [SeenLease(Lease(shard, owner=OTHER), state) for shard, state in self.others.items()]
        return self.tell(
            FleetSeen(
                stream=STREAM,
                shards={},
                held=len(self.mine),
                workers=2,
                lists=self.lists,
                unrenewed_s=self.now - self.renewed_at,
                rows=tuple(rows),
                rowless=self.rowless,
            )
        )

    def discovered(self) -> Story:
        return self.tell(Discovered(stream=STREAM, shards=len(self.mine) + len(self.others), created=0, seconds=0.1))

    def poll(self, *, last: bool = False) -> Story:
        return self.tell(*(page(shard, last=last) for shard in self.mine))

    def wait(
        self,
        seconds: float,
        *,
        polling: bool = True,
        looking: bool = True,
        renewing: bool = True,
        discovering: bool = True,
    ) -> Story:
        """Time passes, in which all is done each second that is not said to stand still."""
        for _ in range(round(seconds)):
            self.now += 1.0
            if discovering:
                self.discovered()
            if looking:
                self.look(renewing=renewing)
            if polling:
                self.poll()
        return self

    def reasons(self) -> tuple[Reason, ...]:
        return readiness(self.watch.known, BOUNDS, self.now)

    def parts(self) -> list[str]:
        return [reason.part for reason in self.reasons()]

    def only(self) -> Reason:
        """The one reason that there is."""
        (reason,) = self.reasons()
        return reason


def page(shard: str, *, last: bool = False) -> PageRead:
    return PageRead(
        stream=STREAM,
        shard=shard,
        size_bytes=2,
        events={},
        matched={ROUTE: 0},
        filtered={ROUTE: 0},
        behind_s=0.0,
        polled_at_s=0.0,
        last=last,
    )


def failing(shard: str, *, failing_s: float = 0.0) -> ReadFailing:
    return ReadFailing(
        stream=STREAM,
        shard=shard,
        operation="GetRecords",
        code="InternalServerError",
        error="GetRecords: the service failed",
        failing_s=failing_s,
        attempts=2,
    )


def lost(shard: str = "A", action: str = "stop") -> DataLost:
    return DataLost(stream=STREAM, shard=shard, reason="trimmed", position="after 7", action=action)


def queue_down(waiting: int = 3) -> QueueFailing:
    return QueueFailing(
        stream=STREAM, route=ROUTE, queue="jobs", code="AccessDenied", error="no", failing_s=2.0, waiting=waiting
    )


def waiting(records: int, dead_letters: int = 0) -> RouteWaiting:
    return RouteWaiting(stream=STREAM, route=ROUTE, waiting=records, dead_letters=dead_letters)


def retrying(since_s: float | None, shard: str = "A") -> ShardRetrying:
    return ShardRetrying(stream=STREAM, shard=shard, route=ROUTE, since_s=since_s)


DEAD_LETTER_FAILING = DeadLetterFailing(
    stream=STREAM, route=ROUTE, shard="A", event_id="e", reason="refused", error="QueueDoesNotExist: gone"
)
STARTING = DaemonStarting(version="1", worker_id=ME)
FOUND = DaemonReady(stream=STREAM, stream_arn="arn", view_type="NEW_IMAGE", lease_table="leases", routes=(ROUTE,))


def starting() -> Story:
    return Story().tell(STARTING)


@pytest.fixture
def story() -> Story:
    """A daemon at work: it reads A and B, another worker reads C."""
    story = starting().tell(FOUND)
    story.others["C"] = "reading"
    return story.discovered().take("A", "B").look().poll().wait(60)


def test_a_daemon_that_does_what_it_should_is_ready(story: Story) -> None:
    assert story.reasons() == ()


# --- start and stop ---------------------------------------------------------------------------------------------------


def test_it_is_not_ready_before_it_has_found_what_it_stands_on() -> None:
    story = starting()
    story.now += 5
    assert (story.only().part, story.only().since) == ("start", 1000.0)
    assert story.only().text == "Stream, lease table and queues are not all found yet. Nothing has failed so far."


def test_a_start_that_waits_says_for_what() -> None:
    story = starting().tell(StartupWaiting(stream=STREAM, what="lease table", error="no answer", retry_in_s=1.0))
    assert story.only().text.endswith("It waits for the lease table: no answer.")


def test_it_is_not_ready_before_the_stream_has_been_listed_and_the_table_looked_at() -> None:
    story = starting().tell(FOUND)
    assert story.only().text == "All is found; the first look at the shards has not come yet."
    assert story.look().parts() == ["start"]
    story.others["C"] = "reading"
    assert story.discovered().parts() == ["start"]
    assert story.look().parts() == []


def test_a_look_at_the_table_that_began_before_the_shards_were_listed_is_not_the_first() -> None:
    story = starting().tell(FOUND, Discovered(stream=STREAM, shards=1, created=1, seconds=0.1))
    assert story.look().parts() == ["start"]
    story.others["C"] = "reading"
    assert story.look().parts() == []


def test_it_is_not_ready_before_the_first_page_of_each_shard_that_it_took() -> None:
    story = starting().tell(FOUND).discovered().take("A", "B").look()
    assert story.tell(page("A")).only().text == "All is found; the first page of B has not come yet."
    assert story.tell(page("B")).parts() == []


def test_a_shard_that_is_lost_before_its_first_page_keeps_nobody_waiting() -> None:
    story = starting().tell(FOUND).discovered().take("A", "B").look().tell(page("A"))
    assert story.tell(LeaseLost(stream=STREAM, shard="B", reason="taken")).parts() == []


def test_a_worker_without_a_shard_is_ready_where_others_have_them_all() -> None:
    story = starting().tell(FOUND)
    story.others["C"] = "reading"
    assert story.discovered().look().wait(60).parts() == []


def test_a_stream_without_shards_leaves_nothing_to_wait_for() -> None:
    assert starting().tell(FOUND).discovered().look().parts() == []


def test_a_daemon_that_leaves_is_not_ready(story: Story) -> None:
    assert story.tell(DaemonStopping(reason="SIGTERM")).parts() == ["stop"]


def test_a_worker_that_failed_is_a_reason_until_the_next_one_is_at_work(story: Story) -> None:
    story.tell(queue_down(), LeaseTableFailing(stream=STREAM, code="x", error="x", failing_s=0.0))
    story.tell(ReadingPaused(stream=STREAM, buffered_bytes=1))
    story.tell(TaskFailed(stream=STREAM, task="worker", error="KeyError in shard.py:1", retry_in_s=1.0))
    assert story.only().part == "worker"
    assert "KeyError in shard.py:1" in story.only().text
    story.mine.clear()
    assert story.look().parts() == ["worker"]
    assert story.discovered().take("A").look().parts() == ["worker"]
    assert story.poll().parts() == []
    assert story.wait(60).parts() == []


# --- shards -----------------------------------------------------------------------------------------------------------


def test_a_shard_of_which_no_page_comes_is_a_reason_though_no_event_says_so(story: Story) -> None:
    for _ in range(10):
        story.wait(1, polling=False).tell(page("B"))
    assert story.parts() == []
    story.wait(1, polling=False).tell(page("B"))
    assert story.only() == Reason(
        "shard A", 1060.0, "It is not read, though no call fails: no page came for more than 10s."
    )
    assert story.poll().parts() == []


def test_a_shard_that_cannot_be_read_says_why(story: Story) -> None:
    story.tell(failing("A")).wait(5, polling=False)
    assert story.parts() == []
    story.wait(6, polling=False).tell(page("B"))
    assert story.only() == Reason("shard A", 1060.0, "It is not read: GetRecords: the service failed.")
    story.tell(page("A"), ReadRecovered(stream=STREAM, shard="A", failing_s=11.0, attempts=9))
    assert story.parts() == []


def test_a_shard_held_up_by_a_record_that_is_being_retried_says_where(story: Story) -> None:
    story.tell(retrying(0.0)).wait(11, polling=False).tell(page("B"))
    assert story.only().text.endswith("records of it are being retried on default.")


def test_a_shard_that_was_just_taken_has_time_for_its_first_page(story: Story) -> None:
    assert story.take("D").wait(10, polling=False).tell(page("A"), page("B")).parts() == []
    assert story.wait(1, polling=False).tell(page("A"), page("B")).parts() == ["shard D"]


def test_a_shard_that_is_another_workers_by_now_is_no_reason(story: Story) -> None:
    story.wait(30, polling=False).tell(page("B"), LeaseLost(stream=STREAM, shard="A", reason="taken"))
    assert story.parts() == []


def test_a_shard_read_to_its_end_is_not_polled_and_no_reason_while_its_records_are_settled(story: Story) -> None:
    story.poll(last=True)
    for _ in range(60):
        for shard in ("A", "B"):
            story.tell(ShardBehind(stream=STREAM, shard=shard, behind_s=1.0, oldest_created_s=5.0))
        story.wait(1, polling=False)
    assert story.parts() == []


def test_a_shard_whose_end_is_not_written_though_all_is_settled_is_a_reason(story: Story) -> None:
    story.tell(page("A", last=True), page("B"))
    for _ in range(31):
        story.wait(1, polling=False).tell(page("B"))
    assert story.only().text == "It is read to its end and settled, and its end cannot be written."
    assert story.tell(ShardFinished(stream=STREAM, shard="A", children=())).parts() == []


def test_leases_without_a_sign_of_life_are_not_renewed(story: Story) -> None:
    assert story.wait(20, renewing=False).parts() == []
    assert story.wait(1, renewing=False).parts() == ["shard A", "shard B"]
    assert story.reasons()[0].text == "Its lease is not renewed."
    assert story.wait(1).parts() == []


# --- losses -----------------------------------------------------------------------------------------------------------


def test_a_loss_is_a_reason_until_the_process_ends_and_says_what_to_do(story: Story) -> None:
    story.tell(lost(action="read on from the trim horizon")).wait(3600)
    assert (story.only().part, story.only().since) == ("data loss", 1060.0)
    assert "in one place, first in A (trimmed, position after 7" in story.only().text
    assert 'stream.on_data_loss = "skip"' in story.only().text
    assert "A restart clears this." in story.only().text


def test_a_shard_that_stops_where_records_were_lost_says_so_at_once(story: Story) -> None:
    assert story.tell(lost()).parts() == ["data loss", "shard A"]


def test_many_losses_are_one_reason(story: Story) -> None:
    story.tell(*(lost(f"gone-{number}", "end the shard") for number in range(500)))
    assert "in 500 places, first in gone-0" in story.only().text
    assert len(story.watch.known.losses) < 50


# --- lease table, discovery, nobody's shards --------------------------------------------------------------------------


def test_a_lease_table_that_does_not_answer_is_a_reason_until_it_does(story: Story) -> None:
    story.tell(LeaseTableFailing(stream=STREAM, code="ResourceNotFound", error="Scan: gone", failing_s=3.0))
    assert (story.only().part, story.only().since) == ("lease table", 1057.0)
    assert story.only().text.endswith("Scan: gone.")
    assert story.tell(LeaseTableRecovered(stream=STREAM, failing_s=5.0)).parts() == []


def test_a_stream_that_is_not_listed_any_more_is_a_reason_for_the_worker_whose_part_it_is(story: Story) -> None:
    assert story.wait(150, discovering=False).parts() == []
    assert story.wait(1, discovering=False).parts() == ["discovery"]
    story.lists = False
    assert story.wait(1, discovering=False).parts() == []
    assert story.wait(300, discovering=False).parts() == []


def test_a_lease_table_at_which_nobody_looks_any_more_is_a_reason_though_no_event_says_so(story: Story) -> None:
    for _ in range(31):
        story.wait(1, looking=False)
        for shard in story.watch.known.shards.values():
            shard.renewed_at = story.now
    assert (story.only().part, story.only().since) == ("lease table", 1060.0)
    assert story.look().parts() == []


def test_a_listing_that_fails_for_long_is_a_reason_and_one_that_fails_once_is_none(story: Story) -> None:
    story.tell(DiscoveryFailed(stream=STREAM, code="x", error="DescribeStream: no answer", retry_in_s=1.0))
    began = story.now
    for _ in range(30):
        story.tell(after_s=1.0).look().poll()
    assert story.parts() == []
    story.tell(DiscoveryFailed(stream=STREAM, code="x", error="DescribeStream: no answer", retry_in_s=1.0), after_s=1.0)
    assert (story.only().part, story.only().since) == ("discovery", began)
    assert story.discovered().parts() == []


def test_a_listing_that_failed_is_no_reason_any_more_once_another_worker_lists(story: Story) -> None:
    story.tell(DiscoveryFailed(stream=STREAM, code="x", error="DescribeStream: no answer", retry_in_s=1.0))
    for _ in range(31):
        story.tell(after_s=1.0).look().poll()
    assert story.parts() == ["discovery"]
    story.lists = False
    assert story.wait(1, discovering=False).parts() == []


def test_a_listing_that_never_comes_is_a_reason_though_no_event_says_so(story: Story) -> None:
    for _ in range(151):
        story.tell(after_s=1.0).look().poll()
    assert story.only().part == "discovery"
    assert story.discovered().parts() == []


@pytest.mark.parametrize("state", ["unowned", "expired"])
def test_a_shard_that_is_nobodys_for_long_is_a_reason(story: Story, state: str) -> None:
    story.others["C"] = state
    assert story.wait(31).parts() == []
    assert story.wait(1).only().part == "unowned shards"
    assert story.only().text.startswith("Nobody reads C: no living worker has the lease.")
    story.others["C"] = "reading"
    assert story.wait(1).parts() == []


def test_a_shard_whose_row_cannot_be_read_is_nobodys_and_the_row_is_to_be_deleted(story: Story) -> None:
    story.rowless = ("C",)
    assert story.wait(32).only().text == (
        "Nobody reads C: the lease table has no row for it that can be read."
        " Mend or delete the row that `poller check` names."
    )
    story.rowless = ()
    assert story.wait(1).parts() == []


def test_shards_that_are_nobodys_in_turn_and_each_not_for_long_are_no_reason(story: Story) -> None:
    for number in range(10):
        story.others = {f"S{number}": "unowned"}
        story.wait(20)
    assert story.parts() == []


def test_of_many_shards_that_are_nobodys_some_are_named(story: Story) -> None:
    story.others = {f"S{number}": "unowned" for number in range(8)}
    assert "Nobody reads S0, S1, S2 and 5 more:" in story.wait(32).only().text


def test_a_stream_that_lacks_images_is_a_reason_until_another_one_or_other_settings_are_there(story: Story) -> None:
    unsuited = StreamUnsuited(stream=STREAM, stream_arn="arn:2", error="it can never match")
    story.tell(ViewChanged(stream=STREAM, stream_arn="arn:2", view_type="KEYS_ONLY"), unsuited)
    assert story.only().part == "view type"
    assert story.only().text == "What is wanted cannot match: it can never match."
    assert story.tell(SettingsReloaded(applied=("route default.filter",), need_restart=())).parts() == []
    assert story.tell(unsuited).parts() == ["view type"]
    assert story.tell(ViewChanged(stream=STREAM, stream_arn="arn:3", view_type="NEW_IMAGE")).parts() == []


# --- queues -----------------------------------------------------------------------------------------------------------


def test_a_queue_that_takes_nothing_is_a_reason_until_it_does(story: Story) -> None:
    story.tell(queue_down())
    assert (story.only().part, story.only().since) == ("queue of route default", 1058.0)
    assert story.only().text == "It takes no messages: no."
    assert story.tell(QueueRecovered(stream=STREAM, route=ROUTE, queue="jobs", failing_s=3.0)).parts() == []


def test_a_queue_that_failed_and_for_which_nothing_waits_any_more_is_no_reason(story: Story) -> None:
    assert story.tell(queue_down(), waiting(0)).parts() == []
    assert story.tell(waiting(1)).parts() == ["queue of route default"]


def test_a_queue_that_neither_takes_nor_refuses_what_waits_is_a_reason_though_no_event_says_so(story: Story) -> None:
    story.tell(waiting(0))
    for _ in range(120):
        story.tell(waiting(4)).wait(1)
    assert story.parts() == []
    assert story.wait(1).only().text == "4 records wait for it, and it has neither taken nor refused any."
    assert story.tell(Delivered(stream=STREAM, route=ROUTE, count=1, latencies_s=(0.1,))).parts() == []


def test_an_entry_that_is_refused_now_and_then_is_no_reason(story: Story) -> None:
    story.tell(waiting(4), retrying(1.0), SendFailed(stream=STREAM, route=ROUTE, code="x", count=1))
    assert story.parts() == []


def test_a_dead_letter_that_cannot_be_stored_is_a_reason_until_it_is(story: Story) -> None:
    story.tell(retrying(1.0), DEAD_LETTER_FAILING)
    assert (story.only().part, story.only().since) == ("dead-letter queue of route default", 1060.0)
    assert story.only().text.endswith("its shard's checkpoint waits: QueueDoesNotExist: gone.")
    assert story.tell(DeadLetterRecovered(stream=STREAM, route=ROUTE, failing_s=1.0)).parts() == []


def test_a_dead_letter_that_nobody_has_to_store_any_more_is_no_reason(story: Story) -> None:
    story.tell(retrying(1.0, "A"), retrying(1.0, "B"), DEAD_LETTER_FAILING)
    assert story.tell(retrying(None, "A")).parts() == ["dead-letter queue of route default"]
    assert story.tell(retrying(None, "B")).parts() == []


# --- buffers ----------------------------------------------------------------------------------------------------------


def test_reading_that_is_paused_for_long_is_one_reason_for_all_shards(story: Story) -> None:
    story.tell(Buffered(stream=STREAM, records=9, size_bytes=900), ReadingPaused(stream=STREAM, buffered_bytes=900))
    assert story.wait(10, polling=False).parts() == []
    assert story.wait(1, polling=False).only().part == "buffers"
    assert "900 bytes are read and not settled" in story.only().text
    story.tell(ReadingResumed(stream=STREAM, paused_s=11.0))
    assert story.parts() == []
    assert story.wait(11, polling=False).parts() == ["shard A", "shard B"]


def test_a_pause_does_not_hide_a_shard_that_was_not_read_before(story: Story) -> None:
    for _ in range(11):
        story.wait(1, polling=False).tell(page("B"))
    story.tell(ReadingPaused(stream=STREAM, buffered_bytes=900))
    assert story.parts() == ["shard A"]


# --- what holds for all of them ---------------------------------------------------------------------------------------


def test_reasons_come_with_the_oldest_first(story: Story) -> None:
    story.tell(lost(action="skip"))
    story.tell(queue_down(), after_s=1.0)
    assert story.parts() == ["queue of route default", "data loss"]


@pytest.mark.parametrize(
    "event",
    [
        lambda error: LeaseTableFailing(stream=STREAM, code="x", error=error, failing_s=0.0),
        lambda error: QueueFailing(
            stream=STREAM, route=ROUTE, queue="q", code="x", error=error, failing_s=0.0, waiting=1
        ),
    ],
)
def test_an_errors_text_is_one_line_of_bounded_length_without_a_password(
    story: Story, event: Callable[[str], Event]
) -> None:
    story.tell(event(f"no answer\nfrom https://user:{SECRET}@proxy/ {'x' * 9999}"))
    text = story.only().text
    assert "no answer from https://***@proxy/ xxx" in text
    assert SECRET not in text
    assert len(text) < 500


def test_an_event_of_a_shard_that_is_not_mine_changes_nothing(story: Story) -> None:
    story.tell(page("Z"), failing("Z"), ShardBehind(stream=STREAM, shard="Z", behind_s=9.0, oldest_created_s=1.0))
    assert "Z" not in story.watch.known.shards
    assert story.parts() == []


# --- a budget ---------------------------------------------------------------------------------------------------------


def stretched(idle_max_s: float) -> IdlePollingStretched:
    return IdlePollingStretched(
        stream=STREAM, idle_max_s=idle_max_s, wanted_s=1.0, budget_usd=1.0, other_usd=0.5, kept=True
    )


def test_a_pause_that_a_budget_stretches_is_not_held_against_a_shard_and_more_than_twice_as_long_is(
    story: Story,
) -> None:
    story.tell(stretched(100.0))

    assert story.wait(2 * 100 + 10, polling=False).parts() == []
    assert story.wait(1, polling=False).parts() == ["shard A", "shard B"]


def test_pauses_that_have_begun_may_last_when_they_are_to_be_shorter(story: Story) -> None:
    story.tell(stretched(100.0), stretched(20.0))

    assert story.wait(210, polling=False).parts() == []


def test_pauses_that_have_begun_may_last_when_the_budget_suffices_again(story: Story) -> None:
    story.tell(stretched(100.0), IdlePollingRestored(stream=STREAM, idle_max_s=1.0))

    assert story.wait(190, polling=False).parts() == []
    assert story.wait(11).wait(11, polling=False).parts() == ["shard A", "shard B"]


def test_a_worker_that_is_begun_again_begins_without_longer_pauses(story: Story) -> None:
    story.tell(stretched(100.0))
    story.tell(TaskFailed(stream=STREAM, task="worker", error="KeyError in shard.py:1", retry_in_s=1.0))
    story.mine.clear()
    story.discovered().take("A").look().poll()

    assert story.wait(11, polling=False).parts() == ["shard A"]


# --- bounds -----------------------------------------------------------------------------------------------------------


def bounds(**settings: Any) -> Bounds:
    return Bounds.of(load({"POLLER_TABLE": STREAM, "POLLER_QUEUE": "jobs", **settings}, None))


def test_the_bounds_follow_from_how_often_each_thing_happens() -> None:
    assert bounds() == Bounds(
        unread_s=14.0, unrenewed_s=20.0, unlooked_s=30.0, undiscovered_s=150.0, patience_s=30.0, silent_s={ROUTE: 120.0}
    )


@pytest.mark.parametrize(
    ("settings", "unread_s"),
    [
        ({"POLLER_POLLING__IDLE_MAX": "1m"}, 309.0),
        ({"POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD": "0.05"}, 109.0),
        ({"POLLER_AWS__REQUEST_TIMEOUT": "100ms"}, 10.0),
    ],
)
def test_a_shard_that_is_polled_seldom_on_purpose_is_not_unread(settings: dict[str, str], unread_s: float) -> None:
    assert bounds(**settings).unread_s == pytest.approx(unread_s)


@pytest.mark.parametrize(
    ("settings", "silent_s"),
    [({"POLLER_ROUTE__BATCH_WINDOW": "5m"}, 600.0), ({"POLLER_ROUTE__MESSAGES_PER_SECOND": "0.01"}, 2000.0)],
)
def test_a_queue_that_is_fed_slowly_on_purpose_is_not_silent(settings: dict[str, str], silent_s: float) -> None:
    assert bounds(**settings).silent_s == {ROUTE: silent_s}
