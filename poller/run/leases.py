"""The keeper of leases: holds, renews, checkpoints and gives back, and says when a lease is over.

Every write to a row of mine goes through one place, which counts the holder's deadline from before the request was
sent and finds out what became of a write whose answer was lost.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from poller.errors import AwsError, DeadlinePassed, LeaseConflict
from poller.events import CheckpointWritten, Emit, LeaseLost, LeaseReleased
from poller.model import Lease
from poller.run.buffer import Buffer
from poller.run.ports import Clock, LeaseTable
from poller.run.table import Table
from poller.run.tenure import Standing, Tenure

# A worker that leaves, or that has too much, waits for the others to see it. Just under KCL's 15 looks a minute.
_LOOK_AT_MOST_S = 4.2
# How long after the first start's instant a shard may still be begun at LATEST by its word: "now" is still then.
_FRESH_S = 1.0
# How soon a lease that could not be given back is given back again, by a worker that has little time left.
_INSIST_S = 0.2


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
    def retry_every_s(self) -> float:
        """How soon a renewal that has had no answer is followed by another one, of another row."""
        return self.duration_s / 10

    @property
    def look_every_s(self) -> float:
        return min(_LOOK_AT_MOST_S, self.duration_s * 0.42)

    @property
    def own_s(self) -> float:
        return self.duration_s * 0.9


class LeaseKeeper:
    """The leases of one stream, as one worker holds them.

    `on_taken` and `on_over` tell the worker that a tenure began or ended; `on_over` is called for every end, wanted
    or not, and `on_deleted` besides where somebody has deleted the row. `spawn` begins a task in the worker's group.
    `each_renewed`: every lease is renewed by itself, as Java's workers at the table expect it.
    """

    def __init__(
        self,
        rows: LeaseTable,
        limits: LeaseLimits,
        *,
        worker_id: str,
        stream: str,
        buffer: Buffer,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self.limits = limits
        self.worker_id = worker_id
        self.stream = stream
        self.table = Table(rows, stream=stream, clock=clock, emit=emit)
        self.tenures: dict[str, Tenure] = {}
        self.standing = Standing(limits.own_s)
        self.each_renewed = False
        self.on_taken: Callable[[Tenure], None] = lambda _: None
        self.on_over: Callable[[Tenure], None] = lambda _: None
        self.on_deleted: Callable[[], None] = lambda: None
        self.spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]] = asyncio.create_task
        self._buffer = buffer
        self._clock = clock
        self._emit = emit
        self._latest_at: dict[str, float] = {}
        self._asked_at = -math.inf
        self._renewals: set[asyncio.Task[None]] = set()
        self._parting: set[str] = set()
        self._steadying = asyncio.Lock()

    # --- holding ------------------------------------------------------------------------------------------------------

    def hold(self, row: Lease, sent_at: float) -> Tenure | None:
        """From now on the row is mine, by a write that was sent at that moment.

        None: it is mine already, or the answer came too late; then a look shows a row of mine, and it is taken again.
        """
        now = self._clock.monotonic()
        if row.shard_id in self.tenures or now >= sent_at + self.limits.own_s:
            return None
        self._lapse()  # a new lease must not bring back to life those that are over
        fresh_until = self._latest_at.get(row.shard_id, -math.inf) + _FRESH_S
        tenure = Tenure(row, sent_at, self.standing, self._buffer, answered_at=now, fresh_until=fresh_until)
        self.standing.wrote(sent_at)
        self.tenures[row.shard_id] = tenure
        return tenure

    def note_created(self, shard_id: str, latest_at: float) -> None:
        """This process has just made the shard's row, in which LATEST means that moment."""
        self._latest_at[shard_id] = latest_at

    def forget_created(self, shard_ids: Iterable[str]) -> None:
        """There was an opportunity to take them."""
        for shard_id in shard_ids:
            self._latest_at.pop(shard_id, None)

    def parting(self, shard_id: str) -> bool:
        """Is the lease about to be given back?"""
        return shard_id in self._parting

    def part_with(self, tenures: Iterable[Tenure]) -> None:
        """They are about to be given back, and count no more among those that keep this worker alive."""
        self._parting |= {tenure.shard_id for tenure in tenures}

    # --- keeping ------------------------------------------------------------------------------------------------------

    def renew_due(self) -> None:
        """Begins what must be renewed now, and ends what is past its deadline.

        One row in turn keeps this worker alive for all; with Java's workers at the table, every lease is renewed by
        itself. A renewal that has no answer holds up no other one.
        """
        now = self._clock.monotonic()
        self._lapse()
        for tenure in self._due(now):
            tenure.asked_at = self._asked_at = now
            task = self.spawn(self._renew(tenure))
            self._renewals.add(task)
            task.add_done_callback(self._renewals.discard)

    def stop_renewing(self) -> None:
        """Gives up the renewals that are under way."""
        for task in self._renewals:
            task.cancel()

    def _lapse(self) -> None:
        now = self._clock.monotonic()
        for tenure in [tenure for tenure in self.tenures.values() if now >= tenure.deadline]:
            self.end(tenure, "deadline")

    def _due(self, now: float) -> list[Tenure]:
        limits = self.limits
        free = [tenure for tenure in self.tenures.values() if not tenure.lock.locked()]
        if self.each_renewed:
            overdue = [tenure for tenure in free if now - tenure.written_at >= limits.renew_every_s]
            return [tenure for tenure in overdue if now - tenure.asked_at >= limits.retry_every_s]
        alive = now - self.standing.written_at < limits.renew_every_s
        if alive or now - self._asked_at < limits.retry_every_s or not free:
            return []
        return [min(free, key=lambda tenure: tenure.asked_at)]

    async def _renew(self, tenure: Tenure) -> None:
        try:
            await self._write(
                tenure, "renew", lambda row: row.renewed(), lambda row: self.table.rows.renew(row, tenure.deadline)
            )
        except (AwsError, LeaseConflict, DeadlinePassed):
            return  # said and counted where it happened; the deadline decides what it means

    async def checkpoint(self, tenure: Tenure, checkpoint: str) -> None:
        """Writes the checkpoint, which renews as well.

        Raises LeaseConflict or DeadlinePassed (the tenure is over) and AwsError (unknown; try again while it lasts).
        """
        time_ms = int(self._clock.wall() * 1000)
        written = await self._write(
            tenure,
            "checkpoint",
            lambda row: row.checkpointed(checkpoint, time_ms),
            lambda row: self.table.rows.checkpoint(row, checkpoint, time_ms, tenure.deadline),
            # One that has waited for the write of the shard's end must not take that back.
            needless=lambda row: row.finished,
        )
        if written:
            at_s = self._clock.wall()
            self._emit(CheckpointWritten(stream=self.stream, shard=tenure.shard_id, checkpoint=checkpoint, at_s=at_s))

    async def add_children(self, tenure: Tenure, children: Sequence[str]) -> None:
        """Names the shard's children on its row. Raises as `checkpoint` does."""
        names = frozenset(children)
        await self._write(
            tenure,
            "add_children",
            lambda row: row.with_children(names),
            lambda row: self.table.rows.add_children(row, names, tenure.deadline),
        )

    async def pin(self, tenure: Tenure, stream_arn: str) -> None:
        """Writes the stream's ARN on a row that has none, as Java makes them. Raises as `checkpoint` does."""
        await self._write(
            tenure,
            "adopt",
            lambda row: replace(row, stream_arn=stream_arn),
            lambda row: self.table.rows.adopt(row, stream_arn),
        )

    async def release(self, tenure: Tenure, *, insist: bool = False) -> bool:
        """Gives the lease back; afterwards the tenure is over in any case. True: the table has heard of it.

        `insist`: an error does not end it, but is followed by another try, until the caller has enough.
        """
        if tenure.over:
            return False
        self._parting.add(tenure.shard_id)
        await self._steady()
        if not await self._given_back(tenure, insist=insist):
            return tenure.released
        tenure.released = True
        if self.tenures.get(tenure.shard_id) is not tenure:
            return True  # its deadline came before the answer
        self._end(tenure)
        self._emit(
            LeaseReleased(
                stream=self.stream,
                shard=tenure.shard_id,
                checkpoint=tenure.lease.checkpoint,
                successor=tenure.lease.heir,
            )
        )
        return True

    async def _given_back(self, tenure: Tenure, *, insist: bool) -> bool:
        """Has the table heard of it? If not, the tenure is over all the same."""
        tried = False
        while True:
            try:
                async with tenure.lock, self.table.writing:
                    if self.tenures.get(tenure.shard_id) is not tenure:
                        return False
                    tenure.closed = True  # from the moment on at which another worker may have it
                    self._stand()
                    await self.table.call("release", self.table.rows.release(tenure.lease))
            except LeaseConflict:
                if tried:
                    return True  # an earlier try had landed, and its answer was lost
                self.end(tenure, "taken")
                return False
            except AwsError:
                if not insist:
                    self.end(tenure, "unreleased")
                    return False
                tried = True
                await self._clock.sleep(_INSIST_S)
            else:
                return True

    async def _steady(self) -> None:
        """Before a lease is given back: it is no sign of life any more then, and another row must be one."""
        async with self._steadying:
            staying = [tenure for tenure in self.tenures.values() if tenure.shard_id not in self._parting]
            now = self._clock.monotonic()
            if staying and now - max(tenure.written_at for tenure in staying) >= self.limits.renew_every_s:
                await self._renew(min(staying, key=lambda tenure: (tenure.lock.locked(), tenure.asked_at)))

    def end(self, tenure: Tenure, reason: str, new_owner: str | None = None) -> None:
        """The tenure is over though nobody gave it back."""
        if tenure.over:
            return
        self._end(tenure)
        self._emit(LeaseLost(stream=self.stream, shard=tenure.shard_id, reason=reason, new_owner=new_owner))
        if reason == "deleted":
            self.on_deleted()

    def _end(self, tenure: Tenure) -> None:
        tenure.end()
        del self.tenures[tenure.shard_id]
        self._parting.discard(tenure.shard_id)
        self._stand()
        self.on_over(tenure)

    def _stand(self) -> None:
        """What is being given back may be nobody's by now, and is no sign of life, whenever the answer comes."""
        self.standing.dropped(tenure for tenure in self.tenures.values() if not tenure.closed)

    def table_failing(self) -> bool:
        """Has the table failed to answer several times in a row? What is sent now may not be checkpointed in time."""
        return self.table.failing

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _write(
        self,
        tenure: Tenure,
        operation: str,
        expected: Callable[[Lease], Lease],
        call: Callable[[Lease], Awaitable[Lease]],
        needless: Callable[[Lease], bool] = lambda _: False,
    ) -> bool:
        """One write to a row of mine. `expected` is what the row will be, `call` makes it so.

        Its turn may come late: `needless` tells, of the row as the writes before it have left it, whether to let it be;
        then it returns False.
        """
        async with tenure.lock, self.table.writing:
            if needless(tenure.lease):
                return False
            self._still_valid(tenure, f"{operation} could be sent")
            tenure.asked_at = self._clock.monotonic()
            try:
                row, sent_at = await self._write_once(tenure, operation, expected, call)
            except LeaseConflict:
                if tenure.over:
                    raise
                if needless(tenure.lease):
                    return False
                # An earlier write of mine had landed, not this one: it is made again on top of that.
                row, sent_at = await self._write_once(tenure, operation, expected, call)
            # An answer that comes past the deadline does not undo it: others may have acted on it already.
            self._still_valid(tenure, f"{operation} was answered")
            tenure.wrote(row, sent_at, self._clock.monotonic(), alone=self.each_renewed)
            return True

    def _still_valid(self, tenure: Tenure, moment: str) -> None:
        if not tenure.valid(self._clock.monotonic()):
            if not tenure.closed:  # else it ends as its release does, which may be tried again
                self.end(tenure, "deadline")
            raise DeadlinePassed(f"the lease of {tenure.shard_id} was over before {moment}")

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
            return await self.table.call(operation, call(tenure.lease)), sent_at
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
        row = await self.table.call("read", self.table.rows.read(tenure.shard_id))
        if row is None:
            self.end(tenure, "deleted")
        elif row.owner != self.worker_id or row.checkpoint_owner is not None:
            self.end(tenure, "taken", row.owner)
        elif row.counter - tenure.lease.counter in (0, 1):
            self.table.note(operation, "landed")
            return row
        else:
            self.end(tenure, "taken", row.owner)  # another process goes by my name
        raise LeaseConflict(f"{operation} of {tenure.shard_id}: the row is another worker's by now, or gone")
