"""A fleet of daemons on the stand-in: each a process with an access key of its own, by which the stand-in's log tells
who did what. Beside it the stream's writer, whose shards roll and split meanwhile.
"""

from __future__ import annotations

import itertools
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.daemon import Daemon
from tests.standin import Remote
from tests.standin.records import MATCHING_PHASE, OTHER_PHASE

TABLE = "AnalysisMetadataTable"
LEASES = f"{TABLE}-leases"


@dataclass
class Copy:
    """One worker. `key` is its access key, and what its name in the lease rows begins with."""

    key: str
    daemon: Daemon
    frozen: bool = False


@dataclass(frozen=True)
class Incident:
    """Something after which records may be sent a second time: a worker was killed, or frozen until `over_s`.

    Times are on the monotonic clock, which all processes of a machine share.
    """

    key: str
    at_s: float
    over_s: float

    @property
    def killed(self) -> bool:
        return self.over_s == self.at_s


class Fleet:
    """Workers that come and go. `settings` are the environment of each."""

    def __init__(self, remote: Remote, settings: Mapping[str, str], logs: Path) -> None:
        self.remote = remote
        self.copies: dict[str, Copy] = {}
        self.past: list[Copy] = []
        self.incidents: list[Incident] = []
        self.exits: list[tuple[str, int, float]] = []
        self._settings = settings
        self._logs = logs
        self._numbers = itertools.count(1)
        self._leaving: dict[str, Future[tuple[int, float]]] = {}
        self.frozen_at: dict[str, float] = {}
        self._waiters = ThreadPoolExecutor(16)

    def join(self) -> Copy:
        """Another worker; it is a second until it has read what it is to do."""
        key = f"worker-{next(self._numbers):02}"
        environment = {**self._settings, **self.remote.env(key), "POLLER_WORKER_ID": key}
        copy = self.copies[key] = Copy(key, Daemon(environment, self._logs / f"{key}.jsonl"))
        copy.daemon.start()
        return copy

    def leave(self, copy: Copy) -> None:
        """SIGTERM; `exits` has its code and its seconds once `gather` was called."""
        self._retire(copy)
        self._leaving[copy.key] = self._waiters.submit(copy.daemon.terminate)

    def kill(self, copy: Copy) -> None:
        """kill -9."""
        self._retire(copy)
        copy.daemon.kill()
        now = time.monotonic()
        self.incidents.append(Incident(copy.key, now, now))

    def freeze(self, copy: Copy) -> None:
        """SIGSTOP."""
        copy.frozen = True
        copy.daemon.process.send_signal(signal.SIGSTOP)
        self.frozen_at[copy.key] = time.monotonic()

    def wake(self, copy: Copy) -> None:
        """SIGCONT."""
        self.incidents.append(Incident(copy.key, self.frozen_at.pop(copy.key), time.monotonic()))
        copy.daemon.process.send_signal(signal.SIGCONT)
        copy.frozen = False

    def gather(self) -> None:
        """Waits for those that leave."""
        for key, leaving in self._leaving.items():
            code, seconds = leaving.result()
            self.exits.append((key, code, seconds))
        self._leaving.clear()

    def end(self) -> None:
        """Kills whoever is left."""
        for copy in self.copies.values():
            copy.daemon.kill()
        self.copies.clear()
        self._waiters.shutdown()

    def _retire(self, copy: Copy) -> None:
        del self.copies[copy.key]
        self.past.append(copy)

    @property
    def awake(self) -> list[Copy]:
        return [copy for copy in self.copies.values() if not copy.frozen]

    # --- what is seen of them ---

    def said(self, event: str) -> list[tuple[str, dict[str, Any]]]:
        """What all workers that there ever were have logged of an event, each with its worker's access key."""
        everybody = [*self.past, *self.copies.values()]
        return [(copy.key, said) for copy in everybody for said in copy.daemon.events(event)]

    def dead(self) -> list[str]:
        """Workers that have ended by themselves."""
        return [copy.key for copy in self.copies.values() if copy.daemon.process.poll() is not None]

    def loads(self) -> Counter[str]:
        """How many unfinished leases each living worker has; under "" those of others, of nobody, or promised."""
        loads = Counter(dict.fromkeys(self.copies, 0))
        for row in self.remote.rows(LEASES).values():
            if row["checkpoint"]["S"] != "SHARD_END":
                key = owner_key(row)
                loads[key if key in self.copies and "successor" not in row else ""] += 1
        return loads

    def balanced(self, shards: int) -> bool:
        """Each of so many open shards is read by a living worker, and none has two more than another."""
        loads = self.loads()
        unsettled = loads.pop("", 0)
        shares = loads.values()
        return not unsettled and sum(shares) == shards and max(shares) - min(shares) <= 1


