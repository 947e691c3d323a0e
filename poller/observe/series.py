"""Counters, gauges and histograms as plain dictionaries, for events that come ten thousand times a second.

prometheus_client's own take a lock for each step and, for a histogram, walk its buckets: four times the cost of these,
measured. Its registry and its text format are used as they are. Everything happens on the event loop's thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from poller.events import Event

Labels = tuple[str, ...]
# What feeds a group of families: a method for each kind of event, which takes just that kind.
Handlers = Mapping[type[Event], Callable[[Any], None]]

PREFIX: Final = "poller_"
# AWS has some dozens; each is a series, and whoever answers in its place could make up others for ever.
CODES_MAX: Final = 100


class Codes:
    """Error codes as a label's values: the first hundred by their names, all others as `other`."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def __call__(self, code: str) -> str:
        if code in self._known:
            return code
        if len(self._known) >= CODES_MAX:
            return "other"
        self._known.add(code)
        return code


class Counter(Collector):
    """`values[labels] += n`; `labels`: the labels' values in the order of their names. Names get the prefix here."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, *labels: str) -> None:
        self.values: defaultdict[Labels, float] = defaultdict(float)
        self._named = (PREFIX + name, text)
        self._labels = labels
        registry.register(self)

    def start(self, *labels: str) -> None:
        """The series exists from now on, at 0 if it is new: else `increase()` misses the first event."""
        self.values.setdefault(labels, 0.0)

    def describe(self) -> Iterator[Metric]:
        yield CounterMetricFamily(*self._named, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(*self._named, labels=self._labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        yield family


class Gauge(Collector):
    """`values[labels] = x`, and `values.pop(labels, None)` once there is nothing to say any more."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, *labels: str) -> None:
        self.values: dict[Labels, float] = {}
        self._named = (PREFIX + name, text)
        self._labels = labels
        registry.register(self)

    def family(self, without: str | None = None) -> GaugeMetricFamily:
        """Its name, text and labels, and no series yet. `without`: a label to leave out."""
        return GaugeMetricFamily(*self._named, labels=[label for label in self._labels if label != without])

    def describe(self) -> Iterator[Metric]:
        yield self.family()

    def collect(self) -> Iterator[Metric]:
        family = self.family()
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        yield family


class Histogram(Collector):
    """Counts observations by `bounds`, the buckets' upper ends in ascending order, and adds them up."""

    def __init__(
        self, registry: CollectorRegistry, name: str, text: str, *labels: str, bounds: Sequence[float]
    ) -> None:
        self._bounds = tuple(bounds)
        self._ends = [*map(floatToGoString, bounds), "+Inf"]
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        self._named = (PREFIX + name, text)
        self._labels = labels
        registry.register(self)

    def start(self, *labels: str) -> None:
        """The series exists from now on, empty if it is new."""
        if labels not in self._counts:
            self._counts[labels] = [0] * len(self._ends)
            self._sums[labels] = 0.0

    def observe(self, labels: Labels, *values: float) -> None:
        if labels not in self._counts:
            self.start(*labels)
        counts, bounds = self._counts[labels], self._bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self._sums[labels] += sum(values)

    def describe(self) -> Iterator[Metric]:
        yield HistogramMetricFamily(*self._named, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(*self._named, labels=self._labels)
        for labels, counts in self._counts.items():
            buckets = list(zip(self._ends, map(float, accumulate(counts)), strict=True))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family
