"""DynamoDB Streams on the wire: DescribeStream, GetShardIterator, GetRecords, ListStreams.

The rules are the service's (API reference, 2012-08-10); where it leaves them open, DynamoDB Local's answers were taken.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.standin.shardlog import PAGE_START
from tests.standin.streams import AtTimestamp, Shard, Stream
from tests.standin.wire import Answer, Operation, Params, ServiceError, Subject, invalid, json_answer, not_found

if TYPE_CHECKING:
    from tests.standin.world import World

_LIMIT_MAX: Final = 1000


class Iterator(NamedTuple):
    """What an iterator's opaque text stands for: the next record's index, when it was given, and the stream's epoch."""

    shard_id: str
    next_index: int
    given_s: float
    epoch: int


def _write_iterator(stream: Stream, shard: Shard, index: int) -> str:
    inside = f"{shard.shard_id}|{index}|{stream.clock.monotonic():.3f}|{stream.iterator_epoch}"
    return f"{stream.arn}|1|{b64encode(inside.encode()).decode()}"


def read_iterator(text: str) -> tuple[str, Iterator]:
    """The stream's ARN and the iterator; ValidationException for a text that this stand-in never wrote."""
    try:
        arn, _, inside = text.split("|")
        shard_id, index, given_s, epoch = b64decode(inside, validate=True).decode().split("|")
        return arn, Iterator(shard_id, int(index), float(given_s), int(epoch))
    except ValueError:
        raise invalid("Invalid ShardIterator") from None


def _stream(world: World, arn: str) -> Stream:
    stream = world.streams.get(arn)
    if stream is None:
        raise not_found(f"Requested resource not found: Stream: {arn} not found")
    return stream


def _shard(stream: Stream, shard_id: str) -> Shard:
    shard = stream.shards.get(shard_id)
    if shard is None:
        raise not_found("Requested resource not found: Shard does not exist")
    return shard


def _table_of(world: World, arn: str) -> str:
    stream = world.streams.get(arn)
    return stream.table if stream else ""


# --- DescribeStream -------------------------------------------------------------------------------------------------


