"""Puts a page of records to the routes' filters: bytes in, the few records that somebody wants out.

Of a record only what the filters read is decoded; the bytes of one that a route wants are copied, the rest is let go.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol, Required, TypeAlias, TypedDict, TypeGuard

import msgspec
from typing_extensions import Buffer

from poller.model import Match, Page, Record, Sifted

UNKNOWN: Final = "UNKNOWN"
# A metric's labels must be bounded: every other name of an event counts as UNKNOWN.
EVENT_NAMES: Final = ("INSERT", "MODIFY", "REMOVE", UNKNOWN)

Path: TypeAlias = tuple[str, ...]
Fields: TypeAlias = dict[str, Any]
# As the service's model has it. It is where a checkpoint stands: what no lease row can hold must never become one.
_SEQUENCE_NUMBER_MAX: Final = 40
_SequenceNumber: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=_SEQUENCE_NUMBER_MAX)]
# A creation time beyond what a calendar holds is none: everything that reckons with it would stumble.
_CREATED_S_MAX: Final = 253_402_300_799  # the end of the year 9999
_IN_CALENDAR: Final = msgspec.Meta(ge=0, le=_CREATED_S_MAX)
_Created: TypeAlias = Annotated[int, _IN_CALENDAR] | Annotated[float, _IN_CALENDAR]

_PLACELESS: Final = "it has no sequence number"
# What reading a record raises when it is not one, or is nested too deep to be one; anything else is a defect of ours.
_UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class _Sight:
    """What a filter's verdict and a place in the page need of one record. `fault`: why it cannot be understood."""

    event_name: str
    sequence_number: str
    created_s: float | None
    routes: tuple[int, ...]
    fault: str | None = None


class Wants(Protocol):
    """What a sifter needs of a filter (`poller.decide.filter.Filter`)."""

    @property
    def paths(self) -> frozenset[Path]:
        """The ends of all that it reads of a record."""

    def matches(self, record: Mapping[str, Any]) -> bool:
        """The verdict on a record, or on what of it lies on `paths`. Never raises."""


class Sifter:
    """Compiled once for all routes of a stream. `filters` are the routes' own, in the order of the routes."""

    def __init__(self, filters: Sequence[Wants]) -> None:
        self._wants = tuple((index, each.matches) for index, each in enumerate(filters))
        self._decode = _decoder({path for each in filters for path in each.paths})

    def sift(self, page: Page, shard_id: str, not_before_s: float | None = None) -> Sifted:
        """What the routes want of this page, in its order.

        A filter's verdict is always what it says to the whole decoded record. A record that cannot be understood goes
        to every route, with `fault` set and what could be read of it. Records created before `not_before_s` (seconds
        since the epoch) go to no route. A record without a creation time is never skipped, and takes that of the record
        before it: an age must never be counted from 1970.
        """
        decode, wants = self._decode, self._wants
        events = dict.fromkeys(EVENT_NAMES, 0)
        matches: list[Match] = []
        skipped = 0
        before: str | None = None
        last_created_s: float | None = None
        for raw in page.records:
            routes: tuple[int, ...] = ()
            fault = None
            try:
                fields = decode(raw)
                for index, wants_it in wants:
                    if wants_it(fields):
                        routes += (index,)
                heart = fields["dynamodb"]
                sequence_number, created_s = heart["SequenceNumber"], heart.get("ApproximateCreationDateTime")
                event_name = fields.get("eventName", "")
                if not (sequence_number.isdigit() and sequence_number.isascii()):
                    raise ValueError(_PLACELESS)
            except _UNREADABLE:
                sight = self._look_closer(raw)
                sequence_number, created_s, event_name = sight.sequence_number, sight.created_s, sight.event_name
                routes, fault = sight.routes, sight.fault
            events[event_name if event_name in events else UNKNOWN] += 1
            if created_s is not None:
                last_created_s = created_s
            if not_before_s is not None and created_s is not None and created_s < not_before_s:
                skipped += 1
            elif routes:
                event_id, group, unidentified = _identify(raw)
                record = Record(
                    shard_id=shard_id,
                    event_id=event_id,
                    event_name=event_name,
                    sequence_number=sequence_number,
                    created_s=float(last_created_s or 0),
                    group=group,
                    body=bytes(raw),
                    fault=fault or unidentified,
                )
                matches.append(Match(record, routes, before))
            before = sequence_number or before
        matched = [0] * len(wants)
        for match in matches:
            for index in match.routes:
                matched[index] += 1
        judged = len(page.records) - skipped
        filtered = tuple(judged - count for count in matched)
        return Sifted(tuple(matches), events, tuple(matched), filtered, skipped, before, last_created_s)

    def _look_closer(self, raw: Buffer) -> _Sight:
        """The same for a record that is not as the filters' paths expect it: the whole of it, decoded with patience."""
        everyone = tuple(index for index, _ in self._wants)
        try:
            record = whole(raw)
            heart = record["dynamodb"]
        except _UNREADABLE as error:
            return _Sight("", "", None, everyone, _why(error))
        created_s = heart.get("ApproximateCreationDateTime") if isinstance(heart, dict) else None
        if not _is_number(created_s) or not 0 <= created_s <= _CREATED_S_MAX:
            created_s = None
        sequence_number = _text_of(heart, "SequenceNumber")
        event_name = _text_of(record, "eventName")
        is_place = sequence_number.isdigit() and sequence_number.isascii()
        if not is_place or len(sequence_number) > _SEQUENCE_NUMBER_MAX:
            return _Sight(event_name, "", created_s, everyone, _PLACELESS)
        if record.get("eventName", event_name) != event_name:
            return _Sight("", sequence_number, created_s, everyone, "its eventName is not a string")
        try:
            routes = tuple(index for index, wants_it in self._wants if wants_it(record))
        except RecursionError as error:
            return _Sight(event_name, sequence_number, created_s, everyone, _why(error))
        return _Sight(event_name, sequence_number, created_s, routes)


