"""docker-compose.yml without its images: what it names is there, and the same topology of local processes delivers."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from poller.settings import Settings, load
from tests.e2e.daemon import Daemon, wait_until
from tests.servers import ElasticMq
from tests.standin.clients import Clients

ROOT = Path(__file__).parents[2]
OURS = ("poller", "init", "writer")
BOUND_S = 60  # only so that what hangs fails


def yaml(path: Path) -> Any:
    return import_module("yaml").safe_load(path.read_text("utf-8"))


SERVICES: dict[str, dict[str, Any]] = yaml(ROOT / "docker-compose.yml")["services"]


def mounts(service: str) -> dict[str, Path]:
    """The files of this repository, by where the container sees them."""
    parts = [volume.split(":") for volume in SERVICES[service].get("volumes", [])]
    return {there: ROOT / here for here, there, *_ in parts}


def environment(service: str, addresses: Mapping[str, str] | None = None) -> dict[str, str]:
    """The service's variables; paths as they are outside of a container, hosts as `addresses` has them."""
    variables: dict[str, str] = dict(SERVICES[service]["environment"])
    known = {**{there: str(here) for there, here in mounts(service).items()}, **(addresses or {})}
    return {name: known.get(value, value) for name, value in variables.items()}


def settings(service: str) -> Settings:
    return load(environment(service), Path(environment(service)["POLLER_CONFIG"]))


def version_in_tests(pom: str) -> str:
    """The version of the server that the tests run."""
    text = (ROOT / "tests/servers/maven" / pom / "pom.xml").read_text("utf-8")
    return str(re.findall(r"<version>([\d.]+)</version>", text)[-1])


# --- what the file says -----------------------------------------------------------------------------------------------


def test_every_image_is_built_here_or_pinned_to_one_version() -> None:
    pulled = {name: service["image"] for name, service in SERVICES.items() if "build" not in service}
    assert {name for name in SERVICES if name not in pulled} == set(OURS)
    assert all(re.fullmatch(r"[a-z]+/[a-z-]+:v?\d+\.\d+\.\d+", image) for image in pulled.values()), pulled


@pytest.mark.parametrize("service", ["dynamodb-local", "elasticmq"])
def test_the_servers_are_of_the_version_that_everything_is_tested_on(service: str) -> None:
    assert SERVICES[service]["image"].endswith(f":{version_in_tests(service)}")


def test_every_mounted_file_is_there_and_may_be_read_by_any_user() -> None:
    files = [file for service in SERVICES for file in mounts(service).values()]
    assert {file.name for file in files} == {
        "poller.toml",
        "elasticmq.conf",
        "prometheus.yml",
        "alerts.yml",
        "poller.yml",
        "poller.json",
    }
    assert [file for file in files if not file.is_file() or not file.stat().st_mode & 0o004] == []


@pytest.mark.parametrize("service", OURS)
def test_the_daemon_takes_every_setting_and_variable(service: str) -> None:
    in_force = settings(service)
    assert in_force.aws.allow_insecure_endpoints
    assert in_force.stream.table_name == "AnalysisMetadataTable"


