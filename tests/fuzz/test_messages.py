"""Any record that can come out of a page: a message and a letter that a queue takes, as large as they say."""

from __future__ import annotations

import json
import re
from typing import Any, Final, Literal

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from poller.decide.filter import compile_filter
from poller.model import Content, Message, Page, Record
from poller.run.message import ATTRIBUTES, MessageBuilder, Unsendable, Why, letter, store_key
from poller.run.sift import Sifter
from tests.fuzz.effort import examples
from tests.fuzz.mutations import TOKENS, record_bodies, spelled
from tests.property.event_strategies import json_values, records

# What SQS says of its ids, of a batch's attributes and of characters (API reference, SendMessage).
ID: Final = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")
ATTRIBUTES_MAX: Final = 10
REFUSED: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
EVERYTHING: Final = Sifter([compile_filter([])])


def check_message(message: Message, *, fifo: bool, grouped: bool) -> None:
    assert message.body
    assert len(message.attributes) <= ATTRIBUTES_MAX
    for text in (message.body, *message.attributes, *message.attributes.values()):
        assert text
        assert not REFUSED.search(text)
    assert (message.deduplication_id is not None) is fifo
    assert (message.group_id is not None) is grouped
    for one in (message.group_id, message.deduplication_id):
        assert one is None or ID.fullmatch(one)
    counted = sum(len(f"{name}String{value}".encode()) for name, value in message.attributes.items())
    assert message.size_bytes == len(message.body.encode()) + counted


def why(text: str = "text", table: str = "Uploads", route: str = "r") -> Why:
    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/Uploads/stream/2026-11-23T08:00:00.000"
    return Why(route, "undecodable", "Code", text, 3, 1.0, 1_795_420_800.0, arn, table)


def sifted(body: bytes) -> Record:
    (match,) = EVERYTHING.sift(Page([body], None, 0), "shardId-00000001700000000000-abcdef01").matches
    return match.record


def meaning(text: str | bytes) -> Any:
    """What JSON says: without the difference between a pair of surrogates and its character."""
    text = text if isinstance(text, str) else text.decode("utf-8", "surrogatepass")
    read = json.loads(text, parse_int=str, parse_float=str)
    return json.loads(json.dumps(read), object_pairs_hook=list)


forms: st.SearchStrategy[Literal["record", "image"]] = st.sampled_from(["record", "image"])


@given(record_bodies(), forms, st.booleans(), st.sampled_from(["auto", "item"]))
@examples(300)
def test_a_record_with_anything_in_it_becomes_a_message_that_a_queue_takes_or_none(
    body: bytes, form: Literal["record", "image"], fifo: bool, group_by: Literal["auto", "item"]
) -> None:
    record = sifted(body)
    builder = MessageBuilder(table="Uploads", form=form, attributes=ATTRIBUTES, fifo=fifo, group_by=group_by)
    try:
        message = builder.build(record)
    except Unsendable as refusal:
        event(refusal.reason)
        reason, fault = refusal.reason, record.fault
        assert (reason == "undecodable") or (form == "image" and fault is None)
        return
    event("a message")
    check_message(message, fifo=fifo, grouped=fifo or group_by == "item")
    if form == "record":
        assert meaning(message.body) == meaning(body)
    else:
        assert isinstance(json.loads(message.body), dict)


@given(
    record_bodies(),
    st.integers(0, 2_000),
    st.integers(1_024, 2_048),
    st.booleans(),
    st.sampled_from([None, "s3://b/k"]),
)
@examples(200)
def test_a_record_with_anything_in_it_becomes_a_letter_that_fits(
    body: bytes, spaces: int, limit_bytes: int, fifo: bool, stored_at: str | None
) -> None:
    record = sifted(body + b" " * spaces)

    message, content = letter(record, why(record.fault or ""), limit_bytes=limit_bytes, fifo=fifo, stored_at=stored_at)

    event(content.value)
    check_message(message, fifo=fifo, grouped=fifo)
    assert message.size_bytes <= limit_bytes
    assert message.attributes["content"] == content.value
    # In base64, and beside all attributes that a letter cannot do without.
    assert content is Content.RECORD or 700 + 2 * len(record.body) > limit_bytes
    assert (content is Content.S3) is (stored_at is not None and content is not Content.RECORD)


texts = st.one_of(
    st.text(max_size=20),
    st.lists(st.sampled_from(["\0", "\ud800", "\uffff", "😀", "é", "a", "\n", " ", "/", ".."]), max_size=400).map(
        "".join
    ),
    st.sampled_from(["x" * 128, "x" * 129, "x" * 300_000, "é" * 128]),
)


@st.composite
def any_records(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> Record:
    """Of any fields: a service may one day write its ids otherwise."""
    return Record(
        shard_id=draw(texts),
        event_id=draw(texts),
        event_name=draw(texts),
        sequence_number=draw(texts),
        created_s=0.0,
        group="" if (fault := draw(st.none() | texts)) else "f" * 32,
        body=draw(bodies),
        fault=fault,
    )


any_bodies = record_bodies() | st.lists(st.sampled_from(TOKENS), min_size=1, max_size=5).map(b"".join)
json_bodies = (records() | json_values).flatmap(spelled)


@given(any_records(any_bodies), texts, st.booleans())
@example(Record("\0", "\ud800", "\n", "x" * 300_000, 0.0, "", b"\xff", None), "\ud800" * 300, True)
@examples(200)
def test_a_letter_fits_whatever_its_record_calls_itself(record: Record, error: str, fifo: bool) -> None:
    message, _ = letter(record, why(error, "T" * 255, "r" * 64), limit_bytes=1_024, fifo=fifo)

    check_message(message, fifo=fifo, grouped=fifo)
    assert message.size_bytes <= 1_024
    key = store_key(record, why(error, error, error))
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,132}){5}", key)
    assert len(key.encode()) <= 1_024


@given(any_records(json_bodies), forms, st.booleans())
@examples(200)
def test_a_message_has_valid_ids_whatever_its_record_calls_itself(
    record: Record, form: Literal["record", "image"], fifo: bool
) -> None:
    builder = MessageBuilder(table="T" * 255, form=form, attributes=ATTRIBUTES, fifo=fifo, group_by="auto")
    if record.fault is not None:
        with pytest.raises(Unsendable):
            builder.build(record)
        return
    try:
        message = builder.build(record)
    except Unsendable as refusal:
        event(refusal.reason)
        return
    event("a message")
    check_message(message, fifo=fifo, grouped=fifo)
