"""What must hold in the end, told from what was written, what arrived, and what was done meanwhile. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from tests.chaos.ledger import Again, Ledger

_SHOWN: Final = 5
# How far a moment in a lease row's history may be off: it is looked at twice a second.
_SEEN_LATE_MS: Final = 2_000


class Spell(NamedTuple):
    """A time in which something was wrong, with these workers (ms since the epoch)."""

    begin_ms: int
    end_ms: int
    what: str
    workers: frozenset[int]


class Held(NamedTuple):
    """From that moment on a worker was seen as the owner of a table's only shard."""

    at_ms: int
    worker: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """`before_ms`: how long before a fault a message may have been sent that its fault brings again: the checkpoint
    interval, and what a checkpoint on its way may take. `after_ms`: how long after it: the time to notice its end."""

    before_ms: int
    after_ms: int


class Owners:
    """Who held each table's shard, and when."""

    def __init__(self) -> None:
        self._seen: dict[str, list[Held]] = {}

    def note(self, table: str, worker: int, at_ms: int) -> None:
        seen = self._seen.setdefault(table, [])
        if not seen or seen[-1].worker != worker:
            seen.append(Held(at_ms, worker))

    def now(self, table: str) -> int | None:
        """Who was seen last."""
        seen = self._seen.get(table)
        return seen[-1].worker if seen else None

    def around(self, table: str, at_ms: int) -> set[int]:
        """Who may have held it at that moment, since rows are looked at now and then only."""
        seen = self._seen.get(table, [])
        before = bisect_right(seen, at_ms - _SEEN_LATE_MS, key=lambda held: held.at_ms)
        return {held.worker for held in seen[max(0, before - 1) :] if held.at_ms <= at_ms + _SEEN_LATE_MS}

    def moves(self) -> int:
        """How often a shard was seen to have gone from one worker to another."""
        return sum(len(seen) - 1 for seen in self._seen.values())


def cause(again: Again, spells: Sequence[Spell], owners: Owners, bounds: Bounds) -> str | None:
    """What explains that a message came twice: something that was wrong with its sender when it was sent first."""
    at_ms, holders = again.first_ms, owners.around(again.change.table, again.first_ms)
    possible = [
        spell
        for spell in spells
        if spell.begin_ms - bounds.before_ms <= at_ms <= spell.end_ms + bounds.after_ms
        and (holders & spell.workers or not holders)
    ]
    # The likeliest: one that lasted at that moment, or began next; of those the one that hit the fewest.
    possible.sort(key=lambda spell: (at_ms > spell.end_ms, len(spell.workers), abs(spell.begin_ms - at_ms)))
    return possible[0].what if possible else None


def wrongs_of_delivery(ledger: Ledger, spells: Sequence[Spell], owners: Owners, bounds: Bounds) -> list[str]:
    """Lost, foreign, out of order, twice without a reason."""
    wrongs = [f"{len(lost)} lost of {queue}: {_some(lost)}" for queue, lost in ledger.missing().items() if lost]
    if foreign := ledger.foreign():
        wrongs.append(f"{len(foreign)} that nobody asked for: {_some(foreign)}")
    disordered = [one for book in ledger.books.values() for one in book.out_of_order()]
    if disordered:
        wrongs.append(f"{len(disordered)} out of order: {_some(disordered)}")
    unexplained = [one for one in ledger.again() if cause(one, spells, owners, bounds) is None]
    if unexplained:
        wrongs.append(f"{len(unexplained)} twice without a reason: {_some(unexplained)}")
    return wrongs


def _some(things: Sequence[object]) -> str:
    shown = ", ".join(map(str, things[:_SHOWN]))
    return shown if len(things) <= _SHOWN else f"{shown}, ..."
