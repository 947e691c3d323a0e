"""The verdict: a sentence for each kind of trouble, the first that counts before the others, never a wrong calm."""

from __future__ import annotations

from dataclasses import replace

import pytest

from poller.events import (
    Buffered,
    DaemonReady,
    DaemonStarting,
    DaemonStopping,
    DataLost,
    DeadLettered,
    DeadLetterFailing,
    Delivered,
    Discovered,
    DiscoveryFailed,
    Event,
    FleetSeen,
    LeaseTableFailing,
    LeaseTaken,
    LoopLagged,
    PageRead,
    QueueFailing,
    ReadFailing,
    ReadingPaused,
    RouteWaiting,
    SeenLease,
    ShardBehind,
    ShardRetrying,
    StartupFailed,
    StartupWaiting,
    StreamEnded,
    StreamUnsuited,
    TaskFailed,
    ViewChanged,
)
from poller.model import Lease
from poller.observe.spoken import spoken
from poller.observe.status import Report
from poller.observe.verdict import Level, Tally, Verdict, overall
from poller.observe.watch import Watch
from poller.settings import load
from tests.still import EPOCH_S, StillClock

STREAM, ROUTE, ME = "Uploads", "default", "worker-1"
SETTINGS = {
    "POLLER_TABLE": STREAM,
    "POLLER_QUEUE": "http://localhost/000000000000/analysis-jobs",
    "POLLER_DEAD_LETTER_QUEUE": "dead",
    "POLLER_WORKER_ID": ME,
}
SHARDS = [f"S{number}" for number in range(12)]


class Story:
    """A daemon to which these events have happened, at its beginning; `after` lets time pass and more happen."""

    def __init__(self, *happened: Event) -> None:
        self.clock = StillClock()
        settings = load(SETTINGS, None)
        self.watch = Watch((route.name for route in settings.routes), self.clock.monotonic)
        self.report = Report(self.watch.known, settings, self.clock)
        self.after(0.0, *happened)

    def after(self, seconds: float, *events: Event) -> Story:
        self.clock.passed_s += seconds
        for event in events:
            self.watch(event)
        return self

    def alive(self, seconds: float) -> Story:
        """So long passes, in which everything goes on as it should, but for what was said to be otherwise."""
        self.clock.passed_s += seconds
        for shard in self.watch.known.shards.values():
            shard.polled_at = shard.renewed_at = self.clock.monotonic()
        self.watch.known.looked_at = self.watch.known.discovered_at = self.clock.monotonic()
        return self

    @property
    def verdict(self) -> Verdict:
        found = self.report.verdict()[0]
        calm = found.level in (Level.OK, Level.ATTENTION)
        assert calm == self.report.ready(), "the verdict contradicts readiness"
        return found


def taken(shard: str) -> LeaseTaken:
    return LeaseTaken(stream=STREAM, shard=shard, reason="unowned", previous_owner=None, checkpoint="TRIM_HORIZON")


def page(shard: str, behind_s: float = 0.0) -> PageRead:
    return PageRead(
        stream=STREAM,
        shard=shard,
        size_bytes=2,
        events={},
        matched={},
        filtered={},
        behind_s=behind_s,
        polled_at_s=EPOCH_S,
    )


def looked(*more: SeenLease, mine: int = 12) -> FleetSeen:
    rows = (*(SeenLease(Lease(shard, owner=ME), "reading") for shard in SHARDS[:mine]), *more)
    states = [row.state for row in rows]
    return FleetSeen(
        stream=STREAM, shards={state: states.count(state) for state in states}, held=mine, workers=2, rows=rows
    )


FOUND: list[Event] = [
    DaemonStarting(version="1", worker_id=ME),
    DaemonReady(stream=STREAM, stream_arn="arn:1", view_type="NEW_IMAGE", lease_table="leases", routes=(ROUTE,)),
]
AT_WORK: list[Event] = [
    *FOUND,
    Discovered(stream=STREAM, shards=12, created=0, seconds=0.1),
    *(taken(shard) for shard in SHARDS),
    looked(),
    *(page(shard) for shard in SHARDS),
]


def queue_failing(failing_s: float = 0.0) -> list[Event]:
    return [
        QueueFailing(
            stream=STREAM,
            route=ROUTE,
            queue="analysis-jobs",
            code="AccessDenied",
            error="no",
            failing_s=failing_s,
            waiting=1204,
        ),
        RouteWaiting(stream=STREAM, route=ROUTE, waiting=1204, dead_letters=0),
    ]


