"""What the contract suites share: AWS clients on a server's endpoint, under a clock that the test moves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest

from poller.aws.session import Aws, AwsConfig
from tests.memory.clock import ManualClock
from tests.standin import Remote, StandInProcess

OpenAws = Callable[[str], Awaitable[Aws]]

CONFIG = AwsConfig(
    region="eu-west-1", connect_timeout_s=5, request_timeout_s=20, read_threads=2, lease_threads=2, send_threads=2
)


@pytest.fixture(scope="session")
def clock() -> ManualClock:
    """One for all these tests, since the clients that stand on it are made once; it only ever moves forward."""
    return ManualClock()


@pytest.fixture(scope="session")
def _opened() -> Iterator[dict[str, Aws]]:
    opened: dict[str, Aws] = {}
    yield opened
    for aws in opened.values():
        aws.close()


@pytest.fixture
def open_aws(_opened: dict[str, Aws], clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> OpenAws:
    """Gives the clients on one endpoint for all services."""

    async def open_at(url: str) -> Aws:
        if url not in _opened:
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "contract")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "contract")
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            _opened[url] = await Aws.open(CONFIG, lambda event: None, clock.monotonic)
        return _opened[url]

    return open_at


@pytest.fixture(scope="session")
def remote() -> Iterator[Remote]:
    """The stand-in, in a process of its own: use your own table and queue names."""
    with StandInProcess() as remote:
        yield remote


@pytest.fixture(scope="session")
def standin(remote: Remote) -> str:
    """The URL of the stand-in."""
    return remote.url
