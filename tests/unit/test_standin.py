"""The stand-in's streams, as boto3 sees them: listings, iterators, pages, and what a test can do to each."""

from __future__ import annotations

import time
from asyncio import to_thread
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from poller.model import ViewType
from tests.standin import AtTimestamp, Shard, StandIn, Stream, World
from tests.standin.clients import Clients

TABLE = "AnalysisMetadataTable"


@pytest.fixture
async def stream(world: World) -> Stream:
    return world.stream(TABLE)


@pytest.fixture
async def aws(world: World, clients: Callable[..., Clients]) -> Clients:
    return clients(world.url)


async def listed(aws: Clients, stream: Stream, **more: Any) -> dict[str, Any]:
    answer = await to_thread(aws.streams.describe_stream, StreamArn=stream.arn, **more)
    description: dict[str, Any] = dict(answer["StreamDescription"])
    return description


async def ids(aws: Clients, stream: Stream) -> list[str]:
    """The shard ids of a whole listing, page by page."""
    found: list[str] = []
    more: dict[str, str] = {}
    while True:
        description = await listed(aws, stream, **more)
        found += [shard["ShardId"] for shard in description["Shards"]]
        if "LastEvaluatedShardId" not in description:
            return found
        more = {"ExclusiveStartShardId": description["LastEvaluatedShardId"]}


async def iterator(aws: Clients, shard: Shard, kind: str = "TRIM_HORIZON", **more: Any) -> str:
    answer = await to_thread(
        aws.streams.get_shard_iterator,
        StreamArn=shard.stream.arn,
        ShardId=shard.shard_id,
        ShardIteratorType=kind,  # type: ignore[arg-type]  # any text, to see it refused
        **more,
    )
    return answer["ShardIterator"]


async def page(aws: Clients, text: str, **more: Any) -> tuple[list[str], str | None]:
    """The sequence numbers of a page, and the next iterator."""
    answer = await to_thread(aws.streams.get_records, ShardIterator=text, **more)
    return [record["dynamodb"]["SequenceNumber"] for record in answer["Records"]], answer.get("NextShardIterator")


async def code_of(call: Any) -> str:
    with pytest.raises(ClientError) as caught:
        await call
    return str(caught.value.response["Error"]["Code"])


# --- records --------------------------------------------------------------------------------------------------------


async def test_a_record_comes_back_as_it_was_put(aws: Clients, stream: Stream) -> None:
    shard = stream.add_shard()
    stored = shard.put("a", "MODIFY", new_image={"phase": {"S": "DONE"}, "size": {"N": "1.50"}}, created_s=1795453000)
    answer = await to_thread(aws.streams.get_records, ShardIterator=await iterator(aws, shard))
    [record] = answer["Records"]
    assert record["eventID"] == stored.event_id
    assert record["eventName"] == "MODIFY"
    change = record["dynamodb"]
    assert change["Keys"] == {"analysisRequestId": {"S": "a"}}
    assert change["NewImage"] == {"analysisRequestId": {"S": "a"}, "phase": {"S": "DONE"}, "size": {"N": "1.50"}}
    assert "OldImage" not in change
    assert change["ApproximateCreationDateTime"].timestamp() == 1795453000
    assert (change["SequenceNumber"], change["StreamViewType"]) == (stored.sequence_number, "NEW_IMAGE")


@pytest.mark.parametrize(
    ("view_type", "event_name", "images"),
    [
        (ViewType.KEYS_ONLY, "MODIFY", set()),
        (ViewType.NEW_IMAGE, "REMOVE", set()),
        (ViewType.OLD_IMAGE, "MODIFY", {"OldImage"}),
        (ViewType.NEW_AND_OLD_IMAGES, "INSERT", {"NewImage"}),
        (ViewType.NEW_AND_OLD_IMAGES, "MODIFY", {"NewImage", "OldImage"}),
    ],
)
async def test_a_record_has_the_images_of_its_view_type(
    world: World, aws: Clients, view_type: ViewType, event_name: str, images: set[str]
) -> None:
    shard = world.stream(TABLE, view_type).add_shard()
    shard.put("a", event_name)
    answer = await to_thread(aws.streams.get_records, ShardIterator=await iterator(aws, shard))
    assert {name for name in answer["Records"][0]["dynamodb"] if name.endswith("Image")} == images


