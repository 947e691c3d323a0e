"""Which of a table's streams to read: a replaced stream is read to its end before its successor.

Disabling and enabling a stream, or making its table anew, gives a new ARN; the old stream stays readable for 24
hours. Labels are timestamps of one form, so that the order of a table's ARNs is the order of its streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from poller.model import Lease


def table_of(stream_arn: str) -> str:
    """The table's ARN of a stream's ARN: all of a table's streams share it."""
    return stream_arn.partition("/stream/")[0]


def table_name_of(stream_arn: str) -> str:
    """The table's name of a stream's ARN."""
    return table_of(stream_arn).partition(":table/")[2]


def foreign(rows: Iterable[Lease], stream_arn: str) -> str | None:
    """The ARN of another table's stream to which some row belongs, None if all rows are this table's or nobody's."""
    table = table_of(stream_arn)
    return next((row.stream_arn for row in rows if row.stream_arn and table_of(row.stream_arn) != table), None)


def current_arn(rows: Iterable[Lease], latest_arn: str) -> str:
    """The stream to go on with: the oldest with unfinished rows, else the newest with rows, else the table's latest.

    Rows of another table's streams, which should not be there, say nothing.
    """
    pinned = _of_one_table(rows, latest_arn)
    unfinished = sorted({arn for arn, row in pinned if not row.finished})
    known = sorted({arn for arn, _ in pinned})
    return unfinished[0] if unfinished else known[-1] if known else latest_arn


def _of_one_table(rows: Iterable[Lease], stream_arn: str) -> list[tuple[str, Lease]]:
    """The rows that name a stream of the same table, with its ARN."""
    table = table_of(stream_arn)
    return [(row.stream_arn, row) for row in rows if row.stream_arn and table_of(row.stream_arn) == table]


def next_arn(current: str, arns: Sequence[str]) -> str | None:
    """The stream that followed on `current`, None if there is none. `arns`: all that can still be read.

    And the latest.
    """
    return min((arn for arn in arns if arn > current and table_of(arn) == table_of(current)), default=None)


def superseded(rows: Iterable[Lease], current: str) -> tuple[Lease, ...]:
    """The rows of the table's earlier streams, all finished: they are of no use once the current stream has a row.

    Parents before their children: the names of shards tell when they began.
    """
    known = _of_one_table(rows, current)
    if not any(arn == current for arn, _ in known):
        return ()
    earlier = [row for arn, row in known if arn < current and row.finished]
    return tuple(sorted(earlier, key=lambda row: row.shard_id))


def taken_up(rows: Iterable[Lease], current: str) -> str | None:
    """The ARN of the next stream of this table with which some worker has gone on, None while none has."""
    return next_arn(current, sorted({row.stream_arn for row in rows if row.stream_arn}))


def rows_of(rows: Iterable[Lease], stream_arn: str, shard_ids: Iterable[str]) -> dict[str, Lease]:
    """The rows of one stream by shard id: those pinned to it, and unpinned ones (Java's) whose shards it lists."""
    listed = frozenset(shard_ids)
    return {
        row.shard_id: row
        for row in rows
        if row.stream_arn == stream_arn or (row.stream_arn is None and row.shard_id in listed)
    }
