"""The keeper of leases: looks at the table, takes and claims, renews, checkpoints and gives back, and says when a lease
is over.

Every write to a row of mine goes through one place, which counts the holder's deadline from before the request was
sent and finds out what became of a write whose answer was lost.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from poller.decide.balance import BalanceLimits, LeasePlan, Sightings, Take, plan_leases
from poller.decide.lineage import Stage
from poller.decide.trouble import Trouble
from poller.errors import AwsError, DeadlinePassed, LeaseConflict
from poller.events import (
    CheckpointWritten,
    Emit,
    FleetSeen,
    ForeignOwnersGone,
    ForeignOwnersSeen,
    LeaseClaimed,
    LeaseLost,
    LeaseOperation,
    LeaseReleased,
    LeaseTableFailing,
    LeaseTableRecovered,
    LeaseTaken,
    SeenLease,
)
from poller.model import SOUGHT, Lease
from poller.run.buffer import Buffer
from poller.run.ports import Clock, LeaseTable
from poller.run.tenure import Standing, Tenure

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
    def retry_every_s(self) -> float:
        """How soon a renewal that has had no answer is followed by another one, of another row."""
        return self.duration_s / 10

    @property
    def look_every_s(self) -> float:
        return min(_LOOK_AT_MOST_S, self.duration_s * 0.42)

    @property
    def own_s(self) -> float:
        return self.duration_s * 0.9


# A worker that leaves, or that has too much, waits for the others to see it. Just under KCL's 15 looks a minute.
_LOOK_AT_MOST_S = 4.2
# And this often while a lease is on its way from one worker to another.
_LOOK_EAGERLY_S = 0.5
# A worker without any lease looks this often at a table of at most so many rows (some ten kB).
_LOOK_IDLY_S = 1.0
_ROWS_WATCHED_IDLY = 100
# How many writes to the table are under way at once: enough for a thousand leases in a third of ten seconds.
_WRITES_AT_ONCE = 16
# How long after its row was made a shard may still be begun at LATEST by its word: "now" is still then.
_FRESH_S = 1.0


class LeaseKeeper:
    """The leases of one stream, as one worker holds them.

    `on_taken` and `on_over` tell the worker that a tenure began or ended; `on_over` is called for every end, wanted
    or not. `on_claimed`: another worker is to have the lease, once what was read is settled. `spawn` begins a task in
    the worker's group. `plan` is what followed from the last look.
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
        self.on_claimed: Callable[[Tenure], None] = lambda _: None
        self.spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]] = asyncio.create_task
        self.plan = LeasePlan((), (), (), workers=1, foreign=False, peers=False, lists=False)
        self._table = table
        self._stream = stream
        self._buffer = buffer
        self._clock = clock
        self._emit = emit
        self._rng = rng
        self._sightings = Sightings()
        self._standing = Standing(limits.own_s)
        self._asked_at = -math.inf
        self._renewals: set[asyncio.Task[None]] = set()
        self._parting: set[str] = set()
        self._moving: set[str] = set()  # shards whose rows are being taken, or given back without being held
        self._expected_until = -math.inf
        self._look_soon = False
        self._rows_seen = 0
        self._foreign_seen_at = -math.inf
        self._foreign: frozenset[str] = frozenset()
        self._steadying = asyncio.Lock()
        self._trouble = Trouble(quiet_failures=1)
        self._writes = asyncio.Semaphore(_WRITES_AT_ONCE)

    # --- looking and taking -------------------------------------------------------------------------------------------

    async def look(self) -> dict[str, Lease]:
        """A complete look at the table: every row by shard id. Tenures whose row names somebody else end here.

        Raises AwsError: the table did not answer; nothing is concluded from that.
        """
        began = self._clock.monotonic()
        rows = {row.shard_id: row for row in await self._call("list", self._table.list())}
        self._sightings.look(rows.values(), began, self._clock.monotonic())
        for shard_id, tenure in list(self.tenures.items()):
            row = rows.get(shard_id)
            # A look that began before the last write of mine may show what was there before it.
            if row is None and tenure.written_at < began:
                self.end(tenure, "deleted")
            elif row is None or tenure.taken_at >= began:
                continue
            elif row.owner == self.worker_id:
                self._note_claim(tenure, row)
            elif row.counter >= tenure.lease.counter and tenure.written_at < began:
                self.end(tenure, "taken", row.owner)
        return rows

    def _note_claim(self, tenure: Tenure, row: Lease) -> None:
        if row.heir is not None and tenure.shard_id not in self._parting:
            self._parting.add(tenure.shard_id)
            tenure.lease = replace(tenure.lease, successor=row.successor)
            self.on_claimed(tenure)

    @property
    def look_every_s(self) -> float:
        """Until the next look: soon, while a lease that I have claimed is on its way to me.

        And after a taking that others may have made, or have made, at the same moment. A worker that holds nothing has
        nothing to renew, and looks once a second where that costs next to nothing: it is there to stand in.
        """
        regular_s = self.limits.look_every_s
        if self._look_soon or self._clock.monotonic() < self._expected_until:
            return min(_LOOK_EAGERLY_S * (1 + self._rng.random()), regular_s)
        idle = not self.tenures and self._rows_seen <= _ROWS_WATCHED_IDLY
        return min(_LOOK_IDLY_S, regular_s) if idle else regular_s

    async def balance(self, rows: Mapping[str, Lease], stages: Mapping[str, Stage]) -> None:
        """Takes and claims what is this worker's share of the rows. `stages` is of the stream's own rows."""
        plan = plan_leases(
            rows,
            self._sightings,
            BalanceLimits(self.limits.duration_s, self.limits.max_leases),
            me=self.worker_id,
            readable=[shard_id for shard_id, stage in stages.items() if stage is Stage.READY],
            held=frozenset(self.tenures),
            rng=self._rng,
        )
        self.plan, self._rows_seen = plan, len(rows)
        first = not self.tenures and bool(plan.take)
        self._note_foreign(rows, plan)
        pending = any(row.heir == self.worker_id and row.shard_id not in self.tenures for row in rows.values())
        if plan.claim or not pending:
            self._expected_until = -math.inf
        taken = await asyncio.gather(*(self._take(take) for take in plan.take))
        await asyncio.gather(*(self._claim(lease) for lease in plan.claim))
        await asyncio.gather(*(self._disown(lease) for lease in plan.release))
        self._look_soon = first or not all(taken)
        for shard_id in stages:
            self._created_at.pop(shard_id, None)
        self._emit(self._fleet(rows, stages, plan))

    def _note_foreign(self, rows: Mapping[str, Lease], plan: LeasePlan) -> None:
        """Java's workers at the table: from now on every lease is renewed by itself, as they expect it."""
        now = self._clock.monotonic()
        if plan.foreign:
            self._foreign_seen_at = now
            leases = [row for row in rows.values() if row.foreign and not row.finished]
            owners = frozenset(row.owner for row in leases if row.owner is not None)
            if not owners <= self._foreign:
                names = tuple(sorted(owners))
                self._emit(ForeignOwnersSeen(stream=self._stream, owners=names, leases=len(leases)))
                self._foreign |= owners
        elif self._foreign and not self._each_renewed(now):
            self._foreign = frozenset()
            self._emit(ForeignOwnersGone(stream=self._stream))

    def _each_renewed(self, now: float) -> bool:
        """Is every lease renewed by itself? Yes, for two durations after the last worker of Java's was seen."""
        return now - self._foreign_seen_at <= 2 * self.limits.duration_s

    def _fleet(self, rows: Mapping[str, Lease], stages: Mapping[str, Stage], plan: LeasePlan) -> FleetSeen:
        seen = tuple(self._seen(rows[shard_id], stage) for shard_id, stage in stages.items())
        shards = {"reading": 0, "waiting_for_parent": 0, "draining": 0, "unowned": 0, "finished": 0}
        for row in seen:
            shards["unowned" if row.state == "expired" else row.state] += 1
        return FleetSeen(
            stream=self._stream,
            shards=shards,
            held=len(self.tenures),
            workers=plan.workers,
            lists=plan.lists,
            unrenewed_s=max(0.0, self._clock.monotonic() - self._standing.written_at) if self.tenures else 0.0,
            rows=seen,
        )

    def _seen(self, row: Lease, stage: Stage) -> SeenLease:
        tenure = self.tenures.get(row.shard_id)
        if tenure is not None:
            draining = tenure.frontier.ended or row.shard_id in self._parting
            return SeenLease(tenure.lease, "draining" if draining else "reading")
        if stage is not Stage.READY:
            return SeenLease(row, stage.value)
        if row.owner in (None, self.worker_id):
            return SeenLease(row, "unowned")
        return SeenLease(row, "expired" if self._sightings.expired(row, self.limits.duration_s) else "reading")

    async def take_one(self, lease: Lease) -> Tenure | None:
        """Takes a lease that is nobody's, whatever the shares; None if it was not to be had."""
        return self.tenures.get(lease.shard_id) if await self._take(Take(lease, "unowned")) else None

    async def inherit(self, shard_id: str) -> None:
        """Takes the child of a shard that I have just finished, whatever the shares, so that nobody waits for a look.

        Others may be quicker, and then it is theirs; where this worker has its maximum, it is left to them.
        """
        if shard_id in self.tenures or self._full:
            return
        try:
            row = await self._call("read", self._table.read(shard_id))
        except AwsError:
            return  # the next look finds it
        if row is not None and row.owner is None and not row.finished:
            await self._take(Take(row, "inherited"))

    @property
    def _full(self) -> bool:
        """Has this worker its maximum of leases, with those that it is about to have?"""
        limit = self.limits.max_leases
        return limit is not None and len(self.tenures.keys() | self._moving) >= limit

    async def _take(self, take: Take) -> bool:
        """False: it was not to be had, or it is not known whether it was; the next look shows."""
        shard_id = take.lease.shard_id
        if shard_id in self._moving or self._full:
            return False
        self._moving.add(shard_id)
        try:
            return await self._take_it(take)
        finally:
            self._moving.discard(shard_id)

    async def _take_it(self, take: Take) -> bool:
        lease = take.lease
        async with self._writes:
            sent_at = self._clock.monotonic()
            try:
                row = await self._call("take", self._table.take(lease, self.worker_id))
            except (LeaseConflict, AwsError):
                # Another worker was quicker, or it may have taken effect: the next look shows whose the row is.
                return False
        if lease.shard_id in self.tenures:
            return False
        self._lapse()  # a new lease must not bring back to life those that are over
        fresh = sent_at - self._created_at.get(lease.shard_id, -math.inf) < _FRESH_S
        tenure = Tenure(row, sent_at, self._standing, self._buffer, fresh=fresh)
        if self._clock.monotonic() >= sent_at + self.limits.own_s:
            return False  # the answer came too late: a look will show a row of mine, and it is taken again
        self._standing.wrote(sent_at)
        self.tenures[lease.shard_id] = tenure
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

    async def _claim(self, lease: Lease) -> None:
        """Asks a living owner for a lease. It will see it at its next look."""
        async with self._writes:
            try:
                await self._call("promise", self._table.promise(lease, self.worker_id))
            except (LeaseConflict, AwsError):
                return  # somebody else has asked before, or the next look shows that it took effect
        # Whatever the owner does, it is over by then: it hands over, or its leases lapse.
        self._expected_until = self._clock.monotonic() + self.limits.duration_s + self.limits.look_every_s
        self._emit(LeaseClaimed(stream=self._stream, shard=lease.shard_id, owner=lease.owner or ""))

    async def _disown(self, lease: Lease) -> None:
        """Gives back a row that bears my name and that I do not hold: a release, or a taking, had no answer."""
        if lease.shard_id in self._moving or lease.shard_id in self.tenures:
            return  # its taking has no answer yet, or has had it since the look
        self._moving.add(lease.shard_id)
        try:
            async with self._writes:
                await self._call("release", self._table.release(lease))
        except (LeaseConflict, AwsError):
            return  # the next look shows whether it is still there
        finally:
            self._moving.discard(lease.shard_id)

    async def seek_successor(self, tenure: Tenure) -> None:
        """Tells the others that a lease of mine is to be had, while it is read on."""
        async with self._writes:
            try:
                await self._call("promise", self._table.promise(tenure.lease, SOUGHT))
            except (LeaseConflict, AwsError):
                return  # claimed already; or it is given back without a successor

    def note_created(self, shard_id: str) -> None:
        """This process has just made the shard's row: taken at the next opportunity, and soon, it is taken fresh."""
        self._created_at[shard_id] = self._clock.monotonic()

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
        if self._each_renewed(now):
            overdue = [tenure for tenure in free if now - tenure.written_at >= limits.renew_every_s]
            return [tenure for tenure in overdue if now - tenure.asked_at >= limits.retry_every_s]
        alive = now - self._standing.written_at < limits.renew_every_s
        if alive or now - self._asked_at < limits.retry_every_s or not free:
            return []
        return [min(free, key=lambda tenure: tenure.asked_at)]

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
            # One that has waited for the write of the shard's end must not take that back.
            needless=lambda row: row.finished,
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

    def part_with(self, tenures: Iterable[Tenure]) -> None:
        """They are about to be given back, and count no more among those that keep this worker alive."""
        self._parting |= {tenure.shard_id for tenure in tenures}

    async def release(self, tenure: Tenure) -> bool:
        """Gives the lease back; afterwards the tenure is over in any case. True: the table has heard of it."""
        if tenure.over:
            return False
        self._parting.add(tenure.shard_id)
        await self._steady()
        try:
            async with tenure.lock:
                if self.tenures.get(tenure.shard_id) is not tenure:
                    return tenure.released
                tenure.closed = True  # from the moment on at which another worker may have it
                await self._call("release", self._table.release(tenure.lease))
        except LeaseConflict:
            self.end(tenure, "taken")
            return False
        except AwsError:
            self.end(tenure, "unreleased")
            return False
        tenure.released = True
        if self.tenures.get(tenure.shard_id) is not tenure:
            return True  # its deadline came before the answer
        self._end(tenure)
        self._emit(
            LeaseReleased(
                stream=self._stream,
                shard=tenure.shard_id,
                checkpoint=tenure.lease.checkpoint,
                successor=tenure.lease.heir,
            )
        )
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
        self._emit(LeaseLost(stream=self._stream, shard=tenure.shard_id, reason=reason, new_owner=new_owner))

    def _end(self, tenure: Tenure) -> None:
        tenure.end()
        del self.tenures[tenure.shard_id]
        self._parting.discard(tenure.shard_id)
        self._standing.dropped(self.tenures.values())
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
        needless: Callable[[Lease], bool] = lambda _: False,
    ) -> None:
        """One write to a row of mine. `expected` is what the row will be, `call` makes it so.

        Its turn may come late: `needless` tells, of the row as the writes before it have left it, whether to let it be.
        """
        async with tenure.lock, self._writes:
            if needless(tenure.lease):
                return
            self._still_valid(tenure, f"{operation} could be sent")
            tenure.asked_at = self._clock.monotonic()
            try:
                row, sent_at = await self._write_once(tenure, operation, expected, call)
            except LeaseConflict:
                if tenure.over:
                    raise
                if needless(tenure.lease):
                    return
                # An earlier write of mine had landed, not this one: it is made again on top of that.
                row, sent_at = await self._write_once(tenure, operation, expected, call)
            # An answer that comes past the deadline does not undo it: others may have acted on it already.
            self._still_valid(tenure, f"{operation} was answered")
            tenure.wrote(row, sent_at, alone=self._each_renewed(self._clock.monotonic()))

    def _still_valid(self, tenure: Tenure, moment: str) -> None:
        if not tenure.valid(self._clock.monotonic()):
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
