"""Metrics: which there are, what feeds them, when their series begin and end."""

from __future__ import annotations

import asyncio
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from poller import __version__, events
from poller.events import (
    ApiCalled,
    Buffered,
    CheckpointFailed,
    CheckpointWritten,
    DataLost,
    DeadLettered,
    Delivered,
    Discovered,
    Event,
    FleetSeen,
    LeaseLost,
    LeaseOperation,
    LeaseReleased,
    LeaseTaken,
    LimiterWaited,
    LookFailed,
    LoopLagged,
    PageRead,
    Resent,
    SendFailed,
    SettingsRefused,
    SettingsReloaded,
    ShardBehind,
    ShardFinished,
    ShardRetrying,
    ShardStarted,
    ShardStopped,
)
from poller.observe.metrics import LOGGED_ONLY, Metrics

STREAM, ROUTE, SHARD = "Uploads", "default", "shardId-1"
BEGAN = 1_795_420_800.0

STARTED = ShardStarted(stream=STREAM, shard=SHARD, position="TRIM_HORIZON")
PAGE = PageRead(
    stream=STREAM,
    shard=SHARD,
    size_bytes=2_000,
    events={"MODIFY": 2, "REMOVE": 1},
    matched={ROUTE: 1},
    filtered={ROUTE: 2},
    behind_s=7.0,
    polled_at_s=BEGAN + 1,
)
CHECKPOINT = CheckpointWritten(stream=STREAM, shard=SHARD, checkpoint="42", at_s=BEGAN + 2)
RETRYING = ShardRetrying(stream=STREAM, shard=SHARD, route=ROUTE, since_s=BEGAN + 3)
BEHIND = ShardBehind(stream=STREAM, shard=SHARD, behind_s=9.0, oldest_created_s=BEGAN - 9)
LOST = LeaseLost(stream=STREAM, shard=SHARD, reason="taken")
DEAD = DeadLettered(
    stream=STREAM,
    route=ROUTE,
    shard=SHARD,
    event_id="e",
    sequence_number="42",
    reason="refused",
    code="InvalidMessageContents",
    attempts=1,
    content="record",
)
FLEET = FleetSeen(stream=STREAM, shards={"reading": 2, "finished": 1}, held=1, workers=2)

# One of each kind that is counted, beginning with what makes the shard's series.
ALL: list[Event] = [
    STARTED,
    PAGE,
    CHECKPOINT,
    CheckpointFailed(stream=STREAM, shard=SHARD, code="Throttled"),
    RETRYING,
    BEHIND,
    DEAD,
    FLEET,
    Delivered(stream=STREAM, route=ROUTE, count=2, latencies_s=(0.2, 90_000.0)),
    SendFailed(stream=STREAM, route=ROUTE, code="Throttled", count=3),
    Resent(stream=STREAM, route=ROUTE, reason="no_answer", count=4),
    DataLost(stream=STREAM, shard=SHARD, reason="trimmed", position="42", action="stop"),
    Buffered(stream=STREAM, records=5, size_bytes=6_000),
    LeaseTaken(stream=STREAM, shard=SHARD, reason="expired", previous_owner="other", checkpoint="42"),
    LeaseOperation(stream=STREAM, operation="renew", result="ok"),
    Discovered(stream=STREAM, shards=3, created=1, seconds=0.3),
    LookFailed(stream=STREAM, code="Throttled"),
    ApiCalled(service="sqs", operation="SendMessageBatch", code="OK", seconds=0.02),
    LimiterWaited(limiter="describe_stream", seconds=0.1),
    LoopLagged(seconds=0.004),
    SettingsReloaded(applied=("log.level",), need_restart=()),
    SettingsRefused(error="no"),
]

