"""Stream records as the service writes them: one JSON object in bytes, built once.

Attribute values are DynamoDB JSON (`{"S": "text"}`), with binary values as base64 text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from poller.model import ViewType

Attribute = Mapping[str, Any]
Image = Mapping[str, Attribute]

MATCHING_PHASE: Final = "FILE_UPLOAD_COMPLETE"
OTHER_PHASE: Final = "FILE_UPLOAD_STARTED."  # as long as the matching one: every record of a backlog has one length


def record(
    keys: Image,
    event_name: str = "MODIFY",
    *,
    sequence_number: str,
    created_s: float,
    new_image: Image | None = None,
    old_image: Image | None = None,
    view_type: ViewType = ViewType.NEW_IMAGE,
    region: str = "us-east-1",
    event_id: str | None = None,
    user_identity: Mapping[str, str] | None = None,
) -> bytes:
    """One record. Images are there where the view type has them, and carry the keys whether they name them or not.

    A new image belongs to INSERT and MODIFY, an old one to MODIFY and REMOVE; one that is not given holds the keys.
    """
    body: dict[str, Any] = {"ApproximateCreationDateTime": java_number(created_s), "Keys": keys}
    if view_type.has_new_image and event_name != "REMOVE":
        body["NewImage"] = {**keys, **(new_image or {})}
    if view_type.has_old_image and event_name != "INSERT":
        body["OldImage"] = {**keys, **(old_image or {})}
    size = sum(len(msgspec.json.encode(body[part])) for part in ("Keys", "NewImage", "OldImage") if part in body)
    body |= {"SequenceNumber": sequence_number, "SizeBytes": size, "StreamViewType": view_type.value}
    whole: dict[str, Any] = {
        "eventID": event_id or hashlib.md5(sequence_number.encode(), usedforsecurity=False).hexdigest(),
        "eventName": event_name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": region,
        "dynamodb": body,
    }
    if user_identity is not None:
        whole["userIdentity"] = user_identity
    return msgspec.json.encode(whole)


def java_number(seconds: float) -> msgspec.Raw:
    """Whole seconds as the service prints them, e.g. `1.795453E9`; DynamoDB Local prints `1795453000.000`."""
    digits = str(int(seconds))
    if len(digits) <= 7:
        return msgspec.Raw(f"{digits}.0".encode())
    return msgspec.Raw(f"{digits[0]}.{digits[1:].rstrip('0') or '0'}E{len(digits) - 1}".encode())


def backlog(
    count: int,
    first: int,
    *,
    key_attribute: str,
    sequence_numbers: Iterator[int],
    created_s: float,
    match_every: int,
    image_bytes: int,
    region: str = "us-east-1",
) -> Iterator[tuple[int, bytes]]:
    """`count` updates of as many items, the `first` of them numbered so: sequence number and body, all of one length.

    Every `match_every`th has the phase that the shipped filter lets through, 0: none. An image has about `image_bytes`.
    """
    templates = {
        phase: _template(
            phase, key_attribute=key_attribute, created_s=created_s, image_bytes=image_bytes, region=region
        )
        for phase in (MATCHING_PHASE, OTHER_PHASE)
    }
    matching, other = templates[MATCHING_PHASE], templates[OTHER_PHASE]
    for number in range(first, first + count):
        sequence = next(sequence_numbers)
        key = b"request-%012d" % number
        template = matching if match_every and number % match_every == 0 else other
        yield sequence, template % (b"%032x" % sequence, key, key, b"%021d" % sequence)


def _template(phase: str, *, key_attribute: str, created_s: float, image_bytes: int, region: str) -> bytes:
    blank = "\x7f%s\x7f"
    image = {"phase": {"S": phase}, "requestorId": {"S": "requestor-0000"}, "padding": {"S": ""}}
    keys = {key_attribute: {"S": "request-000000000000"}}
    missing = image_bytes - len(msgspec.json.encode({**keys, **image}))
    image["padding"] = {"S": "x" * max(0, missing)}
    body = record(
        {key_attribute: {"S": blank}},
        sequence_number=blank,
        created_s=created_s,
        new_image=image,
        region=region,
        event_id=blank,
    )
    return body.replace(b"%", b"%%").replace(b"\x7f%%s\x7f", b"%b")
