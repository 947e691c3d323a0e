"""Which of the shipped alert rules (config/prometheus/alerts.yml) what is seen would bring about. Pure.

It follows the three that a queue which is down concerns, as a Prometheus would that scrapes this one worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

RATE_WINDOW_S: Final = 300.0
SINK_ERRORS_SHARE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Rule:
    """`holds_after_s`: for how long it must have been so before the condition holds; `for_s`: how long it pends."""

    name: str
    severity: str
    holds_after_s: float
    for_s: float

    @property
    def runbook(self) -> str:
        return f"docs/runbook.md#{self.name.lower()}"


NOT_READY: Final = Rule("PollerNotReady", "warning", 0.0, 300.0)
SINK_ERRORS: Final = Rule("PollerSinkErrors", "warning", 0.0, 600.0)
RETRYING_TOO_LONG: Final = Rule("PollerRetryingTooLong", "critical", 300.0, 60.0)


@dataclass(frozen=True, slots=True)
class Scrape:
    """What the rules ask of a worker's metrics at a moment. `retrying_since_s`: time of day, of the oldest if any."""

    at_s: float
    wall_s: float
    ready: bool
    send_errors: float
    delivered: float
    retrying_since_s: float | None


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule that something has been brought under. `pends_in_s` 0: it is pending; then its `rule.for_s` runs."""

    rule: Rule
    pends_in_s: float

    @property
    def pending(self) -> bool:
        return self.pends_in_s <= 0


def alerts(scrapes: Sequence[Scrape]) -> list[Alert]:
    """From the scrapes of one worker, oldest first: those that are pending first, then those that are to come."""
    if not scrapes:
        return []
    last = scrapes[-1]
    found = []
    if last.retrying_since_s is not None:
        retrying_s = last.wall_s - last.retrying_since_s
        found.append(Alert(RETRYING_TOO_LONG, max(0.0, RETRYING_TOO_LONG.holds_after_s - retrying_s)))
    if not last.ready:
        found.append(Alert(NOT_READY, 0.0))
    if _refused_share(scrapes) > SINK_ERRORS_SHARE:
        found.append(Alert(SINK_ERRORS, 0.0))
    return sorted(found, key=lambda alert: alert.pends_in_s)


def _refused_share(scrapes: Sequence[Scrape]) -> float:
    last = scrapes[-1]
    first = next(scrape for scrape in scrapes if scrape.at_s >= last.at_s - RATE_WINDOW_S)
    refused, delivered = last.send_errors - first.send_errors, last.delivered - first.delivered
    return refused / (refused + delivered) if refused else 0.0