@pytest.mark.parametrize("service", OURS)
def test_our_containers_may_do_nothing_that_they_need_not(service: str) -> None:
    ours = SERVICES[service]
    assert ours["read_only"]
    assert ours["cap_drop"] == ["ALL"]
    assert ours["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "user"} & set(ours)


def test_no_port_is_open_to_the_network() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_prometheus_asks_where_the_daemon_listens() -> None:
    jobs = yaml(ROOT / "config/compose/prometheus.yml")["scrape_configs"]
    targets = [target for job in jobs for static in job["static_configs"] for target in static["targets"]]
    assert targets == [f"poller:{settings('poller').http.port}"]


def test_prometheus_has_the_alert_rules() -> None:
    [pattern] = yaml(ROOT / "config/compose/prometheus.yml")["rule_files"]
    rules = [there for there in mounts("prometheus") if Path(there).match(f"/etc/prometheus/{pattern}")]
    assert [mounts("prometheus")[there] for there in rules] == [ROOT / "config/prometheus/alerts.yml"]


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    files = {file.relative_to(ROOT / "config/grafana"): there for there, file in mounts("grafana").items()}
    for kind in ("datasources/prometheus.yml", "dashboards/poller.yml"):
        assert files[Path("provisioning") / kind] == f"/etc/grafana/provisioning/{kind}"
    [source] = yaml(ROOT / "config/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    scrapes = yaml(ROOT / "config/compose/prometheus.yml")["global"]
    assert source["jsonData"]["timeInterval"] == scrapes["scrape_interval"]
    [provider] = yaml(ROOT / "config/grafana/provisioning/dashboards/poller.yml")["providers"]
    assert files[Path("dashboards/poller.json")] == f"{provider['options']['path']}/poller.json"
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == files[Path("dashboards/poller.json")]


def test_promtool_finds_no_fault_in_the_settings_of_prometheus(promtool: str) -> None:
    command = [promtool, "check", "config", str(ROOT / "config/compose/prometheus.yml")]
    check = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert check.returncode == 0, check.stdout + check.stderr


# --- the same topology from local processes ---------------------------------------------------------------------------


class ComposedElasticMq(ElasticMq):
    """ElasticMQ with the file's settings, on a port of its own."""

    def command(self) -> list[str]:
        java, *arguments = super().command()
        file = mounts("elasticmq")["/opt/elasticmq.conf"]
        listening = ("-Dnode-address", "-Drest-stats")
        return [java, f"-Dconfig.file={file}", *(one for one in arguments if not one.startswith(listening))]


@pytest.fixture
def elasticmq_of_compose(tmp_path: Path) -> Iterator[str]:
    with ComposedElasticMq(tmp_path) as server:
        yield server.url


def python(service: str, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The service's command as a local process."""
    entrypoint = SERVICES[service].get("entrypoint", ["python3", "-m", "poller"])
    assert entrypoint[0] == "python3"
    return subprocess.Popen([sys.executable, *entrypoint[1:], *SERVICES[service]["command"]], env=dict(variables))


@pytest.mark.real
def test_the_same_topology_delivers_what_its_writer_uploads(
    dynamodb_local: str, elasticmq_of_compose: str, tmp_path: Path
) -> None:
    addresses = {"http://dynamodb-local:8000": dynamodb_local, "http://elasticmq:9324": elasticmq_of_compose}
    assert python("init", environment("init", addresses)).wait(BOUND_S) == 0

    daemon = Daemon(environment("poller", addresses), tmp_path / "daemon.log")
    queues = Clients(elasticmq_of_compose, region="eu-west-1").sqs
    jobs = queues.get_queue_url(QueueName="analysis-jobs")["QueueUrl"]
    received: list[str] = []

    def something_has_arrived() -> bool:
        assert writer.poll() is None, "the writer has ended"
        messages = queues.receive_message(QueueUrl=jobs).get("Messages", [])
        received.extend(message["Body"] for message in messages)
        return bool(received)

    with daemon, python("writer", environment("writer", addresses)) as writer:
        try:
            wait_until(something_has_arrived, daemon.tail)
            writer.send_signal(signal.SIGTERM)
            assert writer.wait(BOUND_S) == 0
            assert daemon.terminate()[0] == 0
        finally:
            writer.kill()
    assert '"phase":{"S":"FILE_UPLOAD_COMPLETE"}' in received[0].replace(" ", "")


def test_the_writer_stays_away_from_a_real_account() -> None:
    command = [sys.executable, "-m", "poller.demo"]
    run = subprocess.run(command, env={}, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert run.returncode == 2
    assert "set AWS_ENDPOINT_URL_DYNAMODB to an emulator" in run.stderr
