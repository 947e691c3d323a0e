"""One worker on one table's stream: its loops look, discover, renew, read, deliver and checkpoint, until it leaves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from poller.decide.retry import Backoff
from poller.decide.trouble import Trouble
from poller.errors import AwsError, DeadlinePassed, LeaseConflict, NotFound, PollerError
from poller.events import CheckpointFailed, DiscoveryFailed, Emit, ShardFinished, ShardStopped
from poller.model import SHARD_END, Lease
from poller.run.delivery import Delivery
from poller.run.follow import Follower
from poller.run.leases import LeaseKeeper
from poller.run.ports import Clock, Limiter
from poller.run.shard import Reading, ShardReader
from poller.run.tenure import Tenure

_BACKOFF = Backoff(first_s=0.2, max_s=5.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the loops turn, in seconds.

    The look for the children of a shard that has just ended comes after `children_first_s`, and ever later, up to
    `discovery_s`, while there are none; a disabled stream's successor is looked for every `successor_s`. A leaving
    worker has `drain_s` to settle what is in flight and `farewell_s` each for the last checkpoints and for giving the
    leases back: everything is over in less than 10 s.
    """

    checkpoint_s: float
    discovery_s: float
    children_first_s: float = 0.25
    successor_s: float = 5.0
    drain_s: float = 4.0
    farewell_s: float = 2.5


