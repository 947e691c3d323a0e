"""The contract of `StreamSource` and `Tables`: what is written comes out, once and in order."""

from __future__ import annotations

import pytest

from poller.errors import InvalidRequest, NotFound, Unavailable
from poller.model import LATEST, Position, StreamInfo, ViewType
from tests.contract.conftest import OpenAws
from tests.contract.tables import HORIZON, ServerBacked, Table, item, only_shard, open_table, read, stream_of
from tests.memory.clock import ManualClock

DYNAMODB_LOCAL = pytest.param("dynamodb_local", marks=pytest.mark.real)


@pytest.fixture(params=["memory", DYNAMODB_LOCAL, "moto_server", "standin"])
async def table(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> Table:
    """A table without a stream."""
    return await open_table(request, open_aws, clock)


@pytest.fixture(params=["memory", DYNAMODB_LOCAL, "standin"])
async def full_table(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> Table:
    """The same where shards can be closed and errors are the service's: moto does neither."""
    return await open_table(request, open_aws, clock)


# --- from a table to its stream ---


async def test_a_table_without_a_stream_has_none(table: Table) -> None:
    assert await table.tables.latest_stream(table.name) is None


async def test_a_table_that_does_not_exist_is_not_found(table: Table) -> None:
    with pytest.raises(NotFound) as caught:
        await table.tables.latest_stream("nowhere")

    assert (caught.value.operation, caught.value.resource) == ("DescribeTable", "nowhere")


@pytest.mark.parametrize("view_type", ViewType)
async def test_a_streams_description_names_arn_table_and_view_type(table: Table, view_type: ViewType) -> None:
    info, source = await stream_of(table, view_type)

    assert info == StreamInfo(info.arn, table.name, view_type, enabled=True)
    assert (await source.describe()).stream == info
    assert f"table/{table.name}/stream/" in info.arn


async def test_a_disabled_stream_is_still_the_latest_and_says_so(full_table: Table) -> None:
    info, _ = await stream_of(full_table)
    await full_table.disable()

    assert await full_table.tables.latest_stream(full_table.name) == StreamInfo(
        info.arn, full_table.name, ViewType.NEW_AND_OLD_IMAGES, enabled=False
    )


async def test_a_stream_that_is_enabled_again_has_another_arn(full_table: Table) -> None:
    first, _ = await stream_of(full_table)
    await full_table.disable()
    second, _ = await stream_of(full_table, ViewType.NEW_IMAGE)

    assert second.arn != first.arn
    assert second.view_type is ViewType.NEW_IMAGE


async def test_all_streams_that_can_be_read_are_named_the_oldest_first(full_table: Table) -> None:
    first, _ = await stream_of(full_table)
    await full_table.disable()
    second, _ = await stream_of(full_table)

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
    _, source = await stream_of(table)

    page = await source.describe()

    assert [shard.closed for shard in page.shards] == [False]
    assert page.last_shard_id is None


async def test_a_listing_goes_on_after_a_shard(full_table: Table) -> None:
    _, source = await stream_of(full_table)
    shard = await only_shard(source)

    assert (await source.describe(after_shard_id=shard.shard_id)).shards == ()


async def test_an_open_shard_has_no_children(full_table: Table) -> None:
    _, source = await stream_of(full_table)
    shard = await only_shard(source)

    assert await source.children(shard.shard_id) == ()


async def test_a_disabled_streams_shard_is_closed(full_table: Table) -> None:
    _, source = await stream_of(full_table)
    await full_table.disable()

    assert (await only_shard(source)).closed


async def test_a_shard_that_does_not_exist_is_not_found(full_table: Table) -> None:
    _, source = await stream_of(full_table)

    with pytest.raises(NotFound) as caught:
        await source.iterator("shardId-00000000000000000000-00000000", HORIZON)

    assert caught.value.resource == f"{full_table.name}/shardId-00000000000000000000-00000000"


async def test_a_server_that_does_not_know_the_shard_filter_is_told_from_one_without_children(
    moto_server: str, open_aws: OpenAws
) -> None:
    table = ServerBacked(await open_aws(moto_server))
    await table.create()
    _, source = await stream_of(table)
    shard = await only_shard(source)

    with pytest.raises(InvalidRequest, match="does not know ShardFilter"):
        await source.children(shard.shard_id)


# --- records ---


async def test_every_change_comes_out_once_in_order_and_with_its_images(table: Table) -> None:
    _, source = await stream_of(table)
    await table.put(item("a", phase={"S": "CREATED"}))
    await table.put(item("a", phase={"S": "FILE_UPLOAD_COMPLETE"}))
    await table.delete("a")
    shard = await only_shard(source)

    records, tip = await read(source, await source.iterator(shard.shard_id, HORIZON))

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
    _, source = await stream_of(table)
    for number in range(20):
        await table.put(item(f"item-{number}"))
    shard = await only_shard(source)

    records, _ = await read(source, await source.iterator(shard.shard_id, HORIZON))

    numbers = [int(record["dynamodb"]["SequenceNumber"]) for record in records]
    assert len(numbers) == 20
    assert numbers == sorted(set(numbers))


async def test_content_arrives_as_it_was(full_table: Table) -> None:
    _, source = await stream_of(full_table)
    image = item(
        'quote " backslash \\ newline \n bell \u0007 \U0001f600 \u00e4',
        number={"N": "-12345678901234567890.123456789012345678"},
        flag={"BOOL": True},
        nothing={"NULL": True},
        list={"L": [{"S": ""}, {"N": "0"}, {"M": {"deep": {"SS": ["x"]}}}]},
    )
    await full_table.put(image)
    shard = await only_shard(source)

    (record,), _ = await read(source, await source.iterator(shard.shard_id, HORIZON))

    assert record["dynamodb"]["NewImage"] == image


async def test_a_page_holds_no_more_than_asked_for_and_the_next_goes_on(table: Table) -> None:
    _, source = await stream_of(table)
    for number in range(5):
        await table.put(item(f"item-{number}"))
    shard = await only_shard(source)

    first = await source.records(await source.iterator(shard.shard_id, HORIZON), 2)
    rest, _ = await read(source, first.next_iterator)

    assert len(first.records) == 2
    assert [record["dynamodb"]["Keys"]["id"]["S"] for record in rest] == ["item-2", "item-3", "item-4"]


async def test_an_empty_page_at_the_tip_goes_on(table: Table) -> None:
    _, source = await stream_of(table)
    shard = await only_shard(source)

    page = await source.records(await source.iterator(shard.shard_id, HORIZON), 1000)
    await table.put(item("late"))
    records, _ = await read(source, page.next_iterator)

    assert not page.records
    assert len(records) == 1


async def test_latest_begins_with_what_comes_later(table: Table) -> None:
    _, source = await stream_of(table)
    await table.put(item("early"))
    shard = await only_shard(source)

    iterator = await source.iterator(shard.shard_id, Position(LATEST))
    await table.put(item("late"))
    records, _ = await read(source, iterator)

    assert [record["dynamodb"]["Keys"]["id"]["S"] for record in records] == ["late"]


async def test_after_a_sequence_number_comes_the_next_record(table: Table) -> None:
    _, source = await stream_of(table)
    for key in ("a", "b", "c"):
        await table.put(item(key))
    shard = await only_shard(source)
    records, _ = await read(source, await source.iterator(shard.shard_id, HORIZON))

    position = Position.after(records[1]["dynamodb"]["SequenceNumber"])
    rest, _ = await read(source, await source.iterator(shard.shard_id, position))

    assert [record["dynamodb"]["Keys"]["id"]["S"] for record in rest] == ["c"]


async def test_at_a_sequence_number_comes_the_record_itself(table: Table) -> None:
    _, source = await stream_of(table)
    shard = await only_shard(source)
    for key in ("a", "b", "c"):
        await table.put(item(key))
    records, _ = await read(source, await source.iterator(shard.shard_id, HORIZON))
    number = records[1]["dynamodb"]["SequenceNumber"]

    told, _ = await read(source, await source.iterator(shard.shard_id, Position.at(number)))

    assert told == records[1:]


async def test_a_closed_shards_records_come_out_and_then_its_end(full_table: Table) -> None:
    _, source = await stream_of(full_table)
    await full_table.put(item("a"))
    await full_table.put(item("b"))
    await full_table.disable()
    shard = await only_shard(source)

    records, end = await read(source, await source.iterator(shard.shard_id, HORIZON))

    assert len(records) == 2
    assert end is None


async def test_what_is_no_iterator_is_an_invalid_request(full_table: Table) -> None:
    _, source = await stream_of(full_table)

    with pytest.raises(InvalidRequest, match="GetRecords"):
        await source.records("not-an-iterator", 1000)


async def test_an_html_page_with_status_500_is_the_service_failing(moto_server: str, open_aws: OpenAws) -> None:
    table = ServerBacked(await open_aws(moto_server))
    await table.create()
    _, source = await stream_of(table)

    with pytest.raises(Unavailable, match=r"the service failed \(HTTP500\)$") as caught:
        await source.records("not-an-iterator", 1000)

    assert caught.value.answered
