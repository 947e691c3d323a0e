"""The contract of `StreamSource` and `Tables`: what is written comes out, once and in order."""

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
from poller.errors import DataTrimmed, InvalidRequest, IteratorExpired, NotFound, Unavailable
from poller.model import LATEST, TRIM_HORIZON, Position, Shard, StreamInfo, ViewType
from poller.run.ports import StreamSource, Tables
from tests.contract.conftest import OpenAws
from tests.memory.clock import ManualClock
from tests.memory.streams import MemoryTables
from tests.standin import Remote

Item = Mapping[str, Mapping[str, Any]]
HORIZON = Position(TRIM_HORIZON)

DYNAMODB_LOCAL = pytest.param("dynamodb_local", marks=pytest.mark.real)


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


async def _table(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> Table:
    if request.param == "memory":
        return MemoryBacked(clock)
    aws = await open_aws(request.getfixturevalue(request.param))
    is_standin = request.param == "standin"
    table = StandInBacked(aws, request.getfixturevalue("remote")) if is_standin else ServerBacked(aws)
    await table.create()
    return table


@pytest.fixture(params=["memory", DYNAMODB_LOCAL, "moto_server", "standin"])
async def table(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> Table:
    """A table without a stream."""
    return await _table(request, open_aws, clock)


@pytest.fixture(params=["memory", DYNAMODB_LOCAL, "standin"])
async def full_table(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> Table:
    """The same where shards can be closed and errors are the service's: moto does neither."""
    return await _table(request, open_aws, clock)


@pytest.fixture(params=["memory", "standin"])
async def scripted(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> ScriptedTable:
    """The same where a test can do to shards what the service does by itself."""
    table = await _table(request, open_aws, clock)
    assert isinstance(table, MemoryBacked | StandInBacked)
    return table


async def _stream(table: Table, view_type: ViewType = ViewType.NEW_AND_OLD_IMAGES) -> tuple[StreamInfo, StreamSource]:
    await table.enable(view_type)
    info = await table.tables.latest_stream(table.name)
    assert info is not None
    return info, table.source(info.arn)


async def _only_shard(source: StreamSource) -> Shard:
    (shard,) = (await source.describe()).shards
    return shard


async def _read(source: StreamSource, iterator: str | None, pages_max: int = 20) -> tuple[list[Any], str | None]:
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


def _item(key: str, **attributes: Mapping[str, Any]) -> Item:
    return {"id": {"S": key}, **attributes}


# --- from a table to its stream ---


async def test_a_table_without_a_stream_has_none(table: Table) -> None:
    assert await table.tables.latest_stream(table.name) is None


async def test_a_table_that_does_not_exist_is_not_found(table: Table) -> None:
    with pytest.raises(NotFound) as caught:
        await table.tables.latest_stream("nowhere")

    assert (caught.value.operation, caught.value.resource) == ("DescribeTable", "nowhere")


@pytest.mark.parametrize("view_type", ViewType)
async def test_a_streams_description_names_arn_table_and_view_type(table: Table, view_type: ViewType) -> None:
    info, source = await _stream(table, view_type)

    assert info == StreamInfo(info.arn, table.name, view_type, enabled=True)
    assert (await source.describe()).stream == info
    assert f"table/{table.name}/stream/" in info.arn


async def test_a_disabled_stream_is_still_the_latest_and_says_so(full_table: Table) -> None:
    info, _ = await _stream(full_table)
    await full_table.disable()

    assert await full_table.tables.latest_stream(full_table.name) == StreamInfo(
        info.arn, full_table.name, ViewType.NEW_AND_OLD_IMAGES, enabled=False
    )


async def test_a_stream_that_is_enabled_again_has_another_arn(full_table: Table) -> None:
    first, _ = await _stream(full_table)
    await full_table.disable()
    second, _ = await _stream(full_table, ViewType.NEW_IMAGE)

    assert second.arn != first.arn
    assert second.view_type is ViewType.NEW_IMAGE


async def test_all_streams_that_can_be_read_are_named_the_oldest_first(full_table: Table) -> None:
    first, _ = await _stream(full_table)
    await full_table.disable()
    second, _ = await _stream(full_table)

    assert await full_table.tables.streams(full_table.name) == [first.arn, second.arn]


async def test_a_table_without_a_stream_names_none(table: Table) -> None:
    assert await table.tables.streams(table.name) == []


async def test_a_stream_that_does_not_exist_is_not_found(full_table: Table) -> None:
    gone = full_table.source(
        f"arn:aws:dynamodb:eu-west-1:000000000000:table/{full_table.name}/stream/2020-01-01T00:00:00.000"
    )

    with pytest.raises(NotFound):
        await gone.describe()


# --- shards ---


async def test_a_new_stream_has_one_open_shard(table: Table) -> None:
    _, source = await _stream(table)

    page = await source.describe()

    assert [shard.closed for shard in page.shards] == [False]
    assert page.last_shard_id is None


async def test_a_listing_goes_on_after_a_shard(full_table: Table) -> None:
    _, source = await _stream(full_table)
    shard = await _only_shard(source)

    assert (await source.describe(after_shard_id=shard.shard_id)).shards == ()


async def test_an_open_shard_has_no_children(full_table: Table) -> None:
    _, source = await _stream(full_table)
    shard = await _only_shard(source)

    assert await source.children(shard.shard_id) == ()


async def test_a_disabled_streams_shard_is_closed(full_table: Table) -> None:
    _, source = await _stream(full_table)
    await full_table.disable()

    assert (await _only_shard(source)).closed


async def test_a_shard_that_does_not_exist_is_not_found(full_table: Table) -> None:
    _, source = await _stream(full_table)

    with pytest.raises(NotFound) as caught:
        await source.iterator("shardId-00000000000000000000-00000000", HORIZON)

    assert caught.value.resource == f"{full_table.name}/shardId-00000000000000000000-00000000"


async def test_a_server_that_does_not_know_the_shard_filter_is_told_from_one_without_children(
    moto_server: str, open_aws: OpenAws
) -> None:
    table = ServerBacked(await open_aws(moto_server))
    await table.create()
    _, source = await _stream(table)
    shard = await _only_shard(source)

    with pytest.raises(InvalidRequest, match="does not know ShardFilter"):
        await source.children(shard.shard_id)


# --- records ---


async def test_every_change_comes_out_once_in_order_and_with_its_images(table: Table) -> None:
    _, source = await _stream(table)
    await table.put(_item("a", phase={"S": "CREATED"}))
    await table.put(_item("a", phase={"S": "FILE_UPLOAD_COMPLETE"}))
    await table.delete("a")
    shard = await _only_shard(source)

    records, tip = await _read(source, await source.iterator(shard.shard_id, HORIZON))

    assert [record["eventName"] for record in records] == ["INSERT", "MODIFY", "REMOVE"]
    assert [record["dynamodb"].get("NewImage", {}).get("phase") for record in records] == [
        {"S": "CREATED"},
        {"S": "FILE_UPLOAD_COMPLETE"},
        None,
    ]
    assert [record["dynamodb"].get("OldImage", {}).get("phase") for record in records] == [
        None,
        {"S": "CREATED"},
        {"S": "FILE_UPLOAD_COMPLETE"},
    ]
    assert all(record["dynamodb"]["Keys"] == {"id": {"S": "a"}} for record in records)
    assert len({record["eventID"] for record in records}) == 3
    assert tip is not None


async def test_sequence_numbers_grow_as_numbers(table: Table) -> None:
    _, source = await _stream(table)
    for number in range(20):
        await table.put(_item(f"item-{number}"))
    shard = await _only_shard(source)

    records, _ = await _read(source, await source.iterator(shard.shard_id, HORIZON))

    numbers = [int(record["dynamodb"]["SequenceNumber"]) for record in records]
    assert len(numbers) == 20
    assert numbers == sorted(set(numbers))


async def test_content_arrives_as_it_was(full_table: Table) -> None:
    _, source = await _stream(full_table)
    image = _item(
        'quote " backslash \\ newline \n bell \u0007 \U0001f600 \u00e4',
        number={"N": "-12345678901234567890.123456789012345678"},
        flag={"BOOL": True},
        nothing={"NULL": True},
        list={"L": [{"S": ""}, {"N": "0"}, {"M": {"deep": {"SS": ["x"]}}}]},
    )
    await full_table.put(image)
    shard = await _only_shard(source)

    (record,), _ = await _read(source, await source.iterator(shard.shard_id, HORIZON))

    assert record["dynamodb"]["NewImage"] == image


async def test_a_page_holds_no_more_than_asked_for_and_the_next_goes_on(table: Table) -> None:
    _, source = await _stream(table)
    for number in range(5):
        await table.put(_item(f"item-{number}"))
    shard = await _only_shard(source)

    first = await source.records(await source.iterator(shard.shard_id, HORIZON), 2)
    rest, _ = await _read(source, first.next_iterator)

    assert len(first.records) == 2
    assert [record["dynamodb"]["Keys"]["id"]["S"] for record in rest] == ["item-2", "item-3", "item-4"]


async def test_an_empty_page_at_the_tip_goes_on(table: Table) -> None:
    _, source = await _stream(table)
    shard = await _only_shard(source)

    page = await source.records(await source.iterator(shard.shard_id, HORIZON), 1000)
    await table.put(_item("late"))
    records, _ = await _read(source, page.next_iterator)

    assert not page.records
    assert len(records) == 1


async def test_latest_begins_with_what_comes_later(table: Table) -> None:
    _, source = await _stream(table)
    await table.put(_item("early"))
    shard = await _only_shard(source)

    iterator = await source.iterator(shard.shard_id, Position(LATEST))
    await table.put(_item("late"))
    records, _ = await _read(source, iterator)

    assert [record["dynamodb"]["Keys"]["id"]["S"] for record in records] == ["late"]


async def test_after_a_sequence_number_comes_the_next_record(table: Table) -> None:
    _, source = await _stream(table)
    for key in ("a", "b", "c"):
        await table.put(_item(key))
    shard = await _only_shard(source)
    records, _ = await _read(source, await source.iterator(shard.shard_id, HORIZON))

    position = Position.after(records[1]["dynamodb"]["SequenceNumber"])
    rest, _ = await _read(source, await source.iterator(shard.shard_id, position))

    assert [record["dynamodb"]["Keys"]["id"]["S"] for record in rest] == ["c"]


async def test_a_closed_shards_records_come_out_and_then_its_end(full_table: Table) -> None:
    _, source = await _stream(full_table)
    await full_table.put(_item("a"))
    await full_table.put(_item("b"))
    await full_table.disable()
    shard = await _only_shard(source)

    records, end = await _read(source, await source.iterator(shard.shard_id, HORIZON))

    assert len(records) == 2
    assert end is None


async def test_what_is_no_iterator_is_an_invalid_request(full_table: Table) -> None:
    _, source = await _stream(full_table)

    with pytest.raises(InvalidRequest, match="GetRecords"):
        await source.records("not-an-iterator", 1000)


async def test_an_html_page_with_status_500_is_the_service_failing(moto_server: str, open_aws: OpenAws) -> None:
    table = ServerBacked(await open_aws(moto_server))
    await table.create()
    _, source = await _stream(table)

    with pytest.raises(Unavailable, match=r"the service failed \(HTTP500\)$") as caught:
        await source.records("not-an-iterator", 1000)

    assert caught.value.answered


# --- what the service does by itself ---


async def test_an_iterator_expires_after_15_minutes_and_a_new_one_goes_on(scripted: ScriptedTable) -> None:
    _, source = await _stream(scripted)
    shard = await _only_shard(source)
    iterator = await source.iterator(shard.shard_id, HORIZON)

    scripted.advance(901)

    with pytest.raises(IteratorExpired):
        await source.records(iterator, 1000)
    assert not (await source.records(await source.iterator(shard.shard_id, HORIZON), 1000)).records


async def test_a_position_before_the_trim_horizon_is_trimmed_data(scripted: ScriptedTable) -> None:
    _, source = await _stream(scripted)
    shard_id = (await _only_shard(source)).shard_id
    await scripted.put(_item("a"))
    iterator = await source.iterator(shard_id, HORIZON)
    (record,), _ = await _read(source, iterator)

    scripted.trim(shard_id)
    await scripted.put(_item("b"))

    with pytest.raises(DataTrimmed):
        await source.records(iterator, 1000)
    with pytest.raises(DataTrimmed):
        await source.iterator(shard_id, Position.after(record["dynamodb"]["SequenceNumber"]))
    assert len((await _read(source, await source.iterator(shard_id, HORIZON)))[0]) == 1


async def test_a_time_begins_with_the_first_record_that_is_not_older(scripted: ScriptedTable) -> None:
    _, source = await _stream(scripted)
    shard_id = (await _only_shard(source)).shard_id
    await scripted.put(_item("early"))
    scripted.advance(60)
    await scripted.put(_item("late"))

    def at(seconds: float) -> Position:
        return Position("AT_TIMESTAMP", timestamp_ms=int((scripted.wall() + seconds) * 1000))

    records, _ = await _read(source, await source.iterator(shard_id, at(-30)))

    assert [record["dynamodb"]["Keys"]["id"]["S"] for record in records] == ["late"]
    assert len((await _read(source, await source.iterator(shard_id, at(-86_400))))[0]) == 2
    with pytest.raises(InvalidRequest):
        await source.iterator(shard_id, at(600))


async def test_a_split_gives_two_children_and_each_key_goes_on_in_one_of_them(scripted: ScriptedTable) -> None:
    _, source = await _stream(scripted)
    parent = (await _only_shard(source)).shard_id
    keys = [f"item-{number}" for number in range(20)]
    for key in keys:
        await scripted.put(_item(key))

    scripted.split(parent)
    for key in keys:
        await scripted.put(_item(key, phase={"S": "LATER"}))

    children = await source.children(parent)
    assert [(child.parent_id, child.closed) for child in children] == [(parent, False)] * 2
    by_child = [(await _read(source, await source.iterator(child.shard_id, HORIZON)))[0] for child in children]
    assert [len(records) > 0 for records in by_child] == [True, True]
    assert sorted(record["dynamodb"]["Keys"]["id"]["S"] for records in by_child for record in records) == sorted(keys)
    old, end = await _read(source, await source.iterator(parent, HORIZON))
    assert len(old) == 20
    assert end is None


async def test_a_long_listing_comes_in_pages(scripted: ScriptedTable) -> None:
    _, source = await _stream(scripted)
    scripted.list_by(2)
    shard_id = (await _only_shard(source)).shard_id
    for _ in range(4):
        scripted.roll(shard_id)
        (shard_id,) = [child.shard_id for child in await source.children(shard_id)]

    pages = [await source.describe()]
    while pages[-1].last_shard_id is not None:
        pages.append(await source.describe(pages[-1].last_shard_id))

    assert [len(page.shards) for page in pages] == [2, 2, 1]
    assert len({shard.shard_id for page in pages for shard in page.shards}) == 5
