"""The pages of a daemon's health: what they say, that it is bounded, and that nothing secret is in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from poller.decide.filter import DEFAULT_PATTERN
from poller.events import (
    CheckpointWritten,
    DaemonReady,
    DaemonStarting,
    DataLost,
    DeadLettered,
    Delivered,
    Discovered,
    Event,
    FleetSeen,
    LeaseTableFailing,
    LeaseTaken,
    LoopLagged,
    PageRead,
    QueueFailing,
    ReadFailing,
    RouteWaiting,
    SeenLease,
    SendFailed,
    ShardBehind,
    ShardRetrying,
    ShardStarted,
    StreamReplaced,
    StreamSwitched,
    ViewChanged,
)
from poller.model import Lease
from poller.observe.http import Answer, standard_pages
from poller.observe.metrics import Metrics
from poller.observe.selection import SHARDS_MAX
from poller.observe.status import REASONS_MAX, Report
from poller.observe.watch import Watch
from poller.settings import load
from poller.startup import prices
from tests.still import EPOCH_S, StillClock

STREAM, ROUTE, ME = "Uploads", "default", "worker-1"
SETTINGS = {"POLLER_TABLE": STREAM, "POLLER_QUEUE": "jobs", "POLLER_DEAD_LETTER_QUEUE": "dead", "POLLER_WORKER_ID": ME}


class Pages:
    """The pages of a daemon to which these events have happened."""

    def __init__(self, *happened: Event, **settings: str) -> None:
        self.clock = StillClock()
        loaded = load({**SETTINGS, **settings}, None)
        self.watch = Watch((route.name for route in loaded.routes), self.clock.monotonic)
        self.report = Report(self.watch.known, loaded, self.clock)
        self.tell(*happened)

    def tell(self, *events: Event) -> None:
        for event in events:
            self.watch(event)

    def readyz(self) -> tuple[int, dict[str, Any]]:
        return parsed(self.report.readiness())

    def status(self) -> dict[str, Any]:
        code, body = parsed(self.report.status())
        assert code == 200
        return body


def parsed(answer: Answer) -> tuple[int, dict[str, Any]]:
    assert answer.content_type == "application/json"
    body: dict[str, Any] = json.loads(answer.body)
    return answer.status, body


def taken(shard: str) -> LeaseTaken:
    return LeaseTaken(stream=STREAM, shard=shard, reason="unowned", previous_owner=None, checkpoint="TRIM_HORIZON")


def page(shard: str) -> PageRead:
    return PageRead(
        stream=STREAM,
        shard=shard,
        size_bytes=2,
        events={"MODIFY": 5},
        matched={ROUTE: 2},
        filtered={ROUTE: 3},
        behind_s=1.5,
        polled_at_s=EPOCH_S,
    )


def looked(*rows: SeenLease) -> FleetSeen:
    return FleetSeen(stream=STREAM, shards={"reading": len(rows)}, held=1, workers=2, rows=rows)


MINE = SeenLease(Lease("A", owner=ME, counter=3), "reading")
OTHERS = SeenLease(
    Lease("C", owner="worker-2", checkpoint="77", parents=frozenset({"B"}), checkpoint_time_ms=int(EPOCH_S * 1000)),
    "reading",
)
FINISHED = SeenLease(Lease("B", checkpoint="SHARD_END"), "finished")

AT_WORK: list[Event] = [
    DaemonStarting(version="1.2.3", worker_id=ME),
    DaemonReady(stream=STREAM, stream_arn="arn:1", view_type="NEW_IMAGE", lease_table="leases", routes=(ROUTE,)),
    Discovered(stream=STREAM, shards=3, created=0, seconds=0.1),
    taken("A"),
    ShardStarted(stream=STREAM, shard="A", position="TRIM_HORIZON"),
    looked(FINISHED, OTHERS, MINE),
    page("A"),
]


# --- readyz -----------------------------------------------------------------------------------------------------------


def test_a_ready_daemon_answers_200_and_has_no_reasons() -> None:
    assert Pages(*AT_WORK).readyz() == (200, {"ready": True, "reasons": []})


def test_a_daemon_that_is_not_answers_503_and_says_what_and_since_when() -> None:
    pages = Pages(*AT_WORK, LeaseTableFailing(stream=STREAM, code="x", error="Scan: no answer", failing_s=2.0))
    pages.clock.passed_s = 5.25
    code, body = pages.readyz()
    (reason,) = body["reasons"]
    assert (code, body["ready"]) == (503, False)
    assert reason.pop("text").endswith("Scan: no answer.")
    assert reason == {"part": "lease table", "since": "2026-11-23T07:59:58.000Z", "seconds": 7.25}


def test_a_daemon_to_which_nothing_has_happened_yet_answers_503() -> None:
    code, body = Pages().readyz()
    assert (code, [reason["part"] for reason in body["reasons"]]) == (503, ["start"])


def test_of_very_many_reasons_the_oldest_are_told_and_the_others_counted() -> None:
    pages = Pages(*AT_WORK)
    for number in range(1000):
        pages.tell(taken(f"S{number:04}"))
    pages.clock.passed_s = 3600.0
    code, body = pages.readyz()
    assert code == 503
    assert len(body["reasons"]) == REASONS_MAX + 1
    assert body["reasons"][-1]["part"] == "others"
    assert "more reasons; see /status." in body["reasons"][-1]["text"]


def test_the_pages_are_served_beside_the_others_and_without_health_they_are_not() -> None:
    pages = standard_pages(Metrics().render, Pages(*AT_WORK).report)
    assert set(pages) == {"/metrics", "/livez", "/readyz", "/status"}
    assert pages["/readyz"]().status == 200
    assert set(standard_pages(Metrics().render)) == {"/metrics", "/livez"}


@pytest.mark.parametrize(("events", "value"), [([], 0.0), (AT_WORK, 1.0)])
def test_the_metric_says_at_each_scrape_what_readyz_says(events: list[Event], value: float) -> None:
    pages, metrics = Pages(), Metrics()
    metrics.register_ready(pages.report.ready)
    assert metrics.registry.get_sample_value("poller_ready") == 0.0
    pages.tell(*events)
    assert metrics.registry.get_sample_value("poller_ready") == value
    assert b"# TYPE poller_ready gauge\n" in metrics.render()


# --- status -----------------------------------------------------------------------------------------------------------


def test_the_status_says_who_and_what_runs_and_since_when() -> None:
    pages = Pages(*AT_WORK)
    pages.clock.passed_s = 60.0
    status = pages.status()
    assert (status["worker_id"], status["version"]) == (ME, "1.2.3")
    assert (status["started_at"], status["now"]) == ("2026-11-23T08:00:00.000Z", "2026-11-23T08:01:00.000Z")
    assert status["stream"]["arn"] == "arn:1"
    assert status["stream"]["view_type"] == "NEW_IMAGE"
    assert status["lease_table"] == {
        "name": "Uploads-leases",
        "last_look": "2026-11-23T08:00:00.000Z",
        "failing_since": None,
        "error": None,
        "workers": 2,
        "leases_held": 1,
        "owners": [
            {"owner": ME, "me": True, "kcl": True, "leases": 1, "at_work": True},
            {"owner": "worker-2", "me": False, "kcl": True, "leases": 1, "at_work": True},
        ],
    }


def test_the_status_of_a_daemon_that_only_starts_is_there_as_well() -> None:
    status = Pages(DaemonStarting(version="1", worker_id=ME)).status()
    assert (status["ready"], status["shards"], status["stream"]["arn"]) == (False, [], None)


def test_a_stream_that_was_replaced_is_followed() -> None:
    pages = Pages(*AT_WORK, StreamReplaced(stream=STREAM, old_arn="arn:1", new_arn="arn:2"))
    assert pages.status()["stream"]["replaced_by"] == "arn:2"
    pages.tell(StreamSwitched(stream=STREAM, old_arn="arn:1", new_arn="arn:2"))
    assert (pages.status()["stream"]["arn"], pages.status()["stream"]["replaced_by"]) == ("arn:2", None)
    pages.tell(ViewChanged(stream=STREAM, stream_arn="arn:2", view_type="KEYS_ONLY"))
    assert pages.status()["stream"]["view_type"] == "KEYS_ONLY"


def test_every_shard_of_the_stream_is_shown_and_mine_come_first() -> None:
    mine, others, finished = Pages(*AT_WORK).status()["shards"]
    assert (mine["shard"], mine["mine"], mine["owner"]) == ("A", True, ME)
    assert others == {
        "shard": "C",
        "state": "reading",
        "owner": "worker-2",
        "mine": False,
        "checkpoint": "77",
        "checkpoint_written": "2026-11-23T08:00:00.000Z",
        "parents": ["B"],
        "children": [],
    }
    assert (finished["shard"], finished["state"], finished["owner"]) == ("B", "finished", None)


def test_of_a_shard_of_mine_it_says_where_it_stands() -> None:
    pages = Pages(*AT_WORK)
    pages.tell(
        ShardBehind(stream=STREAM, shard="A", behind_s=9.0, oldest_created_s=EPOCH_S - 9, position="after 42"),
        CheckpointWritten(stream=STREAM, shard="A", checkpoint="41", at_s=EPOCH_S + 1),
        ShardRetrying(stream=STREAM, shard="A", route=ROUTE, since_s=EPOCH_S - 5),
        ReadFailing(
            stream=STREAM, shard="A", operation="GetRecords", code="x", error="no answer", failing_s=3.0, attempts=2
        ),
        DataLost(stream=STREAM, shard="A", reason="trimmed", position="after 42", action="stop"),
    )
    status = pages.status()
    assert status["shards"][0] == {
        "shard": "A",
        "state": "reading",
        "owner": ME,
        "mine": True,
        "checkpoint": "41",
        "checkpoint_written": "2026-11-23T08:00:01.000Z",
        "parents": [],
        "children": [],
        "held_since": "2026-11-23T08:00:00.000Z",
        "position": "after 42",
        "behind_seconds": 9.0,
        "oldest_unsettled": "2026-11-23T07:59:51.000Z",
        "data_loss_at": "2026-11-24T07:59:51.000Z",
        "last_page": "2026-11-23T08:00:00.000Z",
        "read_to_its_end": None,
        "failing_since": "2026-11-23T07:59:57.000Z",
        "error": "no answer",
        "retrying_since": {ROUTE: "2026-11-23T07:59:55.000Z"},
        "data_lost_at": "2026-11-23T08:00:00.000Z",
    }
    assert status["data_losses"]["count"] == 1
    assert status["data_losses"]["first"][0]["position"] == "after 42"


def test_of_a_route_it_says_what_it_has_done_and_what_waits() -> None:
    pages = Pages(*AT_WORK)
    pages.tell(
        Delivered(stream=STREAM, route=ROUTE, count=4, latencies_s=(0.1,) * 4),
        SendFailed(stream=STREAM, route=ROUTE, code="Throttled", count=3),
        QueueFailing(
            stream=STREAM, route=ROUTE, queue="jobs", code="Throttled", error="slow", failing_s=1.0, waiting=7
        ),
        RouteWaiting(stream=STREAM, route=ROUTE, waiting=8, dead_letters=1),
        DeadLettered(
            stream=STREAM,
            route=ROUTE,
            shard="A",
            event_id="e",
            sequence_number="42",
            reason="refused",
            code="x",
            attempts=1,
            content="record",
        ),
    )
    (route,) = pages.status()["routes"]
    assert route == {
        "name": ROUTE,
        "queue": "jobs",
        "dead_letter_queue": "dead",
        "matched": 2,
        "filtered": 3,
        "delivered": 4,
        "dead_lettered": 1,
        "entries_not_taken": 3,
        "waiting": 8,
        "dead_letters_waiting": 1,
        "failing_since": "2026-11-23T07:59:59.000Z",
        "error": "slow",
        "dead_letters": {"failing_since": None, "error": None},
        "last_error": "slow",
        "last_error_at": "2026-11-23T08:00:00.000Z",
    }


def test_a_queue_that_is_asked_for_nothing_any_more_is_not_said_to_refuse() -> None:
    failing = QueueFailing(stream=STREAM, route=ROUTE, queue="jobs", code="x", error="down", failing_s=1.0, waiting=7)
    pages = Pages(*AT_WORK, failing, RouteWaiting(stream=STREAM, route=ROUTE, waiting=0, dead_letters=0))

    (route,) = pages.status()["routes"]
    assert (pages.readyz()[0], route["failing_since"], route["error"], route["last_error"]) == (200, None, None, "down")


def test_it_says_which_settings_are_in_force_and_where_they_come_from() -> None:
    status = Pages(POLLER_LEASE__DURATION="20s").status()
    settings = {row["setting"]: (row["value"], row["origin"]) for row in status["settings"]}
    assert settings["lease.duration"] == ("20s", "environment variable POLLER_LEASE__DURATION")
    assert settings["checkpoint.interval"] == ("1s", "default")
    assert settings["route.0.filter"] == (json.dumps([DEFAULT_PATTERN]), "default")
    assert status["bounds_seconds"]["unrenewed"] == 40.0


def test_readiness_goes_by_the_settings_that_were_read_at_work() -> None:
    pages = Pages(*AT_WORK, RouteWaiting(stream=STREAM, route=ROUTE, waiting=2, dead_letters=0))
    slower = {"POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD": "0.05", "POLLER_ROUTE__MESSAGES_PER_SECOND": "0.05"}
    pages.report.set_settings(load({**SETTINGS, **slower}, None))
    bounds = pages.status()["bounds_seconds"]
    assert (bounds["unread"], bounds["silent"]) == (109.0, {ROUTE: 400.0})
    pages.clock.passed_s += 20  # a page every 20 s is what was asked for
    assert not [reason for reason in pages.readyz()[1]["reasons"] if reason["part"] == "shard A"]


def test_a_password_in_a_setting_is_masked() -> None:
    pages = Pages(POLLER_QUEUE="http://user:hunter2@localhost/000000000000/jobs")
    assert "hunter2" not in json.dumps(pages.status())


def test_however_many_shards_there_are_the_page_is_bounded_and_mine_are_on_it() -> None:
    finished = [
        SeenLease(Lease(f"F{number:05}", checkpoint="SHARD_END"), "finished") for number in range(3 * SHARDS_MAX)
    ]
    status = Pages(*AT_WORK, looked(*finished, MINE)).status()
    assert (len(status["shards"]), status["shards"][0]["shard"]) == (SHARDS_MAX, "A")
    assert status["shards_not_shown"] == 2 * SHARDS_MAX + 1


# --- a part of it -----------------------------------------------------------------------------------------------------


def troubled() -> Pages:
    """Nine shards of which each has something else, as the lease table would have them."""
    names = ("calm", "behind", "retrying", "failing", "lost")
    pages = Pages(*AT_WORK[:3], *(taken(name) for name in names), *(page(name) for name in names))
    pages.tell(
        looked(
            *(SeenLease(Lease(name, owner=ME), "reading") for name in names),
            SeenLease(Lease("elsewhere", owner="worker-2"), "reading"),
            SeenLease(Lease("nobodys"), "unowned"),
            SeenLease(Lease("orphan", owner="worker-3"), "expired"),
            FINISHED,
        ),
        ShardBehind(stream=STREAM, shard="behind", behind_s=90.0, oldest_created_s=EPOCH_S),
        ShardRetrying(stream=STREAM, shard="retrying", route=ROUTE, since_s=EPOCH_S),
        ReadFailing(
            stream=STREAM, shard="failing", operation="GetRecords", code="x", error="no", failing_s=1.0, attempts=1
        ),
        DataLost(stream=STREAM, shard="lost", reason="trimmed", position="after 42", action="stop"),
    )
    return pages


def shown(pages: Pages, **query: str) -> list[str]:
    return [row["shard"] for row in parsed(pages.report.status(query))[1]["shards"]]


def test_the_worst_shards_come_first_if_so_asked() -> None:
    worst = ["lost", "failing", "nobodys", "orphan", "retrying", "behind", "calm", "elsewhere", "B"]
    assert shown(troubled(), order="worst") == worst


def test_a_page_of_shards_has_as_many_as_were_asked_for() -> None:
    status = parsed(troubled().report.status({"order": "worst", "shards": "2", "skip": "3"}))[1]
    assert [row["shard"] for row in status["shards"]] == ["orphan", "retrying"]
    assert (status["shards_found"], status["shards_not_shown"]) == (9, 7)


@pytest.mark.parametrize(
    ("text", "found"), [("FAIL", ["failing"]), ("worker-2", ["elsewhere"]), ("unowned", ["nobodys"]), ("nothing", [])]
)
def test_shards_are_found_by_a_part_of_their_name_their_owner_and_their_state(text: str, found: list[str]) -> None:
    assert shown(troubled(), find=text) == found


def test_a_lineage_needs_little_of_each_shard() -> None:
    status = parsed(Pages(*AT_WORK).report.status({"rows": "brief", "settings": "no"}))[1]
    assert status["shards"][1] == {
        "shard": "C",
        "state": "reading",
        "owner": "worker-2",
        "mine": False,
        "parents": ["B"],
    }
    assert "settings" not in status


@pytest.mark.parametrize("query", [{"shards": "many"}, {"skip": "-1"}, {"order": "best"}, {"rows": "<script>"}])
def test_a_query_that_cannot_be_read_is_refused_in_one_line(query: dict[str, str]) -> None:
    answer = Pages(*AT_WORK).report.status(query)
    assert (answer.status, answer.body.count(b"\n"), answer.content_type) == (400, 1, "text/plain; charset=utf-8")


# --- what flows -------------------------------------------------------------------------------------------------------


def test_the_flow_is_told_as_totals_as_rates_and_step_by_step() -> None:
    pages = Pages(*AT_WORK)  # in which a page of five was read, of which two matched
    pages.tell(LoopLagged(seconds=0.0))
    for second in range(1, 11):
        pages.clock.passed_s = float(second)
        pages.tell(page("A"), LoopLagged(seconds=0.0))
    flow = pages.status()["flow"]
    assert flow["totals"] == {"read": 55, "matched": 22, "delivered": 0, "dead_lettered": 0}
    assert (flow["per_second"]["read"], flow["per_second"]["matched"]) == (5.5, 2.2)  # of ten seconds and the begin
    fine, coarse = flow["history"]
    assert (fine["step_seconds"], fine["read"], fine["matched"]) == (2.0, [15, 10, 10, 10, 10], [6, 4, 4, 4, 4])
    assert (coarse["step_seconds"], coarse["read"]) == (300.0, [])


def test_a_loop_that_stood_still_leaves_a_gap_and_the_history_is_bounded() -> None:
    pages = Pages(*AT_WORK)
    pages.tell(LoopLagged(seconds=0.0))
    pages.clock.passed_s = 10.0
    pages.tell(LoopLagged(seconds=9.0))
    assert pages.status()["flow"]["history"][0]["read"] == [0, 0, 0, 0, 5]
    pages.clock.passed_s = 1e7
    pages.tell(LoopLagged(seconds=1e7))
    assert [len(steps["read"]) for steps in pages.status()["flow"]["history"]] == [150, 288]


def test_what_it_costs_is_told_where_it_is_known() -> None:
    pages = Pages(*AT_WORK)
    assert pages.status()["estimated_cost_usd_per_month"] is None
    metrics = Metrics()
    settings = load(SETTINGS, None)
    report = Report(pages.watch.known, settings, pages.clock, lambda: metrics.costs(STREAM))
    assert parsed(report.status())[1]["estimated_cost_usd_per_month"] is None
    metrics.register_cost(STREAM, prices(settings), ())
    costs = parsed(report.status())[1]["estimated_cost_usd_per_month"]
    assert costs == {"stream_reads": 0.0, "lease_reads": 0.0, "lease_writes": 0.0, "queue": 0.0}
