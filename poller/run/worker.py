"""One worker on one table's stream: its loops look, discover, renew, read, deliver and checkpoint, until it leaves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from poller.decide.balance import LeasePlan
from poller.errors import AwsError, DeadlinePassed, LeaseConflict, NotFound, PollerError, Throttled, Unavailable
from poller.events import CheckpointFailed, Emit
from poller.model import SHARD_END, Lease
from poller.run.census import Census
from poller.run.delivery import Delivery
from poller.run.departure import Departure
from poller.run.follow import Follower
from poller.run.leases import LeaseKeeper
from poller.run.pace import Pace
from poller.run.ports import Clock, Limiter
from poller.run.readers import Readers
from poller.run.shard import Reading
from poller.run.shares import Shares
from poller.run.tenure import Tenure
from poller.run.waiting import bounded, wait_for

_LOOK_AGAIN_S = 0.5
# How often it is told how things stand.
_TELL_S = 1.0


class Worker:
    """Everything that one process does for one stream.

    `remake_table` makes the lease table should it be deleted while the worker is at work; None: it must not be made.
    `made_table`: this process has just made it, so that nobody else can have come before.
    """

    def __init__(
        self,
        follower: Follower,
        keeper: LeaseKeeper,
        deliveries: Sequence[Delivery],
        reading: Reading,
        pace: Pace,
        *,
        shard_limiter: Callable[[], Limiter],
        remake_table: Callable[[], Awaitable[None]] | None,
        made_table: bool = False,
        clock: Clock,
        emit: Emit,
        rng: random.Random,
    ) -> None:
        self.follower = follower
        self.keeper = keeper
        self.deliveries = deliveries
        self.rows: Mapping[str, Lease] = {}
        self._reading = reading
        self._pace = pace
        self._remake_table = remake_table
        self._clock = clock
        self._emit = emit
        self._shares = Shares(keeper, clock=clock, emit=emit, rng=rng)
        self._census = Census(follower, self, pace, made_table=made_table, clock=clock, emit=emit, rng=rng)
        self._readers = Readers(
            follower,
            keeper,
            self._shares,
            self._census,
            deliveries=deliveries,
            reading=reading,
            shard_limiter=shard_limiter,
            look_soon=self.look_soon,
            clock=clock,
            emit=emit,
            rng=rng,
        )
        self._departure = Departure(keeper, self._shares, self._readers, self._checkpoint, pace, clock=clock, rng=rng)
        self._look_now = asyncio.Event()
        self._looked = asyncio.Event()
        self._look_lock = asyncio.Lock()
        self._leaving = False

    async def run(self, stop: asyncio.Event) -> bool:
        """Works until `stop` is set, then leaves in order; True if everything in flight was settled by then.

        Raises (an ExceptionGroup) only what nobody foresaw. The leases then lapse by themselves, and nothing is lost.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self.keeper.spawn = group.create_task
                loops = [group.create_task(self._looking()), group.create_task(self._census.run(self._looked))]
                renewing = group.create_task(self._renewing())
                service = [group.create_task(self._checkpointing())]
                service += [group.create_task(delivery.run()) for delivery in self.deliveries]
                await stop.wait()
                began = self._clock.monotonic()
                self._leaving = self._readers.heirless = True
                await bounded(_LOOK_AGAIN_S, [self._calm()])
                for task in loops:
                    task.cancel()

                def stop_renewing() -> None:
                    renewing.cancel()
                    self.keeper.stop_renewing()

                clean = await self._departure.leave(began, stop_renewing)
                for task in service:
                    task.cancel()
                self._departure.cancel()
                self._readers.close()
        finally:
            for tenure in list(self.keeper.tenures.values()):
                self.keeper.end(tenure, "unreleased")
        return clean

    # --- looking ------------------------------------------------------------------------------------------------------

    @property
    def plan(self) -> LeasePlan:
        """What followed from the last look at the lease table; `rows` is what it showed."""
        return self._shares.plan

    def look_soon(self) -> None:
        """Something in the table must have changed."""
        self._look_now.set()

    async def take_first(self, lease: Lease) -> bool:
        """Takes the row with which a table begins."""
        return await self._shares.take_one(lease) is not None

    async def _looking(self) -> None:
        while True:
            await wait_for(self._look_now, await self.look())

    async def _calm(self) -> bool:
        """Returns when no look is under way: one that is cut off may leave leases taken that nobody reads."""
        async with self._look_lock:
            return True

    async def look(self) -> float:
        """One look at the lease table, and what follows from it; how long until the next."""
        async with self._look_lock:
            if self._leaving:
                return self._shares.look_every_s
            try:
                self.rows = await self._shares.look()
            except AwsError as error:  # the keeper has said so
                if isinstance(error, NotFound):
                    await self._remake()
                return min(1.0, self.keeper.limits.look_every_s)
            if await self._placed():
                return _LOOK_AGAIN_S  # what was found out stands in the rows now
            if not self._looked.is_set():
                self.follower.begin(self.rows.values())
            rows = self.follower.rows(self.rows.values())
            if not self.follower.over(rows, self.rows.values()):
                self._readers.read_on()  # a stream that seemed to be gone is there again
            elif await self._close_rows(rows):
                self.follower.switch()
                rows = self.follower.rows(self.rows.values())
                if not rows:
                    self._census.list_myself()
            self.follower.discovery.remember(rows)
            await self._shares.balance(rows, self.follower.stages(rows), self.follower.rowless(rows))
            self._census.note_look()
            self._looked.set()
            return self._shares.look_every_s

    async def _placed(self) -> bool:
        """Are there rows that name no stream, and is something found out about them, or to be found out yet?"""
        unplaced = self.follower.unplaced(self.rows.values())
        try:
            if unplaced:
                await self.follower.place(unplaced)
        except LeaseConflict:
            pass  # the next look shows the row as it is
        except (Throttled, Unavailable) as error:
            self._census.note_unplaced(error, _LOOK_AGAIN_S)
        except AwsError as error:
            self._census.note_unplaced(error, self._shares.look_every_s)
            return False  # nothing will change that soon, and the other shards must be read
        else:
            self._census.note_placed()
        return bool(unplaced)

    async def _remake(self) -> None:
        """The lease table was deleted. Its places are lost; the stream is read again as far back as it goes."""
        if self._remake_table is None:
            return
        with suppress(PollerError):  # tried again at the next look
            await self._remake_table()
            self._census.list_myself()

    async def _close_rows(self, rows: Mapping[str, Lease]) -> bool:
        """Ends what a stream that is gone has left unfinished, so that the loss is said once and not at every start.

        What was read of it is settled first: false while something is on its way, or with another worker, who settles
        and ends what is its own. Should it be gone, its rows are taken once they have expired. Java's are Java's.
        """
        under_way = False
        for lease in rows.values():
            tenure = self.keeper.tenures.get(lease.shard_id)
            if lease.finished or (tenure is None and lease.foreign):
                continue
            if tenure is None and lease.owner is not None:
                under_way = True
                continue
            tenure = tenure or await self._shares.take_one(lease)
            if tenure is None:
                under_way = True
                continue
            self._readers.stop_reading(tenure)
            if not tenure.frontier.drained:
                under_way = True
                continue
            if not tenure.frontier.ended:  # also where reading had stopped, because some of it was lost: now all is
                self.follower.say_lost(tenure.lease)
            try:
                await self.keeper.checkpoint(tenure, SHARD_END)
            except (AwsError, LeaseConflict, DeadlinePassed):
                under_way = True  # whoever takes the row next says it again
            await self.keeper.release(tenure)
        return not under_way

    # --- keeping ------------------------------------------------------------------------------------------------------

    async def _renewing(self) -> None:
        tick_s = min(0.5, self.keeper.limits.duration_s / 20)
        while True:
            self.keeper.renew_due()
            await self._clock.sleep(tick_s)

    async def _checkpointing(self) -> None:
        """How things stand is told in between as well: what is known of it must not be as old as checkpoints may be."""
        times = max(1, round(self._pace.checkpoint_s / _TELL_S))
        while True:
            for _ in range(times):
                await self._clock.sleep(self._pace.checkpoint_s / times)
                self.tell()
            await self.checkpoint()

    def tell(self) -> None:
        """Says where each shard stands, and what is not settled."""
        for reader in self._readers:
            reader.tell()
        for delivery in self.deliveries:
            delivery.report()
        self._reading.buffer.report()

    async def checkpoint(self) -> None:
        """Writes every frontier that has moved since it was last written."""
        await asyncio.gather(*(self._checkpoint(tenure) for tenure in list(self.keeper.tenures.values())))

    async def _checkpoint(self, tenure: Tenure) -> bool:
        """True: the table has the frontier as it is."""
        checkpoint = tenure.frontier.checkpoint
        if tenure.released or tenure.lease.finished or checkpoint == tenure.lease.checkpoint:
            return True
        try:
            await self.keeper.checkpoint(tenure, checkpoint)
        except AwsError as error:
            name = self.follower.stream.table
            self._emit(CheckpointFailed(stream=name, shard=tenure.shard_id, code=error.code))
            return False
        except (LeaseConflict, DeadlinePassed):
            return False  # the tenure is over, as the keeper has said
        return True
