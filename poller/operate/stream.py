"""What the commands stand on that read a stream beside the daemon: its clients and the stream, without any lease."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from poller.aws.session import Aws
from poller.aws.streams import BotoStreamSource
from poller.decide.pacing import PacingLimits
from poller.decide.retry import Backoff
from poller.decide.span import Span
from poller.events import Emit
from poller.model import StreamInfo
from poller.run.buffer import Buffer
from poller.run.limiter import ThrottleLimiter
from poller.run.ports import Clock, Limiter, StreamSource
from poller.run.shard import Reading, Route, Sift
from poller.run.span import SpanReader
from poller.settings import Settings
from poller.startup import World, find_stream, open_aws

# Of the 10 calls a second that DescribeStream allows an account the daemon may want most.
_DESCRIBE_PER_S = 5.0
_READING = Backoff(first_s=0.1, max_s=5.0)


@dataclass(frozen=True, slots=True)
class Manners:
    """How a reader beside the daemon behaves: requests a second and shard, and for how long it asks in vain."""

    requests_per_second: float
    patience_s: float


@dataclass(frozen=True, slots=True)
class StreamSite:
    """One stream. `now_s`: the service's own clock as the command began, with which creation times are compared."""

    settings: Settings
    aws: Aws
    stream: StreamInfo
    source: StreamSource
    now_s: float
    world: World

    @property
    def clock(self) -> Clock:
        return self.world.clock

    def describe_limiter(self) -> Limiter:
        return ThrottleLimiter("describe_stream", _DESCRIBE_PER_S, self.clock, self.world.emit)

    def reader(
        self, span: Span, sift: Sift, routes: Sequence[Route], *, pacing: PacingLimits, manners: Manners, emit: Emit
    ) -> SpanReader:
        """One that hands what the sift finds to the routes."""
        name, clock, polling = self.stream.table, self.clock, self.settings.polling
        reading = Reading(
            stream=name,
            source=self.source,
            sifter=sift,
            routes=routes,
            pacing=pacing,
            backoff=_READING,
            on_data_loss="skip",
            slots=asyncio.Semaphore(polling.concurrency),
            buffer=Buffer(polling.buffer_max_bytes, stream=name, clock=clock, emit=emit),
            clock=clock,
            emit=emit,
            rng=self.world.rng,
        )
        return SpanReader(
            self.stream,
            span,
            reading,
            shard_limiter=lambda: ThrottleLimiter("get_records", manners.requests_per_second, clock, emit),
            describe_limiter=self.describe_limiter(),
            patience_s=manners.patience_s,
        )


@asynccontextmanager
async def open_stream(settings: Settings, clock: Clock, stream_arn: str | None = None) -> AsyncIterator[StreamSite]:
    """Opens the clients and finds the stream: the settings' own, or the one of that ARN.

    ConfigurationError: there is none. AwsError: no answer.
    """
    world = World(clock, lambda _: None, random.Random())
    aws = await open_aws(settings, world)
    try:
        if stream_arn is None:
            stream_arn = (await find_stream(settings, aws)).arn
        source = BotoStreamSource(aws, stream_arn, settings.stream.table_name)
        page = await source.describe()
        now_s = clock.wall() if page.served_at_s is None else page.served_at_s
        yield StreamSite(settings, aws, page.stream, source, now_s, world)
    finally:
        aws.close()
