"""From what was found at the start to a worker: how its parts are put together, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from poller.aws.streams import BotoStreamSource, BotoTables
from poller.decide.batch import BatchLimits
from poller.decide.filter import Filter
from poller.decide.lineage import Start
from poller.decide.pacing import PacingLimits
from poller.decide.retry import Backoff, RetryLimits
from poller.events import Emit, Event, LeaseTableCreated
from poller.model import QueueInfo, StreamInfo
from poller.run.buffer import Buffer
from poller.run.census import DESCRIBE_PER_S
from poller.run.dead_letters import DeadLetters
from poller.run.delivery import Delivery, RouteLimits
from poller.run.follow import Follower
from poller.run.leases import LeaseKeeper, LeaseLimits
from poller.run.limiter import ShardLimiters, ThrottleLimiter
from poller.run.message import MessageBuilder
from poller.run.pace import Pace
from poller.run.ports import Queue, StreamSource
from poller.run.shard import Reading, Sift
from poller.run.sift import Sifter
from poller.run.thrift import Thrift
from poller.run.traced import TracedQueue, TracedSifter, TracedSource
from poller.run.worker import Worker
from poller.settings import RouteSettings, Settings
from poller.startup import Found, FoundRoute, World, fifo_routes, prices

_READING = Backoff(first_s=0.1, max_s=5.0)
_RETRYING = Backoff(first_s=0.2, max_s=60.0)


@dataclass(frozen=True, slots=True)
class Assembled:
    """A worker, and those of its parts that are asked, or set otherwise, while it works."""

    worker: Worker
    follower: Follower
    sifter: Sifter
    limiters: ShardLimiters

    def adjust(self, settings: Settings, filters: Sequence[Filter]) -> None:
        """Takes over what `poller.settings.changes` says can be. The routes are the same, in the same order."""
        self.sifter.exchange(filters)
        self.limiters.set_rate(settings.polling.requests_per_second_per_shard)
        for delivery, route in zip(self.worker.deliveries, settings.routes, strict=True):
            delivery.adjust(_limits(route, delivery.message_bytes_max))


def assemble(settings: Settings, found: Found, world: World, worker_id: str) -> Assembled:
    """A worker from its parts. Nothing is started. `worker_id`: its name in the lease rows, which nobody else bears."""
    pacing = PacingLimits(settings.polling.idle_min_s, settings.polling.idle_max_s, settings.polling.page_limit)
    thrift = _thrift(settings, pacing, world)
    if thrift is not None:
        world = replace(world, emit=_both(world.emit, thrift))
    stream, clock, emit, rng = found.stream, world.clock, world.emit, world.rng
    name = stream.table
    buffer = Buffer(settings.polling.buffer_max_bytes, stream=name, clock=clock, emit=emit)
    keeper = LeaseKeeper(
        found.lease_table,
        LeaseLimits(settings.lease.duration_s, settings.lease.max_leases),
        worker_id=worker_id,
        stream=name,
        buffer=buffer,
        clock=clock,
        emit=emit,
    )
    deliveries = [_delivery(route, stream, keeper.table_failing, world) for route in found.routes]
    follower = _follower(settings, found, keeper, world)
    sifter = Sifter([route.filter for route in found.routes])
    reading = Reading(
        stream=name,
        source=follower.source,
        sifter=_traced_sifter(sifter, name, world),
        routes=deliveries,
        pacing=pacing,
        backoff=_READING,
        on_data_loss=settings.stream.on_data_loss,
        slots=asyncio.Semaphore(settings.polling.concurrency),
        buffer=buffer,
        clock=clock,
        emit=emit,
        rng=rng,
        thrift=thrift,
    )

    limiters = ShardLimiters("get_records", settings.polling.requests_per_second_per_shard, clock, emit)

    async def remake_table() -> None:
        if await found.lease_table.ensure(True, clock):
            emit(LeaseTableCreated(stream=name, table=settings.lease_table))

    pace = Pace(checkpoint_s=settings.checkpoint.interval_s, discovery_s=settings.lease.discovery_interval_s)
    worker = Worker(
        follower,
        keeper,
        deliveries,
        reading,
        pace,
        shard_limiter=limiters,
        remake_table=remake_table if settings.lease.create else None,
        made_table=found.made_lease_table,
        clock=clock,
        emit=emit,
        rng=rng,
    )
    return Assembled(worker, follower, sifter, limiters)


def _thrift(settings: Settings, pacing: PacingLimits, world: World) -> Thrift | None:
    budget_usd = settings.cost.monthly_budget_usd
    if budget_usd is None:
        return None
    return Thrift(
        pacing,
        budget_usd,
        prices(settings),
        fifo_routes=fifo_routes(settings),
        stream=settings.stream.table_name,
        clock=world.clock,
        emit=world.emit,
    )


def _both(first: Emit, second: Emit) -> Emit:
    def emit(event: Event) -> None:
        first(event)
        second(event)

    return emit


def _follower(settings: Settings, found: Found, keeper: LeaseKeeper, world: World) -> Follower:
    name, position = found.stream.table, settings.stream.start_position
    return Follower(
        found.stream,
        table=settings.stream.table,
        start=Start(position.kind, position.timestamp_ms),
        tables=BotoTables(found.aws),
        open_source=lambda arn: _traced_source(BotoStreamSource(found.aws, arn, name), world),
        lease_table=found.lease_table,
        describe_limiter=ThrottleLimiter("describe_stream", DESCRIBE_PER_S, world.clock, world.emit),
        on_created=keeper.note_created,
        clock=world.clock,
        emit=world.emit,
        rng=world.rng,
    )


def _traced_source(source: StreamSource, world: World) -> StreamSource:
    return source if world.tracing is None else TracedSource(source, world.clock.wall)


def _traced_sifter(sifter: Sift, stream: str, world: World) -> Sift:
    return sifter if world.tracing is None else TracedSifter(sifter, world.tracing, stream, world.clock.wall)


def _traced_queue(queue: Queue, route: str, stream: str, world: World) -> Queue:
    if world.tracing is None:
        return queue
    return TracedQueue(queue, world.tracing, stream=stream, route=route, clock=world.clock)


def _delivery(route: FoundRoute, stream: StreamInfo, held_back: Callable[[], bool], world: World) -> Delivery:
    settings, clock, emit, rng = route.settings, world.clock, world.emit, world.rng
    info: QueueInfo = route.queue.info
    graves = route.dead_letter_queue
    letters = DeadLetters(
        None if graves is None else _traced_queue(graves, settings.name, stream.table, world),
        route.store,
        stream=stream.table,
        stream_arn=stream.arn,
        route=settings.name,
        clock=clock,
        emit=emit,
        rng=rng,
    )
    builder = MessageBuilder(
        table=stream.table,
        form=settings.message,
        attributes=settings.attributes,
        fifo=info.fifo,
        group_by=settings.group_by,
    )
    return Delivery(
        settings.name,
        _traced_queue(route.queue, settings.name, stream.table, world),
        builder,
        _limits(settings, info.message_bytes_max),
        stream=stream.table,
        dead_letters=letters,
        held_back=held_back,
        clock=clock,
        emit=emit,
        rng=rng,
    )


def _limits(route: RouteSettings, message_bytes_max: int) -> RouteLimits:
    return RouteLimits(
        batch=BatchLimits(route.batch_size, message_bytes_max, route.batch_window_s),
        retry=RetryLimits(route.max_attempts, route.max_record_age_s, _RETRYING),
        in_flight_max=route.batches_in_flight,
        messages_per_second=route.messages_per_second,
    )
