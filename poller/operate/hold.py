"""Whether a lease may be taken out of its holder's hands: only when he is gone, or when somebody insists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from poller.errors import LeaseConflict, PollerError
from poller.model import Lease
from poller.operate.looks import Looks
from poller.operate.ports import Leases
from poller.run.ports import Clock

# What becomes of a living holder whose lease is taken from it.
NOTICES: Final = (
    "notices at its next look or write, some seconds later; until then it may go on sending beside the next holder, so"
    " that records are sent twice and for that time out of order"
)
# How often a row that its living holder keeps writing to is tried, where somebody insists.
FORCED_TRIES: Final = 10
_LOOK_EVERY_MIN_S: Final = 0.1
_LOOK_EVERY_MAX_S: Final = 1.0

Say = Callable[[str], None]


class Refused(PollerError):
    """It was not done, and nothing was written; why, and what to do about it."""


def look_every_s(duration_s: float) -> float:
    """How long to wait between two looks at the table, by how long a lease lasts."""
    return min(_LOOK_EVERY_MAX_S, max(_LOOK_EVERY_MIN_S, duration_s / 20))


async def free_row(table: Leases, clock: Clock, lease: Lease, duration_s: float, say: Say) -> Lease:
    """The lease's row once nobody holds it any more; waits at most as long as a lease lasts.

    Refused: its holder is at work, or it has found another; then it is for whoever insists.
    """
    if lease.owner is None:
        return lease
    say(
        f"{lease.owner} holds {lease.shard_id}: watching whether it is still at work, for up to {duration_s:g} s"
        " (--force does not wait)"
    )
    looks = Looks()
    while True:
        began = clock.monotonic()
        rows = {row.shard_id: row for row in await table.list()}
        looks.look(rows.values(), began, clock.monotonic())
        row = rows.get(lease.shard_id)
        if row is None:
            raise Refused(f"{lease.shard_id}: its row was deleted just now")
        if row.owner is None:
            return row
        if row.owner != lease.owner:
            raise Refused(f"{lease.shard_id}: {row.owner} has taken it over just now; nothing was written")
        life = looks.owner(row)
        if life is not None and life.moved:
            raise Refused(
                f"{lease.shard_id}: its holder {row.owner} is at work; stop that worker, or take the lease from it with"
                f" --force: it {NOTICES}"
            )
        if life is not None and life.still_s > duration_s:
            return row
        await clock.sleep(look_every_s(duration_s))


async def write(table: Leases, lease: Lease, change: Callable[[Lease], Awaitable[Lease]], *, force: bool) -> Lease:
    """Makes the change on the row as it was shown; the row afterwards.

    With `force` it does not matter what its holders write meanwhile: it is made on the row as they have left it, unless
    they have finished the shard. Refused: the row is another by now, or gone.
    """
    row = lease
    for _ in range(FORCED_TRIES if force else 1):
        try:
            return await change(row)
        except LeaseConflict:
            now = await table.read(lease.shard_id)
            if now is None:
                raise Refused(f"{lease.shard_id}: its row was deleted meanwhile; nothing was written") from None
            if now.finished != lease.finished:
                break
            row = now
    raise Refused(f"{lease.shard_id}: its row has changed since it was looked at; nothing was written: look again")
