"""What of a record is decoded: what its place in the shard and the filters' paths need, and nothing else.

One shape, three decoders: of a record, of a record that is probably wanted, and of many that are probably not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Annotated, Any, Final, Literal, Required, TypeAlias, TypedDict

import msgspec
from typing_extensions import Buffer

Path: TypeAlias = tuple[str, ...]
Fields: TypeAlias = dict[str, Any]
Decode: TypeAlias = Callable[[Buffer], Fields]

# As the service's model has it. It is where a checkpoint stands: what no lease row can hold must never become one.
SEQUENCE_NUMBER_MAX: Final = 40
# A creation time beyond what a calendar holds is none: everything that reckons with it would stumble.
CREATED_S_MAX: Final = 253_402_300_799  # the end of the year 9999

_SequenceNumber: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=SEQUENCE_NUMBER_MAX)]
_IN_CALENDAR: Final = msgspec.Meta(ge=0, le=CREATED_S_MAX)
_Created: TypeAlias = Annotated[int, _IN_CALENDAR] | Annotated[float, _IN_CALENDAR]
# Names that no member of a struct can have.
_NO_STRUCT: Final = re.compile(r'["\\\x00-\x1f]')
_Keys: TypeAlias = dict[str, dict[str, Any]]


class Heart(msgspec.Struct, gc=False, kw_only=True):
    """The part of a `Place` that stands under `dynamodb`."""

    sequence_number: _SequenceNumber = msgspec.field(name="SequenceNumber")
    created_s: _Created | msgspec.UnsetType = msgspec.field(name="ApproximateCreationDateTime", default=msgspec.UNSET)


class Place(msgspec.Struct, gc=False, kw_only=True):
    """A record of the service's three kinds, as far as it must be known although no route wants it."""

    event_name: Literal["INSERT", "MODIFY", "REMOVE"] = msgspec.field(name="eventName")
    dynamodb: Heart


class Decoders:
    """For the paths that some filters read; each refuses a record whose types are others (ValueError and its like).

    `record` gives plain dicts (TypedDict), not structs: names of attributes need not be identifiers, and a filter meets
    the same kind of object whether it comes from here or from a full decode. A tenth slower than structs, measured.
    `likely` gives besides what identifies the record. `places` reads a list of records, whose values on the paths are
    checked and let go. Names may stand in the way: `record` refuses all then, and the other two are not there.
    """

    def __init__(self, paths: Collection[Path]) -> None:
        self.record: Decode = _refuse
        self.likely: Decode | None = None
        self.places: Callable[[Buffer], Sequence[Place]] | None = None
        in_heart = {path[1:] for path in paths if path[0] == "dynamodb" and len(path) > 1}
        beside_it = {path for path in paths if path[0] != "dynamodb"}
        if not (_is_plain(in_heart) and _is_plain(beside_it)):
            return
        at_heart = _fields(in_heart, _typed_dict) | {
            "SequenceNumber": Required[_SequenceNumber],
            "ApproximateCreationDateTime": _Created,
        }
        beside = _fields(beside_it, _typed_dict) | {"eventName": str}
        record = _typed_dict(beside | {"dynamodb": Required[_typed_dict(at_heart)]})
        likely = _typed_dict(
            beside | {"eventID": str, "dynamodb": Required[_typed_dict(at_heart | {"Keys": Required[_Keys]})]}
        )
        self.record = msgspec.json.Decoder(record).decode
        self.likely = msgspec.json.Decoder(likely).decode
        if not any(_NO_STRUCT.search(name) for path in paths for name in path):
            heart = _struct(_fields(in_heart, _struct), Heart)
            place = _struct(_fields(beside_it, _struct), Place, dynamodb=heart)
            self.places = msgspec.json.Decoder(list[place]).decode  # type: ignore[valid-type]


def _refuse(_raw: Buffer) -> Any:
    raise ValueError("read as a whole")


def _is_plain(paths: Iterable[Path]) -> bool:
    """Whether these names can be those of a TypedDict.

    msgspec overlooks names beyond ASCII there, now and then (its pull request 1126): a record would be lost in silence.
    """
    return all(path[0].isascii() for path in paths)


def _fields(paths: Iterable[Path], kind: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    below: dict[str, set[Path]] = {}
    for path in paths:
        below.setdefault(path[0], set()).add(path[1:])
    # Where one path ends and another goes on, all that is below it is decoded: right for both.
    return {
        name: kind(_fields(rests, kind)) if () not in rests and _is_plain(rests) else Any
        for name, rests in below.items()
    }


def _typed_dict(fields: dict[str, Any]) -> Any:
    return TypedDict("_Fields", fields, total=False)  # type: ignore[operator]


def _struct(fields: dict[str, Any], base: type[msgspec.Struct] | None = None, **own: Any) -> Any:
    """`own` are fields of `base` with a closer type. What `base` has already stays as it is there."""
    taken = {field.encode_name for field in msgspec.structs.fields(base)} if base else set()
    names = {f"value_{index}": name for index, name in enumerate(fields) if name not in taken}
    members: list[tuple[str, Any] | tuple[str, Any, Any]] = list(own.items())
    members += [(member, fields[name], None) for member, name in names.items()]
    bases = (base,) if base else None
    return msgspec.defstruct("_Fields", members, bases=bases, rename=names, gc=False, kw_only=True)
