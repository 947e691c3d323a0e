"""From a record to what is sent of it: the message of a route, or the letter for its dead-letter queue.

A message is made once and sent again as it was; nothing here waits, reads a clock or knows a queue.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from poller.model import Content, Message, Record

ATTRIBUTES: Final = ("eventName", "eventID", "table", "sequenceNumber", "shardId")
"""What a route may ask for as message attributes, all of them strings."""

_NO_ATTRIBUTES: Final[Mapping[str, str]] = {}
_VALUE_CHARACTERS_MAX: Final = 256  # of any attribute of a letter; names of tables have 255

# SQS: the type counts with name and value (API reference, SendMessage: "Message attributes").
_TYPE_BYTES: Final = len("String")
# SQS, SendMessage: the characters that a message may not hold, all of them in the basic plane.
_REFUSED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# SQS, MessageDeduplicationId: up to 128 letters, digits and punctuation marks of ASCII.
_PLAIN_ID = re.compile(r"[!-~]{1,128}")
# S3, "Object key naming guidelines": the characters that need no care anywhere; and no name that begins with a dot.
_UNSAFE_IN_KEY = re.compile(r"[^A-Za-z0-9._-]")
_SAFE_IN_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


class Unsendable(Exception):
    """No message can be made of the record. `reason`: undecodable, no_image; `text` says more, without content."""

    def __init__(self, reason: Literal["undecodable", "no_image"], text: str) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason
        self.text = text


class MessageBuilder:
    """What one route sends. `table` is the table's name, `attributes` are among ATTRIBUTES, else ValueError.

    `form` "record": the record's JSON as the service sent it, so that `json.loads` of both is equal; "image": the new
    image as plain JSON. The group id is the item's hash: always on a FIFO queue; on a standard queue with `group_by`
    "item", where it means fair queueing.
    """

    def __init__(
        self,
        *,
        table: str,
        form: Literal["record", "image"],
        attributes: Sequence[str],
        fifo: bool,
        group_by: Literal["auto", "item"],
    ) -> None:
        for name in attributes:
            if name not in ATTRIBUTES:
                raise ValueError(f"there is no message attribute {name!r}; there are {', '.join(ATTRIBUTES)}")
        self._table = table
        self._form = form
        self._attributes = tuple(dict.fromkeys(attributes))
        self._fifo = fifo
        self._grouped = fifo or group_by == "item"

    def build(self, record: Record) -> Message:
        """The record's message. Unsendable: there is none, now or ever."""
        if record.fault is not None:
            raise Unsendable("undecodable", record.fault)
        try:
            text = _decoded(record.body)
            body = text if self._form == "record" else _image_text(text)
        except (ValueError, RecursionError) as error:
            raise Unsendable("undecodable", str(error)) from error
        if not body.isascii():
            body = _escaped(body)
        attributes = self._attributes_of(record) if self._attributes else _NO_ATTRIBUTES
        return Message(
            body,
            _size_bytes(body, attributes),
            record.group if self._grouped else None,
            _deduplication_id(record) if self._fifo else None,
            attributes,
        )

    def _attributes_of(self, record: Record) -> dict[str, str]:
        values = {
            "eventName": record.event_name,
            "eventID": record.event_id,
            "table": self._table,
            "sequenceNumber": record.sequence_number,
            "shardId": record.shard_id,
        }
        # SQS refuses empty values.
        return {name: _clean(values[name]) for name in self._attributes if values[name]}


# --- text that SQS takes ----------------------------------------------------------------------------------------------


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        # Halves of surrogate pairs, encoded one by one: not UTF-8, but text that escapes can carry.
        return body.decode("utf-8", "surrogatepass")


def _escaped(text: str) -> str:
    """JSON text without the characters that SQS refuses: escaped, so that it means the same."""
    return _REFUSED.sub(lambda character: f"\\u{ord(character[0]):04x}", text)


def _clean(value: str) -> str:
    """A value for an attribute, where no escape would be understood."""
    return _REFUSED.sub("\ufffd", value)


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _size_bytes(body: str, attributes: Mapping[str, str]) -> int:
    size = len(body) if body.isascii() else _bytes_of(body)
    if not attributes:
        return size
    for name, value in attributes.items():
        size += len(name) + _TYPE_BYTES + _bytes_of(value)
    return size