def describe_stream(world: World, params: Params, access_key: str) -> Answer:
    stream = _stream(world, params["StreamArn"])
    shard_filter = params.get("ShardFilter")
    if shard_filter is not None:
        shards, last = _children(stream, shard_filter), None
    else:
        shards, last = _page(stream, params.get("ExclusiveStartShardId"), params.get("Limit", 100))
    description: dict[str, Any] = {
        "StreamArn": stream.arn,
        "StreamLabel": stream.label,
        "StreamStatus": "ENABLED" if stream.enabled else "DISABLED",
        "StreamViewType": stream.view_type.value,
        "CreationRequestDateTime": round(stream.created_s, 3),
        "TableName": stream.table,
        "KeySchema": [{"AttributeName": stream.key_attribute, "KeyType": "HASH"}],
        "Shards": [_describe(shard) for shard in shards],
    }
    if last is not None:
        description["LastEvaluatedShardId"] = last
    answer = json_answer({"StreamDescription": description})
    if shard_filter is None and stream.on_page is not None:
        before = sum(1 for shard_id in stream.shards if shard_id <= params.get("ExclusiveStartShardId", ""))
        stream.on_page(before // stream.page_shards + 1)
    return answer


def _children(stream: Stream, shard_filter: dict[str, str]) -> list[Shard]:
    if shard_filter.get("Type") != "CHILD_SHARDS" or "ShardId" not in shard_filter:
        raise invalid("One or more parameter values were invalid: Invalid ShardFilter")
    children = [shard for shard in stream.shards.values() if shard.parent_id == shard_filter["ShardId"]]
    for shard in children:
        shard.start_listing()
    return [shard for shard in children if not shard.hidden]


def _page(stream: Stream, after: str | None, limit: int) -> tuple[list[Shard], str | None]:
    """The listing's page after that shard id, and the id to go on from. Hidden shards take no place on a page."""
    if after is None:
        for shard in stream.shards.values():
            shard.start_listing()
    visible = sorted((shard for shard in stream.shards.values() if not shard.hidden), key=lambda shard: shard.shard_id)
    seen = sum(1 for shard in visible if after is not None and shard.shard_id <= after)
    size = min(limit, stream.page_shards)
    page = visible[max(0, seen - stream.page_overlap) : seen + size]
    last = page[-1].shard_id if len(visible) > seen + size else None
    return page, last


def _describe(shard: Shard) -> dict[str, Any]:
    described: dict[str, Any] = {"ShardId": shard.shard_id}
    span = {"StartingSequenceNumber": f"{shard.starting_sequence:021d}"}
    if shard.ending_sequence is not None:
        span["EndingSequenceNumber"] = f"{shard.ending_sequence:021d}"
    described["SequenceNumberRange"] = span
    if shard.parent_id is not None:
        described["ParentShardId"] = shard.parent_id
    return described


# --- GetShardIterator -----------------------------------------------------------------------------------------------


def get_shard_iterator(world: World, params: Params, access_key: str) -> Answer:
    stream = _stream(world, params["StreamArn"])
    shard = _shard(stream, params["ShardId"])
    index = _index_of(stream, shard, params)
    return json_answer({"ShardIterator": _write_iterator(stream, shard, index)})


def _index_of(stream: Stream, shard: Shard, params: Params) -> int:
    match params.get("ShardIteratorType"):
        case "TRIM_HORIZON":
            return shard.log.trimmed
        case "LATEST":
            return shard.log.end
        case "AT_TIMESTAMP":
            return _index_at_timestamp(stream, shard, params.get("Timestamp"))
        case "AT_SEQUENCE_NUMBER":
            return shard.log.index_at_or_after(_sequence(shard, params))
        case "AFTER_SEQUENCE_NUMBER":
            return shard.log.index_at_or_after(_sequence(shard, params) + 1)
        case other:
            raise invalid(
                f"Value '{other}' at 'shardIteratorType' failed to satisfy constraint: Member must satisfy enum"
            )


def _sequence(shard: Shard, params: Params) -> int:
    text = str(params.get("SequenceNumber", ""))
    if not text.isdigit():
        raise invalid("One or more parameter values were invalid: Invalid SequenceNumber")
    sequence = int(text)
    if sequence < shard.starting_sequence:
        raise invalid("Invalid SequenceNumber for the shard")
    if sequence < shard.trim_point:
        raise _trimmed(shard)
    return sequence


def _index_at_timestamp(stream: Stream, shard: Shard, timestamp_s: float | None) -> int:
    if stream.at_timestamp is AtTimestamp.INTERNAL_ERROR:
        raise ServiceError(
            "InternalFailure", "The request processing has failed because of an unknown error", status=500
        )
    if stream.at_timestamp is AtTimestamp.REFUSED:
        raise invalid(
            "Value 'AT_TIMESTAMP' at 'shardIteratorType' failed to satisfy constraint: Member must satisfy enum"
        )
    if timestamp_s is None:
        raise invalid("One or more parameter values were invalid: Timestamp is missing")
    if timestamp_s > stream.clock.wall():
        raise invalid("One or more parameter values were invalid: Timestamp is in the future")
    return shard.log.index_created_since(timestamp_s)


def _trimmed(shard: Shard) -> ServiceError:
    return ServiceError(
        "TrimmedDataAccessException",
        f"The operation attempted to read past the oldest stream record in shard {shard.shard_id}",
    )


# --- GetRecords -----------------------------------------------------------------------------------------------------


def get_records(world: World, params: Params, access_key: str) -> Answer:
    arn, iterator = read_iterator(params["ShardIterator"])
    stream = _stream(world, arn)
    shard = _shard(stream, iterator.shard_id)
    limit = params.get("Limit", _LIMIT_MAX)
    if not 1 <= limit <= _LIMIT_MAX:
        raise invalid("One or more parameter values were invalid: Limit should be less than or equal to 1000")
    _check_readers(stream, shard, access_key)
    if iterator.epoch < stream.iterator_epoch or stream.clock.monotonic() - iterator.given_s > stream.iterator_age_s:
        raise ServiceError("ExpiredIteratorException", "The shard iterator has expired")
    if iterator.next_index < shard.log.trimmed:
        raise _trimmed(shard)
    if shard.empty_pages > 0:
        shard.empty_pages -= 1
        return _page_answer(b"", None, _write_iterator(stream, shard, iterator.next_index))
    page = shard.log.cut(iterator.next_index, min(limit, stream.page_records), stream.page_bytes)
    at_end = shard.closed and page.stop >= shard.log.end
    if at_end and not (stream.final_page_empty and page.joined):
        return _page_answer(page.joined, page.crc32, None)
    return _page_answer(page.joined, page.crc32, _write_iterator(stream, shard, page.stop))


def _page_answer(joined: bytes, crc32: int | None, next_iterator: str | None) -> Answer:
    tail = b"]}" if next_iterator is None else b'],"NextShardIterator":"%b"}' % next_iterator.encode()
    head_crc32 = zlib.crc32(PAGE_START + joined) if crc32 is None else crc32
    return Answer(200, (PAGE_START, joined, tail), crc32=zlib.crc32(tail, head_crc32))


def _check_readers(stream: Stream, shard: Shard, access_key: str) -> None:
    if stream.readers_max is None:
        return
    now = stream.clock.monotonic()
    shard.readers = {key: at for key, at in shard.readers.items() if now - at <= stream.reader_window_s}
    if access_key not in shard.readers and len(shard.readers) >= stream.readers_max:
        raise ServiceError("LimitExceededException", "Too many readers on one shard")
    shard.readers[access_key] = now


# --- ListStreams ----------------------------------------------------------------------------------------------------


def list_streams(world: World, params: Params, access_key: str) -> Answer:
    table = params.get("TableName")
    streams = [stream for stream in reversed(world.streams.values()) if table in (None, stream.table)]
    arns = [stream.arn for stream in streams]
    start = arns.index(params["ExclusiveStartStreamArn"]) + 1 if params.get("ExclusiveStartStreamArn") in arns else 0
    page = streams[start : start + params.get("Limit", 100)]
    listed: dict[str, Any] = {
        "Streams": [{"StreamArn": one.arn, "TableName": one.table, "StreamLabel": one.label} for one in page]
    }
    if start + len(page) < len(streams):
        listed["LastEvaluatedStreamArn"] = page[-1].arn
    return json_answer(listed)


def _subject_of_records(world: World, params: Params) -> Subject:
    arn, iterator = read_iterator(str(params.get("ShardIterator", "")))
    return Subject(table=_table_of(world, arn), shard=iterator.shard_id)


def _subject_of_stream(world: World, params: Params) -> Subject:
    arn = str(params.get("StreamArn", ""))
    shard = params.get("ShardId") or (params.get("ShardFilter") or {}).get("ShardId", "")
    return Subject(table=_table_of(world, arn), shard=shard)


def _subject_of_list(world: World, params: Params) -> Subject:
    return Subject(table=str(params.get("TableName", "")))


OPERATIONS: Final = {
    "DescribeStream": Operation(_subject_of_stream, describe_stream),
    "GetShardIterator": Operation(_subject_of_stream, get_shard_iterator),
    "GetRecords": Operation(_subject_of_records, get_records),
    "ListStreams": Operation(_subject_of_list, list_streams),
}
