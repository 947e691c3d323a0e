"""The limiter: in order, exactly as long as needed, and never above its rate."""

from __future__ import annotations

import asyncio

import pytest

from poller.events import Event, LimiterWaited
from poller.run.limiter import ThrottleLimiter
from tests.virtual import VirtualClock, run


def limiter(clock: VirtualClock, rate: float, events: list[Event] | None = None) -> ThrottleLimiter:
    return ThrottleLimiter("get_records", rate, clock, (events if events is not None else []).append)


def test_calls_within_the_rate_do_not_wait() -> None:
    async def story(clock: VirtualClock) -> None:
        events: list[Event] = []
        five = limiter(clock, 5, events)
        began = clock.monotonic()
        for _ in range(5):
            await five.acquire()
        assert clock.monotonic() == began
        assert events == []

    run(story)


def test_the_next_call_waits_until_the_window_has_room_and_it_is_counted() -> None:
    async def story(clock: VirtualClock) -> None:
        events: list[Event] = []
        five = limiter(clock, 5, events)
        began = clock.monotonic()
        for _ in range(6):
            await five.acquire()
        assert clock.monotonic() - began == pytest.approx(1.0)
        (waited,) = events
        assert isinstance(waited, LimiterWaited)
        assert waited.seconds == pytest.approx(1.0)

    run(story)


def test_no_window_of_a_second_ever_holds_more_calls_than_the_rate() -> None:
    async def story(clock: VirtualClock) -> None:
        three = limiter(clock, 3)
        calls: list[float] = []

        async def caller(pause_s: float) -> None:
            for _ in range(10):
                await three.acquire()
                calls.append(clock.monotonic())
                await clock.sleep(pause_s)

        await asyncio.gather(*(caller(pause_s) for pause_s in (0.0, 0.1, 0.35)))
        assert all(later - earlier >= 0.999999 for earlier, later in zip(calls, calls[3:], strict=False))

    run(story)


def test_waiters_are_served_in_the_order_of_asking() -> None:
    async def story(clock: VirtualClock) -> None:
        one = limiter(clock, 1)
        served: list[int] = []

        async def ask(number: int) -> None:
            await one.acquire()
            served.append(number)

        await asyncio.gather(*(ask(number) for number in range(20)))
        assert served == list(range(20))

    run(story)


def test_a_rate_below_one_a_second_is_kept() -> None:
    async def story(clock: VirtualClock) -> None:
        slow = limiter(clock, 0.5)
        began = clock.monotonic()
        for _ in range(3):
            await slow.acquire()
        assert clock.monotonic() - began == pytest.approx(4.0)

    run(story)


def test_a_waiter_that_is_cancelled_holds_up_nobody() -> None:
    async def story(clock: VirtualClock) -> None:
        one = limiter(clock, 1)
        await one.acquire()
        waiting = asyncio.create_task(one.acquire())
        await asyncio.sleep(0)
        behind = asyncio.create_task(one.acquire())
        await asyncio.sleep(0)
        waiting.cancel()
        began = clock.monotonic()
        await behind
        assert clock.monotonic() - began <= 1.0

    run(story)


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_on_which_it_would_hang_is_refused(rate: float) -> None:
    async def story(clock: VirtualClock) -> None:
        with pytest.raises(ValueError, match="positive rate"):
            limiter(clock, rate)

    run(story)
