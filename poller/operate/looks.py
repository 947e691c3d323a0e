"""Who is at work: looks at the lease table in, signs of life out. Pure; no clock is stored in the table.

As the daemon does: a worker of ours lives while any of its rows moves, since it need not renew them all; of a foreign
one (Java's KCL) each row speaks for itself. What has not been seen to move may have moved just before the first look.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from poller.model import Lease


@dataclass(frozen=True, slots=True)
class Life:
    """For how long nothing was seen to move, in seconds, and whether anything ever was since the first look."""

    still_s: float
    moved: bool


@dataclass(frozen=True, slots=True)
class _Sign:
    """When something last moved, on the monotonic clock; before that: when it was first seen."""

    at: float
    moved: bool


# Whose sign of life: a worker of ours by its name, a foreign one by name and shard.
_Key = tuple[str, str]


class Looks:
    """What a number of looks at the whole table have shown, up to the last one. `count`: how many there were.

    As in `decide.balance`, two moments of a look count, so that nobody is taken for silent too soon, however long one
    takes: a movement was at the latest when the look that showed it ended; what has not moved had not when it began.
    """

    def __init__(self) -> None:
        self.count = 0
        self._began = 0.0
        self._known: dict[str, tuple[str | None, int]] = {}
        self._rows: dict[str, _Sign] = {}
        self._owners: dict[_Key, _Sign] = {}

    def look(self, leases: Iterable[Lease], began: float, ended: float) -> None:
        """Another look, from its first request to its last answer (monotonic)."""
        self.count += 1
        self._began = began
        for lease in leases:
            last, seen = self._known.get(lease.shard_id), (lease.owner, lease.counter)
            moved = last is not None and last != seen
            self._known[lease.shard_id] = seen
            if moved or lease.shard_id not in self._rows:
                self._rows[lease.shard_id] = _Sign(ended, moved)
            if lease.owner is not None and (moved or _key(lease) not in self._owners):
                self._owners[_key(lease)] = _Sign(ended, moved)

    def row(self, lease: Lease) -> Life:
        """The row's own life; the lease must have been in a look."""
        return self._life(self._rows[lease.shard_id])

    def owner(self, lease: Lease) -> Life | None:
        """The life of whoever holds the lease, None if nobody does."""
        return None if lease.owner is None else self._life(self._owners[_key(lease)])

    def _life(self, sign: _Sign) -> Life:
        return Life(max(0.0, self._began - sign.at), sign.moved)


def _key(lease: Lease) -> _Key:
    return (lease.owner or "", lease.shard_id if lease.foreign else "")