async def test_sequence_numbers_have_21_digits_and_rise_over_the_whole_stream(stream: Stream) -> None:
    first, second = stream.add_shard(), stream.add_shard()
    numbers = [shard.put("a").sequence_number for shard in (first, second, first, second)]
    assert numbers == sorted(set(numbers))
    assert {len(number) for number in numbers} == {21}


async def test_a_backlog_has_records_of_one_length_of_which_every_nth_matches(aws: Clients, stream: Stream) -> None:
    shard = stream.add_shard()
    shard.fill(250, match_every=100, image_bytes=600)
    answer = await to_thread(aws.streams.get_records, ShardIterator=await iterator(aws, shard))
    images = [record["dynamodb"]["NewImage"] for record in answer["Records"]]
    assert len(images) == 250
    assert [number for number, image in enumerate(images) if image["phase"]["S"] == "FILE_UPLOAD_COMPLETE"] == [
        0,
        100,
        200,
    ]
    assert len({record["eventID"] for record in answer["Records"]}) == 250
    joined = shard.log.cut(0, 250, 2**20).joined
    assert len(joined) % 250 == 249  # 250 bodies of one length, and the commas between them


# --- listings -------------------------------------------------------------------------------------------------------


async def test_a_listing_comes_in_pages_and_names_parents_and_ends(aws: Clients, stream: Stream) -> None:
    parent = stream.add_shard()
    children = stream.split(parent)
    stream.page_shards = 2
    assert await ids(aws, stream) == [shard.shard_id for shard in (parent, *children)]
    first = await listed(aws, stream, Limit=1)
    assert first["LastEvaluatedShardId"] == parent.shard_id
    assert "EndingSequenceNumber" in first["Shards"][0]["SequenceNumberRange"]
    second = await listed(aws, stream, ExclusiveStartShardId=parent.shard_id)
    assert {shard["ParentShardId"] for shard in second["Shards"]} == {parent.shard_id}
    assert all("EndingSequenceNumber" not in shard["SequenceNumberRange"] for shard in second["Shards"])


async def test_the_children_of_one_shard_can_be_asked_for(aws: Clients, stream: Stream) -> None:
    parent, other = stream.add_shard(), stream.add_shard()
    child = stream.roll(parent)
    stream.roll(other)
    answer = await listed(aws, stream, ShardFilter={"Type": "CHILD_SHARDS", "ShardId": parent.shard_id})
    assert [shard["ShardId"] for shard in answer["Shards"]] == [child.shard_id]


async def test_a_hidden_shard_is_left_out_of_so_many_listings(aws: Clients, stream: Stream) -> None:
    parent = stream.add_shard()
    child = stream.roll(parent)
    child.hide(listings=2)
    ask = {"Type": "CHILD_SHARDS", "ShardId": parent.shard_id}
    assert await ids(aws, stream) == [parent.shard_id]
    assert (await listed(aws, stream, ShardFilter=ask))["Shards"] == []
    assert await ids(aws, stream) == [parent.shard_id, child.shard_id]


async def test_a_shard_can_be_hidden_until_it_is_shown(aws: Clients, stream: Stream) -> None:
    shard = stream.add_shard()
    shard.hide()
    assert [await ids(aws, stream) for _ in range(3)] == [[], [], []]
    shard.show()
    assert await ids(aws, stream) == [shard.shard_id]


async def test_a_vanished_parent_is_neither_listed_nor_readable_and_still_named(aws: Clients, stream: Stream) -> None:
    parent = stream.add_shard()
    child = stream.roll(parent)
    parent.vanish()
    [shard] = (await listed(aws, stream))["Shards"]
    assert (shard["ShardId"], shard["ParentShardId"]) == (child.shard_id, parent.shard_id)
    assert await code_of(iterator(aws, parent)) == "ResourceNotFoundException"


async def test_the_tree_can_change_between_two_pages_of_a_listing(aws: Clients, stream: Stream) -> None:
    first, second = stream.add_shard(), stream.add_shard()
    stream.page_shards = 1
    stream.on_page = lambda number: stream.disable() if number == 1 else None
    stream.page_overlap = 1
    opening = await listed(aws, stream)
    following = await listed(aws, stream, ExclusiveStartShardId=first.shard_id)
    assert "EndingSequenceNumber" not in opening["Shards"][0]["SequenceNumberRange"]
    assert [shard["ShardId"] for shard in following["Shards"]] == [first.shard_id, second.shard_id]
    assert all("EndingSequenceNumber" in shard["SequenceNumberRange"] for shard in following["Shards"])


