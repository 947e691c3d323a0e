"""A few metrics as log lines in CloudWatch's embedded metric format, for teams with alarms there and no Prometheus.

Made from the same registry as `/metrics`. A line a minute and stream, and one for each of its routes; whatever collects
the log into CloudWatch Logs needs no more than that to have them as metrics.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry

from poller.observe.series import PREFIX
from poller.observe.shard_metrics import RETENTION_S

INTERVAL_S: Final = 60.0
NAMESPACE: Final = "Poller"

# Name and unit, by what they are about. A shard's are missing while this worker reads none.
OF_STREAM: Final[Mapping[str, str]] = {
    "Ready": "None",
    "UnownedShards": "Count",
    "BehindSeconds": "Seconds",
    "DataLossInSeconds": "Seconds",
    "UnpolledSeconds": "Seconds",
    "UncheckpointedSeconds": "Seconds",
    "Read": "Count",
    "DataLosses": "Count",
    "LeasesLost": "Count",
    "Requests": "Count",
    "ThrottledRequests": "Count",
}
OF_ROUTE: Final[Mapping[str, str]] = {
    "Matched": "Count",
    "Filtered": "Count",
    "Delivered": "Count",
    "DeadLettered": "Count",
    "SendErrors": "Count",
    "RetryingSeconds": "Seconds",
}
# Those of the stream, and of the route on it.
DIMENSIONS: Final = (("Stream",), ("Stream", "Route"))

_COUNTED_ON_ROUTE: Final = {
    "Matched": "records_matched_total",
    "Filtered": "records_filtered_total",
    "Delivered": "records_delivered_total",
    "DeadLettered": "records_dead_lettered_total",
    "SendErrors": "send_errors_total",
}
_THROTTLED: Final = ("Throttl", "LimitExceeded", "OverLimit", "ThroughputExceeded", "TooManyRequests", "SlowDown")
# Leases that somebody else's end, or my own standing still, has cost; not those that are handed over.
_TAKEN_FROM_THE_DEAD: Final = ("expired", "returned")

Document = dict[str, Any]


class _Scrape:
    """The registry at one moment."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._samples: defaultdict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
        for family in registry.collect():
            for sample in family.samples:
                self._samples[sample.name].append((sample.labels, sample.value))

    def values(self, name: str, **labels: str) -> list[float]:
        """Of all series of that name that have these labels."""
        return [value for had, value in self._samples[PREFIX + name] if labels.items() <= had.items()]

    def throttled(self) -> float:
        calls = self._samples[f"{PREFIX}api_requests_total"]
        return sum(value for had, value in calls if any(part in had["code"] for part in _THROTTLED))


class EmbeddedMetrics:
    """The documents. `routes`: by stream; `wall`: seconds since the epoch. Counts are since the documents before."""

    def __init__(
        self, registry: CollectorRegistry, routes: Mapping[str, Sequence[str]], wall: Callable[[], float]
    ) -> None:
        self._registry = registry
        self._routes = dict(routes)
        self._wall = wall
        self._before: dict[tuple[str, ...], float] = {}

    def documents(self) -> list[Document]:
        now, scrape = self._wall(), _Scrape(self._registry)
        made: list[Document] = []
        for stream, routes in self._routes.items():
            made.append(_document(now, OF_STREAM, {"Stream": stream}, self._of_stream(stream, scrape, now)))
            for route in routes:
                values = self._of_route(stream, route, scrape, now)
                made.append(_document(now, OF_ROUTE, {"Stream": stream, "Route": route}, values))
        return made

    def _of_stream(self, stream: str, scrape: _Scrape, now: float) -> dict[str, float]:
        taken = (scrape.values("leases_taken_total", stream=stream, reason=reason) for reason in _TAKEN_FROM_THE_DEAD)
        lost = [*scrape.values("leases_lost_total", stream=stream), *(value for values in taken for value in values)]
        return {
            "Ready": min(scrape.values("ready"), default=0.0),
            "UnownedShards": sum(scrape.values("shards", stream=stream, state="unowned")),
            **_of_shards(stream, scrape, now),
            "Read": self._since((stream, "Read"), scrape.values("records_read_total", stream=stream)),
            "DataLosses": self._since((stream, "DataLosses"), scrape.values("records_lost_total", stream=stream)),
            "LeasesLost": self._since((stream, "LeasesLost"), lost),
            "Requests": self._since((stream, "Requests"), scrape.values("api_requests_total")),
            "ThrottledRequests": self._since((stream, "ThrottledRequests"), [scrape.throttled()]),
        }

    def _of_route(self, stream: str, route: str, scrape: _Scrape, now: float) -> dict[str, float]:
        on = {"stream": stream, "route": route}
        counted = {
            name: self._since((stream, route, name), scrape.values(counter, **on))
            for name, counter in _COUNTED_ON_ROUTE.items()
        }
        began = [since for since in scrape.values("shard_retrying_since_timestamp_seconds", **on) if since]
        return {**counted, "RetryingSeconds": max(0.0, now - min(began, default=now))}

    def _since(self, what: tuple[str, ...], counters: Iterable[float]) -> float:
        total = sum(counters)
        before, self._before[what] = self._before.get(what, 0.0), total
        return total - before


def _of_shards(stream: str, scrape: _Scrape, now: float) -> dict[str, float]:
    if not scrape.values("shard_checkpoint_timestamp_seconds", stream=stream):
        return {}
    polled = scrape.values("shard_last_poll_timestamp_seconds", stream=stream)
    behind_s = max(scrape.values("shard_behind_seconds", stream=stream), default=0.0)
    trimmed = scrape.values("shard_data_loss_timestamp_seconds", stream=stream)
    since = scrape.values("shard_uncheckpointed_since_timestamp_seconds", stream=stream)
    return {
        "BehindSeconds": behind_s,
        "DataLossInSeconds": min([RETENTION_S - behind_s, *(at - now for at in trimmed)]),
        "UnpolledSeconds": max(0.0, now - min(polled, default=now)),
        "UncheckpointedSeconds": max(0.0, now - min((at for at in since if at), default=now)),
    }


def _document(
    now: float, units: Mapping[str, str], dimensions: Mapping[str, str], values: Mapping[str, float]
) -> Document:
    metrics = [{"Name": name, "Unit": units[name]} for name in values]
    directive = {"Namespace": NAMESPACE, "Dimensions": [[*dimensions]], "Metrics": metrics}
    about = {"Timestamp": int(now * 1000), "CloudWatchMetrics": [directive]}
    return {"_aws": about, **dimensions, **{name: round(value, 3) for name, value in values.items()}}


class EmbeddedWriter:
    """Hands the documents to `write` once a minute; both clocks' functions are of one monotonic clock, in seconds."""

    def __init__(
        self,
        metrics: EmbeddedMetrics,
        write: Callable[[Document], None],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._metrics = metrics
        self._write = write
        self._monotonic = monotonic
        self._sleep = sleep
        self._due = monotonic() + INTERVAL_S

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.step()

    async def step(self) -> None:
        """The next minute's. On a fixed beat, so that no minute of CloudWatch's is left out."""
        await self._sleep(max(0.0, self._due - self._monotonic()))
        late_s = max(0.0, self._monotonic() - self._due)
        self._due += INTERVAL_S * (1 + late_s // INTERVAL_S)
        self.tell()

    def tell(self) -> None:
        """What has happened since the last time."""
        for document in self._metrics.documents():
            self._write(document)