class Worker:
    """Everything that one process does for one stream.

    `remake_table` makes the lease table should it be deleted while the worker is at work; None: it must not be made.
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
        clock: Clock,
        emit: Emit,
        rng: random.Random,
    ) -> None:
        self.follower = follower
        self.keeper = keeper
        self.deliveries = deliveries
        self._reading = reading
        self._pace = pace
        self._shard_limiter = shard_limiter
        self._remake_table = remake_table
        self._clock = clock
        self._emit = emit
        self._rng = rng
        self._rows: dict[str, Lease] = {}
        self._readers: dict[str, tuple[ShardReader, asyncio.Task[None]]] = {}
        self._look_now = asyncio.Event()
        self._discover_now = asyncio.Event()
        self._looked = asyncio.Event()
        self._children_missing = False
        self._trouble = Trouble()
        self._group: asyncio.TaskGroup | None = None
        keeper.on_taken = self._start_reader
        keeper.on_over = self._stop_reader

    async def run(self, stop: asyncio.Event) -> bool:
        """Works until `stop` is set, then leaves in order; True if everything in flight was settled by then.

        Raises (an ExceptionGroup) only what nobody foresaw. The leases then lapse by themselves, and nothing is lost.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                loops = [group.create_task(self._looking()), group.create_task(self._discovering())]
                service = [group.create_task(self._renewing()), group.create_task(self._checkpointing())]
                service += [group.create_task(delivery.run()) for delivery in self.deliveries]
                await stop.wait()
                for task in loops:
                    task.cancel()
                clean = await self._leave()
                for task in (*service, *(task for _, task in self._readers.values())):
                    task.cancel()
        finally:
            for tenure in list(self.keeper.tenures.values()):
                self.keeper.end(tenure, "unreleased")
        return clean

    # --- looking, discovering -----------------------------------------------------------------------------------------

    async def _looking(self) -> None:
        while True:
            await self._wait(self._look_now, await self.look())

    async def look(self) -> float:
        """One look at the lease table, and what follows from it; how long until the next."""
        try:
            self._rows = await self.keeper.look()
        except AwsError as error:  # the keeper has said so
            if isinstance(error, NotFound):
                await self._remake()
            return min(1.0, self.keeper.limits.look_every_s)
        if not self._looked.is_set():
            self.follower.begin(self._rows.values())
            self._looked.set()
        rows = self.follower.rows(self._rows.values())
        if self.follower.over(rows) and await self._close_rows(rows):
            self.follower.switch()
            self._discover_now.set()
            rows = self.follower.rows(self._rows.values())
        missing, self._children_missing = self._children_missing, self.follower.children_missing(rows)
        if self._children_missing and not missing:
            self._discover_now.set()
        await self.keeper.take(rows, self.follower.stages(rows))
        return self.keeper.limits.look_every_s

    async def _remake(self) -> None:
        """The lease table was deleted. Its places are lost; the stream is read again as far back as it goes."""
        if self._remake_table is None:
            return
        with suppress(PollerError):  # tried again at the next look
            await self._remake_table()
            self._discover_now.set()

    async def _close_rows(self, rows: Mapping[str, Lease]) -> bool:
        """Ends what a stream that is gone has left unfinished, so that the loss is said once and not at every start.

        What was read of it is settled first: false while something is on its way. Rows of other workers are theirs.
        """
        under_way = False
        for lease in rows.values():
            tenure = self.keeper.tenures.get(lease.shard_id)
            if lease.finished or (tenure is None and lease.owner is not None):
                continue
            tenure = tenure or await self.keeper.take_one(lease)
            if tenure is None:
                continue
            reader, reading = self._readers[tenure.shard_id]
            reading.cancel()
            if not tenure.frontier.drained:
                under_way = True
                continue
            if not tenure.frontier.ended and not reader.stopped:  # a reader that stopped has said so itself
                self.follower.say_lost(tenure.lease)
            # Should it fail, the row stays as it is, and whoever finds it says it again.
            with suppress(AwsError, LeaseConflict, DeadlinePassed):
                await self.keeper.checkpoint(tenure, SHARD_END)
            await self.keeper.release(tenure)
        return not under_way

    async def _discovering(self) -> None:
        """The first look at the table comes before the first listing: what is known is never taken for new."""
        await self._looked.wait()
        in_vain = 0
        while True:
            wait_s = await self.discover()
            in_vain = in_vain + 1 if self._children_missing or self.follower.discovery.doubtful else 0
            if in_vain:
                wait_s = min(wait_s, self._pace.children_first_s * 2.0 ** min(in_vain - 1, 20))
            await self._wait(self._discover_now, wait_s)

    async def discover(self) -> float:
        """One look at the stream; how long until the next."""
        now = self._clock.monotonic()
        try:
            await self.follower.discover(self._seen_rows)
        except AwsError as error:
            wait_s = _BACKOFF.wait_s(self._trouble.failures + 1, self._rng.random())
            if self._trouble.failed(now):
                self._emit(
                    DiscoveryFailed(
                        stream=self.follower.stream.table, code=error.code, error=str(error), retry_in_s=wait_s
                    )
                )
        else:
            self._trouble.worked(now)
            wait_s = self._pace.discovery_s if self.follower.stream.enabled else self._pace.successor_s
        self._look_now.set()  # what a look that failed has listed before can be read all the same
        return min(wait_s, self._pace.discovery_s)

    def _seen_rows(self) -> Iterable[Lease]:
        return self._rows.values()

    # --- reading ------------------------------------------------------------------------------------------------------

    def _start_reader(self, tenure: Tenure) -> None:
        if self._group is None:
            raise RuntimeError("leases are taken only by the loops of run()")
        shard_id, shards = tenure.shard_id, self.follower.shards

        def closed() -> bool:
            shard = shards.get(shard_id)
            return shard is not None and shard.closed

        reading = replace(self._reading, source=self.follower.source)
        reader = ShardReader(tenure, reading, self._shard_limiter(), closed)
        self._readers[shard_id] = (reader, self._group.create_task(self._read(reader)))

    def _stop_reader(self, tenure: Tenure) -> None:
        _, task = self._readers.pop(tenure.shard_id)
        if task is not asyncio.current_task():
            task.cancel()
        for delivery in self.deliveries:
            delivery.forget(tenure)
        self._emit(ShardStopped(stream=self.follower.stream.table, shard=tenure.shard_id))

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
            await self.keeper.pin(tenure, self.follower.stream.arn)
        except (AwsError, LeaseConflict, DeadlinePassed):
            return  # said and counted by the keeper; whoever takes the lease next tries again

    async def _finish(self, tenure: Tenure) -> None:
        """In KCL's order, so that a crash in between loses nothing: the children's rows, their names.

        Then SHARD_END.
        """
        children = await self.follower.discovery.children_of(tenure.shard_id)
        await self.follower.discovery.create(self.follower.rows(self._rows.values()))
        names = tuple(sorted(child.shard_id for child in children))
        if names:
            await self.keeper.add_children(tenure, names)
        await self.keeper.checkpoint(tenure, SHARD_END)
        await self.keeper.release(tenure)
        self._emit(ShardFinished(stream=self.follower.stream.table, shard=tenure.shard_id, children=names))
        self._look_now.set()  # the children may start; or, where there are none yet, they are looked for

    # --- keeping ------------------------------------------------------------------------------------------------------

    async def _renewing(self) -> None:
        tick_s = min(0.5, self.keeper.limits.duration_s / 20)
        while True:
            await self.keeper.renew_due()
            await self._clock.sleep(tick_s)

    async def _checkpointing(self) -> None:
        while True:
            await self._clock.sleep(self._pace.checkpoint_s)
            await self.checkpoint()

    async def checkpoint(self) -> None:
        """Writes every frontier that has moved since it was last written, and says where each shard stands."""
        for reader, _ in self._readers.values():
            reader.tell()
        for delivery in self.deliveries:
            delivery.report()
        self._reading.buffer.report()
        await asyncio.gather(*(self._checkpoint(tenure) for tenure in list(self.keeper.tenures.values())))

    async def _checkpoint(self, tenure: Tenure) -> bool:
        """True: the table has the frontier as it is."""
        checkpoint = tenure.frontier.checkpoint
        if checkpoint == tenure.lease.checkpoint:
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

    # --- leaving ------------------------------------------------------------------------------------------------------

    async def _leave(self) -> bool:
        """Stops reading, settles what is in flight, checkpoints, gives the leases back. Each step is bounded."""
        tenures = list(self.keeper.tenures.values())
        for reader, task in self._readers.values():
            if not reader.tenure.frontier.ended:
                task.cancel()
        drained = await self._bounded(self._pace.drain_s, [self._drain(tenure) for tenure in tenures])
        written = await self._bounded(self._pace.farewell_s, [self._checkpoint(tenure) for tenure in tenures])
        released = await self._bounded(self._pace.farewell_s, [self.keeper.release(tenure) for tenure in tenures])
        return drained and written and released

    async def _drain(self, tenure: Tenure) -> bool:
        await tenure.drained()
        return not tenure.over

    async def _bounded(self, seconds: float, work: Sequence[Awaitable[bool]]) -> bool:
        """Did every part of the work succeed, and within the bound?"""
        try:
            async with asyncio.timeout(seconds):
                return all(await asyncio.gather(*work))
        except TimeoutError:
            return False

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
        event.clear()
