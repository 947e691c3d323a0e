"""One stream's shards and records, and the way from a table's name to its stream.

Iterators and pages come by the way of the hot calls (`Aws.hot_reads`), all else by boto3.

A page of records stays bytes: botocore's parser would take 49 ms for a full one, `poller.aws.page` takes 0.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, cast

from poller.aws.components import BODY
from poller.aws.errors import Target, reading, unreadable
from poller.aws.page import decode_page
from poller.aws.pool import NEVER
from poller.aws.session import Aws
from poller.errors import InvalidRequest, NotFound
from poller.model import Page, Position, Shard, ShardPage, StreamInfo, ViewType

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams.literals import ShardIteratorTypeType
    from types_boto3_dynamodbstreams.type_defs import (
        GetShardIteratorInputTypeDef,
        ListStreamsInputTypeDef,
        ShardTypeDef,
        StreamDescriptionTypeDef,
    )

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BotoStreamSource:
    """`poller.run.ports.StreamSource` for one stream."""

    def __init__(self, aws: Aws, stream_arn: str, table: str) -> None:
        """`table`: the table's name, for messages."""
        self._call = aws.reads.pool.call
        self._client = aws.reads.client
        self._ask = aws.hot_reads.ask
        self._arn = stream_arn
        self._table = table
        self._target = Target(table, stream_arn)

    async def describe(self, after_shard_id: str | None = None) -> ShardPage:
        """One page: at most 100 shards, the service's own limit."""
        function = self._client.describe_stream
        if after_shard_id is None:
            answer = await self._call("DescribeStream", self._target, NEVER, function, StreamArn=self._arn)
        else:
            answer = await self._call(
                "DescribeStream",
                self._target,
                NEVER,
                function,
                StreamArn=self._arn,
                ExclusiveStartShardId=after_shard_id,
            )
        with reading("DescribeStream", self._table):
            description = answer["StreamDescription"]
            return ShardPage(
                _stream_info(description),
                _shards(description),
                description.get("LastEvaluatedShardId"),
                _served_at_s(answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")),
            )

    async def children(self, shard_id: str) -> tuple[Shard, ...]:
        """One call with the filter CHILD_SHARDS. A server that answers with other shards does not know the filter."""
        target = self._shard_target(shard_id)
        answer = await self._call(
            "DescribeStream",
            target,
            NEVER,
            self._client.describe_stream,
            StreamArn=self._arn,
            ShardFilter={"Type": "CHILD_SHARDS", "ShardId": shard_id},
        )
        with reading("DescribeStream", target.name):
            shards = _shards(answer["StreamDescription"])
        if any(shard.parent_id != shard_id for shard in shards):
            code = "ShardFilterIgnored"
            message = f"DescribeStream on {target.name}: this server does not know ShardFilter ({code})"
            raise InvalidRequest(message, operation="DescribeStream", resource=target.name, code=code)
        return shards

    async def iterator(self, shard_id: str, position: Position) -> str:
        """`AT_TIMESTAMP` is new (botocore 1.43.117): DynamoDB Local and moto answer it with an internal error."""
        target = self._shard_target(shard_id)
        request: GetShardIteratorInputTypeDef = {
            "StreamArn": self._arn,
            "ShardId": shard_id,
            "ShardIteratorType": cast("ShardIteratorTypeType", position.kind),
        }
        if position.sequence_number is not None:
            request["SequenceNumber"] = position.sequence_number
        if position.timestamp_ms is not None:
            request["Timestamp"] = _EPOCH + timedelta(milliseconds=position.timestamp_ms)
            # Rare, and a time is the one thing that botocore writes in a way of its own.
            answer = await self._call("GetShardIterator", target, NEVER, self._client.get_shard_iterator, **request)
        else:
            answer = await self._ask("GetShardIterator", target, NEVER, request)
        with reading("GetShardIterator", target.name):
            return answer["ShardIterator"]

    async def records(self, iterator: str, limit: int) -> Page:
        """The page as it came. An iterator does not say whose it is: errors name the table only."""
        request = {"ShardIterator": iterator, "Limit": limit}
        answer = await self._ask("GetRecords", self._target, NEVER, request)
        try:
            return decode_page(answer[BODY])
        except ValueError as error:
            raise unreadable("GetRecords", self._table) from error

    def _shard_target(self, shard_id: str) -> Target:
        return Target(f"{self._table}/{shard_id}", self._arn)


class BotoTables:
    """`poller.run.ports.Tables`."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    async def latest_stream(self, table: str) -> StreamInfo | None:
        """As `DescribeTable` names it; a disabled stream says what it holds only when it is asked itself.

        None as well for a stream that was disabled more than 24 hours ago: the table still names it, and it is gone.
        """
        target = Target(table, f"arn:aws:dynamodb:{self._aws.region}:*:table/{table}")
        lane = self._aws.leases
        answer = await lane.pool.call("DescribeTable", target, NEVER, lane.client.describe_table, TableName=table)
        with reading("DescribeTable", table):
            description = answer["Table"]
            arn = description.get("LatestStreamArn")
            if arn is None:
                return None
            specification = description.get("StreamSpecification")
            if specification is not None and specification["StreamEnabled"]:
                return StreamInfo(arn, table, ViewType(specification["StreamViewType"]), enabled=True)
        try:
            return (await BotoStreamSource(self._aws, arn, table).describe()).stream
        except NotFound:
            return None

    async def streams(self, table: str) -> Sequence[str]:
        """Also the disabled streams of the last 24 hours, and those of earlier tables of that name."""
        target = Target(table, f"arn:aws:dynamodb:{self._aws.region}:*:table/{table}/stream/*")
        lane = self._aws.reads
        found: dict[str, str] = {}
        request: ListStreamsInputTypeDef = {"TableName": table}
        while True:
            answer = await lane.pool.call("ListStreams", target, NEVER, lane.client.list_streams, **request)
            with reading("ListStreams", table):
                found |= {stream["StreamArn"]: stream["StreamLabel"] for stream in answer["Streams"]}
                last_arn = answer.get("LastEvaluatedStreamArn")
            if not last_arn:
                return sorted(found, key=found.__getitem__)  # a label is the time at which the stream was made
            request["ExclusiveStartStreamArn"] = last_arn


def _served_at_s(date: str) -> float | None:
    """The service's clock by an answer's `Date`, None where it does not say."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _stream_info(description: StreamDescriptionTypeDef) -> StreamInfo:
    return StreamInfo(
        arn=description["StreamArn"],
        table=description["TableName"],
        view_type=ViewType(description["StreamViewType"]),
        enabled=description["StreamStatus"] != "DISABLED",
    )


def _shards(description: StreamDescriptionTypeDef) -> tuple[Shard, ...]:
    return tuple(map(_shard, description["Shards"]))


def _shard(shard: ShardTypeDef) -> Shard:
    """An ending sequence number is what closes a shard."""
    closed = "EndingSequenceNumber" in shard.get("SequenceNumberRange", {})
    return Shard(shard["ShardId"], shard.get("ParentShardId"), closed)
