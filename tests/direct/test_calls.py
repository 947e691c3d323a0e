"""The hot calls as a whole: where they go to, how they are signed, what is made of answers, when boto3 is asked."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from boto3.session import Session
from botocore.exceptions import NoCredentialsError

from poller.aws.components import BODY
from poller.aws.direct import calls as direct_calls
from poller.aws.direct.blueprint import NotDirect, draw
from poller.aws.direct.credentials import Credentials
from poller.aws.direct.signer import Keys
from poller.aws.errors import Target
from poller.aws.pool import NEVER
from poller.aws.session import Aws, AwsConfig
from poller.errors import AccessDenied, DeadlinePassed, IteratorExpired, Unavailable
from poller.events import ApiCalled, CallsByBoto3, Event
from tests.direct.certificates import certificate
from tests.direct.server import CLOSE, RESET, answer, serving
from tests.garbage import no_garbage
from tests.memory.clock import ManualClock

CONFIG = AwsConfig(
    region="eu-west-1", connect_timeout_s=5, request_timeout_s=10, read_threads=2, lease_threads=2, send_threads=2
)
ORDERS = Target("orders", "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2026")
PAGE = b'{"Records":[]}'
READ = {"ShardIterator": "iterator", "Limit": 1000}
ARN = "arn:aws:dynamodb:{region}:123456789012:table/orders/stream/2026-11-25T00:00:00.000"

OpenAws = Callable[..., Awaitable[Aws]]


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def open_aws(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, events: list[Event], clock: ManualClock
) -> AsyncIterator[OpenAws]:
    """Opens the clients under these variables and no others."""
    opened: list[Aws] = []
    for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    async def open_with(config: AwsConfig = CONFIG, **variables: str) -> Aws:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        opened.append(await Aws.open(config, events.append, clock.monotonic))
        return opened[-1]

    yield open_with
    for aws in opened:
        aws.close()
    await asyncio.sleep(0)


def read(aws: Aws, not_after: float = NEVER) -> Awaitable[Any]:
    return aws.hot_reads.ask("GetRecords", ORDERS, not_after, READ)


# --- what goes out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "variables"),
    [
        ("eu-west-1", {}),
        ("us-east-1", {"AWS_SESSION_TOKEN": "token=/+"}),
        ("eu-west-1", {"AWS_USE_FIPS_ENDPOINT": "true"}),
        ("eu-west-1", {"AWS_USE_DUALSTACK_ENDPOINT": "true"}),
        ("us-gov-west-1", {"AWS_USE_FIPS_ENDPOINT": "true"}),
        ("cn-north-1", {}),
        ("eu-west-1", {"AWS_ACCOUNT_ID": "123456789012"}),
        ("eu-west-1", {"AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled"}),
        ("eu-west-1", {"AWS_ENDPOINT_URL": "http://localhost:8000"}),
        ("eu-west-1", {"AWS_ENDPOINT_URL": "https://vpce-1.example.com"}),
    ],
)
async def test_requests_are_those_that_botocore_would_send(
    open_aws: OpenAws, region: str, variables: dict[str, str]
) -> None:
    aws = await open_aws(replace(CONFIG, region=region), **variables)
    keys = Keys("AKTEST", "secret", variables.get("AWS_SESSION_TOKEN"))
    queue = f"https://sqs.{region}.amazonaws.com/123456789012/jobs"
    requests: list[tuple[Any, str, dict[str, Any]]] = [
        (aws.reads.client, "GetRecords", READ),
        (aws.reads.client, "GetShardIterator", {"StreamArn": ARN.format(region=region), "ShardId": "shardId-1" * 4}),
        (aws.sends.client, "SendMessageBatch", {"QueueUrl": queue, "Entries": [{"Id": "0", "MessageBody": "é\n\x7f"}]}),
        (aws.leases.client, "UpdateItem", {"TableName": "leases", "Key": {"leaseKey": {"S": "one"}}}),
    ]
    for client, operation, request in requests:
        if operation == "GetShardIterator":
            request |= {"ShardIteratorType": "TRIM_HORIZON"}
        blueprint, sample = draw(client, operation, request)
        blueprint.check(sample, keys)
        head, _, body = blueprint.fill(keys, sample.headers["x-amz-date"], sample.body).partition(b"\r\n\r\n")
        ours = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
        theirs = {name: value.lower() for name, value in sample.headers.items() if not name.startswith("amz-sdk-")}
        assert body == sample.body
        assert ours.items() >= theirs.items()
        assert ours.keys() - theirs.keys() <= {"host", "accept-encoding"}


async def test_a_signature_that_would_differ_is_never_sent(open_aws: OpenAws) -> None:
    aws = await open_aws()
    blueprint, sample = draw(aws.reads.client, "GetRecords", READ)
    with pytest.raises(NotDirect, match="signed in another way"):
        blueprint.check(sample, Keys("AKTEST", "another", None))


async def test_credentials_that_are_renewed_at_the_first_request_do_not_lead_to_boto3(
    open_aws: OpenAws, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw_and_renew(client: Any, operation: str, request: Any) -> Any:
        drawn = draw(client, operation, request)
        client._request_signer._credentials.access_key = "AKNEXT"
        return drawn

    monkeypatch.setattr(direct_calls, "draw", draw_and_renew)
    async with serving([answer(PAGE)]) as server:
        aws = await open_aws(AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.port}")
        assert await read(aws) == {BODY: PAGE}
        aws.disconnect()

    assert b"Credential=AKNEXT/" in server.requests[0]
    assert not [one for one in events if isinstance(one, CallsByBoto3)]


async def test_one_connection_serves_one_request_after_another(open_aws: OpenAws, events: list[Event]) -> None:
    async with serving(*[[answer(PAGE)] for _ in range(3)]) as server:
        aws = await open_aws(AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.port}", AWS_SESSION_TOKEN="token")
        for _ in range(3):
            assert await read(aws) == {BODY: PAGE}
        aws.disconnect()

    assert server.connections == 1
    head, _, body = server.requests[2].partition(b"\r\n\r\n")
    assert json.loads(body) == READ
    assert b"\r\nX-Amz-Security-Token: token\r\n" in head
    assert b"x-amz-target: DynamoDBStreams_20120810.GetRecords\r\n" in head
    assert [(one.service, one.operation, one.code) for one in events if isinstance(one, ApiCalled)] == [
        ("dynamodbstreams", "GetRecords", "OK")
    ] * 3


async def test_what_could_only_go_out_after_its_deadline_is_not_sent(
    open_aws: OpenAws, clock: ManualClock, events: list[Event]
) -> None:
    async with serving([answer(PAGE)]) as server:
        aws = await open_aws(AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.port}")
        with pytest.raises(DeadlinePassed, match="GetRecords on orders"):
            await read(aws, clock.monotonic())
        assert server.requests == []
        assert events == []
        await read(aws, clock.monotonic() + 0.001)
        aws.disconnect()


# --- what comes back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind", "code"),
    [
        (answer(PAGE, f"x-amz-crc32: {zlib.crc32(PAGE) ^ 1}"), Unavailable, "ChecksumMismatch"),
        (answer(b"<html>hello</html>", status="502 Bad Gateway"), Unavailable, "HTTP502"),
        (
            answer(b'{"__type":"com.amazonaws.dynamodb.v20120810#ExpiredIteratorException"}', status="400 Bad Request"),
            IteratorExpired,
            "ExpiredIteratorException",
        ),
        (
            answer(b'{"__type":"UnrecognizedClientException"}', status="400 Bad"),
            AccessDenied,
            "UnrecognizedClientException",
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None, ""),
    ],
)
async def test_errors_have_the_class_and_code_that_they_have_by_boto3(
    open_aws: OpenAws, given: bytes, kind: type[Exception] | None, code: str
) -> None:
    for calls in ("direct", "boto3"):
        async with serving([given]) as server:
            aws = await open_aws(
                replace(CONFIG, calls=calls),
                AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.port}",
            )
            if kind is None:
                assert await read(aws) == {BODY: b""} or calls == "boto3"
            else:
                with pytest.raises(kind) as caught:
                    await read(aws)
                assert caught.value.code == code  # type: ignore[attr-defined]
            aws.close()


async def test_requests_that_fail_leave_nothing_to_the_garbage_collector(open_aws: OpenAws) -> None:
    script = [CLOSE], [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", CLOSE], [answer(status="500 Oh")], [RESET]
    async with serving([answer(PAGE)], *script) as server:
        aws = await open_aws(AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.port}")
        await read(aws)  # the first of its kind goes through botocore
        with no_garbage():
            for _ in script:
                with pytest.raises(Unavailable):
                    await read(aws)
                await asyncio.sleep(0.05)
        aws.disconnect()


@pytest.mark.parametrize("body", [b"", b"[]", b"hello", b'{"Successful":'])
async def test_what_is_no_json_object_is_no_answer(open_aws: OpenAws, body: bytes) -> None:
    async with serving([answer(body)]) as server:
        aws = await open_aws(AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.port}")
        request = {"QueueUrl": f"http://127.0.0.1:{server.port}/123456789012/jobs", "Entries": []}
        with pytest.raises(Unavailable, match="UnreadableAnswer"):
            await aws.hot_sends.ask("SendMessageBatch", ORDERS, NEVER, request)
        aws.disconnect()


# --- credentials ------------------------------------------------------------------------------------------------------


class Source:
    """Credentials as botocore's are; `gate`: giving them out blocks until it is set."""

    def __init__(self) -> None:
        self.key = "first"
        self.due = False
        self.given = 0
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None

    def refresh_needed(self) -> bool:
        return self.due

    def get_frozen_credentials(self) -> Any:
        self.gate.wait(30)
        self.given += 1
        if self.failure is not None:
            raise self.failure
        return Keys(self.key, "secret", None)


