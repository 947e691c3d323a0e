"""A message of a dead-letter queue as the letter that the daemon wrote; None for what somebody else put there. Pure.

The other side of `poller.run.message.letter`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from poller.model import Content, ReceivedMessage

_S3: Final = "s3://"
_SEQUENCE_NUMBER: Final = re.compile(r"[0-9]{1,40}")
_CALENDAR_END_S: Final = 253_402_300_799.0  # the end of the year 9999


class Unreadable(Exception):
    """The letter's body is not what its attributes say of it; the message says why, without content."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the record stood in its stream."""

    stream_arn: str
    shard_id: str
    sequence_number: str


@dataclass(frozen=True, slots=True, eq=False)
class Letter:
    """One dead letter. What its attributes had no room for is None; `died_s`: when it became one, since the epoch."""

    message: ReceivedMessage
    reason: str
    content: Content
    position: str
    route: str | None
    table: str | None
    code: str | None
    text: str | None
    attempts: int | None
    died_s: float

    @property
    def shard_id(self) -> str:
        return self.position.rpartition("/")[0]

    @property
    def event_id(self) -> str | None:
        """None where the body does not hold it."""
        name = _fields(self.message.body).get("eventID")
        return name if isinstance(name, str) and name else None

    @property
    def keys(self) -> Any:
        """The item's key, None where the body does not hold it: it is content, and shown to those who ask."""
        fields = _fields(self.message.body)
        heart = fields.get("dynamodb")
        return heart.get("Keys") if isinstance(heart, dict) else fields.get("keys")

    def record(self) -> bytes:
        """The whole record of a letter that holds it."""
        fields = _fields(self.message.body)
        encoded = fields.get("undecodableBase64")
        if len(fields) != 1 or not isinstance(encoded, str):
            return self.message.body.encode("utf-8", "surrogatepass")
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Unreadable("the letter holds no base64 where it says so") from error

    def stored_at(self) -> tuple[str, str]:
        """Bucket and key of a letter whose record was stored in S3."""
        url = _fields(self.message.body).get("s3")
        bucket, _, key = url.removeprefix(_S3).partition("/") if isinstance(url, str) else ("", "", "")
        if not isinstance(url, str) or not url.startswith(_S3) or not bucket or not key:
            raise Unreadable("the letter names no object in S3 where it says so")
        return bucket, key

    def place(self) -> Place:
        """Where to read the record of a letter that holds no more than its keys or position."""
        fields = _fields(self.message.body)
        values = [fields.get(name) for name in ("streamArn", "shardId", "sequenceNumber")]
        arn, shard_id, sequence_number = (value if isinstance(value, str) else "" for value in values)
        if not (arn and shard_id and _SEQUENCE_NUMBER.fullmatch(sequence_number)):
            raise Unreadable("the letter does not say where in the stream its record was")
        return Place(arn, shard_id, sequence_number)


def letter_in(message: ReceivedMessage) -> Letter | None:
    """None: it is no letter of this daemon, whatever else it is."""
    attributes = message.attributes
    reason, position, content = (attributes.get(name, "") for name in ("reason", "position", "content"))
    if not reason or "/" not in position or content not in {each.value for each in Content}:
        return None
    attempts = attributes.get("attempts", "")
    return Letter(
        message,
        reason,
        Content(content),
        position,
        route=attributes.get("route"),
        table=attributes.get("table"),
        code=attributes.get("errorCode"),
        text=attributes.get("errorText"),
        attempts=int(attempts) if attempts.isdecimal() and len(attempts) < 10 else None,
        died_s=_seconds(attributes.get("deadLetteredAt", ""), message.sent_s),
    )


def _fields(body: str) -> dict[str, Any]:
    """The body's members; none for one that is no object."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _seconds(instant: str, otherwise: float) -> float:
    try:
        time = datetime.fromisoformat(instant)
        seconds = time.timestamp() if time.tzinfo is not None else otherwise
    except (ValueError, OverflowError):
        return otherwise
    return seconds if 0.0 <= seconds <= _CALENDAR_END_S else otherwise