# Every metric with its type and its labels: dashboards and alert rules hang on each word.
FAMILIES = {
    "poller_reloads_total": ("counter", {"result"}),
    "poller_records_read_total": ("counter", {"stream", "event"}),
    "poller_read_bytes_total": ("counter", {"stream"}),
    "poller_records_matched_total": ("counter", {"stream", "route"}),
    "poller_records_filtered_total": ("counter", {"stream", "route"}),
    "poller_records_delivered_total": ("counter", {"stream", "route"}),
    "poller_records_dead_lettered_total": ("counter", {"stream", "route", "reason"}),
    "poller_records_lost_total": ("counter", {"stream", "reason"}),
    "poller_records_resent_total": ("counter", {"stream", "route", "reason"}),
    "poller_send_errors_total": ("counter", {"stream", "route", "code"}),
    "poller_api_requests_total": ("counter", {"service", "operation", "code"}),
    "poller_api_request_duration_seconds": ("histogram", {"service", "operation"}),
    "poller_delivery_latency_seconds": ("histogram", {"stream", "route"}),
    "poller_shard_behind_seconds": ("gauge", {"stream", "shard"}),
    "poller_shard_data_loss_timestamp_seconds": ("gauge", {"stream", "shard"}),
    "poller_shard_retrying_since_timestamp_seconds": ("gauge", {"stream", "shard", "route"}),
    "poller_shard_checkpoint_timestamp_seconds": ("gauge", {"stream", "shard"}),
    "poller_shard_last_poll_timestamp_seconds": ("gauge", {"stream", "shard"}),
    "poller_shard_uncheckpointed_since_timestamp_seconds": ("gauge", {"stream", "shard"}),
    "poller_shards": ("gauge", {"stream", "state"}),
    "poller_leases_held": ("gauge", {"stream"}),
    "poller_workers": ("gauge", {"stream"}),
    "poller_leases_taken_total": ("counter", {"stream", "reason"}),
    "poller_leases_lost_total": ("counter", {"stream", "reason"}),
    "poller_lease_operations_total": ("counter", {"stream", "operation", "result"}),
    "poller_checkpoints_total": ("counter", {"stream", "result"}),
    "poller_discoveries_total": ("counter", {"stream", "result"}),
    "poller_discovery_duration_seconds": ("histogram", set[str]()),
    "poller_throttle_wait_seconds": ("histogram", {"limiter"}),
    "poller_buffered_records": ("gauge", {"stream"}),
    "poller_buffered_bytes": ("gauge", {"stream"}),
    "poller_event_loop_lag_seconds": ("histogram", set[str]()),
    "poller_build_info": ("gauge", {"version", "python"}),
}
if Path("/proc/self/stat").exists():
    FAMILIES |= {
        "poller_process_cpu_seconds_total": ("counter", set()),
        "poller_process_max_fds": ("gauge", set()),
        "poller_process_open_fds": ("gauge", set()),
        "poller_process_resident_memory_bytes": ("gauge", set()),
        "poller_process_start_time_seconds": ("gauge", set()),
        "poller_process_virtual_memory_bytes": ("gauge", set()),
    }


def fresh(*, per_shard: bool = True) -> Metrics:
    metrics = Metrics(per_shard=per_shard, wall=lambda: BEGAN)
    metrics.register_stream(STREAM)
    metrics.register_route(STREAM, ROUTE)
    return metrics


def fed(*happened: Event, per_shard: bool = True) -> Metrics:
    metrics = fresh(per_shard=per_shard)
    for event in happened:
        metrics(event)
    return metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"poller_{name}", labels)


def shard_series(metrics: Metrics) -> list[str]:
    return [
        sample.name for family in metrics.registry.collect() for sample in family.samples if "shard" in sample.labels
    ]


def test_every_kind_of_event_is_counted_or_deliberately_only_logged() -> None:
    kinds = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)} - {Event}
    counted = Metrics().counted
    assert counted | LOGGED_ONLY == kinds
    assert not counted & LOGGED_ONLY
    assert {type(event) for event in ALL} | {LeaseLost, LeaseReleased, ShardFinished, ShardStopped} == counted


