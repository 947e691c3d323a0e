"""One contestant of a benchmark: a process against a fresh stand-in, and what it took."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.standin.remote import Remote, StandInProcess

ROOT = Path(__file__).resolve().parents[1]
TABLE, QUEUE = "AnalysisMetadataTable", "analysis-jobs"
_GIVE_UP_S = 300.0
_LOOK_EVERY_S = 0.005


@dataclass(frozen=True)
class Workload:
    """So many shards with so many records each, of which so many percent match."""

    shards: int
    records: int
    match_percent: float
    image_bytes: int = 600

    @property
    def total(self) -> int:
        return self.shards * self.records

    @property
    def matches(self) -> int:
        every = round(100 / self.match_percent)
        return self.shards * (self.records // every)


@dataclass(frozen=True)
class Result:
    """`cpu_s` is user and system time of the whole process, its start included; `first_s` and `wall_s` count from its
    start to the first and to the last delivery; `standin_cpu_s` is the stand-in's own."""

    cpu_s: float
    first_s: float
    wall_s: float
    memory_bytes: int
    standin_cpu_s: float


CONTESTANTS = {
    "poller": ("-m", "poller", "run"),
    "boto3 loop": ("-m", "benchmarks.boto3_loop"),
}
# The stand-in throttles nobody; the limiter would only measure itself.
_SETTINGS = {
    "POLLER_TABLE": TABLE,
    "POLLER_QUEUE": QUEUE,
    "POLLER_HTTP_PORT": "0",
    "POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD": "1000",
}


def run(contestant: str, workload: Workload) -> Result:
    """Runs a contestant until the queue has every match of the backlog."""
    with StandInProcess(*_standin(workload)) as remote:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *CONTESTANTS[contestant]],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **remote.env(), **_SETTINGS},
            stdout=subprocess.DEVNULL,
        )
        try:
            first_s = _wait(remote, 1, began)
            wall_s = _wait(remote, workload.matches, began)
        finally:
            process.send_signal(signal.SIGTERM)
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0  # it has been waited for
        return Result(
            cpu_s=usage.ru_utime + usage.ru_stime,
            first_s=first_s,
            wall_s=wall_s,
            memory_bytes=usage.ru_maxrss * 1024,
            standin_cpu_s=remote.stats()["cpu_s"],
        )


def _standin(workload: Workload) -> Sequence[str]:
    return (
        *("--table", TABLE, "--queue", QUEUE, "--discard"),
        *("--backlog", f"{workload.shards}:{workload.records}"),
        *("--match-percent", str(workload.match_percent), "--image-bytes", str(workload.image_bytes)),
    )


def _wait(remote: Remote, count: int, began: float) -> float:
    """Seconds from the start until the queue has taken so many messages."""
    while remote.stats()["taken"][QUEUE] < count:
        if time.monotonic() - began > _GIVE_UP_S:
            raise TimeoutError(f"{remote.stats()['taken']} of {count} messages after {_GIVE_UP_S:g} s")
        time.sleep(_LOOK_EVERY_S)
    return time.monotonic() - began
