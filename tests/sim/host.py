"""One simulated machine with one process: its clock, its links to the services, its worker."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from poller.run.buffer import Buffer
from poller.run.worker import Worker
from tests.sim.clocks import ProcessClock
from tests.sim.loop import Process, Skew, State
from tests.sim.network import Link

if TYPE_CHECKING:
    from tests.sim.world import World


class Host:
    """`leases`, `streams` and `sqs` are its ways to the services; `written_s`: when a write of its last moved a row.

    `leaving_s`: when it was told to leave, None as long as it stays.
    """

    def __init__(self, world: World, name: str, rng: random.Random) -> None:
        knobs = world.knobs
        rate = 1.0 + knobs.clock_drift * rng.uniform(-1.0, 1.0)
        self.world = world
        self.name = name
        self.process = Process(name, Skew(rng.uniform(0.0, 5_000.0), rate))
        self.clock = ProcessClock(world.loop, self.process)
        self.leases, self.streams, self.sqs = (
            Link(self.process, self.clock, world.services[service], world.loop, knobs, random.Random(rng.random()))
            for service in ("dynamodb", "streams", "sqs")
        )
        self.written_s = world.loop.true_s
        self.leaving_s: float | None = None
        self.worker: Worker | None = None
        self.buffer: Buffer | None = None
        self.freezes: list[float] = []
        self.stop = asyncio.Event()

    @property
    def links(self) -> tuple[Link, ...]:
        return self.leases, self.streams, self.sqs

    def calm(self) -> None:
        """From now on its requests come and go as they should."""
        for link in self.links:
            link.outage = None
            link.knobs = self.world.knobs.calm()

    @property
    def alive(self) -> bool:
        """Its process is there, frozen or not."""
        return self.process.state is not State.DEAD

    @property
    def staying(self) -> bool:
        return self.alive and self.leaving_s is None

    @property
    def rough(self) -> bool:
        """Do its requests to the lease table fail now and then?"""
        return self.world.knobs.requests_fail
