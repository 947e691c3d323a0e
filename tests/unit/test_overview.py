"""Readiness, status and metrics of a process with two streams: told apart, and none of them hidden behind the other."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from poller.events import (
    DaemonReady,
    DaemonStarting,
    DaemonStopping,
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
    RouteWaiting,
    SeenLease,
    ShardStarted,
    StartupFailed,
    StartupWaiting,
    TaskFailed,
)
from poller.model import Lease
from poller.observe.fanout import Fanout
from poller.observe.metrics import Metrics
from poller.observe.overview import Overview
from poller.observe.status import REASONS_MAX, Report
from poller.observe.watch import ByStream, Watch
from poller.settings import load_all
from tests.still import EPOCH_S, StillClock

ORDERS, PAYMENTS = "Orders", "Payments"
ROUTE, ME, SHARD = "default", "worker-1", "shardId-1"


class Pages:
    """The pages of a daemon for both streams, to which these events happen."""

    def __init__(self, folder: Path) -> None:
        paths = [folder / f"{table}.toml" for table in (ORDERS, PAYMENTS)]
        for path in paths:
            path.write_text(f'[stream]\ntable = "{path.stem}"\n[[route]]\nqueue = "{path.stem}-jobs"\n', "utf-8")
        self.clock = StillClock()
        watches: dict[str, Watch] = {}
        reports: dict[str, Report] = {}
        for settings in load_all({"POLLER_WORKER_ID": ME}, paths):
            watch = Watch((route.name for route in settings.routes), self.clock.monotonic)
            watches[settings.stream.table_name] = watch
            reports[settings.stream.table_name] = Report(watch.known, settings, self.clock)
        self.overview = Overview(reports, self.clock)
        self.sink = Fanout([ByStream(watches)], sys.stderr)

    def tell(self, *events: Event) -> None:
        for event in events:
            self.sink(event)

    def reasons(self) -> list[tuple[str, str]]:
        """What /readyz says: stream and part."""
        answer = self.overview.readiness()
        body = json.loads(answer.body)
        assert body["ready"] is (answer.status == 200) is self.overview.ready() is (not body["reasons"])
        return [(reason["stream"], reason["part"]) for reason in body["reasons"]]

    def status(self) -> dict[str, Any]:
        answer = self.overview.status()
        assert (answer.status, answer.content_type) == (200, "application/json")
        body: dict[str, Any] = json.loads(answer.body)
        return body


def begun(stream: str) -> list[Event]:
    """What happens until a stream of one shard is read."""
    row = SeenLease(Lease(SHARD, owner=ME, counter=1), "reading")
    return [
        DaemonReady(
            stream=stream, stream_arn=f"arn:{stream}", view_type="NEW_IMAGE", lease_table="leases", routes=(ROUTE,)
        ),
        Discovered(stream=stream, shards=1, created=0, seconds=0.1),
        LeaseTaken(stream=stream, shard=SHARD, reason="unowned", previous_owner=None, checkpoint="TRIM_HORIZON"),
        FleetSeen(stream=stream, shards={"reading": 1}, held=1, workers=1, rows=(row,)),
        page(stream),
    ]


def page(stream: str) -> PageRead:
    return PageRead(
        stream=stream,
        shard=SHARD,
        size_bytes=100,
        events={"MODIFY": 5},
        matched={ROUTE: 2},
        filtered={ROUTE: 3},
        behind_s=1.5,
        polled_at_s=EPOCH_S,
    )


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    return Pages(tmp_path)


@pytest.fixture
def ready(pages: Pages) -> Pages:
    pages.tell(DaemonStarting(version="1.2.3", worker_id=ME), *begun(ORDERS), *begun(PAYMENTS))
    return pages


# --- readyz -----------------------------------------------------------------------------------------------------------


def test_a_process_is_ready_when_each_of_its_streams_is(pages: Pages) -> None:
    pages.tell(DaemonStarting(version="1", worker_id=ME))
    assert pages.reasons() == [(ORDERS, "start"), (PAYMENTS, "start")]
    pages.tell(*begun(PAYMENTS))
    assert pages.reasons() == [(ORDERS, "start")]
    pages.tell(*begun(ORDERS))
    assert pages.reasons() == []


def test_a_reason_names_its_stream_and_the_oldest_comes_first(ready: Pages) -> None:
    ready.clock.passed_s = 5.0
    ready.tell(
        LeaseTableFailing(stream=ORDERS, code="x", error="no answer", failing_s=1.0),
        RouteWaiting(stream=PAYMENTS, route=ROUTE, waiting=3, dead_letters=0),
        QueueFailing(stream=PAYMENTS, route=ROUTE, queue="q", code="x", error="down", failing_s=4.0, waiting=3),
    )

    assert ready.reasons() == [(PAYMENTS, "queue of route default"), (ORDERS, "lease table")]


def test_a_worker_that_failed_is_its_own_streams_reason(ready: Pages) -> None:
    ready.tell(TaskFailed(stream=PAYMENTS, task="worker", error="KeyError", retry_in_s=1.0))

    assert ready.reasons() == [(PAYMENTS, "worker")]


def test_a_start_that_fails_while_the_other_stream_is_at_work_says_why_until_it_succeeds(pages: Pages) -> None:
    pages.tell(
        *begun(ORDERS),
        StartupWaiting(stream=PAYMENTS, what="queue jobs", error="no answer", retry_in_s=1.0),
        StartupFailed(stream=PAYMENTS, error="there is no such queue; make it", retry_in_s=2.0),
    )
    [reason] = json.loads(pages.overview.readiness().body)["reasons"]

    assert (reason["stream"], reason["part"]) == (PAYMENTS, "start")
    assert reason["text"].endswith("while the other streams go on: there is no such queue; make it.")
    pages.tell(*begun(PAYMENTS))
    assert pages.reasons() == []


def test_leaving_is_a_reason_for_all(ready: Pages) -> None:
    ready.tell(DaemonStopping(reason="SIGTERM"))

    assert ready.reasons() == [(ORDERS, "stop"), (PAYMENTS, "stop")]


def test_of_very_many_reasons_of_one_stream_the_page_stays_bounded_and_counts_the_others(ready: Pages) -> None:
    for number in range(10 * REASONS_MAX):
        ready.tell(LeaseTaken(stream=ORDERS, shard=f"S{number}", reason="unowned", previous_owner=None, checkpoint="1"))
    ready.clock.passed_s = 3600.0
    body = json.loads(ready.overview.readiness().body)

    assert len(body["reasons"]) == REASONS_MAX + 1
    assert "more reasons; see /status." in body["reasons"][-1]["text"]


# --- status -----------------------------------------------------------------------------------------------------------


def test_the_status_has_what_is_the_processs_once_and_each_stream_in_a_list(ready: Pages) -> None:
    ready.tell(Delivered(stream=PAYMENTS, route=ROUTE, count=2, latencies_s=(0.1, 0.2)))
    status = ready.status()

    assert (status["worker_id"], status["version"], status["ready"]) == (ME, "1.2.3", True)
    assert set(status) == {
        "worker_id",
        "version",
        "now",
        "started_at",
        "stopping_since",
        "verdict",
        "ready",
        "reasons",
        "streams",
    }
    orders, payments = status["streams"]
    assert (orders["stream"]["table"], payments["stream"]["table"]) == (ORDERS, PAYMENTS)
    assert (orders["stream"]["arn"], payments["stream"]["arn"]) == ("arn:Orders", "arn:Payments")
    assert (orders["routes"][0]["delivered"], payments["routes"][0]["delivered"]) == (0, 2)
    assert (orders["routes"][0]["queue"], payments["routes"][0]["queue"]) == ("Orders-jobs", "Payments-jobs")
    assert [shard["shard"] for shard in payments["shards"]] == [SHARD]


def test_a_stream_that_is_not_ready_leaves_the_other_one_ready_on_the_page(ready: Pages) -> None:
    ready.tell(LeaseTableFailing(stream=ORDERS, code="x", error="no answer", failing_s=1.0))
    status = ready.status()

    assert status["ready"] is False
    assert [one["ready"] for one in status["streams"]] == [False, True]
    assert [[reason["part"] for reason in one["reasons"]] for one in status["streams"]] == [["lease table"], []]


def test_with_one_stream_the_page_says_of_it_what_with_several_each_one_does(ready: Pages, tmp_path: Path) -> None:
    [settings] = load_all({"POLLER_WORKER_ID": ME}, [tmp_path / f"{ORDERS}.toml"])
    watch = Watch([ROUTE], ready.clock.monotonic)
    for event in (DaemonStarting(version="1.2.3", worker_id=ME), *begun(ORDERS)):
        watch(event)
    single = json.loads(Report(watch.known, settings, ready.clock).status().body)
    several = ready.status()
    of_the_process = {name: value for name, value in several.items() if name != "streams"}

    del single["settings"], several["streams"][0]["settings"]  # the files are named otherwise
    assert single == of_the_process | several["streams"][0]


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_every_family_with_a_stream_keeps_two_of_them_apart() -> None:
    metrics = Metrics(wall=lambda: EPOCH_S)
    for stream in (ORDERS, PAYMENTS):
        metrics.register_stream(stream)
        metrics.register_route(stream, ROUTE)
        metrics(ShardStarted(stream=stream, shard=SHARD, position="TRIM_HORIZON"))
    before = of(ORDERS, metrics)
    for event in (
        *begun(PAYMENTS),
        Delivered(stream=PAYMENTS, route=ROUTE, count=2, latencies_s=(0.1, 0.2)),
        DeadLettered(
            stream=PAYMENTS,
            route=ROUTE,
            shard=SHARD,
            event_id="e",
            sequence_number="1",
            reason="refused",
            code="x",
            attempts=1,
            content="record",
        ),
        LoopLagged(seconds=0.1),
    ):
        metrics(event)

    assert of(ORDERS, metrics) == before
    payments = {"stream": PAYMENTS, "route": ROUTE}
    assert metrics.registry.get_sample_value("poller_records_delivered_total", payments) == 2.0
    assert metrics.registry.get_sample_value("poller_event_loop_lag_seconds_count") == 1.0


def of(stream: str, metrics: Metrics) -> dict[str, float]:
    """The values of a stream's series."""
    samples = (sample for family in metrics.registry.collect() for sample in family.samples)
    return {f"{one.name}{one.labels}": one.value for one in samples if one.labels.get("stream") == stream}


def test_of_the_stream_that_is_asked_for_the_shards_are_told_of_the_others_only_the_rest(ready: Pages) -> None:
    status = json.loads(ready.overview.status({"stream": PAYMENTS}).body)
    assert {one["stream"]["table"]: len(one["shards"]) for one in status["streams"]} == {ORDERS: 0, PAYMENTS: 1}


def test_the_verdict_is_on_all_streams_and_each_has_its_own(ready: Pages) -> None:
    assert ready.status()["verdict"] == {
        "level": "ok",
        "text": "All 2 shards of 2 streams are read; 1.5 s behind; nothing retrying.",
    }
    ready.tell(LeaseTableFailing(stream=PAYMENTS, code="x", error="Scan: no answer", failing_s=2.0))
    status = ready.status()
    assert status["verdict"]["text"].startswith(f"Stream {PAYMENTS}: The lease table has not answered")
    assert [one["verdict"]["level"] for one in status["streams"]] == ["ok", "trouble"]
