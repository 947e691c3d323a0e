"""Which checkpoint of a shard is safe: settled records in, the place before the first unsettled one out.

A checkpoint never passes a record that is not settled, whatever the order in which the queues answer.
"""

from __future__ import annotations

from collections import deque

from poller.model import Mutable


class Ticket(Mutable):
    """One record with work to do. `open_parts`: how many routes have not settled it yet."""

    before: str
    created_s: float
    size_bytes: int
    open_parts: int


class Frontier:
    """The contiguous frontier of one shard.

    Records are admitted in the shard's order and settled in any; a record that no route wants is never admitted, so
    that runs of filtered records cost nothing. `checkpoint` starts as the one that the lease row holds.
    """

    __slots__ = ("_seen", "_tickets", "ended", "open_bytes", "open_records")

    def __init__(self, checkpoint: str) -> None:
        self._seen = checkpoint
        self.ended = False
        self._tickets: deque[Ticket] = deque()
        self.open_records = 0
        self.open_bytes = 0

    def admit(self, before: str | None, parts: int, created_s: float, size_bytes: int) -> Ticket:
        """The next record that `parts` >= 1 routes want.

        `before` is the sequence number of the record just before it in its page; None, for the first of a page, stands
        for the last one seen.
        """
        if parts < 1:
            raise ValueError("a record that no route wants needs no ticket")
        ticket = Ticket(self._seen if before is None else before, created_s, size_bytes, parts)
        self._tickets.append(ticket)
        self.open_records += 1
        self.open_bytes += size_bytes
        return ticket

    def saw(self, sequence_number: str) -> None:
        """Every record up to this one has been admitted or filtered out."""
        self._seen = sequence_number

    def saw_end(self) -> None:
        """That was the last page."""
        self.ended = True

    def settle(self, *settled: Ticket) -> None:
        """One route is done with these records: sent, or stored in a dead-letter queue."""
        for ticket in settled:
            if ticket.open_parts <= 0:
                raise ValueError("settled more often than routes wanted it")
            ticket.open_parts -= 1
            if not ticket.open_parts:
                self.open_records -= 1
                self.open_bytes -= ticket.size_bytes
        tickets = self._tickets
        while tickets and not tickets[0].open_parts:
            tickets.popleft()

    @property
    def checkpoint(self) -> str:
        """The last sequence number up to which everything is settled, at first the checkpoint that it began with.

        Never SHARD_END: that is for whoever has seen to the shard's children, once it is `ended` and `drained`.
        """
        return self._tickets[0].before if self._tickets else self._seen

    @property
    def drained(self) -> bool:
        """Everything that was admitted is settled."""
        return not self._tickets

    @property
    def window(self) -> int:
        """How many records are kept in mind from the first unsettled one on, settled ones behind it included."""
        return len(self._tickets)

    @property
    def oldest_open_created_s(self) -> float | None:
        """When the oldest unsettled record was created (seconds since the epoch), None if nobody knows."""
        return (self._tickets[0].created_s or None) if self._tickets else None
