"""The daemon as a process: event loop, signals, log and metrics, and the applications that it runs side by side."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import uvloop

from poller import __version__
from poller.application import Application, Muster
from poller.errors import ConfigurationError
from poller.events import (
    DaemonStarting,
    DaemonStopped,
    DaemonStopping,
    Emit,
    HttpListening,
    SettingsRefused,
    SettingsReloaded,
)
from poller.filters import compile_filters
from poller.observe.embedded import EmbeddedMetrics, EmbeddedWriter
from poller.observe.fanout import Fanout
from poller.observe.http import HttpServer, standard_pages
from poller.observe.lag import LagMeter
from poller.observe.log import LogSink, capture_libraries, hide_texts_of_errors
from poller.observe.metrics import Metrics
from poller.observe.outlet import give_up_standard_output, last_resort, standard_output
from poller.observe.overview import Overview
from poller.observe.page import front_page
from poller.observe.status import Report
from poller.observe.watch import ByStream, Watch
from poller.part import Part, Tie
from poller.run.clock import SystemClock
from poller.settings import Settings, load_all
from poller.settings.changes import compare
from poller.startup import World, fifo_routes, prices
from poller.traces import open_traces


def main(configs: Sequence[Path], environ: Mapping[str, str], part: Part | None = None) -> int:
    """Runs the daemon until a signal ends it; its exit code. Each file is an application; of none, the environment is.

    `part`: which of several processes this one is, None: it is on its own.
    Raises ConfigurationError, before anything is written to AWS, for settings that cannot work.
    """
    hide_texts_of_errors()
    settings = load_all(environ, configs)
    try:
        return uvloop.run(Daemon(settings, lambda: load_all(environ, configs), part).run())
    finally:
        give_up_standard_output()


class Daemon:
    """One process: what its applications stand on, and what the world sees of them."""

    def __init__(
        self, settings: Sequence[Settings], read: Callable[[], Sequence[Settings]], part: Part | None = None
    ) -> None:
        """`settings`: of each application. What is the process's own is the same in all of them. `read` reads them
        again."""
        self._settings = settings
        self._read = read
        self._applications: Sequence[Application] = ()
        self._part = part
        self._tie = Tie(part.tied_to_fd) if part else None
        self._process = settings[0]
        # Whoever is alive is told by this name in the lease rows, so that two processes must never bear the same one,
        # though a user may give all copies of a container the same settings.
        self._worker_id = f"{self._process.lease.worker_id}:{secrets.token_hex(4)}"
        self._clock = SystemClock()
        log, number = self._process.log, part.number if part else None
        output = standard_output(shared=part is not None)
        self._log = LogSink(log.level, log.format, output, process=number)
        self._metrics = Metrics(per_shard=self._process.metrics.per_shard, monotonic=self._clock.monotonic)
        watches: dict[str, Watch] = {}
        self._reports: dict[str, Report] = {}
        for one in settings:
            name = one.stream.table_name
            watches[name] = Watch((route.name for route in one.routes), self._clock.monotonic)
            self._reports[name] = Report(watches[name].known, one, self._clock, partial(self._metrics.costs, name))
        # A process with one stream has the pages of that stream.
        self._report = (
            Overview(self._reports, self._clock) if len(self._reports) > 1 else next(iter(self._reports.values()))
        )
        self._metrics.register_ready(self._report.ready)
        self._muster = Muster(watches)
        sinks: list[Emit] = [self._log, self._metrics, ByStream(watches), self._muster]
        if self._tie is not None:
            sinks.append(self._tie)
        self._emit = Fanout(sinks, last_resort())
        self._traces = open_traces(self._process, self._clock)
        self._world = World(self._clock, self._emit, random.Random(), self._traces)
        self._stop = asyncio.Event()
        self._stop_asked_at = 0.0
        self._signals = 0

    async def run(self) -> int:
        """From the first line of the log to the last; the exit code.

        ConfigurationError: something that the settings name is not there, or not as it must be.
        """
        emit = self._emit
        applications = self._applications = [
            Application(
                one, compile_filters(one), self._world, self._muster, stop=self._stop, worker_id=self._worker_id
            )
            for one in self._settings
        ]
        capture_libraries(self._log)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # one that came before is heard now
        if self._tie is not None:
            self._tie.listen(self._leave)
        for one in self._settings:
            self._metrics.register_stream(one.stream.table_name)
            self._metrics.register_cost(one.stream.table_name, prices(one), fifo_routes(one))
            for route in one.routes:
                self._metrics.register_route(one.stream.table_name, route.name)
        emit(DaemonStarting(version=__version__, worker_id=self._worker_id))
        async with AsyncExitStack() as stack:
            if self._traces is not None:
                stack.push_async_callback(self._traces.close)
            await self._serve(stack)
            lag = asyncio.create_task(LagMeter(emit, self._clock.monotonic, self._clock.sleep).run())
            stack.callback(lag.cancel)
            if self._process.log.embedded_metrics:
                self._embed(stack)
            clean = await _side_by_side(applications)
        self._log_end(clean)
        return 0

    async def _serve(self, stack: AsyncExitStack) -> None:
        """Metrics and health, from before AWS has answered: a daemon that waits for it is alive."""
        http = self._process.http
        if not http.enabled:
            return
        server = HttpServer(standard_pages(self._metrics.render, self._report, front_page()))
        stack.push_async_callback(server.stop)
        if self._part is None:
            self._emit(HttpListening(url=await server.start(http.host, http.port)))
        elif self._part.serve_on_fd is not None:
            await server.start_on(socket.socket(fileno=self._part.serve_on_fd))

    def _embed(self, stack: AsyncExitStack) -> None:
        """Metrics in the log, once a minute and at the end."""
        routes = {one.stream.table_name: [route.name for route in one.routes] for one in self._settings}
        metrics = EmbeddedMetrics(self._metrics.registry, routes, self._clock.wall)
        writer = EmbeddedWriter(metrics, self._log.embed, self._clock.monotonic, self._clock.sleep)
        task = asyncio.create_task(writer.run())
        stack.callback(writer.tell)
        stack.callback(task.cancel)

    def _reload(self) -> None:
        """Takes over what can be at work; settings that cannot be used change nothing."""
        names = [one.stream.table_name for one in self._settings]
        try:
            read = self._read()
            filters = [compile_filters(one) for one in read]  # whose faults name the lines of the file as it is now
            same = [one.stream.table_name for one in read] == names
            if same:
                for application, one, compiled in zip(self._applications, read, filters, strict=True):
                    application.check(one, compiled)
        except ConfigurationError as error:
            self._emit(SettingsRefused(error=str(error)))
            return
        if not same:
            self._emit(SettingsReloaded(applied=(), need_restart=("stream",)))
            return
        applied: list[str] = []
        need_restart: list[str] = []
        in_force: list[Settings] = []
        for application, old, new in zip(self._applications, self._settings, read, strict=True):
            changes = compare(old, new)
            application.reload(changes.settings, compile_filters(changes.settings))
            in_force.append(changes.settings)
            self._reports[old.stream.table_name].set_settings(changes.settings)
            where = f"{old.stream.table_name}: " if len(names) > 1 else ""
            applied += [where + name for name in changes.applied]
            need_restart += [where + name for name in changes.need_restart]
        self._settings = in_force
        self._log.set_level(in_force[0].log.level)
        self._emit(SettingsReloaded(applied=tuple(applied), need_restart=tuple(need_restart)))

    def _signalled(self, number: signal.Signals) -> None:
        """The first signal: leave in order. The second: at once, with nothing lost but the order."""
        self._signals += 1
        if self._signals > 1:
            os._exit(1)
        self._leave(signal.Signals(number).name)

    def _leave(self, reason: str) -> None:
        """Asked for the first time: leave in order. A signal and the parent's word may say the same thing."""
        if self._stop.is_set():
            return
        self._stop_asked_at = self._clock.monotonic()
        self._emit(DaemonStopping(reason=reason))
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
