"""The health of a real daemon process: its readiness turns false with each thing that breaks, and true again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.daemon import Daemon, wait_until
from tests.standin import Fault, Kind, Remote, StandInProcess

TABLE = "AnalysisMetadataTable"
LEASES = f"{TABLE}-leases"
SETTINGS = {
    "POLLER_TABLE": TABLE,
    "POLLER_QUEUE": "jobs",
    "POLLER_DEAD_LETTER_QUEUE": "dead-letters",
    "POLLER_LEASE__DURATION": "3s",
    "POLLER_AWS__REQUEST_TIMEOUT": "900ms",
    "POLLER_AWS__CONNECT_TIMEOUT": "900ms",
    "POLLER_CHECKPOINT__INTERVAL": "100ms",
}
# Longer than a loop that turns ever needs, on whatever machine; a frozen one never answers.
PROBE_TIMEOUT_S = 5.0


class Site:
    """A stand-in with a stream of two shards, and a daemon for it that is not started yet."""

    def __init__(self, remote: Remote, log: Path) -> None:
        self.remote = remote
        self.shards = remote.stream(TABLE, shards=2).shards
        remote.queue("jobs")
        remote.queue("dead-letters")
        self.environment = {**remote.env(), **SETTINGS}
        self.daemon = Daemon(self.environment, log)

    def upload(self, item: str, shard: int = 0) -> None:
        image = {"phase": {"S": "FILE_UPLOAD_COMPLETE"}}
        self.remote.put(TABLE, self.shards[shard], {"key": item, "new_image": image})

    def start_again(self, **settings: str) -> None:
        """Another process, with a log of its own."""
        self.environment |= settings
        self.daemon = Daemon(self.environment, self.daemon.log.with_suffix(f"{self.daemon.log.suffix}.again"))
        self.daemon.start()

    @property
    def url(self) -> str:
        return str(self.daemon.wait_for("http_listening")[-1]["url"])

    def ask(self, page: str, timeout_s: float = PROBE_TIMEOUT_S) -> tuple[int, bytes]:
        address = urlsplit(self.url)
        connection = HTTPConnection(str(address.hostname), address.port, timeout=timeout_s)
        try:
            connection.request("GET", page)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def parts(self) -> list[str]:
        """What /readyz has against the daemon, and that all who tell of it agree."""
        status, body = self.ask("/readyz")
        answer = json.loads(body)
        assert answer["ready"] is (status == 200) is (not answer["reasons"])
        assert all(reason["text"] and reason["since"] and reason["seconds"] >= 0 for reason in answer["reasons"])
        return [reason["part"] for reason in answer["reasons"]]

    def until_ready(self) -> None:
        wait_until(lambda: self.parts() == [], lambda: f"{self.ask('/readyz')[1]!r}\n{self.daemon.tail()}")

    def until_not_ready(self, *parts: str) -> None:
        wait_until(lambda: set(parts) <= set(self.parts()), lambda: f"{self.ask('/readyz')[1]!r}, expected {parts}")

    def status(self) -> dict[str, Any]:
        status, body = self.ask("/status")
        assert status == 200
        answer: dict[str, Any] = json.loads(body)
        return answer

    def healthcheck(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As a container's HEALTHCHECK runs it: with the environment of the daemon."""
        port = str(urlsplit(self.url).port)
        environment = {"PATH": os.environ["PATH"], **self.environment, "POLLER_HTTP_PORT": port}
        command = [sys.executable, "-m", "poller", "healthcheck", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with StandInProcess() as remote:
        site = Site(remote, tmp_path / "log")
        try:
            yield site
        finally:
            site.daemon.__exit__()


@pytest.fixture
def ready(site: Site) -> Site:
    site.daemon.start()
    site.until_ready()
    return site


def test_it_is_alive_at_once_and_ready_when_it_reads_and_its_health_check_and_metric_say_the_same(site: Site) -> None:
    site.daemon.start()
    assert site.ask("/livez") == (200, b"ok\n")
    site.until_ready()
    assert re.search(r"^poller_ready 1\.0$", site.ask("/metrics")[1].decode(), re.MULTILINE)
    checked = site.healthcheck()
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "ready\n", "")


def test_a_start_that_waits_for_aws_is_alive_and_not_ready(site: Site) -> None:
    site.remote.fault(Fault.unavailable(operation="DescribeTable"))
    site.daemon.start()
    site.daemon.wait_for("startup_waiting")
    assert site.parts() == ["start"]
    assert site.ask("/livez")[0] == 200
    assert site.healthcheck("--live").stdout == "alive\n"
    site.remote.clear_faults()
    site.until_ready()


def test_shards_that_cannot_be_read_make_it_unready_until_they_can(ready: Site) -> None:
    hanging, failing = ready.shards
    ready.remote.fault(Fault(Kind.HANG, operation="GetRecords", shard=hanging))
    ready.remote.fault(Fault.internal(operation="GetRecords", shard=failing))
    ready.until_not_ready(f"shard {hanging}", f"shard {failing}")
    assert re.search(r"^poller_ready 0\.0$", ready.ask("/metrics")[1].decode(), re.MULTILINE)
    assert {shard["failing_since"] is None for shard in ready.status()["shards"]} == {False}
    ready.remote.clear_faults()
    ready.until_ready()


def test_a_queue_that_is_down_makes_it_unready_until_it_is_up(ready: Site) -> None:
    ready.remote.queue_down("jobs")
    ready.upload("a")
    ready.until_not_ready("queue of route default")
    checked = ready.healthcheck()
    assert checked.returncode == 1
    assert re.search(
        r"^  queue of route default \(since .+Z, \d+ s\): It takes no messages: ", checked.stdout, re.MULTILINE
    )
    ready.remote.queue_up("jobs")
    ready.until_ready()
    assert [route["delivered"] for route in ready.status()["routes"]] == [1]


