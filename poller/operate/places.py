"""Places in a shard: how one is written on the command line and in a row, and which of two comes first. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from poller.model import AT_TIMESTAMP, LATEST, TRIM_HORIZON, Lease, Position
from poller.run.shard import begin
from poller.settings.values import read_start_position

# As the API has it for SequenceNumber.
_DIGITS_MIN: Final = 21
_DIGITS_MAX: Final = 40

PlaceKind = Literal["horizon", "time", "after", "tip", "end"]


def read_target(text: str) -> Position:
    """What stands behind `--to`; for a sequence number, after it. ValueError says what may be written there."""
    if text.isascii() and text.isdigit():
        if not _DIGITS_MIN <= len(text) <= _DIGITS_MAX:
            raise ValueError(f"not a sequence number: those have {_DIGITS_MIN} to {_DIGITS_MAX} digits")
        return Position.after(text)
    try:
        return read_start_position(text)
    except ValueError as error:
        raise ValueError(f"{error}, or the sequence number of a record") from None


def as_written(target: Position, now_ms: int) -> tuple[str, int | None]:
    """The row's `checkpoint` and `seek_time_ms` for a target; `now_ms`: the service's clock.

    LATEST becomes the instant at which it was asked for, rounded down as records' creation times are: whoever reads the
    row, and however late, reads from there. A person who moves a checkpoint to the horizon wants all that is there,
    whatever instant the first start meant.
    """
    if target.sequence_number is not None:
        return target.sequence_number, None
    if target.kind == TRIM_HORIZON:
        return TRIM_HORIZON, 0
    return AT_TIMESTAMP, now_ms // 1000 * 1000 if target.kind == LATEST else target.timestamp_ms


@dataclass(frozen=True, slots=True)
class Place:
    """Where reading goes on. `value`: for `time` seconds since the epoch, for `after` a sequence number.

    `tip`: at what comes from the moment on in which somebody asks; `end`: behind the shard's last record.
    """

    kind: PlaceKind
    value: float | int = 0

    @property
    def position(self) -> Position:
        """Where a reader would ask for records; ValueError at the end, where there are none."""
        match self.kind:
            case "horizon":
                return Position(TRIM_HORIZON)
            case "time":
                return Position(AT_TIMESTAMP, timestamp_ms=int(self.value * 1000))
            case "after":
                return Position.after(f"{self.value:0{_DIGITS_MIN}d}")
            case "tip":
                return Position(LATEST)
            case "end":
                raise ValueError("behind the last record there is nothing to read")


def place_of(lease: Lease) -> Place:
    """Where the next reader of the row goes on: as `run.shard.begin` has it, without its slack."""
    if lease.finished:
        return Place("end")
    position, not_before_s = begin(lease, fresh=False)
    if position.sequence_number is not None:
        return Place("after", int(position.sequence_number))
    if position.kind == LATEST:
        return Place("tip")
    since_ms = lease.start_time_ms if lease.seek_time_ms is None else lease.seek_time_ms
    if position.kind == AT_TIMESTAMP or not_before_s is not None:
        return Place("time", since_ms / 1000) if since_ms else Place("horizon")
    return Place("horizon")


_RANK: Final = {"horizon": 0, "time": 1, "after": 1, "tip": 2, "end": 2}


def compare(first: Place, second: Place) -> int | None:
    """Negative: the first comes first; 0: they are the same; None: a time and a number, only a read can tell."""
    ranks = _RANK[first.kind], _RANK[second.kind]
    if ranks[0] != ranks[1]:
        return ranks[0] - ranks[1]
    if ranks[0] != 1:
        return 0
    if first.kind != second.kind:
        return None
    return (first.value > second.value) - (first.value < second.value)
