"""Who does what in the fleet: rows seen over time in, a plan for this worker out.

No clock is ever stored in the table. Every worker notes, on its own monotonic clock, when it last saw a row's counter
move. A worker of ours lives as long as any of its rows moves, since it renews only one of them in turn; of Java's
workers, which know nothing of that, every lease lives by itself (KCL's rule).
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from poller.model import Lease

T = TypeVar("T")

# How many leases may be claimed from their owners in one look: what they must settle and write meanwhile stays small.
CLAIMS_MAX = 64
# How long, in lease durations, a lease that was given back is kept for the worker that had claimed it. That one looks
# every half second; should it be gone, the others take the lease at their look after the next.
_KEPT_DURATIONS = 0.3
# A lease that stayed free this long, in lease durations, is nobody's share, it seems: others may be at their maximum.
_OVERDUE_DURATIONS = 2


@dataclass(frozen=True, slots=True)
class _Sighting:
    owner: str | None
    counter: int
    checkpoint_time_ms: int | None
    since: float

    def is_of(self, row: Lease) -> bool:
        """Has the row not moved? One that was deleted, made anew and taken may have come to the same counter."""
        return (self.owner, self.counter, self.checkpoint_time_ms) == (row.owner, row.counter, row.checkpoint_time_ms)


class Sightings:
    """When each row, and any row of each owner, was last seen to move. What is first seen counts as just moved.

    Two moments of a look count, so that an owner is never taken for silent too soon, however long a look takes: a
    movement was at the latest when the look that showed it ended; a row that has not moved had not moved when the look
    that shows it began.
    """

    def __init__(self) -> None:
        self._rows: dict[str, _Sighting] = {}
        self._owners: dict[str, float] = {}
        self._began = 0.0
        self._ended = -math.inf

    def look(self, rows: Iterable[Lease], began: float, ended: float, *, gap_max_s: float = math.inf) -> None:
        """A complete look at the table, from its first request to its last answer.

        Who has not looked for longer than `gap_max_s` knows of nobody's silence: what looks the same may have moved all
        the while, been deleted and made anew; and after an outage of the table its owners are to have it back first.
        """
        if began - self._ended > gap_max_s:
            self._rows, self._owners = {}, {}
        self._ended = ended
        seen: dict[str, _Sighting] = {}
        owners: dict[str, float] = {}
        for row in rows:
            last = self._rows.get(row.shard_id)
            if last is None or not last.is_of(row):
                last = _Sighting(row.owner, row.counter, row.checkpoint_time_ms, ended)
            seen[row.shard_id] = last
            if row.owner is not None:
                owners[row.owner] = max(last.since, owners.get(row.owner, last.since))
        # An owner may have been seen with a row that is another's by now.
        self._owners = {owner: max(since, self._owners.get(owner, since)) for owner, since in owners.items()}
        self._rows, self._began = seen, began

    def silent_for_s(self, lease: Lease) -> float:
        """For how long there was no sign of life of its owner, as the last look shows; for one without, of the row.

        0 for what no look has shown.
        """
        if lease.owner is None or lease.foreign:
            sighting = self._rows.get(lease.shard_id)
            since = self._began if sighting is None else sighting.since
        else:
            since = self._owners.get(lease.owner, self._began)
        return max(0.0, self._began - since)

    def expired(self, lease: Lease, duration_s: float) -> bool:
        """Is its owner gone? False for a lease that has none."""
        return lease.owner is not None and self.silent_for_s(lease) > duration_s

    def next_expiry(self, duration_s: float, *, now: float, me: str) -> float:
        """When the next of the other owners is gone, should nothing of it move until then; infinity without others."""
        expiries = (since + duration_s for owner, since in self._owners.items() if owner != me)
        return min((expiry for expiry in expiries if expiry > now), default=math.inf)


@dataclass(frozen=True, slots=True)
class Take:
    """Take this lease. `reason`: unowned; expired; handed_over (I had claimed it); returned (it bears my name).

    Or inherited: I have finished its parent.
    """

    lease: Lease
    reason: str


@dataclass(frozen=True, slots=True)
class LeasePlan:
    """What to do now, in the order in which to try.

    `take`: leases that are nobody's; `claim`: leases that living workers are to hand over to me; `release`: leases
    that bear my name, that I do not hold and shall not. `workers`: how many are alive and stay, me included; `foreign`:
    a worker of Java's is among them; `peers`: others of ours are; `lists`: it is for me to look for new shards.
    """

    take: tuple[Take, ...]
    claim: tuple[Lease, ...]
    release: tuple[Lease, ...]
    workers: int
    foreign: bool
    peers: bool
    lists: bool


@dataclass(frozen=True, slots=True)
class BalanceLimits:
    """`duration_s`: how long a lease lasts without a sign of life; `max_leases`: how many a worker holds at most."""

    duration_s: float
    max_leases: int | None = None


def plan_leases(
    rows: Mapping[str, Lease],
    sightings: Sightings,
    limits: BalanceLimits,
    *,
    me: str,
    readable: Sequence[str],
    held: frozenset[str],
    rng: random.Random,
) -> LeasePlan:
    """My part of the leases, from a complete look at the table.

    `readable`: the shards that may be read (not finished, parents finished): only they are anybody's load. `held`:
    those in my hands. `me` is a name that no other process bears.

    A worker's share is all readable leases over the living workers. What is nobody's is taken up to the share, rounded
    up. Leases of living workers are never taken: they are claimed, and their owner hands them over once everything that
    it has read of them is settled. From a leaving worker up to the share rounded up; from others only what they have
    beyond the share and I have not: every such move makes the loads more even, so that they end, and then nothing
    moves. All workers see the same surplus, sorted by name, and a lease is promised once: however many claim, no owner
    ends below its share. Which of it each claims is random, as is what is taken of the free ones beyond those that fall
    to me by name, so that workers that look at the same moment seldom collide.
    """
    fleet = _Fleet(rows, sightings, limits, me=me, readable=readable, held=held)
    have = fleet.loads[me]
    room = len(rows) if limits.max_leases is None else limits.max_leases - have
    surely, release = fleet.mine[: max(0, room)], fleet.mine[max(0, room) :]
    have, room = have + len(surely), room - len(surely)
    overdue = _some(fleet.overdue, -(-len(fleet.overdue) // fleet.count), rng)
    free = fleet.part_of_free(fleet.share_up - have - len(overdue), rng)
    takes = [*overdue, *free][: max(0, room)]
    have, room = have + len(takes), room - len(takes)
    claims = _claims(fleet, have, min(room, CLAIMS_MAX), rng)
    return LeasePlan(
        take=(*surely, *takes),
        claim=tuple(claims),
        release=(*(take.lease for take in release), *fleet.left_behind),
        workers=fleet.count,
        foreign=fleet.foreign,
        peers=fleet.peers,
        lists=fleet.lists,
    )


def _claims(fleet: _Fleet, have: int, at_most: int, rng: random.Random) -> list[Lease]:
    """What to claim: what leaving workers seek a successor for; then what others have too much of and I too little."""
    claims = _some(fleet.sought, min(at_most, fleet.part_of_sought - have), rng)
    have, at_most = have + len(claims), at_most - len(claims)
    # Who has more than the share rounded up comes first: its surplus must move in any case.
    beyond_up, beyond_down = fleet.surplus(fleet.share_up), fleet.surplus(fleet.share_down)
    if have < fleet.share_down:
        missing = min(at_most, fleet.share_down - have)
        claims += (chosen := _some(beyond_up, missing, rng))
        rest = [lease for lease in beyond_down if lease not in chosen]
        claims += _some(rest, missing - len(chosen), rng)
    elif have < fleet.share_up:
        claims += _some(beyond_up, min(at_most, 1), rng)
    return claims


class _Fleet:
    """What a look at the table shows of the fleet, seen by one of its workers.

    `loads`: how many readable leases each living worker has, or has been promised; of mine, only what I hold already or
    have claimed. `mine`: to be taken whatever the shares; `left_behind`: under my name, and promised to others.
    """

    def __init__(
        self,
        rows: Mapping[str, Lease],
        sightings: Sightings,
        limits: BalanceLimits,
        *,
        me: str,
        readable: Sequence[str],
        held: frozenset[str],
    ) -> None:
        self.loads: Counter[str] = Counter()
        self.mine: list[Take] = []
        self.left_behind: list[Lease] = []
        self.free: list[Take] = []
        self.overdue: list[Take] = []
        self.sought: list[Lease] = []
        self._me = me
        self._owned: defaultdict[str, list[Lease]] = defaultdict(list)
        self._sightings = sightings
        self._limits = limits
        staying, foreign = {me}, set[str]()
        for row in rows.values():
            if row.owner is None or row.finished or sightings.expired(row, limits.duration_s):
                continue
            if row.foreign:
                foreign.add(row.owner)
            if row.heir is None and not row.sought:
                staying.add(row.owner)
        for shard_id in readable:
            self._sort_in(rows[shard_id], shard_id in held)
        heirs = {name for name in self.loads if name not in staying}
        self.foreign = bool(foreign)
        self.count = len(staying | heirs)
        self._staying = staying | heirs
        self.share_up, self.share_down = -(-len(readable) // self.count), len(readable) // self.count
        # A worker that holds nothing is seen by nobody, and leaves the listing to those that all can see. Where nobody
        # holds anything yet, and there is something to take, the next look shows who does.
        ours = staying - foreign - (set() if held else {me})
        self.lists = me == min(ours) if ours else not (self.mine or self.free or self.overdue)
        self.peers = bool((ours | heirs) - {me})

    def _sort_in(self, lease: Lease, held: bool) -> None:
        """One readable lease: whose it is, or is to be."""
        me, heir = self._me, lease.heir
        silent = self._sightings.silent_for_s(lease) / self._limits.duration_s
        if held:
            self.loads[heir or me] += 1
        elif lease.owner is None and heir == me:
            self.mine.append(Take(lease, "handed_over"))
        elif lease.owner is None and heir is not None and silent < _KEPT_DURATIONS:
            self.loads[heir] += 1
        elif lease.owner is None:
            (self.overdue if silent > _OVERDUE_DURATIONS else self.free).append(Take(lease, "unowned"))
        elif lease.owner == me and heir not in (None, me):
            self.left_behind.append(lease)
        elif lease.owner == me:
            self.mine.append(Take(lease, "returned"))
        elif silent > 1:
            (self.overdue if silent > 1 + _OVERDUE_DURATIONS else self.free).append(Take(lease, "expired"))
        elif lease.sought:
            self.sought.append(lease)
        else:
            self.loads[heir or lease.owner] += 1
            if heir is None and not lease.foreign:
                self._owned[lease.owner].append(lease)

    def part_of_free(self, at_most: int, rng: random.Random) -> list[Take]:
        """At most so many of the free leases: first those that fall to me if all deal them out by name, as they see it.

        When a worker dies the others look at the same moment, and none of its leases is left to a second look.
        """
        dealt = sorted(self.free, key=lambda take: take.lease.shard_id)
        seat = sorted(self._staying).index(self._me)
        mine = dealt[seat :: self.count]
        others = [take for number, take in enumerate(dealt) if number % self.count != seat]
        chosen = _some(mine, at_most, rng)
        return [*chosen, *_some(others, at_most - len(chosen), rng)]

    @property
    def part_of_sought(self) -> int:
        """How many leases I should have once those of leaving workers are with others.

        The share rounded down, and one more if some are left then and it is for me to have it: all see the same loads,
        and the first names come first.
        """
        missing = sum(max(0, self.share_down - self.loads[worker]) for worker in self._staying)
        left = len(self.sought) - missing
        even = sorted(worker for worker in self._staying if self.loads[worker] <= self.share_down)
        return self.share_down + (1 if self._me in even[: max(0, left)] else 0)

    def surplus(self, share: int) -> list[Lease]:
        """The leases that living workers of ours have beyond the share. The same for everybody who looks."""
        beyond: list[Lease] = []
        for owner, leases in self._owned.items():
            count = min(len(leases), self.loads[owner] - share)
            if count > 0:
                beyond += sorted(leases, key=lambda lease: lease.shard_id)[-count:]
        return beyond


def _some(things: Sequence[T], at_most: int, rng: random.Random) -> list[T]:
    """At most so many of them, in random order."""
    return rng.sample(things, max(0, min(at_most, len(things))))
