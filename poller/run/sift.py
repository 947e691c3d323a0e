"""Puts a page of records to the routes' filters: bytes in, the few records that somebody wants out.

Of a record only what the filters read is decoded; the bytes of one that a route wants are copied, the rest is let go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, TypeGuard

import msgspec
from typing_extensions import Buffer

from poller.model import Match, Page, Record, Sifted
from poller.run.fields import CREATED_S_MAX, SEQUENCE_NUMBER_MAX, Decode, Decoders, Fields, Place
from poller.run.skim import Doubtful, Skimmer, Wants

UNKNOWN: Final = "UNKNOWN"
# A metric's labels must be bounded: every other name of an event counts as UNKNOWN.
EVENT_NAMES: Final = ("INSERT", "MODIFY", "REMOVE", UNKNOWN)

# From this part of wanted records in a page on, the next one is cut up whole (decision 13).
_DENSE: Final = 0.5

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


class Sifter:
    """Compiled once for all routes of a stream. `filters` are the routes' own, in the order of the routes."""

    def __init__(self, filters: Sequence[Wants]) -> None:
        self.exchange(filters)

    def exchange(self, filters: Sequence[Wants]) -> None:
        """Other filters from the next page on, for the same routes."""
        self._wants = tuple((index, each.matches) for index, each in enumerate(filters))
        decoders = Decoders({path for each in filters for path in each.paths})
        self._decode, self._decode_likely = decoders.record, decoders.likely
        self._skimmer = Skimmer(filters, decoders.places)
        self._of_nothing = _Sieve(self._wants, "", None).sifted()

    def sift(self, page: Page, shard_id: str, not_before_s: float | None = None) -> Sifted:
        """What the routes want of this page, in its order. AwsError: it is none.

        A filter's verdict is always what it says to the whole decoded record. A record that cannot be understood goes
        to every route, with `fault` set and what could be read of it. Records created before `not_before_s` (seconds
        since the epoch) go to no route. A record without a creation time is never skipped, and takes that of the record
        before it: an age must never be counted from 1970.
        """
        if page.text is None and not page.records:
            return self._of_nothing
        if self._skimmer.serves and self._decode_likely is not None:
            sieve = _Sieve(self._wants, shard_id, not_before_s)
            try:
                for passed, likely in self._skimmer.parts(page):
                    sieve.pass_over(passed)
                    sieve.sift_likely(likely, self._decode_likely)
                sifted = sieve.sifted()
            except Doubtful:
                pass  # whatever it is, it is found record by record
            else:
                self._skimmer.dense = len(sifted.matches) > _DENSE * sum(sifted.events.values())
                return sifted
        sieve = _Sieve(self._wants, shard_id, not_before_s)
        sieve.sift(page.records, self._decode)
        return sieve.sifted()


