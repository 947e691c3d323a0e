"""Who takes part: how each is started and told what to do, and what it lacks here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks import kcl
from benchmarks.server import QUEUE, ROOT, TABLE, build
from benchmarks.workloads import Kind, Workload
from tests.standin.world import environment

REGION: Final = "us-east-1"
_HELD_PAUSE_S: Final = 0.02
_POLLS_A_SECOND_MAX: Final = 1000  # the stand-in throttles nobody; a limiter would only measure itself


@dataclass(frozen=True)
class Contestant:
    """`command` is made of the stand-in's address, the stream's ARN and the workload; `settings` are its variables.

    `missing()` says why it cannot take part, "" if it can. `leases_elsewhere`: it asks more of its lease table than the
    stand-in knows, which passes those calls on to DynamoDB Local. With more than one of `processes` it is not kept to
    one core, and begins when they have shared the shards. `slow`: one round must do.
    """

    name: str
    command: Callable[[str, str, Workload], list[str]]
    settings: Callable[[Workload], Mapping[str, str]] = lambda _: {}
    missing: Callable[[], str] = lambda: ""
    start_timeout_s: float = 60.0
    leases_elsewhere: bool = False
    processes: int = 1
    slow: bool = False

    def environment(self, url: str, workload: Workload) -> dict[str, str]:
        """Everything: nothing of this machine's settings gets in."""
        return {"PATH": os.environ["PATH"], **environment(url, REGION, "test"), **self.settings(workload)}

    def profiled(self, file: str) -> Contestant:
        """The same under cProfile, if it is in Python. The costs that are measured are then those of profiling, too."""

        def command(url: str, stream_arn: str, workload: Workload) -> list[str]:
            python, *arguments = self.command(url, stream_arn, workload)
            profiler = ["-m", "cProfile", "-o", str(Path(file).absolute())] if python == sys.executable else []
            return [python, *profiler, *arguments]

        return replace(self, command=command)


def _poller(*, calls: str | None = None, processes: int = 1) -> Contestant:
    own = {} if calls is None else {"POLLER_AWS__CALLS": calls}

    def settings(workload: Workload) -> Mapping[str, str]:
        pause_s, idle_s = workload.pause_s, workload.idle_s
        if processes > 1 and workload.kind is Kind.BACKLOG:
            pause_s = idle_s = _HELD_PAUSE_S  # its shards are idle until the backlog is given out
        return {
            "POLLER_TABLE": TABLE,
            "POLLER_QUEUE": QUEUE,
            "POLLER_HTTP_PORT": "0",
            "POLLER_POLLING__IDLE_MIN": f"{pause_s * 1000:g}ms",
            "POLLER_POLLING__IDLE_MAX": f"{idle_s * 1000:g}ms",
            "POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD": str(_POLLS_A_SECOND_MAX),
            **own,
        }

    def missing() -> str:
        shown = subprocess.run(
            [sys.executable, "-m", "poller", "config", "show"],
            cwd=ROOT,
            env={**os.environ, "POLLER_TABLE": TABLE, "POLLER_QUEUE": QUEUE, **own},
            capture_output=True,
            text=True,
            check=False,
        )
        return "" if shown.returncode == 0 else f"the daemon refuses it: {shown.stderr.strip()}"

    name = "poller" if calls is None else f"poller-{calls}"
    command = [sys.executable, "-m", "poller", "run"]
    if processes > 1:
        name += f"-{processes}"
        command += ["--processes", str(processes)]
    return Contestant(name, lambda *_: command, settings, missing if own else lambda: "", processes=processes)


def _boto3_loop() -> Contestant:
    def settings(workload: Workload) -> Mapping[str, str]:
        return {"BENCH_TABLE": TABLE, "BENCH_QUEUE": QUEUE, "BENCH_PAUSE_S": f"{workload.pause_s:g}"}

    return Contestant("boto3", lambda *_: [sys.executable, "-m", "benchmarks.boto3_loop"], settings, slow=True)


def _limit() -> Contestant:
    """The stand-in's own client: what no program can be much faster than, and what the stand-in can serve."""

    def command(url: str, stream_arn: str, workload: Workload) -> list[str]:
        pause = f"{workload.pause_s:g}s"
        return [str(build()), "-drive", url, "-stream", stream_arn, "-queues", QUEUE, "-pause", pause]

    return Contestant("limit", command)


def _kcl() -> Contestant:
    return Contestant("kcl", kcl.command, missing=kcl.missing, start_timeout_s=240.0, leases_elsewhere=True, slow=True)


CONTESTANTS: Final = {
    one.name: one for one in (_poller(), _poller(processes=2), _poller(calls="boto3"), _boto3_loop(), _kcl(), _limit())
}
