"""A long run: 200 changes a second, a fault a minute, and what the workers hold must not grow with time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.chaos.run import Outcome, Run, Say
from tests.chaos.site import Scale, Site
from tests.chaos.traffic import Loop
from tests.chaos.worker import Footprint

_SCALE: Final = Scale(rate=200.0, spared=4, durable=False, footprint_every_s=5.0)
_PACE_S: Final = 60.0
_REPORT_S: Final = 300.0
_WARM_S: Final = 120.0  # until every worker has had its share of work
_GROWTH: Final = 1.15
_TASKS_MORE: Final = 40  # those of ten batches more under way at once, in each of four streams
Looks = Sequence[tuple[float, Footprint]]


class Reporter(Loop):
    """Says now and then where things stand."""

    def __init__(self, site: Site, say: Say) -> None:
        super().__init__("reporter")
        self._site = site
        self._say = say
        self._began = time.monotonic()

    def work(self) -> None:
        self.pause(_REPORT_S)
        self.report()

    def report(self) -> None:
        ledger, minutes = self._site.ledger, (time.monotonic() - self._began) / 60
        waiting = len(ledger.expected) * len(ledger.books) - ledger.delivered()
        again = len(ledger.again())
        self._say(f"{minutes:5.1f} min  {self._site.writer.written} written, {waiting} on their way, {again} again")
        for number, looks in spared(self._site):
            self._say(f"{minutes:5.1f} min  worker {number}: {looks[-1][1]}")


def spared(site: Site) -> Iterator[tuple[int, Looks]]:
    """What was seen of the workers that live from the beginning to the end."""
    for (number, _), looks in sorted(site.memory.lives.items()):
        if number in site.crew.spared:
            yield number, looks


def soak(folder: Path, seed: int, *, seconds: float, say: Say) -> Outcome:
    say(f"seed {seed}, {_SCALE.workers} workers, {_SCALE.rate:g} changes a second, a fault a minute, in {folder}")
    with Site(folder, seed, _SCALE) as site:
        reporter = Reporter(site, say)
        reporter.start()
        outcome = Run(site, seed, say).go(seconds=seconds, pace_s=_PACE_S)
        reporter.cancel()
        for number, looks in spared(site):
            early = [one for at_s, one in looks if at_s <= _WARM_S] or [looks[0][1]]
            late = [one for at_s, one in looks if at_s > _WARM_S] or [looks[-1][1]]
            outcome.figures[f"worker {number}"] = f"at first {early[-1]}; in the end {late[-1]}; at most {_most(late)}"
            outcome.wrongs += _growth(number, late)
    return outcome


def _most(looks: Sequence[Footprint]) -> Footprint:
    return Footprint(*(max(column) for column in zip(*looks, strict=True)))


def _growth(number: int, looks: Sequence[Footprint]) -> Iterator[str]:
    """Memory and tasks: the most of the last third against that of the first.

    Peaks come with faults, and must not come higher. Threads and connections are as many as calls were ever under way
    at once: `wrongs` has their bound.
    """
    third = max(1, len(looks) // 3)
    before, after = _most(looks[:third]).rss_bytes, _most(looks[-third:]).rss_bytes
    if after > _GROWTH * before:
        yield f"worker {number}: memory grew from {before >> 20} MiB to {after >> 20} MiB"
    before, after = _most(looks[:third]).tasks, _most(looks[-third:]).tasks
    if after > _GROWTH * before + _TASKS_MORE:
        yield f"worker {number}: its tasks grew from {before} to {after}"