def read_failing(shard: str) -> ReadFailing:
    return ReadFailing(
        stream=STREAM, shard=shard, operation="GetRecords", code="x", error="No answer.", failing_s=0.0, attempts=2
    )


def lost(shard: str, action: str) -> DataLost:
    return DataLost(stream=STREAM, shard=shard, reason="trimmed", position="after 42", action=action)


def unsettled(shard: str = "S0", age_s: float = 0.0) -> ShardBehind:
    return ShardBehind(stream=STREAM, shard=shard, behind_s=age_s, oldest_created_s=EPOCH_S - age_s)


# --- calm -------------------------------------------------------------------------------------------------------------


def test_all_is_well() -> None:
    story = Story(*AT_WORK, page("S3", 1.2))
    assert story.verdict == (Level.OK, "All 12 shards are read; 1.2 s behind; nothing retrying.")


def test_nothing_is_behind() -> None:
    assert Story(*AT_WORK).verdict == (Level.OK, "All 12 shards are read; up to date; nothing retrying.")


def test_finished_shards_and_those_that_wait_for_a_parent_need_no_reading() -> None:
    more = [SeenLease(Lease("F"), "finished"), SeenLease(Lease("W"), "waiting_for_parent")]
    assert Story(*AT_WORK, looked(*more)).verdict.text.startswith("All 12 shards are read;")


def test_a_part_of_the_fleet_says_how_many_are_its_own() -> None:
    others = [SeenLease(Lease(f"O{number}", owner="other"), "reading") for number in range(4)]
    assert Story(*AT_WORK, looked(*others)).verdict.text == (
        "All 16 shards are read, 12 of them by this worker; up to date; nothing retrying."
    )


def test_a_worker_without_any_shard_says_so() -> None:
    others = [SeenLease(Lease(f"O{number}", owner="other"), "reading") for number in range(4)]
    story = Story(*FOUND, Discovered(stream=STREAM, shards=4, created=0, seconds=0.1), looked(*others, mine=0))
    assert story.verdict == (
        Level.OK,
        "All 4 shards are read, none of them by this worker; nothing retrying.",
    )


@pytest.mark.parametrize(
    ("happened", "text"),
    [
        (ShardRetrying(stream=STREAM, shard="S0", route=ROUTE, since_s=EPOCH_S - 75), "a record for 1 min 15 s"),
        (page("S0", 900.0), "15 min behind"),
        (read_failing("S0"), "the last reads of 1 shard failed"),
        (looked(SeenLease(Lease("N"), "unowned")), "12 of 13 shards are read"),
        (StreamEnded(stream=STREAM, stream_arn="arn:1"), "The stream is disabled and read to its end"),
    ],
)  # fmt: skip
def test_what_is_worth_a_look_though_it_is_ready(happened: Event, text: str) -> None:
    verdict = Story(*AT_WORK, happened).verdict
    assert verdict.level is Level.ATTENTION
    assert text in verdict.text


def test_a_dead_letter_is_worth_a_look_for_five_minutes() -> None:
    letter = DeadLettered(
        stream=STREAM,
        route=ROUTE,
        shard="S0",
        event_id="e",
        sequence_number="1",
        reason="refused",
        code="x",
        attempts=1,
        content="record",
    )
    tick = LoopLagged(seconds=0.0)
    story = Story(*AT_WORK, tick, letter).after(2.0, tick)
    assert story.verdict == (
        Level.ATTENTION,
        "All 12 shards are read; up to date; nothing retrying; 1 record dead-lettered in the last 5 min.",
    )
    assert story.after(301.0, tick).alive(0.0).verdict.level is Level.OK


# --- trouble ----------------------------------------------------------------------------------------------------------


def test_a_queue_that_refuses_everything() -> None:
    story = Story(*AT_WORK, unsettled(age_s=1490.0), *queue_failing()).alive(250.0)
    assert story.verdict == (
        Level.TROUBLE,
        (
            "Queue analysis-jobs has refused everything for 4 min 10 s; 1,204 records wait;"
            " the first is lost in 23 h 31 min."
        ),
    )


def test_a_queue_that_does_not_answer() -> None:
    waiting = RouteWaiting(stream=STREAM, route=ROUTE, waiting=1, dead_letters=0)
    assert Story(*AT_WORK, waiting).alive(200.0).verdict == (
        Level.TROUBLE,
        "Queue analysis-jobs has not answered for 3 min 20 s; 1 record waits.",
    )


