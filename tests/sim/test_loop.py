"""The loop of several processes: clocks that differ, a process that freezes and wakes, and one that is killed."""

from __future__ import annotations

import asyncio

from tests.sim.clocks import ProcessClock
from tests.sim.loop import Process, SimLoop, Skew


def after(loop: SimLoop, seconds: float) -> None:
    """Lets so much true time go by."""
    loop.at_true(loop.true_s + seconds, loop.stop)
    loop.run_forever()


def test_a_process_sleeps_by_its_own_clock() -> None:
    loop, woken = SimLoop(), []
    fast, slow = Process("fast", Skew(7.0, 1.03)), Process("slow", Skew(0.0, 0.97))

    async def sleeper(process: Process) -> None:
        await ProcessClock(loop, process).sleep(100.0)
        woken.append((process.name, round(loop.true_s - 1_000.0, 1)))

    for process in (slow, fast):
        loop.create_task(sleeper(process), context=process.context())
    after(loop, 200.0)
    loop.close()
    assert woken == [("fast", 97.1), ("slow", 103.1)]


def test_a_frozen_process_does_nothing_and_finds_its_clocks_ahead_when_it_wakes() -> None:
    loop, process = SimLoop(), Process("p", Skew(0.0, 1.0))
    clock, seen = ProcessClock(loop, process), []

    async def ticking() -> None:
        while True:
            await clock.sleep(1.0)
            seen.append(round(clock.monotonic() - 1_000.0))

    loop.create_task(ticking(), context=process.context())
    after(loop, 2.5)
    loop.freeze(process)
    after(loop, 10.0)
    assert seen == [1, 2]
    loop.thaw(process)
    after(loop, 1.5)
    loop.kill(process)
    loop.take_apart()
    loop.close()
    assert seen == [1, 2, 12, 14]


def test_a_killed_process_does_nothing_more_not_even_its_finally() -> None:
    loop, process, done = SimLoop(), Process("p", Skew(0.0, 1.0)), []

    async def work() -> None:
        try:
            await asyncio.sleep(5.0)
        finally:
            done.append("finally")

    loop.create_task(work(), context=process.context())
    after(loop, 1.0)
    loop.kill(process)
    after(loop, 60.0)
    assert done == []
    loop.take_apart()
    loop.close()
