"""Which leases to take: rows seen over time in, a plan out.

No clock is ever stored in the table. Every worker notes, on its own monotonic clock, when it last saw a row's counter
move; a lease whose counter stood still for longer than the lease duration is expired (KCL's rule).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from poller.model import Lease


@dataclass(frozen=True, slots=True)
class _Sighting:
    owner: str | None
    counter: int
    since: float


class Sightings:
    """When each row was last seen to move. A row first seen with an owner counts as just renewed."""

    def __init__(self) -> None:
        self._rows: dict[str, _Sighting] = {}

    def look(self, rows: Iterable[Lease], now: float) -> None:
        """A complete look at the table. `now` is when the look began: a later moment would let a lease live longer."""
        seen: dict[str, _Sighting] = {}
        for row in rows:
            last = self._rows.get(row.shard_id)
            moved = last is None or (last.owner, last.counter) != (row.owner, row.counter)
            seen[row.shard_id] = _Sighting(row.owner, row.counter, now) if last is None or moved else last
        self._rows = seen

    def still_for_s(self, shard_id: str, now: float) -> float:
        """For how long the row has not been seen to move, 0 for one never seen."""
        sighting = self._rows.get(shard_id)
        return 0.0 if sighting is None else now - sighting.since


@dataclass(frozen=True, slots=True)
class Take:
    """Take this lease. `reason`: unowned, expired, or returned (my own from before my deadline passed)."""

    lease: Lease
    reason: str


@dataclass(frozen=True, slots=True)
class LeasePlan:
    """What to take, and how many workers are alive (me included)."""

    take: tuple[Take, ...]
    workers: int


def plan_leases(
    rows: Mapping[str, Lease],
    sightings: Sightings,
    now: float,
    *,
    me: str,
    readable: Sequence[str],
    held: frozenset[str],
    former: frozenset[str],
    duration_s: float,
    max_leases: int | None,
    shuffled: Callable[[list[Take]], list[Take]],
) -> LeasePlan:
    """The leases to take now, in the order in which to try.

    `rows`: a complete look at the table; `readable`: the shards that may be read (not finished, parents finished);
    `held`: those that I hold; `former`: those that this very process held until its own deadline passed, which it may
    take back while the row still names it. A worker's fair share is all readable leases over the live workers, rounded
    up. A lease that stayed free for two durations is nobody's share, it seems, and is taken beyond it. Never more than
    `max_leases`. The order is random (`shuffled`), so that workers that start together seldom collide.
    """

    def expired(lease: Lease) -> bool:
        return sightings.still_for_s(lease.shard_id, now) > duration_s

    alive = {row.owner for row in rows.values() if row.owner is not None and not row.finished and not expired(row)}
    workers = len(alive | {me})
    free: list[Take] = []
    overdue: list[Take] = []
    for shard_id in readable:
        lease = rows[shard_id]
        if shard_id in held:
            continue
        take = _free(lease, me=me, former=shard_id in former, expired=expired(lease))
        if take is not None:
            still_for_s = sightings.still_for_s(shard_id, now)
            (overdue if still_for_s > 2 * duration_s else free).append(take)
    have = sum(1 for shard_id in readable if shard_id in held)
    share = -(-len(readable) // workers)
    chosen = [*shuffled(overdue), *shuffled(free)[: max(0, share - have - len(overdue))]]
    if max_leases is not None:
        chosen = chosen[: max(0, max_leases - have)]
    return LeasePlan(tuple(chosen), workers)


def _free(lease: Lease, *, me: str, former: bool, expired: bool) -> Take | None:
    if lease.owner is None:
        return Take(lease, "unowned")
    if lease.owner == me and former:
        return Take(lease, "returned")
    return Take(lease, "expired") if expired else None
