"""Places, ages, counts and what came of a command, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from poller.model import SENTINELS, Lease
from poller.operate.between import Between
from poller.operate.hold import NOTICES
from poller.operate.looks import Life
from poller.operate.move import Plan
from poller.operate.places import Place, place_of
from poller.operate.release import Released

_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "m"))


def utc(seconds: float) -> str:
    """A wall clock's seconds since the epoch as `2026-11-25T17:52:14Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def age(seconds: float) -> str:
    """`0.4s`, `12s`, `5m`, `3h`, `2d`: no more digits than anybody reads."""
    for unit_s, unit in _UNITS:
        if seconds >= unit_s:
            return f"{int(seconds / unit_s)}{unit}"
    return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s"


def still(life: Life) -> str:
    """For how long nothing has moved; where nothing ever was seen to, at least for how long."""
    return f"{'' if life.moved else '>'}{age(life.still_s)}"


def counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def checkpoint(lease: Lease) -> str:
    """As it stands in the row, with the instant that a time stands for."""
    instant_ms = lease.start_time_ms if lease.seek_time_ms is None else lease.seek_time_ms
    if lease.checkpoint in SENTINELS and instant_ms and not lease.finished:
        return f"{lease.checkpoint} {utc(instant_ms / 1000)}"
    return lease.checkpoint


def place(where: Place) -> str:
    match where.kind:
        case "horizon":
            return "the trim horizon, the oldest that the stream still has of it"
        case "time":
            return f"the first record created at {utc(where.value)} or later"
        case "after":
            return f"after {where.position.sequence_number}"
        case "tip":
            return "LATEST, wherever that is when somebody begins to read it"
        case "end":
            return "at its end, finished"


def plan(planned: Plan, wall_s: float) -> Iterator[tuple[str, str]]:
    """What a move would do, as names and texts."""
    lease = planned.lease
    written = ""
    if lease.checkpoint_time_ms is not None:
        at_s = lease.checkpoint_time_ms / 1000
        written = f", written {age(max(0.0, wall_s - at_s))} ago ({utc(at_s)})"
    yield "shard", lease.shard_id
    yield "held by", holder(planned)
    yield "stands", place(place_of(lease)) + written
    yield "goes to", place(place_of(planned.after(0)))
    yield "means", planned.uncounted or _means(planned.between)
    yield from (("warning", warning) for warning in planned.warnings)


def holder(planned: Plan) -> str:
    owner = planned.lease.owner
    if owner is None:
        return "nobody"
    if not planned.force:
        return f"{owner}, which has not been seen at work; the lease is taken from it"
    return f"{owner}; the lease is taken from it even while it is at work: it {NOTICES}"


def _means(between: Between | None) -> str:
    if between is None or (not between.count and between.complete):
        return "no record lies between the two"
    count = ("" if between.complete else "at least ") + counted(between.count, "record")
    verb = ("is" if between.count == 1 else "are") + (" skipped" if between.direction == "skipped" else " read again")
    if between.first_s is None or between.last_s is None:
        return f"{count} {verb}"
    first, last = utc(between.first_s), utc(between.last_s)
    when = f"created at {first}" if first == last else f"created from {first} to {last}"
    again = "" if between.direction == "skipped" else "; what matches is sent again, under the same deduplication id"
    return f"{count} {verb}, {when}{again}"


def released(result: Released) -> str:
    if not result.done:
        return f"{result.before.shard_id}: nobody holds it; there is nothing to release"
    text = (
        f"{result.before.shard_id}: taken from {result.before.owner}, and free for any worker;"
        f" reading goes on {_goes_on(result.after)}"
    )
    return f"{text}. If that worker is at work, it {NOTICES}" if result.forced else text


def moved_to(after: Lease) -> str:
    return f"{after.shard_id}: set; reading goes on {_goes_on(after)}"


def _goes_on(lease: Lease) -> str:
    where = place_of(lease)
    return place(where) if where.kind in ("after", "end") else f"from {place(where)}"