# --- what of a record is decoded --------------------------------------------------------------------------------------


def _decoder(paths: Iterable[Path]) -> Callable[[Buffer], Fields]:
    """A decoder of records that skips whatever does not lie on `paths`; it refuses a record whose types are others.

    To plain dicts (TypedDict), not structs: names of attributes need not be identifiers, and a filter meets the same
    kind of object whether it comes from here or from a full decode. A tenth slower than structs, measured.
    """
    in_heart = {path[1:] for path in paths if path[0] == "dynamodb" and len(path) > 1}
    beside_it = {path for path in paths if path[0] != "dynamodb"}
    if not (_is_plain(in_heart) and _is_plain(beside_it)):
        return _refuse
    heart = _typed_dict(
        _fields(in_heart) | {"SequenceNumber": Required[_SequenceNumber], "ApproximateCreationDateTime": _Created}
    )
    record = _typed_dict(_fields(beside_it) | {"eventName": str, "dynamodb": Required[heart]})
    decode: Callable[[Buffer], Fields] = msgspec.json.Decoder(record).decode
    return decode


def _refuse(_raw: Buffer) -> Fields:
    raise ValueError("read as a whole")


def _is_plain(paths: Iterable[Path]) -> bool:
    """Whether these names can be those of a TypedDict.

    msgspec overlooks names beyond ASCII there, now and then (its pull request 1126): a record would be lost in silence.
    """
    return all(path[0].isascii() for path in paths)


def _fields(paths: Iterable[Path]) -> dict[str, Any]:
    below: dict[str, set[Path]] = {}
    for path in paths:
        below.setdefault(path[0], set()).add(path[1:])
    # Where one path ends and another goes on, all that is below it is decoded: right for both.
    return {
        name: _typed_dict(_fields(rests)) if () not in rests and _is_plain(rests) else Any
        for name, rests in below.items()
    }


def _typed_dict(fields: dict[str, Any]) -> Any:
    return TypedDict("_Fields", fields, total=False)  # type: ignore[operator]


def whole(raw: Buffer) -> Fields:
    """The record by the standard library's reader, which takes what msgspec does not: halves of surrogate pairs."""
    record = json.loads(bytes(raw).decode("utf-8", "surrogatepass"))
    if not isinstance(record, dict):
        raise TypeError("it is not a JSON object")
    return record


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text_of(fields: object, name: str) -> str:
    value = fields.get(name, "") if isinstance(fields, dict) else ""
    return value if isinstance(value, str) else ""


def _why(error: Exception) -> str:
    """For people; the readers' messages name places, never content."""
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]}"
    return str(error) or type(error).__name__


# --- the record that somebody wants -----------------------------------------------------------------------------------


class _Heart(msgspec.Struct, gc=False):
    keys: dict[str, dict[str, Any]] = msgspec.field(name="Keys")


class _Identity(msgspec.Struct, gc=False):
    dynamodb: _Heart
    event_id: str = msgspec.field(name="eventID", default="")


_decode_identity = msgspec.json.Decoder(_Identity).decode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def _identify(raw: Buffer) -> tuple[str, str, str | None]:
    """Event id, group, and why one of them cannot be read: without its key a record cannot be kept in order."""
    try:
        identity = _decode_identity(raw)
        return identity.event_id, _group(identity.dynamodb.keys), None
    except _UNREADABLE:
        return _identify_patiently(raw)


def _identify_patiently(raw: Buffer) -> tuple[str, str, str | None]:
    try:
        record = whole(raw)
        event_id = _text_of(record, "eventID")
        keys = record["dynamodb"]["Keys"]
        group = _group(keys) if isinstance(keys, dict) else ""
    except _UNREADABLE as error:
        return "", "", _why(error)
    if not group:
        return event_id, "", "its Keys are not an object"
    return event_id, group, None if record.get("eventID", event_id) == event_id else "its eventID is not a string"


def _group(keys: dict[str, Any]) -> str:
    """The same for one item always: names and types sorted, whatever the order and the escapes in which they came."""
    try:
        canonical = _encode_sorted(keys)
    except UnicodeEncodeError:  # half of a surrogate pair
        canonical = json.dumps(keys, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()
