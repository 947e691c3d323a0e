"""From settings to a worker: what AWS must answer before the first shard is read.

And how the parts are put together.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from poller.aws.lease_table import BotoLeaseTable
from poller.aws.s3 import BotoLetterStore
from poller.aws.session import Aws, AwsConfig
from poller.aws.sqs import BotoQueue, find_queue
from poller.aws.streams import BotoStreamSource, BotoTables
from poller.decide.filter import DEFAULT_PATTERN, Filter, PatternError, compile_filter
from poller.decide.retry import Backoff
from poller.decide.succession import foreign
from poller.errors import AccessDenied, AwsError, ConfigurationError, InvalidRequest, NotFound
from poller.events import DaemonReady, Emit, LeaseTableCreated, SettingsDoubtful, StartupWaiting
from poller.model import StreamInfo
from poller.run.ports import Clock
from poller.settings import RouteSettings, Settings

T = TypeVar("T")

_STARTUP = Backoff(first_s=0.5, max_s=15.0)


@dataclass(frozen=True, slots=True)
class World:
    """What every part shares: two clocks, where facts go, and the source of jitter."""

    clock: Clock
    emit: Emit
    rng: random.Random


@dataclass(frozen=True, slots=True)
class FoundRoute:
    """A route whose queues exist and whose filter compiles."""

    settings: RouteSettings
    filter: Filter
    queue: BotoQueue
    dead_letter_queue: BotoQueue | None
    store: BotoLetterStore | None


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that the daemon stands on, found and checked; nothing but the lease table has been written."""

    aws: Aws
    stream: StreamInfo
    lease_table: BotoLeaseTable
    routes: tuple[FoundRoute, ...]


def compile_filters(settings: Settings) -> tuple[Filter, ...]:
    """Every route's filter. ConfigurationError names the setting and the path to the fault in the pattern."""
    filters = []
    for index, route in enumerate(settings.routes):
        try:
            filters.append(compile_filter([DEFAULT_PATTERN] if route.filter is None else route.filter, route.changed))
        except PatternError as error:
            raise settings.fault(f"route.{index}.filter", str(error)) from error
    return tuple(filters)


def open_aws(settings: Settings, world: World) -> Awaitable[Aws]:
    """The clients, with threads for as many calls as the settings let be under way at once."""
    sends = sum(route.batches_in_flight + 1 for route in settings.routes)
    config = AwsConfig(
        region=settings.region,
        connect_timeout_s=settings.aws.connect_timeout_s,
        request_timeout_s=settings.aws.request_timeout_s,
        read_threads=settings.polling.concurrency + 2,
        lease_threads=18,
        send_threads=sends,
        allow_insecure_endpoints=settings.aws.allow_insecure_endpoints,
    )
    return Aws.open(config, world.emit, world.clock.monotonic)


