"""Events as metrics, in a registry of their own, and its exposition in Prometheus's text format."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry, generate_latest

from poller import events
from poller.decide.cost import Prices
from poller.events import Event
from poller.observe.cost_metrics import CostMetrics
from poller.observe.fleet_metrics import FleetMetrics
from poller.observe.process_metrics import ProcessMetrics, Ready
from poller.observe.record_metrics import RecordMetrics
from poller.observe.series import Handlers
from poller.observe.shard_metrics import ShardMetrics

# Events that only the log tells. Every other one is counted by some group; a test holds this list and them together.
LOGGED_ONLY: Final[frozenset[type[Event]]] = frozenset(
    {
        events.DaemonStarting,
        events.DaemonReady,
        events.HttpListening,
        events.StartupWaiting,
        events.StartupContinued,
        events.StartupFailed,
        events.SettingsDoubtful,
        events.DaemonStopping,
        events.DaemonStopped,
        events.ProcessStarted,  # `poller_process_up` is made from the processes' answers
        events.ProcessEnded,
        events.TaskFailed,
        events.LogLinesLost,
        events.IdlePollingStretched,  # the estimated cost, and shard_last_poll_timestamp_seconds
        events.IdlePollingRestored,
        events.StreamReplaced,
        events.StreamSwitched,
        events.ViewChanged,
        events.StreamUnsuited,  # poller_ready
        events.StreamEnded,
        events.ReadFailing,  # each failing call is an ApiCalled, and shard_last_poll_timestamp_seconds stands still
        events.ReadRecovered,
        events.IteratorRenewed,
        events.StartTimeUnsupported,
        events.CallsByBoto3,
        events.ReadingPaused,  # buffered_bytes stands at its maximum
        events.ReadingResumed,
        events.LeaseTableCreated,
        events.DiscoveryFailed,  # each look that fails is a LookFailed
        events.DiscoveryRecovered,
        events.LeaseTableFailing,  # each failing call is a LeaseOperation
        events.LeaseTableRecovered,
        events.LeaseClaimed,  # a LeaseOperation, and a LeaseTaken once it is handed over
        events.ForeignOwnersSeen,
        events.ForeignOwnersGone,
        events.RecordRetrying,  # each refusal is a SendFailed, and the shard a ShardRetrying
        events.RecordRetryingEnded,
        events.DeadLetterFailing,  # the shard is a ShardRetrying
        events.DeadLetterRecovered,
        events.RouteWaiting,  # for /status; buffered_records counts the same over all routes
        events.QueueFailing,  # each refused entry is a SendFailed
        events.QueueRecovered,
    }
)


class Group(Protocol):
    """Some metric families and what feeds them."""

    @property
    def handlers(self) -> Handlers: ...

    def register_stream(self, stream: str) -> None: ...

    def register_route(self, stream: str, route: str) -> None: ...


class Metrics:
    """A sink of events. `wall`: seconds since the epoch.

    Without `per_shard` there are no series of single shards; those of each stream's worst one stand for them.
    """

    def __init__(
        self,
        *,
        per_shard: bool = True,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry: Final = CollectorRegistry()
        groups: list[Group] = [
            RecordMetrics(self.registry),
            FleetMetrics(self.registry),
            ProcessMetrics(self.registry),
            ShardMetrics(self.registry, wall, per_shard=per_shard),
        ]
        self._cost: Final = CostMetrics(self.registry, monotonic)
        groups.append(self._cost)
        self._groups: Final = tuple(groups)
        handlers: dict[type[Event], tuple[Callable[[Any], None], ...]] = {}
        for group in groups:
            for kind, handler in group.handlers.items():
                handlers[kind] = (*handlers.get(kind, ()), handler)
        self._handlers: Final = handlers

    @property
    def counted(self) -> frozenset[type[Event]]:
        """The kinds of events that feed some metric."""
        return frozenset(self._handlers)

    def __call__(self, event: Event) -> None:
        for handler in self.takers(type(event)):
            handler(event)

    def takers(self, kind: type[Event]) -> tuple[Callable[[Any], None], ...]:
        """The groups' own (`poller.observe.fanout.Choosy`)."""
        return self._handlers.get(kind, ())

    def register_stream(self, stream: str) -> None:
        """The stream's series exist from now on, at 0. `stream`: its table's name."""
        for group in self._groups:
            group.register_stream(stream)

    def register_route(self, stream: str, route: str) -> None:
        """The route's series exist from now on, at 0."""
        for group in self._groups:
            group.register_route(stream, route)

    def register_cost(self, stream: str, prices: Prices, fifo_routes: Collection[str]) -> None:
        """The stream's estimated cost exists from now on, at 0. `fifo_routes`: those whose queues are FIFO."""
        self._cost.register_cost(stream, prices, fifo_routes)

    def costs(self, stream: str) -> dict[str, float] | None:
        """What the stream's requests of this worker cost, US dollars a month by what for; None: nobody knows prices."""
        return self._cost.costs(stream).by_what() if self._cost.knows(stream) else None

    def register_ready(self, ready: Callable[[], bool]) -> None:
        """`poller_ready` exists from now on; `ready` is asked at each scrape."""
        Ready(self.registry, ready)

    def render(self) -> bytes:
        """Everything, in the text format whose type is `exposition.CONTENT_TYPE`."""
        return generate_latest(self.registry)
