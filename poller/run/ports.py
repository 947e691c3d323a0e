"""What the loops need of the world: small interfaces, implemented by `poller.aws` and by the tests' in-memory world.

Every method that goes over a network raises `poller.errors.AwsError` and nothing else for what the far side does; each
makes one attempt, since when to try again is decided by its caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from poller.model import EntryOutcome, Lease, Message, Page, Position, QueueInfo, Shard, ShardPage, StreamInfo


class Clock(Protocol):
    """Two clocks, never mixed: `monotonic()` for every deadline, `wall()` for what people and AWS read.

    Both in seconds.
    """

    def monotonic(self) -> float: ...

    def wall(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class Limiter(Protocol):
    """Paces one kind of call: `acquire` returns when the next call may be made, in the order of asking."""

    async def acquire(self) -> None: ...

    def set_rate(self, rate: float) -> None:
        """Calls a second, above 0."""


class Tables(Protocol):
    """From a table's name to its stream."""

    async def latest_stream(self, table: str) -> StreamInfo | None:
        """The table's newest stream (`DescribeTable.LatestStreamArn`), None if it never had one.

        NotFound: there is no such table.
        """

    async def streams(self, table: str) -> Sequence[str]:
        """The ARNs of all the table's streams that can still be read (`ListStreams`), oldest first."""


class StreamSource(Protocol):
    """One stream's shards and records."""

    async def describe(self, after_shard_id: str | None = None) -> ShardPage:
        """One page of the listing, from after that shard on. NotFound: the stream is gone."""

    async def children(self, shard_id: str) -> tuple[Shard, ...]:
        """The children of one shard (`ShardFilter` CHILD_SHARDS), empty while none is listed.

        InvalidRequest: this server does not know the filter.
        """

    async def iterator(self, shard_id: str, position: Position) -> str:
        """A shard iterator. NotFound: no such shard; DataTrimmed: the position is before the trim horizon."""

    async def records(self, iterator: str, limit: int) -> Page:
        """At most `limit` records. IteratorExpired, DataTrimmed, NotFound, Throttled, Unavailable."""


class LeaseTable(Protocol):
    """The rows by which workers divide the shards among them, in KCL's schema and under KCL's conditions.

    A write takes the row as the caller knows it and returns the row as it stands afterwards; LeaseConflict: the row was
    another by then (or is gone), and nothing was written. `not_after` is the caller's own deadline on its monotonic
    clock: a write that could only start later is not made, and raises DeadlinePassed.
    """

    async def list(self) -> Sequence[Lease]: ...

    async def read(self, shard_id: str) -> Lease | None: ...

    async def create(self, lease: Lease) -> bool:
        """False: the row was there already, and stays as it is."""

    async def take(self, lease: Lease, worker_id: str) -> Lease: ...

    async def renew(self, lease: Lease, not_after: float) -> Lease: ...

    async def checkpoint(self, lease: Lease, checkpoint: str, time_ms: int, not_after: float) -> Lease: ...

    async def release(self, lease: Lease) -> Lease: ...

    async def promise(self, lease: Lease, successor: str) -> Lease:
        """Names the worker to whom the owner is to hand the lease over, or SOUGHT; the row's counter stays as it is.

        LeaseConflict: it has another owner by now, or is promised to somebody already.
        """

    async def add_children(self, lease: Lease, children: frozenset[str], not_after: float) -> Lease:
        """Adds to `childShardIds`; the row's counter stays as it is."""

    async def adopt(self, lease: Lease, stream_arn: str) -> Lease:
        """Pins the stream's ARN on a row that has none (one that Java made); the row's counter stays as it is."""

    async def delete(self, lease: Lease) -> None: ...


class Queue(Protocol):
    """One SQS queue."""

    @property
    def info(self) -> QueueInfo: ...

    async def send(self, batch: Sequence[Message], not_after: float) -> Sequence[EntryOutcome]:
        """One outcome an entry, in their order. Raises AwsError when the request as a whole was not taken.

        InvalidRequest and TooLarge blame the content of the batch; every other error the queue or the way to it.
        `not_after` (monotonic clock): DeadlinePassed instead of a request that could only start later.
        """


class LetterStore(Protocol):
    """Where a dead letter goes that fits in no queue: the optional S3 bucket."""

    async def put(self, key: str, body: bytes) -> str:
        """Stores the body, returns its URL (`s3://bucket/key`)."""
