"""Tables with streams in memory: what a test writes into a table comes out of its stream's shards, as bytes.

Pages go through the real decoder, iterators expire on the test's clock, and gates stand in the way of calls.
"""

from __future__ import annotations

import json
import math
import zlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from poller.aws.page import decode_page
from poller.errors import DataTrimmed, InvalidRequest, IteratorExpired, NotFound
from poller.model import LATEST, TRIM_HORIZON, Page, Position, Shard, ShardPage, StreamInfo, ViewType
from poller.run.ports import Clock
from tests.memory.gates import Gate, fault, open_gate
from tests.memory.shards import Entry, MemoryShard, ShardTree

ITERATOR_LIFE_S = 900.0
PAGE_BYTES_MAX = 1_000_000
Item = Mapping[str, Mapping[str, Any]]  # DynamoDB JSON: {"id": {"S": "a"}}


class MemoryTables:
    """`poller.run.ports.Tables`. A stream outlives its table, as in the service."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._streams: dict[str, list[MemoryStream]] = {}
        self.tables: dict[str, MemoryTable] = {}
        self.before: Gate = open_gate

    def create(self, name: str, view_type: ViewType | None = ViewType.NEW_IMAGE) -> MemoryTable:
        """A new table, with a stream unless `view_type` is None."""
        table = self.tables[name] = MemoryTable(name, self._clock, self._streams.setdefault(name, []))
        if view_type is not None:
            table.enable(view_type)
        return table

    def drop(self, name: str) -> None:
        """Deletes a table; its stream is closed and can be read on."""
        table = self.tables.pop(name)
        if table.streams:
            table.disable()

    def all_streams(self, table: str) -> Sequence[MemoryStream]:
        """Every stream that a table of this name ever had, the oldest first."""
        return tuple(self._streams.get(table, ()))

    async def latest_stream(self, table: str) -> StreamInfo | None:
        await self.before("DescribeTable", table)
        if table not in self.tables:
            raise fault(NotFound, "DescribeTable", table, "ResourceNotFoundException")
        streams = self.tables[table].streams
        return streams[-1].info if streams and not streams[-1].gone else None

    async def streams(self, table: str) -> Sequence[str]:
        await self.before("ListStreams", table)
        return [stream.info.arn for stream in self._streams.get(table, ()) if not stream.gone]


class MemoryTable:
    """A table with the hash key `id`; `streams` are those that it ever had, the newest last."""

    def __init__(self, name: str, clock: Clock, of_this_name: list[MemoryStream]) -> None:
        self._name = name
        self._clock = clock
        self._of_this_name = of_this_name
        self._items: dict[str, Item] = {}
        self.streams: list[MemoryStream] = []

    @property
    def stream(self) -> MemoryStream:
        return self.streams[-1]

    def enable(self, view_type: ViewType) -> MemoryStream:
        stream = MemoryStream(self._name, view_type, self._clock, number=len(self._of_this_name))
        self._of_this_name.append(stream)
        self.streams.append(stream)
        return stream

    def disable(self) -> None:
        """Closes the stream's shards; they can be read on."""
        self.stream.disable()

    def put(self, item: Item) -> str | None:
        """Writes an item; the sequence number of its record, None if nothing changed."""
        key = str(item["id"]["S"])
        old = self._items.get(key)
        self._items[key] = item
        return None if old == item else self._record("INSERT" if old is None else "MODIFY", key, old, item)

    def delete(self, key: str) -> str | None:
        old = self._items.pop(key, None)
        return None if old is None else self._record("REMOVE", key, old, None)

    def _record(self, event_name: str, key: str, old: Item | None, new: Item | None) -> str | None:
        if not self.streams or not self.stream.info.enabled:
            return None
        return self.stream.record(event_name, key, old, new)


