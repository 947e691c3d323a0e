"""The page that lists the metrics."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from poller.observe import reference

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
_on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="poller_process_... needs /proc")


@_on_linux
def test_the_page_in_the_repository_is_what_the_registry_says() -> None:
    assert PAGE.read_text("utf-8") == reference.markdown(), "python -m poller.observe.reference > docs/metrics.md"


def test_as_a_module_it_prints_the_page() -> None:
    command = [sys.executable, "-m", "poller.observe.reference"]
    printed = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    assert printed.decode() == reference.markdown()


def test_every_metric_is_there_once_and_says_in_a_sentence_what_it_is() -> None:
    rows = reference.rows()
    assert len({row.name for row in rows}) == len(rows) > 30
    assert [row.name for row in rows if not row.text.endswith(".") or "|" in row.text] == []


def test_a_metric_has_the_name_by_which_it_is_asked_for_its_type_and_its_labels() -> None:
    kinds = {row.name: (row.kind, row.labels) for row in reference.rows()}
    assert kinds["poller_records_read_total"] == ("counter", ("stream", "event"))
    assert kinds["poller_delivery_latency_seconds"] == ("histogram", ("stream", "route"))
    assert kinds["poller_build_info"] == ("gauge", ("python", "version"))
    assert kinds["poller_ready"] == ("gauge", ())


def test_a_label_shows_the_values_that_are_there_from_the_start() -> None:
    values = {row.name: row.values for row in reference.rows()}
    assert values["poller_records_dead_lettered_total"].keys() == {"reason"}
    assert "max_attempts" in values["poller_records_dead_lettered_total"]["reason"]
    assert values["poller_shards"]["state"] == ["reading", "waiting_for_parent", "draining", "unowned", "finished"]
    assert values["poller_send_errors_total"] == values["poller_build_info"] == {}
