"""The list of all metrics, as Markdown: `python -m poller.observe.reference > docs/metrics.md`.

Made from the registry that `/metrics` shows, so that it cannot say anything else; a test holds the file equal to it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client.core import Metric

from poller.observe.metrics import Metrics

_HEAD: Final = """\
# Metrics

What `/metrics` shows, in Prometheus's text format. Base units; what happened is a counter (`..._total`), what is the
case a gauge. Times are seconds since the epoch, for Prometheus to subtract from `time()`. No label holds an item's
content or key.

- `stream` is the table's name, `route` the route's, `shard` a shard's id, `event` `INSERT`, `MODIFY` or `REMOVE`;
  `service` and `operation` are AWS's names, `code` is `OK` or an error's code; `what` is told in [cost.md](cost.md).
  Behind the other labels stand the values that are there from the start.
- What can be counted is there from the start, at 0, so that `increase()` misses nothing; only codes of errors, and what
  is called at AWS, are not known before.
- The series of a shard begin when this worker reads it and end when it does not any more. Of two workers only one tells
  of a shard.
- With `metrics.per_shard = false` the series of shards have no label `shard`, and stand for this worker's worst one.
- `poller_process_...` is read from `/proc`, and not there without one. With `--processes N` each series has a label
  `process` more, and there is `poller_process_up{process}`: 1 while that process answers, 0 while it does not or is not
  started; [fleet.md](fleet.md) tells more.

What may wake somebody: [config/prometheus/alerts.yml](../config/prometheus/alerts.yml), with the
[runbook](runbook.md). A dashboard: `config/grafana/`. The same in CloudWatch:
[decisions/0015-cloudwatch-alarms.md](decisions/0015-cloudwatch-alarms.md).

This page is generated (`python -m poller.observe.reference > docs/metrics.md`) and held up to date by a test.

"""


# Labels whose values are names.
_NAMES: Final = ("stream", "route", "shard")


class Row(NamedTuple):
    """One metric, under the name by which it is asked for. `values`: of each label that has a fixed set of them."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str
    values: Mapping[str, Sequence[str]]


def rows() -> list[Row]:
    """Every metric, by name."""
    metrics = Metrics()
    metrics.register_ready(lambda: True)
    metrics.register_stream("")
    metrics.register_route("", "")
    return sorted(map(_row, metrics.registry.collect()), key=lambda row: row.name)


def _row(family: Metric) -> Row:
    kind = "gauge" if family.type == "info" else family.type
    name = {"counter": f"{family.name}_total", "info": f"{family.name}_info"}.get(family.type, family.name)
    # Where the library keeps the names of the labels of a family without series; its info has them in its value.
    labels = tuple(getattr(family, "_labelnames", ()))
    if family.type == "info":
        labels = tuple(sorted(label for sample in family.samples for label in sample.labels))
    # What is there at 0 before anything has happened.
    fixed = [label for label in labels if label not in _NAMES and family.type != "info"]
    values = {label: list(dict.fromkeys(sample.labels[label] for sample in family.samples)) for label in fixed}
    return Row(name, kind, labels, family.documentation, {label: some for label, some in values.items() if some})


def markdown() -> str:
    """The whole page."""
    lines = ["| name | type | labels | what it says |", "|---|---|---|---|"]
    for row in rows():
        labels = ", ".join(_label(label, row.values.get(label, ())) for label in row.labels)
        lines.append(f"| `{row.name}` | {row.kind} | {labels} | {row.text} |")
    return _HEAD + "\n".join(lines) + "\n"


def _label(name: str, values: Sequence[str]) -> str:
    listed = ", ".join(f"`{value}`" for value in values)
    return f"`{name}` ({listed})" if values else f"`{name}`"


def main() -> None:
    sys.stdout.write(markdown())


if __name__ == "__main__":
    main()
