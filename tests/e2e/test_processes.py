"""`poller run --processes 2`: two workers that the world sees as one, started, asked, stopped and killed.

The processes are before a stand-in, which says which worker did what.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError

import pytest

from tests.e2e.daemon import Daemon, wait_until
from tests.standin import Fault, Kind, Remote, StandInProcess

# A worker's promise for its leaving.
BOUND_S = 10.0
SHARDS = 4
SETTINGS = {
    "POLLER_LEASE__DURATION": "3s",
    "POLLER_AWS__REQUEST_TIMEOUT": "900ms",
    "POLLER_AWS__CONNECT_TIMEOUT": "900ms",
    "POLLER_CHECKPOINT__INTERVAL": "200ms",
    "POLLER_POLLING__IDLE_MIN": "50ms",
    "POLLER_POLLING__IDLE_MAX": "100ms",
}


class Pair:
    """A table with some shards and its queues, and two workers with their parent, not started yet."""

    def __init__(self, remote: Remote, table: str, folder: Path, **settings: str) -> None:
        self.remote = remote
        self.table = table
        self.queue = f"{table}-jobs"
        self.shards = remote.stream(table, shards=SHARDS).shards
        for queue in (self.queue, f"{table}-dead"):
            remote.queue(queue)
        names = {"POLLER_TABLE": table, "POLLER_QUEUE": self.queue, "POLLER_DEAD_LETTER_QUEUE": f"{table}-dead"}
        environment = {**remote.env(table), **SETTINGS, **names, **settings}
        self.daemon = Daemon(environment, folder / f"{table}.jsonl", ("--processes", "2"))

    def upload(self, name: str) -> set[str]:
        """A change in each shard; the items."""
        for number, shard in enumerate(self.shards):
            image = {"phase": {"S": "FILE_UPLOAD_COMPLETE"}}
            self.remote.put(self.table, shard, {"key": f"{name}-{number}", "new_image": image})
        return {f"{name}-{number}" for number in range(SHARDS)}

    def received(self) -> set[str]:
        bodies = (json.loads(arrival.body) for arrival in self.remote.arrived(self.queue))
        return {body["dynamodb"]["Keys"]["analysisRequestId"]["S"] for body in bodies}

    def until_received(self, items: set[str]) -> None:
        wait_until(lambda: items <= self.received(), lambda: f"only {self.received()}\n{self.daemon.tail()}")

    def owners(self) -> list[str]:
        rows = self.remote.rows(f"{self.table}-leases").values()
        return [row["leaseOwner"]["S"] for row in rows if "leaseOwner" in row]

    def until_shared(self) -> None:
        """Waits until each of the two has half of the shards."""
        self.daemon.wait_for("daemon_ready", 2)
        wait_until(
            lambda: sorted(self.owners().count(one) for one in set(self.owners())) == [SHARDS // 2] * 2,
            lambda: f"{self.owners()}\n{self.daemon.tail()}",
        )

    def pids(self) -> list[int]:
        """The workers', by their numbers."""
        started = {event["child"]: event["pid"] for event in self.daemon.events("process_started")}
        return [started[number] for number in sorted(started)]

    def said(self, name: str) -> list[tuple[int, Any]]:
        """Who has said this, and with which reason."""
        return sorted((event["process"], event.get("reason")) for event in self.daemon.events(name))

    def get(self, page: str) -> tuple[int, str]:
        try:
            return 200, self.daemon.get(page)
        except HTTPError as error:
            return error.code, error.read().decode()


def alive(pid: int) -> bool:
    """Is it there, and no zombie?"""
    with suppress(FileNotFoundError):
        return not re.search(r"^State:\s+Z", Path(f"/proc/{pid}/status").read_text("ascii"), re.MULTILINE)
    return False


def text_of(daemon: Daemon) -> list[str]:
    """What is in its output and is no line of its log."""
    return [line for line in daemon.log.read_text("utf-8").splitlines() if not line.startswith("{")]


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with StandInProcess() as remote:
        yield remote


