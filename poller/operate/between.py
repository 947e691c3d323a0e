"""How many records lie between two places of a shard: read, but not without end."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

from typing_extensions import Buffer

from poller.errors import InvalidRequest, Unavailable
from poller.model import AT_TIMESTAMP, TRIM_HORIZON, Page, Position
from poller.operate.places import Place, compare
from poller.run.ports import Clock

PAGES_MAX: Final = 20
SECONDS_MAX: Final = 5.0
_PAGE_RECORDS: Final = 1_000
# An open shard answers with empty pages at its tip, and now and then elsewhere: so many in a row are taken for the tip
# by whoever has no better sign.
_EMPTY_PAGES_MAX: Final = 3


class Source(Protocol):
    """The part of `run.ports.StreamSource` that reads."""

    async def iterator(self, shard_id: str, position: Position) -> str: ...

    async def records(self, iterator: str, limit: int) -> Page: ...


@dataclass(frozen=True, slots=True)
class Told:
    """What a record says of its place: its sequence number, and when it was created (seconds since the epoch)."""

    sequence_number: str
    created_s: float


@dataclass(frozen=True, slots=True)
class Between:
    """From the old place to the new: these records come again, or are skipped.

    `complete` false: there are more; it was not counted any further. `first_s`, `last_s`: when the first and the last
    that were counted were created, None if there are none.
    """

    direction: Literal["again", "skipped"]
    count: int = 0
    complete: bool = True
    first_s: float | None = None
    last_s: float | None = None


@dataclass(frozen=True, slots=True)
class ShardRecords:
    """The records of one shard, read from any place on. Raises AwsError as `StreamSource` does."""

    source: Source
    shard_id: str
    clock: Clock

    async def pages(
        self, position: Position, limit: int = _PAGE_RECORDS, empty_max: int = _EMPTY_PAGES_MAX
    ) -> AsyncGenerator[list[Told], None]:
        """Page by page, at most so many in so many seconds; an empty one at last: that was the shard's tip or end.

        `empty_max`: how many empty ones in a row are taken for the tip.
        """
        give_up_at = self.clock.monotonic() + SECONDS_MAX
        iterator: str | None = await self.source.iterator(self.shard_id, position)
        empty = 0
        for _ in range(PAGES_MAX):
            if iterator is None or empty == empty_max:
                yield []
                return
            if self.clock.monotonic() >= give_up_at:
                return
            page = await self.source.records(iterator, limit)
            empty = 0 if page.records else empty + 1
            iterator = page.next_iterator
            if records := [told for record in page.records if (told := told_by(record))]:
                yield records

    async def first(self, position: Position) -> Told | None:
        """The next record there, None if there is none (yet)."""
        async with aclosing(self.pages(position, limit=1)) as pages:
            async for page in pages:
                return page[0] if page else None
        return None


async def between(shard: ShardRecords, old: Place, new: Place) -> Between:
    """What a move from one place to the other means. AwsError: the stream does not say."""
    order = compare(old, new)
    if order is None:
        order = await _compare_by_reading(shard, old, new)
    if order == 0:
        return Between("skipped")
    lower, upper = (old, new) if order < 0 else (new, old)
    found = await _found(shard, lower, upper)
    return replace(found, direction="skipped" if order < 0 else "again")


async def _compare_by_reading(shard: ShardRecords, old: Place, new: Place) -> int:
    """One of the two is a time: it comes first unless the record behind the other one is older."""
    time, after = (old, new) if old.kind == "time" else (new, old)
    told = await shard.first(after.position)
    time_first = told is None or told.created_s >= time.value
    return -1 if time_first == (old is time) else 1


async def _found(shard: ShardRecords, lower: Place, upper: Place) -> Between:
    """The records from the one place to the other."""
    try:
        return await _found_from(shard, lower.position, lower, upper)
    except (InvalidRequest, Unavailable):
        if lower.position.kind != AT_TIMESTAMP:
            raise
    # As the reader does: where a server does not know AT_TIMESTAMP, the records' creation times show the place.
    return await _found_from(shard, Position(TRIM_HORIZON), lower, upper)


async def _found_from(shard: ShardRecords, position: Position, lower: Place, upper: Place) -> Between:
    found: list[Told] = []
    complete = False
    # A record, or a finished shard's end, is there to be reached, however many empty pages come before it.
    empty_max = PAGES_MAX if upper.kind in ("after", "end") else _EMPTY_PAGES_MAX
    async with aclosing(shard.pages(position, empty_max=empty_max)) as pages:
        async for page in pages:
            found += [told for told in page if not _before(lower, told) and not _reached(upper, told)]
            if not page or any(_reached(upper, told) or _is_at(upper, told) for told in page):
                complete = True
                break
    if not found:
        return Between("skipped", 0, complete)
    return Between("skipped", len(found), complete, found[0].created_s, found[-1].created_s)


def _before(lower: Place, told: Told) -> bool:
    return lower.kind == "time" and told.created_s < lower.value


def _reached(upper: Place, told: Told) -> bool:
    if upper.kind == "after":
        return int(told.sequence_number) > upper.value
    return upper.kind == "time" and told.created_s >= upper.value


def _is_at(upper: Place, told: Told) -> bool:
    """Is it the last record before the place?"""
    return upper.kind == "after" and int(told.sequence_number) == upper.value


def told_by(record: Buffer) -> Told | None:
    """None for a record that cannot be understood: it is counted by nobody."""
    try:
        change = json.loads(bytes(record))["dynamodb"]
        told = Told(str(change["SequenceNumber"]), float(change["ApproximateCreationDateTime"]))
        datetime.fromtimestamp(told.created_s, UTC), int(told.sequence_number)  # as whoever counts reads them
    except (ArithmeticError, LookupError, OSError, RecursionError, TypeError, ValueError):
        return None
    return told
