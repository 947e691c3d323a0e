"""What a span holds, counted: records by event, by the values that the filters look for, and messages by route."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from poller.decide.alternatives import dotted
from poller.decide.frontier import Ticket
from poller.model import Page, Record, Sifted, Trace
from poller.operate.wanted import Wanted, decoded, shown
from poller.run.fields import Path
from poller.run.shard import Sift
from poller.run.sift import EVENT_NAMES, UNKNOWN
from poller.run.tenure import Tenure

_PATHS_MAX: Final = 3
_VALUES_SHOWN: Final = 10
# Of an attribute with a value of its own in every item only so many are told apart.
_VALUES_KEPT: Final = 1_000
_VALUE_CHARACTERS_MAX: Final = 60
_OTHERS: Final = "(others)"
_ABSENT: Final = "(absent)"


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an attribute: in how many records it was there, and how many of those some route wants."""

    value: str
    records: int
    wanted: int


class Tally:
    """A sift that also counts, as a page goes through; created before `until_s` and within the key, if one is given.

    It decodes every record as a whole, which a replay that sends does not.
    """

    def __init__(self, sift: Sift, wanted: Sequence[Wanted], until_s: float) -> None:
        self.records = 0
        self.unreadable = 0
        self.events: Counter[str] = Counter()
        self.routes = [0] * len(wanted)
        self.key_names: set[str] = set()
        self.first_s: float | None = None
        self.last_s: float | None = None
        self._sift = sift
        self._until_s = until_s
        self._key = wanted[0].key
        self._values: dict[Path, tuple[Counter[str], Counter[str]]] = {
            path: (Counter(), Counter()) for path in _counted_paths(wanted)
        }

    def sift(self, page: Page, shard_id: str, not_before_s: float | None = None) -> Sifted:
        sifted = self._sift.sift(page, shard_id, not_before_s)
        matches = [match for match in sifted.matches if match.record.created_s < self._until_s]
        for match in matches:
            for index in match.routes:
                self.routes[index] += 1
        wanted = {match.record.sequence_number for match in matches}
        for raw in page.records:
            record = _fields(raw)
            if record is None:
                self.records += 1
                self.unreadable += 1
            else:
                self._count(record, wanted, not_before_s)
        return sifted

    def values(self) -> Iterator[tuple[str, tuple[Value, ...]]]:
        """Each counted attribute with its most frequent values."""
        for path, (records, wanted) in self._values.items():
            values = [Value(value, count, wanted[value]) for value, count in records.most_common(_VALUES_SHOWN + 1)]
            if len(records) > _VALUES_SHOWN:
                kept = values[:_VALUES_SHOWN]
                rest = records.total() - sum(value.records for value in kept)
                rest_wanted = wanted.total() - sum(value.wanted for value in kept)
                values = [*kept, Value(_OTHERS, rest, rest_wanted)]
            yield _name(path), tuple(values)

    def _count(self, record: Mapping[str, Any], wanted: set[str], not_before_s: float | None) -> None:
        heart = record["dynamodb"]
        created_s = heart.get("ApproximateCreationDateTime")
        if isinstance(created_s, int | float):
            if created_s >= self._until_s or (not_before_s is not None and created_s < not_before_s):
                return
            self.first_s = min(created_s, self.first_s or created_s)
            self.last_s = max(created_s, self.last_s or created_s)
        if self._key is not None:
            self.key_names |= set(heart.get("Keys") or ())
            if not self._key.matches(record):
                return
        self.records += 1
        event = record.get("eventName")
        self.events[event if event in EVENT_NAMES else UNKNOWN] += 1
        is_wanted = heart.get("SequenceNumber") in wanted
        for path, (records, of_wanted) in self._values.items():
            value = _value_at(record, path)
            if value not in records and len(records) >= _VALUES_KEPT:
                value = _OTHERS
            records[value] += 1
            of_wanted[value] += is_wanted


class Counted:
    """A route that sends nothing: every record is settled at once."""

    def __init__(self, name: str) -> None:
        self.name = name

    def add(
        self,
        tenure: Tenure,
        records: Iterable[tuple[Record, Ticket]],
        trace: Trace | None = None,  # noqa: ARG002 - the port's
    ) -> None:
        tenure.settle(*[ticket for _, ticket in records])


def _counted_paths(wanted: Iterable[Wanted]) -> tuple[Path, ...]:
    """What tells people most: the attributes of which the filters want given values, or else a change."""
    filters = [one.filter for one in wanted]
    exact = [path for one in filters for path in one.exact_paths if path[0] == "dynamodb"]
    changed = [("dynamodb", "NewImage", name) for one in filters for name in one.changed]
    already = {path[:3] for path in exact}
    return tuple(dict.fromkeys([*exact, *(path for path in changed if path not in already)]))[:_PATHS_MAX]


def _name(path: Path) -> str:
    """`NewImage.phase` of `dynamodb.NewImage.phase.S`: an attribute has one type."""
    return dotted(path[1:-1] if len(path) > 3 else path[1:])


def _value_at(record: object, path: Path) -> str:
    value: Any = record
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return _ABSENT if value is None else shown(value)[:_VALUE_CHARACTERS_MAX]


def _fields(raw: Any) -> dict[str, Any] | None:
    """The whole record, None for one that the routes cannot understand either."""
    try:
        record = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        record = decoded(raw)
    return record if isinstance(record, dict) and isinstance(record.get("dynamodb"), dict) else None
