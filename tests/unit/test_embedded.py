"""Metrics in the log for CloudWatch: what the lines say, when they come, and that the template asks for no others."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from poller.events import (
    ApiCalled,
    DataLost,
    Event,
    FleetSeen,
    LeaseTaken,
    PageRead,
    SendFailed,
    ShardBehind,
    ShardRetrying,
    ShardStarted,
)
from poller.observe.embedded import DIMENSIONS, NAMESPACE, OF_ROUTE, OF_STREAM, EmbeddedMetrics, EmbeddedWriter
from poller.observe.log import LogSink
from poller.observe.metrics import Metrics

ROOT = Path(__file__).parents[2]
STREAM, ROUTE, SHARD = "Uploads", "default", "shardId-1"
NOW = 1_795_420_800.0

STARTED = ShardStarted(stream=STREAM, shard=SHARD, position="TRIM_HORIZON")
PAGE = PageRead(
    stream=STREAM,
    shard=SHARD,
    size_bytes=2_000,
    events={"MODIFY": 3},
    matched={ROUTE: 1},
    filtered={ROUTE: 2},
    behind_s=7.0,
    polled_at_s=NOW + 10,
)
BEHIND = ShardBehind(stream=STREAM, shard=SHARD, behind_s=90.0, oldest_created_s=NOW - 60)


class Site:
    """A daemon's metrics and what is made of them; its wall clock shows `now`."""

    def __init__(self, *, per_shard: bool = True, ready: bool = True) -> None:
        self.now = NOW
        self.metrics = Metrics(per_shard=per_shard, wall=lambda: self.now)
        self.metrics.register_stream(STREAM)
        self.metrics.register_route(STREAM, ROUTE)
        self.metrics.register_ready(lambda: ready)
        self.embedded = EmbeddedMetrics(self.metrics.registry, {STREAM: [ROUTE]}, lambda: self.now)

    def tell(self, *events: Event) -> None:
        for event in events:
            self.metrics(event)

    def told(self) -> tuple[dict[str, Any], dict[str, Any]]:
        stream, route = self.embedded.documents()
        return stream, route


@pytest.mark.parametrize("per_shard", [True, False])
def test_a_line_holds_every_metric_that_it_announces_and_where_it_belongs(per_shard: bool) -> None:
    site = Site(per_shard=per_shard)
    site.tell(STARTED)
    for document, units, dimensions in zip(site.told(), (OF_STREAM, OF_ROUTE), DIMENSIONS, strict=True):
        about = document["_aws"]
        [directive] = about["CloudWatchMetrics"]
        assert about["Timestamp"] == NOW * 1000
        assert (directive["Namespace"], directive["Dimensions"]) == (NAMESPACE, [list(dimensions)])
        assert {one["Name"]: one["Unit"] for one in directive["Metrics"]} == units
        assert set(document) == {"_aws", *dimensions, *units}
        assert all(isinstance(document[name], float) for name in units)
        assert [document[name] for name in dimensions] == [STREAM, ROUTE][: len(dimensions)]


@pytest.mark.parametrize("per_shard", [True, False])
def test_of_the_shards_the_worst_is_told(per_shard: bool) -> None:
    site = Site(per_shard=per_shard)
    site.tell(STARTED, ShardStarted(stream=STREAM, shard="shardId-2", position="LATEST"))
    site.tell(PAGE, BEHIND, ShardRetrying(stream=STREAM, shard=SHARD, route=ROUTE, since_s=NOW + 5))
    site.now = NOW + 30
    stream, route = site.told()
    assert stream["BehindSeconds"] == 90
    assert stream["DataLossInSeconds"] == 24 * 3600 - 90
    assert stream["UnpolledSeconds"] == 30
    assert stream["UncheckpointedSeconds"] == 20
    assert route["RetryingSeconds"] == 25


def test_a_shard_that_waits_at_its_end_for_the_queue_is_told_of_and_is_not_unpolled() -> None:
    site = Site()
    site.tell(STARTED, replace(PAGE, last=True), BEHIND)
    site.now = NOW + 600
    stream, _ = site.told()
    assert (stream["UnpolledSeconds"], stream["BehindSeconds"], stream["UncheckpointedSeconds"]) == (0, 90, 590)


def test_counts_are_since_the_last_line_and_the_first_ones_since_the_start() -> None:
    site = Site()
    site.tell(
        PAGE,
        DataLost(stream=STREAM, shard=SHARD, reason="trimmed", position="42", action="stop"),
        SendFailed(stream=STREAM, route=ROUTE, code="Throttled", count=4),
        ApiCalled(service="sqs", operation="SendMessageBatch", code="RequestThrottled", seconds=0.1),
        ApiCalled(service="sqs", operation="SendMessageBatch", code="OK", seconds=0.1),
        LeaseTaken(stream=STREAM, shard=SHARD, reason="expired", previous_owner="x", checkpoint="1"),
        LeaseTaken(stream=STREAM, shard=SHARD, reason="handed_over", previous_owner="x", checkpoint="1"),
    )
    stream, route = site.told()
    counted = {name: stream[name] for name in ("Read", "DataLosses", "Requests", "ThrottledRequests", "LeasesLost")}
    assert counted == {"Read": 3, "DataLosses": 1, "Requests": 2, "ThrottledRequests": 1, "LeasesLost": 1}
    assert (route["Matched"], route["Filtered"], route["SendErrors"]) == (1, 2, 4)
    site.tell(replace(PAGE, matched={ROUTE: 5}))
    stream, route = site.told()
    assert (stream["Read"], stream["DataLosses"], route["Matched"], route["SendErrors"]) == (3, 0, 5, 0)


