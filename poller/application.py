"""One application: a stream with its routes and its lease table, from its start to its end.

A process may have several. What goes wrong with one of them is waited for, or begun again, and touches no other.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from poller.assemble import Assembled, assemble
from poller.decide.filter import Filter
from poller.decide.retry import Backoff
from poller.errors import ConfigurationError
from poller.events import Event, SettingsDoubtful, StartupFailed, StartupWaiting, StreamUnsuited, TaskFailed
from poller.model import StreamInfo
from poller.observe.log import whereabouts
from poller.settings import Settings
from poller.startup import Found, Startup, World, filter_doubts, view_doubts, view_faults

# A defect ends the worker; the next one begins at the checkpoints, after a while.
_REBUILD: Final = Backoff(first_s=1.0, max_s=30.0)
# A worker that lasted this long had nothing wrong with it from the start.
_CALM_S: Final = 60.0
# What is wrong at the start is mended by people.
_RESTART: Final = Backoff(first_s=2.0, max_s=60.0)
# Longer than AWS usually takes to answer all questions, or to be known not to (request_timeout and connect_timeout).
_MUSTER_S: Final = 5.0

T = TypeVar("T")


class Muster:
    """Where the applications of a process wait for each other, once, before the first of them writes anything.

    So that what is wrong with one of them ends the process before anything has changed. One that waits for AWS is not
    waited for, nor is one that takes too long. It is a sink of events, which tell who waits.
    """

    def __init__(self, streams: Iterable[str]) -> None:
        """`streams`: their tables' names."""
        self._looking = set(streams)
        self._at_work: set[str] = set()
        self._complete = asyncio.Event()
        self.several: Final = len(self._looking) > 1

    def __call__(self, event: Event) -> None:
        if isinstance(event, StartupWaiting):
            self._looked(event.stream)

    def takers(self, kind: type[Event]) -> tuple[Callable[[Event], None], ...]:
        """Nothing but for the one kind (`poller.observe.fanout.Choosy`)."""
        return (self,) if kind is StartupWaiting else ()

    async def wait(self, stream: str) -> None:
        """Returns when no other one is still looking at what its settings name; from then on this one is at work."""
        self._looked(stream)
        try:
            async with asyncio.timeout(_MUSTER_S):
                await self._complete.wait()
        except TimeoutError:
            pass
        self._at_work.add(stream)

    def others_at_work(self, stream: str) -> bool:
        """Would it touch another application, if the process ended?"""
        return bool(self._at_work - {stream})

    def _looked(self, stream: str) -> None:
        self._looking.discard(stream)
        if not self._looking:
            self._complete.set()


