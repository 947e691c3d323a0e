"""From settings to a worker: what AWS must answer before the first shard is read.

And how the parts are put together.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from poller.aws.lease_table import BotoLeaseTable
from poller.aws.s3 import BotoLetterStore
from poller.aws.session import Aws, AwsConfig
from poller.aws.sqs import BotoQueue, WrongQueue, check_account, find_queue
from poller.aws.streams import BotoStreamSource, BotoTables
from poller.aws.survey import table_facts
from poller.decide.cost import Prices
from poller.decide.doubts import doubts
from poller.decide.filter import Filter
from poller.decide.retry import Backoff
from poller.decide.succession import foreign
from poller.decide.trouble import Trouble
from poller.errors import AccessDenied, AwsError, ConfigurationError, InvalidRequest, NotFound
from poller.events import DaemonReady, Emit, LeaseTableCreated, SettingsDoubtful, StartupContinued, StartupWaiting
from poller.model import Lease, QueueInfo, StreamInfo
from poller.run.ports import Clock
from poller.run.traced import Tracing
from poller.settings import RouteSettings, Settings

T = TypeVar("T")

_STARTUP = Backoff(first_s=0.5, max_s=15.0)
# Credentials are there by then, or whoever gives them out hangs.
_SILENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class World:
    """What every part shares: clocks, where facts go, the source of jitter, and who keeps spans, if anybody does."""

    clock: Clock
    emit: Emit
    rng: random.Random
    tracing: Tracing | None = None


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
    """Everything that the daemon stands on, found and checked; nothing but the lease table has been written.

    `made_lease_table`: this process has made it just now.
    """

    aws: Aws
    stream: StreamInfo
    lease_table: BotoLeaseTable
    routes: tuple[FoundRoute, ...]
    made_lease_table: bool


def prices(settings: Settings) -> Prices:
    """The prices of the settings, for one of each."""
    cost = settings.cost
    return Prices(
        get_records=cost.get_records_per_100k_usd / 1e5,
        lease_read=cost.lease_read_per_million_usd / 1e6,
        lease_write=cost.lease_write_per_million_usd / 1e6,
        queue_request=cost.queue_request_per_million_usd / 1e6,
        fifo_request=cost.fifo_request_per_million_usd / 1e6,
    )


def fifo_routes(settings: Settings) -> frozenset[str]:
    """The routes whose queues are FIFO, which their names tell."""
    return frozenset(route.name for route in settings.routes if route.queue.endswith(".fifo"))


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
        calls=settings.aws.calls,
    )
    return Aws.open(config, world.emit, world.clock.monotonic)


async def find_stream(settings: Settings, aws: Aws) -> StreamInfo:
    """The stream by its ARN, or the table's newest. ConfigurationError: there is none. AwsError: no answer."""
    stream = settings.stream
    try:
        if stream.arn is not None:
            return (await BotoStreamSource(aws, stream.arn, stream.table_name).describe()).stream
        found = await BotoTables(aws).latest_stream(stream.table_name)
    except NotFound as error:
        setting = "stream.arn" if stream.arn is not None else "stream.table"
        raise settings.fault(setting, f"there is no such thing in {aws.region}: {error}") from error
    if found is None:
        raise settings.fault("stream.table", "the table has no stream; enable one with NEW_AND_OLD_IMAGES")
    return found


async def find_route_queue(settings: Settings, aws: Aws, setting: str, name_or_url: str) -> BotoQueue:
    """The queue that a route's setting names. ConfigurationError: there is none. AwsError: no answer."""
    try:
        return await find_queue(aws, name_or_url)
    except WrongQueue as error:
        raise settings.fault(setting, error.problem) from error
    except NotFound as error:
        mend = "make it, or mend the URL" if "://" in name_or_url else "make it (`poller init`), or mend the name"
        raise settings.fault(setting, f"there is no such queue in {aws.region}; {mend}") from error


def account_fault(settings: Settings, stream: StreamInfo, setting: str, queue: QueueInfo) -> ConfigurationError | None:
    """What to raise if a queue is of another account than the stream."""
    try:
        check_account(queue, stream.arn)
    except WrongQueue as error:
        return settings.fault(setting, error.problem)
    return None


def disabled_fault(settings: Settings, stream: StreamInfo, rows: Iterable[Lease]) -> ConfigurationError | None:
    """What to raise if the table's stream is disabled and nothing of it, or of its predecessors, is left to be read.

    One that is named by its ARN is read whatever it is: somebody wants the rest of it.
    """
    if stream.enabled or settings.stream.arn is not None or any(not row.finished for row in rows):
        return None
    return settings.fault(
        "stream.table",
        f"the stream is disabled, and {settings.lease_table} has no unfinished lease on it;"
        " enable the stream, or name another",
    )