def test_a_worker_without_a_shard_tells_nothing_of_shards_and_of_the_fleet_what_it_sees() -> None:
    site = Site(ready=False)
    site.tell(FleetSeen(stream=STREAM, shards={"unowned": 2}, held=0, workers=1))
    stream, route = site.told()
    assert (stream["Ready"], stream["UnownedShards"], route["RetryingSeconds"]) == (0, 2, 0)
    missing = {"BehindSeconds", "DataLossInSeconds", "UnpolledSeconds", "UncheckpointedSeconds"}
    assert set(OF_STREAM) - set(stream) == missing
    assert {one["Name"] for one in stream["_aws"]["CloudWatchMetrics"][0]["Metrics"]} == set(OF_STREAM) - missing


async def test_the_lines_come_on_a_beat_of_a_minute_also_when_one_is_late() -> None:
    at, told = [100.0], list[float]()

    async def sleep(seconds: float) -> None:
        at[0] += seconds

    writer = EmbeddedWriter(Site().embedded, lambda _: told.append(at[0]), lambda: at[0], sleep)
    await writer.step()
    at[0] += 7
    await writer.step()
    at[0] += 600
    await writer.step()
    await writer.step()
    assert told[::2] == [160, 220, 820, 820 + 60]


@pytest.mark.parametrize("form", ["json", "console"])
def test_in_the_log_it_is_a_line_of_json_at_any_level(form: Any) -> None:
    out = io.BytesIO()
    sink = LogSink("error", form, out, now=lambda: NOW)
    sink.embed(Site().told()[0])
    [line] = out.getvalue().splitlines()
    said = json.loads(line)
    assert list(said)[:4] == ["ts", "level", "event", "_aws"]
    assert (said["event"], said["Stream"]) == ("metrics_embedded", STREAM)


def test_a_log_that_takes_no_line_costs_the_line_and_is_said_with_the_next() -> None:
    class Full(io.BytesIO):
        full = True

        def write(self, line: Any, /) -> int:
            if self.full:
                raise OSError("no space left")
            return super().write(line)

    out = Full()
    sink = LogSink("info", "json", out)
    sink.embed({})
    out.full = False
    sink(STARTED)
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["log_lines_lost", "shard_started"]
    out.close()
    sink.embed({})


# --- the template -----------------------------------------------------------------------------------------------------

TEMPLATE: dict[str, Any] = import_module("yaml").safe_load((ROOT / "config/cloudwatch/alarms.yml").read_text("utf-8"))
ALARMS: dict[str, dict[str, Any]] = TEMPLATE["Resources"]


def asked(alarm: dict[str, Any]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Namespace, metric and dimensions that an alarm looks at."""
    properties = alarm["Properties"]
    stats = [one["MetricStat"]["Metric"] for one in properties.get("Metrics", []) if "MetricStat" in one]
    return [
        (one["Namespace"], one["MetricName"], tuple(dimension["Name"] for dimension in one["Dimensions"]))
        for one in stats or [properties]
    ]


def test_there_is_an_alarm_for_every_rule_but_two_and_it_leads_to_the_runbook() -> None:
    rules = import_module("yaml").safe_load((ROOT / "config/prometheus/alerts.yml").read_text("utf-8"))
    names = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    # A process that is not there, or stands still, writes no lines.
    assert set(ALARMS) == names - {"PollerRestarting", "PollerProcessSilent"}
    for name, alarm in ALARMS.items():
        assert alarm["Type"] == "AWS::CloudWatch::Alarm"
        assert alarm["Properties"]["AlarmName"]["Fn::Sub"].startswith(f"{name}-${{Stream}}")
        assert alarm["Properties"]["AlarmDescription"].endswith(f"docs/runbook.md#{name.lower()}")


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_alarm_looks_at_what_the_lines_hold(name: str) -> None:
    known = {
        (NAMESPACE, metric, dimensions)
        for dimensions, units in zip(DIMENSIONS, (OF_STREAM, OF_ROUTE), strict=True)
        for metric in units
    }
    looked_at = asked(ALARMS[name])
    assert looked_at
    assert set(looked_at) <= known
    of_the_stream = all(dimensions == ("Stream",) for _, _, dimensions in looked_at)
    assert (ALARMS[name].get("Condition") == "OfTheStream") is of_the_stream


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_alarm_has_what_cloudwatch_wants(name: str) -> None:
    properties = ALARMS[name]["Properties"]
    metrics = properties.get("Metrics", [])
    [period] = {one["MetricStat"]["Period"] for one in metrics if "MetricStat" in one} or {properties["Period"]}
    assert period % 60 == 0
    assert period * properties["EvaluationPeriods"] <= 86_400
    assert properties["TreatMissingData"] == ("breaching" if name == "PollerAbsent" else "notBreaching")
    assert properties["ComparisonOperator"] in ("GreaterThanThreshold", "LessThanThreshold")
    if metrics:
        [expression] = [one["Expression"] for one in metrics if one["ReturnData"]]
        text = expression if isinstance(expression, str) else expression["Fn::Sub"]
        names = set(re.findall(r"\b[a-z]+\b", re.sub(r"\$\{\w+\}", "", text)))
        assert names == {one["Id"] for one in metrics if "MetricStat" in one}
    else:
        assert properties["Statistic"] in ("Sum", "Minimum", "Maximum", "SampleCount")


def test_every_reference_of_the_template_is_to_something_in_it() -> None:
    text = json.dumps(TEMPLATE)
    parameters = set(TEMPLATE["Parameters"])
    used = {*re.findall(r'"Ref": "(\w+)"', text), *re.findall(r"\$\{(\w+)\}", text)}
    assert used == parameters
    conditions = {*re.findall(r'"Condition": "(\w+)"', text), *re.findall(r'"Fn::If": \["(\w+)"', text)}
    assert conditions == set(TEMPLATE["Conditions"])
