"""What is looked at once a second: that nothing grows without bound, and that there are workers at all."""

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
_NOBODY_S: Final = 5


async def watch(world: World, crew: Crew) -> None:
    alone = 0
    while True:
        await asyncio.sleep(1.0)
        alone = 0 if crew.staying else alone + 1
        if alone >= _NOBODY_S:
            crew.start()
        for host in crew.alive:
            if host.process.state is State.RUNNING:
                _check_bounds(world, host)


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
