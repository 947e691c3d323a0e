"""Metrics of how shards are found and shared: the fleet, leases, checkpoints, looks at the stream."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry

from poller.events import (
    CheckpointFailed,
    CheckpointWritten,
    Discovered,
    FleetSeen,
    LeaseLost,
    LeaseOperation,
    LeaseReleased,
    LeaseTaken,
    LookFailed,
)
from poller.observe.series import Counter, Gauge, Handlers, Histogram

# Label values that exist at 0 from the start; others are counted as they come.
STATES: Final = ("reading", "waiting_for_parent", "draining", "unowned", "finished")
TAKEN: Final = ("unowned", "expired", "handed_over", "inherited", "returned")
LOST: Final = ("taken", "deadline", "deleted", "unreleased")
OPERATIONS: Final = (
    "list",
    "read",
    "create",
    "take",
    "renew",
    "checkpoint",
    "add_children",
    "release",
    "promise",
    "adopt",
    "delete",
)
RESULTS: Final = ("ok", "error")
OPERATION_RESULTS: Final = ("ok", "conflict", "landed", "error")

_LOOKS_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class FleetMetrics:
    """Each family, and below it what feeds it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        on = "stream"
        self._shards = Gauge(registry, "shards", "The stream's shards by state, as this worker sees them.", on, "state")
        self._held = Gauge(registry, "leases_held", "Leases that this worker holds.", on)
        self._workers = Gauge(registry, "workers", "Workers alive that hold leases, and this one.", on)
        self._taken = Counter(registry, "leases_taken_total", "Leases that this worker took, by reason.", on, "reason")
        self._lost = Counter(registry, "leases_lost_total", "Leases lost without giving them back.", on, "reason")
        self._operations = Counter(
            registry,
            "lease_operations_total",
            "Calls to the lease table, which is what it costs.",
            on,
            "operation",
            "result",
        )
        self._checkpoints = Counter(registry, "checkpoints_total", "Attempts to write a checkpoint.", on, "result")
        self._looks = Counter(registry, "discoveries_total", "Looks at the stream's shards.", on, "result")
        self._look_s = Histogram(
            registry, "discovery_duration_seconds", "How long a complete look at the shards took.", bounds=_LOOKS_S
        )
        self._look_s.start()
        self.handlers: Handlers = {
            FleetSeen: self._on_fleet,
            LeaseTaken: self._on_taken,
            LeaseLost: self._on_lost,
            LeaseReleased: self._on_released,
            LeaseOperation: self._on_operation,
            CheckpointWritten: self._on_checkpoint,
            CheckpointFailed: self._on_checkpoint_failed,
            Discovered: self._on_discovered,
            LookFailed: self._on_look_failed,
        }

    def register_stream(self, stream: str) -> None:
        for state in STATES:
            self._shards.values.setdefault((stream, state), 0.0)
        self._held.values.setdefault((stream,), 0.0)
        self._workers.values.setdefault((stream,), 0.0)
        for reason in TAKEN:
            self._taken.start(stream, reason)
        for reason in LOST:
            self._lost.start(stream, reason)
        for operation in OPERATIONS:
            for result in OPERATION_RESULTS:
                self._operations.start(stream, operation, result)
        for result in RESULTS:
            self._checkpoints.start(stream, result)
            self._looks.start(stream, result)

    def register_route(self, stream: str, route: str) -> None:
        """A route has no share in this."""

    def _on_fleet(self, event: FleetSeen) -> None:
        for state in (*STATES, *event.shards):
            self._shards.values[event.stream, state] = event.shards.get(state, 0)
        self._held.values[(event.stream,)] = event.held
        self._workers.values[(event.stream,)] = event.workers

    def _on_taken(self, event: LeaseTaken) -> None:
        self._taken.values[event.stream, event.reason] += 1
        self._hold(event.stream, 1)

    def _on_lost(self, event: LeaseLost) -> None:
        self._lost.values[event.stream, event.reason] += 1
        self._hold(event.stream, -1)

    def _on_released(self, event: LeaseReleased) -> None:
        self._hold(event.stream, -1)

    def _hold(self, stream: str, more: int) -> None:
        """Not only with the looks at the table: it may be away, and the leases over meanwhile."""
        held = self._held.values
        held[(stream,)] = max(0.0, held.get((stream,), 0.0) + more)

    def _on_operation(self, event: LeaseOperation) -> None:
        self._operations.values[event.stream, event.operation, event.result] += 1

    def _on_checkpoint(self, event: CheckpointWritten) -> None:
        self._checkpoints.values[event.stream, "ok"] += 1

    def _on_checkpoint_failed(self, event: CheckpointFailed) -> None:
        self._checkpoints.values[event.stream, "error"] += 1

    def _on_discovered(self, event: Discovered) -> None:
        self._looks.values[event.stream, "ok"] += 1
        self._look_s.observe((), event.seconds)

    def _on_look_failed(self, event: LookFailed) -> None:
        self._looks.values[event.stream, "error"] += 1
