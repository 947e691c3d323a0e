"""The keeper of leases: looks at the table, takes, renews, checkpoints and gives back, and says when a lease is over.

Every write to a row of mine goes through one place, which counts the holder's deadline from before the request was
sent and finds out what became of a write whose answer was lost.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from poller.decide.balance import Sightings, Take, plan_leases
from poller.decide.lineage import Stage
from poller.decide.trouble import Trouble
from poller.errors import AwsError, DeadlinePassed, LeaseConflict
from poller.events import (
    CheckpointWritten,
    Emit,
    FleetSeen,
    LeaseLost,
    LeaseOperation,
    LeaseReleased,
    LeaseTableFailing,
    LeaseTableRecovered,
    LeaseTaken,
    SeenLease,
)
from poller.model import Lease
from poller.run.buffer import Buffer
from poller.run.ports import Clock, LeaseTable
from poller.run.tenure import Tenure

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LeaseLimits:
    """`duration_s`: how long a lease lasts without a renewal; `max_leases`: how many this worker holds at most.

    A holder's own deadline is a tenth earlier than an observer's could ever be: a request that was sent just before it
    has that long to arrive.
    """

    duration_s: float
    max_leases: int | None = None

    @property
    def renew_every_s(self) -> float:
        return self.duration_s / 3

    @property
    def look_every_s(self) -> float:
        return self.duration_s * 0.4

    @property
    def own_s(self) -> float:
        return self.duration_s * 0.9


# How many writes to the table are under way at once: enough for a thousand leases in a third of ten seconds.
_WRITES_AT_ONCE = 16
# How long after its row was made a shard may still be begun at LATEST by its word: "now" is still then.
_FRESH_S = 1.0


class LeaseKeeper:
    """The leases of one stream, as one worker holds them.

    `on_taken` and `on_over` tell the worker that a tenure began or ended; `on_over` is called for every end, wanted
    or not.
    """

    def __init__(
        self,
        table: LeaseTable,
        limits: LeaseLimits,
        *,
        worker_id: str,
        stream: str,
        buffer: Buffer,
        clock: Clock,
        emit: Emit,
        rng: random.Random,
    ) -> None:
        self.limits = limits
        self.worker_id = worker_id
        self.tenures: dict[str, Tenure] = {}
        self._created_at: dict[str, float] = {}
        self.on_taken: Callable[[Tenure], None] = lambda _: None
        self.on_over: Callable[[Tenure], None] = lambda _: None
        self._table = table
        self._stream = stream
        self._buffer = buffer
        self._clock = clock
        self._emit = emit
        self._rng = rng
        self._sightings = Sightings()
        self._former: set[str] = set()
        self._trouble = Trouble(quiet_failures=1)
        self._writes = asyncio.Semaphore(_WRITES_AT_ONCE)

    # --- looking and taking -------------------------------------------------------------------------------------------

    async def look(self) -> dict[str, Lease]:
        """A complete look at the table: every row by shard id. Tenures whose row names somebody else end here.

        Raises AwsError: the table did not answer; nothing is concluded from that.
        """
        began = self._clock.monotonic()
        rows = {row.shard_id: row for row in await self._call("list", self._table.list())}
        self._sightings.look(rows.values(), began)
        for shard_id, tenure in list(self.tenures.items()):
            row = rows.get(shard_id)
            # A look that began before the last write of mine may show what was there before it.
            if tenure.written_at >= began:
                continue
            if row is None:
                self.end(tenure, "deleted")
            elif row.owner != self.worker_id and row.counter >= tenure.lease.counter:
                self.end(tenure, "taken", row.owner)
        return rows

    async def take(self, rows: Mapping[str, Lease], stages: Mapping[str, Stage]) -> int:
        """Takes what is this worker's share of the rows; how many leases it got.

        `stages` is of the stream's own rows.
        """
        now = self._clock.monotonic()
        readable = [shard_id for shard_id, stage in stages.items() if stage is Stage.READY]
        plan = plan_leases(
            rows,
            self._sightings,
            now,
            me=self.worker_id,
            readable=readable,
            held=frozenset(self.tenures),
            former=frozenset(self._former),
            duration_s=self.limits.duration_s,
            max_leases=self.limits.max_leases,
            shuffled=lambda takes: self._rng.sample(takes, len(takes)),
        )
        taken = sum(await asyncio.gather(*(self._take(take) for take in plan.take)))
        for shard_id in stages:
            self._created_at.pop(shard_id, None)
        self._emit(self._fleet(rows, stages, plan.workers))
        return taken

    def _fleet(self, rows: Mapping[str, Lease], stages: Mapping[str, Stage], workers: int) -> FleetSeen:
        seen = tuple(self._seen(rows[shard_id], stage) for shard_id, stage in stages.items())
        shards = {"reading": 0, "waiting_for_parent": 0, "draining": 0, "unowned": 0, "finished": 0}
        for row in seen:
            shards["unowned" if row.state == "expired" else row.state] += 1
        return FleetSeen(stream=self._stream, shards=shards, held=len(self.tenures), workers=workers, rows=seen)

    def _seen(self, row: Lease, stage: Stage) -> SeenLease:
        tenure = self.tenures.get(row.shard_id)
        if tenure is not None:
            return SeenLease(tenure.lease, "reading")
        if stage is not Stage.READY:
            return SeenLease(row, stage.value)
        if row.owner in (None, self.worker_id):
            return SeenLease(row, "unowned")
        still_for_s = self._sightings.still_for_s(row.shard_id, self._clock.monotonic())
        return SeenLease(row, "expired" if still_for_s > self.limits.duration_s else "reading")

    async def take_one(self, lease: Lease) -> Tenure | None:
        """Takes a lease that is nobody's, whatever the shares; None if it was not to be had."""
        return self.tenures.get(lease.shard_id) if await self._take(Take(lease, "unowned")) else None

    async def _take(self, take: Take) -> bool:
        lease = take.lease
        async with self._writes:
            sent_at = self._clock.monotonic()
            try:
                row = await self._call("take", self._table.take(lease, self.worker_id))
            except LeaseConflict:
                return False  # another worker was quicker, or its owner lives: the next look will tell
            except AwsError:
                self._former.add(lease.shard_id)  # it may have taken effect: then the next look shows a row of mine
                return False
        if lease.shard_id in self.tenures:
            return False
        fresh = sent_at - self._created_at.get(lease.shard_id, -math.inf) < _FRESH_S
        tenure = Tenure(row, sent_at, sent_at + self.limits.own_s, self._buffer, fresh=fresh)
        self.tenures[lease.shard_id] = tenure
        self._former.add(lease.shard_id)
        self._emit(
            LeaseTaken(
                stream=self._stream,
                shard=lease.shard_id,
                reason=take.reason,
                previous_owner=lease.owner,
                checkpoint=row.checkpoint,
            )
        )
        self.on_taken(tenure)
        return True

    def note_created(self, shard_id: str) -> None:
        """This process has just made the shard's row: taken at the next opportunity, and soon, it is taken fresh."""
        self._created_at[shard_id] = self._clock.monotonic()

    # --- keeping ------------------------------------------------------------------------------------------------------

    async def renew_due(self) -> None:
        """One round of renewing: every lease not written for a third of its duration.

        Ends those past their deadline.
        """
        now = self._clock.monotonic()
        due = []
        for tenure in list(self.tenures.values()):
            if not tenure.valid(now):
                self.end(tenure, "deadline")
            elif now - tenure.written_at >= self.limits.renew_every_s and not tenure.lock.locked():
                due.append(tenure)
        await asyncio.gather(*(self._renew(tenure) for tenure in due))

    async def _renew(self, tenure: Tenure) -> None:
        try:
            await self._write(
                tenure, "renew", lambda row: row.renewed(), lambda row: self._table.renew(row, tenure.deadline)
            )
        except (AwsError, LeaseConflict, DeadlinePassed):
            return  # said and counted where it happened; the deadline decides what it means

    async def checkpoint(self, tenure: Tenure, checkpoint: str) -> None:
        """Writes the checkpoint, which renews as well.

        Raises LeaseConflict or DeadlinePassed (the tenure is over) and AwsError (unknown; try again while it lasts).
        """
        time_ms = int(self._clock.wall() * 1000)
        await self._write(
            tenure,
            "checkpoint",
            lambda row: row.checkpointed(checkpoint, time_ms),
            lambda row: self._table.checkpoint(row, checkpoint, time_ms, tenure.deadline),
        )
        self._emit(
            CheckpointWritten(
                stream=self._stream, shard=tenure.shard_id, checkpoint=checkpoint, at_s=self._clock.wall()
            )
        )

    async def add_children(self, tenure: Tenure, children: Sequence[str]) -> None:
        """Names the shard's children on its row. Raises as `checkpoint` does."""
        names = frozenset(children)
        await self._write(
            tenure,
            "add_children",
            lambda row: row.with_children(names),
            lambda row: self._table.add_children(row, names, tenure.deadline),
        )

    async def pin(self, tenure: Tenure, stream_arn: str) -> None:
        """Writes the stream's ARN on a row that has none, as Java makes them. Raises as `checkpoint` does."""
        await self._write(
            tenure,
            "adopt",
            lambda row: replace(row, stream_arn=stream_arn),
            lambda row: self._table.adopt(row, stream_arn),
        )

    async def release(self, tenure: Tenure) -> bool:
        """Gives the lease back; afterwards the tenure is over in any case. True: the table has heard of it."""
        if tenure.over:
            return False
        try:
            async with tenure.lock:
                await self._call("release", self._table.release(tenure.lease))
        except LeaseConflict:
            self.end(tenure, "taken")
            return False
        except AwsError:
            self.end(tenure, "unreleased")
            return False
        self._former.discard(tenure.shard_id)
        self._end(tenure)
        self._emit(LeaseReleased(stream=self._stream, shard=tenure.shard_id, checkpoint=tenure.lease.checkpoint))
        return True

    def end(self, tenure: Tenure, reason: str, new_owner: str | None = None) -> None:
        """The tenure is over though nobody gave it back."""
        if tenure.over:
            return
        if reason in ("taken", "deleted"):
            self._former.discard(tenure.shard_id)
        self._end(tenure)
        self._emit(LeaseLost(stream=self._stream, shard=tenure.shard_id, reason=reason, new_owner=new_owner))

    def _end(self, tenure: Tenure) -> None:
        tenure.end()
        del self.tenures[tenure.shard_id]
        self.on_over(tenure)

    def table_failing(self) -> bool:
        """Has the table failed to answer several times in a row? What is sent now may not be checkpointed in time."""
        return self._trouble.failures > 1

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _write(
        self,
        tenure: Tenure,
        operation: str,
        expected: Callable[[Lease], Lease],
        call: Callable[[Lease], Awaitable[Lease]],
    ) -> None:
        """One write to a row of mine. `expected` is what the row will be, `call` makes it so."""
        async with tenure.lock, self._writes:
            sent_at = self._clock.monotonic()
            if not tenure.valid(sent_at):
                self.end(tenure, "deadline")
                raise DeadlinePassed(f"the lease of {tenure.shard_id} was over before {operation} could be sent")
            try:
                row, sent_at = await self._write_once(tenure, operation, expected, call)
            except LeaseConflict:
                if tenure.over:
                    raise
                # An earlier write of mine had landed, not this one: it is made again on top of that.
                row, sent_at = await self._write_once(tenure, operation, expected, call)
            moved = row.counter > tenure.lease.counter
            tenure.lease = row
            if moved:  # nothing else is a sign of life to the others
                tenure.written_at = sent_at
                tenure.deadline = max(tenure.deadline, sent_at + self.limits.own_s)
                tenure.unconfirmed_since = None

    async def _write_once(
        self,
        tenure: Tenure,
        operation: str,
        expected: Callable[[Lease], Lease],
        call: Callable[[Lease], Awaitable[Lease]],
    ) -> tuple[Lease, float]:
        """The row as the write left it, and when that write was sent.

        Raises LeaseConflict as well when it found the row one write of mine ahead: `tenure.lease` is that row then.
        """
        sent_at = self._clock.monotonic()
        try:
            return await self._call(operation, call(tenure.lease)), sent_at
        except LeaseConflict:
            row = await self._read_back(tenure, operation)
            if row == expected(tenure.lease):
                return row, tenure.unconfirmed_since or sent_at
            tenure.lease = row
            raise
        except (AwsError, asyncio.CancelledError):
            tenure.unconfirmed_since = tenure.unconfirmed_since or sent_at
            raise

    async def _read_back(self, tenure: Tenure, operation: str) -> Lease:
        """After a failed condition: was it a write of mine whose answer was lost (KCL#537), or is the lease gone?

        Returns the row if it is mine and one step ahead, as one lost write leaves it; otherwise ends the tenure and
        raises LeaseConflict.
        """
        row = await self._call("read", self._table.read(tenure.shard_id))
        if row is None:
            self.end(tenure, "deleted")
        elif row.owner != self.worker_id or row.checkpoint_owner is not None:
            self.end(tenure, "taken", row.owner)
        elif row.counter - tenure.lease.counter in (0, 1):
            self._emit(LeaseOperation(stream=self._stream, operation=operation, result="landed"))
            return row
        else:
            self.end(tenure, "taken", row.owner)  # another process goes by my name
        raise LeaseConflict(f"{operation} of {tenure.shard_id}: the row is another worker's by now, or gone")

    async def _call(self, operation: str, call: Awaitable[T]) -> T:
        """One call to the table, counted, with the table's health drawn from it."""
        try:
            answer = await call
        except LeaseConflict:
            self._emit(LeaseOperation(stream=self._stream, operation=operation, result="conflict"))
            self._table_answers()
            raise
        except AwsError as error:
            self._emit(LeaseOperation(stream=self._stream, operation=operation, result="error"))
            now = self._clock.monotonic()
            if self._trouble.failed(now):
                lasting_s = self._trouble.lasting_s(now)
                self._emit(
                    LeaseTableFailing(stream=self._stream, code=error.code, error=str(error), failing_s=lasting_s)
                )
            raise
        self._emit(LeaseOperation(stream=self._stream, operation=operation, result="ok"))
        self._table_answers()
        return answer

    def _table_answers(self) -> None:
        over = self._trouble.worked(self._clock.monotonic())
        if over is not None:
            self._emit(LeaseTableRecovered(stream=self._stream, failing_s=over.lasted_s))
