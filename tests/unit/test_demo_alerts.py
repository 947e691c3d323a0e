"""The alerts that the demo names are those of the shipped rules, and what it says of them follows from the metrics."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from poller.demo import page
from poller.demo.alerts import NOT_READY, RATE_WINDOW_S, RETRYING_TOO_LONG, SINK_ERRORS, Rule, Scrape, alerts
from poller.demo.page import look, scrape
from poller.observe.verdict import Level
from poller.settings.units import format_duration

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs/runbook.md").read_text("utf-8")
WELL = Scrape(at_s=100.0, wall_s=1000.0, ready=True, send_errors=0.0, delivered=100.0, retrying_since_s=None)
METRICS = """\
# TYPE poller_ready gauge
poller_ready 0.0
# TYPE poller_send_errors_total counter
poller_send_errors_total{code="ServiceUnavailable",route="default",stream="T"} 4.0
poller_send_errors_total{code="Throttled",route="default",stream="T"} 1.0
# TYPE poller_records_delivered_total counter
poller_records_delivered_total{route="default",stream="T"} 7.0
# TYPE poller_shard_retrying_since_timestamp_seconds gauge
poller_shard_retrying_since_timestamp_seconds{route="default",shard="a",stream="T"} 0.0
poller_shard_retrying_since_timestamp_seconds{route="default",shard="b",stream="T"} 990.0
"""


def shipped(name: str) -> str:
    """A rule's own lines."""
    rules = (ROOT / "config/prometheus/alerts.yml").read_text("utf-8")
    return rules.partition(f"- alert: {name}\n")[2].partition("- alert:")[0]


@pytest.mark.parametrize(
    ("rule", "expression"),
    [
        (NOT_READY, "(poller_ready) == 0"),
        (SINK_ERRORS, "(rate(poller_send_errors_total[5m]))"),
        (SINK_ERRORS, ") > 0.05"),
        (RETRYING_TOO_LONG, "poller_shard_retrying_since_timestamp_seconds > 0"),
        (RETRYING_TOO_LONG, ") > 300"),
    ],
)
def test_a_named_alert_is_the_shipped_one(rule: Rule, expression: str) -> None:
    lines = shipped(rule.name)

    assert expression in lines
    assert f"for: {format_duration(rule.for_s)}\n" in lines
    assert f"severity: {rule.severity}\n" in lines
    assert f"runbook_url: {rule.runbook}\n" in lines
    assert f"\n## {rule.name}\n" in RUNBOOK


def test_nothing_is_named_while_all_is_well() -> None:
    assert alerts([]) == []
    assert alerts([WELL, replace(WELL, at_s=105.0, delivered=110.0)]) == []


def test_what_is_retried_would_be_an_alert_after_five_minutes_and_is_one_then() -> None:
    [soon] = alerts([replace(WELL, retrying_since_s=990.0)])
    [now] = alerts([replace(WELL, retrying_since_s=600.0)])

    assert (soon.rule, soon.pending, soon.pends_in_s) == (RETRYING_TOO_LONG, False, 290.0)
    assert (now.rule, now.pending) == (RETRYING_TOO_LONG, True)


def test_errors_are_an_alert_by_their_share_of_the_last_five_minutes() -> None:
    few = replace(WELL, at_s=110.0, send_errors=5.0, delivered=195.0)
    many = replace(WELL, at_s=110.0, send_errors=6.0, delivered=194.0)
    long_ago = replace(many, at_s=110.0 + RATE_WINDOW_S, delivered=400.0)

    assert alerts([WELL, few]) == []
    assert [alert.rule for alert in alerts([WELL, many])] == [SINK_ERRORS]
    assert alerts([WELL, many, long_ago]) == []


def test_a_scrape_is_made_of_a_workers_metrics() -> None:
    assert scrape(METRICS, 1.0, 1000.0) == Scrape(1.0, 1000.0, False, 5.0, 7.0, 990.0)


def status(level: str, shards: list[Mapping[str, Any]]) -> str:
    verdict = {"level": level, "text": "Said."}
    return json.dumps(
        {"now": "2026-01-01T00:00:00Z", "verdict": verdict, "ready": False, "stream": {"table": "T"}, "shards": shards}
    )


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], str]) -> None:
    monkeypatch.setattr(page, "_get", answer)


@pytest.mark.parametrize(
    ("shards", "reads"),
    [
        ([], False),
        ([{"mine": False, "last_page": None}], False),
        ([{"mine": True, "last_page": None}], False),
        ([{"mine": True, "last_page": "2026-01-01T00:00:00Z"}], True),
    ],
)
def test_a_look_tells_the_verdict_and_whether_this_worker_reads(
    shards: list[Mapping[str, Any]], reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, lambda url: METRICS if url.endswith("/metrics") else status("trouble", shards))
    seen = look("http://127.0.0.1:1")

    assert seen is not None
    assert (seen.level, seen.text, seen.reads, seen.scrape.delivered) == (Level.TROUBLE, "Said.", reads, 7.0)


def test_whoever_does_not_answer_or_not_as_a_worker_does_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look("http://127.0.0.1:1") is None
    answering(monkeypatch, lambda _: "<html>")
    assert look("http://127.0.0.1:1") is None