def test_a_lease_table_that_does_not_answer() -> None:
    failing = LeaseTableFailing(stream=STREAM, code="x", error="UpdateItem: no answer.", failing_s=0.0)
    assert Story(*AT_WORK, failing).alive(12.0).verdict == (
        Level.TROUBLE,
        "The lease table has not answered as it should for 12 s, and nothing is sent: UpdateItem: no answer.",
    )


def test_a_dead_letter_that_cannot_be_stored() -> None:
    failing = DeadLetterFailing(stream=STREAM, route=ROUTE, shard="S0", event_id="e", reason="refused", error="no")
    assert Story(*AT_WORK, unsettled(), failing).alive(60.0).verdict == (
        Level.TROUBLE,
        (
            "A refused record of route default has not been stored as a dead letter for 1 min, and no checkpoint passes"
            " what is not stored; the first is lost in 23 h 59 min."
        ),
    )


def test_a_shard_that_cannot_be_read() -> None:
    story = Story(*AT_WORK, read_failing("S0")).after(60.0, looked())
    assert story.verdict.text.startswith(
        "12 of this worker's 12 shards have not been read as they should for 1 min: No"
    )
    for shard in SHARDS[1:]:
        story.after(0.0, page(shard))
    assert story.verdict == (
        Level.TROUBLE,
        "Shard S0 has not been read as it should for 1 min: No answer; data may be lost in 23 h 59 min.",
    )


def test_a_shard_that_is_nobodys() -> None:
    nobodys = SeenLease(Lease("N", checkpoint_time_ms=int((EPOCH_S - 3600) * 1000)), "unowned")
    assert Story(*AT_WORK, looked(nobodys)).alive(120.0).verdict == (
        Level.TROUBLE,
        "Nobody has been reading shard N for 2 min; start another worker; data may be lost in 22 h 58 min.",
    )


def test_reading_that_is_paused() -> None:
    story = Story(
        *AT_WORK, Buffered(stream=STREAM, records=7, size_bytes=9), ReadingPaused(stream=STREAM, buffered_bytes=9)
    )
    assert story.alive(60.0).verdict == (
        Level.TROUBLE,
        "Reading has been paused for 1 min, since the queues take less than is read; 7 records wait.",
    )


def test_a_stream_that_cannot_be_listed() -> None:
    failing = DiscoveryFailed(stream=STREAM, code="x", error="DescribeStream: no", retry_in_s=1.0)
    assert Story(*AT_WORK, failing).alive(60.0).verdict == (
        Level.TROUBLE,
        "Nobody has been able to look for new shards for 1 min: DescribeStream: no.",
    )


def test_a_loss_that_stopped_its_shard() -> None:
    assert Story(*AT_WORK, lost("S0", "stop")).alive(60.0).verdict == (
        Level.TROUBLE,
        "Records of shard S0 were lost unread 1 min ago (trimmed); 1 shard not read since.",
    )


def test_a_defect() -> None:
    failed = TaskFailed(stream=STREAM, task="worker", error="KeyError: 3", retry_in_s=1.0)
    assert Story(*AT_WORK, failed).after(5.0).verdict == (
        Level.TROUBLE,
        "This worker has failed and not read for 5.0 s, and begins again: KeyError: 3.",
    )


@pytest.mark.parametrize(
    ("happened", "text"),
    [
        ([], "It has been starting for 9.0 s: stream, lease table and queues are looked for."),
        (
            [StartupWaiting(stream=STREAM, what="stream", error="no answer", retry_in_s=1.0)],
            "The start has been waiting for 9.0 s for the stream: no answer.",
        ),
        (FOUND, "It has been starting for 9.0 s: all is found, and the first pages are being read."),
    ],
)
def test_a_start_that_has_become_trouble_when_it_takes_long(happened: list[Event], text: str) -> None:
    story = Story(*happened).after(9.0)
    assert story.verdict == (Level.STARTING, text)
    assert story.after(60.0).verdict.level is Level.TROUBLE


def test_a_start_that_failed_beside_other_streams() -> None:
    failed = StartupFailed(stream=STREAM, error="There is no such queue.", retry_in_s=1.0)
    assert Story(failed).after(3.0).verdict == (
        Level.TROUBLE,
        "It has not been able to start for 3.0 s: There is no such queue.",
    )