async def test_a_replaced_stream_has_a_new_arn_and_leaves_the_old_one_disabled(world: World, aws: Clients) -> None:
    old = world.stream(TABLE)
    shard = old.add_shard()
    stored = shard.put("a")
    new = world.replace_stream(TABLE)
    described = await to_thread(aws.dynamodb.describe_table, TableName=TABLE)
    assert described["Table"]["LatestStreamArn"] == new.arn != old.arn
    assert (await listed(aws, old))["StreamStatus"] == "DISABLED"
    assert await page(aws, await iterator(aws, shard)) == ([stored.sequence_number], None)
    answer = await to_thread(aws.streams.list_streams, TableName=TABLE)
    assert [one["StreamArn"] for one in answer["Streams"]] == [new.arn, old.arn]
    world.forget_stream(old)
    assert await code_of(listed(aws, old)) == "ResourceNotFoundException"


# --- iterators ------------------------------------------------------------------------------------------------------


async def test_each_type_of_iterator_starts_where_it_says(aws: Clients, stream: Stream) -> None:
    shard = stream.add_shard()
    one, two, three = (shard.put("a", created_s=created_s).sequence_number for created_s in (1000, 2000, 3000))
    assert (await page(aws, await iterator(aws, shard, "TRIM_HORIZON")))[0] == [one, two, three]
    assert (await page(aws, await iterator(aws, shard, "LATEST")))[0] == []
    at = await iterator(aws, shard, "AT_SEQUENCE_NUMBER", SequenceNumber=two)
    assert (await page(aws, at))[0] == [two, three]
    after = await iterator(aws, shard, "AFTER_SEQUENCE_NUMBER", SequenceNumber=two)
    assert (await page(aws, after))[0] == [three]
    since = await iterator(aws, shard, "AT_TIMESTAMP", Timestamp=2000)
    assert (await page(aws, since))[0] == [two, three]


async def test_an_iterator_at_the_tip_sees_what_comes_later(aws: Clients, stream: Stream) -> None:
    shard = stream.add_shard()
    sequence_numbers, following = await page(aws, await iterator(aws, shard, "LATEST"))
    assert sequence_numbers == []
    stored = shard.put("a")
    assert (await page(aws, following or ""))[0] == [stored.sequence_number]


async def test_an_iterator_expires_after_fifteen_minutes_of_the_stand_ins_clock(
    world: World, aws: Clients, stream: Stream
) -> None:
    shard = stream.add_shard()
    text = await iterator(aws, shard)
    world.clock.advance(14 * 60)
    assert await page(aws, text)
    world.clock.advance(61)
    assert await code_of(page(aws, text)) == "ExpiredIteratorException"


async def test_iterators_expire_on_demand(aws: Clients, stream: Stream) -> None:
    shard = stream.add_shard()
    text = await iterator(aws, shard)
    stream.expire_iterators()
    assert await code_of(page(aws, text)) == "ExpiredIteratorException"
    assert await page(aws, await iterator(aws, shard))


@pytest.mark.parametrize(
    ("switch", "code"),
    [(AtTimestamp.INTERNAL_ERROR, "InternalFailure"), (AtTimestamp.REFUSED, "ValidationException")],
)
async def test_a_server_may_not_know_timestamps(aws: Clients, stream: Stream, switch: AtTimestamp, code: str) -> None:
    stream.at_timestamp = switch
    assert await code_of(iterator(aws, stream.add_shard(), "AT_TIMESTAMP", Timestamp=1000)) == code


async def test_a_timestamp_in_the_future_is_refused(aws: Clients, stream: Stream) -> None:
    future = time.time() + 3600
    assert await code_of(iterator(aws, stream.add_shard(), "AT_TIMESTAMP", Timestamp=future)) == "ValidationException"


@pytest.mark.parametrize(
    ("kind", "more"),
    [("SOMEWHERE", {}), ("AT_SEQUENCE_NUMBER", {}), ("AT_SEQUENCE_NUMBER", {"SequenceNumber": "0" * 21})],
)
async def test_a_senseless_position_is_refused(aws: Clients, stream: Stream, kind: str, more: dict[str, str]) -> None:
    assert await code_of(iterator(aws, stream.add_shard(), kind, **more)) == "ValidationException"


async def test_an_iterator_that_nobody_gave_is_refused(aws: Clients, stream: Stream) -> None:
    assert await code_of(page(aws, "nonsense")) == "ValidationException"


