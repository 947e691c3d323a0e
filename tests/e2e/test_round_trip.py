"""Values of every type on real servers: written to a table, and what arrives in the queues by way of the daemon.

The measure is what boto3 makes of the same stream, which is what a Lambda function would be given, and the item itself.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from tests.e2e.command import endpoints
from tests.e2e.daemon import Daemon, wait_until
from tests.e2e.story import CREDENTIALS, Mailbox, dynamodb, sqs

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

Value = dict[str, Any]

DIGITS = "1234567890123456789012345678901234567"
NUMBERS = [
    *("0", "-0", "1", "-1", "007", "1.500", "1000", "1e3", "0.1", f"{DIGITS}8", f"-{DIGITS}9", f"0.{DIGITS}8"),
    *(f"-{DIGITS[:20]}.{DIGITS[:18]}", "1E+125", f"9.{DIGITS}E+125", "1E-130", "-1E-130", f"{DIGITS}8E-100", "5e-7"),
]
TEXTS = [
    *("", " ", "plain", "é", "\u0000", "\u0001\b\t\n\f\r\u001f", "\u007f\u0085", "\u2028\u2029", "\ufeff", "\ufffd"),
    *("\ufdd0", "\ufffe", "\uffff", "😀", "\U0001fffe\U0010ffff", '"\\/', "\\ud800", "</script>", "%00&amp;", "{}"),
]
BYTES = [b"", b"\x00", b"\xff\xfe", bytes(range(256)), b"\xed\xa0\x80", b"text"]
NAMES = ["S", "N", "a.b", "a b", "é", "😀", '"', "\\", "\u0000", "$or", "#n", ":v", "\ufffe", "x" * 200]


# Its two images together make nearly as large a message as there can be.
BIG = "an item of 400 kB"


def deep(levels: int) -> Value:
    value: Value = {"S": "the bottom"}
    for level in range(levels):
        value = {"M": {"m": value}} if level % 2 else {"L": [value]}
    return value


# Attribute by attribute, so that one that goes wrong is named by its item.
ITEMS: dict[str, dict[str, Value]] = {
    "numbers": {f"n{index}": {"N": number} for index, number in enumerate(NUMBERS)},
    "texts": {f"s{index}": {"S": text} for index, text in enumerate(TEXTS)},
    "bytes": {f"b{index}": {"B": some} for index, some in enumerate(BYTES)},
    "sets": {
        "ss": {"SS": TEXTS},
        "ns": {"NS": ["0", "1.500", f"{DIGITS}8", "1E-130", "-1E+125"]},
        "bs": {"BS": BYTES},
        "one": {"SS": [""]},
    },
    "others": {"yes": {"BOOL": True}, "no": {"BOOL": False}, "null": {"NULL": True}},
    "empty": {"list": {"L": []}, "map": {"M": {}}, "text": {"S": ""}, "bytes": {"B": b""}},
    "nested": {
        "deep": deep(31),
        "list": {"L": [{"N": "1.50"}, {"B": b"\x00\xff"}, {"NULL": True}, {"SS": ["b", "a"]}, {"L": [{"M": {}}]}]},
        "map": {"M": {"S": {"S": "S"}, "NULL": {"NULL": True}, "BS": {"BS": [b"\x01"]}, "M": {"M": {"N": {"N": "1"}}}}},
    },
    "names": {name: {"S": f"at {index}"} for index, name in enumerate(NAMES)},
    "names in a map": {"map": {"M": {name: {"S": f"at {index}"} for index, name in enumerate(NAMES)}}},
    "halves of surrogate pairs": {
        "s": {"S": "a\ud800b"},
        "m": {"M": {"\udc00": {"SS": ["\ud83d\U0001f600", "\udfff"]}}},
    },
    BIG: {"text": {"S": "x" * 200_000}, "more": {"S": "é" * 50_000}, "bytes": {"B": b"\xfb" * 90_000}},
    "\u0000😀\uffff": {"key": {"S": "is odd"}},
}


def written(value: Value) -> Any:
    """The value as DynamoDB JSON has it: bytes in base64; sets in no order, numbers by what they are."""
    # DynamoDB Local writes an empty map as {}, without its type, into a stream.
    typed: tuple[str, Any] = next(iter(value.items()), ("M", {}))
    kind, inner = typed
    readings: dict[str, Callable[[], Any]] = {
        "N": lambda: Decimal(inner),
        "NS": lambda: sorted(map(Decimal, inner)),
        "SS": lambda: sorted(inner),
        "B": lambda: inner if isinstance(inner, str) else base64.b64encode(inner).decode(),
        "BS": lambda: sorted(each if isinstance(each, str) else base64.b64encode(each).decode() for each in inner),
        "L": lambda: list(map(written, inner)),
        "M": lambda: {name: written(each) for name, each in inner.items()},
    }
    return kind, readings.get(kind, lambda: inner)()


def plain(value: Value) -> Any:
    """The value as plain JSON."""
    ((kind, inner),) = value.items()
    readings: dict[str, Callable[[], Any]] = {
        "NULL": lambda: None,
        "L": lambda: list(map(plain, inner)),
        "M": lambda: {name: plain(each) for name, each in inner.items()},
    }
    return readings.get(kind, lambda: written(value)[1])()


def as_plain(image: Mapping[str, Any], like: Mapping[str, Value]) -> dict[str, Any]:
    """A received image with the order of sets taken out of it, by the types of the item that it should be."""
    return {name: _unordered(each, like[name]) if name in like else each for name, each in image.items()}


def _unordered(value: Any, like: Value) -> Any:
    ((kind, inner),) = like.items()
    match kind, value:
        case "SS" | "NS" | "BS", list():
            return sorted(value)
        case "L", list() if len(value) == len(inner):
            return [_unordered(each, one) for each, one in zip(value, inner, strict=True)]
        case "M", dict() if value.keys() == inner.keys():
            return {name: _unordered(each, inner[name]) for name, each in value.items()}
    return value


def create_table(client: DynamoDBClient, name: str) -> None:
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )


def stream_by_boto3(url: str, table: str) -> list[dict[str, Any]]:
    """All records of the stream as boto3 gives them, bytes decoded and times as `datetime`."""
    client = boto3.client(
        "dynamodbstreams",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    (stream,) = client.list_streams(TableName=table)["Streams"]
    arn = stream["StreamArn"]
    records: list[Any] = []
    for shard in client.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        iterator: str | None = client.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator is not None:
            page = client.get_records(ShardIterator=iterator)
            records += page["Records"]
            iterator = page.get("NextShardIterator") if page["Records"] else None
    client.close()
    return records


def comparable(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record, boto3's or a message's, with its values by what they are; its time in seconds."""
    heart = dict(record["dynamodb"])
    created = heart.pop("ApproximateCreationDateTime")
    created_s = created.timestamp() if isinstance(created, datetime) else float(created)
    images = {
        part: {name: written(value) for name, value in heart.pop(part).items()}
        for part in ("Keys", "NewImage", "OldImage")
        if part in heart
    }
    return {**record, "dynamodb": {**heart, **images, "created_s": created_s}}


