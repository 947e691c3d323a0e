"""One record on its way on one route: what delivery and dead letters hand to each other."""

from __future__ import annotations

from dataclasses import dataclass

from poller.decide.frontier import Ticket
from poller.model import Message, Mutable, Record
from poller.run.tenure import Tenure


@dataclass(frozen=True, slots=True)
class Grave:
    """Why an entry goes to the dead-letter queue."""

    reason: str
    code: str
    text: str


class Entry(Mutable):
    """One record on its way on one route.

    `attempts` are refusals that count against it, `tries` all failures in a row; `tried_at`: when it was last refused,
    or came (monotonic). `doomed`: it cannot be sent at all, known before the first try; it waits for its turn in its
    lane all the same.
    """

    tenure: Tenure
    ticket: Ticket
    record: Record
    message: Message
    lane: str
    size_bytes: int
    tried_at: float
    doomed: Grave | None = None
    attempts: int = 0
    tries: int = 0
    first_failed_s: float | None = None
