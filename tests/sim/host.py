"""One simulated machine with one process: its clock, its links to the services, its worker."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING

from poller.observe.health import Bounds, Reason, readiness
from poller.observe.watch import Watch
from poller.run.buffer import Buffer
from poller.run.worker import Worker
from tests.sim.clocks import ProcessClock
from tests.sim.loop import Process, Skew, State
from tests.sim.network import Link

if TYPE_CHECKING:
    from tests.sim.world import World


class Host:
    """`leases`, `streams` and `sqs` are its ways to the services; `written_s`: when a write of its last moved a row.

    `looked_s`: when its last look at the lease table began. `leaving_s`: when it was told to leave, None as long as it
    stays.
    """

    def __init__(self, world: World, name: str, rng: random.Random, routes: Iterable[str]) -> None:
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
        self.looked_s = world.loop.true_s
        self.leaving_s: float | None = None
        self.worker: Worker | None = None
        self.known = Watch(routes, self.clock.monotonic)
        self.buffer: Buffer | None = None
        self._bounds = Bounds(
            unread_s=10.0,
            unrenewed_s=2 * knobs.lease_duration_s,
            unlooked_s=3 * knobs.lease_duration_s,
            undiscovered_s=2 * knobs.discovery_s + 3 * knobs.lease_duration_s,
            patience_s=3 * knobs.lease_duration_s,
            silent_s=dict.fromkeys(routes, 120.0),
        )
        self.freezes: list[float] = []
        self.woken_s = -math.inf
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

    def believes(self, shard_id: str) -> bool:
        """Would its worker act for the shard at this moment, by what it knows?"""
        tenure = None if self.worker is None else self.worker.keeper.tenures.get(shard_id)
        return tenure is not None and tenure.valid(self.clock.monotonic())

    def reasons(self) -> list[Reason]:
        """Why it would say that it is not ready; its start, which is not simulated, left aside."""
        now_s = self.clock.monotonic()
        return [reason for reason in readiness(self.known.known, self._bounds, now_s) if reason.part != "start"]

    @property
    def rough(self) -> bool:
        """Do its requests to the lease table fail now and then?"""
        return self.world.knobs.requests_fail
