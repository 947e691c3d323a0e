"""The dashboard as a file: it fits together, and asks only for what there is."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

from poller.observe import reference

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "config/grafana/dashboards/poller.json").read_text("utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel.get("targets", [])]
LABELS = {row.name: row.labels for row in reference.rows()}


def labels_of(name: str) -> tuple[str, ...]:
    return LABELS[name] if name in LABELS else LABELS[re.sub(r"_(bucket|sum|count)$", "", name)]


def test_no_panel_lies_on_another_or_beside_the_page() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        columns, lines = range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        own = set(itertools.product(columns, lines))
        assert columns.stop <= 24, panel["title"]
        assert not own & cells, panel["title"]
        cells |= own
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_a_panel_says_what_it_shows_in_which_unit_and_from_the_source_that_is_chosen() -> None:
    for panel in PANELS:
        if panel["type"] == "row":
            continue
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["type"] == "table" or panel["fieldConfig"]["defaults"]["unit"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0


def test_a_query_keeps_to_the_stream_and_route_that_are_chosen() -> None:
    for query in QUERIES:
        for name, selected in re.findall(r"(poller_\w+)(?:\{([^}]*)\})?", query):
            wanted = [f'{label}=~"${label}"' for label in ("stream", "route") if label in labels_of(name)]
            assert all(one in selected for one in wanted), f"{name} in {query}"


def test_every_kind_of_metric_is_shown() -> None:
    shown = {name for query in QUERIES for name in re.findall(r"poller_\w+", query)}
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    # Of the process, what Prometheus and Grafana tell as well or nobody asks; of a shard, what the alert rules are for.
    left_out = {name for name in LABELS if name.startswith("poller_process_")} | {
        "poller_asyncio_tasks",
        "poller_shard_uncheckpointed_since_timestamp_seconds",
    }
    assert set(LABELS) - left_out <= bare