class Shared(NamedTuple):
    """What was seen of two workers from their start to their common end."""

    livez: tuple[int, str]
    healthcheck: int
    status: dict[str, Any]
    metrics: str
    frozen: tuple[int, str]
    frozen_s: float
    frozen_verdict: dict[str, str]
    code: int
    seconds: float


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("together")


def live_together(pair: Pair) -> Shared:
    """Reads all shards, freezes one worker for a moment, and ends all as systemd does: everyone is signalled."""
    first = pair.upload("first")
    with pair.daemon as daemon:
        pair.until_shared()
        pair.until_received(first | pair.upload("second"))
        wait_until(lambda: pair.get("/readyz")[0] == 200, lambda: f"{pair.get('/readyz')}")
        url = daemon.events("http_listening")[0]["url"]
        health = subprocess.run([sys.executable, "-m", "poller", "healthcheck", "--url", url], check=False, timeout=60)
        livez, metrics, status = pair.get("/livez"), daemon.get("/metrics"), daemon.get("/status")
        workers = pair.pids()
        os.kill(workers[1], signal.SIGSTOP)
        began = time.monotonic()
        frozen = pair.get("/livez")
        frozen_s = time.monotonic() - began
        frozen_status = pair.get("/status")[1]
        os.kill(workers[1], signal.SIGCONT)
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        code, seconds = daemon.terminate()
    frozen_verdict = json.loads(frozen_status)["verdict"]
    return Shared(
        livez, health.returncode, json.loads(status), metrics, frozen, frozen_s, frozen_verdict, code, seconds
    )


@pytest.fixture(scope="module")
def pair(remote: Remote, folder: Path) -> Pair:
    return Pair(remote, "Together", folder)


