"""Fixtures that every test may use: the stand-in's world, real local servers, a clean environment; and two guards.

No test reaches beyond the loopback interface, and none sees the AWS, proxy or POLLER_* settings of whoever runs it.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from tests.browser import find_chromium
from tests.servers import DynamoDbLocal, ElasticMq, Moto, missing_for_real_servers
from tests.servers.guard import LoopbackOnly
from tests.standin import StandIn, World
from tests.standin.clients import Clients
from tests.standin.world import ISOLATION, credentials

_REAL_FIXTURES = {"dynamodb_local", "dynamodb_local_server", "elasticmq", "elasticmq_server"}
_NOT_RUN_FOR_REAL = "needs a real local server; not found:"


# --- guards ---------------------------------------------------------------------------------------------------------


def _is_foreign(variable: str) -> bool:
    return variable.startswith(("AWS_", "POLLER_")) or variable.lower() in ("http_proxy", "https_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in filter(_is_foreign, list(os.environ)):
        monkeypatch.delenv(variable)
    for variable, value in ISOLATION.items():
        monkeypatch.setenv(variable, value)


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    with LoopbackOnly():
        yield


# --- real servers where they are ------------------------------------------------------------------------------------


def _needs_real_servers(item: pytest.Item) -> bool:
    names = set(getattr(item, "fixturenames", ()))
    return item.get_closest_marker("real") is not None or bool(names & _REAL_FIXTURES)


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = missing_for_real_servers() if _needs_real_servers(item) else []
    if not missing:
        return
    reason = f"{_NOT_RUN_FOR_REAL} {', '.join(missing)}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (skipped on a user's machine, required in CI)", pytrace=False)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", ())
    count = sum(1 for report in skipped if _NOT_RUN_FOR_REAL in str(report.longrepr))
    if count:
        missing = ", ".join(missing_for_real_servers())
        line = f"NOT TESTED ON REAL SERVERS: not found on this machine: {missing}; tests skipped: {count}"
        terminalreporter.write_line(line, yellow=True, bold=True)


@pytest.fixture(scope="session")
def dynamodb_local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DynamoDbLocal]:
    """DynamoDB Local, one for the whole run: use your own table names."""
    with DynamoDbLocal(tmp_path_factory.mktemp("dynamodb-local")) as server:
        yield server


@pytest.fixture(scope="session")
def elasticmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ElasticMq]:
    """ElasticMQ, one for the whole run: use your own queue names."""
    with ElasticMq(tmp_path_factory.mktemp("elasticmq")) as server:
        yield server


@pytest.fixture(scope="session")
def dynamodb_local(dynamodb_local_server: DynamoDbLocal) -> str:
    """The URL of DynamoDB Local."""
    return dynamodb_local_server.url


@pytest.fixture(scope="session")
def elasticmq(elasticmq_server: ElasticMq) -> str:
    """The URL of ElasticMQ."""
    return elasticmq_server.url


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of moto: DynamoDB, its streams and SQS."""
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield server.url


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own checker (Debian's package `prometheus`); as the real servers.

    A failure in CI where it is missing.
    """
    path = shutil.which("promtool")
    if path is None and os.environ.get("CI") == "true":
        pytest.fail("needs promtool (skipped on a user's machine, required in CI)", pytrace=False)
    if path is None:
        pytest.skip("needs promtool, of Debian's package prometheus")
    return path


@pytest.fixture(scope="session")
def chromium() -> str:
    """A real browser (Debian's package `chromium`); as promtool."""
    path = find_chromium()
    if path is None and os.environ.get("CI") == "true":
        pytest.fail("needs chromium (skipped on a user's machine, required in CI)", pytrace=False)
    if path is None:
        pytest.skip("needs chromium, of Debian's package of that name")
    return path


# --- what tests hold in their hands ---------------------------------------------------------------------------------


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A stand-in on the test's own loop."""
    async with StandIn() as world:
        yield world


@pytest.fixture
def aws_env(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Static fake credentials and a region, set in this process; returned with the whole environment for others."""
    for variable, value in credentials("us-east-1", "test").items():
        monkeypatch.setenv(variable, value)
    return dict(os.environ)


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Makes names that no other test has: `unique("leases")` is e.g. `leases-1b4e28ba`."""
    return lambda name: f"{name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def clients() -> Iterator[Callable[..., Clients]]:
    """Makes boto3 clients (the arguments are those of `Clients`) and closes them after the test."""
    made: list[Clients] = []

    def make(url: str, **options: str | float) -> Clients:
        made.append(Clients(url, **options))  # type: ignore[arg-type]  # passed on as they are
        return made[-1]

    yield make
    for one in made:
        one.close()