class Application:
    """Finds what its settings name, and works until `stop` is set, as the worker of that name."""

    def __init__(
        self,
        settings: Settings,
        filters: Sequence[Filter],
        world: World,
        muster: Muster,
        *,
        stop: asyncio.Event,
        worker_id: str,
    ) -> None:
        self._settings = settings
        self._filters = filters
        self._world = world
        self._muster = muster
        self._stop = stop
        self._worker_id = worker_id
        self._assembled: Assembled | None = None
        self._stream: Final = settings.stream.table_name

    async def run(self) -> bool:
        """Was everything in flight settled when it left?

        ConfigurationError: something that the settings name is not there, or not as it must be. That, like an error
        that nobody foresaw at the start, is raised only while no other application is at work.
        """
        found = await self._begin()
        if found is None:
            return True
        gc.freeze()  # modules and models of AWS's APIs stay, and need not be looked through ever again
        try:
            return await self._work(found)
        finally:
            found.aws.close()

    def reload(self, settings: Settings, filters: Sequence[Filter]) -> None:
        """Other settings from now on, as far as they can be taken over at work (`poller.settings.changes`)."""
        known = set(filter_doubts(self._settings, self._filters))
        self._settings, self._filters = settings, filters
        if self._assembled is not None:
            self._assembled.adjust(settings, filters)
        for doubt in filter_doubts(settings, filters):
            if doubt not in known:
                self._world.emit(SettingsDoubtful(stream=self._stream, text=doubt))

    def check(self, settings: Settings, filters: Sequence[Filter]) -> None:
        """ConfigurationError: on the stream that is read these can never match."""
        if self._assembled is not None:
            for fault in view_faults(settings, self._assembled.follower.stream, filters):
                raise fault

    def _equipped(self, found: Found) -> Found:
        """What was found at the start, with the settings of now."""
        routes = zip(found.routes, self._settings.routes, self._filters, strict=True)
        return replace(found, routes=tuple(replace(route, settings=new, filter=judge) for route, new, judge in routes))

    # --- the start ----------------------------------------------------------------------------------------------------

    async def _begin(self) -> Found | None:
        """Starts, one after another, until one succeeds; None if the process is asked to stop before."""
        failures = 0
        while True:
            try:
                return await self._find()
            except Exception as error:
                if not self._muster.others_at_work(self._stream):
                    self._raise_in_its_file(error)
                    raise
                failures += 1
                wait_s = _RESTART.wait_s(failures, self._world.rng.random())
                self._world.emit(self._failed(error, wait_s))
            await self._unless_stopped(self._world.clock.sleep(wait_s))
            if self._stop.is_set():
                return None

    async def _find(self) -> Found | None:
        startup, found = Startup(self._settings, self._world), None
        before_writing = self._wait_for_the_others if self._muster.several else None
        try:
            found = await self._unless_stopped(startup.find(self._filters, before_writing))
        finally:
            if found is None:
                startup.close()
        return found

    async def _wait_for_the_others(self) -> None:
        await self._muster.wait(self._stream)

    def _failed(self, error: Exception, wait_s: float) -> Event:
        if isinstance(error, ConfigurationError):
            return StartupFailed(stream=self._stream, error=str(error), retry_in_s=wait_s)
        return TaskFailed(stream=self._stream, task="start", error=whereabouts(error), retry_in_s=wait_s)

    def _raise_in_its_file(self, error: Exception) -> None:
        """Adds the name of the file, where there are several and the error does not say in which of them it is."""
        file = self._settings.file
        if isinstance(error, ConfigurationError) and self._muster.several and file not in str(error):
            raise ConfigurationError(f"{file}: {error}") from error

    # --- the work -----------------------------------------------------------------------------------------------------

    async def _work(self, found: Found) -> bool:
        """Workers, one after another: an error that nobody foresaw ends one, and the next begins at the checkpoints."""
        clock, failures = self._world.clock, 0
        while True:
            began = clock.monotonic()
            try:
                self._assembled = assemble(self._settings, self._equipped(found), self._world, self._worker_id)
                self._assembled.follower.on_view = self._judge_view
                return await self._assembled.worker.run(self._stop)
            except Exception as error:  # noqa: BLE001 - whatever it is, the stream must be read on
                failures = 1 if clock.monotonic() - began > _CALM_S else failures + 1
                wait_s = _REBUILD.wait_s(failures, self._world.rng.random())
                self._world.emit(
                    TaskFailed(stream=self._stream, task="worker", error=whereabouts(error), retry_in_s=wait_s)
                )
            await self._unless_stopped(clock.sleep(wait_s))
            if self._stop.is_set():
                return False

    def _judge_view(self, stream: StreamInfo) -> None:
        """Says at work what the start would have ended with. Routes that the stream does suit go on."""
        for fault in view_faults(self._settings, stream, self._filters):
            self._world.emit(StreamUnsuited(stream=self._stream, stream_arn=stream.arn, error=str(fault)))
        for doubt in view_doubts(self._settings, stream):
            self._world.emit(SettingsDoubtful(stream=self._stream, text=doubt))

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The work's result; None if the process is asked to stop before it is done, and the work is dropped."""
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            stopping.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