def _hash(*parts: str | bytes) -> str:
    joined = b"\0".join(part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in parts)
    return hashlib.blake2b(joined, digest_size=16).hexdigest()


def _deduplication_id(record: Record) -> str:
    if _PLAIN_ID.fullmatch(record.event_id):
        return record.event_id
    return _hash(record.event_id or record.body)


# --- the new image as plain JSON --------------------------------------------------------------------------------------

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_quoted = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class _Number:
    """A number of the record's JSON, as it was written."""

    text: str


def _image_text(record: str) -> str:
    decoded = json.loads(record, parse_int=_Number, parse_float=_Number)
    images = decoded.get("dynamodb") if isinstance(decoded, dict) else None
    image = images.get("NewImage") if isinstance(images, dict) else None
    if not isinstance(image, dict):
        raise Unsendable("no_image", "the record has no new image: a REMOVE, or a stream whose view type has none")
    return _object_text(image)


def _value_text(value: object) -> str:
    """One attribute value without its type. What is not of a known type is passed on as it is, its type with it."""
    if isinstance(value, dict) and len(value) == 1:
        ((kind, inner),) = value.items()
        if kind in _KINDS:
            is_one, text_of = _KINDS[kind]
            if is_one(inner):
                return text_of(inner)
    return _json_text(value)


def _object_text(attributes: Mapping[str, Any]) -> str:
    return "{" + ",".join(f"{_quoted(name)}:{_value_text(value)}" for name, value in attributes.items()) + "}"


def _list_text(texts: Iterable[str]) -> str:
    return "[" + ",".join(texts) + "]"


def _number_text(text: str) -> str:
    """All digits as they came, trailing zeros too: whoever parses them decides on their precision."""
    return text if _JSON_NUMBER.fullmatch(text) else _quoted(text)


