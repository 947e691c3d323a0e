"""The daemon as a process: event loop, signals, log and metrics, and the applications that it runs side by side."""

from __future__ import annotations

import asyncio
import io
import os
import random
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import uvloop

from poller import __version__
from poller.application import Application, Muster
from poller.events import DaemonStarting, DaemonStopped, DaemonStopping, HttpListening
from poller.observe.fanout import Fanout, Text
from poller.observe.http import HttpServer, standard_pages
from poller.observe.lag import LagMeter
from poller.observe.log import LogSink, capture_libraries
from poller.observe.metrics import Metrics
from poller.observe.outlet import Outlet, TextOutlet
from poller.observe.overview import Overview
from poller.observe.page import front_page
from poller.observe.status import Report
from poller.observe.watch import ByStream, Watch
from poller.run.clock import SystemClock
from poller.settings import Settings, load_all
from poller.startup import World, compile_filters


def main(configs: Sequence[Path], environ: Mapping[str, str]) -> int:
    """Runs the daemon until a signal ends it; its exit code. Each file is an application; of none, the environment is.

    Raises ConfigurationError, before anything is written to AWS, for settings that cannot work.
    """
    settings = load_all(environ, configs)
    try:
        return uvloop.run(Daemon(settings).run())
    finally:
        _give_up_output()


def _output() -> BinaryIO:
    """Where the log goes; nowhere for a process that was started with its output closed."""
    if sys.stdout is None:
        return open(os.devnull, "wb")
    descriptor = _descriptor(sys.stdout)
    return sys.stdout.buffer if descriptor is None else cast("BinaryIO", Outlet(descriptor))


def _last_resort() -> Text:
    """Where it is said that the log fails."""
    if sys.stderr is None:
        return io.StringIO()
    descriptor = _descriptor(sys.stderr)
    return sys.stderr if descriptor is None else TextOutlet(descriptor)


def _descriptor(stream: TextIO) -> int | None:
    """None for what somebody has put in its place."""
    try:
        return stream.fileno()
    except io.UnsupportedOperation:
        return None


def _give_up_output() -> None:
    """What nobody reads any more is still in the buffer: Python's own end would fail on it, with exit code 120."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)


class Daemon:
    """One process: what its applications stand on, and what the world sees of them."""

    def __init__(self, settings: Sequence[Settings]) -> None:
        """`settings`: of each application. What is the process's own is the same in all of them."""
        self._settings = settings
        self._process = settings[0]
        # Whoever is alive is told by this name in the lease rows, so that two processes must never bear the same one,
        # though a user may give all copies of a container the same settings.
        self._worker_id = f"{self._process.lease.worker_id}:{secrets.token_hex(4)}"
        self._clock = SystemClock()
        self._log = LogSink(self._process.log.level, self._process.log.format, _output())
        self._metrics = Metrics(per_shard=self._process.metrics.per_shard)
        watches: dict[str, Watch] = {}
        reports: dict[str, Report] = {}
        for one in settings:
            name = one.stream.table_name
            watches[name] = Watch((route.name for route in one.routes), self._clock.monotonic)
            reports[name] = Report(watches[name].known, one, self._clock)
        # A process with one stream has the pages of that stream.
        self._report = Overview(reports, self._clock) if len(reports) > 1 else next(iter(reports.values()))
        self._metrics.register_ready(self._report.ready)
        self._muster = Muster(watches)
        self._emit = Fanout([self._log, self._metrics, ByStream(watches), self._muster], _last_resort())
        self._world = World(self._clock, self._emit, random.Random())
        self._stop = asyncio.Event()
        self._stop_asked_at = 0.0

    async def run(self) -> int:
        """From the first line of the log to the last; the exit code.

        ConfigurationError: something that the settings name is not there, or not as it must be.
        """
        emit = self._emit
        applications = [
            Application(
                one, compile_filters(one), self._world, self._muster, stop=self._stop, worker_id=self._worker_id
            )
            for one in self._settings
        ]
        capture_libraries(self._log)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        for one in self._settings:
            self._metrics.register_stream(one.stream.table_name)
            for route in one.routes:
                self._metrics.register_route(one.stream.table_name, route.name)
        emit(DaemonStarting(version=__version__, worker_id=self._worker_id))
        async with AsyncExitStack() as stack:
            await self._serve(stack)
            lag = asyncio.create_task(LagMeter(emit, self._clock.monotonic, self._clock.sleep).run())
            stack.callback(lag.cancel)
            clean = await _side_by_side(applications)
        self._log_end(clean)
        return 0

    async def _serve(self, stack: AsyncExitStack) -> None:
        """Metrics and health, from before AWS has answered: a daemon that waits for it is alive."""
        http = self._process.http
        if not http.enabled:
            return
        server = HttpServer(standard_pages(self._metrics.render, self._report, front_page()))
        url = await server.start(http.host, http.port)
        stack.push_async_callback(server.stop)
        self._emit(HttpListening(url=url))

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


async def _side_by_side(applications: Sequence[Application]) -> bool:
    """All of them to their end; did every one leave with everything settled? The first error ends the others."""
    tasks = [asyncio.create_task(application.run()) for application in applications]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        clean = [task.result() for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return all(clean)
