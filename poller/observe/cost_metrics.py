"""What this worker's requests would cost, were the month as the last quarter of an hour."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from poller.decide.cost import Costs, Prices, costs
from poller.events import DeadLettered, Delivered, FleetSeen, LeaseOperation, PageRead
from poller.observe.series import PREFIX, Handlers
from poller.run.spending import COUNTED, Spending

_Counted = PageRead | LeaseOperation | Delivered | DeadLettered | FleetSeen


class CostMetrics(Collector):
    """Reckoned at each scrape. The sum over all workers is what the stream costs."""

    def __init__(self, registry: CollectorRegistry, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._streams: dict[str, tuple[Spending, Prices]] = {}
        self.handlers: Handlers = dict.fromkeys(COUNTED, self._note)
        self._name: Final = f"{PREFIX}estimated_cost_usd_per_month"
        registry.register(self)

    def register_stream(self, stream: str) -> None:
        """Its series come with its prices."""

    def register_route(self, stream: str, route: str) -> None:
        """A route has no share in this."""

    def register_cost(self, stream: str, prices: Prices, fifo_routes: Collection[str]) -> None:
        self._streams[stream] = (Spending(fifo_routes, self._monotonic()), prices)

    def knows(self, stream: str) -> bool:
        return stream in self._streams

    def costs(self, stream: str) -> Costs:
        spending, prices = self._streams[stream]
        return costs(spending.rates(self._monotonic()), prices)

    def _note(self, event: _Counted) -> None:
        known = self._streams.get(event.stream)
        if known is not None:
            known[0].note(event, self._monotonic())

    def describe(self) -> Iterator[Metric]:
        text = "What this worker's requests cost in a month like the last 15 minutes, by the prices of the settings."
        yield GaugeMetricFamily(self._name, text, labels=("stream", "what"))

    def collect(self) -> Iterator[Metric]:
        for family in self.describe():
            for stream in self._streams:
                for what, usd in self.costs(stream).by_what().items():
                    family.add_sample(self._name, {"stream": stream, "what": what}, usd)
            yield family
