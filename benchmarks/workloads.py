"""The workloads: what the stream holds, how often it is asked, and what is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final


class Kind(Enum):
    """What is done with a contestant, and what is wanted of it."""

    BACKLOG = "backlog"  # reads what waits for it: CPU a record, records a second
    LIVE = "live"  # keeps up with what comes: CPU of a core, latency
    START = "start"  # is started a second time: seconds to the first delivery
    SINK_STOPPED = "sink stopped"  # reads a backlog that the queue does not take: memory


@dataclass(frozen=True)
class Workload:
    """`records` of each of the `shards` wait; `rate` more of each come in a second, for `seconds`.

    `match_percent`: so many match. `pause_s` after a page that was not full, `idle_s` at most between two polls.
    """

    name: str
    kind: Kind
    shards: int
    records: int = 0
    match_percent: float = 0.0
    rate: float = 0.0
    seconds: float = 0.0
    pause_s: float = 0.25
    idle_s: float = 1.0

    @property
    def match_every(self) -> int:
        return round(100 / self.match_percent) if self.match_percent else 0

    @property
    def expected(self) -> int:
        """How many messages the backlog makes."""
        return self.shards * -(-self.records // self.match_every) if self.match_every else 0

    def arguments(self) -> list[str]:
        """For the stand-in."""
        numbers = {"shards": self.shards, "records": self.records, "rate": self.rate, "match-every": self.match_every}
        return [part for name, value in numbers.items() for part in (f"-{name}", f"{value}")]

    def title(self) -> str:
        """What it is, in a line."""
        records = f" x {self.records:,} records" if self.records else ""
        rate = f" x {self.rate:g} a second" if self.rate else ""
        rate += f" for {self.seconds:g} s" if self.rate and self.seconds else ""
        idle = "" if self.records or self.rate else f", idle for {self.seconds:g} s, a poll every {self.idle_s:g} s"
        match = f", {self.match_percent:g} % match" if self.records or self.rate else ""
        return f"{self.name}: {self.kind.value}, {self.shards:,} shards{records}{rate}{idle}{match}"


def _backlog(name: str, shards: int, records: int, match_percent: float) -> Workload:
    return Workload(name, Kind.BACKLOG, shards, records, match_percent)


def _live(name: str, shards: int, rate: float, match_percent: float, poll_s: float) -> Workload:
    return Workload(
        name, Kind.LIVE, shards, rate=rate, match_percent=match_percent, seconds=30.0, pause_s=poll_s, idle_s=poll_s
    )


FULL: Final = (
    _backlog("W1", 4, 250_000, 1.0),
    _backlog("W2", 4, 50_000, 100.0),
    _live("W3", 16, 20.0, 10.0, 0.18),
    _live("W4", 64, 0.0, 0.0, 0.25),
    _live("W4-slow", 64, 0.0, 0.0, 1.0),
    _live("W5", 256, 5.0, 10.0, 0.2),
    _live("W5-idle", 1_000, 0.0, 0.0, 1.0),
    Workload("start", Kind.START, 4, rate=20.0, match_percent=100.0),
    Workload("sink-stopped", Kind.SINK_STOPPED, 4, 250_000, 100.0, seconds=10.0),
)
SHARD_CURVE: Final = tuple(
    _backlog(f"shards-{count}", count, 1_000_000 // count, 1.0) for count in (4, 16, 64, 256, 1_000)
)
MATCH_CURVE: Final = tuple(_backlog(f"match-{percent:g}", 4, 50_000, percent) for percent in (0.0, 1.0, 10.0, 100.0))
ALL: Final = {workload.name: workload for workload in (*FULL, *SHARD_CURVE, *MATCH_CURVE)}


def quick() -> tuple[Workload, ...]:
    """A first look, in less than two minutes."""
    return (
        replace(ALL["W1"], records=50_000),
        replace(ALL["W2"], records=5_000),
        replace(ALL["W3"], seconds=10.0),
        replace(ALL["W4"], seconds=10.0),
    )
