"""Discovery: from the stream's shards to rows in the lease table, and from an old stream to the one that replaced it.

Nothing is all or nothing here: each failing call is tried again alone, and what a listing has shown so far is kept.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from poller.decide.lineage import Start, below, new_leases, removable, start_of, unexplained_parents
from poller.decide.retry import Backoff
from poller.errors import AwsError, DataTrimmed, InvalidRequest, LeaseConflict, NotFound, Unavailable
from poller.events import Discovered, Emit, LeaseOperation
from poller.model import LATEST, TRIM_HORIZON, Lease, Position, Shard, ShardPage, StreamInfo
from poller.run.ports import Clock, LeaseTable, Limiter, StreamSource

T = TypeVar("T")

# A page that fails this often in a row ends the look; the next one goes on from what is known.
_TRIES_A_CALL = 6
_BACKOFF = Backoff(first_s=0.1, max_s=2.0)
# A shard that this many complete listings in a row leave out was trimmed; one listing may be inconsistent.
_LISTINGS_TO_FORGET = 3
# How long a shard that exists and is not listed may keep the shards below it waiting. Not so many looks: when many
# shards end at once there are many of those in a second.
_HIDDEN_S = 8.0
# How long after the first start's instant a listing may still tell what had ended by then. A later one may show shards
# that have begun and ended since, and whose records are wanted.
_PROMPT_S = 5.0
_CREATES_AT_ONCE = 16
_ASKED_AT_ONCE = 8
# How many finished rows are looked after in one look at the stream: each costs a call, and none is urgent.
_REMOVED_A_LOOK = 20
_FIRST_CANDIDATES = 5
# A row's counter begins anywhere (KCL's begins at 0; all ask only whether it is the same): should the row be deleted
# and made anew, a write that was sent before and arrives late must not find the counter that it asks for. At most 53
# bits are exact in JSON.
_COUNTER_BITS = 48


class Discovery:
    """The shards of one stream, as far as they are known, and the rows that they need.

    `shards` only grows from what pages show (a closed shard stays closed, whatever a stale page says) and forgets what
    several complete listings no longer have. `listed_from`: when the last complete one began. `doubtful`: the last look
    left shards aside of which too little is known, and another one is worth while soon. `left`: another stream is read
    by now, and no more rows are made of this one.
    """

    def __init__(
        self,
        stream: StreamInfo,
        source: StreamSource,
        table: LeaseTable,
        start: Start,
        *,
        describe_limiter: Limiter,
        clock: Clock,
        emit: Emit,
        rng: random.Random,
        on_created: Callable[[str, float], None],
    ) -> None:
        self.stream = stream
        self.shards: dict[str, Shard] = {}
        self.listed_once = False
        self.doubtful = False
        self._source = source
        self._table = table
        self._start = start
        self._limiter = describe_limiter
        self._clock = clock
        self._emit = emit
        self._rng = rng
        self._on_created = on_created
        self.left = False  # this worker has gone on with the next stream
        self.followed = False  # some worker has
        self._beginning: Start | None = None
        self._first_row: dict[str, Lease] = {}
        self._listing = asyncio.Lock()
        self.listed_from = -math.inf
        self._served_at_s: float | None = None
        self._asked_at = self._instant_at = -math.inf
        self._pages = 1
        self._asking_children = 0
        self._gone: dict[str, int] = {}
        self._absent: dict[str, int] = {}
        self._trimmed: set[str] = set()
        self._hidden: dict[str, float] = {}

    async def look(self, rows: Callable[[], dict[str, Lease]]) -> int:
        """Lists the stream, then creates the rows that are missing; how many.

        `rows` gives the stream's rows as last seen, and is called after the listing, which tells which of them are the
        stream's. They may be somewhat old: a row is only ever created where there is none.
        Raises NotFound (the stream is gone) or, after several tries, what else the call that failed raised; by then the
        rows for what the listing did show are made.
        """
        began = self._clock.monotonic()
        failure: AwsError | None = None
        try:
            await self._list_together()
        except NotFound:
            raise
        except AwsError as error:
            failure = error
        created = await self._create_missing(self._first_row | rows())
        self._beginning, self._first_row = None, {}
        if failure is not None:
            raise failure
        seconds = self._clock.monotonic() - began
        self._emit(Discovered(stream=self.stream.table, shards=len(self.shards), created=created, seconds=seconds))
        return created

    @property
    def beginning(self) -> bool:
        """Has this process filled an empty table's first row, and not listed the rest yet?"""
        return self._beginning is not None

    async def begin(self) -> Lease | None:
        """On an empty table: makes the row of one shard that the first page shows; whoever makes it lists the rest.

        All workers choose the same one. None: there is none of which enough is known from a page. Returned is the row
        also if it was there already: whoever takes it then has it. Raises AwsError.
        """
        page = await self._describe(None)
        self._learn(page.shards)
        self.stream, self._served_at_s = page.stream, page.served_at_s
        start = self._start_in_force({})
        listed = {shard.shard_id for shard in page.shards}
        # At LATEST a closed shard may have children further on, which would tell that nothing in it is wanted.
        candidates = [shard for shard in page.shards if not (shard.closed and start.checkpoint == LATEST)]
        for shard in candidates[:_FIRST_CANDIDATES]:
            if shard.parent_id in listed or (shard.parent_id and not await self._is_trimmed(shard.parent_id)):
                continue
            (lease,) = self._new_leases({shard.shard_id: shard}, {}, start)
            if await self._create(lease, asyncio.Semaphore(1)):
                self._beginning = start
            self._first_row = {lease.shard_id: lease}
            return lease
        return None

    @property
    def absent(self) -> Set[str]:
        """Known shards that the last complete listing has left out."""
        return self._absent.keys()

    def remember(self, rows: Mapping[str, Lease]) -> None:
        """Should the rows be deleted one day, the start that they tell of is still what the first start meant."""
        if rows and self._start.checkpoint == LATEST:
            self._start = start_of(rows.values(), self._start)

    async def children_of(self, shard_id: str) -> tuple[Shard, ...]:
        """The children of one shard, asked for by name; known shards where the server has no such filter.

        When many shards end at once, one listing tells of all their children in fewer calls. Empty: none is listed yet,
        which may mean that there are none (a disabled stream) or that they are late.
        """
        self._asking_children += 1
        try:
            if self._asking_children > self._pages:
                await self._list_together()
            else:
                self._learn(await self._asking(lambda: self._source.children(shard_id)))
        except InvalidRequest:
            await self._list_together()
        finally:
            self._asking_children -= 1
        return self.known_children(shard_id)

    def known_children(self, shard_id: str) -> tuple[Shard, ...]:
        """Those that some answer has shown."""
        return tuple(shard for shard in self.shards.values() if shard.parent_id == shard_id)

    async def create(self, rows: Mapping[str, Lease]) -> int:
        """Creates the rows that the known shards need beside these; how many."""
        return await self._create_missing(rows)

    async def clean_up(self, rows: Mapping[str, Lease], superseded: Iterable[Lease]) -> int:
        """Deletes rows that are of no use any more; how many.

        They are those of earlier streams (`superseded`), and finished ones whose shards the stream does not have any
        more: not listed, and not found by name, three looks in a row. Each call that fails is left for the next look,
        and with it what follows of `superseded`, whose order counts.
        """
        candidates = removable(rows, self.shards)
        self._gone = {lease.shard_id: self._gone.get(lease.shard_id, 0) for lease in candidates}
        gone = [lease for lease in candidates[:_REMOVED_A_LOOK] if await self._is_gone(lease.shard_id)]
        deleted = sum([await self._delete(lease) for lease in gone])
        for lease in islice(superseded, _REMOVED_A_LOOK - len(gone)):
            if not await self._delete(lease):
                break
            deleted += 1
        return deleted

    async def _is_gone(self, shard_id: str) -> bool:
        try:
            await self._source.iterator(shard_id, Position(TRIM_HORIZON))
        except (NotFound, DataTrimmed):
            self._gone[shard_id] += 1
        except AwsError:
            return False
        else:
            self._gone[shard_id] = 0
        return self._gone[shard_id] >= _LISTINGS_TO_FORGET

    async def _delete(self, lease: Lease) -> bool:
        result = "error"
        try:
            await self._table.delete(lease)
            result = "ok"
        except LeaseConflict:
            result = "conflict"
        except AwsError:
            pass
        finally:
            self._emit(LeaseOperation(stream=self.stream.table, operation="delete", result=result))
        return result == "ok"

    async def _list_together(self) -> None:
        """A complete listing that has begun after it was asked for, shared by all who ask meanwhile."""
        asked = self._clock.monotonic()
        async with self._listing:
            if self.listed_from < asked:
                began = self._clock.monotonic()
                await self._list()
                self.listed_from = began

    async def _list(self) -> None:
        listed: set[str] = set()
        after: str | None = None
        pages = 0
        while True:
            page = await self._describe(after)
            pages += 1
            self._learn(page.shards)
            listed.update(shard.shard_id for shard in page.shards)
            self._served_at_s = page.served_at_s
            self.stream = page.stream
            if page.last_shard_id is None or page.last_shard_id == after:
                break
            after = page.last_shard_id
        self._forget(listed)
        self.listed_once, self._pages = True, pages

    async def _describe(self, after_shard_id: str | None) -> ShardPage:
        async def ask() -> ShardPage:
            self._asked_at = self._clock.monotonic()
            return await self._source.describe(after_shard_id)

        return await self._asking(ask)

    def _learn(self, shards: tuple[Shard, ...]) -> None:
        for shard in shards:
            known = self.shards.get(shard.shard_id)
            if known is None:
                self.shards[shard.shard_id] = shard
            elif (known.closed, known.parent_id) != (shard.closed, shard.parent_id):
                self.shards[shard.shard_id] = Shard(
                    shard.shard_id, shard.parent_id or known.parent_id, closed=shard.closed or known.closed
                )

    def _forget(self, listed: set[str]) -> None:
        for shard_id in list(self.shards):
            if shard_id in listed:
                self._absent.pop(shard_id, None)
                continue
            self._absent[shard_id] = self._absent.get(shard_id, 0) + 1
            if self._absent[shard_id] >= _LISTINGS_TO_FORGET:
                del self.shards[shard_id], self._absent[shard_id]

    async def _create_missing(self, rows: Mapping[str, Lease]) -> int:
        known = dict(self.shards)  # of what is learned while parents are asked for nothing is explained yet
        doubtful = await self._explain_parents(known, rows)
        uncertain = below(doubtful, known, rows)
        certain = {shard_id: shard for shard_id, shard in known.items() if shard_id not in uncertain}
        wanted = self._new_leases(certain, rows, self._start_in_force(rows))
        created = 0
        limit = asyncio.Semaphore(_CREATES_AT_ONCE)
        # Parents first, generation by generation: a child's row whose parent has none looks like an orphan's, which may
        # start at once.
        for generation in _generations(wanted):
            created += sum(await asyncio.gather(*(self._create(lease, limit) for lease in generation)))
        return created

    def _new_leases(self, shards: Mapping[str, Shard], rows: Mapping[str, Lease], start: Start) -> tuple[Lease, ...]:
        leases = new_leases(
            shards, rows, start, stream_arn=self.stream.arn, trimmed=self._trimmed, followed=self.followed
        )
        return tuple(replace(lease, counter=self._rng.getrandbits(_COUNTER_BITS)) for lease in leases)

    async def _create(self, lease: Lease, limit: asyncio.Semaphore) -> bool:
        async with limit:
            if self.left:
                return False
            created = await self._asking(lambda: self._put(lease), limited=False)
        if created:
            self._on_created(lease.shard_id, self._instant_at)
        return created

    async def _put(self, lease: Lease) -> bool:
        result = "error"
        try:
            created = await self._table.create(lease)
            result = "ok" if created else "conflict"
        except NotFound as error:
            # The lease table is away: of the stream, which may be gone as well, that says nothing.
            raise Unavailable(
                str(error), operation=error.operation, resource=error.resource, code=error.code, answered=True
            ) from error
        finally:
            self._emit(LeaseOperation(stream=self.stream.table, operation="create", result=result))
        return created

    def _start_in_force(self, rows: Mapping[str, Lease]) -> Start:
        """What the rows say, else the start asked for; LATEST only at the first look, whose instant it stands for."""
        if self._beginning is not None:  # the row that there is was made by this very look
            late = self._beginning.checkpoint == LATEST and self._asked_at > self._instant_at + _PROMPT_S
            return Start(TRIM_HORIZON, self._beginning.time_ms) if late else self._beginning
        start = start_of(rows.values(), self._start)
        if start.checkpoint == LATEST:
            # On the service's clock, since records' creation times are compared with it.
            now_s = self._clock.wall() if self._served_at_s is None else self._served_at_s
            self._instant_at = self._asked_at
            start = Start(LATEST, int(now_s * 1000))
            self._start = Start(TRIM_HORIZON, start.time_ms)
        return start

    async def _explain_parents(self, known: dict[str, Shard], rows: Mapping[str, Lease]) -> frozenset[str]:
        """Asks for parents that no listing shows; returns those about which there is no certain answer yet.

        A parent that can be read was only left out of the listing. Its own parent is not known then, so the shards
        below it wait for a listing that shows it, for some seconds; after those it is taken for a root, and known.
        """
        unexplained = sorted(unexplained_parents(known, rows))
        limit = asyncio.Semaphore(_ASKED_AT_ONCE)
        certain = await asyncio.gather(*(self._explain(parent_id, limit) for parent_id in unexplained))
        doubtful = {parent for parent, is_certain in zip(unexplained, certain, strict=True) if not is_certain}
        for parent in unexplained:
            shard = self.shards.get(parent)
            if shard is not None and shard.parent_id is None:
                known[parent] = shard
            elif shard is not None:
                doubtful.add(parent)  # a listing has shown it meanwhile, below a parent of its own
        self.doubtful = bool(doubtful)
        return frozenset(doubtful)

    async def _explain(self, parent_id: str, limit: asyncio.Semaphore) -> bool:
        """Is there a certain answer about a parent that no listing shows?"""
        try:
            async with limit:
                if await self._is_trimmed(parent_id):
                    return True
        except AwsError:
            return False
        # What counts is a listing that was made so long after: there may have been none meanwhile.
        if self.listed_from < self._hidden.setdefault(parent_id, self._clock.monotonic()) + _HIDDEN_S:
            return False
        self._learn((Shard(parent_id, None, closed=True),))
        return True

    async def _is_trimmed(self, shard_id: str) -> bool:
        """Is the shard gone, of which no listing tells? Raises AwsError: nobody knows."""
        if shard_id not in self._trimmed:
            try:
                await self._source.iterator(shard_id, Position(TRIM_HORIZON))
            except (NotFound, DataTrimmed):
                self._trimmed.add(shard_id)
        return shard_id in self._trimmed

    async def _asking(self, call: Callable[[], Awaitable[T]], *, limited: bool = True) -> T:
        """One call, tried again by itself; what will not change by asking again is raised at once."""
        failures = 0
        while True:
            if limited:
                await self._limiter.acquire()
            try:
                return await call()
            except (NotFound, InvalidRequest):
                raise
            except AwsError:
                failures += 1
                if failures >= _TRIES_A_CALL:
                    raise
            await self._clock.sleep(_BACKOFF.wait_s(failures, self._rng.random()))


def _generations(leases: tuple[Lease, ...]) -> list[list[Lease]]:
    depth: dict[str, int] = {}
    generations: list[list[Lease]] = []
    for lease in leases:  # parents come before their children
        own = max((depth[parent] + 1 for parent in lease.parents if parent in depth), default=0)
        depth[lease.shard_id] = own
        if own == len(generations):
            generations.append([])
        generations[own].append(lease)
    return generations
