"""From what a user writes to the span that is meant: `--since`, `--from`, `--until`, `--shard`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from poller.decide.span import Span
from poller.errors import (
    AccessDenied,
    AwsError,
    ConfigurationError,
    DataTrimmed,
    InvalidRequest,
    NotFound,
    PollerError,
    Unavailable,
)
from poller.model import AT_SEQUENCE_NUMBER, AT_TIMESTAMP, LATEST, TRIM_HORIZON, Position, Shard
from poller.operate.between import ShardRecords, Source
from poller.operate.move import KEPT_S
from poller.operate.names import match
from poller.operate.places import read_target
from poller.run.ports import Clock

_NO_SHARD: Final = "the stream has no such shard (any more); `poller leases --all` lists those that were ever read"


@dataclass(frozen=True, slots=True)
class Wish:
    """What was written: from where (for `since_s`, so long ago), until when, only which shards."""

    start: Position | None = None
    since_s: float | None = None
    until: Position | None = None
    shards: tuple[str, ...] = ()


def read_from(text: str) -> Position:
    """What stands behind `--from`: for a sequence number, at it. ValueError says what may be written there."""
    position = read_target(text)
    return position if position.sequence_number is None else Position.at(position.sequence_number)


def start_of(wish: Wish, now_s: float) -> Position:
    """ConfigurationError: a time that is yet to come. Times are rounded down to the second, as creation times are."""
    if wish.since_s is not None:
        return Position(AT_TIMESTAMP, timestamp_ms=int(max(0.0, now_s - wish.since_s)) * 1000)
    start = wish.start or Position(TRIM_HORIZON)
    if start.timestamp_ms is None:
        return start
    _check_past("--from", start, now_s)
    return Position(AT_TIMESTAMP, timestamp_ms=start.timestamp_ms // 1000 * 1000)


def until_of(wish: Wish, now_s: float) -> float:
    """The instant before which records must be created, now without a wish. ConfigurationError as `start_of`."""
    if wish.until is None:
        return float(int(now_s) + 1)  # with what was created in the present second so far
    _check_past("--until", wish.until, now_s)
    return (wish.until.timestamp_ms or 0) / 1000


def check_order(start: Position, until_s: float) -> None:
    """ConfigurationError: the span ends before it begins."""
    if start.timestamp_ms is not None and start.timestamp_ms / 1000 >= until_s:
        raise ConfigurationError("--until: that time is not after the span's start; nothing lies between the two")


def older_than_kept(start: Position, now_s: float) -> bool:
    """Is the start longer ago than the stream keeps anything?"""
    return start.timestamp_ms is not None and now_s - start.timestamp_ms / 1000 > KEPT_S


def _check_past(option: str, time: Position, now_s: float) -> None:
    if time.timestamp_ms is not None and time.timestamp_ms / 1000 > now_s:
        raise ConfigurationError(f"{option}: that time is yet to come, by the service's clock")


async def span_of(
    wish: Wish,
    start: Position,
    until_s: float | None,
    *,
    shards: Mapping[str, Shard],
    source: Source,
    clock: Clock,
) -> Span:
    """The span of these shards of the stream. PollerError: there is no such shard, or no such record."""
    named = frozenset(match(given, shards, _NO_SHARD) for given in wish.shards) or None
    if start.kind == AT_SEQUENCE_NUMBER:
        among = [shard_id for shard_id in shards if named is None or shard_id in named]
        shard_id, place = await _find_record(start, among, source, clock)
        return Span(
            Position(TRIM_HORIZON), until_s, frozenset({shard_id}), descend=named is None, places={shard_id: place}
        )
    if start.kind == LATEST:
        among = [shard_id for shard_id, shard in shards.items() if (shard_id in named if named else not shard.closed)]
        places = dict.fromkeys(among, start)
        return Span(Position(TRIM_HORIZON), until_s, frozenset(among), descend=named is None, places=places)
    return Span(start, until_s, named, descend=named is None)


async def _find_record(start: Position, among: list[str], source: Source, clock: Clock) -> tuple[str, Position]:
    """The shard that has the record of that sequence number: asked one by one, since only the shards themselves know.

    With it its place, as the stream writes the number.
    """
    number = start.sequence_number or ""
    for shard_id in among:
        try:
            told = await ShardRecords(source, shard_id, clock).first(start)
        except (DataTrimmed, InvalidRequest, NotFound):
            continue
        except AwsError as error:
            if isinstance(error, AccessDenied) or not (isinstance(error, Unavailable) and error.answered):
                raise
            continue
        if told is not None and int(told.sequence_number) == int(number):
            return shard_id, Position.at(told.sequence_number)
    where = among[0] if len(among) == 1 else f"none of {len(among)} shards"
    raise PollerError(
        f"--from {number}: {where} has no such record (any more); TRIM_HORIZON is the oldest that is left"
    )
