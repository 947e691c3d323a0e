"""What the stream suites read from: a table in memory, in a server, or in the stand-in, and how to read it."""

from __future__ import annotations

import json
import time
import uuid
import zlib
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import pytest

from poller.aws.errors import Target
from poller.aws.pool import NEVER
from poller.aws.session import Aws
from poller.aws.streams import BotoStreamSource, BotoTables
from poller.model import TRIM_HORIZON, Position, Shard, StreamInfo, ViewType
from poller.run.ports import StreamSource, Tables
from tests.contract.conftest import OpenAws
from tests.memory.clock import ManualClock
from tests.memory.streams import MemoryTables
from tests.standin import Remote

Item = Mapping[str, Mapping[str, Any]]
HORIZON = Position(TRIM_HORIZON)


class Table(Protocol):
    """A table with a stream, and the ports to read it."""

    name: str

    @property
    def tables(self) -> Tables: ...

    def source(self, arn: str) -> StreamSource: ...

    async def put(self, item: Item) -> None: ...

    async def delete(self, key: str) -> None: ...

    async def enable(self, view_type: ViewType) -> None: ...

    async def disable(self) -> None: ...


class ScriptedTable(Table, Protocol):
    """One whose shards and time are the test's."""

    def split(self, shard_id: str) -> None: ...

    def roll(self, shard_id: str) -> None: ...

    def trim(self, shard_id: str) -> None:
        """Forgets all of a shard's records."""

    def list_by(self, page_shards: int) -> None:
        """From now on a page of the listing holds so many shards."""

    def advance(self, seconds: float) -> None: ...

    def wall(self) -> float: ...


class MemoryBacked:
    def __init__(self, clock: ManualClock) -> None:
        self.name = "orders"
        self.clock = clock
        self.tables = self.world = MemoryTables(clock)
        self.table = self.world.create(self.name, None)

    def source(self, arn: str) -> StreamSource:
        found = [stream for stream in self.table.streams if stream.info.arn == arn]
        if found:
            return found[0]
        gone = MemoryTables(ManualClock()).create("gone").stream
        gone.gone = True
        return gone

    async def put(self, item: Item) -> None:
        self.table.put(item)

    async def delete(self, key: str) -> None:
        self.table.delete(key)

    async def enable(self, view_type: ViewType) -> None:
        self.table.enable(view_type)

    async def disable(self) -> None:
        self.table.disable()

    def split(self, shard_id: str) -> None:
        self.table.stream.shards.split(shard_id)

    def roll(self, shard_id: str) -> None:
        self.table.stream.shards.roll(shard_id)

    def trim(self, shard_id: str) -> None:
        self.table.stream.shards.trim(shard_id)

    def list_by(self, page_shards: int) -> None:
        self.table.stream.page_shards = page_shards

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def wall(self) -> float:
        return self.clock.wall()


class ServerBacked:
    def __init__(self, aws: Aws) -> None:
        self.name = f"orders-{uuid.uuid4().hex}"
        self.aws = aws
        self.tables = BotoTables(aws)
        self.client = aws.leases.client
        self.target = Target(self.name)

    async def create(self) -> None:
        await self.aws.leases.pool.call(
            "CreateTable",
            self.target,
            NEVER,
            self.client.create_table,
            TableName=self.name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )

    def source(self, arn: str) -> StreamSource:
        return BotoStreamSource(self.aws, arn, self.name)

    async def put(self, item: Item) -> None:
        values: Any = item
        await self.aws.leases.pool.call(
            "PutItem", self.target, NEVER, self.client.put_item, TableName=self.name, Item=values
        )

    async def delete(self, key: str) -> None:
        function = self.client.delete_item
        await self.aws.leases.pool.call(
            "DeleteItem", self.target, NEVER, function, TableName=self.name, Key={"id": {"S": key}}
        )

    async def enable(self, view_type: ViewType) -> None:
        await self._specify({"StreamEnabled": True, "StreamViewType": view_type.value})

    async def disable(self) -> None:
        await self._specify({"StreamEnabled": False})

    async def _specify(self, specification: Any) -> None:
        await self.aws.leases.pool.call(
            "UpdateTable",
            self.target,
            NEVER,
            self.client.update_table,
            TableName=self.name,
            StreamSpecification=specification,
        )


class StandInBacked(ServerBacked):
    """The stand-in knows no items: what a write does to the stream is worked out here."""

    ahead_s: ClassVar = 0.0  # its clock is one for all tests

    def __init__(self, aws: Aws, remote: Remote) -> None:
        super().__init__(aws)
        self.remote = remote
        self.items: dict[str, Item] = {}

    async def put(self, item: Item) -> None:
        key = item["id"]["S"]
        old = self.items.get(key)
        self.items[key] = item
        await self._record(key, "INSERT" if old is None else "MODIFY", new_image=item, old_image=old)

    async def delete(self, key: str) -> None:
        await self._record(key, "REMOVE", old_image=self.items.pop(key))

    async def _record(self, key: str, event_name: str, **images: Item | None) -> None:
        info = await self.tables.latest_stream(self.name)
        assert info is not None
        shards = [shard.shard_id for shard in (await self.source(info.arn).describe()).shards if not shard.closed]
        shard_id = shards[zlib.crc32(key.encode()) % len(shards)]
        self.remote.put(self.name, shard_id, {"key": key, "event_name": event_name, **images})

    async def enable(self, view_type: ViewType) -> None:
        self.remote.stream(self.name, shards=1, view_type=view_type.value)

    async def disable(self) -> None:
        self.remote.disable(self.name)

    def split(self, shard_id: str) -> None:
        self.remote.split(self.name, shard_id)

    def roll(self, shard_id: str) -> None:
        self.remote.roll(self.name, shard_id)

    def trim(self, shard_id: str) -> None:
        self.remote.trim(self.name, shard_id)

    def list_by(self, page_shards: int) -> None:
        self.remote.switch(self.name, page_shards=page_shards)

    def advance(self, seconds: float) -> None:
        StandInBacked.ahead_s += seconds
        self.remote.advance(seconds)

    def wall(self) -> float:
        return time.time() + self.ahead_s


async def open_table(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> Table:
    if request.param == "memory":
        return MemoryBacked(clock)
    aws = await open_aws(request.getfixturevalue(request.param))
    is_standin = request.param == "standin"
    table = StandInBacked(aws, request.getfixturevalue("remote")) if is_standin else ServerBacked(aws)
    await table.create()
    return table


async def stream_of(table: Table, view_type: ViewType = ViewType.NEW_AND_OLD_IMAGES) -> tuple[StreamInfo, StreamSource]:
    await table.enable(view_type)
    info = await table.tables.latest_stream(table.name)
    assert info is not None
    return info, table.source(info.arn)


async def only_shard(source: StreamSource) -> Shard:
    (shard,) = (await source.describe()).shards
    return shard


async def read(source: StreamSource, iterator: str | None, pages_max: int = 20) -> tuple[list[Any], str | None]:
    """All records from an iterator on, and the iterator at the tip, None at the shard's end."""
    records: list[Any] = []
    for _ in range(pages_max):
        if iterator is None:
            break
        page = await source.records(iterator, 1000)
        records += [json.loads(bytes(record)) for record in page.records]
        iterator = page.next_iterator
        if not page.records:
            break
    return records, iterator


def item(key: str, **attributes: Mapping[str, Any]) -> Item:
    return {"id": {"S": key}, **attributes}
