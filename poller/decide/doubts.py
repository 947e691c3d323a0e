"""Names and values in a filter that no record of DynamoDB Streams has, so that it can never match. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from poller.decide.alternatives import dotted
from poller.decide.filter import Filter
from poller.decide.operators import Path

# A record as `GetRecords` gives it. Lambda adds eventSourceARN, EventBridge's events have detail: neither is here.
_RECORD: Final = frozenset(
    {"awsRegion", "dynamodb", "eventID", "eventName", "eventSource", "eventVersion", "userIdentity"}
)
_HEART: Final = frozenset(
    {
        "ApproximateCreationDateTime",
        "Keys",
        "NewImage",
        "OldImage",
        "SequenceNumber",
        "SizeBytes",
        "StreamViewType",
    }
)
_EVENT_NAMES: Final = ("INSERT", "MODIFY", "REMOVE")
# So many names and paths are told: a slip is mostly the same throughout, and each costs a look at all others.
_TOLD_MAX: Final = 10
_IMAGES: Final = ("Keys", "NewImage", "OldImage")
# The types of attributes below which their values stand, and those below which there are more attributes or elements.
_VALUES: Final = ("S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS")
_BELOW: Final = {"M": 'an attribute and its type: {"name": {"S": [...]}}', "L": 'the elements\' type: {"S": [...]}'}


def doubts(compiled: Filter) -> Iterator[str]:
    """One text for each thing in the filter that no record can have."""
    unknown = {path[:1] for path in compiled.paths if path[0] not in _RECORD}
    unknown |= {path[:2] for path in compiled.paths if path[0] == "dynamodb" and path[1:2] and path[1] not in _HEART}
    for name in sorted(unknown)[:_TOLD_MAX]:
        known = _RECORD if len(name) == 1 else _HEART
        what = "it can never match" if compiled.needs(*name) else "that part of it decides nothing"
        yield f"reads {dotted(name)}, which no record has: {what}; a record has {', '.join(sorted(known))}"
    for path, mend in sorted(_astray(compiled))[:_TOLD_MAX]:
        what = "it can never match" if compiled.needs(*path) else "that part of it decides nothing"
        yield f"reads {dotted(path)}, where no item has a value: {what}; {mend}"
    for wanted in _unknown_events(compiled):
        yield f"wants eventName {wanted}: no record has that; it is one of {', '.join(_EVENT_NAMES)}"


def _astray(compiled: Filter) -> set[tuple[Path, str]]:
    """Paths into an item on which something else stands where a type belongs, as far as that, and what to write."""
    inside = (path for path in compiled.paths if path[0] == "dynamodb" and len(path) > 3 and path[1] in _IMAGES)
    return {fault for path in inside if (fault := _fault(path)) is not None}


def _fault(path: Path) -> tuple[Path, str] | None:
    """None: by turns an attribute's name and its type, down to a value."""
    at = 3  # behind `dynamodb`, the image and the attribute's name
    while at < len(path):
        kind, here, at_end = path[at], path[: at + 1], at + 1 == len(path)
        if kind in _VALUES:
            return None if at_end else (path[: at + 2], f"below {kind} stand values, and no names")
        if kind not in _BELOW:
            return here, f"where {kind} stands belongs a type, one of {', '.join((*_VALUES, *_BELOW))}"
        if at_end:
            return here, f"below {kind} belongs {_BELOW[kind]}"
        at += 2 if kind == "M" else 1
    return path, f'put the type of the attribute around its values: {{{json.dumps(path[-1])}: {{"S": [...]}}}}'


def _unknown_events(compiled: Filter) -> list[str]:
    """What patterns want of eventName, where none of the names that there are will do."""
    wanted: dict[tuple[int | None, str], bool] = {}
    for name in _EVENT_NAMES:
        for finding in compiled.explain({"eventName": name}):
            if finding.path == "eventName":
                key = (finding.pattern, finding.wanted)
                wanted[key] = wanted.get(key, False) or finding.ok
    return list(dict.fromkeys(text for (_, text), possible in wanted.items() if not possible))
