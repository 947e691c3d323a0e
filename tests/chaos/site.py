"""Everything that takes part: the servers, tables, queues, workers with their lines, writer, consumers, onlookers."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.chaos.ledger import Book, Ledger
from tests.chaos.oracle import Bounds
from tests.chaos.plan import Crew, Fault, Service
from tests.chaos.traffic import Consumer, Writer
from tests.chaos.watch import MachineWatch, Memory, OwnersWatch
from tests.chaos.worker import Means, Worker, clock_can_be_shifted
from tests.e2e.daemon import wait_until
from tests.e2e.story import Mailbox, Table, dynamodb, sqs
from tests.servers import DynamoDbLocal, ElasticMq
from tests.servers.credentials import CredentialsServer
from tests.standin.world import ISOLATION, credentials

LEASE_S: Final = 5.0
TIMEOUT_S: Final = 1.6  # below a third of the lease
CHECKPOINT_S: Final = 1.0
_LATE_S: Final = TIMEOUT_S / 3  # an answer that takes so long means a machine that is too busy
# A call may take twice its time-outs, and a worker its whole lease to see that something is over.
BOUNDS: Final = Bounds(
    before_ms=int(1000 * (CHECKPOINT_S + 4 * TIMEOUT_S)), after_ms=int(1000 * (LEASE_S + 4 * TIMEOUT_S))
)
_READY_S: Final = 180.0  # however busy the machine is: what is not ready by then never will be
_TABLES: Final = 4
_ITEMS: Final = 40  # a table

_CONFIG: Final = f"""
[stream]
table = "{{table}}"
[lease]
duration = "{LEASE_S:g}s"
discovery_interval = "10s"
[aws]
request_timeout = "{TIMEOUT_S:g}s"
connect_timeout = "{TIMEOUT_S:g}s"
[checkpoint]
interval = "{CHECKPOINT_S:g}s"
[[route]]
name = "ordered"
queue = "ordered.fifo"
dead_letter_queue = "dead"
[[route]]
name = "every"
queue = "every"
dead_letter_queue = "dead"
"""


@dataclass(frozen=True)
class Scale:
    """How many workers there are, and how many changes a second. `spared` of them are never ended.

    `durable`: DynamoDB keeps its tables through a restart, which costs it much of its speed.
    """

    workers: int = 6
    rate: float = 40.0
    spared: int = 0
    durable: bool = True
    footprint_every_s: float = 2.0


class Site:
    """`with Site(folder, seed, scale) as site:` all of it is up, and every worker is ready."""

    def __init__(self, folder: Path, seed: int, scale: Scale) -> None:
        numbers = tuple(range(1, scale.workers + 1))
        # Two run under a clock that can be shifted, on credentials of their own that never end.
        clocks = numbers[:2] if clock_can_be_shifted() else ()
        self.crew = Crew(
            numbers,
            clocks=clocks,
            renewing=tuple(number for number in numbers if number not in clocks),
            spared=numbers[: scale.spared],
            tables=_TABLES,
            durable=scale.durable,
        )
        self.folder = folder
        self.scale = scale
        self._database = _database() if scale.durable else None
        self.dynamodb = DynamoDbLocal(folder, shared=True, kept_in=self._database)
        self.sqs = ElasticMq(folder)
        self.credentials = CredentialsServer()
        self.ledger = Ledger([Book("ordered.fifo", ordered=True), Book("every", ordered=False)])
        self._rng = random.Random(seed)
        self._stack = ExitStack()
        self.workers: dict[int, Worker] = {}
        self.consumers: list[Consumer] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self._database is not None:
                stack.callback(shutil.rmtree, self._database)
            for server in (self.dynamodb, self.sqs, self.credentials):
                stack.enter_context(server)
            self._open()
            for number in self.crew.workers:
                self.workers[number] = stack.enter_context(self._worker(number))
            self._begin()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        for loop in (self.memory, self.machine, self.owners_watch, self.writer, *self.consumers):
            loop.cancel()
        self._stack.close()

    def _open(self) -> None:
        client = dynamodb(self.dynamodb.url)
        self.tables = [Table(client, f"Analyses{number}") for number in range(1, _TABLES + 1)]
        self.make_queues()
        self.writer = Writer(self.tables, self.ledger, self._rng, rate=self.scale.rate, items=_ITEMS)
        self.writer.begin()
        self.owners_watch = OwnersWatch(
            client, [table.name for table in self.tables], frozenset(self.crew.workers), _LATE_S
        )

    def _begin(self) -> None:
        for worker in self.workers.values():
            worker.start()
        self.until_ready()
        ports = lambda: (self.dynamodb.port, self.sqs.port)  # noqa: E731 - one that is restarted keeps its port
        self.machine = MachineWatch(ports, frozenset(self.crew.workers), late_s=_LATE_S)
        self.memory = Memory(list(self.workers.values()), self.scale.footprint_every_s)
        for loop in (self.writer, *self.consumers, self.owners_watch, self.machine, self.memory):
            loop.start()

    def _worker(self, number: int) -> Worker:
        own = credentials("us-east-1", "test")
        if number in self.crew.renewing:
            own = {**ISOLATION, "AWS_REGION": "us-east-1"}
            own["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = self.credentials.url(number)
        means = Means(self.folder, tuple(map(self._config, self.tables)), own, number in self.crew.clocks)
        ports = {
            Service.LEASES: self.dynamodb.port,
            Service.STREAMS: self.dynamodb.port,
            Service.QUEUES: self.sqs.port,
        }
        return Worker(number, means, ports)

    def _config(self, table: Table) -> Path:
        path = self.folder / f"{table.name}.toml"
        path.write_text(_CONFIG.format(table=table.name), encoding="utf-8")
        return path

    # --- what faults need ---

    def some(self, fault: Fault) -> list[Worker]:
        """The workers whom it hits."""
        return [self.workers[number] for number in fault.workers]

    def aimed(self, fault: Fault) -> Fault:
        """The fault at the one who holds the shard that it is meant for."""
        if fault.table is None:
            return fault
        return fault.aimed(self.owners_watch.owners.now(self.tables[fault.table].name), self.crew)

    def make_queues(self) -> None:
        """The queues, in a server that has none."""
        client = sqs(self.sqs.url)
        fifo = Mailbox(client, "ordered.fifo", FifoQueue="true")
        every, dead = Mailbox(client, "every"), Mailbox(client, "dead")
        if not self.consumers:
            self.consumers = [Consumer(fifo, self.ledger), Consumer(every, self.ledger), Consumer(dead, None)]

    @contextmanager
    def consumers_held(self) -> Iterator[None]:
        with ExitStack() as stack:
            for consumer in self.consumers:
                stack.enter_context(consumer.held())
            yield

    def empty_queues(self) -> None:
        """By the caller's own hand: the consumers must be held."""
        while sum(consumer.receive() for consumer in self.consumers):
            pass

    # --- the end ---

    def until_ready(self) -> None:
        """Waits until every worker runs and is ready."""
        wait_until(lambda: not self.not_ready(), lambda: "\n".join(self.not_ready()), _READY_S)

    def not_ready(self) -> list[str]:
        """Who is not, and why."""
        said = []
        for worker in self.workers.values():
            why = worker.why_not_ready() if worker.running else "does not run"
            if why:
                said.append(f"worker {worker.number}: {why}")
        return said

    def until_delivered(self, at_most_s: float) -> None:
        """Waits until everything that was written has reached every queue, or nothing more is to be expected."""
        wait_until(lambda: not any(self.ledger.missing().values()), lambda: "not all arrived", at_most_s)

    def silent_loops(self) -> Sequence[str]:
        """The test's own threads that have failed."""
        loops = (self.writer, *self.consumers, self.owners_watch, self.machine, self.memory)
        return [f"{loop.name}: {loop.failure!r}" for loop in loops if loop.failure is not None]


def _database() -> Path:
    """A folder in memory where there is one: on a disk each write waits for it, leases of six workers among them."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="chaos-", dir=memory if os.access(memory, os.W_OK) else None))
