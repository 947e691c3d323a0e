"""Credentials that run out while the daemon works, and are renewed as a container's are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from poller.events import QueueFailing, ReadFailing, TaskFailed
from tests.faults.harness import Site
from tests.standin import Fault


class CredentialsEndpoint:
    """What a container asks for its role's credentials (`AWS_CONTAINER_CREDENTIALS_FULL_URI`).

    `access_key` is what it gives, with so little time left that botocore asks again before the next call. `broken`: a
    part of the answer to put in place of the right one. `asked`: how often it was.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.access_key = "old"
        self.broken: dict[str, str | None] = {}
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        expires = datetime.now(UTC) + timedelta(minutes=12)  # botocore renews from 15 minutes before the end on
        credentials = {
            "AccessKeyId": self.access_key,
            "SecretAccessKey": "test",
            "Token": "test",
            "Expiration": expires.isoformat(),
            **self.broken,
        }
        given = {name: value for name, value in credentials.items() if value is not None}
        body = json.dumps(given).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()


@pytest.fixture
async def endpoint(site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CredentialsEndpoint]:
    """The only credentials there are."""
    endpoint = CredentialsEndpoint()
    server = await asyncio.start_server(endpoint.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{port}/")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    async with server:
        yield endpoint


@pytest.fixture(params=["direct", "boto3"], autouse=True)
def calls(request: pytest.FixtureRequest, site: Site) -> None:
    """Every story is told by both ways of the hot calls."""
    site.settings["POLLER_AWS__CALLS"] = request.param


async def test_after_its_credentials_have_expired_the_daemon_goes_on_with_the_new_ones(
    site: Site, endpoint: CredentialsEndpoint
) -> None:
    expected = site.uploads(3)
    async with site.running():
        await site.until_received(expected)
        site.fault(Fault.expired_token(access_key="old"))
        expected += site.uploads(3, first=4)
        await site.until(lambda: bool(site.said(ReadFailing)))
        endpoint.access_key = "new"
        await site.until_received(expected)
    assert site.heard_once(expected)
    assert {arrival.access_key for arrival in site.queue.arrived} == {"old", "new"}


async def test_credentials_that_cannot_be_used_are_waited_out_and_are_no_defect(
    site: Site, endpoint: CredentialsEndpoint
) -> None:
    expected = site.uploads(3)
    async with site.running():
        await site.until_received(expected)
        endpoint.broken = {"Expiration": "2020-01-01T00:00:00Z"}  # over when they come
        site.fault(Fault.expired_token(access_key="old"))
        expected += site.uploads(3, first=4)
        await site.until(lambda: bool(site.said(ReadFailing)))
        endpoint.broken = {"SecretAccessKey": None}
        asked = endpoint.asked
        await site.until(lambda: endpoint.asked > asked + 2)
        endpoint.broken, endpoint.access_key = {}, "new"
        await site.until_received(expected)
    assert any("credentials" in failing.error for failing in site.said(ReadFailing))
    assert site.said(TaskFailed) == []
    assert site.heard_once(expected)


async def test_a_queue_that_the_daemon_may_not_write_to_is_waited_for(site: Site) -> None:
    denied = site.fault(Fault.access_denied(status=403, operation="SendMessageBatch"))
    expected = site.uploads(3)
    async with site.running():
        await site.until(lambda: bool(site.said(QueueFailing)))
        site.mend(denied)
        await site.until_received(expected)
    assert "sqs:SendMessage" in site.said(QueueFailing)[0].error
    assert site.dead_letters.arrived == []
    assert site.heard_once(expected)
