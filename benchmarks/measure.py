"""One contestant on one workload, against a fresh stand-in; what it took, as figures by name.

A name carries its unit: `cpu_s_per_million`, `latency_p99_ms`, `memory_mib`. Start and steady state are told apart:
what is called CPU here begins with the first GetRecords, or with the measured time.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any, Final

from benchmarks.contestants import Contestant
from benchmarks.machine import cores, cpu_s, memory_bytes, pinned
from benchmarks.server import QUEUE, ROOT, StandIn
from benchmarks.workloads import Kind, Workload
from tests.servers import DynamoDbLocal

Figures = dict[str, float]
Stats = dict[str, Any]

_GIVE_UP_S: Final = 600.0
_LOOK_EVERY_S: Final = 0.05
# What a start leaves behind (leases taken, connections made) is over by then.
_SETTLE_S: Final = 4.0
# What several processes need until they have shared the shards: the others find the first one's leases at a look.
_SHARE_S: Final = 20.0
# How long the last messages of a live workload may take to arrive.
_LAST_MESSAGES_S: Final = 20.0
_STOP_S: Final = 15.0
_MINUTE_S: Final = 60.0
_SAID_MAX: Final = 4_000
LEASE_WRITES: Final = ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems")


def measure(contestant: Contestant, workload: Workload) -> Figures:
    """Contestant and stand-in have a core each, where there are two; several processes have all there are."""
    own, other = cores()
    used = (own,) if contestant.processes == 1 else (own, other)
    with ExitStack() as around:
        around.enter_context(pinned(other))
        arguments = [*workload.arguments(), "-queues", QUEUE]
        if contestant.leases_elsewhere:
            folder = Path(around.enter_context(TemporaryDirectory()))
            arguments += ["-dynamodb", around.enter_context(DynamoDbLocal(folder)).url]
        run = Run(
            contestant, workload, around.enter_context(StandIn(arguments)), used, around.enter_context(TemporaryFile())
        )
        match workload.kind:
            case Kind.BACKLOG:
                return _backlog(run)
            case Kind.LIVE:
                return _live(run)
            case Kind.START:
                return _start(run)
            case Kind.SINK_STOPPED:
                return _sink_stopped(run)


class FailedError(Exception):
    """A contestant did not do its work. What it said last is in the message."""


class Run:
    """A contestant at work, and the stand-in that watches it."""

    def __init__(
        self,
        contestant: Contestant,
        workload: Workload,
        standin: StandIn,
        cores: tuple[int | None, ...],
        log: IO[bytes],
    ) -> None:
        self.contestant = contestant
        self.workload = workload
        self.standin = standin
        self._cores = cores
        self._process: subprocess.Popen[bytes] | None = None
        self._log = log
        self.began_s = 0.0

    @contextmanager
    def process(self) -> Iterator[int]:
        """Runs as long as the block lasts; gives its id. The stand-in knows from then on whose CPU time to look at."""
        command = self.contestant.command(self.standin.url, self.standin.stream_arn, self.workload)
        self.began_s = time.time()
        with pinned(*self._cores):
            self._process = process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.contestant.environment(self.standin.url, self.workload),
                stdout=subprocess.DEVNULL,
                stderr=self._log,
            )
        try:
            self.standin.do("watch", pid=process.pid)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def until(self, condition: Callable[[Stats], bool], timeout_s: float = _GIVE_UP_S) -> Stats:
        """What the stand-in has seen, once it is so."""
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while not condition(stats := self.standin.stats()):
            if self._process.poll() is not None:
                raise self._failed(f"exit code {self._process.returncode}", stats)
            if time.monotonic() > deadline:
                raise self._failed(f"not done after {timeout_s:g} s", stats)
            time.sleep(_LOOK_EVERY_S)
        return stats

    def _failed(self, how: str, stats: Stats) -> FailedError:
        self._log.seek(0)
        said = self._log.read()[-_SAID_MAX:].decode(errors="replace")
        return FailedError(f"{self.contestant.name} on {self.workload.name}: {how}; {stats}\n{said}")

    def settle(self) -> None:
        """Until every shard is read."""
        self.until(lambda stats: stats["unpolled"] == 0, self.contestant.start_timeout_s)
        time.sleep(_SETTLE_S if self.contestant.processes == 1 else _SHARE_S)


# --- the kinds of workloads -------------------------------------------------------------------------------------------


def _backlog(run: Run) -> Figures:
    """From the first GetRecords until all shards are read to their ends and all matches have arrived."""
    shared = run.contestant.processes > 1
    if shared:
        run.standin.do("hold")
    with run.process() as pid:
        if shared:
            run.settle()
            run.standin.do("give")
        stats = run.until(lambda stats: stats["done_s"] is not None)
        memory = memory_bytes(pid)
    cpu = stats["done_cpu_s"] - stats["first_read_cpu_s"]
    wall_s = stats["done_s"] - stats["first_read_s"]
    messages = stats["taken"][QUEUE]
    figures = {
        "cpu_s": cpu,
        "cpu_s_per_million": cpu / stats["records"] * 1e6,
        "records_per_s": stats["records"] / wall_s,
        "messages_per_s": messages / wall_s,
        "start_cpu_s": stats["first_read_cpu_s"],
        "memory_mib": memory / 2**20,
        "standin_cpu_share": stats["cpu_s"] / wall_s,
        "verbatim_share": stats["verbatim"] / messages if messages else 1.0,
        "repeated": stats["repeated"],
    }
    if messages:
        if not shared:
            figures["first_delivery_s"] = stats["first_s"] - run.began_s
        figures["cpu_s_per_million_messages"] = cpu / messages * 1e6
    return figures | _calls(stats)


def _live(run: Run) -> Figures:
    """For some seconds, once every shard is read; then the last messages are waited for, and none may be missing."""
    with run.process() as pid:
        run.settle()
        run.standin.do("begin")
        cpu_before_s, began = cpu_s(pid), time.monotonic()
        time.sleep(run.workload.seconds)
        cpu, seconds, stats = cpu_s(pid) - cpu_before_s, time.monotonic() - began, run.standin.stats()
        memory = memory_bytes(pid)
        run.standin.do("end")
        after = run.until(lambda stats: stats["distinct"] >= stats["expected"], _LAST_MESSAGES_S)
    writes = sum(stats["calls"].get(name, 0) for name in LEASE_WRITES)
    figures = {
        "cpu_share": cpu / seconds,
        "polls_per_shard_s": stats["calls"].get("GetRecords", 0) / run.workload.shards / seconds,
        "lease_writes_per_minute": writes / seconds * _MINUTE_S,
        "memory_mib": memory / 2**20,
        "standin_cpu_share": stats["cpu_s"] / seconds,
        "repeated": after["repeated"],
    }
    if after["taken"][QUEUE]:
        figures |= {f"latency_{name}_ms": value for name, value in after["latency_ms"].items()}
    return figures | _calls(stats)


def _start(run: Run) -> Figures:
    """The second start: tables and rows are there."""
    with run.process():
        run.settle()
        run.standin.do("begin")
        run.until(lambda stats: stats["distinct"] > 0)
    run.standin.do("reset")
    with run.process():
        stats = run.until(lambda stats: stats["first_s"] is not None, run.contestant.start_timeout_s)
    return {
        "first_delivery_s": stats["first_s"] - run.began_s,
        "first_read_s": stats["first_read_s"] - run.began_s,
        "start_cpu_s": stats["first_read_cpu_s"],
    }


def _sink_stopped(run: Run) -> Figures:
    """The queue answers with 503 from the beginning."""
    run.standin.do("stop-sink")
    with run.process() as pid:
        run.until(lambda stats: stats["first_read_s"] is not None, run.contestant.start_timeout_s)
        time.sleep(run.workload.seconds)
        stats = run.until(lambda _: run.alive)  # it may have given up, which is no way to spare memory
        return {"memory_mib": memory_bytes(pid) / 2**20, "records": stats["records"]} | _calls(stats)


def _calls(stats: Stats) -> Figures:
    return {f"calls_{name}": number for name, number in sorted(stats["calls"].items())}
