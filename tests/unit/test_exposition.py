"""Several processes' metrics on one page: every series says whose it is, every family is told of once."""

from __future__ import annotations

import re
import subprocess
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from poller.events import ApiCalled, Delivered, LoopLagged
from poller.observe.exposition import merged
from poller.observe.metrics import Metrics

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]

ONE = b"""\
# HELP poller_ready 1 while it is.
# TYPE poller_ready gauge
poller_ready 1.0
# HELP poller_records_read_total Records.
# TYPE poller_records_read_total counter
poller_records_read_total{stream="a {b} \\"c\\" d",event="INSERT"} 7.0
"""
OTHER = b"""\
# HELP poller_records_read_total Records.
# TYPE poller_records_read_total counter
poller_records_read_total{stream="Orders",event="INSERT"} 8.0
# HELP poller_ready 1 while it is.
# TYPE poller_ready gauge
poller_ready 0.0
"""


def series(page: bytes) -> Series:
    """As Prometheus' own client library for Python reads it."""
    families = text_string_to_metric_families(page.decode())
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def busy() -> bytes:
    """A page with a counter, a histogram, a gauge and the versions."""
    metrics = Metrics()
    metrics.register_stream("Orders")
    metrics.register_route("Orders", "default")
    metrics.register_ready(lambda: True)
    metrics(Delivered(stream="Orders", route="default", count=1, latencies_s=(0.1,)))
    metrics(LoopLagged(seconds=0.001))
    metrics(ApiCalled(service="sqs", operation="SendMessageBatch", code="OK", seconds=0.1))
    return metrics.render()


def test_a_family_is_told_of_once_with_the_samples_of_all_after_it() -> None:
    assert merged({1: ONE, 2: OTHER}).decode() == (
        "# HELP poller_ready 1 while it is.\n"
        "# TYPE poller_ready gauge\n"
        'poller_ready{process="1"} 1.0\n'
        'poller_ready{process="2"} 0.0\n'
        "# HELP poller_records_read_total Records.\n"
        "# TYPE poller_records_read_total counter\n"
        'poller_records_read_total{process="1",stream="a {b} \\"c\\" d",event="INSERT"} 7.0\n'
        'poller_records_read_total{process="2",stream="Orders",event="INSERT"} 8.0\n'
        "# HELP poller_process_up 1 while the process answers, 0 while it does not or is not started.\n"
        "# TYPE poller_process_up gauge\n"
        'poller_process_up{process="1"} 1.0\n'
        'poller_process_up{process="2"} 1.0\n'
    )


def test_one_that_does_not_answer_is_left_out_and_counted_as_down() -> None:
    found = series(merged({1: None, 2: OTHER}))

    assert {dict(labels)["process"] for name, labels in found if name != "poller_process_up"} == {"2"}
    assert found["poller_process_up", frozenset({("process", "1")})] == 0
    assert found["poller_process_up", frozenset({("process", "2")})] == 1


def test_with_nobody_there_is_still_a_page() -> None:
    assert set(series(merged({1: None})).values()) == {0}


def test_no_series_is_lost_and_no_value_changes() -> None:
    page = busy()
    found = series(merged({1: page, 2: page}))

    for number in ("1", "2"):
        own = {
            (name, labels - {("process", number)}): value
            for (name, labels), value in found.items()
            if ("process", number) in labels and name != "poller_process_up"
        }
        assert own == series(page)


def test_no_series_has_that_label_already() -> None:
    assert not any("process" in dict(labels) for _, labels in series(busy()))


def test_empty_braces_are_braces_too() -> None:
    assert b'\nx{process="3"} 1\n' in merged({3: b"# TYPE x gauge\nx{} 1\n"})


def test_promtool_finds_no_fault_in_it(promtool: str) -> None:
    page = merged({1: busy(), 2: None, 3: busy()})
    checked = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, check=False)

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
    assert max(Counter(re.findall(rb"^# TYPE \S+", page, re.MULTILINE)).values()) == 1
