"""Kinds of values that settings have: how each is read from text or TOML, and what is said when it cannot be.

Every fault is a ValueError whose message says what is wrong and what to write instead; `origins` adds who wrote it.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator

from poller.model import AT_TIMESTAMP, LATEST, TRIM_HORIZON, Position


def _matching(pattern: str, otherwise: str) -> AfterValidator:
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(otherwise)
        return text

    # What it must be, for whoever lists the settings.
    check.__doc__ = re.sub(r"^(must be|not|neither) ", "", otherwise).replace(" nor ", " or ")
    return AfterValidator(check)


def _no_broken_url(text: str) -> str:
    try:
        urlsplit(text)
    except ValueError:
        raise ValueError("not the URL of a queue: write it as https://HOST/ACCOUNT/NAME") from None
    return text


def _no_boolean(value: object) -> object:
    """For Python true is the number 1, for a person it is not."""
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic takes no other kind as a fault
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _names(value: object) -> object:
    """A variable has no lists: `a,b` or a JSON list stands for one."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _json(value, "not a valid JSON list")
    return [name.strip() for name in value.split(",") if name.strip()]


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"names {_quoted(twice[0])} twice")
    return names


def _known_attributes(names: object) -> object:
    """Of several names pydantic would not say which one is wrong."""
    known = get_args(_Attribute)
    for name in names if isinstance(names, list | tuple) else ():
        if isinstance(name, str) and name not in known:
            *others, last = (_quoted(one) for one in known)
            raise ValueError(f"{_quoted(name)} is none of {', '.join(others)} and {last}")
    return names


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=not name.isprintable())


def read_start_position(value: object) -> Position:
    """`TRIM_HORIZON`, `LATEST`, or a time with its zone. ValueError says what else was written."""
    if value in (TRIM_HORIZON, LATEST):
        return Position(str(value))
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError("must be TRIM_HORIZON, LATEST or a time such as 2026-11-23T08:00:00Z") from None
    if time.tzinfo is None:
        raise ValueError("a time needs its zone, such as 2026-11-23T08:00:00Z")
    if time.timestamp() < 0:
        raise ValueError("is before 1970; write TRIM_HORIZON for all that there is")
    return Position(AT_TIMESTAMP, timestamp_ms=int(time.timestamp() * 1000))


def _write_position(position: Position) -> str:
    if position.timestamp_ms is None:
        return position.kind
    time = datetime.fromtimestamp(position.timestamp_ms / 1000, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(text: str, fault: str) -> object:
    def unique(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
        known: dict[str, object] = {}
        for name, value in pairs:
            if name in known:
                raise ValueError(f"names {_quoted(name)} twice")
            known[name] = value
        return known

    def refuse(constant: str) -> object:
        raise ValueError(f"{constant} is no JSON value")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse, parse_float=Decimal)
    except json.JSONDecodeError as error:
        raise ValueError(f"{fault}: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError(f"{fault}: nested too deep") from None


def _patterns(value: object) -> object:
    """One pattern alone stands for a list of one. A pattern is JSON text or a table of the file, and stays what it is:
    reading it, to the last digit of its numbers, is the filter's business."""
    if isinstance(value, str):
        value = _json(value, "not a valid JSON list") if value.lstrip().startswith("[") else [value]
    patterns = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(pattern, str | dict) for pattern in patterns):
        raise ValueError('a pattern is a JSON object, such as {"eventName": ["INSERT"]}')
    return patterns


def default_worker_id() -> str:
    """Host and pid, by which people find the process; what tells it apart from all others is added by the daemon."""
    return f"{socket.gethostname()}:{os.getpid()}"


TableName = Annotated[
    str, _matching(r"[A-Za-z0-9_.-]{3,255}", 'not a table\'s name: 3 to 255 of a-z, A-Z, 0-9, "_", "-" and "."')
]
QueueName = Annotated[
    str,
    _matching(
        r"https?://[!-~]{1,1000}|[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo",
        'neither a queue\'s name nor its URL; a name is 1 to 80 of a-z, A-Z, 0-9, "_" and "-"',
    ),
    AfterValidator(_no_broken_url),
]
BucketName = Annotated[
    str, _matching(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", 'not a bucket\'s name: 3 to 63 of a-z, 0-9, "-" and "."')
]
RouteName = Annotated[str, _matching(r"[A-Za-z0-9_-]{1,64}", 'must be 1 to 64 of a-z, A-Z, 0-9, "_" and "-"')]
RegionName = Annotated[str, _matching(r"[a-z0-9-]{1,32}", 'not a region\'s name, such as "eu-west-1"')]
HostName = Annotated[str, _matching(r"[A-Za-z0-9.:_%-]{1,255}", 'not a host name or address, such as "127.0.0.1"')]
WorkerId = Annotated[
    str,
    _matching(
        r"(?=.*\S)[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,256}", "must be one line of 1 to 256 characters"
    ),
]
AttributeNames = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=255)], ...],
    BeforeValidator(_names),
    AfterValidator(_distinct),
]
_Attribute = Literal["eventName", "eventID", "table", "sequenceNumber", "shardId"]
MessageAttributes = Annotated[
    tuple[_Attribute, ...],
    BeforeValidator(_known_attributes),
    BeforeValidator(_names),
    AfterValidator(_distinct),
]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
Whole = Annotated[int, BeforeValidator(_no_boolean)]
Rate = Annotated[float, BeforeValidator(_no_boolean), Field(gt=0, allow_inf_nan=False)]
Price = Annotated[float, BeforeValidator(_no_boolean), Field(ge=0, allow_inf_nan=False)]
PlainText = Annotated[str, _matching(r"[ -~]{1,64}", "must be one line of 1 to 64 plain characters")]
StartPosition = Annotated[
    Position, PlainValidator(read_start_position), PlainSerializer(_write_position, return_type=str)
]
Patterns = Annotated[tuple[str | dict[str, Any], ...], BeforeValidator(_patterns)]
