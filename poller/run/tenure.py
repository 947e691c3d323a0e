"""A tenure: the time in which this worker holds one shard's lease, and what is only true as long as it lasts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from dataclasses import replace

from poller.decide.frontier import Frontier, Ticket
from poller.model import Lease, Match
from poller.run.buffer import Buffer

# Measured: the objects around a record on its way to one route (record, ticket, entry, message, lane).
_OBJECTS_BYTES = 1500


class Standing:
    """Until when this worker is alive for all others: `own_s` from its last write to any row that it still holds.

    A row that it does not hold any more is no sign of life, since nobody sees its name there.
    """

    def __init__(self, own_s: float) -> None:
        self.own_s = own_s
        self.written_at = -math.inf

    def wrote(self, at: float) -> None:
        """A write that was sent at that moment has moved a row."""
        self.written_at = max(self.written_at, at)

    def dropped(self, held: Iterable[Tenure]) -> None:
        """A row is not held any more; those are."""
        self.written_at = max((tenure.written_at for tenure in held), default=-math.inf)


class Tenure:
    """One shard in this worker's hands.

    `lease` is the row as this worker last knew it. On the monotonic clock: `taken_at` is when the write that took it
    was sent, `written_at` when the last one that moved the row was, `answered_at` when that one was answered,
    `asked_at` when any was sent, `unconfirmed_since` when the first write since then was sent whose answer never came.
    `alone`: the lease stands by its own row, as Java's workers see it, and not by any of this worker's. `lock` makes
    the writes to the row one after another, since each stands on the counter that the one before has left.
    `fresh_until`: so long LATEST may be taken at its word, since this process has just written what it means.
    `closed`: the lease is being given back, and nothing is sent for it any more. A tenure ends once and for good,
    `released` if it was given back; taking the lease again is another one.
    """

    def __init__(
        self,
        lease: Lease,
        written_at: float,
        standing: Standing,
        buffer: Buffer,
        *,
        answered_at: float,
        fresh_until: float,
    ) -> None:
        self.lease = lease
        self.taken_at = self.written_at = self.asked_at = written_at
        self.answered_at = answered_at
        self.unconfirmed_since: float | None = None
        self.alone = False
        self.fresh_until = fresh_until
        self.lock = asyncio.Lock()
        self.frontier = Frontier(lease.checkpoint)
        self.closed = False
        self.over = False
        self.released = False
        self._standing = standing
        self._buffer = buffer
        self._settled = asyncio.Event()

    @property
    def shard_id(self) -> str:
        return self.lease.shard_id

    @property
    def deadline(self) -> float:
        """The moment from which on nothing may be sent or checkpointed."""
        written_at = self.written_at if self.alone else max(self.written_at, self._standing.written_at)
        return written_at + self._standing.own_s

    def valid(self, now: float) -> bool:
        """May this worker still act for the shard? False for ever once the deadline has passed."""
        return not (self.over or self.closed) and now < self.deadline

    def wrote(self, row: Lease, sent_at: float, answered_at: float, *, alone: bool) -> None:
        """A write has left this row; if its counter moved, that is a sign of life."""
        moved = row.counter > self.lease.counter
        heir = self.lease.heir
        # A claim that was seen while the write was on its way is not in what the write left.
        self.lease = row if heir is None else replace(row, successor=heir)
        if moved:
            self.written_at = max(self.written_at, sent_at)
            self.answered_at, self.unconfirmed_since = answered_at, None
            self.alone = alone
            self._standing.wrote(self.written_at)

    def admit(self, matches: Iterable[Match]) -> list[Ticket]:
        """Records that some routes want go on their way, in the shard's order."""
        admit = self.frontier.admit
        tickets = [
            admit(match.before, len(match.routes), match.record.created_s, _kept_bytes(match)) for match in matches
        ]
        self._buffer.add(len(tickets), sum([ticket.size_bytes for ticket in tickets]))
        return tickets

    def settle(self, *tickets: Ticket) -> None:
        """One route is done with these records."""
        frontier = self.frontier
        records, size_bytes = frontier.open_records, frontier.open_bytes
        frontier.settle(*tickets)
        if not self.over:
            self._buffer.remove(records - frontier.open_records, size_bytes - frontier.open_bytes)
        if frontier.drained:
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
