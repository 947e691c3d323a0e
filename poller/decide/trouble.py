"""When to speak of a fault that lasts: as it begins, once a minute, and when it is over, with its length.

No flood: a thousand failing calls are one line a minute, and a single hiccup is none.
"""

from __future__ import annotations

from dataclasses import dataclass

SAY_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Over:
    """A fault that had been spoken of has ended. `lasted_s`: since its first failure."""

    lasted_s: float
    failures: int


class Trouble:
    """One thing that can fail again and again."""

    __slots__ = ("_said_at", "failures", "quiet_failures", "since")

    def __init__(self, quiet_failures: int = 0) -> None:
        """`quiet_failures`: how many in a row are not worth a line."""
        self.quiet_failures = quiet_failures
        self.failures = 0
        self.since: float | None = None
        self._said_at: float | None = None

    def failed(self, now: float) -> bool:
        """It failed (again). True: say so now."""
        self.failures += 1
        if self.since is None:
            self.since = now
        if self.failures <= self.quiet_failures:
            return False
        if self._said_at is not None and now - self._said_at < SAY_AGAIN_S:
            return False
        self._said_at = now
        return True

    def worked(self, now: float) -> Over | None:
        """It worked. Not None: a fault that was spoken of is over, say so."""
        if self.since is None:
            return None
        over = Over(now - self.since, self.failures) if self._said_at is not None else None
        self.failures = 0
        self.since = None
        self._said_at = None
        return over

    def lasting_s(self, now: float) -> float:
        """How long it has been failing, 0 if it is not."""
        return 0.0 if self.since is None else now - self.since
