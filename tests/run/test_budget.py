"""A monthly budget on virtual time: idle shards are polled less often, shards with data never."""

from __future__ import annotations

import pytest

from poller.decide.cost import MONTH_S, costs
from poller.decide.pacing import STRETCHED_MAX_S, PacingLimits
from poller.events import Event, FleetSeen, IdlePollingRestored, IdlePollingStretched, PageRead
from poller.observe.health import Bounds, readiness
from poller.observe.watch import Watch
from poller.run.spending import Spending
from poller.run.thrift import Thrift
from poller.settings import load
from tests.memory.clock import ManualClock
from tests.rig import PRICES, TABLE, Options, Rig
from tests.virtual import VirtualClock, run

HOUR_S = 3_600.0


def spent_usd(rig: Rig, since: int, seconds: float) -> float:
    """What the events since then come to, a month."""
    spending = Spending(["default"], 0.0)
    for event in rig.events[since:]:
        spending.note(event, 0.0)
    # Of one instant all of it: the rate over the whole of the time.
    return costs(spending.rates(seconds), PRICES).total


def test_an_idle_stream_costs_what_the_budget_allows_and_the_log_says_so() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(monthly_budget_usd=0.8))
        async with rig.running():
            await clock.sleep(HOUR_S / 2)
            since = len(rig.events)
            await clock.sleep(HOUR_S / 4)
            spent = spent_usd(rig, since, HOUR_S / 4)
            polls = len([event for event in rig.events[since:] if isinstance(event, PageRead)])
        assert 0.7 < spent <= 0.8 * 1.01
        assert polls < HOUR_S / 4 / 1.5, "without a budget it is polled every second"
        said = rig.said(IdlePollingStretched)
        assert said
        assert all(event.kept and event.wanted_s == 1.0 and event.idle_max_s > 1.5 for event in said)
        assert len(said) <= 3, "no flood"

    run(story)


def test_a_shard_that_has_data_is_polled_as_ever_however_small_the_budget() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(monthly_budget_usd=0.01))
        async with rig.running():
            await clock.sleep(120)
            assert any(not event.kept for event in rig.said(IdlePollingStretched))
            rig.upload("first")
            await rig.until(lambda: len(rig.received()) == 1, at_most_s=400)
            since = len(rig.events)
            began = clock.monotonic()
            for number in range(200):
                rig.upload(f"item-{number}")
                await clock.sleep(0.2)
            lasted_s = clock.monotonic() - began
            polls = len([event for event in rig.events[since:] if isinstance(event, PageRead)])
            assert polls >= lasted_s / 0.3
            await rig.until(lambda: len(rig.received()) == 201, at_most_s=5)

    run(story)


def test_a_budget_that_is_not_enough_leaves_a_poll_in_five_minutes() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(monthly_budget_usd=0.01))
        async with rig.running():
            await clock.sleep(HOUR_S)
            since = len(rig.events)
            await clock.sleep(HOUR_S)
            polls = len([event for event in rig.events[since:] if isinstance(event, PageRead)])
        assert HOUR_S / STRETCHED_MAX_S - 1 <= polls <= HOUR_S / STRETCHED_MAX_S + 1

    run(story)


def test_pauses_that_a_budget_stretches_ring_no_alert_and_leave_the_worker_ready() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(monthly_budget_usd=0.01))
        known = Watch(["default"], clock.monotonic)
        bounds = Bounds.of(load({"POLLER_TABLE": TABLE, "POLLER_QUEUE": "jobs"}, None))
        gaps_s, polled_at = [0.0], clock.monotonic()

        def heard(event: Event) -> None:
            nonlocal polled_at
            known(event)
            if isinstance(event, PageRead):
                gaps_s.append(clock.monotonic() - polled_at)
                polled_at = clock.monotonic()

        async with rig.running(rig.worker(emit=heard)):
            for _ in range(round(3 * HOUR_S / 10)):
                await clock.sleep(10)
                shards = [one for one in readiness(known.known, bounds, clock.monotonic()) if "shard" in one.part]
                assert shards == []
        # PollerNotPolled rings after 420.
        assert STRETCHED_MAX_S - 60 < max(gaps_s) <= 360.0

    run(story)


def test_an_ample_budget_changes_nothing() -> None:
    async def story(clock: VirtualClock) -> None:
        rig = Rig(clock, Options(monthly_budget_usd=100.0))
        async with rig.running():
            await clock.sleep(120)
        assert rig.said(IdlePollingStretched) == []
        assert len(rig.said(PageRead)) >= 110

    run(story)


# --- the part of a worker ---------------------------------------------------------------------------------------------


class Told:
    """A budget's keeper that is told what its worker sees of the fleet."""

    def __init__(self, budget_usd: float) -> None:
        self.clock = ManualClock()
        self.events: list[Event] = []
        limits = PacingLimits(0.25, 1.0, 1000)
        self.thrift = Thrift(
            limits, budget_usd, PRICES, fifo_routes=[], stream=TABLE, clock=self.clock, emit=self.events.append
        )
        self.clock.advance(60)

    def sees(self, held: int, **shards: int) -> float:
        self.clock.advance(30)
        self.thrift(FleetSeen(stream=TABLE, shards=shards, held=held, workers=2))
        return self.thrift.limits.idle_max_s


def test_a_worker_has_a_part_of_the_budget_as_large_as_its_part_of_the_shards() -> None:
    poll_usd = PRICES.get_records * MONTH_S
    told = Told(10 * poll_usd / 4)

    assert told.sees(10, reading=10, finished=7, waiting_for_parent=3) == pytest.approx(4.0)
    assert told.sees(5, reading=8, unowned=2) == pytest.approx(4.0)


def test_what_is_restored_is_said_once() -> None:
    told = Told(10 * PRICES.get_records * MONTH_S)

    assert told.sees(20, reading=20) == pytest.approx(2.0)
    assert told.sees(21, reading=21) == pytest.approx(2.1)
    assert [told.sees(10, reading=10) for _ in range(3)] == [1.0, 1.0, 1.0]
    assert [type(event) for event in told.events] == [IdlePollingStretched, IdlePollingRestored]
