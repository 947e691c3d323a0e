"""The contract of `StreamSource` where the service acts by itself: splits, roll-over, trimming, time."""

from __future__ import annotations

import pytest

from poller.errors import DataTrimmed, InvalidRequest, IteratorExpired
from poller.model import Position
from tests.contract.conftest import OpenAws
from tests.contract.tables import (
    HORIZON,
    MemoryBacked,
    ScriptedTable,
    StandInBacked,
    item,
    only_shard,
    open_table,
    read,
    stream_of,
)
from tests.memory.clock import ManualClock


@pytest.fixture(params=["memory", "standin"])
async def scripted(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> ScriptedTable:
    """The same where a test can do to shards what the service does by itself."""
    table = await open_table(request, open_aws, clock)
    assert isinstance(table, MemoryBacked | StandInBacked)
    return table


async def test_an_iterator_expires_after_15_minutes_and_a_new_one_goes_on(scripted: ScriptedTable) -> None:
    _, source = await stream_of(scripted)
    shard = await only_shard(source)
    iterator = await source.iterator(shard.shard_id, HORIZON)

    scripted.advance(901)

    with pytest.raises(IteratorExpired):
        await source.records(iterator, 1000)
    assert not (await source.records(await source.iterator(shard.shard_id, HORIZON), 1000)).records


async def test_a_position_before_the_trim_horizon_is_trimmed_data(scripted: ScriptedTable) -> None:
    _, source = await stream_of(scripted)
    shard_id = (await only_shard(source)).shard_id
    await scripted.put(item("a"))
    iterator = await source.iterator(shard_id, HORIZON)
    (record,), _ = await read(source, iterator)

    scripted.trim(shard_id)
    await scripted.put(item("b"))

    with pytest.raises(DataTrimmed):
        await source.records(iterator, 1000)
    with pytest.raises(DataTrimmed):
        await source.iterator(shard_id, Position.after(record["dynamodb"]["SequenceNumber"]))
    assert len((await read(source, await source.iterator(shard_id, HORIZON)))[0]) == 1


async def test_a_time_begins_with_the_first_record_that_is_not_older(scripted: ScriptedTable) -> None:
    _, source = await stream_of(scripted)
    shard_id = (await only_shard(source)).shard_id
    await scripted.put(item("early"))
    scripted.advance(60)
    await scripted.put(item("late"))

    def at(seconds: float) -> Position:
        return Position("AT_TIMESTAMP", timestamp_ms=int((scripted.wall() + seconds) * 1000))

    records, _ = await read(source, await source.iterator(shard_id, at(-30)))

    assert [record["dynamodb"]["Keys"]["id"]["S"] for record in records] == ["late"]
    assert len((await read(source, await source.iterator(shard_id, at(-86_400))))[0]) == 2
    with pytest.raises(InvalidRequest):
        await source.iterator(shard_id, at(600))


async def test_a_split_gives_two_children_and_each_key_goes_on_in_one_of_them(scripted: ScriptedTable) -> None:
    _, source = await stream_of(scripted)
    parent = (await only_shard(source)).shard_id
    keys = [f"item-{number}" for number in range(20)]
    for key in keys:
        await scripted.put(item(key))

    scripted.split(parent)
    for key in keys:
        await scripted.put(item(key, phase={"S": "LATER"}))

    children = await source.children(parent)
    assert [(child.parent_id, child.closed) for child in children] == [(parent, False)] * 2
    by_child = [(await read(source, await source.iterator(child.shard_id, HORIZON)))[0] for child in children]
    assert [len(records) > 0 for records in by_child] == [True, True]
    assert sorted(record["dynamodb"]["Keys"]["id"]["S"] for records in by_child for record in records) == sorted(keys)
    old, end = await read(source, await source.iterator(parent, HORIZON))
    assert len(old) == 20
    assert end is None


async def test_a_long_listing_comes_in_pages(scripted: ScriptedTable) -> None:
    _, source = await stream_of(scripted)
    scripted.list_by(2)
    shard_id = (await only_shard(source)).shard_id
    for _ in range(4):
        scripted.roll(shard_id)
        (shard_id,) = [child.shard_id for child in await source.children(shard_id)]

    pages = [await source.describe()]
    while pages[-1].last_shard_id is not None:
        pages.append(await source.describe(pages[-1].last_shard_id))

    assert [len(page.shards) for page in pages] == [2, 2, 1]
    assert len({shard.shard_id for page in pages for shard in page.shards}) == 5
