"""Giving leases away: one that another worker has claimed, and all of them when this one leaves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

from poller.decide.retry import Backoff
from poller.errors import AwsError
from poller.run.leases import LeaseKeeper
from poller.run.pace import Pace
from poller.run.ports import Clock
from poller.run.readers import Readers
from poller.run.shares import Shares
from poller.run.tenure import Tenure
from poller.run.waiting import bounded

_LOOK_AGAIN_S = 0.5
_BACKOFF = Backoff(first_s=0.2, max_s=5.0)


class Departure:
    """In either case what was read is settled and checkpointed first, as far as it can be.

    `checkpoint` writes a tenure's frontier; true: the table has it.
    """

    def __init__(
        self,
        keeper: LeaseKeeper,
        shares: Shares,
        readers: Readers,
        checkpoint: Callable[[Tenure], Awaitable[bool]],
        pace: Pace,
        *,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._keeper = keeper
        self._shares = shares
        self._readers = readers
        self._checkpoint = checkpoint
        self._pace = pace
        self._clock = clock
        self._rng = rng
        self._handing_over: set[asyncio.Task[None]] = set()
        shares.on_claimed = self._begin_hand_over

    def _begin_hand_over(self, tenure: Tenure) -> None:
        task = self._keeper.spawn(self._hand_over(tenure))
        self._handing_over.add(task)
        task.add_done_callback(self._handing_over.discard)

    async def _hand_over(self, tenure: Tenure) -> None:
        """Another worker is to have the lease: what was read is settled and checkpointed first, as far as it can be."""
        if tenure.over or tenure.frontier.ended:
            return  # its reader is about to finish it, and there is nothing to hand over but its children
        self._readers.stop_reading(tenure)
        await bounded(self._pace.drain_s, [self._drain(tenure)])
        await self._checkpoint_last(tenure)
        await self._keeper.release(tenure)

    async def leave(self, began: float, stop_renewing: Callable[[], None]) -> bool:
        """Hands over, stops reading, settles what is in flight, checkpoints, gives the leases back. Each is bounded."""
        if self._shares.plan.peers and self._keeper.tenures:
            await self._seek_successors(began + self._pace.seek_s)
        self._readers.begin_no_more()  # there is no time to settle what would be read of it
        tenures = list(self._keeper.tenures.values())
        self._keeper.part_with(tenures)
        for tenure in tenures:
            if not tenure.frontier.ended:
                self._readers.stop_reading(tenure)
        left_s = self._pace.leave_s - (self._clock.monotonic() - began)
        farewell_s = min(self._pace.farewell_s, left_s / 4)
        drain_s = min(self._pace.drain_s, left_s - 2 * farewell_s)
        drained = await bounded(drain_s, [self._drain(tenure) for tenure in tenures])
        written = await bounded(farewell_s, [self._checkpoint_last(tenure) for tenure in tenures])
        # Nothing is sent any more: what lapses now is given back all the same.
        stop_renewing()
        # A child that was being inherited as this began is mine by now, perhaps.
        await bounded(_LOOK_AGAIN_S, [self._readers.inherited()])
        tenures += [tenure for tenure in self._keeper.tenures.values() if tenure not in tenures]
        # A thousand rows take their time, sixteen at once: they have what the steps before have left of it.
        left_s = self._pace.leave_s - farewell_s - (self._clock.monotonic() - began)
        released = await bounded(max(farewell_s, left_s), [self._give_back(tenure) for tenure in tenures])
        return drained and written and released

    async def _seek_successors(self, until: float) -> None:
        """Reads on until others have claimed what is mine, and hands over each lease as it is claimed."""
        await asyncio.gather(*(self._shares.seek_successor(tenure) for tenure in list(self._keeper.tenures.values())))
        while self._keeper.tenures and self._clock.monotonic() < until:
            await self._clock.sleep(_LOOK_AGAIN_S)
            with suppress(AwsError, TimeoutError):  # asked again, or given back without a successor
                async with asyncio.timeout(max(0.0, until - self._clock.monotonic())):
                    await self._shares.look()

    async def _checkpoint_last(self, tenure: Tenure) -> bool:
        """Again and again as long as the lease lasts: what it lacks will be sent again. True: the table has it."""
        failures = 0
        while not (written := await self._checkpoint(tenure)) and tenure.valid(self._clock.monotonic()):
            failures += 1
            await self._clock.sleep(_BACKOFF.wait_s(failures, self._rng.random()))
        return written

    async def _give_back(self, tenure: Tenure) -> bool:
        return tenure.released or await self._keeper.release(tenure, insist=True)

    async def _drain(self, tenure: Tenure) -> bool:
        await tenure.drained()
        return not tenure.over or tenure.released

    def cancel(self) -> None:
        """Ends what is still on its way to others."""
        for task in self._handing_over:
            task.cancel()
