"""Messages of arbitrary items: they mean what the record meant, and are as large as they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from poller.model import Content, ReceivedMessage, Record
from poller.operate.letters import letter_in
from poller.run.message import ATTRIBUTES, MessageBuilder, Why, letter
from tests.letters import record_of as sifted

# Every character, also those that SQS refuses and halves of surrogate pairs.
anything = st.text(st.characters(exclude_categories=()) | st.sampled_from("\ufffe\uffff\ud800\udc00\u0000"), max_size=8)
digits = st.decimals(allow_nan=False, allow_infinity=False, places=10, min_value=-(10**25), max_value=10**25)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.builds(lambda text: {"S": text}, anything),
        st.builds(lambda number: {"N": f"{number:f}"}, digits),
        st.builds(lambda flag: {"BOOL": flag}, st.booleans()),
        st.just({"NULL": True}),
        st.just({"B": "3q2+7w=="}),
        st.builds(lambda texts: {"SS": texts}, st.lists(anything, max_size=3)),
        st.builds(lambda numbers: {"NS": [f"{each:f}" for each in numbers]}, st.lists(digits, max_size=3)),
        st.just({"BS": ["3q2+7w==", ""]}),
        st.builds(lambda text: {"ZZ": [text]}, anything),
    ),
    lambda inner: st.one_of(
        st.builds(lambda each: {"L": each}, st.lists(inner, max_size=3)),
        st.builds(lambda each: {"M": each}, st.dictionaries(anything, inner, max_size=3)),
    ),
    max_leaves=6,
)
images = st.dictionaries(anything, values, max_size=4)


def record_of(image: dict[str, Any], ascii_only: bool) -> Record:
    content = {"eventID": "e", "dynamodb": {"Keys": image, "NewImage": image, "SequenceNumber": "1"}}
    body = json.dumps(content, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    return Record("shardId-1", "e", "MODIFY", "1", 0.0, "g" * 32, body)


def sqs_takes(text: str) -> bool:
    refused = [*range(9), 0xB, 0xC, *range(0xE, 0x20), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF]
    return set(map(ord, text)).isdisjoint(refused)


def plain(value: dict[str, Any]) -> Any:
    """What an attribute value is without its type, numbers in all their digits."""
    ((kind, inner),) = value.items()
    readings: dict[str, Callable[[], Any]] = {
        "N": lambda: Decimal(inner),
        "NS": lambda: [Decimal(each) for each in inner],
        "NULL": lambda: None,
        "L": lambda: [plain(each) for each in inner],
        "M": lambda: {name: plain(each) for name, each in inner.items()},
        "ZZ": lambda: value,
    }
    return readings.get(kind, lambda: inner)()


def joined(value: Any) -> Any:
    """Without the difference between a pair of surrogates and its character, which JSON does not know either."""
    return json.loads(json.dumps(value, default=str))


@given(images, st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_record_means_the_same_when_it_arrives(image: dict[str, Any], ascii_only: bool) -> None:
    record = record_of(image, ascii_only)
    builder = MessageBuilder(table="t", form="record", attributes=ATTRIBUTES, fifo=True, group_by="auto")

    message = builder.build(record)

    assert joined(json.loads(message.body)) == joined(json.loads(record.body))
    assert sqs_takes(message.body)
    counted = len(message.body.encode()) + sum(len(f"{n}String{v}".encode()) for n, v in message.attributes.items())
    assert message.size_bytes == counted


@given(images, st.booleans())
@settings(max_examples=100, deadline=None)
def test_an_image_loses_its_types_and_nothing_else(image: dict[str, Any], ascii_only: bool) -> None:
    builder = MessageBuilder(table="t", form="image", attributes=(), fifo=False, group_by="auto")

    message = builder.build(record_of(image, ascii_only))

    arrived = json.loads(message.body, parse_int=Decimal, parse_float=Decimal)
    assert joined(arrived) == joined({name: plain(value) for name, value in joined(image).items()})
    assert sqs_takes(message.body)
    assert message.size_bytes == len(message.body.encode())


@given(images, st.booleans(), st.integers(1_024, 4_096), anything, st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_letter_fits_into_its_queue_and_holds_as_much_as_it_says(
    image: dict[str, Any], ascii_only: bool, limit_bytes: int, error: str, stored: bool
) -> None:
    record = record_of(image, ascii_only)
    why = Why("r", "refused", "Code", error * 20, 3, 1.0, 2.0, "arn:aws:dynamodb:eu-west-1:1:table/t/stream/1", "t")

    message, content = letter(
        record, why, limit_bytes=limit_bytes, fifo=True, stored_at="s3://bucket/key" if stored else None
    )

    assert message.size_bytes <= limit_bytes
    assert message.attributes["content"] == content.value
    assert sqs_takes(message.body)
    assert all(value and sqs_takes(value) for value in message.attributes.values())
    body = joined(json.loads(message.body))
    match content:
        case Content.RECORD:
            assert body == joined(json.loads(record.body))
        case Content.S3:
            assert body["s3"] == "s3://bucket/key"
        case Content.KEYS:
            assert body["keys"] == joined(image)
        case Content.POSITION:
            assert body["sequenceNumber"] == "1"
    assert stored or content is not Content.S3


@given(images, st.booleans())
@settings(max_examples=100, deadline=None)
def test_what_is_redriven_from_a_letter_is_the_message_of_the_record(image: dict[str, Any], ascii_only: bool) -> None:
    record = sifted(record_of(image, ascii_only).body, "shardId-1")
    builder = MessageBuilder(table="t", form="record", attributes=ATTRIBUTES, fifo=True, group_by="auto")
    why = Why("r", "refused", "Code", "text", 3, 1.0, 2.0, "arn:aws:dynamodb:eu-west-1:1:table/t/stream/1", "t")
    message, content = letter(record, why, limit_bytes=1 << 20, fifo=True)
    assert content is Content.RECORD

    received = letter_in(ReceivedMessage("m", "m#1", message.body, message.attributes, 0.0, message.group_id))
    assert received is not None
    first, again = builder.build(record), builder.build(sifted(received.record(), received.shard_id))

    assert joined(json.loads(again.body)) == joined(json.loads(first.body))
    assert (again.deduplication_id, again.attributes) == (first.deduplication_id, first.attributes)
    if not any("\ud800" <= character <= "\udfff" for character in record.body.decode("utf-8", "surrogatepass")):
        assert (again.body, again.group_id) == (first.body, first.group_id)
