"""A worker's share of the leases: what it sees of the table, takes, claims from others and inherits."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from poller.decide.balance import BalanceLimits, LeasePlan, Sightings, Take, plan_leases
from poller.decide.lineage import Stage
from poller.errors import AwsError, LeaseConflict
from poller.events import (
    Emit,
    FleetSeen,
    ForeignOwnersGone,
    ForeignOwnersSeen,
    LeaseClaimed,
    LeaseTaken,
    SeenLease,
)
from poller.model import SOUGHT, Lease
from poller.run.leases import LeaseKeeper
from poller.run.ports import Clock
from poller.run.tenure import Tenure

# How often the table is looked at while a lease is on its way from one worker to another.
_LOOK_EAGERLY_S = 0.5
# How long after the moment at which an owner is gone the table is looked at.
_JUST_AFTER_S = 0.02
# A worker without any lease looks this often at a table of at most so many rows (some ten kB).
_LOOK_IDLY_S = 1.0
_ROWS_WATCHED_IDLY = 100


class Shares:
    """What follows from looking at the lease table. `plan` is what followed from the last look.

    `on_claimed`: another worker is to have the lease, once what was read is settled.
    """

    def __init__(self, keeper: LeaseKeeper, *, clock: Clock, emit: Emit, rng: random.Random) -> None:
        self.on_claimed: Callable[[Tenure], None] = lambda _: None
        self.plan = LeasePlan((), (), (), workers=1, foreign=False, peers=False, lists=False)
        self._keeper = keeper
        self._table = keeper.table
        self._limits = keeper.limits
        self._stream = keeper.stream
        self._worker_id = keeper.worker_id
        self._clock = clock
        self._emit = emit
        self._rng = rng
        self._sightings = Sightings()
        self._moving: set[str] = set()  # shards whose rows are being taken, or given back without being held
        self._expected_until = -math.inf
        self._look_soon = False
        self._rows_seen = 0
        self._foreign_seen_at = -math.inf
        self._foreign: frozenset[str] = frozenset()

    # --- looking ------------------------------------------------------------------------------------------------------

    async def look(self) -> dict[str, Lease]:
        """A complete look at the table: every row by shard id. Tenures whose row names somebody else end here.

        Raises AwsError: the table did not answer; nothing is concluded from that.
        """
        began = self._clock.monotonic()
        rows = {row.shard_id: row for row in await self._table.call("list", self._table.rows.list())}
        self._sightings.look(rows.values(), began, self._clock.monotonic(), gap_max_s=self._limits.duration_s)
        for shard_id, tenure in list(self._keeper.tenures.items()):
            row = rows.get(shard_id)
            # A look that began before the last write of mine, or its answer, may show what was there before it.
            if row is None and tenure.written_at < began:
                self._keeper.end(tenure, "deleted")
            elif row is None or tenure.taken_at >= began:
                continue
            elif row.owner == self._worker_id:
                self._note_claim(tenure, row)
            elif tenure.answered_at < began:  # whatever the counter: the row may have been deleted and made anew
                self._keeper.end(tenure, "taken", row.owner)
        return rows

    def _note_claim(self, tenure: Tenure, row: Lease) -> None:
        if row.heir is not None and not self._keeper.parting(tenure.shard_id):
            self._keeper.part_with([tenure])
            tenure.lease = replace(tenure.lease, successor=row.successor)
            self.on_claimed(tenure)

    @property
    def look_every_s(self) -> float:
        """Until the next look: soon, while a lease that I have claimed is on its way to me.

        And after a taking that others may have made, or have made, at the same moment. A worker that holds nothing has
        nothing to renew, and looks once a second where that costs next to nothing: it is there to stand in. The moment
        at which a silent owner is gone is not left to the rhythm of looks; living ones are seen to move long before.
        """
        now = self._clock.monotonic()
        expiry_s = self._sightings.next_expiry(self._limits.duration_s, now=now, me=self._worker_id) - now
        regular_s = min(self._limits.look_every_s, expiry_s + _JUST_AFTER_S)
        if self._look_soon or now < self._expected_until:
            return min(_LOOK_EAGERLY_S * (1 + self._rng.random()), regular_s)
        idle = not self._keeper.tenures and self._rows_seen <= _ROWS_WATCHED_IDLY
        return min(_LOOK_IDLY_S, regular_s) if idle else regular_s

    async def balance(
        self, rows: Mapping[str, Lease], stages: Mapping[str, Stage], rowless: tuple[str, ...] = ()
    ) -> None:
        """Takes and claims what is this worker's share of the rows. `stages` is of the stream's own rows.

        `rowless`: shards that nobody can have, since they have no row; they are only told of, by the worker that lists:
        another one does not hear that a shard has left the stream, and its row been cleaned up.
        """
        plan = plan_leases(
            rows,
            self._sightings,
            BalanceLimits(self._limits.duration_s, self._limits.max_leases),
            me=self._worker_id,
            readable=[shard_id for shard_id, stage in stages.items() if stage is Stage.READY],
            held=frozenset(self._keeper.tenures),
            rng=self._rng,
        )
        self.plan, self._rows_seen = plan, len(rows)
        first = not self._keeper.tenures and bool(plan.take)
        self._note_foreign(rows, plan)
        pending = any(row.heir == self._worker_id and row.shard_id not in self._keeper.tenures for row in rows.values())
        if plan.claim or not pending:
            self._expected_until = -math.inf
        taken = await asyncio.gather(*(self._take(take) for take in plan.take))
        await asyncio.gather(*(self._claim(lease) for lease in plan.claim))
        await asyncio.gather(*(self._disown(lease) for lease in plan.release))
        self._look_soon = first or not all(taken)
        self._keeper.forget_created(stages)
        self._emit(self._fleet(rows, stages, rowless if plan.lists else (), plan))

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
        # For two durations after the last of them was seen.
        self._keeper.each_renewed = now - self._foreign_seen_at <= 2 * self._limits.duration_s
        if self._foreign and not self._keeper.each_renewed:
            self._foreign = frozenset()
            self._emit(ForeignOwnersGone(stream=self._stream))

    def _fleet(
        self, rows: Mapping[str, Lease], stages: Mapping[str, Stage], rowless: tuple[str, ...], plan: LeasePlan
    ) -> FleetSeen:
        seen = tuple(self._seen(rows[shard_id], stage) for shard_id, stage in stages.items())
        shards = {"reading": 0, "waiting_for_parent": 0, "draining": 0, "unowned": len(rowless), "finished": 0}
        for row in seen:
            shards["unowned" if row.state == "expired" else row.state] += 1
        written_at = self._keeper.standing.written_at
        return FleetSeen(
            stream=self._stream,
            shards=shards,
            held=len(self._keeper.tenures),
            workers=plan.workers,
            lists=plan.lists,
            unrenewed_s=max(0.0, self._clock.monotonic() - written_at) if written_at > -math.inf else 0.0,
            rows=seen,
            rowless=rowless,
        )

    def _seen(self, row: Lease, stage: Stage) -> SeenLease:
        tenure = self._keeper.tenures.get(row.shard_id)
        if tenure is not None:
            draining = tenure.frontier.ended or self._keeper.parting(row.shard_id)
            return SeenLease(tenure.lease, "draining" if draining else "reading")
        if stage is not Stage.READY:
            return SeenLease(row, stage.value)
        if row.owner in (None, self._worker_id):
            return SeenLease(row, "unowned")
        return SeenLease(row, "expired" if self._sightings.expired(row, self._limits.duration_s) else "reading")

    async def take_one(self, lease: Lease) -> Tenure | None:
        """Takes a lease that is nobody's, whatever the shares; None if it was not to be had."""
        return self._keeper.tenures.get(lease.shard_id) if await self._take(Take(lease, "unowned")) else None

    async def inherit(self, shard_id: str) -> None:
        """Takes the child of a shard that I have just finished, whatever the shares, so that nobody waits for a look.

        Others may be quicker, and then it is theirs; where this worker has its maximum, it is left to them.
        """
        if shard_id in self._keeper.tenures or self._full:
            return
        try:
            row = await self._table.call("read", self._table.rows.read(shard_id))
        except AwsError:
            return  # the next look finds it
        if row is not None and row.owner is None and not row.finished:
            await self._take(Take(row, "inherited"))

    @property
    def _full(self) -> bool:
        """Has this worker its maximum of leases, with those that it is about to have?"""
        limit = self._limits.max_leases
        return limit is not None and len(self._keeper.tenures.keys() | self._moving) >= limit

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
        async with self._table.writing:
            sent_at = self._clock.monotonic()
            try:
                row = await self._table.call("take", self._table.rows.take(lease, self._worker_id))
            except (LeaseConflict, AwsError):
                # Another worker was quicker, or it may have taken effect: the next look shows whose the row is.
                return False
        tenure = self._keeper.hold(row, sent_at)
        if tenure is None:
            return False
        self._emit(
            LeaseTaken(
                stream=self._stream,
                shard=lease.shard_id,
                reason=take.reason,
                previous_owner=lease.owner,
                checkpoint=row.checkpoint,
            )
        )
        self._keeper.on_taken(tenure)
        return True

    async def _claim(self, lease: Lease) -> None:
        """Asks a living owner for a lease. It will see it at its next look."""
        async with self._table.writing:
            try:
                await self._table.call("promise", self._table.rows.promise(lease, self._worker_id))
            except (LeaseConflict, AwsError):
                return  # somebody else has asked before, or the next look shows that it took effect
        # Whatever the owner does, it is over by then: it hands over, or its leases lapse.
        self._expected_until = self._clock.monotonic() + self._limits.duration_s + self._limits.look_every_s
        self._emit(LeaseClaimed(stream=self._stream, shard=lease.shard_id, owner=lease.owner or ""))

    async def _disown(self, lease: Lease) -> None:
        """Gives back a row that bears my name and that I do not hold: a release, or a taking, had no answer."""
        if lease.shard_id in self._moving or lease.shard_id in self._keeper.tenures:
            return  # its taking has no answer yet, or has had it since the look
        self._moving.add(lease.shard_id)
        try:
            async with self._table.writing:
                await self._table.call("release", self._table.rows.release(lease))
        except (LeaseConflict, AwsError):
            return  # the next look shows whether it is still there
        finally:
            self._moving.discard(lease.shard_id)

    async def seek_successor(self, tenure: Tenure) -> None:
        """Tells the others that a lease of mine is to be had, while it is read on."""
        async with self._table.writing:
            try:
                await self._table.call("promise", self._table.rows.promise(tenure.lease, SOUGHT))
            except (LeaseConflict, AwsError):
                return  # claimed already; or it is given back without a successor
