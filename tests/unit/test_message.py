"""Messages and dead letters: what of a record is sent, under which ids, and how large it is."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from typing import Any, Literal

import pytest
from msgspec.structs import replace

from poller.model import Content, Message, Record
from poller.run.message import ATTRIBUTES, MessageBuilder, Unsendable, Why, letter, store_key

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/AnalysisMetadataTable/stream/2026-11-23T08:00:00.000"
RECORD = Record(
    shard_id="shardId-00000001700000000000-abcdef01",
    event_id="0123456789abcdef0123456789abcdef",
    event_name="MODIFY",
    sequence_number="100000000000000000001",
    created_s=1_700_000_000.0,
    group="f" * 32,
    body=b'{"eventID":"0123456789abcdef0123456789abcdef","dynamodb":{"Keys":{"id":{"S":"a"}},"NewImage":{"id":{"S":"a"}}}}',
)


def builder(
    form: Literal["record", "image"] = "record",
    attributes: tuple[str, ...] = (),
    fifo: bool = False,
    group_by: Literal["auto", "item"] = "auto",
) -> MessageBuilder:
    return MessageBuilder(table="Uploads", form=form, attributes=attributes, fifo=fifo, group_by=group_by)


def with_body(body: str | bytes) -> Record:
    return replace(RECORD, body=body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass"))


def sqs_takes(text: str) -> bool:
    """The characters of SQS's documentation, one by one."""
    return all(
        point in (0x9, 0xA, 0xD) or 0x20 <= point <= 0xD7FF or 0xE000 <= point <= 0xFFFD or point >= 0x10000
        for point in map(ord, text)
    )


# --- the record as it came --------------------------------------------------------------------------------------------


def test_a_record_is_sent_exactly_as_it_came() -> None:
    body = '{ "b" : 1e5, "a":"\\u0041é😀\\/" ,"n":{"N":"1.50"}}'

    assert builder().build(with_body(body)).body == body


@pytest.mark.parametrize("point", [0xFFFE, 0xFFFF, 0xD800, 0xDFFF])
def test_characters_that_sqs_refuses_are_written_as_escapes(point: int) -> None:
    body = f'{{"a": "x{chr(point)}é"}}'

    message = builder().build(with_body(body))

    assert message.body == f'{{"a": "x\\u{point:04x}é"}}'
    assert json.loads(message.body) == json.loads(body)
    assert sqs_takes(message.body)


@pytest.mark.parametrize("body", ['{"a": "\\u0000\\ud800"}', '{"a": "\x7f\x9f\u2028\ufdd0\U0001ffff"}'])
def test_characters_that_sqs_takes_stay_as_they_are(body: str) -> None:
    assert builder().build(with_body(body)).body == body


def test_bytes_that_are_no_text_cannot_be_sent() -> None:
    with pytest.raises(Unsendable, match="codec can't decode byte 0xff") as refused:
        builder().build(with_body(b'{"a": "\xff"}'))

    assert refused.value.reason == "undecodable"


def test_a_record_that_was_not_understood_cannot_be_sent() -> None:
    with pytest.raises(Unsendable) as refused:
        builder().build(replace(RECORD, fault="it has no sequence number"))

    assert (refused.value.reason, refused.value.text) == ("undecodable", "it has no sequence number")


# --- the new image as plain JSON --------------------------------------------------------------------------------------


