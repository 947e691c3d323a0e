"""From the shards of a stream and the rows of the lease table: which leases to create, and which shards may start.

A parent is read to its end before its child, since the changes of one item go on in the child. Whatever a listing
leaves out or shows late, no shard is skipped: a decision is only made from what is known for certain.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from poller.model import LATEST, SHARD_END, TRIM_HORIZON, Lease, Shard


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin in a stream that has no lease rows: TRIM_HORIZON, LATEST or AT_TIMESTAMP.

    `time_ms` (since the epoch): for LATEST the instant of the first start, for AT_TIMESTAMP the time asked for, None
    for TRIM_HORIZON. It is written on the rows, so that "LATEST" means the same instant for ever: a shard without
    known ancestors that turns up later, or a row that was never read before a restart, is read from that instant and
    not from a newer "now".
    """

    checkpoint: str
    time_ms: int | None = None


def start_of(rows: Iterable[Lease], wanted: Start) -> Start:
    """The start in force: what the first start wrote on the rows, or `wanted` where there are none.

    Once there are rows nothing begins at LATEST again: what the first start's instant allows is read from the horizon,
    and what is older than that instant is passed over.
    """
    known = list(rows)
    if not known:
        return wanted
    times = [row.start_time_ms for row in known if row.start_time_ms is not None]
    return Start(TRIM_HORIZON, min(times) if times else None)


def new_leases(
    shards: Mapping[str, Shard],
    leases: Mapping[str, Lease],
    start: Start,
    *,
    stream_arn: str,
    trimmed: Container[str] = (),
    followed: bool = False,
) -> tuple[Lease, ...]:
    """The rows to create, parents before children.

    `shards`: what is known of the stream, by id; parents may be missing from it (trimmed) and children may come late.
    `leases`: every row of this stream. A shard below one that has a row, or below an open one, begins at its own
    horizon whatever the start position: what it holds came after something that is read. At LATEST a closed shard
    whose children are listed holds nothing that is wanted and is written down as finished; a closed one without
    children may have late ones, and is read. A row does not name a parent that is known to be `trimmed`, so that
    nobody who has not listed the stream need wonder about it. `followed`: see `already_read`.
    """
    passed = already_read(shards, leases, followed=followed)
    parents_listed = {shard.parent_id for shard in shards.values() if shard.parent_id is not None}
    rows: list[Lease] = []
    # What is read of shards has begun with one of these, or comes after it. A listing whose pages are of different
    # moments may show an open shard and, below it, others that are closed already.
    above = {shard.shard_id for shard in shards.values() if not shard.closed} | passed | leases.keys()
    for shard in in_lineage_order(shards):
        if shard.shard_id in leases or shard.shard_id in passed:
            continue
        checkpoint, time_ms = start.checkpoint, start.time_ms
        if shard.parent_id in above:
            checkpoint, time_ms = TRIM_HORIZON, None
            above.add(shard.shard_id)
        elif checkpoint == LATEST and shard.closed:
            checkpoint = SHARD_END if shard.shard_id in parents_listed else TRIM_HORIZON
        rows.append(
            Lease(
                shard_id=shard.shard_id,
                checkpoint=checkpoint,
                parents=frozenset({shard.parent_id} if shard.parent_id and shard.parent_id not in trimmed else ()),
                stream_arn=stream_arn,
                start_time_ms=time_ms,
            )
        )
    return tuple(rows)


def below(parents: Container[str], shards: Mapping[str, Shard], leases: Mapping[str, Lease]) -> frozenset[str]:
    """All shards without a row that descend from these parents through shards without a row."""
    found: set[str] = set()
    for shard in in_lineage_order(shards):
        if shard.shard_id not in leases and (shard.parent_id in parents or shard.parent_id in found):
            found.add(shard.shard_id)
    return frozenset(found)


def already_read(shards: Mapping[str, Shard], leases: Mapping[str, Lease], *, followed: bool = False) -> frozenset[str]:
    """Shards without a row below which something has been read: they were finished, and their rows cleaned up.

    A child starts only after its parent is finished, so a started descendant proves it. Without this a cleaned-up
    lineage would be read a second time. A missing row above children that have not started was never finished.
    `followed`: a worker has gone on with the next stream. Then all of this one was read and parents' rows are deleted
    before their children's, so that a shard without a row is a late child only if its parent still has one.
    """
    ordered = in_lineage_order(shards)
    passed: set[str] = set()
    for shard in reversed(ordered):
        row = leases.get(shard.shard_id)
        begun = row is not None and row.begun
        if shard.parent_id and shard.parent_id not in leases and (begun or shard.shard_id in passed):
            passed.add(shard.parent_id)
    if followed:
        for shard in ordered:
            late = shard.parent_id in leases or (shard.parent_id in shards and shard.parent_id not in passed)
            if shard.shard_id not in leases and not late:
                passed.add(shard.shard_id)
    return frozenset(passed)


