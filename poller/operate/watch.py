"""Looking at the lease table more than once: it holds no clock, so that one look does not tell who is at work."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, replace

from poller.errors import AwsError
from poller.model import Lease
from poller.operate.fleet import Fleet, fleet_of
from poller.operate.hold import look_every_s
from poller.operate.looks import Looks
from poller.operate.ports import Leases
from poller.run.ports import Clock


@dataclass(frozen=True, slots=True)
class Seen:
    """The table as the looks so far have shown it. `looked_for_s`: from the first look to the last.

    `duration_s`: how long a lease lasts; `wall_s`: now, to which the checkpoints' ages are taken. `trouble`: why the
    last look failed, None if it did not: then this is what the one before it showed.
    """

    fleet: Fleet
    table: str
    looks: int
    looked_for_s: float
    duration_s: float
    wall_s: float
    trouble: str | None = None


class Watch:
    """Looks at one table. `name` is the table's, `duration_s` how long a lease lasts without a sign of life."""

    def __init__(self, table: Leases, clock: Clock, *, name: str, duration_s: float) -> None:
        self._table = table
        self._clock = clock
        self._name = name
        self._duration_s = duration_s
        self._looks = Looks()
        self._began_at: float | None = None

    async def for_life(self, at_most_s: float) -> Seen:
        """Looks until every owner was seen at work, at most for so long. AwsError: the table did not answer."""
        give_up_at = self._clock.monotonic() + at_most_s
        while True:
            rows, now = await self._look()
            if now >= give_up_at or self._all_at_work(rows):
                return self._seen(rows, now)
            await self._clock.sleep(min(look_every_s(self._duration_s), give_up_at - now))

    async def endless(self, every_s: float) -> AsyncGenerator[Seen, None]:
        """One look after the other. AwsError only at the first; later ones that fail are told as `trouble`."""
        seen = self._seen(*await self._look())
        while True:
            yield seen
            await self._clock.sleep(every_s)
            try:
                seen = self._seen(*await self._look())
            except AwsError as error:
                seen = replace(seen, trouble=f"the last look failed: {error}", wall_s=self._clock.wall())

    async def _look(self) -> tuple[Sequence[Lease], float]:
        """The rows, and when (monotonic) the look began."""
        now = self._clock.monotonic()
        rows = await self._table.list()
        self._looks.look(rows, now, self._clock.monotonic())
        self._began_at = now if self._began_at is None else self._began_at
        return rows, now

    def _all_at_work(self, rows: Iterable[Lease]) -> bool:
        lives = [self._looks.owner(row) for row in rows if not row.finished]
        return all(life is None or life.moved for life in lives)

    def _seen(self, rows: Iterable[Lease], now: float) -> Seen:
        return Seen(
            fleet=fleet_of(rows, self._looks, self._duration_s),
            table=self._name,
            looks=self._looks.count,
            looked_for_s=now - (now if self._began_at is None else self._began_at),
            duration_s=self._duration_s,
            wall_s=self._clock.wall(),
        )