def test_all_metrics_have_the_names_types_and_labels_that_dashboards_rely_on() -> None:
    seen: dict[str, tuple[str, set[str]]] = {}
    for family in text_string_to_metric_families(fed(*ALL, LOST).render().decode() + fed(*ALL).render().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert family.documentation
        for sample in family.samples:
            seen[name] = (family.type, set(sample.labels) - {"le"})
    assert seen == FAMILIES


def test_the_tasks_of_the_loop_that_is_asked_are_counted() -> None:
    async def ask() -> float | None:
        waiting = [asyncio.create_task(asyncio.sleep(60)) for _ in range(3)]
        tasks = value(fresh(), "asyncio_tasks")
        for task in waiting:
            task.cancel()
        return tasks

    assert asyncio.run(ask()) == 4
    assert value(fresh(), "asyncio_tasks") is None


def test_the_exposition_passes_prometheus_rules_for_names() -> None:
    exposition = fed(*ALL).render()
    for line in exposition.decode().splitlines():
        name = re.split(r"[ {]", line.removeprefix("# HELP ").removeprefix("# TYPE "))[0]
        assert re.fullmatch(r"poller_[a-z]+(_[a-z]+)*", name), f"{name} is not lower_snake_case"
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|kib|mib|created)(_|$)", name), f"{name}: not a base unit"
    for kind, name in re.findall(r"# TYPE (\S+) (\S+)", exposition.decode()):
        assert kind.endswith("_total") == (name == "counter"), f"{kind} is a {name}"


