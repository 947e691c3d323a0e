"""What the contract suites share: AWS clients on a server's endpoint, under a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace

import pytest

from poller.aws.session import Aws, AwsConfig
from poller.events import CallsByBoto3, Event
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


@pytest.fixture(params=["direct", "boto3"])
async def open_aws(
    request: pytest.FixtureRequest, _opened: dict[str, Aws], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OpenAws]:
    """Gives the clients on one endpoint for all services; every story is told by both ways of the hot calls."""
    config = replace(CONFIG, calls=request.param)

    async def open_at(url: str) -> Aws:
        key = f"{config.calls} {url}"
        if key not in _opened:
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "contract")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "contract")
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            _opened[key] = await Aws.open(config, said.append, clock.monotonic)
        return _opened[key]

    said: list[Event] = []
    yield open_at
    # Each test has an event loop of its own, and its connections end with it.
    for aws in _opened.values():
        aws.disconnect()
    await asyncio.sleep(0)
    assert not [event for event in said if isinstance(event, CallsByBoto3)]


@pytest.fixture(scope="session")
def remote() -> Iterator[Remote]:
    """The stand-in, in a process of its own: use your own table and queue names."""
    with StandInProcess() as remote:
        yield remote


@pytest.fixture(scope="session")
def standin(remote: Remote) -> str:
    """The URL of the stand-in."""
    return remote.url