class MemoryStream:
    """`poller.run.ports.StreamSource`. `shards` is the test's to change; `gone` makes the whole stream unknown."""

    def __init__(
        self, table: str, view_type: ViewType, clock: Clock, *, number: int = 0, page_shards: int = 100
    ) -> None:
        label = datetime.fromtimestamp(math.floor(clock.wall()), UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{number:03d}")
        arn = f"arn:aws:dynamodb:eu-west-1:123456789012:table/{table}/stream/{label}"
        self.info = StreamInfo(arn, table, view_type, enabled=True)
        self.shards = ShardTree(clock.wall())
        self.page_shards = page_shards
        self.gone = False
        self.iterator_life_s = ITERATOR_LIFE_S
        self.before: Gate = open_gate
        self._clock = clock

    # --- what a test does ---

    def disable(self) -> None:
        self.info = StreamInfo(self.info.arn, self.info.table, self.info.view_type, enabled=False)
        for shard in self.shards:
            shard.closed = True

    def record(self, event_name: str, key: str, old: Item | None, new: Item | None) -> str:
        """Adds a record to the open shard of its key; its sequence number."""
        number = self.shards.next_sequence_number()
        change: dict[str, Any] = {
            "ApproximateCreationDateTime": math.floor(self._clock.wall()),
            "Keys": {"id": {"S": key}},
            "SequenceNumber": str(number),
            "SizeBytes": 1,
            "StreamViewType": self.info.view_type.value,
        }
        if new is not None and self.info.view_type.has_new_image:
            change["NewImage"] = new
        if old is not None and self.info.view_type.has_old_image:
            change["OldImage"] = old
        body = {
            "eventID": f"{zlib.crc32(self.info.arn.encode()):08x}{number:024x}",
            "eventName": event_name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "eu-west-1",
            "dynamodb": change,
        }
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
        self.shards.open_shard(key).entries.append(Entry(number, math.floor(self._clock.wall()), text.encode()))
        return str(number)

    # --- the port ---

    async def describe(self, after_shard_id: str | None = None) -> ShardPage:
        await self._enter("DescribeStream", self.info.table)
        listed = [shard for shard in self._listed() if after_shard_id is None or shard.shard_id > after_shard_id]
        page = listed[: self.page_shards]
        last = page[-1].shard_id if len(listed) > len(page) else None
        return ShardPage(self.info, tuple(map(_as_shard, page)), last)

    async def children(self, shard_id: str) -> tuple[Shard, ...]:
        await self._enter("DescribeStream", f"{self.info.table}/{shard_id}")
        return tuple(_as_shard(shard) for shard in self._listed() if shard.parent_id == shard_id)

    async def iterator(self, shard_id: str, position: Position) -> str:
        await self._enter("GetShardIterator", f"{self.info.table}/{shard_id}")
        shard = self._shard(shard_id, "GetShardIterator")
        return self._iterator(shard, self._start(shard, position))

    async def records(self, iterator: str, limit: int) -> Page:
        await self._enter("GetRecords", self.info.table)
        shard_id, after, given_s = self._parse(iterator)
        shard = self._shard(shard_id, "GetRecords")
        if self._clock.monotonic() - given_s > self.iterator_life_s:
            raise fault(IteratorExpired, "GetRecords", self.info.table, "ExpiredIteratorException")
        if after < shard.trimmed:
            raise fault(DataTrimmed, "GetRecords", self.info.table, "TrimmedDataAccessException")
        return self._page(shard, after, limit)

    # --- how it works ---

    async def _enter(self, operation: str, resource: str) -> None:
        await self.before(operation, resource)
        if self.gone:
            raise fault(NotFound, operation, resource, "ResourceNotFoundException")

    def _listed(self) -> list[MemoryShard]:
        """The shards of this answer, by id; a hidden one comes an answer nearer."""
        listed = []
        for shard in self.shards:
            if shard.hidden_answers > 0:
                shard.hidden_answers -= 1
            else:
                listed.append(shard)
        return sorted(listed, key=lambda shard: shard.shard_id)

    def _shard(self, shard_id: str, operation: str) -> MemoryShard:
        shard = self.shards.shards.get(shard_id)
        if shard is None:
            raise fault(NotFound, operation, f"{self.info.table}/{shard_id}", "ResourceNotFoundException")
        return shard

    def _start(self, shard: MemoryShard, position: Position) -> int:
        """The sequence number after which to read."""
        resource = f"{self.info.table}/{shard.shard_id}"
        if position.kind == TRIM_HORIZON:
            return shard.trimmed
        if position.kind == LATEST:
            return shard.last
        if position.timestamp_ms is not None:
            if position.timestamp_ms > self._clock.wall() * 1000:
                raise fault(InvalidRequest, "GetShardIterator", resource, "ValidationException")
            older = [entry for entry in shard.entries if entry.created_s * 1000 < position.timestamp_ms]
            return older[-1].sequence_number if older else shard.trimmed
        number = int(position.sequence_number or 0)
        if number <= shard.trimmed:  # the record itself is gone, though perhaps nothing after it
            raise fault(DataTrimmed, "GetShardIterator", resource, "TrimmedDataAccessException")
        return number - 1 if position.kind == "AT_SEQUENCE_NUMBER" else number

    def _iterator(self, shard: MemoryShard, after: int) -> str:
        return f"{self.info.arn}|{shard.shard_id}|{after}|{self._clock.monotonic()!r}"

    def _parse(self, iterator: str) -> tuple[str, int, float]:
        try:
            arn, shard_id, after, given_s = iterator.split("|")
            if arn == self.info.arn:
                return shard_id, int(after), float(given_s)
        except ValueError:
            pass
        raise fault(InvalidRequest, "GetRecords", self.info.table, "ValidationException")

    def _page(self, shard: MemoryShard, after: int, limit: int) -> Page:
        entries: list[Entry] = []
        if shard.empty_pages > 0:
            shard.empty_pages -= 1
        else:
            size = 0
            first = bisect_right(shard.entries, after, key=lambda entry: entry.sequence_number)
            for entry in shard.entries[first : first + limit]:
                size += len(entry.body)
                if entries and size > PAGE_BYTES_MAX:
                    break
                entries.append(entry)
        reached = entries[-1].sequence_number if entries else after
        body = b'{"Records":[' + b",".join(entry.body for entry in entries) + b"]"
        if not shard.closed or reached < shard.last:
            body += b',"NextShardIterator":' + json.dumps(self._iterator(shard, reached)).encode()
        return decode_page(body + b"}")


def _as_shard(shard: MemoryShard) -> Shard:
    return Shard(shard.shard_id, shard.parent_id, shard.closed)