async def test_credentials_are_renewed_in_the_background(clock: ManualClock) -> None:
    source = Source()
    credentials = Credentials(source, clock.monotonic)
    assert credentials.wanting
    await credentials.ready()
    first = credentials.keys

    source.due, source.key = True, "second"
    source.gate.clear()
    clock.advance(2.0)
    await credentials.ready()  # waits for nobody
    assert credentials.keys is first

    source.gate.set()
    source.due = False
    async with asyncio.timeout(30):
        while credentials.keys is first:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    assert credentials.keys.access_key == "second"


async def test_good_credentials_are_used_while_new_ones_cannot_be_had(clock: ManualClock) -> None:
    source = Source()
    credentials = Credentials(source, clock.monotonic)
    await credentials.ready()
    source.due, source.failure = True, RuntimeError("nobody answers")
    for _ in range(3):
        clock.advance(2.0)
        await credentials.ready()
        await asyncio.sleep(0.05)
    assert source.given > 1
    assert credentials.keys.access_key == "first"


async def test_refused_credentials_are_waited_for_by_everybody_and_asked_for_once(clock: ManualClock) -> None:
    source = Source()
    credentials = Credentials(source, clock.monotonic)
    await credentials.ready()
    source.key = "second"
    source.gate.clear()
    credentials.refused()
    waiting = [asyncio.create_task(credentials.ready()) for _ in range(3)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()  # it takes the others' credentials with it as little as its own
    source.gate.set()
    await asyncio.gather(*waiting[1:])
    assert source.given == 2
    assert credentials.keys.access_key == "second"


async def test_credentials_that_do_not_come_are_an_error_in_time(
    open_aws: OpenAws, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source()
    source.key = "AKTEST"
    monkeypatch.setattr(Session, "get_credentials", lambda _: source)
    hasty = replace(CONFIG, connect_timeout_s=0.1, request_timeout_s=0.2)
    expired = answer(b'{"__type":"ExpiredTokenException"}', status="400 Bad Request")
    async with serving([expired], [answer(PAGE)]) as server:
        aws = await open_aws(hasty, AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.port}")
        with pytest.raises(AccessDenied):
            await read(aws)
        source.gate.clear()
        async with asyncio.timeout(30):
            with pytest.raises(Unavailable, match="no usable AWS credentials are to be had") as caught:
                await read(aws)
        assert (caught.value.answered, caught.value.sent) == (False, False)
        source.gate.set()
        assert await read(aws) == {BODY: PAGE}
        aws.disconnect()
    codes = [event.code for event in events if isinstance(event, ApiCalled)]
    assert codes == ["ExpiredTokenException", "CredentialRetrievalError", "OK"]


async def test_credentials_that_do_not_come_at_the_first_call_are_an_error_in_time_and_hold_one_thread(
    open_aws: OpenAws, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source()
    source.key = "AKTEST"
    source.gate.clear()
    monkeypatch.setattr(Session, "get_credentials", lambda _: source)
    hasty = replace(CONFIG, connect_timeout_s=0.1, request_timeout_s=0.1)
    shard = {"StreamArn": ARN.format(region="eu-west-1"), "ShardId": "shardId-1", "ShardIteratorType": "LATEST"}
    async with serving([answer(PAGE)]) as server:
        aws = await open_aws(hasty, AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.port}")
        async with asyncio.timeout(30):
            for _ in range(2):
                asked = [read(aws), read(aws), aws.hot_reads.ask("GetShardIterator", ORDERS, NEVER, shard)]
                for error in await asyncio.gather(*asked, return_exceptions=True):
                    assert isinstance(error, Unavailable)
                    assert "no usable AWS credentials are to be had" in str(error)
                    assert not error.sent
                assert [thread.name for thread in threading.enumerate()].count("aws-direct") == 1
        source.gate.set()
        assert await read(aws) == {BODY: PAGE}
        aws.disconnect()
    codes = [event.code for event in events if isinstance(event, ApiCalled)]
    assert codes == ["CredentialRetrievalError"] * 6 + ["OK"]


async def test_what_fails_at_the_first_call_is_counted_as_by_boto3(
    open_aws: OpenAws, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source()
    source.failure = NoCredentialsError()
    monkeypatch.setattr(Session, "get_credentials", lambda _: source)
    aws = await open_aws()
    with no_garbage():
        for _ in range(2):
            with pytest.raises(AccessDenied):
                await read(aws)
    assert [event.code for event in events if isinstance(event, ApiCalled)] == ["NoCredentialsError"] * 2


# --- TLS and proxies --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def plain_speaker() -> AsyncIterator[int]:
    """The port of a server that answers a TLS greeting with plain text."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
async def test_a_server_is_trusted_whom_boto3_would_trust(open_aws: OpenAws, tmp_path: Path, variable: str) -> None:
    trusted, context = certificate(tmp_path, "127.0.0.1")
    page = PAGE + b" " * 500_000
    async with serving([answer(page)], [answer(PAGE)], context=context) as server:
        aws = await open_aws(AWS_ENDPOINT_URL=f"https://127.0.0.1:{server.port}", **{variable: str(trusted)})
        assert [await read(aws), await read(aws)] == [{BODY: page}, {BODY: PAGE}]
        aws.disconnect()
        await asyncio.sleep(0.05)
    assert server.connections == 1


@pytest.mark.parametrize("calls", ["direct", "boto3"])
@pytest.mark.parametrize("fault", ["unknown", "another address", "no TLS"])
async def test_a_server_is_not_trusted_whom_boto3_would_not_trust_and_nothing_was_sent(
    open_aws: OpenAws, tmp_path: Path, fault: str, calls: Literal["direct", "boto3"]
) -> None:
    trusted, context = certificate(tmp_path, "127.0.0.2" if fault == "another address" else "127.0.0.1")
    variables = {} if fault == "unknown" else {"AWS_CA_BUNDLE": str(trusted)}
    async with serving([answer(PAGE)], context=context) as server, plain_speaker() as plain:
        port = plain if fault == "no TLS" else server.port
        aws = await open_aws(replace(CONFIG, calls=calls), AWS_ENDPOINT_URL=f"https://127.0.0.1:{port}", **variables)
        with pytest.raises(Unavailable, match="SSLError") as caught:
            await read(aws)
    assert (caught.value.answered, caught.value.sent) == (False, False)
    assert server.requests == []


async def test_where_a_proxy_is_configured_boto3s_path_is_taken_and_that_is_said_once(
    open_aws: OpenAws, events: list[Event]
) -> None:
    async with serving([answer(PAGE)], [answer(PAGE)]) as server:
        aws = await open_aws(AWS_ENDPOINT_URL="http://localhost:1", HTTP_PROXY=f"http://127.0.0.1:{server.port}")
        for _ in range(2):
            await read(aws)
        aws.close()

    assert server.requests[0].startswith(b"POST http://localhost:1/ HTTP/1.1\r\n")
    said = [event for event in events if isinstance(event, CallsByBoto3)]
    assert said == [CallsByBoto3(service="dynamodbstreams", reason="a proxy is configured")]


async def test_the_setting_takes_boto3s_path(open_aws: OpenAws, events: list[Event]) -> None:
    aws = await open_aws(replace(CONFIG, calls="boto3"))
    assert (aws.hot_reads, aws.hot_leases, aws.hot_sends) == (aws.reads, aws.leases, aws.sends)
    assert events == []
