"""What a replay was told to do, and the file in which it is kept while it is broken off."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from poller.decide.span import Span
from poller.errors import ConfigurationError, PollerError
from poller.model import AT_TIMESTAMP, TRIM_HORIZON, Position
from poller.operate.account import Left, Rest

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Order:
    """Which records of which span go where.

    `routes`: the names of the routes; `queue`: another queue than theirs; `filters`: patterns in place of their
    filters, empty for their own; `keys`: only these items (name and value of key attributes); `fresh`: what makes the
    deduplication ids others than the daemon's, None: they are the same. `sent`: how many messages by route so far;
    `left`: by shard what was read and not sent.
    """

    stream_arn: str
    span: Span
    routes: tuple[str, ...]
    queue: str | None = None
    filters: tuple[str, ...] = ()
    keys: tuple[tuple[str, str], ...] = ()
    fresh: str | None = None
    sent: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, Left] = field(default_factory=dict)

    def broken_off(self, rest: Rest, sent: Mapping[str, int]) -> Order:
        """The order for what is left."""
        total = {name: self.sent.get(name, 0) + count for name, count in sent.items()}
        return replace(self, span=rest.span, left=rest.left, sent=total)


def write_order(path: Path, order: Order) -> None:
    """All of it or nothing, whatever happens meanwhile. PollerError: it cannot be written."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        beside.write_text(json.dumps(_document(order), indent=2) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise PollerError(f"the state file {path} cannot be written: {error.strerror}") from error


def read_order(path: Path) -> Order:
    """ConfigurationError: there is no such file, or it is none of a replay."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--resume {path}: cannot be read: {error.strerror}") from error
    except (RecursionError, ValueError) as error:
        raise ConfigurationError(f"--resume {path}: not the state of a replay: {error}") from error
    try:
        if document["version"] != _VERSION:
            raise ConfigurationError(f"--resume {path}: of another version of poller; begin the replay anew")
        return _order(document)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(f"--resume {path}: not the state of a replay, or a damaged one") from error


def _document(order: Order) -> dict[str, Any]:
    span = order.span
    return {
        "version": _VERSION,
        "stream_arn": order.stream_arn,
        "start": _place(span.start),
        "until_s": span.until_s,
        "shards": None if span.roots is None else sorted(span.roots),
        "descend": span.descend,
        "places": {shard_id: _place(place) for shard_id, place in span.places.items()},
        "finished": sorted(span.finished),
        "routes": order.routes,
        "queue": order.queue,
        "filters": order.filters,
        "keys": order.keys,
        "fresh_ids": order.fresh,
        "sent": dict(order.sent),
        "left": {
            shard_id: {"upto": left.upto, "unsent": {route: sorted(numbers) for route, numbers in left.unsent.items()}}
            for shard_id, left in order.left.items()
        },
    }


def _order(document: Mapping[str, Any]) -> Order:
    shards, until_s = document["shards"], document["until_s"]
    span = Span(
        start=_position(document["start"]),
        until_s=None if until_s is None else float(until_s),
        roots=None if shards is None else frozenset(map(str, shards)),
        descend=bool(document["descend"]),
        places={str(shard_id): _position(place) for shard_id, place in document["places"].items()},
        finished=frozenset(map(str, document["finished"])),
    )
    return Order(
        stream_arn=str(document["stream_arn"]),
        span=span,
        routes=tuple(map(str, document["routes"])),
        queue=document["queue"],
        filters=tuple(map(str, document["filters"])),
        keys=tuple((str(name), str(value)) for name, value in document["keys"]),
        fresh=document["fresh_ids"],
        sent={str(name): int(count) for name, count in document["sent"].items()},
        left={str(shard_id): _left(left) for shard_id, left in document["left"].items()},
    )


def _left(left: Mapping[str, Any]) -> Left:
    upto = str(left["upto"])
    int(upto)  # as whoever compares it does
    return Left(upto, {str(route): frozenset(map(str, numbers)) for route, numbers in left["unsent"].items()})


def _place(position: Position) -> list[str | int]:
    value = position.sequence_number if position.timestamp_ms is None else position.timestamp_ms
    return [position.kind] if value is None else [position.kind, value]


def _position(place: list[Any]) -> Position:
    match place:
        case ["TRIM_HORIZON"]:
            return Position(TRIM_HORIZON)
        case ["AT_TIMESTAMP", int(time_ms)] if time_ms >= 0:
            return Position(AT_TIMESTAMP, timestamp_ms=time_ms)
        case ["AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER" as kind, str(number)] if (
            number.isascii() and number.isdigit()
        ):
            return Position(kind, sequence_number=number)
    raise ValueError("no place in a shard")
