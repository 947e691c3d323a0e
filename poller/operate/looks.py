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
    """What a number of looks at the whole table have shown. `count`: how many there were."""

    def __init__(self) -> None:
        self.count = 0
        self._known: dict[str, tuple[str | None, int]] = {}
        self._rows: dict[str, _Sign] = {}
        self._owners: dict[_Key, _Sign] = {}

    def look(self, leases: Iterable[Lease], now: float) -> None:
        """Another look; `now` (monotonic) is when it began."""
        self.count += 1
        for lease in leases:
            last, seen = self._known.get(lease.shard_id), (lease.owner, lease.counter)
            moved = last is not None and last != seen
            self._known[lease.shard_id] = seen
            if moved or lease.shard_id not in self._rows:
                self._rows[lease.shard_id] = _Sign(now, moved)
            if lease.owner is not None and (moved or _key(lease) not in self._owners):
                self._owners[_key(lease)] = _Sign(now, moved)

    def row(self, lease: Lease, now: float) -> Life:
        """The row's own life; the lease must have been in a look."""
        return _life(self._rows[lease.shard_id], now)

    def owner(self, lease: Lease, now: float) -> Life | None:
        """The life of whoever holds the lease, None if nobody does."""
        return None if lease.owner is None else _life(self._owners[_key(lease)], now)


def _key(lease: Lease) -> _Key:
    return (lease.owner or "", lease.shard_id if lease.foreign else "")


def _life(sign: _Sign, now: float) -> Life:
    return Life(max(0.0, now - sign.at), sign.moved)
