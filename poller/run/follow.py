"""Follows a table's stream: discovers its shards, notices that it was replaced, and goes on with its successor."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence

from poller.decide.lineage import (
    Stage,
    Start,
    already_read,
    children_missing,
    stage,
    stream_finished,
    undecided,
)
from poller.decide.succession import current_arn, foreign, next_arn, rows_of, superseded, table_name_of, taken_up
from poller.decide.trouble import Trouble
from poller.errors import AwsError, DataTrimmed, NotFound
from poller.events import DataLost, Emit, SettingsDoubtful, StreamEnded, StreamReplaced, StreamSwitched, ViewChanged
from poller.model import TRIM_HORIZON, Lease, Position, Shard, StreamInfo
from poller.run.discovery import Discovery
from poller.run.ports import Clock, LeaseTable, Limiter, StreamSource, Tables

# How often, and for how long, a stream must not be found before it is gone: sooner than a shard of it is
# (`poller.run.shard`), so that this is what is said.
_GONE_AFTER = 3
_GONE_S = 2.0
# How late the children of a shard may be listed at the very end of a stream.
_LATE_CHILDREN_S = 8.0
# How many rows are looked into in one look at the table: each costs two calls.
_PLACED_A_LOOK = 50


class Follower:
    """The stream that is being read, and what is known of its shards.

    `table` is the table's name when the stream was found by it: then a newer stream of the table is followed. None: the
    stream was given by its ARN, and only that one is read. `on_view` is told of a stream that carries other images than
    the one before it, once a listing has shown that.
    """

    def __init__(
        self,
        stream: StreamInfo,
        *,
        table: str | None,
        start: Start,
        tables: Tables,
        open_source: Callable[[str], StreamSource],
        lease_table: LeaseTable,
        describe_limiter: Limiter,
        on_created: Callable[[str, float], None],
        clock: Clock,
        emit: Emit,
        rng: random.Random,
    ) -> None:
        self.on_view: Callable[[StreamInfo], None] = lambda _: None
        self._view_type = stream.view_type
        self._latest = stream
        self._table = table
        self._start = start
        self._tables = tables
        self._open_source = open_source
        self._lease_table = lease_table
        self._limiter = describe_limiter
        self._on_created = on_created
        self._clock = clock
        self._emit = emit
        self._rng = rng
        self._replaced_by: str | None = None
        self._end_said = False
        self._strangers_said = False
        self._seen_at: dict[str, float] = {}  # when a look first showed each row
        self._finished_at = math.inf
        self._absence = Trouble()
        self._gone = False
        self._open(stream, start)

    def _open(self, stream: StreamInfo, start: Start) -> None:
        self.source = self._open_source(stream.arn)
        self.discovery = Discovery(
            stream,
            self.source,
            self._lease_table,
            start,
            describe_limiter=self._limiter,
            clock=self._clock,
            emit=self._emit,
            rng=self._rng,
            on_created=self._on_created,
        )

    @property
    def stream(self) -> StreamInfo:
        return self.discovery.stream

    @property
    def shards(self) -> Mapping[str, Shard]:
        return self.discovery.shards

    def unplaced(self, rows: Iterable[Lease]) -> tuple[Lease, ...]:
        """Unfinished rows that name no stream (Java's), and of which no listing of mine shows to which they belong."""
        return tuple(
            row for row in rows if row.stream_arn is None and not row.finished and row.shard_id not in self.shards
        )

    async def place(self, rows: Sequence[Lease]) -> None:
        """Finds out to which of the table's streams rows belong that name none, and writes it on them.

        A stream may have been replaced while a Java application stood still: what it left unread is in the old one. A
        shard that no stream has any more is put down to the present one, whose reader then says that it is gone.
        Raises AwsError or LeaseConflict: the rest is for the next look.
        """
        arns = [self.stream.arn]
        if self._table is not None:
            arns += sorted({*await self._tables.streams(self._table)} - {self.stream.arn}, reverse=True)
        for row in rows[:_PLACED_A_LOOK]:
            await self._lease_table.adopt(row, await self._arn_of(row.shard_id, arns) or self.stream.arn)

    async def _arn_of(self, shard_id: str, arns: Sequence[str]) -> str | None:
        for arn in arns:
            try:
                await self._open_source(arn).iterator(shard_id, Position(TRIM_HORIZON))
            except DataTrimmed:
                return arn
            except NotFound:
                continue
            return arn
        return None

    def begin(self, rows: Collection[Lease]) -> None:
        """Before anything is read: a stream that an earlier run left unfinished comes before the table's newest."""
        arn = self._latest.arn if self._table is None else current_arn(rows, self._latest.arn)
        if arn != self._latest.arn:
            self._open(StreamInfo(arn, self._latest.table, self._latest.view_type, enabled=False), self._start)
        self._note_followers(rows)

    def _note_followers(self, rows: Iterable[Lease]) -> None:
        """What of this stream has no row any more need not be read again once a worker has gone on with the next."""
        self.discovery.followed |= self._table is not None and taken_up(rows, self.stream.arn) is not None

    def rows(self, rows: Iterable[Lease]) -> dict[str, Lease]:
        """Of all rows of the table those of the stream that is being read."""
        return rows_of(rows, self.stream.arn, self.shards)

    def stages(self, rows: Mapping[str, Lease]) -> dict[str, Stage]:
        """Where each of the stream's shards stands, after a look at the table. What only a listing tells is waited for.

        A look takes some time, and may show a row that was made meanwhile without that of its parent, made before. So a
        parent without a row counts for something only once a listing has begun after that: an older one may know
        nothing of a parent whose row somebody has deleted.
        """
        now = self._clock.monotonic()
        self._seen_at = {shard_id: self._seen_at.get(shard_id, now) for shard_id in rows}
        unmade = self._unmade(rows)
        return {
            shard_id: stage(lease, rows, unmade if self._listed_since(shard_id) else None)
            for shard_id, lease in rows.items()
        }

    def _listed_since(self, shard_id: str) -> bool:
        """Has a complete listing begun after a look had shown the shard's row?"""
        return self._seen_at.get(shard_id, math.inf) < self.discovery.listed_from

    def _unmade(self, rows: Mapping[str, Lease]) -> Container[str]:
        """Listed shards whose rows have yet to be made: all without a row but those that were read before."""
        if not undecided(rows):
            return self.shards
        return self.shards.keys() - already_read(self.shards, rows, followed=self.discovery.followed)

    def rowless(self, rows: Mapping[str, Lease]) -> tuple[str, ...]:
        """Listed shards that have yet to be read and have no row: for a moment, or since theirs cannot be read."""
        missing = self.shards.keys() - rows.keys() - self.discovery.absent
        if missing:
            missing -= already_read(self.shards, rows, followed=self.discovery.followed)
        return tuple(sorted(missing))

    def must_list(self, rows: Mapping[str, Lease], all_rows: Iterable[Lease]) -> bool:
        """Do the rows leave open what only a listing of my own tells?

        Which rows without a stream's name (Java's) are this stream's, and what became of parents that have no row.
        """
        unnamed = any(row.stream_arn is None for row in all_rows)
        unlisted = (shard_id for shard_id in undecided(rows) if not self._listed_since(shard_id))
        return (unnamed and not self.discovery.listed_once) or any(unlisted)

    def set_describe_rate(self, per_second: float) -> None:
        """This worker's part of the DescribeStream calls that the account may make."""
        self._limiter.set_rate(per_second)

    async def children_of(self, shard_id: str, rows: Mapping[str, Lease]) -> tuple[str, ...]:
        """The shard's children by name, in order; their rows are made. Raises AwsError."""
        children = await self.discovery.children_of(shard_id)
        await self.discovery.create(rows)
        return tuple(sorted(child.shard_id for child in children))

    def known_children(self, shard_id: str, rows: Mapping[str, Lease]) -> tuple[str, ...]:
        """Those that need no asking, by name, in order."""
        listed = {child.shard_id for child in self.discovery.known_children(shard_id)}
        return tuple(sorted(listed | {row.shard_id for row in rows.values() if shard_id in row.parents}))

    async def clean_up(self, all_rows: Iterable[Lease]) -> None:
        """Deletes rows that are of no use any more."""
        known = list(all_rows)
        await self.discovery.clean_up(self.rows(known), superseded(known, self.stream.arn))

    async def discover(self, all_rows: Callable[[], Iterable[Lease]]) -> None:
        """One look at the stream's shards and, where a table is followed, at the table's newest stream.

        `all_rows`: the lease table as last seen.
        Raises AwsError as `Discovery.look` does, but for a stream that is gone for good: that is noted, for `over`.
        """
        self._note_followers(all_rows())
        self._note_strangers(all_rows())
        try:
            await self.discovery.look(lambda: self.rows(all_rows()))
            self._is_there()
        except NotFound:
            self._is_not_there()
            if self._table is None or not self._gone:
                raise
        except AwsError:
            self._is_there()  # as far as this look has told
            raise
        else:
            self._note_view()
        if self._table is not None and (self._gone or not self.stream.enabled or self._replaced_by is None):
            await self._look_for_successor(self._table, [row.stream_arn for row in all_rows() if row.stream_arn])

    def _is_there(self) -> None:
        self._absence, self._gone = Trouble(), False

    def _is_not_there(self) -> None:
        """Once, that may be a passing fault of the service."""
        now = self._clock.monotonic()
        self._absence.failed(now)
        self._gone = self._absence.failures >= _GONE_AFTER and self._absence.lasting_s(now) >= _GONE_S

    def _note_strangers(self, rows: Iterable[Lease]) -> None:
        """A start refuses a lease table of another table's stream; two that start together find it empty."""
        other = None if self._strangers_said else foreign(rows, self.stream.arn)
        if other is not None:
            self._strangers_said = True
            text = f"the lease table is also that of another stream ({other}): neither starts again; name another one"
            self._emit(SettingsDoubtful(stream=self.stream.table, text=text))

    def _note_view(self) -> None:
        """One that replaces another, or that an earlier run has left unfinished, may be of another view type."""
        stream = self.stream
        if stream.view_type is not self._view_type:
            self._view_type = stream.view_type
            self._emit(ViewChanged(stream=stream.table, stream_arn=stream.arn, view_type=stream.view_type.value))
            self.on_view(stream)

    async def _look_for_successor(self, table: str, taken_up_arns: Sequence[str]) -> None:
        """The next that can be read, or of which there are rows: should it be gone, what is lost of it must be said."""
        latest = await self._tables.latest_stream(table)
        if latest is None or latest.arn == self.stream.arn:
            return
        self._latest = latest
        if self._replaced_by is None:
            self._replaced_by = next_arn(
                self.stream.arn, [*await self._tables.streams(table), *taken_up_arns, latest.arn]
            )
            if self._replaced_by is not None:
                self._emit(StreamReplaced(stream=self.stream.table, old_arn=self.stream.arn, new_arn=self._replaced_by))

    def over(self, rows: Mapping[str, Lease], all_rows: Iterable[Lease]) -> bool:
        """Is this stream at its end, or gone, and is there another to go on with?

        Another worker may have seen to that already: then the next stream has rows.
        """
        # The one that has gone on may have cleaned up behind it: then there are no rows to be finished.
        if self._table is not None and all(row.finished for row in rows.values()):
            next_stream = taken_up(all_rows, self.stream.arn)
            if next_stream is not None:
                self._replaced_by = next_stream
                return True
        finished = self._surely(
            stream_finished(rows, self.shards, enabled=self.stream.enabled, complete=self.discovery.listed_once)
        )
        if self._replaced_by is not None:
            return finished or self._gone
        if finished and not self._end_said:
            self._end_said = True
            self._emit(StreamEnded(stream=self.stream.table, stream_arn=self.stream.arn))
        return False

    def _surely(self, finished: bool) -> bool:
        """Has a listing some time later shown no more shards? Children of the last ones may be listed late."""
        if not finished:
            self._finished_at = math.inf
        else:
            self._finished_at = min(self._finished_at, self._clock.monotonic())
        return self.discovery.listed_from >= self._finished_at + _LATE_CHILDREN_S

    def switch(self) -> None:
        """Goes on with the successor, from its beginning."""
        old, new = self.stream, self._replaced_by
        self.discovery.left = True  # a look at it that is under way would make rows anew that somebody has cleaned up
        if new is None:
            raise RuntimeError("there is no stream to switch to")
        # One that another worker has found is enabled, for all that is known here; the next listing tells.
        enabled = self._latest.enabled if new == self._latest.arn else new > self._latest.arn
        self._open(StreamInfo(new, table_name_of(new), self._latest.view_type, enabled), Start(TRIM_HORIZON))
        self._replaced_by, self._end_said = None, False
        self._is_there()
        self._finished_at = math.inf
        self._emit(StreamSwitched(stream=old.table, old_arn=old.arn, new_arn=new))

    def say_lost(self, lease: Lease) -> None:
        """The stream is gone, and with it what followed on this row's checkpoint."""
        self._emit(
            DataLost(
                stream=self.stream.table,
                shard=lease.shard_id,
                reason="stream_gone",
                position=lease.checkpoint,
                action="read the stream that replaced it",
            )
        )

    def children_missing(self, rows: Mapping[str, Lease]) -> bool:
        """Has a shard ended whose children nobody has seen, on a stream that should have some?"""
        return self.stream.enabled and bool(children_missing(rows, self.shards))
