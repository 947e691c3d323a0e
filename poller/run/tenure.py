"""A tenure: the time in which this worker holds one shard's lease, and what is only true as long as it lasts."""

from __future__ import annotations

import asyncio

from poller.decide.frontier import Frontier, Ticket
from poller.model import Lease, Match
from poller.run.buffer import Buffer

# Measured: the objects around a record on its way to one route (record, ticket, entry, message, lane).
_OBJECTS_BYTES = 1500


class Tenure:
    """One shard in this worker's hands.

    `lease` is the row as this worker last knew it. On the monotonic clock: `written_at` is when the last write that
    succeeded was sent, `deadline` the moment from which on nothing may be sent or checkpointed, `unconfirmed_since`
    when the first write since then was sent whose answer never came. `lock` makes the writes to the row one after
    another, since each stands on the counter that the one before has left. `fresh`: this process made the row just
    now, so that LATEST may still be taken at its word. A tenure ends once and for good; taking the lease again is
    another one.
    """

    def __init__(self, lease: Lease, written_at: float, deadline: float, buffer: Buffer, *, fresh: bool) -> None:
        self.lease = lease
        self.written_at = written_at
        self.deadline = deadline
        self.unconfirmed_since: float | None = None
        self.fresh = fresh
        self.lock = asyncio.Lock()
        self.frontier = Frontier(lease.checkpoint)
        self.over = False
        self._buffer = buffer
        self._settled = asyncio.Event()

    @property
    def shard_id(self) -> str:
        return self.lease.shard_id

    def valid(self, now: float) -> bool:
        """May this worker still act for the shard? False for ever once the deadline has passed."""
        return not self.over and now < self.deadline

    def admit(self, match: Match) -> Ticket:
        """A record that some routes want goes on its way."""
        size_bytes = _kept_bytes(match)
        self._buffer.add(1, size_bytes)
        return self.frontier.admit(
            before=match.before, parts=len(match.routes), created_s=match.record.created_s, size_bytes=size_bytes
        )

    def settle(self, ticket: Ticket) -> None:
        """One route is done with a record."""
        self.frontier.settle(ticket)
        if not ticket.open_parts and not self.over:
            self._buffer.remove(1, ticket.size_bytes)
        if self.frontier.drained:
            self._settled.set()

    async def drained(self) -> None:
        """Returns when everything that was read is settled, or the tenure is over."""
        while not self.over and not self.frontier.drained:
            self._settled.clear()
            await self._settled.wait()

    def end(self) -> None:
        """The tenure is over: what is still under way counts for nothing, and is not kept in the buffer's account."""
        if self.over:
            return
        self.over = True
        self._buffer.remove(self.frontier.open_records, self.frontier.open_bytes)
        self._settled.set()


def _kept_bytes(match: Match) -> int:
    """What a record costs in memory until it is settled: its bytes, about as many again for each route's message."""
    return _OBJECTS_BYTES + len(match.record.body) * (1 + len(match.routes))
