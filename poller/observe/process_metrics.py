"""Metrics of the process and its calls: requests to AWS, waits for limiters, the event loop's lag, what runs."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from poller import __version__
from poller.events import ApiCalled, LimiterWaited, LoopLagged, SettingsRefused, SettingsReloaded
from poller.observe.series import PREFIX, Codes, Counter, Handlers, Histogram

# Label values that exist at 0 from the start; others are counted as they come.
LIMITERS: Final = ("get_records", "describe_stream")

_CALLS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WAITS_S: Final = (0.001, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class _BuildInfo(Collector):
    """`poller_build_info`: always 1; its labels say what runs."""

    def describe(self) -> Iterator[Metric]:
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        labels = {"version": __version__, "python": platform.python_version()}
        yield InfoMetricFamily(f"{PREFIX}build", "The versions of the poller and of Python.", value=labels)


class _Tasks(Collector):
    """`poller_asyncio_tasks`, of the event loop that the scrape runs on; without one, left out."""

    def describe(self) -> Iterator[Metric]:
        text = "Tasks of the event loop that are not done: some for each shard and route, and no more as time goes by."
        yield GaugeMetricFamily(f"{PREFIX}asyncio_tasks", text)

    def collect(self) -> Iterator[Metric]:
        for family in self.describe():
            with suppress(RuntimeError):
                family.add_sample(family.name, {}, float(len(asyncio.all_tasks())))
            yield family


class Ready(Collector):
    """`poller_ready`: what `/readyz` would say at the moment of the scrape."""

    def __init__(self, registry: CollectorRegistry, ready: Callable[[], bool]) -> None:
        self._ready = ready
        registry.register(self)

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(f"{PREFIX}ready", "1 while /readyz answers 200, 0 while it does not; it says why.")

    def collect(self) -> Iterator[Metric]:
        for family in self.describe():
            family.add_sample(family.name, {}, float(self._ready()))
            yield family


class ProcessMetrics:
    """Each family, and below it what feeds it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        registry.register(_BuildInfo())
        registry.register(_Tasks())
        # Memory, CPU time, file descriptors, start: read from /proc at each scrape; where there is none, left out.
        ProcessCollector(namespace="poller", registry=registry)
        on = ("service", "operation")
        self._calls = Counter(
            registry, "api_requests_total", "Requests to AWS by code: OK or the error's.", *on, "code"
        )
        self._codes = Codes()
        self._call_s = Histogram(
            registry, "api_request_duration_seconds", "How long requests to AWS took.", *on, bounds=_CALLS_S
        )
        self._wait_s = Histogram(
            registry, "throttle_wait_seconds", "How long calls waited for their limiter.", "limiter", bounds=_WAITS_S
        )
        for limiter in LIMITERS:
            self._wait_s.start(limiter)
        self._lag_s = Histogram(
            registry, "event_loop_lag_seconds", "How late the event loop woke a timer.", bounds=_WAITS_S
        )
        self._lag_s.start()
        self._reloads = Counter(registry, "reloads_total", "Times that settings were read again, on SIGHUP.", "result")
        for result in ("ok", "refused"):
            self._reloads.start(result)
        self.handlers: Handlers = {
            SettingsReloaded: lambda _: self._on_reload("ok"),
            SettingsRefused: lambda _: self._on_reload("refused"),
            ApiCalled: self._on_call,
            LimiterWaited: self._on_wait,
            LoopLagged: self._on_lag,
        }

    def register_stream(self, stream: str) -> None:
        """Calls are counted by service, whatever they are for."""

    def register_route(self, stream: str, route: str) -> None:
        """Calls are counted by service, whatever they are for."""

    def _on_call(self, event: ApiCalled) -> None:
        labels = (event.service, event.operation)
        self._calls.values[event.service, event.operation, self._codes(event.code)] += 1
        self._call_s.observe(labels, event.seconds)

    def _on_wait(self, event: LimiterWaited) -> None:
        self._wait_s.observe((event.limiter,), event.seconds)

    def _on_reload(self, result: str) -> None:
        self._reloads.values[result,] += 1

    def _on_lag(self, event: LoopLagged) -> None:
        self._lag_s.observe((), event.seconds)