def owner_key(row: Mapping[str, Any] | None) -> str:
    """The access key of a lease row's owner; "" if it has none."""
    owner = (row or {}).get("leaseOwner", {}).get("S", "")
    return str(owner).partition(":")[0]


@dataclass
class Line:
    """The items of one shard and of what it rolls into, and the last revision of each."""

    shard: str
    revisions: dict[str, int]


@dataclass
class Writer:
    """Writes to the stream's shards in turn, at a steady pace: some revisions of some items, and changes nobody wants.

    `expected`: item/revision of what must be heard of, in each item's order. `shard_of`: in which shard each of them
    is. A shard and the items in it are a `Line`; when it splits, its items part.
    """

    remote: Remote
    lines: list[Line]
    rng: random.Random
    pause_s: float
    records: int = 8
    expected: list[str] = field(default_factory=list)
    shard_of: dict[str, str] = field(default_factory=dict)
    failure: Exception | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    @classmethod
    def on(cls, remote: Remote, shards: int, rng: random.Random, pause_s: float) -> Writer:
        """A new stream of so many shards, with a few items each."""
        stream = remote.stream(TABLE, shards)
        lines = [
            Line(shard, {f"item-{number:02}{letter}": 0 for letter in "abcd"})
            for number, shard in enumerate(stream.shards)
        ]
        return cls(remote, lines, rng, pause_s)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when the last record is written. Raises what went wrong."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.check()

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def roll(self) -> None:
        """One shard ends, and its items go on in its child."""
        with self._lock:
            line = self.rng.choice(self.lines)
            line.shard = self.remote.roll(TABLE, line.shard)

    def split(self) -> None:
        """One shard ends, and its items go on in two."""
        with self._lock:
            line = self.rng.choice([line for line in self.lines if len(line.revisions) > 1])
            one, other = self.remote.split(TABLE, line.shard)
            halves = list(line.revisions.items())
            middle = len(halves) // 2
            line.shard, line.revisions = one, dict(halves[:middle])
            self.lines.append(Line(other, dict(halves[middle:])))

    def _run(self) -> None:
        try:
            for number in itertools.count():
                if self._stop.is_set():
                    return
                with self._lock:
                    self._write(self.lines[number % len(self.lines)])
                self._stop.wait(self.pause_s)
        except Exception as failure:  # noqa: BLE001 - the test's own thread raises it again
            self.failure = failure

    def _write(self, line: Line) -> None:
        records, names = [], []
        for _ in range(self.records):
            item = self.rng.choice(list(line.revisions))
            wanted = self.rng.random() < 0.8
            if wanted:
                line.revisions[item] += 1
                names.append(f"{item}/{line.revisions[item]}")
            phase = MATCHING_PHASE if wanted else OTHER_PHASE
            image = {"phase": {"S": phase}, "revision": {"N": str(line.revisions[item])}}
            records.append({"key": item, "new_image": image})
        self.remote.put(TABLE, line.shard, *records)
        self.expected += names
        self.shard_of |= dict.fromkeys(names, line.shard)
