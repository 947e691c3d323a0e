"""What can be played by key: a queue that breaks, a worker that is killed. Decides; the command carries it out.

Pure: told what was typed and seen, it says what to do and to tell. Times are seconds on one monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from poller.demo.alerts import Alert, Scrape, alerts
from poller.demo.ledger import Counts
from poller.demo.page import Look
from poller.observe.spoken import counted, spoken
from poller.observe.verdict import Level
from poller.settings.sections import LeaseSettings

SCRAPES_MAX: Final = 1_000
LEASE_S: Final = LeaseSettings().duration_s
# What the dead worker had sent twice arrives with the first pages of the next one.
SETTLE_S: Final = 2.0
_CALM: Final = (Level.OK, Level.ATTENTION)


class Voice(StrEnum):
    """Who speaks."""

    DEMO = "demo"
    PAGE = "page"
    ALERT = "alert"
    GOOD = "good"


@dataclass(frozen=True, slots=True)
class Say:
    voice: Voice
    text: str


@dataclass(frozen=True, slots=True)
class BreakQueue:
    """It refuses everything from now on."""


@dataclass(frozen=True, slots=True)
class MendQueue:
    """It takes messages again."""


@dataclass(frozen=True, slots=True)
class KillWorker:
    """kill -9, and another one is started."""


@dataclass(frozen=True, slots=True)
class End:
    """In order, with the books."""


Do = Say | BreakQueue | MendQueue | KillWorker | End


@dataclass(slots=True)
class _Break:
    broken_s: float
    mends_s: float
    turned: bool = False
    named: set[tuple[str, bool]] = field(default_factory=set)
    mended_s: float | None = None


@dataclass(slots=True)
class _Kill:
    killed_s: float
    duplicates: int
    page_told: bool = False
    reads_s: float | None = None


class Scenes:
    """One queue that breaks and one worker that is killed at a time, both at once if somebody wants that."""

    def __init__(self, break_s: float) -> None:
        self._break_s = break_s
        self._break: _Break | None = None
        self._kill: _Kill | None = None
        self._ending = False
        self._scrapes: deque[Scrape] = deque(maxlen=SCRAPES_MAX)

    @property
    def under_way(self) -> bool:
        return self._break is not None or self._kill is not None

    def hint(self, now_s: float) -> str:
        """The keys, and what they would do at this moment."""
        if self._ending:
            return "ending: what is on its way is waited for"
        broken = self._break
        queue = "b breaks the queue"
        if broken is not None:
            left_s = max(0.0, broken.mends_s - now_s)
            queue = f"the queue is broken, {left_s:.0f} s more" if broken.mended_s is None else "the queue recovers"
        worker = "k kills the worker" if self._kill is None else "another worker takes over"
        return f"{queue} | {worker} | q ends with the books"

    def typed(self, key: str, now_s: float, counts: Counts) -> Iterator[Do]:
        match key:
            case _ if self._ending:
                return
            case "q":
                yield End()
            case "b" if self._break is None:
                self._break = _Break(now_s, now_s + self._break_s)
                yield BreakQueue()
                yield Say(Voice.DEMO, f"The queue is broken: it refuses every message for {spoken(self._break_s)}.")
            case "k" if self._kill is None:
                self._kill = _Kill(now_s, counts.duplicates)
                self._scrapes.clear()  # the counters of the next one begin at 0
                yield KillWorker()
                yield Say(
                    Voice.DEMO,
                    "The worker is killed (kill -9) and another one started. It reads on when it has seen the dead"
                    f" one's lease stand still for {spoken(LEASE_S)}.",
                )

    def over(self, now_s: float) -> Iterator[Do]:
        """The demo ends: a broken queue is mended, and no key counts any more."""
        self._ending = True
        if self._break is not None and self._break.mended_s is None:
            yield from self._mend(self._break, now_s)

    def seen(self, now_s: float, counts: Counts, look: Look | None) -> Iterator[Do]:
        """`look` None: nobody answers, or nobody was asked."""
        if look is not None:
            self._scrapes.append(look.scrape)
        if self._break is not None:
            yield from self._while_broken(self._break, now_s, counts, look)
        if self._kill is not None:
            yield from self._while_killed(self._kill, now_s, counts, look)

    def _while_broken(self, broken: _Break, now_s: float, counts: Counts, look: Look | None) -> Iterator[Do]:
        if broken.mended_s is not None:
            if look is not None and look.level in _CALM and _all_arrived(counts, broken.mended_s):
                self._break = None
                yield Say(
                    Voice.GOOD,
                    f"It has recovered, {spoken(now_s - broken.mended_s)} after the queue: everything that was written"
                    f" meanwhile has arrived. The page: {look.text}",
                )
            return
        if look is not None and look.level is Level.TROUBLE:
            if not broken.turned:
                broken.turned = True
                yield Say(Voice.PAGE, look.text)
            yield from _named(broken, alerts(self._scrapes))
        if now_s >= broken.mends_s:
            if look is not None and look.level is Level.TROUBLE:
                yield Say(Voice.PAGE, look.text)
            yield from self._mend(broken, now_s)

    @staticmethod
    def _mend(broken: _Break, now_s: float) -> Iterator[Do]:
        broken.mended_s = now_s
        yield MendQueue()
        yield Say(Voice.DEMO, f"The queue takes messages again, after {spoken(now_s - broken.broken_s)}.")

    def _while_killed(self, kill: _Kill, now_s: float, counts: Counts, look: Look | None) -> Iterator[Do]:
        if look is None:
            return
        if kill.reads_s is None and look.reads:
            kill.reads_s = now_s
        if kill.reads_s is None:
            if not kill.page_told:
                kill.page_told = True
                lease = " The dead one's lease still stands." if look.level in _CALM else ""
                yield Say(Voice.PAGE, f"{look.text}{lease}")
        elif now_s >= kill.reads_s + SETTLE_S and _all_arrived(counts, kill.reads_s):
            self._kill = None
            twice = counts.duplicates - kill.duplicates
            came = f"{counted(twice, 'message')} came twice: sent, and not yet checkpointed when the worker died"
            yield Say(
                Voice.GOOD,
                f"Another worker reads on, {spoken(kill.reads_s - kill.killed_s)} after the kill: everything that was"
                f" written meanwhile has arrived; {came if twice else 'no message came twice'}.",
            )


def _named(broken: _Break, found: list[Alert]) -> Iterator[Say]:
    """Each alert once when it is in sight, and once when it is pending."""
    for alert in found:
        rule, key = alert.rule, (alert.rule.name, alert.pending)
        if key in broken.named:
            continue
        broken.named.add(key)
        when = (
            f"is pending, would ring after {spoken(rule.for_s)} of this"
            if alert.pending
            else f"would be pending in {spoken(alert.pends_in_s)}, and ring {spoken(rule.for_s)} later"
        )
        yield Say(Voice.ALERT, f"{rule.name} ({rule.severity}) {when}: {rule.runbook}")


def _all_arrived(counts: Counts, before_s: float) -> bool:
    """Has everything been received that was written before?"""
    return counts.awaited_since_s is None or counts.awaited_since_s > before_s
