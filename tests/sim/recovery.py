"""Once the faults are over: what is still not as it should be, in one line; None when all is well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from poller.model import Lease
from tests.sim.crew import Crew
from tests.sim.ledger import ShardBook
from tests.sim.world import World


def unrecovered(world: World, crew: Crew) -> str | None:
    """Everything has arrived, checkpoints have caught up, each open shard has a reader, and the loads are even."""
    books = world.oracle.ledger.shards
    staying = {host.name for host in crew.staying}
    loads = Counter(dict.fromkeys(staying, 0))
    for book in books.values():
        if not _beyond_help(book, books) and book.first_open is not None:
            return f"{book.first_open} is not settled"
    for shard_id in world.open_shards():
        if _beyond_help(books[shard_id], books):
            return None
        row = world.leases.rows.get(shard_id)
        if row is None or row.owner not in staying:
            return f"{shard_id[-8:]} has no {'row' if row is None else 'reader'}"
        if _behind(books[shard_id], row):
            return f"the checkpoint of {shard_id[-8:]} is {row.checkpoint}"
        loads[row.owner] += 1
    uneven = max(loads.values()) - min(loads.values()) > 1
    return f"the loads are {dict(sorted(loads.items()))}" if uneven else None


def misjudged(world: World, crew: Crew) -> str | None:
    """What the workers say of themselves (`/readyz`) when nothing more will change, if it is not so."""
    stopped = [book.shard_id for book in world.oracle.ledger.shards.values() if book.stopped and _read_on(world, book)]
    reasons = [(host.name, reason) for host in crew.staying for reason in host.reasons()]
    if stopped and not reasons:
        return f"{stopped[0][-8:]} is read no further, and everybody is ready"
    for name, reason in reasons:
        if reason.part == "unowned shards" and _full(world, crew):
            continue  # old shards that nobody needs at LATEST, or that the stream has forgotten, may be more than that
        if reason.part != "data loss" and not stopped:
            return f"all is well, and {name} is not ready: {reason.part}: {reason.text}"
    return None


def _full(world: World, crew: Crew) -> bool:
    """Are there more unfinished rows than the workers may have?"""
    limit = world.knobs.max_leases
    unfinished = sum(1 for row in world.leases.rows.values() if not row.finished)
    return limit is not None and unfinished > limit * len(crew.staying)


def _read_on(world: World, book: ShardBook) -> bool:
    """Would its shard still be read, had the settings not said to stop?"""
    row = world.leases.rows.get(book.shard_id)
    return row is not None and not row.finished


def _behind(book: ShardBook, row: Lease) -> bool:
    """An open shard's checkpoint stands behind its last record, or at an end that it does not have.

    One behind which all is trimmed stays where it is until something new comes.
    """
    last = book.records[-1] if book.records and book.records[-1].sequence > book.trimmed_to else None
    return row.finished or (last is not None and not last.optional and book.checkpoint < last.sequence)


def _beyond_help(book: ShardBook, books: Mapping[str, ShardBook]) -> bool:
    """Data was lost in it, in a parent, or in an older stream, and the settings say to stop there."""
    if any(each.stopped and each.arn < book.arn for each in books.values()):
        return True
    return book.stopped or (book.parent is not None and _beyond_help(book.parent, books))
