"""The settings' filters, compiled, and what in them no record can have: what the settings cannot check themselves.

Knows no AWS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from poller.decide.alternatives import dotted
from poller.decide.filter import DEFAULT_PATTERN, Filter, PatternError, compile_filter
from poller.settings import Settings

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


def compile_filters(settings: Settings) -> tuple[Filter, ...]:
    """Every route's filter. ConfigurationError names the setting and the path to the fault in the pattern."""
    filters = []
    for index, route in enumerate(settings.routes):
        try:
            filters.append(compile_filter([DEFAULT_PATTERN] if route.filter is None else route.filter, route.changed))
        except PatternError as error:
            raise settings.fault(f"route.{index}.filter", str(error)) from error
    return tuple(filters)


def filter_doubts(settings: Settings, filters: Sequence[Filter]) -> Iterator[str]:
    """What may work otherwise than its user thinks, of all routes."""
    for route, compiled in zip(settings.routes, filters, strict=True):
        yield from (f"filter of route {route.name}: {text}" for text in doubts(compiled))


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
