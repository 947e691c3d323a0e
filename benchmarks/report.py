"""Results as a table for people and as JSON for the history; medians, and beside them how far the first is ahead."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

from benchmarks.measure import Figures
from benchmarks.server import ROOT
from benchmarks.workloads import Kind, Workload

Results = list[tuple[Workload, dict[str, list[Figures]]]]

_HISTORY: Final = ROOT / "benchmarks" / "results"
# The columns of each kind's table: heading, figure, format, and whether it is a cost to compare by.
_COMMON: Final = (("memory MiB", "memory_mib", ".0f"), ("stand-in CPU", "standin_cpu_share", ".1%"))
_COLUMNS: Final[dict[Kind, tuple[tuple[str, str, str], ...]]] = {
    Kind.BACKLOG: (
        ("CPU s / million", "cpu_s_per_million", ".2f"),
        ("CPU s / M messages", "cpu_s_per_million_messages", ".1f"),
        ("records/s", "records_per_s", ",.0f"),
        ("messages/s", "messages_per_s", ",.0f"),
        ("start CPU s", "start_cpu_s", ".2f"),
        ("first delivery s", "first_delivery_s", ".2f"),
        ("verbatim", "verbatim_share", ".0%"),
        *_COMMON,
    ),
    Kind.LIVE: (
        ("CPU of a core", "cpu_share", ".1%"),
        ("p50 ms", "latency_p50_ms", ",.0f"),
        ("p99 ms", "latency_p99_ms", ",.0f"),
        ("polls/shard/s", "polls_per_shard_s", ".2f"),
        ("lease writes/min", "lease_writes_per_minute", ",.0f"),
        *_COMMON,
    ),
    Kind.START: (
        ("first delivery s", "first_delivery_s", ".2f"),
        ("first GetRecords s", "first_read_s", ".2f"),
        ("start CPU s", "start_cpu_s", ".2f"),
    ),
    Kind.SINK_STOPPED: (("memory MiB", "memory_mib", ".0f"), ("records read", "records", ",.0f")),
}
# What contestants are compared by: the less, the better.
_COST: Final = {
    Kind.BACKLOG: "cpu_s_per_million",
    Kind.LIVE: "cpu_share",
    Kind.START: "first_delivery_s",
    Kind.SINK_STOPPED: "memory_mib",
}


def table(workload: Workload, found: Mapping[str, Sequence[Figures]]) -> str:
    """As Markdown: medians of the rounds."""
    columns = _COLUMNS[workload.kind]
    rows = [["", *(heading for heading, _, _ in columns), "x the first's cost"]]
    rows += [
        [name, *(_shown(rounds, figure, form) for _, figure, form in columns), _ratio(workload, found, name)]
        for name, rounds in found.items()
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows
    )


def _shown(rounds: Sequence[Figures], figure: str, form: str) -> str:
    values = [one[figure] for one in rounds if figure in one]
    return format(median(values), form) if values else ""


def _ratio(workload: Workload, found: Mapping[str, Sequence[Figures]], name: str) -> str:
    """The median of the rounds' ratios: what drifts between two rounds is in both."""
    first, cost = next(iter(found)), _COST[workload.kind]
    pairs = zip(found[name], found[first], strict=False)  # a slow one takes part in fewer rounds
    ratios = [one[cost] / other[cost] for one, other in pairs if other[cost] > 0]
    return f"{median(ratios):.1f}" if ratios else ""


@dataclass(frozen=True)
class Source:
    """What is measured: a commit, and whether the working tree differs from it."""

    commit: str
    changed: bool

    @classmethod
    def now(cls) -> Self:
        return cls(_git("rev-parse", "--short", "HEAD"), bool(_git("status", "--porcelain", "--untracked-files=no")))


def save(results: Results, source: Source, rounds: int) -> Path:
    """Keeps the run in the history; nothing in it tells the machine.

    A later run of the same commit adds to the file, and replaces what both have measured.
    """
    path = _HISTORY / f"{datetime.now(UTC):%Y-%m-%d}-{source.commit}.json"
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["workloads"] if path.exists() else {}
    for workload, found in results:
        known = kept.get(workload.name, {}).get("contestants", {})
        kept[workload.name] = {"title": workload.title(), "contestants": known | _rounded(found)}
    document = {
        "commit": source.commit,
        "changed": source.changed,
        "python": platform.python_version(),
        "rounds": rounds,
        "workloads": kept,
    }
    _HISTORY.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path.relative_to(ROOT)


def _rounded(found: Mapping[str, Sequence[Figures]]) -> dict[str, list[Figures]]:
    return {
        name: [{figure: round(value, 4) for figure, value in one.items()} for one in rounds]
        for name, rounds in found.items()
    }


def _git(*arguments: str) -> str:
    ended = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return ended.stdout.strip()