def view_faults(settings: Settings, stream: StreamInfo, filters: Sequence[Filter]) -> Iterator[ConfigurationError]:
    """What no record of this stream can give: a filter on an image that it does not carry can never match."""
    view = stream.view_type
    missing = [
        (image, mend)
        for image, there, mend in (
            ("NewImage", view.has_new_image, "NEW_IMAGE or NEW_AND_OLD_IMAGES"),
            ("OldImage", view.has_old_image, "OLD_IMAGE or NEW_AND_OLD_IMAGES"),
        )
        if not there
    ]
    for index, (route, compiled) in enumerate(zip(settings.routes, filters, strict=True)):
        for image, mend in missing:
            if compiled.needs("dynamodb", image):
                yield settings.fault(
                    f"route.{index}.filter",
                    f"reads {image}, and the stream's view type is {view.value}: it can never match;"
                    f" enable the stream with {mend}",
                )
        if route.message == "image" and not view.has_new_image:
            yield settings.fault(
                f"route.{index}.message",
                f'the stream\'s view type is {view.value}: it has no new image; write "record", or enable the stream'
                " with NEW_IMAGE or NEW_AND_OLD_IMAGES",
            )


def route_doubts(settings: Settings) -> Iterator[str]:
    """What may work otherwise than its user thinks, seen from the settings alone."""
    for route in settings.routes:
        if route.dead_letter_queue is None:
            yield (
                f"route {route.name} has no dead-letter queue: a record that its queue refuses holds its shard's"
                " checkpoint until the queue takes it"
            )
            if route.dead_letter_bucket is not None:
                yield (
                    f"route {route.name}: dead_letter_bucket is not written to without a dead_letter_queue, whose"
                    " letters say what lies in it"
                )


def queue_doubts(settings: Settings) -> Iterator[str]:
    """The same of routes that send to one FIFO queue: each keeps order by itself, and the queue takes an id once."""
    names: dict[str, list[str]] = {}
    for route in settings.routes:
        names.setdefault(route.queue.rpartition("/")[2], []).append(route.name)
    for queue, routes in names.items():
        if len(routes) > 1 and queue.endswith(".fifo"):
            yield (
                f"routes {', '.join(routes)} send to one FIFO queue, {queue}: a record that several of them want"
                " arrives once, and changes of one item that different ones want may arrive in another order"
            )


def filter_doubts(settings: Settings, filters: Sequence[Filter]) -> Iterator[str]:
    """What in the routes' filters no record can have."""
    for route, compiled in zip(settings.routes, filters, strict=True):
        for text in doubts(compiled):
            yield f"the filter of route {route.name} {text}"


def view_doubts(settings: Settings, stream: StreamInfo) -> Iterator[str]:
    """The same, seen with the stream's view type."""
    for route in settings.routes:
        if route.changed and not stream.view_type.has_old_image:
            yield (
                f"route {route.name}: changed = {list(route.changed)} needs old images, and the stream's view type"
                f" is {stream.view_type.value}: every MODIFY counts as a change"
            )


def foreign_lease_table(settings: Settings, stream: StreamInfo, rows: Iterable[Lease]) -> ConfigurationError | None:
    """What to raise if the lease table's rows belong to another table's stream."""
    other = foreign(rows, stream.arn)
    if other is None:
        return None
    return settings.fault(
        "lease.table", f"{settings.lease_table} belongs to another stream ({other}); name another table"
    )