class Startup:
    """Finds everything that the settings name. What does not answer is waited for; what is wrong ends the start."""

    def __init__(self, settings: Settings, world: World) -> None:
        self._settings = settings
        self._world = world
        self._aws: Aws | None = None

    def close(self) -> None:
        """Ends the clients' threads; what has been found cannot be used any more."""
        if self._aws is not None:
            self._aws.close()

    async def find(self, filters: Sequence[Filter]) -> Found:
        """ConfigurationError: something is missing, of another kind than it must be, or not allowed."""
        settings = self._settings
        aws = self._aws = await self._patiently("AWS clients", lambda: open_aws(settings, self._world))
        stream, routes = await asyncio.gather(
            self._patiently("stream", lambda: self._stream(aws)),
            asyncio.gather(*(self._route(aws, index, compiled) for index, compiled in enumerate(filters))),
        )
        self._check_view(stream, filters)
        table = BotoLeaseTable(aws, settings.lease_table, self._doubt)
        if await self._patiently("lease table", lambda: table.ensure(settings.lease.create, self._world.clock)):
            self._world.emit(LeaseTableCreated(table=settings.lease_table))
        rows = await self._patiently("lease table", table.list)
        other = foreign(rows, stream.arn)
        if other is not None:
            raise settings.fault(
                "lease.table", f"{settings.lease_table} belongs to another stream ({other}); name another table"
            )
        self._world.emit(
            DaemonReady(
                stream=stream.table,
                stream_arn=stream.arn,
                view_type=stream.view_type.value,
                lease_table=settings.lease_table,
                routes=tuple(route.name for route in settings.routes),
            )
        )
        return Found(aws, stream, table, tuple(routes))

    async def _patiently(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Asks until there is an answer; refusals of the request itself will not change by asking again."""
        failures = 0
        while True:
            try:
                return await call()
            except (AccessDenied, InvalidRequest) as error:
                raise ConfigurationError(str(error)) from error
            except AwsError as error:
                failures += 1
                wait_s = _STARTUP.wait_s(failures, self._world.rng.random())
                self._world.emit(StartupWaiting(what=what, error=str(error), retry_in_s=wait_s))
            await self._world.clock.sleep(wait_s)

    async def _stream(self, aws: Aws) -> StreamInfo:
        """The stream by its ARN, or the table's newest."""
        stream = self._settings.stream
        try:
            if stream.arn is not None:
                return (await BotoStreamSource(aws, stream.arn, stream.table_name).describe()).stream
            found = await BotoTables(aws).latest_stream(stream.table_name)
        except NotFound as error:
            setting = "stream.arn" if stream.arn is not None else "stream.table"
            raise self._settings.fault(setting, f"there is no such thing in {aws.region}: {error}") from error
        if found is None:
            raise self._settings.fault("stream.table", "the table has no stream; enable one with NEW_IMAGE")
        return found

    async def _route(self, aws: Aws, index: int, compiled: Filter) -> FoundRoute:
        route = self._settings.routes[index]
        queue = await self._queue(aws, route.queue, f"route.{index}.queue")
        letters = None
        if route.dead_letter_queue is None:
            self._doubt(
                f"route {route.name} has no dead-letter queue: a record that its queue refuses holds its shard's"
                " checkpoint until the queue takes it"
            )
        else:
            letters = await self._queue(aws, route.dead_letter_queue, f"route.{index}.dead_letter_queue")
        store = BotoLetterStore(aws, route.dead_letter_bucket) if route.dead_letter_bucket else None
        return FoundRoute(route, compiled, queue, letters, store)

    async def _queue(self, aws: Aws, name_or_url: str, setting: str) -> BotoQueue:
        async def find() -> BotoQueue:
            try:
                return await find_queue(aws, name_or_url)
            except NotFound as error:
                problem = f"there is no such queue in {aws.region}; make it, or mend the name"
                raise self._settings.fault(setting, problem) from error

        return await self._patiently(f"queue {name_or_url}", find)

    def _check_view(self, stream: StreamInfo, filters: Sequence[Filter]) -> None:
        """A filter on an image that the stream does not carry can never match."""
        for index, (route, compiled) in enumerate(zip(self._settings.routes, filters, strict=True)):
            needs_new = compiled.reads_new_image and not route.changed
            if needs_new and not stream.view_type.has_new_image:
                raise self._settings.fault(
                    f"route.{index}.filter",
                    f"reads NewImage, and the stream's view type is {stream.view_type.value}: it can never match;"
                    " enable the stream with NEW_IMAGE or NEW_AND_OLD_IMAGES",
                )
            if route.message == "image" and not stream.view_type.has_new_image:
                raise self._settings.fault(
                    f"route.{index}.message", f"the stream's view type is {stream.view_type.value}: it has no new image"
                )
            if route.changed and not stream.view_type.has_old_image:
                self._doubt(
                    f"route {route.name}: changed = {list(route.changed)} needs old images, and the stream's view type"
                    f" is {stream.view_type.value}: every MODIFY counts as a change"
                )

    def _doubt(self, text: str) -> None:
        self._world.emit(SettingsDoubtful(text=text))
