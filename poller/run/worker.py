"""One worker on one table's stream: its loops look, discover, renew, read, deliver and checkpoint, until it leaves."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from poller.decide.retry import Backoff
from poller.decide.trouble import Trouble
from poller.errors import AwsError, DeadlinePassed, LeaseConflict, NotFound, PollerError, Throttled, Unavailable
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
    `discovery_s`, while there are none; a disabled stream's successor is looked for every `successor_s`. On an empty
    lease table that others may have found as well, the first listing comes within `bootstrap_s`. A lease on its way to
    another worker is settled for `drain_s` at most. A leaving worker reads on for `seek_s` at most, until others have
    claimed its leases; it has `drain_s` to settle what is in flight and `farewell_s` each for the last checkpoints and
    for giving the leases back; everything is over within `leave_s`.
    """

    checkpoint_s: float
    discovery_s: float
    children_first_s: float = 0.25
    successor_s: float = 5.0
    bootstrap_s: float = 1.0
    seek_s: float = 4.7
    drain_s: float = 4.0
    farewell_s: float = 2.5
    leave_s: float = 9.0


# DescribeStream allows 10 calls a second for an account and region; other programs and people want some of them. The
# worker that lists for all has the larger part, the others share the rest among them for the children of their shards.
DESCRIBE_PER_S = 8.0
_DESCRIBE_LISTING_PER_S = 5.0
_DESCRIBE_OTHERS_PER_S = 3.0
# How often a worker that has finished a shard asks for its children by itself, ever later, before it leaves that to the
# worker that lists for all: two minutes in all.
_CHILDREN_TRIES = 10
# In a fleet the questions for the children of shards that end at the same moment are spread over this time at most.
_CHILDREN_SPREAD_S = 2.0
# Shards of one worker that end within this time are part of a roll-over of many.
_ROLL_OVER_S = 5.0
_LOOK_AGAIN_S = 0.5
# The first requests of a worker's shards are spread over this much time a shard, up to the longest pause between polls.
_SPREAD_A_SHARD_S = 0.01


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
        self._reading = reading
        self._pace = pace
        self._shard_limiter = shard_limiter
        self._remake_table = remake_table
        self._made_table = made_table
        self._clock = clock
        self._emit = emit
        self._rng = rng
        self._rows: dict[str, Lease] = {}
        self._readers: dict[str, tuple[ShardReader, asyncio.Task[None]]] = {}
        self._look_now = asyncio.Event()
        self._discover_now = asyncio.Event()
        self._looked = asyncio.Event()
        self._look_lock = asyncio.Lock()
        self._children_missing = False
        self._childless: dict[str, int] = {}
        self._ends: deque[float] = deque()
        self._must_list = False
        self._lists = False
        self._listed_at = -math.inf
        self._list_by = 0.0
        self._leaving = False
        self._handing_over: set[asyncio.Task[None]] = set()
        self._trouble = Trouble()
        self._group: asyncio.TaskGroup | None = None
        keeper.on_taken = self._start_reader
        keeper.on_over = self._stop_reader
        keeper.on_claimed = self._begin_hand_over

    async def run(self, stop: asyncio.Event) -> bool:
        """Works until `stop` is set, then leaves in order; True if everything in flight was settled by then.

        Raises (an ExceptionGroup) only what nobody foresaw. The leases then lapse by themselves, and nothing is lost.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self.keeper.spawn = group.create_task
                loops = [group.create_task(self._looking()), group.create_task(self._discovering())]
                renewing = group.create_task(self._renewing())
                service = [renewing, group.create_task(self._checkpointing())]
                service += [group.create_task(delivery.run()) for delivery in self.deliveries]
                await stop.wait()
                began, self._leaving = self._clock.monotonic(), True
                await self._bounded(_LOOK_AGAIN_S, [self._calm()])
                for task in loops:
                    task.cancel()
                clean = await self._leave(began, renewing)
                for task in (*service, *self._handing_over, *(task for _, task in self._readers.values())):
                    task.cancel()
        finally:
            for tenure in list(self.keeper.tenures.values()):
                self.keeper.end(tenure, "unreleased")
        return clean

    # --- looking, discovering -----------------------------------------------------------------------------------------

    async def _looking(self) -> None:
        while True:
            await self._wait(self._look_now, await self.look())

    async def _calm(self) -> bool:
        """Returns when no look is under way: one that is cut off may leave leases taken that nobody reads."""
        async with self._look_lock:
            return True

    async def look(self) -> float:
        """One look at the lease table, and what follows from it; how long until the next."""
        async with self._look_lock:
            if self._leaving:
                return self.keeper.look_every_s
            try:
                self._rows = await self.keeper.look()
            except AwsError as error:  # the keeper has said so
                if isinstance(error, NotFound):
                    await self._remake()
                return min(1.0, self.keeper.limits.look_every_s)
            if await self._placed():
                return _LOOK_AGAIN_S  # what was found out stands in the rows now
            if not self._looked.is_set():
                self.follower.begin(self._rows.values())
            rows = self.follower.rows(self._rows.values())
            if self.follower.over(rows, self._rows.values()) and await self._close_rows(rows):
                self.follower.switch()
                self._must_list = not self.follower.rows(self._rows.values())
                self._discover_now.set()
                rows = self.follower.rows(self._rows.values())
            self.follower.discovery.remember(rows)
            await self.keeper.balance(rows, self.follower.stages(rows))
            self._see_to_discovery(rows)
            self._looked.set()
            return self.keeper.look_every_s

    async def _placed(self) -> bool:
        """Are there rows that name no stream, and is something found out about them, or to be found out yet?"""
        unplaced = self.follower.unplaced(self._rows.values())
        try:
            if unplaced:
                await self.follower.place(unplaced)
        except (Throttled, Unavailable, LeaseConflict):
            pass  # asked again in a moment
        except AwsError as error:
            self._say_discovery_failed(error, self.keeper.look_every_s)
            return False  # nothing will change that soon, and the other shards must be read
        return bool(unplaced)

    def _see_to_discovery(self, rows: Mapping[str, Lease]) -> None:
        """Who lists the stream's shards, and what the rows leave open that only a listing tells."""
        plan = self.keeper.plan
        rest = max(1, plan.workers - 1)
        others_per_s = _DESCRIBE_OTHERS_PER_S / rest
        listing_per_s = _DESCRIBE_LISTING_PER_S if plan.peers else DESCRIBE_PER_S
        if not self.follower.discovery.beginning:
            self.follower.set_describe_rate(listing_per_s if plan.lists else others_per_s)
        missing, self._children_missing = self._children_missing, plan.lists and self.follower.children_missing(rows)
        listed_before, self._lists = self._lists, plan.lists
        taken_on = (
            plan.lists and not listed_before and self._clock.monotonic() - self._listed_at > self._pace.discovery_s / 2
        )
        if taken_on or (self._children_missing and not missing):
            self._discover_now.set()
        if self.follower.must_list(rows, self._rows.values()):
            self._list_myself()

    def _list_myself(self) -> None:
        """Something can only be told by a listing, whoever lists for the others."""
        if not self._must_list:
            self._must_list = True
            self._discover_now.set()

    async def _remake(self) -> None:
        """The lease table was deleted. Its places are lost; the stream is read again as far back as it goes."""
        if self._remake_table is None:
            return
        with suppress(PollerError):  # tried again at the next look
            await self._remake_table()
            self._list_myself()

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
            tenure = tenure or await self.keeper.take_one(lease)
            if tenure is None:
                under_way = True
                continue
            reader, reading = self._readers[tenure.shard_id]
            reading.cancel()
            if not tenure.frontier.drained:
                under_way = True
                continue
            if not tenure.frontier.ended and not reader.stopped:  # a reader that stopped has said so itself
                self.follower.say_lost(tenure.lease)
            try:
                await self.keeper.checkpoint(tenure, SHARD_END)
            except (AwsError, LeaseConflict, DeadlinePassed):
                under_way = True  # whoever takes the row next says it again
            await self.keeper.release(tenure)
        return not under_way

    async def _discovering(self) -> None:
        """The first look at the table comes before the first listing: what is known is never taken for new."""
        await self._looked.wait()
        if not self._rows:
            await self._bootstrap()
        self._discover_now.clear()  # whatever has asked for it up to now
        in_vain = 0
        while True:
            wait_s = await self.discover()
            doubtful = self.keeper.plan.lists and self.follower.discovery.doubtful
            unsettled = self._children_missing or self._childless or doubtful
            in_vain = in_vain + 1 if unsettled else 0
            if in_vain:
                wait_s = min(wait_s, self._pace.children_first_s * 2.0 ** min(in_vain - 1, 20))
            await self._wait(self._discover_now, wait_s)

    async def _bootstrap(self) -> None:
        """An empty table is filled by one worker: by the first to write a row, on which all of them have their eyes.

        The one that made the table need not wait for others.
        """
        if not self._made_table:
            await self._clock.sleep(self._rng.random() * self._pace.bootstrap_s)
            await self.look()
        if self._rows:
            return
        self.follower.set_describe_rate(_DESCRIBE_OTHERS_PER_S)  # others may begin at the same moment
        try:
            lease = await self.follower.discovery.begin()
        except AwsError:
            lease = None  # listed as a whole, with all that is said of calls that fail
        if lease is None or await self.keeper.take_one(lease) is not None:
            self._must_list = True
        else:
            await self.look()  # another was quicker, and lists for all

    async def discover(self) -> float:
        """One look at the stream, if it is for this worker to have one; how long until the next.

        Should the worker whose part it is not do it, the others would never know: each looks by itself now and then,
        so that altogether they do as often as that one.
        """
        now = self._clock.monotonic()
        if not (self.keeper.plan.lists or self._must_list or (self._list_by and now >= self._list_by)):
            self._list_by = self._list_by or self._next_own_listing(now)
            return min(await self._ask_for_children(), max(0.0, self._list_by - now))
        self._list_by, self._listed_at = self._next_own_listing(now), now
        try:
            await self.follower.discover(self._seen_rows)
            await self.follower.clean_up(self._seen_rows())
        except AwsError as error:
            wait_s = _BACKOFF.wait_s(self._trouble.failures + 1, self._rng.random())
            self._say_discovery_failed(error, wait_s)
        else:
            self._trouble.worked(now)
            self._must_list = False
            wait_s = self._pace.discovery_s if self.follower.stream.enabled else self._pace.successor_s
            self._childless.clear()  # what there is of them has rows now; who lists sees that some are missing
        self._look_now.set()  # what a look that failed has listed before can be read all the same
        return min(wait_s, self._pace.discovery_s)

    def _say_discovery_failed(self, error: AwsError, retry_in_s: float) -> None:
        if self._trouble.failed(self._clock.monotonic()):
            name = self.follower.stream.table
            self._emit(DiscoveryFailed(stream=name, code=error.code, error=str(error), retry_in_s=retry_in_s))

    def _next_own_listing(self, now: float) -> float:
        return now + self._pace.discovery_s * max(1, self.keeper.plan.workers) * (1 + self._rng.random())

    async def _ask_for_children(self) -> float:
        """For the children of shards that I have finished, and that were not there yet; when to ask again at most."""
        for shard_id in list(self._childless):
            self._childless[shard_id] += 1
            with suppress(AwsError):
                children = await self.follower.children_of(shard_id, self.follower.rows(self._rows.values()))
                await self._inherit(children)
                if children:
                    self._childless.pop(shard_id, None)
            if self._childless.get(shard_id, 0) >= _CHILDREN_TRIES:
                self._childless.pop(shard_id, None)
        return self._pace.discovery_s

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

        reading = replace(self._reading, source=self.follower.source, suspect=self._list_myself)
        spread_s = _SPREAD_A_SHARD_S * (len(self._readers) + 1)
        reader = ShardReader(tenure, reading, self._shard_limiter(), closed, spread_s)
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

        Then SHARD_END. The children are mine at once, whatever the shares: nobody waits for a look at the table.
        """
        names = await self._children(tenure.shard_id)
        if names:
            await self.keeper.add_children(tenure, names)
        await self.keeper.checkpoint(tenure, SHARD_END)
        await self.keeper.release(tenure)
        self._emit(ShardFinished(stream=self.follower.stream.table, shard=tenure.shard_id, children=names))
        await self._inherit(names)
        if not names and self.follower.stream.enabled and not self._left_to_who_lists():
            self._childless[tenure.shard_id] = 0
            self._discover_now.set()
        self._look_now.set()

    async def _children(self, shard_id: str) -> tuple[str, ...]:
        """The shard's children, asked for by name; in a roll-over of many shards what the table shows of them."""
        self._ends.append(self._clock.monotonic())
        plan = self.keeper.plan
        if plan.peers:
            await self._clock.sleep(self._rng.random() * min(_CHILDREN_SPREAD_S, plan.workers / DESCRIBE_PER_S))
        rows = self.follower.rows(self._rows.values())
        if self._left_to_who_lists():
            return self.follower.known_children(shard_id, rows)
        return await self.follower.children_of(shard_id, rows)

    def _left_to_who_lists(self) -> bool:
        """In a fleet whose shards roll over all at once, only who lists for all has the allowance of calls for it.

        The others ask for as many as their part of the allowance lets them; of a large fleet, for one each.
        """
        plan, now = self.keeper.plan, self._clock.monotonic()
        while self._ends and now - self._ends[0] > _ROLL_OVER_S:
            self._ends.popleft()
        part = int(_DESCRIBE_OTHERS_PER_S * _ROLL_OVER_S / max(1, plan.workers - 1))
        return plan.peers and not plan.lists and len(self._ends) > max(1, part)

    async def _inherit(self, shard_ids: Iterable[str]) -> None:
        if not self._leaving:
            await asyncio.gather(*(self.keeper.inherit(shard_id) for shard_id in shard_ids))

    # --- handing over -------------------------------------------------------------------------------------------------

    def _begin_hand_over(self, tenure: Tenure) -> None:
        if self._group is None:
            raise RuntimeError("leases are held only by the loops of run()")
        task = self._group.create_task(self._hand_over(tenure))
        self._handing_over.add(task)
        task.add_done_callback(self._handing_over.discard)

    async def _hand_over(self, tenure: Tenure) -> None:
        """Another worker is to have the lease: what was read is settled and checkpointed first, as far as it can be."""
        if tenure.over or tenure.frontier.ended:
            return  # its reader is about to finish it, and there is nothing to hand over but its children
        self._readers[tenure.shard_id][1].cancel()
        await self._bounded(self._pace.drain_s, [self._drain(tenure)])
        failures = 0
        while not await self._checkpoint(tenure) and tenure.valid(self._clock.monotonic()):
            failures += 1
            await self._clock.sleep(_BACKOFF.wait_s(failures, self._rng.random()))
        await self.keeper.release(tenure)

    # --- keeping ------------------------------------------------------------------------------------------------------

    async def _renewing(self) -> None:
        tick_s = min(0.5, self.keeper.limits.duration_s / 20)
        while True:
            self.keeper.renew_due()
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
        if tenure.released or checkpoint == tenure.lease.checkpoint:
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

    async def _leave(self, began: float, renewing: asyncio.Task[None]) -> bool:
        """Hands over, stops reading, settles what is in flight, checkpoints, gives the leases back. Each is bounded."""
        if self.keeper.plan.peers and self.keeper.tenures:
            await self._seek_successors(began + self._pace.seek_s)
        tenures = list(self.keeper.tenures.values())
        self.keeper.part_with(tenures)
        for reader, task in self._readers.values():
            if not reader.tenure.frontier.ended:
                task.cancel()
        left_s = self._pace.leave_s - (self._clock.monotonic() - began)
        farewell_s = min(self._pace.farewell_s, left_s / 4)
        drain_s = min(self._pace.drain_s, left_s - 2 * farewell_s)
        drained = await self._bounded(drain_s, [self._drain(tenure) for tenure in tenures])
        written = await self._bounded(farewell_s, [self._checkpoint(tenure) for tenure in tenures])
        # Nothing is sent any more: what lapses now is given back all the same.
        renewing.cancel()
        self.keeper.stop_renewing()
        released = await self._bounded(farewell_s, [self._give_back(tenure) for tenure in tenures])
        return drained and written and released

    async def _seek_successors(self, until: float) -> None:
        """Reads on until others have claimed what is mine, and hands over each lease as it is claimed."""
        await asyncio.gather(*(self.keeper.seek_successor(tenure) for tenure in list(self.keeper.tenures.values())))
        while self.keeper.tenures and self._clock.monotonic() < until:
            await self._clock.sleep(_LOOK_AGAIN_S)
            with suppress(AwsError, TimeoutError):  # asked again, or given back without a successor
                async with asyncio.timeout(max(0.0, until - self._clock.monotonic())):
                    await self.keeper.look()

    async def _give_back(self, tenure: Tenure) -> bool:
        return tenure.released or await self.keeper.release(tenure)

    async def _drain(self, tenure: Tenure) -> bool:
        await tenure.drained()
        return not tenure.over or tenure.released

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
