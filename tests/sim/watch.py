"""What is looked at four times a second: that nothing grows without bound, and that there are workers at all."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.sim.crew import Crew
from tests.sim.host import Host
from tests.sim.loop import State
from tests.sim.oracle import Violation
from tests.sim.world import World

# Pages under way when the buffer fills up: as many as there are shards, each record of at most so many bytes kept.
_RECORD_KEPT_BYTES: Final = 16_000
_TASKS_A_SHARD: Final = 8
_TASKS: Final = 80
_NOBODY_S: Final = 5.0
_LOOK_S: Final = 0.25


async def watch(world: World, crew: Crew) -> None:
    alone = 0
    lapsed: set[tuple[str, str, float]] = set()
    while True:
        await asyncio.sleep(_LOOK_S)
        alone = 0 if crew.staying else alone + 1
        if alone * _LOOK_S >= _NOBODY_S:
            crew.start()
        for host in crew.alive:
            _check_beliefs(world, host, lapsed)
            if host.process.state is State.RUNNING:
                _check_bounds(world, host)


def _check_beliefs(world: World, host: Host, lapsed: set[tuple[str, str, float]]) -> None:
    """What a worker would act for is its own; what has lapsed, `lapsed` from look to look, does not come back to life.

    Frozen ones are looked at, too: what they believe now they will when they wake.
    """
    for tenure in () if host.worker is None else host.worker.keeper.tenures.values():
        name = host.name, tenure.shard_id, tenure.taken_at
        if not host.believes(tenure.shard_id):
            lapsed.add(name)
        elif name in lapsed:
            world.fail(Violation("F", f"{host.name} believes in its lease of {tenure.shard_id[-8:]}, which had lapsed"))
        else:
            world.oracle.believed(host, tenure.shard_id)


def _check_bounds(world: World, host: Host) -> None:
    shards = len(world.oracle.ledger.shards)
    if host.buffer is not None:
        kept, bound = (
            host.buffer.size_bytes,
            world.knobs.buffer_max_bytes + shards * world.knobs.page_limit * _RECORD_KEPT_BYTES,
        )
        if not 0 <= kept <= bound:
            world.fail(Violation("R", f"{host.name} keeps {kept} bytes, {bound} at most"))
    limit, held = world.knobs.max_leases, 0 if host.worker is None else len(host.worker.keeper.tenures)
    if limit is not None and held > limit:
        world.fail(Violation("R", f"{host.name} holds {held} leases, {limit} at most"))
    tasks = len(host.process.tasks)
    if tasks > _TASKS + _TASKS_A_SHARD * shards:
        world.fail(Violation("R", f"{host.name} has {tasks} tasks for {shards} shards"))
