"""Names and values in a filter that no record of DynamoDB Streams has, so that it can never match. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from poller.decide.alternatives import dotted
from poller.decide.filter import Filter

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


def doubts(compiled: Filter) -> Iterator[str]:
    """One text for each thing in the filter that no record can have."""
    unknown = {path[:1] for path in compiled.paths if path[0] not in _RECORD}
    unknown |= {path[:2] for path in compiled.paths if path[0] == "dynamodb" and path[1:2] and path[1] not in _HEART}
    for name in sorted(unknown):
        known = _RECORD if len(name) == 1 else _HEART
        what = "it can never match" if compiled.needs(*name) else "that part of it decides nothing"
        yield f"reads {dotted(name)}, which no record has: {what}; a record has {', '.join(sorted(known))}"
    for wanted in _unknown_events(compiled):
        yield f"wants eventName {wanted}: no record has that; it is one of {', '.join(_EVENT_NAMES)}"


def _unknown_events(compiled: Filter) -> list[str]:
    """What patterns want of eventName, where none of the names that there are will do."""
    wanted: dict[tuple[int | None, str], bool] = {}
    for name in _EVENT_NAMES:
        for finding in compiled.explain({"eventName": name}):
            if finding.path == "eventName":
                key = (finding.pattern, finding.wanted)
                wanted[key] = wanted.get(key, False) or finding.ok
    return list(dict.fromkeys(text for (_, text), possible in wanted.items() if not possible))
