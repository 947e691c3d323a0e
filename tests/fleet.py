"""Several workers on one rig, on virtual time: what each of them says, and which calls they make when."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Generic, TypeVar

from poller.events import Event, LeaseOperation, PageRead
from poller.run.worker import Worker
from tests.memory.gates import Gate
from tests.rig import Options, Rig
from tests.virtual import VirtualClock

E = TypeVar("E", bound=Event)

LEASE_READS = frozenset({"Scan", "GetItem"})
LEASE_WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem"})


@dataclass(frozen=True)
class Said(Generic[E]):
    """An event, when it was said, and by which worker."""

    at: float
    worker: str
    event: E


@dataclass
class Fleet:
    """Workers on a stream of so many open shards. Every call takes some milliseconds, and is noted in `calls`."""

    clock: VirtualClock
    rig: Rig
    heard: list[Said[Event]] = field(default_factory=list)
    calls: list[tuple[float, str]] = field(default_factory=list)
    workers: dict[str, Worker] = field(default_factory=dict)
    _rng: random.Random = field(default_factory=lambda: random.Random(7))
    _running: dict[str, tuple[asyncio.Event, asyncio.Task[bool]]] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def on(
        cls, clock: VirtualClock, *, shards: int = 1, queue: str = "jobs", options: Options | None = None
    ) -> AsyncIterator[Fleet]:
        """A fleet without workers yet; those that are left are killed at the end of the block."""
        fleet = cls(clock, Rig(clock, options, queue=queue))
        tree = fleet.rig.stream.shards
        while len(fleet.open_shards()) < shards:
            parent = fleet.open_shards()[0]
            tree.split(parent)
            tree.forget(parent)
        fleet.rig.stream.before = fleet.rig.leases.before = fleet._gate()
        try:
            yield fleet
        finally:
            for worker_id in list(fleet._running):
                await fleet.kill(worker_id)

    def _gate(self) -> Gate:
        async def take_time(operation: str, _resource: str) -> None:
            self.calls.append((self.clock.monotonic(), operation))
            await asyncio.sleep(self._rng.uniform(0.003, 0.02))

        return take_time

    # --- workers ---

    def start(self, *worker_ids: str, options: Options | None = None) -> None:
        for worker_id in worker_ids:
            worker = self.workers[worker_id] = self.rig.worker(worker_id, options, self._hear(worker_id))
            stop = asyncio.Event()
            self._running[worker_id] = (stop, asyncio.create_task(worker.run(stop)))

    def _hear(self, worker_id: str) -> Callable[[Event], None]:
        return lambda event: self.heard.append(Said(self.clock.monotonic(), worker_id, event))

    async def leave(self, worker_id: str) -> bool:
        """As by SIGTERM; True if it left in order."""
        stop, task = self._running.pop(worker_id)
        del self.workers[worker_id]
        stop.set()
        return await task

    async def kill(self, worker_id: str) -> None:
        _, task = self._running.pop(worker_id)
        del self.workers[worker_id]
        task.cancel()
        await asyncio.wait({task})

    # --- what is seen of them ---

    def open_shards(self) -> list[str]:
        return [shard.shard_id for shard in self.rig.stream.shards if not shard.closed]

    def said(self, kind: type[E], since: float = 0.0) -> list[Said[E]]:
        return [
            Said(said.at, said.worker, said.event)
            for said in self.heard
            if isinstance(said.event, kind) and said.at >= since
        ]

    def loads(self) -> dict[str, int]:
        return {worker_id: len(worker.keeper.tenures) for worker_id, worker in self.workers.items()}

    def held(self, shards: Iterable[str]) -> bool:
        """Has each of them an owner among the living?"""
        return set(shards) <= {shard for worker in self.workers.values() for shard in worker.keeper.tenures}

    def balanced(self) -> bool:
        """Every open shard has an owner, and no worker has two more than another."""
        loads = self.loads().values()
        return sum(loads) == len(self.open_shards()) and max(loads) - min(loads) <= 1

    def lease_calls(self, since: float, operations: frozenset[str]) -> int:
        return sum(operation in operations for at, operation in self.calls if at >= since)

    def operations(self, since: float) -> Counter[str]:
        """Calls to the lease table by operation, of all workers."""
        return Counter(said.event.operation for said in self.said(LeaseOperation, since))

    def most_in_a_second(self, operation: str) -> int:
        """The most calls of an operation that were made within any second, by all workers."""
        times = sorted(at for at, name in self.calls if name == operation)
        return max((sum(1 for at in times if start <= at < start + 1) for start in times), default=0)

    def silence(self, since: float) -> float:
        """The longest time that any open shard was not read, until now."""
        now = self.clock.monotonic()
        return max(max(_gaps([since, *self._reads(shard, since), now])) for shard in self.open_shards())

    def _reads(self, shard: str, since: float) -> list[float]:
        return [said.at for said in self.said(PageRead, since) if said.event.shard == shard]

    def takers(self, since: float) -> list[str]:
        """Who read each shard, one reader after the other, without repetitions."""
        readers: dict[str, list[str]] = {}
        for said in self.said(PageRead, since):
            of_shard = readers.setdefault(said.event.shard, [])
            if not of_shard or of_shard[-1] != said.worker:
                of_shard.append(said.worker)
        return [worker for of_shard in readers.values() for worker in of_shard[1:]]


def _gaps(times: list[float]) -> Iterator[float]:
    return (later - earlier for earlier, later in pairwise(times))
