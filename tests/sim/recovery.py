"""Once the faults are over: what is still not as it should be, in one line; None when all is well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from poller.model import SHARD_END
from tests.sim.crew import Crew
from tests.sim.ledger import ShardBook
from tests.sim.world import World


def unrecovered(world: World, crew: Crew) -> str | None:
    """Everything has arrived, checkpoints have caught up, each open shard has a reader, and the loads are even."""
    books = world.oracle.ledger.shards
    for book in books.values():
        if not _beyond_help(book, books) and book.first_open is not None:
            return f"{book.first_open} is not settled"
    staying = {host.name for host in crew.staying}
    loads = Counter(dict.fromkeys(staying, 0))
    for shard_id in world.open_shards():
        book, row = books[shard_id], world.leases.rows.get(shard_id)
        if _beyond_help(book, books):
            continue
        if row is None:
            return f"{shard_id[-8:]} has no row"
        if row.owner not in staying:
            return f"{shard_id[-8:]} is {row.owner or 'nobody'}'s"
        loads[row.owner] += 1
        if row.checkpoint == SHARD_END:
            return f"{shard_id[-8:]} is open, and finished"
        if book.records and not book.records[-1].optional and book.checkpoint < book.records[-1].sequence:
            return f"the checkpoint of {shard_id[-8:]} stays behind"
    if any(_beyond_help(book, books) for book in books.values()):
        return None
    if max(loads.values()) - min(loads.values()) > 1:
        return f"the loads are {dict(sorted(loads.items()))}"
    return None


def _beyond_help(book: ShardBook, books: Mapping[str, ShardBook]) -> bool:
    """Data was lost in it, in a parent, or in an older stream, and the settings say to stop there."""
    if any(each.stopped and each.arn < book.arn for each in books.values()):
        return True
    return book.stopped or (book.parent is not None and _beyond_help(book.parent, books))
