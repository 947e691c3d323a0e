"""The real loops of one worker, put together on a simulated host as `poller.assemble` does it on a real one."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from poller.decide.batch import BatchLimits
from poller.decide.filter import DEFAULT_PATTERN, compile_filter
from poller.decide.lineage import Start
from poller.decide.pacing import PacingLimits
from poller.decide.retry import Backoff, RetryLimits
from poller.events import Emit
from poller.run.buffer import Buffer
from poller.run.census import DESCRIBE_PER_S
from poller.run.dead_letters import DeadLetters
from poller.run.delivery import Delivery, RouteLimits
from poller.run.follow import Follower
from poller.run.leases import LeaseKeeper, LeaseLimits
from poller.run.limiter import ThrottleLimiter
from poller.run.message import MessageBuilder
from poller.run.pace import Pace
from poller.run.ports import StreamSource
from poller.run.shard import Reading
from poller.run.sift import Sifter
from poller.run.worker import Worker
from tests.sim.host import Host
from tests.sim.ports import SimLeaseTable, SimLetterQueue, SimQueue, SimStreamSource, SimTables
from tests.sim.world import MAX_ATTEMPTS, ROUTES, TABLE

PATTERNS: Final = {
    "jobs": DEFAULT_PATTERN,
    "audit": {"dynamodb": {"NewImage": {"phase": {"S": [{"prefix": "FILE_UPLOAD_"}]}}}},
}


def build(host: Host, *, made_table: bool, rng: random.Random) -> Worker:
    """A worker on its host, not yet running. It must be called in the context of the host's process."""
    world, knobs, clock = host.world, host.world.knobs, host.clock
    emit = world.ear(host)
    table = SimLeaseTable(host)
    buffer = Buffer(knobs.buffer_max_bytes, stream=TABLE, clock=clock, emit=emit)
    keeper = LeaseKeeper(
        table,
        LeaseLimits(knobs.lease_duration_s, knobs.max_leases),
        worker_id=host.name,
        stream=TABLE,
        buffer=buffer,
        clock=clock,
        emit=emit,
    )
    follower = _follower(host, table, keeper, emit, rng)
    deliveries = [_delivery(host, route, keeper, emit, rng) for route in ROUTES]
    reading = Reading(
        stream=TABLE,
        source=follower.source,
        sifter=Sifter([compile_filter([PATTERNS[route]]) for route in ROUTES]),
        routes=deliveries,
        pacing=PacingLimits(0.25, 1.0, knobs.page_limit),
        backoff=Backoff(0.1, 5.0),
        on_data_loss=knobs.on_data_loss,
        slots=asyncio.Semaphore(32),
        buffer=buffer,
        clock=clock,
        emit=emit,
        rng=rng,
    )
    host.buffer = buffer
    return Worker(
        follower,
        keeper,
        deliveries,
        reading,
        Pace(checkpoint_s=1.0, discovery_s=knobs.discovery_s),
        shard_limiter=lambda: ThrottleLimiter("get_records", 5, clock, emit),
        remake_table=table.remake,
        made_table=made_table,
        clock=clock,
        emit=emit,
        rng=rng,
    )


def _follower(host: Host, table: SimLeaseTable, keeper: LeaseKeeper, emit: Emit, rng: random.Random) -> Follower:
    world = host.world

    def source(arn: str) -> StreamSource:
        streams = world.tables.all_streams(TABLE)
        return SimStreamSource(host, next(stream for stream in streams if stream.info.arn == arn))

    return Follower(
        world.table.stream.info,
        table=TABLE,
        start=Start(world.knobs.start, world.start_ms),
        tables=SimTables(host),
        open_source=source,
        lease_table=table,
        describe_limiter=ThrottleLimiter("describe_stream", DESCRIBE_PER_S, host.clock, emit),
        on_created=keeper.note_created,
        clock=host.clock,
        emit=emit,
        rng=rng,
    )


def _delivery(host: Host, route: str, keeper: LeaseKeeper, emit: Emit, rng: random.Random) -> Delivery:
    world, clock = host.world, host.clock
    queue = SimQueue(host, route, world.queues[route])
    letters = DeadLetters(
        SimLetterQueue(host, world.letters),
        None,
        stream=TABLE,
        stream_arn=world.table.stream.info.arn,
        route=route,
        clock=clock,
        emit=emit,
        rng=rng,
    )
    limits = RouteLimits(
        batch=BatchLimits(10, queue.info.message_bytes_max, world.knobs.batch_window_s),
        retry=RetryLimits(MAX_ATTEMPTS, None, Backoff(0.2, 60.0)),
        in_flight_max=8,
    )
    builder = MessageBuilder(table=TABLE, form="record", attributes=(), fifo=queue.info.fifo, group_by="auto")
    return Delivery(
        route,
        queue,
        builder,
        limits,
        stream=TABLE,
        dead_letters=letters,
        held_back=keeper.table_failing,
        clock=clock,
        emit=emit,
        rng=rng,
    )
