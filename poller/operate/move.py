"""`poller leases set`: what moving a checkpoint would mean, and the move."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from poller.errors import AwsError, ConfigurationError, DataTrimmed, InvalidRequest, NotFound, Unavailable
from poller.model import TRIM_HORIZON, Lease, Position
from poller.operate.between import Between, ShardRecords, between
from poller.operate.hold import Refused, write
from poller.operate.places import Place, as_written, place_of
from poller.operate.ports import Leases
from poller.run.ports import Clock

# For how long DynamoDB keeps the records of a stream.
KEPT_S: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class Plan:
    """A move before it is made. `lease`: the row as it stands; `target` is where it is to go.

    `between` None: it was not to be counted, and `uncounted` says why. `warnings`: what whoever says yes should know.
    """

    lease: Lease
    target: Position
    checkpoint: str
    seek_time_ms: int | None
    force: bool
    between: Between | None
    uncounted: str | None
    warnings: tuple[str, ...]

    def after(self, time_ms: int) -> Lease:
        """The row as the move will leave it."""
        return self.lease.moved(self.checkpoint, self.seek_time_ms, time_ms)


async def plan_move(
    shard: ShardRecords, lease: Lease, rows: Mapping[str, Lease], target: Position, *, now_s: float, force: bool
) -> Plan:
    """Finds out what the move would mean; writes nothing. `rows`: all of the table; `now_s`: the service's clock.

    Refused: there is no such place in the shard. ConfigurationError: a time that is yet to come. AwsError: the stream
    does not answer.
    """
    target = await checked(shard, target, now_s)
    checkpoint, seek_time_ms = as_written(target, int(now_s * 1000))
    old, new = place_of(lease), place_of(lease.moved(checkpoint, seek_time_ms, 0))
    counted, uncounted = await _counted(shard, old, new)
    warnings = tuple(warnings_of(lease, rows, new, counted, now_s))
    return Plan(lease, target, checkpoint, seek_time_ms, force, counted, uncounted, warnings)


async def move(table: Leases, clock: Clock, plan: Plan) -> Lease:
    """Makes it; the row afterwards. Refused: the row is not the one of the plan any more."""
    time_ms = int(clock.wall() * 1000)

    def change(row: Lease) -> Awaitable[Lease]:
        return table.move(row, plan.checkpoint, plan.seek_time_ms, time_ms)

    return await write(table, plan.lease, change, force=plan.force)


async def checked(shard: ShardRecords, target: Position, now_s: float) -> Position:
    """The target as the stream knows it; raises as `plan_move` does."""
    if target.timestamp_ms is not None and target.timestamp_ms / 1000 > now_s:
        raise ConfigurationError("--to: that time is yet to come, by the service's clock; LATEST is now")
    shard_id = shard.shard_id
    try:
        await shard.source.iterator(shard_id, Position(TRIM_HORIZON))
    except NotFound as error:
        raise Refused(
            f"{shard_id}: there is nothing left of it in the stream, wherever it is set to: {error}"
        ) from error
    if target.sequence_number is None:
        return target
    return Position.after(await _record_at(shard, target.sequence_number))


async def _record_at(shard: ShardRecords, number: str) -> str:
    """The number of that record as the stream writes it. One that no record has would skip what comes before it."""
    what, shard_id = f"--to {number}", shard.shard_id
    try:
        told = await shard.first(Position.at(number))
    except DataTrimmed as error:
        raise Refused(
            f"{what}: older than what the stream still has of {shard_id}; TRIM_HORIZON is its oldest record"
        ) from error
    except (InvalidRequest, Unavailable) as error:
        if isinstance(error, Unavailable) and not error.answered:
            raise
        raise Refused(f"{what}: the stream does not take it for a sequence number of {shard_id}: {error}") from error
    if told is None:
        raise Refused(f"{what}: {shard_id} has no such record, nor any behind it")
    if int(told.sequence_number) != int(number):
        raise Refused(f"{what}: {shard_id} has no such record; the next one behind it is {told.sequence_number}")
    return told.sequence_number


async def _counted(shard: ShardRecords, old: Place, new: Place) -> tuple[Between | None, str | None]:
    if old.kind == "tip":
        return None, "its row says LATEST and no instant: whoever reads it first begins there and then"
    try:
        return await between(shard, old, new), None
    except DataTrimmed:
        return None, "records at its present place are gone: the stream keeps them for 24 hours"
    except AwsError as error:
        return None, f"the stream was not read: {error}"


def warnings_of(
    lease: Lease, rows: Mapping[str, Lease], new: Place, counted: Between | None, now_s: float
) -> Iterator[str]:
    """What whoever moves it should know, beside the records themselves."""
    if lease.finished:
        children = [row for row in rows.values() if lease.shard_id in row.parents or row.shard_id in lease.children]
        begun = sorted(row.shard_id for row in children if row.begun)
        if begun:
            yield (
                f"it is finished, and its children are read already ({', '.join(begun)}): what comes again from it"
                " comes after later changes of the same items"
            )
        elif children:
            yield "it is finished: its children wait again until it is read to its end"
    waiting = sorted(parent for parent in lease.parents if parent in rows and not rows[parent].finished)
    if waiting and new.kind == "after":
        yield (
            f"its parent {', '.join(waiting)} is not read to its end: with a sequence number the shard does not wait"
            " for it any more, and changes of one item may be sent in the wrong order"
        )
    if new.kind == "time" and now_s - new.value > KEPT_S:
        yield "that time is more than 24 hours ago, longer than the stream keeps anything: all that is there is read"
    if counted is None or (counted.direction == "skipped" and (counted.count or not counted.complete)):
        yield "what is skipped is never sent, unless the checkpoint is set back while the stream keeps it (24 hours)"
    if lease.owner is not None and lease.foreign:
        yield f"{lease.owner} is a worker of Java's KCL, which goes by its own start position where a row names a time"