def image(value: str) -> str:
    """What becomes of one attribute value, both as JSON text."""
    body = builder("image").build(with_body(f'{{"dynamodb":{{"NewImage":{{"a":{value}}}}}}}')).body
    assert body.startswith('{"a":')
    assert body.endswith("}")
    return body[5:-1]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ('{"S":"text"}', '"text"'),
        ('{"S":""}', '""'),
        (r'{"S":"\" \\ \u0000 \u00e9"}', r'"\" \\ \u0000 é"'),
        ('{"N":"5"}', "5"),
        ('{"N":"-0.50"}', "-0.50"),
        ('{"N":"12345678901234567890123456789012345678"}', "12345678901234567890123456789012345678"),
        ('{"N":"0.00000000000000000000000000000000000001"}', "0.00000000000000000000000000000000000001"),
        ('{"N":"1E-130"}', "1E-130"),
        ('{"N":"9.99E+125"}', "9.99E+125"),
        ('{"N":"no number"}', '"no number"'),
        ('{"N":".5"}', '".5"'),
        ('{"N":"007"}', '"007"'),
        ('{"N":"NaN"}', '"NaN"'),
        ('{"BOOL":true}', "true"),
        ('{"BOOL":false}', "false"),
        ('{"NULL":true}', "null"),
        ('{"B":"3q2+7w=="}', '"3q2+7w=="'),
        ('{"SS":["b","a"]}', '["b","a"]'),
        ('{"NS":["1","2.0"]}', "[1,2.0]"),
        ('{"BS":["3q2+7w==",""]}', '["3q2+7w==",""]'),
        ('{"L":[]}', "[]"),
        ('{"L":[{"S":"x"},{"N":"1.0"},{"L":[{"NULL":true}]}]}', '["x",1.0,[null]]'),
        ('{"M":{}}', "{}"),
        ('{"M":{"S":{"S":"x"},"N":{"M":{"é":{"N":"1"}}}}}', '{"S":"x","N":{"é":1}}'),
        ('{"ZZ":[1.50,{"S":"x"}]}', '{"ZZ":[1.50,{"S":"x"}]}'),
        ('{"M":{"new":{"ZZ":null}}}', '{"new":{"ZZ":null}}'),
        ('{"S":5}', '{"S":5}'),
        ('{"NULL":false}', '{"NULL":false}'),
        ('{"NS":[1]}', '{"NS":[1]}'),
        ('{"S":"x","N":"1"}', '{"S":"x","N":"1"}'),
        ("{}", "{}"),
        ("1E5", "1E5"),
    ],
)
def test_an_image_is_plain_json_with_every_digit_kept(value: str, plain: str) -> None:
    assert image(value) == plain


def test_an_image_holds_only_characters_that_sqs_takes() -> None:
    plain = image('{"S":"\\uffff\uffff\\ud800"}')

    assert plain == r'"\uffff\uffff\ud800"'


@pytest.mark.parametrize(
    "body",
    ['{"dynamodb":{"Keys":{}}}', '{"dynamodb":{"NewImage":null}}', '{"dynamodb":[]}', '{"eventName":"REMOVE"}', "5"],
)
def test_without_a_new_image_there_is_no_message(body: str) -> None:
    with pytest.raises(Unsendable) as refused:
        builder("image").build(with_body(body))

    assert refused.value.reason == "no_image"


@pytest.mark.parametrize("body", ["{", '{"dynamodb":{"NewImage":{"a":{"ZZ":NaN}}}}', '{"dynamodb":' + "[" * 100_000])
def test_an_image_that_cannot_be_read_is_undecodable(body: str) -> None:
    with pytest.raises(Unsendable) as refused:
        builder("image").build(with_body(body))

    assert refused.value.reason == "undecodable"


# --- attributes, ids, size --------------------------------------------------------------------------------------------


def test_attributes_are_sent_on_request() -> None:
    message = builder(attributes=ATTRIBUTES).build(RECORD)

    assert message.attributes == {
        "eventName": "MODIFY",
        "eventID": RECORD.event_id,
        "table": "Uploads",
        "sequenceNumber": RECORD.sequence_number,
        "shardId": RECORD.shard_id,
    }
    assert builder().build(RECORD).attributes == {}


def test_an_empty_attribute_is_left_out_since_sqs_refuses_it() -> None:
    message = builder(attributes=("eventName", "eventID")).build(replace(RECORD, event_name=""))

    assert message.attributes == {"eventID": RECORD.event_id}


def test_an_attribute_holds_only_characters_that_sqs_takes() -> None:
    message = builder(attributes=("eventName",)).build(replace(RECORD, event_name="A\0B\uffff\ud800é"))

    assert message.attributes == {"eventName": "A\ufffdB\ufffd\ufffdé"}


def test_an_unknown_attribute_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no message attribute 'eventname'; there are eventName, eventID, table"):
        builder(attributes=("eventname",))