class Startup:
    """Finds everything that the settings name. What does not answer is waited for; what is wrong ends the start."""

    def __init__(self, settings: Settings, world: World) -> None:
        self._settings = settings
        self._world = world
        self._aws: Aws | None = None
        self._silence_told = False

    def close(self) -> None:
        """Ends the clients' threads; what has been found cannot be used any more."""
        if self._aws is not None:
            self._aws.close()

    async def find(
        self, filters: Sequence[Filter], before_writing: Callable[[], Awaitable[None]] | None = None
    ) -> Found:
        """ConfigurationError: something is missing, of another kind than it must be, or not allowed.

        `before_writing` is awaited when all that can be seen has been seen, and nothing has been written so far.
        """
        settings = self._settings
        aws = self._aws = await self._clients(lambda: open_aws(settings, self._world))
        if any(route.dead_letter_bucket for route in settings.routes):
            await self._clients(aws.s3)  # not only at the first large letter
        stream, routes = await self._stream_and_routes(aws, filters)
        table = BotoLeaseTable(aws, settings.lease_table, self._doubt)
        if not stream.enabled:
            rows = await self._patiently("lease table", lambda: self._rows_if_any(aws, table))
            if disabled := disabled_fault(settings, stream, rows):
                raise disabled
        for fault in (*view_faults(settings, stream, filters), *self._account_faults(stream, routes)):
            raise fault
        for doubt in (
            *route_doubts(settings),
            *queue_doubts(settings),
            *filter_doubts(settings, filters),
            *view_doubts(settings, stream),
        ):
            self._doubt(doubt)
        if before_writing is not None:
            rows = await self._patiently("lease table", lambda: self._rows_so_far(aws, table))
            if other := foreign_lease_table(settings, stream, rows):
                raise other
            await before_writing()
        made = await self._patiently("lease table", lambda: table.ensure(settings.lease.create, self._world.clock))
        if made:
            self._world.emit(LeaseTableCreated(stream=stream.table, table=settings.lease_table))
        rows = await self._patiently("lease table", table.list)
        if other := foreign_lease_table(settings, stream, rows):
            raise other
        self._world.emit(
            DaemonReady(
                stream=stream.table,
                stream_arn=stream.arn,
                view_type=stream.view_type.value,
                lease_table=settings.lease_table,
                routes=tuple(route.name for route in settings.routes),
            )
        )
        return Found(aws, stream, table, tuple(routes), made)

    async def _stream_and_routes(self, aws: Aws, filters: Sequence[Filter]) -> tuple[StreamInfo, list[FoundRoute]]:
        """All at once. What is wrong with one of them ends the others too, which would ask on for ever."""
        settings = self._settings
        finding = asyncio.create_task(self._patiently("stream", lambda: find_stream(settings, aws)))
        routing = [asyncio.create_task(self._route(aws, index, compiled)) for index, compiled in enumerate(filters)]
        try:
            return await asyncio.gather(finding, asyncio.gather(*routing))
        finally:
            for task in (finding, *routing):
                task.cancel()
            await asyncio.gather(finding, *routing, return_exceptions=True)

    async def _clients(self, make: Callable[[], Awaitable[T]]) -> T:
        """What needs credentials first. How long a helper takes to give them out is bounded by nobody: that it neither
        answers nor fails is said, once."""
        what, name, clock = "AWS clients", self._settings.stream.table_name, self._world.clock

        async def aloud() -> T:
            began, told_before = clock.monotonic(), self._silence_told
            silence = asyncio.get_running_loop().call_later(_SILENCE_S, self._tell_silence, what)
            try:
                made = await make()
            finally:
                silence.cancel()
            if self._silence_told and not told_before:
                self._world.emit(StartupContinued(stream=name, what=what, waited_s=clock.monotonic() - began))
            return made

        return await self._patiently(what, aloud)

    def _tell_silence(self, what: str) -> None:
        if not self._silence_told:
            self._silence_told = True
            error = f"neither credentials nor an error came within {_SILENCE_S:g} s; see that their provider answers"
            name = self._settings.stream.table_name
            self._world.emit(StartupWaiting(stream=name, what=what, error=error, retry_in_s=0.0))

    async def _patiently(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Asks until there is an answer; refusals of the request itself will not change by asking again."""
        trouble, clock, emit = Trouble(), self._world.clock, self._world.emit
        name = self._settings.stream.table_name
        while True:
            try:
                answer = await call()
            except (AccessDenied, InvalidRequest) as error:
                raise ConfigurationError(str(error)) from error
            except AwsError as error:
                wait_s = _STARTUP.wait_s(trouble.failures + 1, self._world.rng.random())
                if trouble.failed(clock.monotonic()):
                    emit(StartupWaiting(stream=name, what=what, error=str(error), retry_in_s=wait_s))
            else:
                over = trouble.worked(clock.monotonic())
                if over is not None:
                    emit(StartupContinued(stream=name, what=what, waited_s=over.lasted_s))
                return answer
            await clock.sleep(wait_s)

    async def _rows_if_any(self, aws: Aws, table: BotoLeaseTable) -> Sequence[Lease]:
        """The lease table's rows; none without a table, which is not made."""
        if await table_facts(aws, self._settings.lease_table) is None:
            return ()
        await table.ensure(create=False, clock=self._world.clock)
        return await table.list()

    async def _rows_so_far(self, aws: Aws, table: BotoLeaseTable) -> Sequence[Lease]:
        """The lease table's rows, without making it. ConfigurationError: it is no lease table, or must be there."""
        if self._settings.lease.create:
            return await self._rows_if_any(aws, table)
        await table.ensure(create=False, clock=self._world.clock)
        return await table.list()

    def _account_faults(self, stream: StreamInfo, routes: Sequence[FoundRoute]) -> Iterator[ConfigurationError]:
        for index, route in enumerate(routes):
            for name, queue in (("queue", route.queue), ("dead_letter_queue", route.dead_letter_queue)):
                if queue is None:
                    continue
                if fault := account_fault(self._settings, stream, f"route.{index}.{name}", queue.info):
                    yield fault

    async def _route(self, aws: Aws, index: int, compiled: Filter) -> FoundRoute:
        route = self._settings.routes[index]
        queue = await self._queue(aws, f"route.{index}.queue", route.queue)
        letters = None
        if route.dead_letter_queue is not None:
            letters = await self._queue(aws, f"route.{index}.dead_letter_queue", route.dead_letter_queue)
        store = BotoLetterStore(aws, route.dead_letter_bucket) if route.dead_letter_bucket else None
        return FoundRoute(route, compiled, queue, letters, store)

    async def _queue(self, aws: Aws, setting: str, name_or_url: str) -> BotoQueue:
        return await self._patiently(
            f"queue {name_or_url}", lambda: find_route_queue(self._settings, aws, setting, name_or_url)
        )

    def _doubt(self, text: str) -> None:
        self._world.emit(SettingsDoubtful(stream=self._settings.stream.table_name, text=text))