# --- pages ----------------------------------------------------------------------------------------------------------


async def test_a_page_holds_a_thousand_records_or_what_was_asked_for(aws: Clients, stream: Stream) -> None:
    shard = stream.add_shard()
    shard.fill(1001, image_bytes=100)
    text = await iterator(aws, shard)
    sequence_numbers, following = await page(aws, text)
    assert len(sequence_numbers) == 1000
    assert len((await page(aws, following or ""))[0]) == 1
    assert len((await page(aws, text, Limit=7))[0]) == 7
    assert await code_of(page(aws, text, Limit=1001)) == "ValidationException"


async def test_a_page_holds_a_megabyte_at_most_and_one_record_at_least(aws: Clients, stream: Stream) -> None:
    shard = stream.add_shard()
    shard.fill(5, image_bytes=300_000)
    text = await iterator(aws, shard)
    assert len((await page(aws, text))[0]) == 3
    stream.page_bytes = 1000
    assert len((await page(aws, text))[0]) == 1


async def test_the_last_page_of_a_closed_shard_may_hold_records_or_be_empty(aws: Clients, stream: Stream) -> None:
    shard = stream.add_shard()
    stored = shard.put("a")
    shard.close()
    assert await page(aws, await iterator(aws, shard)) == ([stored.sequence_number], None)
    stream.final_page_empty = True
    sequence_numbers, following = await page(aws, await iterator(aws, shard))
    assert sequence_numbers == [stored.sequence_number]
    assert following is not None
    assert await page(aws, following) == ([], None)


async def test_empty_pages_come_before_the_data(aws: Clients, stream: Stream) -> None:
    shard = stream.add_shard()
    stored = shard.put("a")
    shard.empty_pages = 3
    text: str | None = await iterator(aws, shard)
    seen = []
    for _ in range(4):
        sequence_numbers, text = await page(aws, text or "")
        seen.append(sequence_numbers)
    assert seen == [[], [], [], [stored.sequence_number]]


async def test_trimmed_data_cannot_be_read_by_old_iterator_or_old_position(aws: Clients, stream: Stream) -> None:
    shard = stream.add_shard()
    one, two, three = (shard.put("a").sequence_number for _ in range(3))
    old = await iterator(aws, shard)
    assert shard.trim(before=three) == 2
    assert await code_of(page(aws, old)) == "TrimmedDataAccessException"
    late = iterator(aws, shard, "AFTER_SEQUENCE_NUMBER", SequenceNumber=one)
    assert await code_of(late) == "TrimmedDataAccessException"
    late = iterator(aws, shard, "AT_SEQUENCE_NUMBER", SequenceNumber=two)
    assert await code_of(late) == "TrimmedDataAccessException"
    assert (await page(aws, await iterator(aws, shard)))[0] == [three]
    shard.trim()
    assert (await page(aws, await iterator(aws, shard)))[0] == []


async def test_a_third_reader_of_a_shard_is_refused(
    world: World, stream: Stream, clients: Callable[..., Clients]
) -> None:
    stream.readers_max = 2
    shard = stream.add_shard()
    readers = [clients(world.url, access_key=key) for key in ("one", "two", "three")]
    text = await iterator(readers[0], shard)
    assert await page(readers[0], text)
    assert await page(readers[1], text)
    assert await code_of(page(readers[2], text)) == "LimitExceededException"
    world.clock.advance(1.5)
    assert await page(readers[2], text)


async def test_the_log_of_calls_says_who_asked_for_what(
    world: World, stream: Stream, clients: Callable[..., Clients]
) -> None:
    shard = stream.add_shard()
    await page(clients(world.url, access_key="worker-1"), await iterator(clients(world.url), shard))
    [call] = world.calls.of("GetRecords")
    assert (call.access_key, call.subject.table, call.subject.shard, call.outcome) == (
        "worker-1",
        TABLE,
        shard.shard_id,
        "OK",
    )
    assert world.count("GetRecords") == world.count("GetShardIterator", "OK") == 1


async def test_two_stand_ins_do_not_know_each_other(clients: Callable[..., Clients]) -> None:
    async with StandIn() as one, StandIn() as two:
        stream = one.stream(TABLE)
        assert await ids(clients(one.url), stream) == []
        assert await code_of(ids(clients(two.url), stream)) == "ResourceNotFoundException"
