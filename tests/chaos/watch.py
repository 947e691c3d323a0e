"""Who looks on: the owners in the lease tables, how busy the machine is, how much the workers hold."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from tests.chaos.oracle import Owners, Spell
from tests.chaos.traffic import Loop
from tests.chaos.worker import Footprint, Worker, now_ms

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_LOOK_S: Final = 0.5
_OWNER: Final = re.compile(r"^worker-(\d+):")


class OwnersWatch(Loop):
    """Looks at the lease tables as a bystander. `spells`: when such a look took longer than `late_s`."""

    def __init__(self, client: DynamoDBClient, tables: Sequence[str], everybody: frozenset[int], late_s: float) -> None:
        super().__init__("owners")
        self.owners = Owners()
        self.spells: list[Spell] = []
        self._everybody = everybody
        self._late_s = late_s
        self._client = client
        self._tables = tables

    def work(self) -> None:
        for table in self._tables:
            began_ms = now_ms()
            try:
                rows = self._client.scan(TableName=f"{table}-leases")["Items"]
            except (BotoCoreError, ClientError, OSError):
                continue  # not made yet, or its server is away
            if now_ms() - began_ms > 1000 * self._late_s:
                self.spells.append(Spell(began_ms, now_ms(), "busy machine", self._everybody))
            for row in rows:
                owner = _OWNER.match(row.get("leaseOwner", {}).get("S", ""))
                if owner is not None:
                    self.owners.note(table, int(owner[1]), now_ms())
        self.pause(_LOOK_S)


class MachineWatch(Loop):
    """Notes when this machine or the servers on it were so busy that time-outs were to be expected.

    Those are spells for all workers: others may use the machine, and what follows from that is no worker's fault.
    """

    def __init__(self, ports: Callable[[], Sequence[int]], everybody: frozenset[int], late_s: float) -> None:
        super().__init__("machine")
        self.spells: list[Spell] = []
        self._ports = ports
        self._everybody = everybody
        self._late_s = late_s

    def work(self) -> None:
        began, began_ms = time.monotonic(), now_ms()
        self.pause(_LOOK_S / 2)
        for port in self._ports():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                connection.request("GET", "/")
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
        if time.monotonic() - began - _LOOK_S / 2 > self._late_s:
            self.spells.append(Spell(began_ms, now_ms(), "busy machine", self._everybody))


class Memory(Loop):
    """Takes the footprint of workers every few seconds, of each life apart."""

    def __init__(self, workers: Sequence[Worker], every_s: float) -> None:
        super().__init__("memory")
        self.lives: dict[tuple[int, int], list[tuple[float, Footprint]]] = {}
        self._workers = workers
        self._every_s = every_s
        self._began = time.monotonic()

    def work(self) -> None:
        self.look()
        self.pause(self._every_s)

    def look(self) -> None:
        for worker in self._workers:
            try:
                life = (worker.number, worker.daemon.process.pid)
                footprint = worker.footprint()
            except (OSError, AssertionError):
                continue  # it is ending at this very moment
            self.lives.setdefault(life, []).append((time.monotonic() - self._began, footprint))