@pytest.fixture(scope="module", autouse=True)
def together(pair: Pair) -> Iterator[Future[Shared]]:
    """It is mostly waiting, for leases to be handed over and to be asked for: the other tests run meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(live_together, pair)


def test_when_one_is_killed_the_other_leaves_in_order_and_the_exit_code_is_1(remote: Remote, tmp_path: Path) -> None:
    pair = Pair(remote, "Killed", tmp_path)
    with pair.daemon as daemon:
        daemon.wait_for("daemon_ready", 2)
        _, other = pair.pids()
        os.kill(other, signal.SIGKILL)
        code = daemon.process.wait(60)

    assert (code, text_of(daemon)) == (1, [])
    assert [(one["child"], one["pid"], one["by"]) for one in daemon.events("process_ended")] == [(2, other, "SIGKILL")]
    assert pair.said("daemon_stopping") == [(0, "process 2 has ended"), (1, "process 2 has ended")]
    assert [(one["process"], one["clean"]) for one in daemon.events("daemon_stopped")] == [(1, True), (0, False)]
    [left] = [one["worker_id"] for one in daemon.events("daemon_starting") if one["process"] == 1]
    assert left not in pair.owners()


def test_when_the_parent_is_killed_the_workers_leave_in_order(remote: Remote, tmp_path: Path) -> None:
    pair = Pair(remote, "Orphans", tmp_path)
    with pair.daemon as daemon:
        daemon.wait_for("daemon_ready", 2)
        pids = pair.pids()
        daemon.kill()
    wait_until(lambda: not any(map(alive, pids)), daemon.tail)

    assert pair.said("daemon_stopping") == [(1, "the parent process is gone"), (2, "the parent process is gone")]
    assert [one["clean"] for one in daemon.events("daemon_stopped")] == [True, True]
    assert (pair.owners(), text_of(daemon)) == ([], [])


def test_a_second_signal_ends_all_at_once_with_1(remote: Remote, tmp_path: Path) -> None:
    pair = Pair(remote, "Twice", tmp_path)
    remote.fault(Fault(Kind.HANG, operation="SendMessageBatch", access_key=pair.table))
    pair.upload("stuck")
    with pair.daemon as daemon:
        wait_until(lambda: remote.count("SendMessageBatch", "hang") > 0, daemon.tail)
        pids = pair.pids()
        daemon.process.send_signal(signal.SIGINT)
        daemon.wait_for("daemon_stopping")
        daemon.process.send_signal(signal.SIGINT)
        code = daemon.process.wait(60)
    wait_until(lambda: not any(map(alive, pids)), daemon.tail)

    assert code == 1
    assert daemon.events("daemon_stopped") == []


def test_a_signal_before_anything_is_found_is_no_accident(remote: Remote, tmp_path: Path) -> None:
    pair = Pair(remote, "Early", tmp_path)
    with pair.daemon as daemon:
        daemon.wait_for("process_started")
        code, seconds = daemon.terminate()

    assert (code, text_of(daemon)) == (0, [])
    assert seconds < BOUND_S
    assert len(pair.pids()) == 1


def test_a_wrong_queue_is_said_once_and_only_one_worker_is_started(remote: Remote, tmp_path: Path) -> None:
    pair = Pair(remote, "Wrong", tmp_path, POLLER_QUEUE="no-such-queue")
    with pair.daemon as daemon:
        code = daemon.process.wait(60)

    [line] = text_of(daemon)
    assert code == 2
    assert line.startswith("poller: ")
    assert "no-such-queue" in line
    assert len(daemon.events("process_started")) == 1
    assert daemon.events("process_ended") == []


@pytest.mark.parametrize("wrong", ["POLLER_TABEL", "POLLER_FILTER"])
def test_a_setting_that_cannot_be_is_said_once_and_nothing_is_started(
    wrong: str, remote: Remote, tmp_path: Path
) -> None:
    pair = Pair(remote, "Typo", tmp_path, **{wrong: '{"eventName": "MODIFY"}'})
    with pair.daemon as daemon:
        code = daemon.process.wait(60)

    [line] = text_of(daemon)
    assert code == 2
    assert wrong in line
    assert daemon.events() == []


def test_two_workers_share_the_shards_behind_one_port(together: Future[Shared], pair: Pair, promtool: str) -> None:
    seen = together.result()
    delivered = re.findall(r'^poller_records_delivered_total\{process="(\d)",.*\} (\S+)$', seen.metrics, re.MULTILINE)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=seen.metrics.encode(), capture_output=True, check=False
    )

    assert seen.livez == (200, "ok\n")
    assert seen.healthcheck == 0
    assert {number for number, count in delivered if float(count) > 0} == {"1", "2"}
    assert sum(float(count) for _, count in delivered) == 2 * SHARDS
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
    assert (seen.status["ready"], seen.status["verdict"]["level"]) == (True, "ok")
    assert seen.status["verdict"]["text"].startswith("Both processes are well. Process 1: ")
    processes = seen.status["processes"]
    for number, process in enumerate(processes, start=1):
        assert (process["process"], process["up"], process["status"]["ready"]) == (number, True, True)
    assert {process["status"]["worker_id"] for process in processes} == {
        event["worker_id"] for event in pair.daemon.events("daemon_starting")
    }
    assert [event["process"] for event in pair.daemon.events("http_listening")] == [0]


def test_one_that_is_frozen_fails_the_liveness_of_all_within_its_bound(together: Future[Shared]) -> None:
    assert together.result().frozen == (503, "process 2 does not answer\n")
    assert together.result().frozen_s < 4.0
    verdict = together.result().frozen_verdict
    assert verdict["level"] == "trouble"
    assert re.match(r"Process 2: It has not answered for [0-9.]+ s: ", verdict["text"])


def test_a_signal_to_everyone_ends_all_of_them_in_order_and_in_time(together: Future[Shared], pair: Pair) -> None:
    seen = together.result()
    stopped = [(event["process"], event["clean"]) for event in pair.daemon.events("daemon_stopped")]

    assert (seen.code, text_of(pair.daemon), pair.owners()) == (0, [], [])
    assert seen.seconds < BOUND_S
    assert sorted(stopped) == [(0, True), (1, True), (2, True)]
    assert stopped[-1] == (0, True)
    assert pair.daemon.events("process_ended") == []