def _json_text(value: object) -> str:
    match value:
        case _Number():
            return value.text
        case dict():
            return "{" + ",".join(f"{_quoted(name)}:{_json_text(each)}" for name, each in value.items()) + "}"
        case list():
            return _list_text(map(_json_text, value))
        case _:
            return _quoted(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


# The types of DynamoDB: what stands under each, and how it is written.
_KINDS: Final[dict[str, tuple[Callable[[Any], bool], Callable[[Any], str]]]] = {
    "S": (_is_text, _quoted),
    "N": (_is_text, _number_text),
    "B": (_is_text, _quoted),  # base64, as it came
    "BOOL": (lambda value: isinstance(value, bool), _quoted),
    "NULL": (lambda value: value is True, lambda _: "null"),
    "SS": (_are_texts, lambda texts: _list_text(map(_quoted, texts))),
    "NS": (_are_texts, lambda texts: _list_text(map(_number_text, texts))),
    "BS": (_are_texts, lambda texts: _list_text(map(_quoted, texts))),
    "L": (lambda value: isinstance(value, list), lambda values: _list_text(map(_value_text, values))),
    "M": (lambda value: isinstance(value, dict), _object_text),
}


# --- dead letters -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Why:
    """Why, how often, when and from which route a record became a dead letter; times in seconds since the epoch."""

    route: str
    reason: str
    code: str
    text: str
    attempts: int
    first_failed_s: float
    now_s: float
    stream_arn: str
    table: str


def letter(
    record: Record, why: Why, *, limit_bytes: int, fifo: bool, stored_at: str | None = None
) -> tuple[Message, Content]:
    """The letter that holds most of the record within `limit_bytes`, and what that is.

    The whole record (bytes that are no text as `{"undecodableBase64": ...}`), else the pointer `stored_at` to it
    (`s3://bucket/key`), else its keys and position, else its position, which always fits into SQS's smallest limit of
    1,024 bytes. The attributes hold no content of the item; where there is no room, the error's text is cut first.
    """
    attributes = _letter_attributes(record, why)
    body, content, kept = "", Content.POSITION, attributes
    # If not even the last one fits, below SQS's smallest limit, it is sent all the same: the queue may take it.
    for body, content in _letter_bodies(record, why, stored_at):
        dispensable = _DISPENSABLE if content is Content.POSITION else _DISPENSABLE[:1]
        kept = _fitted(attributes | {"content": content.value}, limit_bytes - _bytes_of(body), dispensable)
        if _size_bytes(body, kept) <= limit_bytes:
            break
    message = Message(
        body=body,
        size_bytes=_size_bytes(body, kept),
        group_id=(record.group or _hash(record.shard_id)) if fifo else None,
        deduplication_id=_hash(record.event_id or record.body, why.route) if fifo else None,
        attributes=kept,
    )
    return message, content


def store_key(record: Record, why: Why) -> str:
    """The name of the whole record in the bucket: `<table>/<route>/<yyyy>/<mm>/<dd>/<event id or a hash>.json`."""
    day = datetime.fromtimestamp(why.now_s, UTC).strftime("%Y/%m/%d")
    event_id = record.event_id
    name = event_id if _SAFE_IN_KEY.fullmatch(event_id) else _hash(event_id or record.body)
    return f"{store_prefix(why.table, why.route)}/{day}/{name}.json"


def store_prefix(table: str, route: str) -> str:
    """How the names of all of a route's records in the bucket begin."""
    parts = (_UNSAFE_IN_KEY.sub("_", part).lstrip(".")[:128] or "_" for part in (table, route))
    return "/".join(parts)


# What a letter does without if there is no room, in this order: first what the log and the body's ARN say as well.
_DISPENSABLE: Final = ("errorText", "table", "firstFailedAt", "errorCode", "deadLetteredAt", "route")


def _letter_attributes(record: Record, why: Why) -> dict[str, str]:
    values = {
        "reason": why.reason,
        "errorCode": why.code,
        "errorText": why.text,
        "attempts": str(why.attempts),
        "firstFailedAt": _instant(why.first_failed_s),
        "deadLetteredAt": _instant(why.now_s),
        "route": why.route,
        "table": why.table,
        "position": f"{record.shard_id}/{record.sequence_number}",
    }
    return {name: _clean(value[:_VALUE_CHARACTERS_MAX]) for name, value in values.items() if value}


def _instant(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _letter_bodies(record: Record, why: Why, stored_at: str | None) -> Iterator[tuple[str, Content]]:
    """From the fullest to the smallest."""
    position = _position(record, why)
    try:
        yield _escaped(_decoded(record.body)), Content.RECORD
    except UnicodeDecodeError:
        yield _small({"undecodableBase64": base64.b64encode(record.body).decode()}), Content.RECORD
    if stored_at is not None:
        yield _small({"s3": stored_at, **position}), Content.S3
        yield _small({"s3": stored_at}), Content.S3
    keys = _keys(record)
    if keys is not None:
        yield _small({**position, "keys": keys}), Content.KEYS
    yield _small(position), Content.POSITION


def _position(record: Record, why: Why) -> dict[str, str]:
    """Enough to read the record again; of what is no plain id, and could be of any length, nothing."""
    values = {
        "streamArn": why.stream_arn,
        "shardId": record.shard_id,
        "sequenceNumber": record.sequence_number,
        "eventID": record.event_id,
        "eventName": record.event_name,
    }
    return {name: value for name, value in values.items() if name == "streamArn" or _PLAIN_ID.fullmatch(value)}


def _keys(record: Record) -> dict[str, Any] | None:
    try:
        keys = json.loads(_decoded(record.body))["dynamodb"]["Keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return keys if isinstance(keys, dict) else None


def _small(body: Mapping[str, Any]) -> str:
    return _escaped(json.dumps(body, ensure_ascii=False, separators=(",", ":")))


def _fitted(attributes: Mapping[str, str], room_bytes: int, dispensable: Sequence[str]) -> dict[str, str]:
    """The attributes, short of what has no room: the error's text is cut to what is left, the others go whole."""
    kept = dict(attributes)
    for name in dispensable:
        excess = _size_bytes("", kept) - room_bytes
        if excess <= 0 or name not in kept:
            continue
        value = kept.pop(name).encode()
        rest = value[: max(0, len(value) - excess)].decode(errors="ignore") if name == "errorText" else ""
        if rest:
            kept[name] = rest
    return kept
