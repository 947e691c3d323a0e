"""How polls of many shards fall in time: evenly while they are idle, and nobody waits for those that catch up."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from poller.events import PageRead
from poller.run.moments import Moments
from tests.fleet import Fleet
from tests.memory.shards import Entry
from tests.rig import Options
from tests.virtual import VirtualClock, run

IDLE_MAX_S = 1.0  # the rig's


def entry(number: int) -> Entry:
    """A record that nobody wants."""
    heart = {"Keys": {"id": {"S": "one"}}, "SequenceNumber": str(number), "ApproximateCreationDateTime": 0}
    return Entry(number, 0, json.dumps({"eventName": "REMOVE", "dynamodb": heart}).encode())


def test_polls_of_idle_shards_spread_evenly_though_all_began_at_once() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=64) as fleet:
            fleet.start("w1")
            await clock.sleep(120)
            from_s = clock.monotonic()
            await clock.sleep(60)
            polls = fleet.said(PageRead, from_s)
        a_tenth = Counter(int((said.at - from_s) * 10) for said in polls)
        # Three moments in a pause, 21.3 on average; all 64 in one if they had stayed in step.
        assert max(a_tenth.values()) <= 38
        by_shard: defaultdict[str, list[float]] = defaultdict(list)
        for said in polls:
            by_shard[said.event.shard].append(said.at)
        waits = [later - earlier for times in by_shard.values() for earlier, later in pairwise(times)]
        assert len(by_shard) == 64
        assert 0.98 * IDLE_MAX_S < sum(waits) / len(waits) < 1.05 * IDLE_MAX_S
        assert max(waits) < 1.4 * IDLE_MAX_S  # the next moment is a third of the pause later, and then the answer
        late = [wait for wait in waits if wait > 1.1 * IDLE_MAX_S]
        assert 0 < len(late) < 0.08 * len(waits)  # seldom, so that they hardly count in the latency's 99th percentile

    run(story)


def test_who_sleeps_for_others_and_is_cancelled_neither_wakes_nor_keeps_them() -> None:
    async def story(clock: VirtualClock) -> None:
        moments, woken, began = Moments(), list[float](), clock.monotonic()

        async def rest() -> None:
            await moments.rest(0.9, clock, random.Random(1))
            woken.append(clock.monotonic() - began)

        tasks = [asyncio.create_task(rest()) for _ in range(4)]
        await clock.sleep(0.1)
        for task in tasks[:2]:  # the one that sleeps, and the one that would be the next
            task.cancel()
        await asyncio.wait(tasks)
        assert len(woken) == 2
        assert woken == pytest.approx([woken[0]] * 2, abs=1e-6)
        assert 0.6 < woken[0] < 1.2

    run(story)


def test_shards_that_catch_up_starve_no_quiet_one() -> None:
    """Forty shards with a backlog, and more of them than calls that may be under way, beside one that is quiet."""

    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=41, options=Options(page_limit=10)) as fleet:
            tree = fleet.rig.stream.shards
            quiet = fleet.open_shards()[0]
            for shard in fleet.open_shards()[1:]:
                tree[shard].entries.extend(entry(tree.next_sequence_number()) for _ in range(2000))
            fleet.start("w1")
            await clock.sleep(5)
            from_s = clock.monotonic()
            await clock.sleep(20)
            polls = fleet.said(PageRead, from_s)
        behind = {said.event.shard for said in polls if sum(said.event.events.values()) == 10}
        times = [said.at for said in polls if said.event.shard == quiet]
        assert len(behind) == 40
        assert len(times) >= 15
        assert max(later - earlier for earlier, later in pairwise(times)) < 2 * IDLE_MAX_S

    run(story)


def test_no_more_pages_are_asked_for_at_once_than_the_settings_allow() -> None:
    async def story(clock: VirtualClock) -> None:
        async with Fleet.on(clock, shards=12, options=Options(concurrency=3)) as fleet:
            under_way = most = 0

            async def slow(operation: str, _: str) -> None:
                nonlocal under_way, most
                if operation == "GetRecords":
                    under_way += 1
                    most = max(most, under_way)
                    await clock.sleep(0.2)
                    under_way -= 1

            fleet.rig.stream.before = slow
            fleet.start("w1")
            await clock.sleep(20)
            assert len({said.event.shard for said in fleet.said(PageRead)}) == 12
        assert most == 3

    run(story)
