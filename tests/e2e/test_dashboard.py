"""Real workers, a real Prometheus that scrapes them: each query of the dashboard and of the runbook finds its data.

And each alert rule is evaluated without an error, while the queue of one route is down and another refuses a record.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon, wait_until
from tests.servers.process import ServerProcess
from tests.standin import Fault, Remote, StandInProcess

ROOT = Path(__file__).parents[2]
TABLE = "AnalysisMetadataTable"
DASHBOARD = json.loads((ROOT / "config/grafana/dashboards/poller.json").read_text("utf-8"))
RULES = ROOT / "config/prometheus/alerts.yml"
RUNBOOK = ROOT / "docs/runbook.md"
# Of Grafana's own words: what it would put there for a scrape every second.
WINDOW = "8s"
# All that the rules and panels ask about: a route in order, one whose queue is down, one that must dead-letter.
SETTINGS = f"""
[stream]
table = "{TABLE}"
[lease]
duration = "4s"
discovery_interval = "1s"
[aws]
request_timeout = "900ms"
connect_timeout = "900ms"
[checkpoint]
interval = "100ms"
[polling]
requests_per_second_per_shard = 4
idle_min = "50ms"
idle_max = "300ms"
[[route]]
name = "good"
queue = "jobs"
dead_letter_queue = "dead-letters"
[[route]]
name = "down"
queue = "broken"
"""


class Prometheus(ServerProcess):
    """Prometheus (Debian's package) with the rules, which scrapes `targets` every second."""

    name = "prometheus"

    def __init__(self, folder: Path, targets: list[str]) -> None:
        super().__init__(folder)
        (folder / "prometheus.yml").write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(RULES)],
                    "scrape_configs": [{"job_name": "poller", "static_configs": [{"targets": targets}]}],
                }
            ),
            "utf-8",
        )

    def command(self) -> list[str]:
        program = shutil.which("prometheus")
        assert program is not None
        return [
            program,
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    def start(self) -> None:
        super().start()
        wait_until(self._ready, lambda: self.log.read_text("utf-8"))

    def _ready(self) -> bool:
        """It listens before its storage is open, and then answers 503."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=10):
                return True
        except urllib.error.HTTPError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:
            said = json.loads(answer.read())
        assert said["status"] == "success", said
        return said["data"]

    def query(self, query: str) -> list[dict[str, Any]]:
        """The series that a query finds at this moment, with numbers that are some."""
        series: list[dict[str, Any]] = self.ask("query", query=query)["result"]
        return [one for one in series if not math.isnan(float(one["value"][1]))]


@pytest.fixture(scope="module")
def program() -> None:
    """Skips without Prometheus, as without promtool; a failure in CI."""
    if shutil.which("prometheus") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("needs prometheus (skipped on a user's machine, required in CI)", pytrace=False)
        pytest.skip("needs prometheus, of Debian's package of that name")


@pytest.fixture(scope="module")
def prometheus(program: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It watches two workers, of whom everything has been seen that can go wrong a little."""
    folder = tmp_path_factory.mktemp("dashboard")
    config = folder / "poller.toml"
    config.write_text(SETTINGS, "utf-8")
    with StandInProcess() as remote:
        shards = remote.stream(TABLE, shards=4).shards
        for queue in ("jobs", "broken", "dead-letters"):
            remote.queue(queue)
        remote.refuse("jobs", contains="poison", sender_fault=True)
        workers = [
            Daemon({**remote.env(), "POLLER_CONFIG": str(config)}, folder / f"worker-{number}") for number in (1, 2)
        ]
        stop = threading.Event()
        writer = threading.Thread(target=write, args=(remote, shards, stop))
        try:
            for worker in workers:
                worker.start()
            targets = [urllib.parse.urlsplit(worker.wait_for("http_listening")[0]["url"]).netloc for worker in workers]
            for worker in workers:
                worker.wait_for("daemon_ready")
            remote.queue_down("broken")
            writer.start()
            with Prometheus(folder, targets) as server:
                yield server
        finally:
            stop.set()
            if writer.ident is not None:
                writer.join()
            for worker in workers:
                if worker.running:
                    worker.kill()


def write(remote: Remote, shards: list[str], stop: threading.Event) -> None:
    """Uploads as they come, now and then one that the queue refuses and a call that is throttled."""
    number = 0
    while not stop.wait(0.1):
        number += 1
        phase = "FILE_UPLOAD_COMPLETE" if number % 3 else "FILE_UPLOADING"
        key = f"poison-{number}" if number % 10 == 0 else f"item-{number}"
        image = {"phase": {"S": phase}, "key": {"S": key}}
        remote.put(TABLE, shards[number % len(shards)], {"key": key, "new_image": image})
        if number % 20 == 1:
            remote.fault(Fault.throttle(operation="GetRecords", times=1))


def queries() -> list[tuple[str, str]]:
    """Every query of the dashboard, with its panel's title, as Grafana would send it for all streams and routes."""
    found = []
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", WINDOW)
            found.append((panel["title"], query.replace("$stream", ".*").replace("$route", ".*")))
    return found


def test_every_query_of_the_dashboard_finds_data(prometheus: Prometheus) -> None:
    missing: list[tuple[str, str]] = queries()

    def all_found() -> bool:
        missing[:] = [(title, query) for title, query in missing if not prometheus.query(query)]
        return not missing

    assert len(missing) > 40
    wait_until(all_found, lambda: "\n".join(f"{title}: {query}" for title, query in missing), 45.0)


def test_every_query_of_the_runbook_finds_data(prometheus: Prometheus) -> None:
    blocks = re.findall(r"```promql\n(.*?)```", RUNBOOK.read_text("utf-8"), re.DOTALL)
    # The workers here are services of one process each; only of --processes are there series of processes.
    asked = [query for query in blocks if "poller_process_up" not in query]
    missing = [query.replace("[5m]", f"[{WINDOW}]").strip() for query in asked]

    def all_found() -> bool:
        missing[:] = [query for query in missing if not prometheus.query(query)]
        return not missing

    assert missing
    wait_until(all_found, lambda: "\n".join(missing), 30.0)


def seen(prometheus: Prometheus, query: str) -> list[dict[str, Any]]:
    """What a query finds, once it finds something."""
    wait_until(lambda: bool(prometheus.query(query)), lambda: query, 30.0)
    return prometheus.query(query)


def test_the_dashboards_variables_find_the_stream_and_its_routes(prometheus: Prometheus) -> None:
    found = {}
    for variable in DASHBOARD["templating"]["list"]:
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable.get("definition", ""))
        if asked:
            series, label = asked[1].replace("$stream", ".*"), asked[2]
            found[variable["name"]] = {one["metric"][label] for one in seen(prometheus, series)}
    assert found == {"stream": {TABLE}, "route": {"good", "down"}}


