"""The log of calls: who asked for what, and what came of it; and limits on how often something may be asked.

Counters are kept for ever, single calls only up to a bound.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from tests.standin.wire import Subject


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    `at_s` is on the stand-in's monotonic clock; `access_key` tells who called; `outcome` is `OK`, an error's code, or
    the kind of fault (`reset`, `hang`, ...).
    """

    at_s: float
    operation: str
    subject: Subject
    access_key: str
    outcome: str


class Calls:
    """`kept` are the last calls, oldest first."""

    def __init__(self, keep: int) -> None:
        self.kept: deque[Call] = deque(maxlen=keep)
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, call: Call) -> None:
        self.kept.append(call)
        self._counts[call.operation, call.outcome] += 1

    def count(self, operation: str, outcome: str | None = None) -> int:
        """How many calls of an operation there ever were (with that outcome)."""
        if outcome is not None:
            return self._counts[operation, outcome]
        return sum(number for (name, _), number in self._counts.items() if name == operation)

    def counts(self) -> dict[str, dict[str, int]]:
        """Operation -> outcome -> how many."""
        table: dict[str, dict[str, int]] = {}
        for (operation, outcome), number in self._counts.items():
            table.setdefault(operation, {})[outcome] = number
        return table

    def of(self, operation: str) -> list[Call]:
        """The kept calls of one operation, oldest first."""
        return [call for call in self.kept if call.operation == operation]


class Rates:
    """At most so many calls of an operation in any second, e.g. `rates.limit("DescribeStream", 10)`; None: no limit."""

    def __init__(self) -> None:
        self._limits: dict[str, int] = {}
        self._recent: dict[str, deque[float]] = {}

    def limit(self, operation: str, per_second: int | None) -> None:
        if per_second is None:
            self._limits.pop(operation, None)
            return
        self._limits[operation] = per_second
        self._recent[operation] = deque(maxlen=per_second)

    def allows(self, operation: str, now: float) -> bool:
        """Counts the call if it is allowed."""
        limit = self._limits.get(operation)
        if limit is None:
            return True
        recent = self._recent[operation]
        if len(recent) == limit and now - recent[0] < 1.0:
            return False
        recent.append(now)
        return True
