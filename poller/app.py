"""The daemon as a process: event loop, signals, log and metrics.

And a worker that is built anew should it ever fail.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sys
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import uvloop

from poller import __version__
from poller.assemble import assemble
from poller.decide.retry import Backoff
from poller.events import DaemonStarting, DaemonStopped, DaemonStopping, HttpListening, TaskFailed
from poller.observe.fanout import Fanout
from poller.observe.http import HttpServer, standard_pages
from poller.observe.lag import LagMeter
from poller.observe.log import LogSink, capture_libraries, whereabouts
from poller.observe.metrics import Metrics
from poller.observe.status import Report
from poller.observe.watch import Watch
from poller.run.clock import SystemClock
from poller.settings import Settings, load
from poller.startup import Found, Startup, World, compile_filters

# A defect ends the worker; the next one begins at the checkpoints, after a while.
_REBUILD = Backoff(first_s=1.0, max_s=30.0)
# A worker that lasted this long had nothing wrong with it from the start.
_CALM_S = 60.0
# A start makes some hundred thousand objects that stay, a page of a thousand records some thousand that go and are in
# no cycle: looking through them as often as Python does by itself costs a fifth of a start (measured).
_GC_THRESHOLDS = (50_000, 20, 20)

T = TypeVar("T")


def main(config: Path | None, environ: Mapping[str, str]) -> int:
    """Runs the daemon until a signal ends it; its exit code.

    Raises ConfigurationError, before anything is written to AWS, for settings that cannot work.
    """
    gc.set_threshold(*_GC_THRESHOLDS)
    settings = load(environ, config)
    try:
        return uvloop.run(Daemon(settings).run())
    finally:
        _give_up_output()


def _output() -> BinaryIO:
    """Where the log goes; nowhere for a process that was started with its output closed."""
    return sys.stdout.buffer if sys.stdout is not None else open(os.devnull, "wb")


def _give_up_output() -> None:
    """What nobody reads any more is still in the buffer: Python's own end would fail on it, with exit code 120."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)


class Daemon:
    """One process: what its worker stands on, and what the world sees of it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._log = LogSink(settings.log.level, settings.log.format, _output())
        self._metrics = Metrics(per_shard=settings.metrics.per_shard)
        watch = Watch((route.name for route in settings.routes), self._clock.monotonic)
        self._report = Report(watch.known, settings, self._clock)
        self._metrics.register_ready(self._report.ready)
        self._emit = Fanout([self._log, self._metrics, watch], sys.stderr)
        self._rng = random.Random()
        self._stop = asyncio.Event()
        self._stop_asked_at = 0.0

    async def run(self) -> int:
        """From the first line of the log to the last; the exit code.

        ConfigurationError: something that the settings name is not there, or not as it must be.
        """
        settings, emit = self._settings, self._emit
        filters = compile_filters(settings)
        capture_libraries(self._log)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        table = settings.stream.table_name
        self._metrics.register_stream(table)
        for route in settings.routes:
            self._metrics.register_route(table, route.name)
        emit(DaemonStarting(version=__version__, worker_id=settings.lease.worker_id))
        async with AsyncExitStack() as stack:
            await self._serve(stack)
            lag = asyncio.create_task(LagMeter(emit, self._clock.monotonic, self._clock.sleep).run())
            stack.callback(lag.cancel)
            startup = Startup(settings, World(self._clock, emit, self._rng))
            stack.callback(startup.close)
            found = await self._unless_stopped(startup.find(filters))
            gc.freeze()  # modules and models of AWS's APIs stay, and need not be looked through ever again
            clean = True if found is None else await self._work(found)
        self._log_end(clean)
        return 0

    async def _serve(self, stack: AsyncExitStack) -> None:
        """Metrics and health, from before AWS has answered: a daemon that waits for it is alive."""
        http = self._settings.http
        if not http.enabled:
            return
        server = HttpServer(standard_pages(self._metrics.render, self._report))
        url = await server.start(http.host, http.port)
        stack.push_async_callback(server.stop)
        self._emit(HttpListening(url=url))

    async def _work(self, found: Found) -> bool:
        """Workers, one after another: an error that nobody foresaw ends one, and the next begins at the checkpoints."""
        failures = 0
        while True:
            worker = assemble(self._settings, found, World(self._clock, self._emit, self._rng))
            began = self._clock.monotonic()
            try:
                return await worker.run(self._stop)
            except Exception as error:  # noqa: BLE001 - whatever it is, the stream must be read on
                failures = 1 if self._clock.monotonic() - began > _CALM_S else failures + 1
                wait_s = _REBUILD.wait_s(failures, self._rng.random())
                name = found.stream.table
                self._emit(TaskFailed(stream=name, task="worker", error=whereabouts(error), retry_in_s=wait_s))
            await self._unless_stopped(self._clock.sleep(wait_s))
            if self._stop.is_set():
                return False

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The work's result; None if the daemon is asked to stop before it is done, and the work is dropped."""
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})
        return None

    def _signalled(self, number: signal.Signals) -> None:
        """The first signal: leave in order. The second: at once, with nothing lost but the order."""
        if self._stop.is_set():
            os._exit(1)
        self._stop_asked_at = self._clock.monotonic()
        self._emit(DaemonStopping(reason=signal.Signals(number).name))
        self._stop.set()

    def _log_end(self, clean: bool) -> None:
        seconds = self._clock.monotonic() - self._stop_asked_at if self._stop_asked_at else 0.0
        self._emit(DaemonStopped(clean=clean, seconds=seconds))