def written_rules() -> list[dict[str, Any]]:
    groups = import_module("yaml").safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_rule_is_evaluated_and_those_of_a_queue_that_is_down_are_on_their_way(prometheus: Prometheus) -> None:
    def rules() -> dict[str, dict[str, Any]]:
        groups = prometheus.ask("rules", type="alert")["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    def on_their_way() -> bool:
        states = {rules()[name]["state"] for name in ("PollerDeadLettering", "PollerSinkErrors")}
        return states <= {"firing", "pending"}

    wait_until(on_their_way, lambda: json.dumps(rules(), indent=1), 30.0)
    assert set(rules()) == {rule["alert"] for rule in written_rules()}
    assert {(rule["health"], rule.get("lastError")) for rule in rules().values()} == {("ok", None)}
    quiet = ("Absent", "DataLost", "DataLossSoon", "Behind", "Unowned", "Restarting")
    assert [name for name in quiet if rules()[f"Poller{name}"]["state"] != "inactive"] == []


def test_the_query_behind_retrying_too_long_shows_the_route_whose_queue_is_down(prometheus: Prometheus) -> None:
    [rule] = [rule for rule in written_rules() if rule["alert"] == "PollerRetryingTooLong"]
    soon = rule["expr"].rpartition("> 300")[0]
    assert {one["metric"]["route"] for one in seen(prometheus, soon)} == {"down"}
