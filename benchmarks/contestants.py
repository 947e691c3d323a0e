"""Who takes part: how each is started and told what to do, and what it lacks here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.server import QUEUE, ROOT, TABLE
from benchmarks.workloads import Workload
from tests.standin.world import environment

REGION: Final = "us-east-1"
_POLLS_A_SECOND_MAX: Final = 1000  # the stand-in throttles nobody; a limiter would only measure itself


@dataclass(frozen=True)
class Contestant:
    """`missing()` says why it cannot take part, "" if it can. `settings` are its variables for a workload."""

    name: str
    command: Callable[[], list[str]]
    settings: Callable[[Workload], Mapping[str, str]]
    missing: Callable[[], str] = lambda: ""
    start_timeout_s: float = 30.0

    def environment(self, url: str, workload: Workload) -> dict[str, str]:
        """Everything: nothing of this machine's settings gets in."""
        return {"PATH": os.environ["PATH"], **environment(url, REGION, "test"), **self.settings(workload)}


def _poller(*, calls: str | None) -> Contestant:
    own = {} if calls is None else {"POLLER_AWS__CALLS": calls}

    def settings(workload: Workload) -> Mapping[str, str]:
        return {
            "POLLER_TABLE": TABLE,
            "POLLER_QUEUE": QUEUE,
            "POLLER_HTTP_PORT": "0",
            "POLLER_POLLING__IDLE_MIN": f"{workload.pause_s * 1000:g}ms",
            "POLLER_POLLING__IDLE_MAX": f"{workload.idle_s * 1000:g}ms",
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
    return Contestant(name, lambda: [sys.executable, "-m", "poller", "run"], settings, missing if own else lambda: "")


def _boto3_loop() -> Contestant:
    def settings(workload: Workload) -> Mapping[str, str]:
        return {"BENCH_TABLE": TABLE, "BENCH_QUEUE": QUEUE, "BENCH_PAUSE_S": f"{workload.pause_s:g}"}

    return Contestant("boto3", lambda: [sys.executable, "-m", "benchmarks.boto3_loop"], settings)


CONTESTANTS: Final = {one.name: one for one in (_poller(calls=None), _poller(calls="boto3"), _boto3_loop())}
