"""The readers of this worker's shards: begun with a tenure, ended with it, and what a shard's end takes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from poller.decide.retry import Backoff
from poller.errors import AwsError, DeadlinePassed, LeaseConflict
from poller.events import Emit, ShardFinished, ShardStopped
from poller.model import SHARD_END
from poller.run.census import Census
from poller.run.delivery import Delivery
from poller.run.follow import Follower
from poller.run.leases import LeaseKeeper
from poller.run.ports import Clock, Limiter
from poller.run.shard import Reading, ShardReader
from poller.run.shares import Shares
from poller.run.tenure import Tenure

# The first requests of a worker's shards are spread over this much time a shard, up to the longest pause between polls.
_SPREAD_A_SHARD_S = 0.01
_BACKOFF = Backoff(first_s=0.2, max_s=5.0)


class Readers:
    """One task a shard.

    `heirless`: the children of shards that end now are left to others. `look_soon` is called when something in the
    lease table must have changed.
    """

    def __init__(
        self,
        follower: Follower,
        keeper: LeaseKeeper,
        shares: Shares,
        census: Census,
        *,
        deliveries: Sequence[Delivery],
        reading: Reading,
        shard_limiter: Callable[[], Limiter],
        look_soon: Callable[[], None],
        clock: Clock,
        emit: Emit,
        rng: random.Random,
    ) -> None:
        self.heirless = False
        self._follower = follower
        self._keeper = keeper
        self._shares = shares
        self._census = census
        self._deliveries = deliveries
        self._reading = replace(reading, suspect=census.list_myself)
        self._shard_limiter = shard_limiter
        self._look_soon = look_soon
        self._clock = clock
        self._emit = emit
        self._rng = rng
        self._readers: dict[str, tuple[ShardReader, asyncio.Task[None]]] = {}
        # Those of finished shards are among them until they have seen to the children.
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        keeper.on_taken = self._start
        keeper.on_over = self._end
        keeper.on_deleted = census.list_myself  # whoever knows of a row that is gone makes it again, before it forgets
        census.on_late = self._inherit

    def __iter__(self) -> Iterator[ShardReader]:
        return iter([reader for reader, _ in self._readers.values()])

    def stop_reading(self, tenure: Tenure) -> None:
        """Nothing more is read of the shard; what was read goes its way. Not for one that is read to its end."""
        _, task = self._readers[tenure.shard_id]
        task.cancel()

    def read_on(self) -> None:
        """What was stopped goes on where it was, but for what is about to be given back."""
        for shard_id, (reader, task) in list(self._readers.items()):
            if task.cancelled() and not self._keeper.parting(shard_id):
                self._begin(reader)

    async def inherited(self) -> bool:
        """Returns when no child of a finished shard is about to be taken any more."""
        reading = {task for _, task in self._readers.values()}
        if finishing := self._tasks - reading:
            await asyncio.wait(finishing)
        return True

    def begin_no_more(self) -> None:
        """A lease that is taken from now on is not read: it is to be given back as it is."""
        self._closed = True

    def close(self) -> None:
        """Ends all of them for good."""
        self.begin_no_more()
        for task in self._tasks:
            task.cancel()

    def _start(self, tenure: Tenure) -> None:
        if self._closed:
            return
        shard_id, shards = tenure.shard_id, self._follower.shards

        def closed() -> bool:
            shard = shards.get(shard_id)
            return shard is not None and shard.closed

        reading = replace(self._reading, source=self._follower.source)
        spread_s = _SPREAD_A_SHARD_S * (len(self._readers) + 1)
        self._begin(ShardReader(tenure, reading, self._shard_limiter(), closed, spread_s))

    def _begin(self, reader: ShardReader) -> None:
        task = self._keeper.spawn(self._read(reader))
        self._readers[reader.tenure.shard_id] = (reader, task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end(self, tenure: Tenure) -> None:
        if tenure.shard_id not in self._readers:
            return
        _, task = self._readers.pop(tenure.shard_id)
        if task is not asyncio.current_task():
            task.cancel()
        for delivery in self._deliveries:
            delivery.forget(tenure)
        self._emit(ShardStopped(stream=self._follower.stream.table, shard=tenure.shard_id))

    async def _read(self, reader: ShardReader) -> None:
        """A shard from its checkpoint to its end, and the end itself: only after its last record is settled."""
        tenure = reader.tenure
        if tenure.lease.stream_arn is None:
            await self._pin(tenure)
        await reader.run()
        await tenure.drained()
        failures = 0
        while not tenure.over:
            try:
                await self._finish(tenure)
            except (AwsError, LeaseConflict, DeadlinePassed):
                # Once the tenure is over, the next owner reads the last page again, and finishes the shard.
                failures += 1
                await self._clock.sleep(_BACKOFF.wait_s(failures, self._rng.random()))

    async def _pin(self, tenure: Tenure) -> None:
        try:
            await self._keeper.pin(tenure, self._follower.stream.arn)
        except (AwsError, LeaseConflict, DeadlinePassed):
            return  # said and counted by the keeper; whoever takes the lease next tries again

    async def _finish(self, tenure: Tenure) -> None:
        """In KCL's order, so that a crash in between loses nothing: the children's rows, their names.

        Then SHARD_END. The children are mine at once, whatever the shares: nobody waits for a look at the table.
        Where an earlier try has written the end, and has not heard of it, there is nothing more to ask: the stream may
        be gone by now.
        """
        if tenure.lease.finished:
            names = tuple(sorted(tenure.lease.children))
        else:
            names = await self._census.children_of(tenure.shard_id)
            if names:
                await self._keeper.add_children(tenure, names)
            await self._keeper.checkpoint(tenure, SHARD_END)
        await self._keeper.release(tenure)
        self._emit(ShardFinished(stream=self._follower.stream.table, shard=tenure.shard_id, children=names))
        await self._inherit(names)
        if not names:
            self._census.note_childless(tenure.shard_id)
        self._look_soon()

    async def _inherit(self, shard_ids: Iterable[str]) -> None:
        if not self.heirless:
            await asyncio.gather(*(self._shares.inherit(shard_id) for shard_id in shard_ids))
