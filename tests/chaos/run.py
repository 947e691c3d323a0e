"""A run: the plan is carried out, everything is mended, and the oracle is asked."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.faults import bring_about
from tests.chaos.oracle import Spell, cause, wrongs_of_delivery
from tests.chaos.plan import HARMLESS, Fault, plan
from tests.chaos.site import BOUNDS, LEASE_S, Scale, Site
from tests.chaos.worker import Exit, Footprint, now_ms
from tests.chaos.wrongs import wrongs_of_workers

_DELIVERY_S: Final = 180.0  # for what is still under way at the end; only a defect takes longer
Say = Callable[[str], None]


@dataclass
class Outcome:
    """What came of it. `wrongs` is empty if all is well."""

    seed: int
    seconds: float = 0.0
    wrongs: list[str] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
    timeline: list[str] = field(default_factory=list)

    def report(self) -> str:
        figures = [f"{name}: {value}" for name, value in self.figures.items()]
        return "\n".join([f"seed {self.seed}", *figures, "", *(f"WRONG: {wrong}" for wrong in self.wrongs)])


class Run:
    """One seed, from the first fault to the verdict. `say` is told every line of the time line as it comes."""

    def __init__(self, site: Site, seed: int, say: Say) -> None:
        self.site = site
        self.outcome = Outcome(seed)
        self.spells: list[Spell] = []
        self._say = say
        self._began = time.monotonic()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._failures: list[str] = []

    def go(self, *, seconds: float, pace_s: float) -> Outcome:
        """Faults for so many seconds, and then none."""
        faults = plan(self.outcome.seed, self.site.crew, seconds=seconds, pace_s=pace_s)
        threads = []
        for fault in faults:
            time.sleep(max(0.0, self._began + fault.at_s - time.monotonic()))
            aimed = self.site.aimed(fault)
            threads.append(threading.Thread(target=self._befall, args=(aimed,), name=str(fault.kind), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join()
        self._calm()
        return self._verdict()

    def _befall(self, fault: Fault) -> None:
        with ExitStack() as stack:
            for name in fault.touches():
                stack.enter_context(self._locks[name])
            began_ms = now_ms()
            self._tell(str(fault))
            try:
                bring_about(self.site, fault)
            except Exception as failure:  # noqa: BLE001 - told in the verdict
                self._failures.append(f"{fault}: {failure!r}")
            self._tell(f"over: {fault}")
            if fault.kind not in HARMLESS:
                self.spells.append(Spell(began_ms, now_ms(), str(fault.kind), frozenset(fault.workers)))

    def _tell(self, what: str) -> None:
        line = f"{time.monotonic() - self._began:7.1f} s  {what}"
        self.outcome.timeline.append(line)
        self._say(line)

    def _calm(self) -> None:
        """Everything is mended: all must be ready, and everything delivered."""
        self._tell("calm")
        for wait in (self.site.until_ready, self._until_delivered):
            try:
                wait()
            except AssertionError as late:
                self._failures.append(f"in the end: {late}")
        self._tell("all ready, all delivered" if not self._failures else "given up")

    def _until_delivered(self) -> None:
        self.site.writer.end()
        self.site.until_delivered(_DELIVERY_S)

    def _verdict(self) -> Outcome:
        site = self.site
        site.memory.look()
        exits = self._leave()
        site.machine.end()
        site.owners_watch.end()
        site.memory.end()
        for consumer in site.consumers:
            consumer.end()
        self._tell("all have left")
        spells = [*self.spells, *site.machine.spells, *site.owners_watch.spells]
        self.outcome.seconds = time.monotonic() - self._began
        self.outcome.wrongs += self._failures
        self.outcome.wrongs += wrongs_of_delivery(site.ledger, spells, site.owners_watch.owners, BOUNDS)
        self.outcome.wrongs += wrongs_of_workers(site)
        self.outcome.figures |= self._figures(spells, exits)
        return self.outcome

    def _leave(self) -> list[Exit]:
        threads = [threading.Thread(target=worker.terminate) for worker in self.site.workers.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [one for worker in self.site.workers.values() for one in worker.exits]

    def _figures(self, spells: list[Spell], exits: list[Exit]) -> dict[str, object]:
        site = self.site
        again = site.ledger.again()
        owners = site.owners_watch.owners
        causes = Counter(cause(one, spells, owners, BOUNDS) or "NO REASON" for one in again)
        return {
            "seconds": round(self.outcome.seconds),
            "faults that may bring messages again": len(self.spells),
            "changes written": site.writer.written,
            "messages expected in each queue": len(site.ledger.expected),
            "messages that came again": f"{len(again)} {dict(causes)}",
            "moves of a shard": owners.moves(),
            "exits": f"{len(exits)}, the slowest {max(one.seconds for one in exits):.1f} s",
            "most that a worker held": str(_most(site)),
            "times the machine was too busy": len(site.machine.spells),
        }


def _most(site: Site) -> Footprint:
    looks = [look for life in site.memory.lives.values() for _, look in life]
    return Footprint(*(max(column) for column in zip(*looks, strict=True)))


def chaos(folder: Path, seed: int, scale: Scale, *, seconds: float, pace_s: float, say: Say) -> Outcome:
    """Brings everything up, and runs it."""
    say(f"seed {seed}, lease {LEASE_S:g} s, {scale.workers} workers, {scale.rate:g} changes a second, in {folder}")
    with Site(folder, seed, scale) as site:
        return Run(site, seed, say).go(seconds=seconds, pace_s=pace_s)