def test_on_a_fifo_queue_the_item_is_the_group_and_the_event_the_deduplication() -> None:
    message = builder(fifo=True).build(RECORD)

    assert (message.group_id, message.deduplication_id) == (RECORD.group, RECORD.event_id)


def test_on_a_standard_queue_a_group_is_sent_only_on_request() -> None:
    assert builder().build(RECORD).group_id is None
    fair = builder(group_by="item").build(RECORD)
    assert (fair.group_id, fair.deduplication_id) == (RECORD.group, None)


@pytest.mark.parametrize("event_id", ["", "x" * 129, "with space", "é", "new\nline"])
def test_an_event_id_that_sqs_would_refuse_is_hashed(event_id: str) -> None:
    first = builder(fifo=True).build(replace(RECORD, event_id=event_id))
    again = builder(fifo=True).build(replace(RECORD, event_id=event_id))
    other = builder(fifo=True).build(replace(RECORD, event_id=event_id + "?" if event_id else "", body=b"{}"))

    assert re.fullmatch(r"[0-9a-f]{32}", first.deduplication_id or "")
    assert first.deduplication_id == again.deduplication_id
    assert first.deduplication_id != other.deduplication_id


def size_of(message: Message) -> int:
    """As SQS counts: body, and name, type and value of every attribute, in UTF-8."""
    attributes = "".join(name + "String" + value for name, value in message.attributes.items())
    return len((message.body + attributes).encode())


@pytest.mark.parametrize("attributes", [(), ATTRIBUTES])
@pytest.mark.parametrize("body", ['{"a":"plain"}', '{"a":"é😀\uffff"}'])
def test_the_size_is_what_sqs_counts(attributes: tuple[str, ...], body: str) -> None:
    message = builder(attributes=attributes).build(replace(with_body(body), event_name="é"))

    assert message.size_bytes == size_of(message)


# --- dead letters -----------------------------------------------------------------------------------------------------

WHY = Why(
    route="analysis",
    reason="refused",
    code="InvalidMessageContents",
    text="The message contains characters outside the allowed set.",
    attempts=5,
    first_failed_s=1_700_000_000.25,
    now_s=1_700_000_060.0,
    stream_arn=ARN,
    table="AnalysisMetadataTable",
)
LARGE = with_body(json.dumps({"dynamodb": {"Keys": {"id": {"S": "a/é"}}, "NewImage": {"x": {"S": "x" * 5_000}}}}))
POSITION = {
    "streamArn": ARN,
    "shardId": RECORD.shard_id,
    "sequenceNumber": RECORD.sequence_number,
    "eventID": RECORD.event_id,
    "eventName": "MODIFY",
}


def test_a_letter_holds_the_whole_record_if_it_fits() -> None:
    message, content = letter(RECORD, WHY, limit_bytes=2_048, fifo=False)

    assert content is Content.RECORD
    assert message.body.encode() == RECORD.body


def test_a_letter_says_why_how_often_when_and_from_where_in_ten_attributes() -> None:
    message, _ = letter(RECORD, WHY, limit_bytes=2_048, fifo=False)

    assert message.attributes == {
        "reason": "refused",
        "errorCode": "InvalidMessageContents",
        "errorText": "The message contains characters outside the allowed set.",
        "attempts": "5",
        "firstFailedAt": "2023-11-14T22:13:20.250Z",
        "deadLetteredAt": "2023-11-14T22:14:20.000Z",
        "route": "analysis",
        "table": "AnalysisMetadataTable",
        "position": f"{RECORD.shard_id}/{RECORD.sequence_number}",
        "content": "record",
    }
    assert len(message.attributes) == 10
    assert message.size_bytes == size_of(message)


def test_what_does_not_fit_goes_with_keys_and_position() -> None:
    message, content = letter(LARGE, WHY, limit_bytes=2_048, fifo=False)

    assert content is Content.KEYS
    assert json.loads(message.body) == {**POSITION, "keys": {"id": {"S": "a/é"}}}
    assert message.attributes["content"] == "keys"
    assert message.size_bytes <= 2_048


