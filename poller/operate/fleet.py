"""The lease table as people want to see it: what becomes of each shard, and in whose hands it is. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from poller.decide.lineage import Stage, in_lineage_order, stage
from poller.model import Lease, Shard
from poller.operate.looks import Life, Looks


class State(StrEnum):
    """What becomes of a shard, as far as the table shows it.

    HELD: it has an owner, who has not been seen at work in these looks, and may have been just before them; EXPIRED:
    nor for longer than a lease lasts, so that any worker may take it.
    """

    READING = "reading"
    HELD = "held"
    HANDING_OVER = "handing_over"
    EXPIRED = "expired"
    UNOWNED = "unowned"
    WAITING_FOR_PARENT = "waiting_for_parent"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class ShardSeen:
    """One row. `life`: the row's own, not its owner's."""

    lease: Lease
    state: State
    life: Life


@dataclass(frozen=True, slots=True)
class OwnerSeen:
    """One worker and how many unfinished shards it holds; `alive` None: it cannot be told yet."""

    name: str
    foreign: bool
    shards: int
    life: Life
    alive: bool | None


@dataclass(frozen=True, slots=True)
class Fleet:
    """Unfinished shards first, older streams before newer ones, parents before children; owners by what they hold."""

    shards: tuple[ShardSeen, ...]
    owners: tuple[OwnerSeen, ...]

    @property
    def states(self) -> dict[State, int]:
        """How many shards are in each state, in the order of `State`, without those in which there is none."""
        counts = Counter(shard.state for shard in self.shards)
        return {state: counts[state] for state in State if counts[state]}

    @property
    def streams(self) -> tuple[str, ...]:
        """The ARNs of the streams whose shards are in the table, oldest first."""
        return tuple(sorted({shard.lease.stream_arn for shard in self.shards if shard.lease.stream_arn}))


def fleet_of(leases: Iterable[Lease], looks: Looks, duration_s: float) -> Fleet:
    """`looks` must have seen these leases; `duration_s`: how long a lease lasts without a sign of life."""
    rows = {lease.shard_id: lease for lease in leases}
    shards = tuple(
        ShardSeen(lease, state_of(lease, rows, looks.owner(lease), duration_s), looks.row(lease))
        for lease in _in_order(rows)
    )
    return Fleet(shards, _owners(rows.values(), looks, duration_s))


def state_of(lease: Lease, rows: Mapping[str, Lease], owner: Life | None, duration_s: float) -> State:
    """`owner`: the life of whoever holds the lease, None if nobody does."""
    # Without the stream's listing a parent that has no row counts as gone, as it nearly always is.
    at = stage(lease, rows, {})
    if at is Stage.FINISHED:
        return State.FINISHED
    if at is Stage.WAITING_FOR_PARENT:
        return State.WAITING_FOR_PARENT
    if owner is None:
        return State.UNOWNED
    if owner.still_s > duration_s:
        return State.EXPIRED
    if lease.heir is not None or lease.sought or lease.checkpoint_owner is not None:
        return State.HANDING_OVER
    return State.READING if owner.moved else State.HELD


def _in_order(rows: Mapping[str, Lease]) -> list[Lease]:
    known = sorted(rows.values(), key=lambda lease: (lease.stream_arn or "", lease.shard_id))
    shards = {lease.shard_id: Shard(lease.shard_id, min(lease.parents, default=None)) for lease in known}
    ordered = [rows[shard.shard_id] for shard in in_lineage_order(shards)]
    return sorted(ordered, key=lambda lease: lease.finished)


def _owners(leases: Iterable[Lease], looks: Looks, duration_s: float) -> tuple[OwnerSeen, ...]:
    held: dict[tuple[str, bool], list[Life]] = {}
    for lease in leases:
        life = looks.owner(lease)
        if lease.owner is not None and life is not None and not lease.finished:
            held.setdefault((lease.owner, lease.foreign), []).append(life)
    owners = [
        OwnerSeen(name, foreign, len(lives), life, _alive(life, duration_s))
        for (name, foreign), lives in held.items()
        for life in [min(lives, key=lambda life: (not life.moved, life.still_s))]
    ]
    return tuple(sorted(owners, key=lambda owner: (-owner.shards, owner.name)))


def _alive(life: Life, duration_s: float) -> bool | None:
    if life.still_s > duration_s:
        return False
    return True if life.moved else None
