"""Metrics of records on their way: read, filtered, delivered, dead-lettered, lost; by stream and route, never item."""

from __future__ import annotations

from typing import Final, get_args

from prometheus_client import CollectorRegistry

from poller.events import Buffered, DataLost, DeadLettered, Delivered, LossReason, PageRead, Resent, SendFailed
from poller.observe.series import Codes, Counter, Gauge, Handlers, Histogram

# Label values that exist at 0 from the start; others are counted as they come.
EVENTS: Final = ("INSERT", "MODIFY", "REMOVE")
LOSSES: Final[tuple[LossReason, ...]] = get_args(LossReason)
DEAD_LETTERS: Final = ("refused", "max_attempts", "max_record_age", "too_large", "undecodable", "no_image")
RESENDS: Final = ("no_answer",)

# Upper ends in seconds, from what polling allows to the 24 hours after which a record is gone.
_LATENCIES_S: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 43_200, 86_400)


class RecordMetrics:
    """Each family, and below it what feeds it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        on, route = "stream", "route"
        self._read = Counter(registry, "records_read_total", "Records read, by event name.", on, "event")
        self._bytes = Counter(registry, "read_bytes_total", "Bytes of the pages read, as they came over the wire.", on)
        self._matched = Counter(registry, "records_matched_total", "Records that the route's filter wants.", on, route)
        self._filtered = Counter(registry, "records_filtered_total", "Records that it does not want.", on, route)
        self._delivered = Counter(registry, "records_delivered_total", "Records that the queue has taken.", on, route)
        self._dead = Counter(
            registry, "records_dead_lettered_total", "Records stored as dead letters, by reason.", on, route, "reason"
        )
        self._lost = Counter(
            registry,
            "records_lost_total",
            "Gaps in what was read, by reason. Each lost at least one record: how many, nobody can tell any more.",
            on,
            "reason",
        )
        self._resent = Counter(
            registry, "records_resent_total", "Records sent again that a consumer may see twice.", on, route, "reason"
        )
        self._refused = Counter(
            registry,
            "send_errors_total",
            "Entries of a batch that the queue did not take, by error code.",
            on,
            route,
            "code",
        )
        self._codes = Codes()
        self._latency = Histogram(
            registry,
            "delivery_latency_seconds",
            "From a record's creation, which the service tells in whole seconds, to the queue's answer.",
            on,
            route,
            bounds=_LATENCIES_S,
        )
        self._buffered = Gauge(registry, "buffered_records", "Records read and not yet settled.", on)
        self._buffered_bytes = Gauge(registry, "buffered_bytes", "Bytes of the records read and not yet settled.", on)
        self.handlers: Handlers = {
            PageRead: self._on_page,
            Delivered: self._on_delivered,
            SendFailed: self._on_send_failed,
            Resent: self._on_resent,
            DeadLettered: self._on_dead_lettered,
            DataLost: self._on_data_lost,
            Buffered: self._on_buffered,
        }

    def register_stream(self, stream: str) -> None:
        for event in EVENTS:
            self._read.start(stream, event)
        self._bytes.start(stream)
        for reason in LOSSES:
            self._lost.start(stream, reason)
        self._buffered.values.setdefault((stream,), 0.0)
        self._buffered_bytes.values.setdefault((stream,), 0.0)

    def register_route(self, stream: str, route: str) -> None:
        for counter in (self._matched, self._filtered, self._delivered):
            counter.start(stream, route)
        for reason in DEAD_LETTERS:
            self._dead.start(stream, route, reason)
        for reason in RESENDS:
            self._resent.start(stream, route, reason)
        self._latency.start(stream, route)

    def _on_page(self, page: PageRead) -> None:
        stream = page.stream
        self._bytes.values[(stream,)] += page.size_bytes
        for counter, counts in (
            (self._read, page.events),
            (self._matched, page.matched),
            (self._filtered, page.filtered),
        ):
            for name, count in counts.items():
                if count:
                    counter.values[stream, name] += count

    def _on_delivered(self, event: Delivered) -> None:
        labels = (event.stream, event.route)
        self._delivered.values[labels] += event.count
        self._latency.observe(labels, *event.latencies_s)

    def _on_send_failed(self, event: SendFailed) -> None:
        self._refused.values[event.stream, event.route, self._codes(event.code)] += event.count

    def _on_resent(self, event: Resent) -> None:
        self._resent.values[event.stream, event.route, event.reason] += event.count

    def _on_dead_lettered(self, event: DeadLettered) -> None:
        self._dead.values[event.stream, event.route, event.reason] += 1

    def _on_data_lost(self, event: DataLost) -> None:
        self._lost.values[event.stream, event.reason] += 1

    def _on_buffered(self, event: Buffered) -> None:
        self._buffered.values[(event.stream,)] = event.records
        self._buffered_bytes.values[(event.stream,)] = event.size_bytes