def test_what_is_stored_in_the_bucket_goes_with_a_pointer() -> None:
    message, content = letter(LARGE, WHY, limit_bytes=2_048, fifo=False, stored_at="s3://bucket/key.json")

    assert content is Content.S3
    assert json.loads(message.body) == {"s3": "s3://bucket/key.json", **POSITION}


def test_a_pointer_that_leaves_no_room_for_the_position_goes_alone() -> None:
    url = "s3://bucket/" + "k" * 500

    message, content = letter(LARGE, WHY, limit_bytes=1_024, fifo=False, stored_at=url)

    assert (content, json.loads(message.body)) == (Content.S3, {"s3": url})
    assert message.size_bytes <= 1_024


def test_keys_that_do_not_fit_leave_the_position() -> None:
    keys = with_body(json.dumps({"dynamodb": {"Keys": {"id": {"S": "k" * 2_000}}}}))

    message, content = letter(keys, WHY, limit_bytes=2_048, fifo=False)

    assert (content, json.loads(message.body)) == (Content.POSITION, POSITION)
    assert len(message.attributes) == 10


def test_the_whole_record_is_worth_more_than_the_errors_text() -> None:
    full, _ = letter(RECORD, WHY, limit_bytes=10_000, fifo=False)

    message, content = letter(RECORD, WHY, limit_bytes=full.size_bytes - 10, fifo=False)
    none, same = letter(RECORD, WHY, limit_bytes=full.size_bytes - 60, fifo=False)

    assert content is same is Content.RECORD
    assert message.attributes["errorText"] == WHY.text[:-10]
    assert message.size_bytes == full.size_bytes - 10
    assert "errorText" not in none.attributes


WORST = dataclasses.replace(
    WHY,
    route="r" * 64,
    code="C" * 300,
    text="\uffff😀" * 300,
    table="t" * 255,
    attempts=10**9,
    stream_arn=f"arn:aws-us-gov:dynamodb:us-gov-east-1:123456789012:table/{'t' * 255}/stream/2026-11-23T08:00:00.000",
)


def test_even_in_the_smallest_queue_the_position_fits() -> None:
    record = replace(LARGE, shard_id="shardId-" + "s" * 57, sequence_number="9" * 40)

    message, content = letter(record, WORST, limit_bytes=1_024, fifo=True)

    assert content is Content.POSITION
    assert message.size_bytes == size_of(message) <= 1_024
    assert json.loads(message.body)["sequenceNumber"] == "9" * 40
    assert {"reason", "attempts", "position", "content"} <= message.attributes.keys()


def test_the_errors_text_is_cut_and_clean() -> None:
    message, _ = letter(RECORD, WORST, limit_bytes=100_000, fifo=False)

    text = message.attributes["errorText"]
    assert text.startswith("\ufffd😀\ufffd😀")
    assert len(text) == 256
    assert all(sqs_takes(value) for value in message.attributes.values())


def test_the_errors_text_is_never_cut_within_a_character() -> None:
    full, _ = letter(RECORD, dataclasses.replace(WHY, text="😀😀"), limit_bytes=10_000, fifo=False)

    cut, _ = letter(RECORD, dataclasses.replace(WHY, text="😀😀"), limit_bytes=full.size_bytes - 1, fifo=False)
    gone, _ = letter(RECORD, dataclasses.replace(WHY, text="😀😀"), limit_bytes=full.size_bytes - 5, fifo=False)

    assert cut.attributes["errorText"] == "😀"
    assert "errorText" not in gone.attributes


def test_no_attribute_of_a_letter_holds_content_of_the_item() -> None:
    secret = with_body('{"dynamodb":{"Keys":{"id":{"S":"secret"}},"NewImage":{"id":{"S":"secret"}}}}')

    message, _ = letter(secret, WHY, limit_bytes=2_048, fifo=False)

    assert not any("secret" in value for value in message.attributes.values())


def test_a_letter_of_a_record_without_anything_still_says_where_it_was() -> None:
    nothing = Record(RECORD.shard_id, "", "", "", 0.0, "", b"[" + b"1," * 2_000, fault="it is not a JSON object")

    message, content = letter(nothing, WHY, limit_bytes=2_048, fifo=True)

    assert content is Content.POSITION
    assert json.loads(message.body) == {"streamArn": ARN, "shardId": RECORD.shard_id}
    assert message.attributes["position"] == f"{RECORD.shard_id}/"