def in_lineage_order(shards: Mapping[str, Shard]) -> tuple[Shard, ...]:
    """Parents before children, otherwise in the listing's order; a cycle, which the service never shows, is cut."""
    ordered: list[Shard] = []
    placed: set[str] = set()
    for shard in shards.values():
        branch: list[Shard] = []
        node: Shard | None = shard
        climbed: set[str] = set()
        while node is not None and node.shard_id not in placed and node.shard_id not in climbed:
            climbed.add(node.shard_id)
            branch.append(node)
            node = shards.get(node.parent_id) if node.parent_id else None
        ordered.extend(reversed(branch))
        placed |= climbed
    return tuple(ordered)


def unexplained_parents(shards: Mapping[str, Shard], leases: Mapping[str, Lease]) -> frozenset[str]:
    """Parents that are named and neither listed nor leased: trimmed, or left out by an inconsistent listing.

    The listing cannot tell the two apart; asking for such a shard by name can. Only parents of shards without a row
    matter: the others have started from a certain answer.
    """
    return frozenset(
        shard.parent_id
        for shard in shards.values()
        if shard.parent_id is not None
        and shard.shard_id not in leases
        and shard.parent_id not in shards
        and shard.parent_id not in leases
    )


class Stage(StrEnum):
    """Where a shard stands in its life, seen from the table (`poller_shards{state}`)."""

    READY = "ready"
    WAITING_FOR_PARENT = "waiting_for_parent"
    FINISHED = "finished"


def stage(lease: Lease, leases: Mapping[str, Lease], listed: Container[str] | None) -> Stage:
    """May the shard be read now? Not before every parent is finished.

    A parent without a row was trimmed, or its row cleaned up after its end, unless it is `listed` still: then its row
    has yet to be made (again). None for `listed`, if this worker has not listed the stream: then it cannot tell, and
    the shard waits. One that was read before started after its parents, whatever became of their rows.
    """
    if lease.finished:
        return Stage.FINISHED
    if not lease.begun:
        for parent_id in lease.parents:
            parent = leases.get(parent_id)
            if parent is None and (listed is None or parent_id in listed):
                return Stage.WAITING_FOR_PARENT
            if parent is not None and not parent.finished:
                return Stage.WAITING_FOR_PARENT
    return Stage.READY


def undecided(leases: Mapping[str, Lease]) -> frozenset[str]:
    """Shards that were never read, with a parent that has no row. What that means only a listing tells."""
    return frozenset(
        shard_id
        for shard_id, lease in leases.items()
        if not lease.begun and not all(parent in leases for parent in lease.parents)
    )


def removable(leases: Mapping[str, Lease], listed: Container[str]) -> tuple[Lease, ...]:
    """Finished rows that may be deleted, should the stream not have their shards any more.

    A row is kept as long as its shard can be listed, though KCL deletes it once the children have begun: a listing
    that shows the shard and not its children would have it read again. It is kept for children that have not begun,
    too, which start since it is finished. And something unfinished must remain: a table without rows is one at its
    first start.
    """
    if all(lease.finished for lease in leases.values()):
        return ()
    awaited = {parent for lease in leases.values() if not lease.begun for parent in lease.parents}
    return tuple(
        lease
        for lease in leases.values()
        if lease.finished and lease.shard_id not in listed and lease.shard_id not in awaited
    )


def stream_finished(
    leases: Mapping[str, Lease], shards: Mapping[str, Shard], *, enabled: bool, complete: bool = True
) -> bool:
    """A disabled stream, completely listed, of which every listed shard was read: its row is at its end.

    Or it has none any more, and something below it was read.
    """
    return (
        complete
        and not enabled
        and all(lease.finished for lease in leases.values())
        and shards.keys() <= leases.keys() | already_read(shards, leases)
    )


def children_missing(leases: Mapping[str, Lease], shards: Mapping[str, Shard]) -> frozenset[str]:
    """Finished shards of an enabled stream whose children nobody has seen yet: look again soon."""
    parents = {shard.parent_id for shard in shards.values()} | {p for lease in leases.values() for p in lease.parents}
    return frozenset(
        lease.shard_id
        for lease in leases.values()
        if lease.finished and not lease.children and lease.shard_id not in parents
    )