def test_a_dead_letter_queue_that_is_down_while_a_letter_waits_makes_it_unready(ready: Site) -> None:
    ready.remote.refuse("jobs", contains="poison", sender_fault=True)
    ready.remote.queue_down("dead-letters")
    assert ready.parts() == []
    ready.upload("poison")
    ready.until_not_ready("dead-letter queue of route default")
    ready.remote.queue_up("dead-letters")
    ready.until_ready()
    assert [route["dead_lettered"] for route in ready.status()["routes"]] == [1]


def test_a_lease_table_that_is_gone_makes_it_unready_until_it_is_back(ready: Site) -> None:
    ready.daemon.terminate()
    ready.start_again(POLLER_LEASE__CREATE="false")  # it would make the table again before anybody has seen it missing
    ready.until_ready()
    rows = ready.remote.rows(LEASES)
    ready.remote.delete_table(LEASES)
    ready.until_not_ready("lease table")
    for row in rows.values():
        ready.remote.do("put_row", table=LEASES, item=row)
    ready.until_ready()


def test_trimmed_data_makes_it_unready_until_somebody_has_dealt_with_it(ready: Site) -> None:
    ready.upload("a")
    wait_until(lambda: checkpoint(ready).isdigit(), ready.daemon.tail)
    assert ready.daemon.terminate()[0] == 0
    ready.upload("never-read")
    ready.remote.trim(TABLE, ready.shards[0])
    ready.start_again()
    ready.until_not_ready("data loss", f"shard {ready.shards[0]}")
    assert ready.status()["data_losses"]["count"] == 1
    ready.daemon.terminate()
    ready.start_again(POLLER_STREAM__ON_DATA_LOSS="skip")
    wait_until(lambda: ready.parts() == ["data loss"], ready.daemon.tail)
    ready.upload("b")
    wait_until(lambda: ready.status()["routes"][0]["delivered"] == 1, ready.daemon.tail)
    ready.daemon.terminate()
    ready.start_again()
    ready.until_ready()


def checkpoint(site: Site) -> str:
    return str(site.remote.rows(LEASES)[site.shards[0]]["checkpoint"]["S"])


def test_a_frozen_loop_answers_no_probe_until_it_turns_again(ready: Site) -> None:
    ready.daemon.process.send_signal(signal.SIGSTOP)
    try:
        for page in ("/livez", "/readyz"):
            with pytest.raises(TimeoutError):
                ready.ask(page, timeout_s=1.0)
        checked = ready.healthcheck("--live", "--timeout", "1s")
        assert checked.returncode == 1
        assert "no answer from" in checked.stderr
        assert "within 1 s: the daemon hangs" in checked.stderr
    finally:
        ready.daemon.process.send_signal(signal.SIGCONT)
    assert ready.ask("/livez", timeout_s=60.0)[0] == 200
    ready.until_ready()


def test_a_real_scrape_has_the_names_that_prometheus_wants(ready: Site) -> None:
    ready.upload("a")
    wait_until(lambda: ready.status()["routes"][0]["delivered"] == 1, ready.daemon.tail)
    exposition = ready.ask("/metrics")[1]
    names = re.findall(r"^# TYPE (\S+) (\S+)$", exposition.decode(), re.MULTILINE)
    assert ("poller_ready", "gauge") in names
    assert all(name.startswith("poller_") and (kind == "counter") == name.endswith("_total") for name, kind in names)


def test_a_real_scrape_passes_promtool(ready: Site, promtool: str) -> None:
    exposition = ready.ask("/metrics")[1]
    checked = subprocess.run([promtool, "check", "metrics"], input=exposition, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_the_status_tells_of_stream_shards_routes_and_settings(ready: Site, unique: Callable[[str], str]) -> None:
    secret = unique("item")
    ready.upload(secret)
    wait_until(lambda: ready.status()["routes"][0]["delivered"] == 1, ready.daemon.tail)
    wait_until(lambda: checkpoint(ready).isdigit(), ready.daemon.tail)
    status = ready.status()
    assert status["ready"] is True
    assert (status["stream"]["table"], status["stream"]["view_type"]) == (TABLE, "NEW_IMAGE")
    assert {shard["shard"] for shard in status["shards"]} == set(ready.shards)
    assert {shard["owner"] for shard in status["shards"]} == {status["worker_id"]}
    assert all(shard["mine"] and shard["last_page"] and shard["held_since"] for shard in status["shards"])
    assert {"setting": "lease.duration", "value": "3s"}.items() <= next(
        row for row in status["settings"] if row["setting"] == "lease.duration"
    ).items()
    assert secret not in json.dumps(status)


def test_with_metrics_in_the_log_there_are_lines_for_cloudwatch_which_hold_nothing_of_an_item(
    site: Site, unique: Callable[[str], str]
) -> None:
    secret = unique("item")
    site.start_again(POLLER_LOG__EMBEDDED_METRICS="true", POLLER_LOG_LEVEL="warning")
    wait_until(lambda: site.remote.count("GetRecords") > 0, site.daemon.tail)
    site.upload(secret)
    wait_until(lambda: bool(site.remote.arrived("jobs")), site.daemon.tail)
    assert site.daemon.terminate()[0] == 0
    stream, route = site.daemon.events("metrics_embedded")
    assert (stream["Stream"], stream["Read"], stream["Ready"]) == (TABLE, 1, 0)
    assert (route["Route"], route["Matched"], route["Delivered"]) == ("default", 1, 1)
    assert secret not in json.dumps([stream, route])