class _Sieve:
    """One page on its way through the filters."""

    def __init__(
        self, wants: Sequence[tuple[int, Callable[[Fields], bool]]], shard_id: str, not_before_s: float | None
    ) -> None:
        self._wants = wants
        self._alone = [(index,) for index, _ in wants]
        self._shard_id = shard_id
        # Nothing is older than that.
        self._not_before_s = -1.0 if not_before_s is None else not_before_s
        self._events = dict.fromkeys(EVENT_NAMES, 0)
        self._matches: list[Match] = []
        self._passed: list[Place] = []
        self._skipped = 0
        self._before: str | None = None
        self._last_created_s: float | None = None

    def sift(self, raws: Iterable[Buffer], decode: Decode) -> None:
        """Record by record, whatever each of them is."""
        wants, events = self._wants, self._events
        before, last_created_s, not_before_s = self._before, self._last_created_s, self._not_before_s
        for raw in raws:
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
            if created_s is not None and created_s < not_before_s:
                self._skipped += 1
            elif routes:
                event_id, group, unidentified = _identify(raw)
                record = Record(
                    self._shard_id,
                    event_id,
                    event_name,
                    sequence_number,
                    float(last_created_s or 0),
                    group,
                    bytes(raw),
                    fault or unidentified,
                )
                self._matches.append(Match(record, routes, before))
            before = sequence_number or before
        self._before, self._last_created_s = before, last_created_s

    def sift_likely(self, raws: Iterable[bytes], decode: Decode) -> None:
        """The same for records that are probably wanted and without a fault. Doubtful: one is not as it should be."""
        wants, events, matches, shard_id = self._wants, self._events, self._matches, self._shard_id
        before, last_created_s, not_before_s = self._before, self._last_created_s, self._not_before_s
        group = ""
        for raw in raws:
            routes: tuple[int, ...] = ()
            try:
                fields = decode(raw)
                for index, wants_it in wants:
                    if wants_it(fields):
                        routes = (*routes, index) if routes else self._alone[index]
                heart = fields["dynamodb"]
                sequence_number, created_s = heart["SequenceNumber"], heart.get("ApproximateCreationDateTime")
                event_name = fields.get("eventName", "")
                if routes:
                    hashed = _HASH.copy()  # as _group() does
                    hashed.update(_encode_sorted(heart["Keys"]))
                    group = hashed.hexdigest()
            except _UNREADABLE as error:
                raise Doubtful from error
            if not (sequence_number.isdigit() and sequence_number.isascii()):
                raise Doubtful
            events[event_name if event_name in events else UNKNOWN] += 1
            if created_s is not None:
                last_created_s = created_s
            if created_s is not None and created_s < not_before_s:
                self._skipped += 1
            elif routes:
                event_id, known_s = fields.get("eventID", ""), float(last_created_s or 0)
                record = Record(shard_id, event_id, event_name, sequence_number, known_s, group, raw)
                matches.append(Match(record, routes, before))
            before = sequence_number
        self._before, self._last_created_s = before, last_created_s

    def pass_over(self, places: Sequence[Place]) -> None:
        """Records that no route wants."""
        if not places:
            return
        self._before = places[-1].dynamodb.sequence_number
        for place in reversed(places):
            created_s = place.dynamodb.created_s
            if created_s is not msgspec.UNSET:
                self._last_created_s = created_s
                break
        self._passed += places

    def _count_passed(self) -> None:
        """All of them at once. Doubtful: one has no sequence number that could be one."""
        hearts = [place.dynamodb for place in self._passed]
        numbers = "".join([heart.sequence_number for heart in hearts])
        if not numbers.encode().isdigit():  # of ASCII only, and many times as fast as on text
            raise Doubtful
        names = [place.event_name for place in self._passed]
        for name in EVENT_NAMES[:3]:
            self._events[name] += names.count(name)
        if self._not_before_s > 0:
            created = [heart.created_s for heart in hearts if heart.created_s is not msgspec.UNSET]
            self._skipped += sum(1 for created_s in created if created_s < self._not_before_s)

    def sifted(self) -> Sifted:
        """What has come of all that went through. Doubtful: something that was passed over should not have been."""
        if self._passed:
            self._count_passed()
        matched = [0] * len(self._wants)
        for match in self._matches:
            for index in match.routes:
                matched[index] += 1
        judged = sum(self._events.values()) - self._skipped
        return Sifted(
            tuple(self._matches),
            self._events,
            tuple(matched),
            tuple([judged - count for count in matched]),
            self._skipped,
            self._before,
            self._last_created_s,
        )

    def _look_closer(self, raw: Buffer) -> _Sight:
        """The same for a record that is not as the filters' paths expect it: the whole of it, decoded with patience."""
        everyone = tuple(index for index, _ in self._wants)
        try:
            record = whole(raw)
            heart = record["dynamodb"]
        except _UNREADABLE as error:
            return _Sight("", "", None, everyone, _why(error))
        created_s = heart.get("ApproximateCreationDateTime") if isinstance(heart, dict) else None
        if not _is_number(created_s) or not 0 <= created_s <= CREATED_S_MAX:
            created_s = None
        sequence_number = _text_of(heart, "SequenceNumber")
        event_name = _text_of(record, "eventName")
        is_place = sequence_number.isdigit() and sequence_number.isascii()
        if not is_place or len(sequence_number) > SEQUENCE_NUMBER_MAX:
            return _Sight(event_name, "", created_s, everyone, _PLACELESS)
        if record.get("eventName", event_name) != event_name:
            return _Sight("", sequence_number, created_s, everyone, "its eventName is not a string")
        try:
            routes = tuple(index for index, wants_it in self._wants if wants_it(record))
        except RecursionError as error:
            return _Sight(event_name, sequence_number, created_s, everyone, _why(error))
        return _Sight(event_name, sequence_number, created_s, routes)


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
# To copy one takes half as long as to make one.
_HASH: Final = blake2b(digest_size=16)


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
    hashed = _HASH.copy()
    hashed.update(canonical)
    return hashed.hexdigest()
