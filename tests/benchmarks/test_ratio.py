"""What must never become slow unseen. Only a ratio within one run counts, and with a wide margin: machines differ."""

from __future__ import annotations

import subprocess
import time

from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.machine import cpu_s
from benchmarks.server import QUEUE, ROOT, TABLE
from benchmarks.workloads import Kind, Workload
from tests.standin.remote import StandInProcess

WORKLOAD = Workload("small", Kind.BACKLOG, shards=4, records=5_000, match_percent=1.0)
GIVE_UP_S = 120.0


def cpu_of(contestant: Contestant) -> float:
    """CPU seconds, those of its start included, until the queue has all that matches."""
    backlog = f"{WORKLOAD.shards}:{WORKLOAD.records}"
    flags = ("--table", TABLE, "--queue", QUEUE, "--discard", "--backlog", backlog)
    with StandInProcess(*flags, "--match-percent", f"{WORKLOAD.match_percent}") as remote:
        process = subprocess.Popen(
            contestant.command(remote.url, "", WORKLOAD),
            cwd=ROOT,
            env=contestant.environment(remote.url, WORKLOAD),
            stdout=subprocess.DEVNULL,
        )
        try:
            give_up = time.monotonic() + GIVE_UP_S
            while remote.stats()["taken"][QUEUE] < WORKLOAD.expected:
                assert process.poll() is None, f"{contestant.name} ended with exit code {process.returncode}"
                assert time.monotonic() < give_up, remote.stats()
                time.sleep(0.02)
            return cpu_s(process.pid)
        finally:
            process.kill()
            process.wait()


def test_the_daemon_spends_less_cpu_on_a_backlog_than_a_plain_boto3_loop() -> None:
    assert cpu_of(CONTESTANTS["poller"]) < cpu_of(CONTESTANTS["boto3"])
