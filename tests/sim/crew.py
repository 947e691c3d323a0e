"""The processes of a simulated fleet: they start, leave, and die."""

from __future__ import annotations

import random
import traceback
from typing import Final

from tests.sim.fleet import build
from tests.sim.host import Host
from tests.sim.loop import State
from tests.sim.oracle import Violation
from tests.sim.world import ROUTES, World

# SIGTERM to exit, on the worker's own clock.
_LEAVE_S: Final = 10.0


class Crew:
    """All hosts of a world, the dead ones too."""

    def __init__(self, seed: int, world: World) -> None:
        self._world = world
        self._rng = random.Random(f"crew {seed}")

    @property
    def alive(self) -> list[Host]:
        return [host for host in self._world.hosts if host.alive]

    @property
    def staying(self) -> list[Host]:
        return [host for host in self._world.hosts if host.staying]

    def start(self) -> Host:
        world = self._world
        host = Host(world, f"w{len(world.hosts) + 1}", self._rng, ROUTES)
        made_table = not world.hosts
        world.hosts.append(host)
        if world.calm:
            host.calm()
        live = self._live(host, made_table=made_table, rng=random.Random(self._rng.random()))
        world.loop.create_task(live, name=host.name, context=host.process.context())
        return host

    async def _live(self, host: Host, *, made_table: bool, rng: random.Random) -> None:
        """A process from its start to its end."""
        world = self._world
        host.worker = build(host, made_table=made_table, rng=rng)
        world.story.tell(world.now_s, host.name, "starts")
        try:
            clean = await host.worker.run(host.stop)
        except BaseException as error:  # noqa: BLE001 - whatever ends a worker is a finding
            world.fail(Violation("P", f"{host.name} ends with {error!r}\n{traceback.format_exc()}"))
            return
        took_s = host.clock.monotonic() - (host.leaving_s or 0.0)
        world.story.tell(world.now_s, host.name, f"has left {'in order' if clean else 'in haste'} in {took_s:.1f} s")
        if took_s > _LEAVE_S and not host.freezes:
            world.fail(Violation("P", f"{host.name} took {took_s:.1f} s to leave"))
        world.loop.kill(host.process)

    def leave(self, host: Host) -> None:
        """SIGTERM."""
        host.leaving_s = host.clock.monotonic()
        host.stop.set()

    def crash(self, host: Host) -> None:
        """Kill -9."""
        self._world.loop.kill(host.process)

    def reading(self, host: Host) -> bool:
        return host.process.state is State.RUNNING and host.leaving_s is None
