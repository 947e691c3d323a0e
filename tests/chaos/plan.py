"""Which faults come when: a pure function of a seed. Whom they hit, for how long, and what they touch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class Service(StrEnum):
    """What a worker speaks to; each over a line of its own."""

    LEASES = "leases"
    STREAMS = "streams"
    QUEUES = "queues"


class Kind(StrEnum):
    """What can befall a worker, its lines or the servers."""

    KILL = "kill -9"
    STOP = "SIGTERM"
    FREEZE = "frozen beyond its lease"
    CUT = "line cut"
    HOLD = "line held up"
    SLOW = "line slow"
    TRICKLE = "line a trickle"
    RESET = "connections reset"
    DEAF = "line half-open"
    LOSE = "answers lost"
    CREDENTIALS = "credentials expired, then not to be had"
    LOG_FULL = "disk full for the log"
    CLOCK = "wall clock shifted"
    DYNAMODB = "DynamoDB restarted"
    SQS = "SQS restarted, empty"


LINES: Final = (Kind.CUT, Kind.HOLD, Kind.SLOW, Kind.TRICKLE, Kind.RESET, Kind.DEAF, Kind.LOSE)
PROCESS: Final = (Kind.KILL, Kind.STOP, Kind.FREEZE, Kind.LOG_FULL)
# No message may come twice because of these.
HARMLESS: Final = frozenset({Kind.STOP, Kind.LOG_FULL, Kind.CLOCK})

# For how many seconds, at least and at most. A lease lasts 5 s here.
_SECONDS: Final[dict[Kind, tuple[float, float]]] = {
    Kind.KILL: (0.5, 8.0),
    Kind.STOP: (0.0, 4.0),
    Kind.FREEZE: (6.0, 10.0),
    Kind.CUT: (1.0, 8.0),
    Kind.HOLD: (1.0, 8.0),
    Kind.SLOW: (3.0, 8.0),
    Kind.TRICKLE: (3.0, 8.0),
    Kind.RESET: (0.0, 0.0),
    Kind.DEAF: (2.0, 8.0),
    Kind.LOSE: (2.0, 6.0),
    Kind.CREDENTIALS: (16.0, 24.0),
    Kind.LOG_FULL: (3.0, 8.0),
    Kind.CLOCK: (5.0, 12.0),
    Kind.DYNAMODB: (0.5, 3.0),
    Kind.SQS: (0.5, 3.0),
}
_ALL_AT_ONCE: Final = 0.25  # how often a line's fault hits every worker
_AT_THE_HOLDER: Final = 0.7  # how often a fault hits one who has something to lose


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers by number: all; those with a clock that can be shifted; those whose credentials run out; those that
    must not be ended, so that what they hold after a long time can be told. `durable`: DynamoDB survives a restart.
    """

    workers: tuple[int, ...]
    clocks: tuple[int, ...] = ()
    renewing: tuple[int, ...] = ()
    spared: tuple[int, ...] = ()
    tables: int = 1
    durable: bool = True


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, `at_s` seconds after the beginning. `size`: how much of it, where it has one.

    `table`: it is for the worker that holds this table's shard at that moment, if it may befall that one.
    """

    at_s: float
    kind: Kind
    seconds: float
    workers: tuple[int, ...]
    services: tuple[Service, ...] = ()
    size: float = 0.0
    table: int | None = None

    def aimed(self, holder: int | None, crew: Crew) -> Fault:
        """The same, at the holder of its table's shard."""
        if holder is None or self.table is None or len(self.workers) != 1 or holder not in whom(self.kind, crew):
            return self
        return replace(self, workers=(holder,))

    def touches(self) -> list[str]:
        """What no other fault may touch meanwhile, in one order for all."""
        if self.kind is Kind.DYNAMODB:
            return ["dynamodb"]
        if self.kind in PROCESS:
            return [f"process {number}" for number in self.workers]
        if self.kind in LINES or self.kind is Kind.SQS:
            return sorted(f"line {number} {service}" for number in self.workers for service in self.services)
        return sorted(f"{self.kind} {number}" for number in self.workers)

    def __str__(self) -> str:
        who = "all" if len(self.workers) > 1 else f"worker {self.workers[0]}" if self.workers else ""
        size = f" {self.size:g}" if self.size else ""
        where = f" to {'+'.join(self.services)}" if self.kind in LINES else ""
        return f"{self.kind}{size}{where}: {who}, {self.seconds:.1f} s".replace(": ,", ":")


def plan(seed: int, crew: Crew, *, seconds: float, pace_s: float) -> list[Fault]:
    """A fault every `pace_s` or so. Every kind that is possible comes before one comes again."""
    rng = random.Random(seed)
    deck = _deck(rng, _possible(crew))
    faults = []
    at_s = rng.uniform(0.0, 0.5) * pace_s
    while at_s < seconds:
        faults.append(_fault(rng, next(deck), crew, at_s))
        at_s += rng.uniform(0.5, 1.5) * pace_s
    return faults


def _possible(crew: Crew) -> list[Kind]:
    without = set() if crew.durable else {Kind.DYNAMODB}
    if not crew.clocks:
        without.add(Kind.CLOCK)
    if not crew.renewing:
        without.add(Kind.CREDENTIALS)
    return [kind for kind in Kind if kind not in without]


def _deck(rng: random.Random, kinds: Sequence[Kind]) -> Iterator[Kind]:
    while True:
        yield from rng.sample(kinds, len(kinds))


def _fault(rng: random.Random, kind: Kind, crew: Crew, at_s: float) -> Fault:
    seconds, size = rng.uniform(*_SECONDS[kind]), _size(rng, kind)
    if kind is Kind.DYNAMODB:
        return Fault(at_s, kind, seconds, crew.workers)
    if kind is Kind.SQS:
        return Fault(at_s, kind, seconds, crew.workers, (Service.QUEUES,))
    workers: tuple[int, ...] = (rng.choice(whom(kind, crew)),)
    services: tuple[Service, ...] = ()
    if kind in LINES:
        services = rng.choice([(one,) for one in Service] + [tuple(Service)])
        workers = crew.workers if rng.random() < _ALL_AT_ONCE else workers
    table = rng.randrange(crew.tables) if rng.random() < _AT_THE_HOLDER else None
    return Fault(at_s, kind, seconds, workers, services, size, table)


def whom(kind: Kind, crew: Crew) -> Sequence[int]:
    """Whom it may befall."""
    if kind is Kind.CLOCK:
        return crew.clocks
    if kind is Kind.CREDENTIALS:
        return crew.renewing
    if kind in (Kind.KILL, Kind.STOP):
        return [number for number in crew.workers if number not in crew.spared]
    return crew.workers


def _size(rng: random.Random, kind: Kind) -> float:
    """Seconds a piece is held, bytes a second, of how many answers one is lost, seconds by which the clock is wrong."""
    if kind is Kind.SLOW:
        return round(rng.uniform(0.1, 1.0), 2)
    if kind is Kind.TRICKLE:
        return float(rng.choice([500, 2_000, 10_000]))
    if kind is Kind.LOSE:
        return float(rng.choice([2, 3, 5]))
    if kind is Kind.CLOCK:
        return float(rng.choice([-3600, -60, 60, 3600]))
    return 0.0