def test_bytes_that_are_no_text_are_kept_in_base64() -> None:
    message, content = letter(with_body(b'{"a":"\xff"}'), WHY, limit_bytes=2_048, fifo=False)

    assert content is Content.RECORD
    assert base64.b64decode(json.loads(message.body)["undecodableBase64"]) == b'{"a":"\xff"}'


def test_a_letter_holds_only_characters_that_sqs_takes() -> None:
    odd = '{"dynamodb":{"Keys":{"id":{"S":"\uffff\ud800"}}}}'

    whole, _ = letter(with_body(odd), WHY, limit_bytes=2_048, fifo=False)
    keys, content = letter(with_body(odd + " " * 2_000), WHY, limit_bytes=2_048, fifo=False)

    assert json.loads(whole.body) == json.loads(odd)
    assert (content, json.loads(keys.body)["keys"]) == (Content.KEYS, json.loads(odd)["dynamodb"]["Keys"])
    assert sqs_takes(whole.body)
    assert sqs_takes(keys.body)


def test_ids_of_any_length_do_not_burst_the_position() -> None:
    odd = replace(LARGE, event_id="é" * 10_000, event_name="x" * 10_000)

    message, content = letter(odd, WHY, limit_bytes=1_024, fifo=True)

    assert content is Content.KEYS
    assert message.size_bytes <= 1_024
    assert json.loads(message.body).keys() == {"streamArn", "shardId", "sequenceNumber", "keys"}


def test_in_a_fifo_dead_letter_queue_the_item_is_the_group_and_record_and_route_the_deduplication() -> None:
    one, _ = letter(RECORD, WHY, limit_bytes=2_048, fifo=True)
    again, _ = letter(RECORD, dataclasses.replace(WHY, attempts=9, now_s=1_800_000_000.0), limit_bytes=2_048, fifo=True)
    elsewhere, _ = letter(RECORD, dataclasses.replace(WHY, route="audit"), limit_bytes=2_048, fifo=True)
    standard, _ = letter(RECORD, WHY, limit_bytes=2_048, fifo=False)

    assert one.group_id == RECORD.group
    assert one.deduplication_id == again.deduplication_id != elsewhere.deduplication_id
    assert (standard.group_id, standard.deduplication_id) == (None, None)


def test_a_letter_of_a_record_without_a_key_is_in_its_shards_group() -> None:
    bad = replace(RECORD, group="", event_id="")

    message, _ = letter(bad, WHY, limit_bytes=2_048, fifo=True)
    other, _ = letter(replace(bad, body=b"{}"), WHY, limit_bytes=2_048, fifo=True)

    assert re.fullmatch(r"[0-9a-f]{32}", message.group_id or "")
    assert message.group_id == other.group_id
    assert message.deduplication_id != other.deduplication_id


# --- the bucket -------------------------------------------------------------------------------------------------------


def test_a_stored_record_is_named_by_table_route_day_and_event() -> None:
    assert store_key(RECORD, WHY) == f"AnalysisMetadataTable/analysis/2023/11/14/{RECORD.event_id}.json"


@pytest.mark.parametrize("event_id", ["", "..", "../../x", "a/b", "é", "x" * 129, "a b"])
@pytest.mark.parametrize(("table", "route"), [("my.table", "../up"), ("..", "a/b c"), ("", "é")])
def test_a_stored_records_name_is_safe_whatever_it_is_made_of(event_id: str, table: str, route: str) -> None:
    key = store_key(replace(RECORD, event_id=event_id), dataclasses.replace(WHY, table=table, route=route))

    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*/2023/11/14/[0-9a-f]{32}\.json", key)


def test_different_records_are_stored_under_different_names() -> None:
    records: list[Any] = [replace(RECORD, event_id="", body=body) for body in (b"1", b"2")]

    assert store_key(records[0], WHY) != store_key(records[1], WHY)
