"""Who looks for new shards, and when: one worker for the whole fleet, the others only for what concerns them."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from poller.decide.balance import LeasePlan
from poller.decide.retry import Backoff
from poller.decide.trouble import Trouble
from poller.errors import AwsError
from poller.events import DiscoveryFailed, DiscoveryRecovered, Emit, LookFailed
from poller.model import Lease
from poller.run.follow import Follower
from poller.run.pace import Pace
from poller.run.ports import Clock
from poller.run.waiting import wait_for

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
_BACKOFF = Backoff(first_s=0.2, max_s=5.0)


class Board(Protocol):
    """What the census needs of the worker that looks at the lease table."""

    @property
    def rows(self) -> Mapping[str, Lease]:
        """The table as last seen."""

    @property
    def plan(self) -> LeasePlan:
        """What followed from that."""

    async def look(self) -> float:
        """Looks at the table now."""

    def look_soon(self) -> None:
        """Something in the table must have changed."""

    async def take_first(self, lease: Lease) -> bool:
        """Takes the row with which a table begins."""


class Census:
    """The look for the stream's shards.

    `made_table`: this process has just made the lease table, so that nobody else can have come before. `on_late`:
    children of a shard that I have finished have turned up.
    """

    def __init__(
        self,
        follower: Follower,
        board: Board,
        pace: Pace,
        *,
        made_table: bool,
        clock: Clock,
        emit: Emit,
        rng: random.Random,
    ) -> None:
        self.on_late: Callable[[Iterable[str]], Awaitable[None]] = _ignore
        self._follower = follower
        self._board = board
        self._pace = pace
        self._made_table = made_table
        self._clock = clock
        self._emit = emit
        self._rng = rng
        self._now = asyncio.Event()
        self._trouble = Trouble()
        self._misplaced = Trouble()
        self._children_missing = False
        self._childless: dict[str, int] = {}
        self._ends: deque[float] = deque()
        self._must_list = False
        self._lists = False
        self._listed_at = -math.inf
        self._list_by = 0.0

    async def run(self, looked: asyncio.Event) -> None:
        """The first look at the table comes before the first listing: what is known is never taken for new."""
        await looked.wait()
        if not self._board.rows:
            await self._bootstrap()
        self._now.clear()  # whatever has asked for it up to now
        in_vain = 0
        while True:
            wait_s = await self.discover()
            doubtful = self._board.plan.lists and self._follower.discovery.doubtful
            unsettled = self._children_missing or self._childless or doubtful
            in_vain = in_vain + 1 if unsettled else 0
            if in_vain:
                wait_s = min(wait_s, self._pace.children_first_s * 2.0 ** min(in_vain - 1, 20))
            await wait_for(self._now, wait_s)

    def note_look(self) -> None:
        """Who lists the stream's shards, and what the rows leave open that only a listing tells."""
        plan, rows = self._board.plan, self._follower.rows(self._board.rows.values())
        rest = max(1, plan.workers - 1)
        others_per_s = _DESCRIBE_OTHERS_PER_S / rest
        listing_per_s = _DESCRIBE_LISTING_PER_S if plan.peers else DESCRIBE_PER_S
        if not self._follower.discovery.beginning:
            self._follower.set_describe_rate(listing_per_s if plan.lists else others_per_s)
        missing, self._children_missing = self._children_missing, plan.lists and self._follower.children_missing(rows)
        listed_before, self._lists = self._lists, plan.lists
        taken_on = (
            plan.lists and not listed_before and self._clock.monotonic() - self._listed_at > self._pace.discovery_s / 2
        )
        if taken_on or (self._children_missing and not missing):
            self._now.set()
        if self._follower.must_list(rows, self._board.rows.values()):
            self.list_myself()

    def list_myself(self) -> None:
        """Something can only be told by a listing, whoever lists for the others."""
        if not self._must_list:
            self._must_list = True
            self._now.set()

    async def _bootstrap(self) -> None:
        """An empty table is filled by one worker: by the first to write a row, on which all of them have their eyes.

        The one that made the table need not wait for others.
        """
        if not self._made_table:
            await self._clock.sleep(self._rng.random() * self._pace.bootstrap_s)
            await self._board.look()
        if self._board.rows:
            return
        self._follower.set_describe_rate(_DESCRIBE_OTHERS_PER_S)  # others may begin at the same moment
        try:
            lease = await self._follower.discovery.begin()
        except AwsError:
            lease = None  # listed as a whole, with all that is said of calls that fail
        if lease is None or await self._board.take_first(lease):
            self._must_list = True
        else:
            await self._board.look()  # another was quicker, and lists for all

    async def discover(self) -> float:
        """One look at the stream, if it is for this worker to have one; how long until the next.

        Should the worker whose part it is not do it, the others would never know: each looks by itself now and then,
        so that altogether they do as often as that one.
        """
        now = self._clock.monotonic()
        if not (self._board.plan.lists or self._must_list or (self._list_by and now >= self._list_by)):
            self._trouble = Trouble()  # if it was one, it is for the worker that lists to have and to tell
            self._list_by = self._list_by or self._next_own_listing(now)
            return min(await self._ask_for_children(), max(0.0, self._list_by - now))
        self._list_by, self._listed_at = self._next_own_listing(now), now
        try:
            await self._follower.discover(self._table_rows)
            await self._follower.clean_up(self._table_rows())
        except AwsError as error:
            wait_s = _BACKOFF.wait_s(self._trouble.failures + 1, self._rng.random())
            self._emit(LookFailed(stream=self._follower.stream.table, code=error.code))
            self._failed(self._trouble, error, wait_s)
        else:
            self._worked(self._trouble)
            self._must_list = False
            wait_s = self._pace.discovery_s if self._follower.stream.enabled else self._pace.successor_s
            self._childless.clear()  # what there is of them has rows now; who lists sees that some are missing
        self._board.look_soon()  # what a look that failed has listed before can be read all the same
        return min(wait_s, self._pace.discovery_s)

    def _table_rows(self) -> Iterable[Lease]:
        """As last seen at the moment of asking."""
        return self._board.rows.values()

    def note_unplaced(self, error: AwsError, retry_in_s: float) -> None:
        """Of which stream a row is cannot be found out."""
        self._failed(self._misplaced, error, retry_in_s)

    def note_placed(self) -> None:
        """Of every row it is known."""
        self._worked(self._misplaced)

    def _failed(self, trouble: Trouble, error: AwsError, retry_in_s: float) -> None:
        if trouble.failed(self._clock.monotonic()):
            name = self._follower.stream.table
            self._emit(DiscoveryFailed(stream=name, code=error.code, error=str(error), retry_in_s=retry_in_s))

    def _worked(self, trouble: Trouble) -> None:
        over = trouble.worked(self._clock.monotonic())
        if over is not None:
            self._emit(DiscoveryRecovered(stream=self._follower.stream.table, failing_s=over.lasted_s))

    def _next_own_listing(self, now: float) -> float:
        return now + self._pace.discovery_s * max(1, self._board.plan.workers) * (1 + self._rng.random())

    async def _ask_for_children(self) -> float:
        """For the children of shards that I have finished, and that were not there yet; when to ask again at most."""
        for shard_id in list(self._childless):
            self._childless[shard_id] += 1
            with suppress(AwsError):
                children = await self._follower.children_of(shard_id, self._follower.rows(self._board.rows.values()))
                await self.on_late(children)
                if children:
                    self._childless.pop(shard_id, None)
            if self._childless.get(shard_id, 0) >= _CHILDREN_TRIES:
                self._childless.pop(shard_id, None)
        return self._pace.discovery_s

    async def children_of(self, shard_id: str) -> tuple[str, ...]:
        """The shard's children, asked for by name; in a roll-over of many shards what the table shows of them."""
        self._ends.append(self._clock.monotonic())
        plan = self._board.plan
        if plan.peers:
            # Not at once: meanwhile it shows whether others of its shards end as well.
            spread_s = min(_CHILDREN_SPREAD_S, plan.workers / DESCRIBE_PER_S)
            await self._clock.sleep(spread_s * (1 + self._rng.random()) / 2)
        rows = self._follower.rows(self._board.rows.values())
        if self._left_to_who_lists():
            return self._follower.known_children(shard_id, rows)
        return await self._follower.children_of(shard_id, rows)

    def _left_to_who_lists(self) -> bool:
        """In a fleet whose shards roll over all at once, only who lists for all has the allowance of calls for it.

        The others ask for as many as their part of the allowance lets them; of a large fleet, for one each.
        """
        plan, now = self._board.plan, self._clock.monotonic()
        while self._ends and now - self._ends[0] > _ROLL_OVER_S:
            self._ends.popleft()
        part = int(_DESCRIBE_OTHERS_PER_S * _ROLL_OVER_S / max(1, plan.workers - 1))
        return plan.peers and not plan.lists and len(self._ends) > max(1, part)

    def note_childless(self, shard_id: str) -> None:
        """A shard that I have finished has no children yet: they are looked for, by me or by who lists for all."""
        if self._follower.stream.enabled and not self._left_to_who_lists():
            self._childless[shard_id] = 0
            self._now.set()


async def _ignore(_shard_ids: Iterable[str]) -> None:
    """Nobody wants to know."""
