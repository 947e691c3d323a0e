"""`poller leases release`: a lease is taken away from whoever holds it, so that any worker takes it."""

from __future__ import annotations

from dataclasses import dataclass

from poller.model import Lease
from poller.operate.hold import Say, free_row, write
from poller.operate.ports import Leases
from poller.run.ports import Clock


@dataclass(frozen=True, slots=True)
class Released:
    """`before` and `after` are the same for a lease that nobody held: then there was nothing to do.

    `forced`: nobody has looked whether its holder was at work.
    """

    before: Lease
    after: Lease
    forced: bool

    @property
    def done(self) -> bool:
        return self.before != self.after


async def release(table: Leases, clock: Clock, lease: Lease, *, duration_s: float, force: bool, say: Say) -> Released:
    """Refused: its holder is at work. AwsError: the table did not answer."""
    if not force:
        lease = await free_row(table, clock, lease, duration_s, say)

    async def evict(row: Lease) -> Lease:
        return row if row.owner is None else await table.evict(row)

    return Released(lease, await write(table, lease, evict, force=force), force)