CONFIG = """
[stream]
table = "{table}"
[[route]]
name = "records"
queue = "{records}"
dead_letter_queue = "{dead}"
filter = ["{{}}"]
attributes = ["eventID", "sequenceNumber"]
[[route]]
name = "images"
queue = "{images}"
dead_letter_queue = "{dead}"
filter = [{{ eventName = ["INSERT", "MODIFY"] }}]
message = "image"
"""


@pytest.mark.real
def test_values_of_every_type_arrive_as_they_were_written(
    dynamodb_local: str, elasticmq: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    queues, tables = sqs(elasticmq), dynamodb(dynamodb_local)
    table = unique("Types")
    create_table(tables, table)
    records, dead = Mailbox(queues, unique("records")), Mailbox(queues, unique("dead"))
    images = Mailbox(queues, unique("images") + ".fifo", FifoQueue="true")
    tables.put_item(TableName=table, Item={"id": {"S": BIG}, **ITEMS[BIG], "bytes": {"B": b"\xfa" * 90_000}})
    for name, item in ITEMS.items():
        tables.put_item(TableName=table, Item={"id": {"S": name}, **item})
    tables.delete_item(TableName=table, Key={"id": {"S": "nested"}})
    config = tmp_path / "poller.toml"
    config.write_text(
        CONFIG.format(table=table, records=records.name, images=images.name, dead=dead.name), encoding="utf-8"
    )
    streamed = stream_by_boto3(dynamodb_local, table)
    assert len(streamed) == len(ITEMS) + 2

    with Daemon(
        {**CREDENTIALS, **endpoints(dynamodb_local, elasticmq)}, tmp_path / "log.jsonl", ("--config", str(config))
    ) as daemon:

        def all_there() -> bool:
            for mailbox in (records, images, dead):
                mailbox.drain()
            return len(records.raw) >= len(streamed) and len(images.raw) + len(dead.raw) > len(ITEMS)

        wait_until(all_there, daemon.tail)
        assert daemon.terminate()[0] == 0

    assert [message["Body"] for message in dead.raw] == []
    arrived = {comparable(body)["eventID"]: comparable(body) for body in map(_json, records.raw)}
    assert arrived == {record["eventID"]: comparable(record) for record in streamed}
    assert {m["MessageAttributes"]["eventID"]["StringValue"] for m in records.raw} == arrived.keys()
    by_name = {body["id"]: body for body in map(_json, images.raw)}
    assert by_name.keys() == ITEMS.keys()
    for name, item in ITEMS.items():
        assert as_plain(by_name[name], item) == {"id": name, **{key: plain(value) for key, value in item.items()}}, name


def _json(message: Mapping[str, Any]) -> Any:
    return json.loads(message["Body"], parse_int=Decimal, parse_float=Decimal)
