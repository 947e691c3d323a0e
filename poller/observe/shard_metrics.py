"""Metrics of single shards. A shard's series begin when this worker reads it and end when it does not any more.

A series left behind would ring for the old owner; so only `ShardStarted` makes them, and a late event makes none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry

from poller.events import (
    CheckpointWritten,
    LeaseLost,
    LeaseReleased,
    PageRead,
    ShardBehind,
    ShardFinished,
    ShardRetrying,
    ShardStarted,
    ShardStopped,
)
from poller.observe.series import Gauge, Handlers
from poller.observe.worst import Worst, oldest_since

# How long a stream keeps a record (DynamoDB's developer guide, "Change data capture for DynamoDB Streams").
RETENTION_S: Final = 24 * 3600

_ENDS: Final = (LeaseLost, LeaseReleased, ShardFinished, ShardStopped)


class ShardMetrics:
    """Times are seconds since the epoch, for Prometheus to subtract. `wall`: this machine's clock, in seconds.

    Without `per_shard` the series are those of the worst shard of each stream, and have no label `shard`.
    """

    def __init__(self, registry: CollectorRegistry, wall: Callable[[], float], *, per_shard: bool = True) -> None:
        shown, registry = registry, registry if per_shard else CollectorRegistry()
        on = ("stream", "shard")
        self._behind = Gauge(
            registry,
            "shard_behind_seconds",
            "Age of the oldest unsettled record, else of the last one read; 0 after an empty page.",
            *on,
        )
        self._data_loss = Gauge(
            registry,
            "shard_data_loss_timestamp_seconds",
            "When the oldest unsettled record will be trimmed from the stream; absent while there is none.",
            *on,
        )
        self._checkpoint = Gauge(
            registry,
            "shard_checkpoint_timestamp_seconds",
            "When the checkpoint was last written; until then, when reading began.",
            *on,
        )
        self._polled = Gauge(
            registry,
            "shard_last_poll_timestamp_seconds",
            "When the last page came; until then, when reading began. Absent once the shard is read to its end.",
            *on,
        )
        self._unsaved = Gauge(
            registry,
            "shard_uncheckpointed_since_timestamp_seconds",
            "When the first records came that no checkpoint was written after; 0: there are none.",
            *on,
        )
        self._retrying = Gauge(
            registry,
            "shard_retrying_since_timestamp_seconds",
            "Since when the oldest refused record is being retried; 0: none is.",
            *on,
            "route",
        )
        if not per_shard:
            shown.register(Worst(self._behind, max))
            shown.register(Worst(self._data_loss, min))
            shown.register(Worst(self._polled, min))
            shown.register(Worst(self._retrying, oldest_since))
            shown.register(Worst(self._checkpoint, min))
            shown.register(Worst(self._unsaved, oldest_since))
        self._wall = wall
        self._routes: dict[str, list[str]] = {}
        self._shards: set[tuple[str, str]] = set()
        self.handlers: Handlers = {
            ShardStarted: self._on_started,
            PageRead: self._on_page,
            ShardBehind: self._on_behind,
            CheckpointWritten: self._on_checkpoint,
            ShardRetrying: self._on_retrying,
            **dict.fromkeys(_ENDS, self._on_end),
        }

    def register_stream(self, stream: str) -> None:
        self._routes.setdefault(stream, [])

    def register_route(self, stream: str, route: str) -> None:
        routes = self._routes.setdefault(stream, [])
        if route not in routes:
            routes.append(route)

    def _on_started(self, event: ShardStarted) -> None:
        shard = (event.stream, event.shard)
        self._shards.add(shard)
        # Had they no value before the first poll and checkpoint, a shard that never gets there would ring no alarm.
        began = self._wall()
        self._polled.values.setdefault(shard, began)
        self._checkpoint.values.setdefault(shard, began)
        self._unsaved.values.setdefault(shard, 0.0)
        for route in self._routes.get(event.stream, ()):
            self._retrying.values.setdefault((*shard, route), 0.0)

    def _on_page(self, page: PageRead) -> None:
        shard = (page.stream, page.shard)
        if shard in self._shards:
            self._behind.values[shard] = page.behind_s
            self._polled.values[shard] = page.polled_at_s
            if page.last:  # there is nothing more to poll, however long the queue takes to settle what was read
                del self._polled.values[shard]
            if not self._unsaved.values[shard] and any(page.events.values()):
                self._unsaved.values[shard] = page.polled_at_s

    def _on_behind(self, event: ShardBehind) -> None:
        shard = (event.stream, event.shard)
        if shard not in self._shards:
            return
        self._behind.values[shard] = event.behind_s
        if event.oldest_created_s is None:
            self._data_loss.values.pop(shard, None)
        else:
            self._data_loss.values[shard] = event.oldest_created_s + RETENTION_S

    def _on_checkpoint(self, event: CheckpointWritten) -> None:
        shard = (event.stream, event.shard)
        if shard in self._shards:
            self._checkpoint.values[shard] = event.at_s
            self._unsaved.values[shard] = 0.0

    def _on_retrying(self, event: ShardRetrying) -> None:
        if (event.stream, event.shard) in self._shards:
            self.register_route(event.stream, event.route)
            self._retrying.values[event.stream, event.shard, event.route] = event.since_s or 0.0

    def _on_end(self, event: LeaseLost | LeaseReleased | ShardFinished | ShardStopped) -> None:
        shard = (event.stream, event.shard)
        self._shards.discard(shard)
        for gauge in (self._behind, self._data_loss, self._checkpoint, self._polled, self._unsaved):
            gauge.values.pop(shard, None)
        for route in self._routes.get(event.stream, ()):
            self._retrying.values.pop((*shard, route), None)