# --- several troubles -------------------------------------------------------------------------------------------------


def test_leaving_is_told_before_everything_else() -> None:
    story = Story(*AT_WORK, *queue_failing(), lost("S0", "stop"), DaemonStopping(reason="SIGTERM")).after(2.0)
    assert story.verdict == (Level.STOPPING, "This worker has been leaving for 2.0 s: it gives its shards back.")


def test_a_queue_that_is_down_is_told_before_the_shards_that_wait_for_it_and_a_loss_beside_it() -> None:
    nobodys = looked(SeenLease(Lease("N"), "unowned"))
    paused = ReadingPaused(stream=STREAM, buffered_bytes=9)
    assert Story(*AT_WORK, *queue_failing(), paused, lost("S0", "skip"), nobodys).alive(60.0).verdict.text == (
        "Queue analysis-jobs has refused everything for 1 min; 1,204 records wait;"
        " records were lost in 1 place; 1 more trouble below."
    )


def test_a_row_that_cannot_be_read_is_told_and_not_that_workers_are_missing() -> None:
    nobodys = replace(looked(), rowless=("N",))
    text = Story(*AT_WORK, nobodys).after(40.0, nobodys).alive(0.0).verdict.text
    assert "Nobody has been reading shard N for 40 s; its lease row cannot be read" in text


def test_a_stream_that_lacks_images_is_told_with_its_view_type() -> None:
    changed = ViewChanged(stream=STREAM, stream_arn="arn:2", view_type="KEYS_ONLY")
    unsuited = StreamUnsuited(stream=STREAM, stream_arn="arn:2", error="it can never match")
    assert Story(*AT_WORK, changed, unsuited).verdict == (
        Level.TROUBLE,
        "For 0.0 s a stream of KEYS_ONLY has been read, which lacks images that a route needs.",
    )


def test_a_loop_that_stands_still_is_told_though_no_event_says_so() -> None:
    assert Story(*AT_WORK).after(60.0).verdict.text == (
        "The lease table has not been looked at for 1 min; 1 more trouble below."
    )


def test_a_lease_table_is_told_before_a_queue() -> None:
    failing = LeaseTableFailing(stream=STREAM, code="x", error="no", failing_s=0.0)
    text = Story(*AT_WORK, *queue_failing(), failing).alive(60.0).verdict.text
    assert text.startswith("The lease table has not answered")
    assert text.endswith("; 1 more trouble below.")


def test_a_loss_of_the_past_hides_no_queue_that_is_down_now() -> None:
    story = Story(*AT_WORK, lost("S0", "skip"))
    assert story.verdict.text == "Records of shard S0 were lost unread 0.0 s ago (trimmed)."
    assert story.after(0.0, *queue_failing()).verdict.text.startswith("Queue analysis-jobs has refused")
    story.watch.known.routes[ROUTE].failing = None
    story.after(0.0, Delivered(stream=STREAM, route=ROUTE, count=1, latencies_s=(0.1,)))
    assert story.verdict.text.startswith("Records of shard S0 were lost")


# --- several streams --------------------------------------------------------------------------------------------------

CALM = Tally(read=12, open=12, here=12, behind_s=1.2, retrying=0, retrying_s=0.0, dead_lettered=0)


def test_several_streams_that_are_well_are_told_together() -> None:
    verdicts = {"a": Verdict(Level.OK, "x"), "b": Verdict(Level.OK, "y")}
    assert overall(verdicts, [CALM, CALM]) == (
        Level.OK,
        "All 24 shards of 2 streams are read; 1.2 s behind; nothing retrying.",
    )


def test_the_stream_that_is_worst_off_is_told_by_its_name() -> None:
    verdicts = {
        "a": Verdict(Level.OK, "x."),
        "b": Verdict(Level.STARTING, "It starts."),
        "c": Verdict(Level.TROUBLE, "It fails."),
    }
    assert overall(verdicts, [CALM] * 3) == (Level.TROUBLE, "Stream c: It fails. 1 other stream not ready either.")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0.0 s"),
        (1.24, "1.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (250.0, "4 min 10 s"),
        (84_660.0, "23 h 31 min"),
        (86_400.0 * 2 + 3 * 3600, "2 d 3 h"),
    ],
)
def test_lengths_of_time_have_no_more_digits_than_anybody_reads(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
