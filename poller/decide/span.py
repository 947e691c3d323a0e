"""Which shards of a stream belong to a span of it, where each begins, and which may be read now.

A span is read beside the daemon, without leases: parents before their children, as the changes of one item go on there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from poller.model import Position, Shard


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a stream.

    `start` is where every shard begins that has no place of its own in `places`; `until_s` the instant (seconds since
    the epoch) from which on records do not belong to it, None: it has no end. `roots`: only these shards, None: all
    that are listed; `descend`: and all that come after them. `finished`: these are done already.
    """

    start: Position
    until_s: float | None = None
    roots: frozenset[str] | None = None
    descend: bool = True
    places: Mapping[str, Position] = field(default_factory=dict)
    finished: frozenset[str] = frozenset()

    def place(self, shard_id: str) -> Position:
        """Where to begin in this shard."""
        return self.places.get(shard_id, self.start)


def scope(span: Span, shards: Mapping[str, Shard]) -> frozenset[str]:
    """The shards that belong to the span, as far as the stream's shards are known."""
    if span.roots is None:
        return frozenset(shards)
    if not span.descend:
        return span.roots & shards.keys()
    return frozenset(shard_id for shard_id in shards if _lineage(shard_id, shards) & span.roots)


def ready(span: Span, shards: Mapping[str, Shard], started: Collection[str], ended: Collection[str]) -> tuple[str, ...]:
    """The shards to begin with now, in the listing's order: of each every ancestor in the span is read to its end.

    `started` have been begun with, those in `ended` are done.
    """
    within = scope(span, shards)
    done = span.finished | frozenset(ended)
    unread = within - done
    return tuple(
        shard_id
        for shard_id in shards
        if shard_id in unread and shard_id not in started and not (_lineage(shard_id, shards) - {shard_id}) & unread
    )


def _lineage(shard_id: str, shards: Mapping[str, Shard]) -> frozenset[str]:
    return frozenset(_upwards(shard_id, shards))


def _upwards(shard_id: str, shards: Mapping[str, Shard]) -> Iterator[str]:
    """The shard and its known ancestors; a cycle, which the service never shows, is cut."""
    climbed: set[str] = set()
    shard = shards.get(shard_id)
    while shard is not None and shard.shard_id not in climbed:
        climbed.add(shard.shard_id)
        yield shard.shard_id
        shard = shards.get(shard.parent_id) if shard.parent_id else None