def test_promtool_finds_no_fault_in_the_exposition(promtool: str) -> None:
    exposition = fed(*ALL).render()
    checked = subprocess.run([promtool, "check", "metrics"], input=exposition, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_what_an_alert_rule_counts_is_at_0_before_it_first_happens() -> None:
    metrics = fresh()
    on, route = {"stream": STREAM}, {"stream": STREAM, "route": ROUTE}
    assert value(metrics, "records_read_total", **on, event="INSERT") == 0
    assert value(metrics, "records_matched_total", **route) == 0
    assert value(metrics, "records_delivered_total", **route) == 0
    assert value(metrics, "records_dead_lettered_total", **route, reason="max_attempts") == 0
    for reason in ("trimmed", "shard_gone", "stream_gone"):
        assert value(metrics, "records_lost_total", **on, reason=reason) == 0
    assert value(metrics, "records_resent_total", **route, reason="no_answer") == 0
    assert value(metrics, "delivery_latency_seconds_count", **route) == 0
    assert value(metrics, "shards", **on, state="unowned") == 0
    assert value(metrics, "leases_lost_total", **on, reason="deadline") == 0
    assert value(metrics, "lease_operations_total", **on, operation="checkpoint", result="conflict") == 0
    assert value(metrics, "checkpoints_total", **on, result="error") == 0
    assert value(metrics, "discoveries_total", **on, result="error") == 0
    assert value(metrics, "discovery_duration_seconds_count") == 0
    assert value(metrics, "event_loop_lag_seconds_count") == 0


def test_registering_again_keeps_what_was_counted() -> None:
    metrics = fed(PAGE, FLEET)
    metrics.register_stream(STREAM)
    metrics.register_route(STREAM, ROUTE)
    assert value(metrics, "records_matched_total", stream=STREAM, route=ROUTE) == 1
    assert value(metrics, "workers", stream=STREAM) == 2


def test_a_page_counts_its_records_by_event_and_route() -> None:
    metrics = fed(PAGE, PAGE)
    assert value(metrics, "records_read_total", stream=STREAM, event="MODIFY") == 4
    assert value(metrics, "records_read_total", stream=STREAM, event="REMOVE") == 2
    assert value(metrics, "read_bytes_total", stream=STREAM) == 4_000
    assert value(metrics, "records_matched_total", stream=STREAM, route=ROUTE) == 2
    assert value(metrics, "records_filtered_total", stream=STREAM, route=ROUTE) == 4


def test_deliveries_are_counted_and_their_latencies_sorted_into_buckets() -> None:
    metrics = fed(Delivered(stream=STREAM, route=ROUTE, count=4, latencies_s=(0.05, 0.1, 0.2, 90_000.0)))
    on = {"stream": STREAM, "route": ROUTE}
    assert value(metrics, "records_delivered_total", **on) == 4
    assert value(metrics, "delivery_latency_seconds_bucket", **on, le="0.1") == 2
    assert value(metrics, "delivery_latency_seconds_bucket", **on, le="0.25") == 3
    assert value(metrics, "delivery_latency_seconds_bucket", **on, le="86400.0") == 3
    assert value(metrics, "delivery_latency_seconds_bucket", **on, le="+Inf") == 4
    assert value(metrics, "delivery_latency_seconds_count", **on) == 4
    assert value(metrics, "delivery_latency_seconds_sum", **on) == pytest.approx(90_000.35)


def test_what_goes_wrong_with_records_is_counted_by_reason_or_code() -> None:
    metrics = fed(*ALL, *ALL)
    on, route = {"stream": STREAM}, {"stream": STREAM, "route": ROUTE}
    assert value(metrics, "records_dead_lettered_total", **route, reason="refused") == 2
    assert value(metrics, "records_lost_total", **on, reason="trimmed") == 2
    assert value(metrics, "records_resent_total", **route, reason="no_answer") == 8
    assert value(metrics, "send_errors_total", **route, code="Throttled") == 6


def test_the_buffers_show_what_they_hold_now() -> None:
    metrics = fed(
        Buffered(stream=STREAM, records=5, size_bytes=6_000), Buffered(stream=STREAM, records=1, size_bytes=700)
    )
    assert value(metrics, "buffered_records", stream=STREAM) == 1
    assert value(metrics, "buffered_bytes", stream=STREAM) == 700


def test_leases_checkpoints_and_discoveries_are_counted_by_reason_and_result() -> None:
    metrics = fed(*ALL, LOST)
    assert value(metrics, "leases_taken_total", stream=STREAM, reason="expired") == 1
    assert value(metrics, "leases_lost_total", stream=STREAM, reason="taken") == 1
    assert value(metrics, "lease_operations_total", stream=STREAM, operation="renew", result="ok") == 1
    assert value(metrics, "checkpoints_total", stream=STREAM, result="ok") == 1
    assert value(metrics, "checkpoints_total", stream=STREAM, result="error") == 1
    assert value(metrics, "discoveries_total", stream=STREAM, result="ok") == 1
    assert value(metrics, "discoveries_total", stream=STREAM, result="error") == 1
    assert value(metrics, "discovery_duration_seconds_sum") == 0.3


def test_leases_held_are_told_between_the_looks_at_the_table_too() -> None:
    taken = LeaseTaken(stream=STREAM, shard=SHARD, reason="expired", previous_owner="other", checkpoint="42")
    metrics = fed(replace(FLEET, held=0), taken, replace(taken, shard="shardId-2"), replace(taken, shard="shardId-3"))
    assert value(metrics, "leases_held", stream=STREAM) == 3
    metrics(LOST)
    metrics(LeaseReleased(stream=STREAM, shard="shardId-2", checkpoint="42"))
    assert value(metrics, "leases_held", stream=STREAM) == 1


def test_a_state_that_no_shard_is_in_any_more_goes_back_to_0() -> None:
    metrics = fed(FLEET, FleetSeen(stream=STREAM, shards={"reading": 3}, held=3, workers=1))
    assert value(metrics, "shards", stream=STREAM, state="reading") == 3
    assert value(metrics, "shards", stream=STREAM, state="finished") == 0
    assert value(metrics, "leases_held", stream=STREAM) == 3
    assert value(metrics, "workers", stream=STREAM) == 1


def test_calls_and_waits_are_counted_and_timed() -> None:
    metrics = fed(*ALL)
    on = {"service": "sqs", "operation": "SendMessageBatch"}
    assert value(metrics, "api_requests_total", **on, code="OK") == 1
    assert value(metrics, "api_request_duration_seconds_sum", **on) == 0.02
    assert value(metrics, "throttle_wait_seconds_count", limiter="describe_stream") == 1
    assert value(metrics, "event_loop_lag_seconds_bucket", le="0.01") == 1


def test_what_runs_is_told_by_its_labels() -> None:
    exposition = Metrics().render().decode()
    assert re.search(
        rf'^poller_build_info{{python="[\d.a-z+]+",version="{__version__}"}} 1.0$', exposition, re.MULTILINE
    )


def test_two_registries_do_not_share_anything() -> None:
    counted, untouched = fed(PAGE), fresh()
    assert value(counted, "read_bytes_total", stream=STREAM) == 2_000
    assert value(untouched, "read_bytes_total", stream=STREAM) == 0


# --- single shards ----------------------------------------------------------------------------------------------------

ON_SHARD = {"stream": STREAM, "shard": SHARD}


def test_a_shards_times_begin_with_the_reading_so_that_one_that_is_never_read_rings() -> None:
    metrics = fed(STARTED)
    assert value(metrics, "shard_last_poll_timestamp_seconds", **ON_SHARD) == BEGAN
    assert value(metrics, "shard_checkpoint_timestamp_seconds", **ON_SHARD) == BEGAN
    assert value(metrics, "shard_retrying_since_timestamp_seconds", **ON_SHARD, route=ROUTE) == 0
    assert value(metrics, "shard_behind_seconds", **ON_SHARD) is None


def test_a_shards_series_follow_its_pages_checkpoints_and_retries() -> None:
    metrics = fed(STARTED, PAGE, CHECKPOINT, RETRYING)
    assert value(metrics, "shard_behind_seconds", **ON_SHARD) == 7.0
    assert value(metrics, "shard_last_poll_timestamp_seconds", **ON_SHARD) == BEGAN + 1
    assert value(metrics, "shard_checkpoint_timestamp_seconds", **ON_SHARD) == BEGAN + 2
    assert value(metrics, "shard_retrying_since_timestamp_seconds", **ON_SHARD, route=ROUTE) == BEGAN + 3
    metrics(ShardRetrying(stream=STREAM, shard=SHARD, route=ROUTE, since_s=None))
    assert value(metrics, "shard_retrying_since_timestamp_seconds", **ON_SHARD, route=ROUTE) == 0


def test_a_shard_that_is_read_to_its_end_is_not_missing_polls_while_its_records_are_settled() -> None:
    metrics = fed(STARTED, PAGE, replace(PAGE, polled_at_s=BEGAN + 5, last=True), BEHIND, RETRYING)
    assert value(metrics, "shard_last_poll_timestamp_seconds", **ON_SHARD) is None
    assert value(metrics, "shard_behind_seconds", **ON_SHARD) == 9.0
    assert value(metrics, "shard_data_loss_timestamp_seconds", **ON_SHARD) == BEGAN - 9 + 24 * 3600
    assert value(metrics, "shard_uncheckpointed_since_timestamp_seconds", **ON_SHARD) == BEGAN + 1
    assert value(fed(STARTED, PAGE, LOST, STARTED), "shard_last_poll_timestamp_seconds", **ON_SHARD) == BEGAN


def test_records_that_no_checkpoint_follows_are_told_from_the_first_of_them_on() -> None:
    since = "shard_uncheckpointed_since_timestamp_seconds"
    metrics = fed(STARTED, replace(PAGE, events={"MODIFY": 0, "REMOVE": 0}))
    assert value(metrics, since, **ON_SHARD) == 0
    metrics(PAGE)
    metrics(replace(PAGE, polled_at_s=BEGAN + 9))
    assert value(metrics, since, **ON_SHARD) == BEGAN + 1
    metrics(CHECKPOINT)
    assert value(metrics, since, **ON_SHARD) == 0
    metrics(replace(PAGE, polled_at_s=BEGAN + 9))
    assert value(metrics, since, **ON_SHARD) == BEGAN + 9


def test_what_will_be_trimmed_next_is_foretold_while_something_is_unsettled() -> None:
    metrics = fed(STARTED, BEHIND)
    assert value(metrics, "shard_behind_seconds", **ON_SHARD) == 9.0
    assert value(metrics, "shard_data_loss_timestamp_seconds", **ON_SHARD) == BEGAN - 9 + 24 * 3600
    metrics(ShardBehind(stream=STREAM, shard=SHARD, behind_s=0.0, oldest_created_s=None))
    assert value(metrics, "shard_behind_seconds", **ON_SHARD) == 0.0
    assert value(metrics, "shard_data_loss_timestamp_seconds", **ON_SHARD) is None


@pytest.mark.parametrize(
    "end",
    [
        LOST,
        LeaseReleased(stream=STREAM, shard=SHARD, checkpoint="42"),
        ShardFinished(stream=STREAM, shard=SHARD, children=()),
        ShardStopped(stream=STREAM, shard=SHARD),
    ],
    ids=lambda event: event.name(),
)
def test_a_shards_series_end_when_this_worker_reads_it_no_more(end: Event) -> None:
    assert shard_series(fed(STARTED, PAGE, CHECKPOINT, RETRYING, BEHIND, end, end)) == []


def test_an_event_that_comes_late_brings_no_series_back() -> None:
    assert shard_series(fed(STARTED, LOST, PAGE, CHECKPOINT, RETRYING, BEHIND)) == []


def test_a_shard_that_is_read_again_begins_anew() -> None:
    metrics = fed(STARTED, PAGE, RETRYING, LOST, STARTED)
    assert value(metrics, "shard_last_poll_timestamp_seconds", **ON_SHARD) == BEGAN
    assert value(metrics, "shard_retrying_since_timestamp_seconds", **ON_SHARD, route=ROUTE) == 0


def test_the_end_of_one_shard_leaves_the_others_alone() -> None:
    other = ShardStarted(stream=STREAM, shard="shardId-2", position="LATEST")
    assert len(shard_series(fed(STARTED, other, LOST))) == len(shard_series(fed(other))) > 0


# --- the worst shard instead of each ----------------------------------------------------------------------------------

OTHER = "shardId-2"
OTHER_STARTED = ShardStarted(stream=STREAM, shard=OTHER, position="LATEST")


def test_series_of_single_shards_can_be_left_out() -> None:
    metrics = fed(*ALL, per_shard=False)
    assert shard_series(metrics) == []
    assert value(metrics, "records_read_total", stream=STREAM, event="MODIFY") == 2


def test_without_them_the_worst_shard_stands_for_all_under_the_same_names() -> None:
    metrics = fed(STARTED, OTHER_STARTED, PAGE, RETRYING, BEHIND, per_shard=False)
    metrics(replace(PAGE, shard=OTHER, polled_at_s=BEGAN + 5, behind_s=3.0))
    metrics(replace(BEHIND, shard=OTHER, behind_s=4.0, oldest_created_s=BEGAN - 4))
    assert value(metrics, "shard_behind_seconds", stream=STREAM) == 9.0
    assert value(metrics, "shard_data_loss_timestamp_seconds", stream=STREAM) == BEGAN - 9 + 24 * 3600
    assert value(metrics, "shard_last_poll_timestamp_seconds", stream=STREAM) == BEGAN + 1
    assert value(metrics, "shard_retrying_since_timestamp_seconds", stream=STREAM, route=ROUTE) == BEGAN + 3
    metrics(replace(RETRYING, since_s=None))
    assert value(metrics, "shard_retrying_since_timestamp_seconds", stream=STREAM, route=ROUTE) == 0


def test_the_oldest_records_without_a_checkpoint_are_told_however_many_shards_have_some_a_moment_ago() -> None:
    metrics = fed(STARTED, OTHER_STARTED, per_shard=False)
    assert value(metrics, "shard_uncheckpointed_since_timestamp_seconds", stream=STREAM) == 0
    metrics(replace(PAGE, shard=OTHER, polled_at_s=BEGAN + 60))
    metrics(replace(PAGE, polled_at_s=BEGAN + 70))
    assert value(metrics, "shard_uncheckpointed_since_timestamp_seconds", stream=STREAM) == BEGAN + 60
    metrics(replace(CHECKPOINT, shard=OTHER))
    assert value(metrics, "shard_uncheckpointed_since_timestamp_seconds", stream=STREAM) == BEGAN + 70


def test_without_any_shard_there_is_no_worst_one() -> None:
    assert b"\npoller_shard_" not in fed(STARTED, PAGE, LOST, per_shard=False).render()
