"""`poller tap`: records as they pass, each with what the routes' filters say to it, and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poller.decide.filter import Filter, Finding
from poller.model import Match, Page, Sifted
from poller.operate.wanted import decoded, shown
from poller.operate.words import utc
from poller.run.shard import Sift

_IMAGES = ("NewImage", "OldImage")


class Enough(Exception):
    """As many records were shown as were asked for."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a route does not want a record: a path that its filter reads, what it wants there, and what is there.

    `found` is content of the item.
    """

    route: str
    path: str
    wanted: str
    found: str


@dataclass(frozen=True, slots=True)
class Passed:
    """One record. `routes`: those that want it; `reasons`: of the others, why not; `fault`: it cannot be understood."""

    shard: str
    event: str
    event_id: str
    sequence_number: str
    created_s: float | None
    keys: object
    images: Mapping[str, object]
    routes: tuple[str, ...]
    reasons: tuple[Reason, ...]
    fault: str | None = None


class Tap:
    """A sift that shows every page's records. What is wanted is what the daemon's own sift says.

    `show` gets those that are to be shown; Enough is raised after `limit` of them. `matched`, `dropped`: which are
    shown; a record that no route wants is dropped.
    """

    def __init__(
        self,
        sift: Sift,
        routes: Sequence[tuple[str, Filter]],
        show: Callable[[Passed], None],
        *,
        matched: bool,
        dropped: bool,
        limit: int | None,
    ) -> None:
        self.read = 0
        self.matched = 0
        self.shown = 0
        self._sift = sift
        self._routes = routes
        self._show = show
        self._wanted = (matched, dropped)
        self._limit = limit

    def sift(self, page: Page, shard_id: str, not_before_s: float | None = None) -> Sifted:
        sifted = self._sift.sift(page, shard_id, not_before_s)
        # In the page's order, as the matches are; one that cannot be understood matches every route.
        matches = iter(sifted.matches)
        match = next(matches, None)
        for raw in page.records:
            body = bytes(raw)
            mine = match if match is not None and match.record.body == body else None
            if mine is not None:
                match = next(matches, None)
            record = decoded(body) or {}
            created_s = _created_s(record)
            if mine is None and not_before_s is not None and created_s is not None and created_s < not_before_s:
                continue
            self._pass(record, shard_id, created_s, mine)
        return sifted

    def _pass(self, record: dict[str, Any], shard_id: str, created_s: float | None, match: Match | None) -> None:
        self.read += 1
        self.matched += match is not None
        show_matched, show_dropped = self._wanted
        if not (show_dropped if match is None else show_matched):
            return
        wanting = frozenset(match.routes) if match is not None else frozenset()
        fault = match.record.fault if match is not None else None
        heart = record.get("dynamodb")
        heart = heart if isinstance(heart, dict) else {}
        self._show(
            Passed(
                shard=shard_id,
                event=_text(record, "eventName"),
                event_id=_text(record, "eventID"),
                sequence_number=_text(heart, "SequenceNumber"),
                created_s=created_s,
                keys=heart.get("Keys"),
                images={name: heart[name] for name in _IMAGES if name in heart},
                routes=tuple(name for index, (name, _) in enumerate(self._routes) if index in wanting),
                reasons=tuple(self._reasons(record, wanting)),
                fault=fault,
            )
        )
        self.shown += 1
        if self._limit is not None and self.shown >= self._limit:
            raise Enough

    def _reasons(self, record: dict[str, Any], wanting: frozenset[int]) -> Iterator[Reason]:
        for index, (name, compiled) in enumerate(self._routes):
            if index not in wanting:
                for finding in _nearest(compiled.explain(record)):
                    yield Reason(name, finding.path, finding.wanted, finding.found)


def _nearest(findings: Sequence[Finding]) -> list[Finding]:
    """What failed of the pattern that came nearest, and of `changed`; all of it, if no single path tells."""
    by_pattern: dict[int, list[Finding]] = {}
    for finding in findings:
        if finding.pattern is not None:
            failed = by_pattern.setdefault(finding.pattern, [])
            if not finding.ok:
                failed.append(finding)
    nearest = min(by_pattern.values(), key=len, default=[])
    changes = [finding for finding in findings if finding.pattern is None]
    unchanged = [] if any(finding.ok for finding in changes) else changes
    return [*nearest, *unchanged]


def _created_s(record: Mapping[str, Any]) -> float | None:
    heart = record.get("dynamodb")
    value = heart.get("ApproximateCreationDateTime") if isinstance(heart, dict) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


# --- what is printed --------------------------------------------------------------------------------------------------


def as_line(passed: Passed, *, short: bool, images: bool) -> str:
    """One record on a line, images below it. `short`: of a shard's id only the end, for a terminal."""
    created = "-" if passed.created_s is None else utc(passed.created_s)
    keys = _keys(passed.keys)
    shard = f"…{passed.shard[-8:]}" if short else passed.shard
    where = f"{shard}  {passed.sequence_number or '-'}"
    line = f"{created}  {passed.event or '-':<6}  {where}  {keys}  {_verdict(passed, images)}"
    if images:
        for name, image in passed.images.items():
            line += f"\n    {name} {json.dumps(image, ensure_ascii=False)}"
    return line


def as_json(passed: Passed, *, images: bool) -> str:
    """The same as one line of JSON."""
    reasons = [
        {"route": one.route, "path": one.path, "wanted": one.wanted} | ({"found": one.found} if images else {})
        for one in passed.reasons
    ]
    document: dict[str, Any] = {
        "created": None if passed.created_s is None else utc(passed.created_s),
        "event": passed.event or None,
        "event_id": passed.event_id or None,
        "shard": passed.shard,
        "sequence_number": passed.sequence_number or None,
        "keys": passed.keys,
        "matched": list(passed.routes),
        "reasons": reasons,
        "fault": passed.fault,
    }
    if images:
        document |= {"new_image": passed.images.get("NewImage"), "old_image": passed.images.get("OldImage")}
    return json.dumps(document, ensure_ascii=False)


def _keys(keys: object) -> str:
    """`id=4711` for a key of plain values."""
    if not isinstance(keys, dict):
        return "-"
    return ",".join(f"{name}={_plain(value)}" for name, value in keys.items())


def _plain(value: object) -> str:
    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    return shown(value)


def _verdict(passed: Passed, images: bool) -> str:
    if passed.fault is not None:
        return f"DEAD LETTER for {', '.join(passed.routes)}: {passed.fault}"
    parts = [f"matched {', '.join(passed.routes)}"] if passed.routes else []
    for route in dict.fromkeys(one.route for one in passed.reasons):
        whys = [
            f"{one.path} wanted {one.wanted}" + (f", found {one.found}" if images else "")
            for one in passed.reasons
            if one.route == route
        ]
        parts.append(f"dropped by {route}: {'; '.join(whys)}")
    return " | ".join(parts) or "dropped"
