"""`poller leases set`: what may stand behind --to, what it makes of a row, and what a reader makes of that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from poller.decide.lineage import Start, start_of
from poller.model import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Lease, Position
from poller.operate.places import Place, as_written, compare, place_of, read_target
from poller.run.shard import START_TIME_SLACK_S, begin

NOW_MS = 1_795_000_000_700
NUMBER = "112200000000012345678"
HORIZON, END, TIP = Place("horizon"), Place("end"), Place("tip")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("TRIM_HORIZON", Position(TRIM_HORIZON)),
        ("LATEST", Position(LATEST)),
        ("2026-11-23T08:00:00Z", Position(AT_TIMESTAMP, timestamp_ms=1_795_420_800_000)),
        ("2026-11-23T09:00:00.250+01:00", Position(AT_TIMESTAMP, timestamp_ms=1_795_420_800_250)),
        (NUMBER, Position.after(NUMBER)),
    ],
)
def test_a_place_is_written_as_in_the_settings_or_as_a_sequence_number(text: str, target: Position) -> None:
    assert read_target(text) == target


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("77", "not a sequence number: those have 21 to 40 digits"),
        ("1" * 41, "not a sequence number: those have 21 to 40 digits"),
        ("SHARD_END", "must be TRIM_HORIZON, LATEST or a time such as 2026-11-23T08:00:00Z, or the sequence number"),
        ("²" * 21, "must be TRIM_HORIZON"),
        ("2026-11-23T08:00:00", "a time needs its zone"),
        ("", "must be TRIM_HORIZON"),
    ],
)
def test_what_is_no_place_is_refused_with_what_may_be_written(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        read_target(text)


def moved(target: str, **fields: Any) -> Lease:
    """A row that the first start at LATEST has made, after the move."""
    row = Lease("a", checkpoint="5", start_time_ms=1_000_000, **fields)
    return row.moved(*as_written(read_target(target), NOW_MS), 0)


@pytest.mark.parametrize("fresh", [True, False])
def test_a_reader_of_a_row_moved_to_the_horizon_wants_all_that_is_there(fresh: bool) -> None:
    assert begin(moved("TRIM_HORIZON"), fresh=fresh) == (Position(TRIM_HORIZON), -START_TIME_SLACK_S)


@pytest.mark.parametrize("fresh", [True, False])
def test_a_reader_of_a_row_moved_to_latest_begins_at_that_second_whenever_it_comes(fresh: bool) -> None:
    assert begin(moved("LATEST"), fresh=fresh) == (Position(AT_TIMESTAMP, timestamp_ms=1_795_000_000_000), None)


def test_a_reader_of_a_row_moved_to_a_time_begins_there() -> None:
    position = Position(AT_TIMESTAMP, timestamp_ms=1_795_420_800_000)

    assert begin(moved("2026-11-23T08:00:00Z"), fresh=False) == (position, None)


def test_a_reader_of_a_row_moved_to_a_record_goes_on_after_it() -> None:
    row = moved(NUMBER, seek_time_ms=7)

    assert begin(row, fresh=False) == (Position.after(NUMBER), None)
    assert row.seek_time_ms is None


@pytest.mark.parametrize("target", ["LATEST", "TRIM_HORIZON", "2026-11-23T08:00:00Z", NUMBER])
@pytest.mark.parametrize("first_ms", [None, 1_000_000])
def test_what_the_first_start_meant_for_other_shards_stays_as_it_is(target: str, first_ms: int | None) -> None:
    row = replace(moved(target), start_time_ms=first_ms)

    assert start_of([row], Start(LATEST, NOW_MS)) == Start(TRIM_HORIZON, first_ms)


@pytest.mark.parametrize(
    ("row", "place"),
    [
        (Lease("a"), HORIZON),
        (Lease("a", start_time_ms=9_000), Place("time", 9.0)),
        (Lease("a", checkpoint=LATEST, start_time_ms=9_000), Place("time", 9.0)),
        (Lease("a", checkpoint=LATEST), TIP),
        (Lease("a", checkpoint=AT_TIMESTAMP, start_time_ms=9_000), Place("time", 9.0)),
        (Lease("a", checkpoint=AT_TIMESTAMP, start_time_ms=9_000, seek_time_ms=8_000), Place("time", 8.0)),
        (Lease("a", start_time_ms=9_000, seek_time_ms=0), HORIZON),
        (Lease("a", checkpoint="5", start_time_ms=9_000), Place("after", 5)),
        (Lease("a", checkpoint=SHARD_END), END),
    ],
)
def test_a_row_stands_where_its_next_reader_begins(row: Lease, place: Place) -> None:
    assert place_of(row) == place


ORDERED = [HORIZON, Place("time", 1.0), Place("time", 2.0), END]
NUMBERED = [HORIZON, Place("after", 9), Place("after", 10), TIP]


@pytest.mark.parametrize("places", [ORDERED, NUMBERED])
def test_places_of_a_kind_have_an_order(places: list[Place]) -> None:
    for first, one in enumerate(places):
        for second, other in enumerate(places):
            order = compare(one, other)
            assert order is not None
            assert (order > 0) - (order < 0) == (first > second) - (first < second)


def test_of_a_time_and_a_number_only_a_read_can_tell_which_comes_first() -> None:
    assert compare(Place("time", 1.0), Place("after", 1)) is None
    assert compare(Place("after", 1), Place("time", 1.0)) is None
