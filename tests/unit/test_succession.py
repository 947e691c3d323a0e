"""From a replaced stream to its successor."""

from __future__ import annotations

from poller.decide.succession import current_arn, foreign, next_arn, rows_of, superseded, table_name_of
from poller.model import SHARD_END, Lease

TABLE = "arn:aws:dynamodb:eu-west-1:000000000000:table/Orders"
STRANGE = "arn:aws:dynamodb:eu-west-1:000000000000:table/Customers/stream/2026-11-21T10:00:00.000"
FIRST, SECOND, THIRD = (f"{TABLE}/stream/2026-11-2{day}T10:00:00.000" for day in (1, 2, 3))


def test_the_table_is_named_in_its_streams_arn() -> None:
    assert table_name_of(FIRST) == "Orders"


def test_without_rows_the_latest_stream_is_read() -> None:
    assert current_arn([], THIRD) == THIRD


def test_a_stream_with_unfinished_rows_comes_first() -> None:
    rows = [
        Lease("a", checkpoint=SHARD_END, stream_arn=FIRST),
        Lease("b", stream_arn=SECOND),
        Lease("c", stream_arn=THIRD),
    ]
    assert current_arn(rows, THIRD) == SECOND


def test_the_newest_finished_stream_is_gone_on_from() -> None:
    rows = [Lease("a", checkpoint=SHARD_END, stream_arn=FIRST), Lease("b", checkpoint=SHARD_END, stream_arn=SECOND)]
    assert current_arn(rows, THIRD) == SECOND


def test_what_another_table_has_left_unread_is_not_read() -> None:
    rows = [Lease("a", stream_arn=STRANGE), Lease("b", checkpoint=SHARD_END, stream_arn=SECOND)]
    assert current_arn(rows[:1], THIRD) == THIRD
    assert current_arn(rows, THIRD) == SECOND


def test_no_stream_between_is_left_out() -> None:
    assert next_arn(FIRST, [THIRD, SECOND, FIRST]) == SECOND


def test_the_newest_stream_has_no_successor() -> None:
    assert next_arn(THIRD, [FIRST, SECOND, THIRD]) is None


def test_another_tables_stream_is_no_successor() -> None:
    assert next_arn(FIRST, ["arn:aws:dynamodb:eu-west-1:000000000000:table/Zebra/stream/2030"]) is None


def test_rows_of_another_table_are_foreign() -> None:
    other = "arn:aws:dynamodb:eu-west-1:000000000000:table/Other/stream/2026-11-21T10:00:00.000"
    assert foreign([Lease("a", stream_arn=other)], FIRST) == other
    assert foreign([Lease("a", stream_arn=SECOND), Lease("b")], FIRST) is None


def test_a_streams_rows_are_those_pinned_to_it_and_unpinned_ones_that_it_lists() -> None:
    rows = [Lease("a", stream_arn=FIRST), Lease("b", stream_arn=SECOND), Lease("c"), Lease("d")]
    assert set(rows_of(rows, FIRST, ["a", "c"])) == {"a", "c"}


def test_rows_of_earlier_streams_are_superseded_parents_first() -> None:
    rows = [
        Lease("shardId-2", checkpoint=SHARD_END, stream_arn=FIRST, parents=frozenset({"shardId-1"})),
        Lease("shardId-1", checkpoint=SHARD_END, stream_arn=FIRST),
        Lease("shardId-3", stream_arn=FIRST, parents=frozenset({"shardId-2"})),
        Lease("shardId-1", stream_arn=SECOND),
    ]
    assert [row.shard_id for row in superseded(rows, SECOND)] == ["shardId-1", "shardId-2"]
    assert superseded(rows[:3], SECOND) == ()


def test_finished_rows_of_another_table_are_not_superseded() -> None:
    assert superseded([Lease("a", checkpoint=SHARD_END, stream_arn=STRANGE), Lease("b", stream_arn=FIRST)], FIRST) == ()
