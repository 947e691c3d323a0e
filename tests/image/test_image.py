"""The image as an orchestrator runs it: not root, on a read-only file system, without capabilities, until SIGTERM."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from tests.e2e.daemon import wait_until
from tests.e2e.story import CREDENTIALS, Mailbox, Table, dynamodb, sqs
from tests.servers.process import free_port

IMAGE = os.environ.get("IMAGE", "poller:test")
RESTRICTED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "host")
FIRST_RECORD_S = 2.0
OVER_BASE_BYTES_MAX = 120_000_000
BOUND_S = 300  # only so that what hangs fails: an engine without overlays copies the whole image for each container


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=BOUND_S, check=False)


def said_by(*arguments: str) -> str:
    """What docker prints; it must succeed."""
    done = docker(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def inspected(name: str) -> Any:
    return json.loads(said_by("inspect", name))[0]


@dataclass(frozen=True)
class Container:
    """The daemon at work, and both ends of it."""

    name: str
    port: int
    table: Table
    queue: Mailbox

    def state(self) -> Any:
        return inspected(self.name)["State"]

    def log(self) -> str:
        done = docker("logs", self.name)
        return done.stdout + done.stderr

    def inside(self, *command: str, user: str = "10001:10001") -> subprocess.CompletedProcess[str]:
        """Runs a command beside the daemon: as restricted as it is, and much quicker than a container of its own."""
        return docker("exec", "--user", user, self.name, *command)


@pytest.fixture(scope="module")
def container(dynamodb_local: str, elasticmq: str) -> Iterator[Container]:
    port = free_port()
    name = f"poller-test-{port}"
    table = Table(dynamodb(dynamodb_local), name)
    queue = Mailbox(sqs(elasticmq), name)
    table.uploads(["before"])
    environment = {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL_DYNAMODB": dynamodb_local,
        "AWS_ENDPOINT_URL_DYNAMODB_STREAMS": dynamodb_local,
        "AWS_ENDPOINT_URL_SQS": elasticmq,
        "POLLER_TABLE": name,
        "POLLER_QUEUE": name,
        "POLLER_HTTP_PORT": str(port),
    }
    variables = [word for one in environment.items() for word in ("--env", "=".join(one))]
    said_by("run", "--detach", "--name", name, "--health-interval", "1s", *RESTRICTED, *variables, IMAGE)
    yield Container(name, port, table, queue)
    docker("rm", "--force", name)


@pytest.fixture(scope="module")
def image() -> Any:
    return inspected(IMAGE)["Config"]


# --- what it says of itself -------------------------------------------------------------------------------------------


def test_it_runs_the_daemon_without_a_shell_and_not_as_root(image: Any) -> None:
    assert (image["Entrypoint"], image["Cmd"]) == (["poller"], ["run"])
    assert image["User"] == "10001:10001"
    assert image["StopSignal"] == "SIGTERM"


def test_it_is_probed_for_liveness_by_its_own_command(image: Any) -> None:
    assert image["Healthcheck"]["Test"] == ["CMD", "poller", "healthcheck", "--live"]


def test_its_labels_say_what_it_is_and_from_which_revision(image: Any, container: Container) -> None:
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in image["Labels"].items()}
    assert (labels["title"], labels["licenses"]) == ("poller", "Apache-2.0")
    assert labels["revision"] not in ("", "unknown")
    said = container.inside("poller", "--version").stdout
    assert said.startswith(f"poller {labels['version']} ({labels['revision'][:12]}")


# --- at work ----------------------------------------------------------------------------------------------------------


def test_the_first_record_is_delivered_within_two_seconds_of_the_start(container: Container) -> None:
    wait_until(lambda: bool(container.queue.drain()) and "before/1" in container.queue.names, container.log)
    started = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z$", r"\1+00:00", container.state()["StartedAt"]))
    (first,) = [one for one in container.queue.received if one.name == "before/1"]
    took_s = first.sent_ms / 1000 - started.timestamp()
    print(f"first record delivered {took_s:.2f} s after the start")
    assert took_s < FIRST_RECORD_S


def test_a_record_is_delivered(container: Container) -> None:
    uploaded = container.table.uploads(["one", "two"])
    wait_until(lambda: bool(container.queue.drain()) and set(uploaded) <= set(container.queue.names), container.log)


def test_it_is_the_first_process_and_may_do_nothing_special(container: Container) -> None:
    status = container.inside("cat", "/proc/1/status").stdout
    rights = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert rights["Name"] == "poller"
    assert rights["Uid"].split() == ["10001"] * 4
    assert int(rights["CapEff"], 16) == int(rights["CapBnd"], 16) == 0
    assert rights["NoNewPrivs"] == "1"


def test_any_other_user_gets_as_far(container: Container) -> None:
    done = container.inside("env", "--unset=POLLER_TABLE", "poller", "run", user="54321:54321")
    assert done.returncode == 2
    assert done.stderr.startswith("poller: POLLER_TABLE: not set;")
    assert done.stderr.count("\n") == 1


def test_its_health_is_seen_by_the_engine(container: Container) -> None:
    wait_until(lambda: container.state()["Health"]["Status"] == "healthy", lambda: json.dumps(container.state()))


def test_metrics_are_served_beyond_the_container(container: Container) -> None:
    wait_until(lambda: f'"url":"http://0.0.0.0:{container.port}"' in container.log(), container.log)


def test_the_commands_are_there(container: Container) -> None:
    for command in ("run", "init", "check", "healthcheck"):
        assert "Usage: poller" in container.inside("poller", command, "--help").stdout


def test_every_module_is_compiled_and_nothing_can_be_installed(container: Container) -> None:
    script = """if True:
        import importlib.util, os, pathlib, sysconfig
        packages = pathlib.Path(sysconfig.get_path("purelib"))
        compiled = importlib.util.cache_from_source
        print([str(one) for one in packages.rglob("*.py") if not pathlib.Path(compiled(one)).is_file()])
        print(importlib.util.find_spec("pip"))
        programs = {"pip", "pip3", "apt-get", "dpkg", "gcc", "cc", "make", "perl", "curl", "wget"}
        print([folder + "/" + name for top in ("/usr", "/opt") for folder, folders, files in os.walk(top)
               for name in {"pip", "ensurepip"} & set(folders) | programs & set(files)
               if "/share/" not in folder + "/"])
        print([one for folder, _, files in os.walk("/usr") for name in files
               if not os.path.islink(one := os.path.join(folder, name)) and os.stat(one).st_mode & 0o6000])
    """
    assert container.inside("python3", "-c", script).stdout == "[]\nNone\n[]\n[]\n"


def test_it_adds_less_to_its_base_than_it_promises(image: Any) -> None:
    layers = said_by(
        "history", "--no-trunc", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", IMAGE
    ).splitlines()
    ours = next(index for index, layer in enumerate(layers) if "PATH=/opt/poller/bin" in layer)
    added = sum(int(layer.split()[0]) for layer in layers[: ours + 1])
    print(f"{added / 1e6:.0f} MB over the base")
    assert 0 < added < OVER_BASE_BYTES_MAX


def test_nothing_of_the_build_is_in_it(container: Container) -> None:
    assert container.inside("ls", "/src", "/wheels", "/opt/build").stdout == ""


def test_docker_stop_ends_it_in_order_within_docker_s_own_patience(container: Container) -> None:
    wait_until(lambda: '"event":"daemon_ready"' in container.log(), container.log)
    said_by("stop", "--time", "10", container.name)
    assert container.state()["ExitCode"] == 0, container.log()
    assert '"event":"daemon_stopped"' in container.log()


def test_what_was_in_flight_when_it_was_stopped_is_delivered_by_the_next_one(container: Container) -> None:
    said_by("start", container.name)
    wait_until(lambda: container.log().count('"event":"daemon_ready"') == 2, container.log)
    uploaded = container.table.uploads([f"flight-{number}" for number in range(300)])
    said_by("stop", "--time", "10", container.name)
    assert container.state()["ExitCode"] == 0, container.log()
    said_by("start", container.name)
    wait_until(lambda: container.queue.drain() >= 0 and set(uploaded) <= set(container.queue.names), container.log)
    heard = [name for name in container.queue.names if name in uploaded]
    assert len(heard) == len(set(heard))
