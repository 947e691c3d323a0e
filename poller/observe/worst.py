"""The series of single shards without the shards: of each stream the one that is worst off.

For tables with thousands of shards. The names stay, only the label `shard` goes, so that every alert rule still rings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from poller.observe.series import Gauge, Labels

Fold = Callable[[Iterable[float]], float]


def oldest_since(times: Iterable[float]) -> float:
    """The earliest time that is one; 0 stands for none."""
    return min((time for time in times if time), default=0.0)


class Worst(Collector):
    """A gauge of shards (its second label) folded over them."""

    def __init__(self, gauge: Gauge, fold: Fold) -> None:
        self._gauge: Final = gauge
        self._fold: Final = fold

    def describe(self) -> Iterator[Metric]:
        yield self._gauge.family(without="shard")

    def collect(self) -> Iterator[Metric]:
        groups: defaultdict[Labels, list[float]] = defaultdict(list)
        for (stream, _, *rest), value in self._gauge.values.items():
            groups[stream, *rest].append(value)
        family = self._gauge.family(without="shard")
        for labels, values in groups.items():
            family.add_metric(labels, self._fold(values))
        yield family
