"""A monthly budget: idle shards are polled less often while everything together would cost more.

What a shard that has data costs is never saved on, nor are leases and deliveries: they come first, and what is left of
the budget is for polling shards in which nothing happens.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from poller.decide.cost import MONTH_S, Meter, Prices, costs
from poller.decide.pacing import PacingLimits, stretched_idle_max_s
from poller.events import Emit, Event, FleetSeen, IdlePollingRestored, IdlePollingStretched
from poller.run.ports import Clock
from poller.run.spending import Spending

_RECKON_EVERY_S = 30.0
# A start makes calls that are not made again: it says little about a month.
_START_S = 60.0
# A change that is worth a line in the log.
_SAID_FACTOR = 1.25


class Thrift:
    """One stream's budget, of which this worker has a part as large as its part of the shards.

    It is a sink of the stream's events. `limits` are those by which shards are to be polled now.
    """

    def __init__(
        self,
        limits: PacingLimits,
        budget_usd: float,
        prices: Prices,
        *,
        fifo_routes: Collection[str],
        stream: str,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self.limits = limits
        self._wanted = limits
        self._budget_usd = budget_usd
        self._prices = prices
        self._stream = stream
        self._clock = clock
        self._emit = emit
        now = clock.monotonic()
        self._spending = Spending(fifo_routes, now)
        self._busy_reads = Meter(now)
        self._reckon_at = now + _START_S
        self._said_s = limits.idle_max_s

    def polled(self, *, records: int, pause_s: float) -> None:
        """A page came, after which the shard is left alone for so long."""
        if records or pause_s < self._wanted.idle_max_s:
            self._busy_reads.count(1, self._clock.monotonic())

    def __call__(self, event: Event) -> None:
        now = self._clock.monotonic()
        self._spending.note(event, now)
        if isinstance(event, FleetSeen) and event.held and now >= self._reckon_at:
            self._reckon_at = now + _RECKON_EVERY_S
            self._reckon(event, now)

    def _reckon(self, seen: FleetSeen, now: float) -> None:
        read = sum(count for state, count in seen.shards.items() if state not in ("finished", "waiting_for_parent"))
        part_usd = self._budget_usd * min(1.0, seen.held / max(1, read))
        rates = replace(self._spending.rates(now), get_records=self._busy_reads.rate(now))
        other_usd = costs(rates, self._prices).total
        idle_max_s, kept = stretched_idle_max_s(
            self._wanted,
            left_usd=part_usd - other_usd,
            shards=seen.held,
            polling_usd=self._prices.get_records * MONTH_S,
        )
        self.limits = replace(self._wanted, idle_max_s=idle_max_s)
        self._say(part_usd, other_usd, kept=kept)

    def _say(self, part_usd: float, other_usd: float, *, kept: bool) -> None:
        idle_max_s, wanted_s = self.limits.idle_max_s, self._wanted.idle_max_s
        if idle_max_s == wanted_s:
            if self._said_s != wanted_s:
                self._emit(IdlePollingRestored(stream=self._stream, idle_max_s=wanted_s))
            self._said_s = wanted_s
        elif not self._said_s / _SAID_FACTOR < idle_max_s < self._said_s * _SAID_FACTOR:
            self._said_s = idle_max_s
            self._emit(
                IdlePollingStretched(
                    stream=self._stream,
                    idle_max_s=round(idle_max_s, 3),
                    wanted_s=wanted_s,
                    budget_usd=round(part_usd, 2),
                    other_usd=round(other_usd, 2),
                    kept=kept,
                )
            )
