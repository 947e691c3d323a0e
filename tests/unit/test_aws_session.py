"""The clients: where they send to, what they refuse, what they are made of."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader
from botocore.regions import EndpointResolver

from poller import __version__
from poller.aws.components import ModelLoader
from poller.aws.endpoints import check_endpoint, is_loopback
from poller.aws.errors import Target
from poller.aws.pool import NEVER
from poller.aws.session import Aws, AwsConfig, _sessions
from poller.errors import AccessDenied, ConfigurationError
from poller.events import ApiCalled, Event
from tests.memory.clock import ManualClock
from tests.memory.wire import Answer, Wire

CONFIG = AwsConfig(
    region=None, connect_timeout_s=1, request_timeout_s=2.5, read_threads=3, lease_threads=2, send_threads=4
)
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
ORDERS = Target("orders")

SSO_PROFILE = """\
[profile dev]
region = eu-west-1
sso_session = work
sso_account_id = 123456789012
sso_role_name = Dev
[sso-session work]
sso_region = eu-west-1
sso_start_url = https://example.awsapps.com/start
"""

OpenAws = Callable[..., Awaitable[Aws]]


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
async def open_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, events: list[Event]) -> AsyncIterator[OpenAws]:
    """Opens the clients under these variables and no others."""
    opened: list[Aws] = []
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))

    async def open_with(config: AwsConfig = CONFIG, **variables: str) -> Aws:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        opened.append(await Aws.open(config, events.append, ManualClock().monotonic))
        return opened[-1]

    yield open_with
    for aws in opened:
        aws.close()


# --- region and credentials ---


@pytest.mark.parametrize(
    ("setting", "variables", "region"),
    [
        ("eu-west-1", {"AWS_REGION": "us-east-1"}, "eu-west-1"),
        (None, {"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "us-east-1"}, "eu-west-2"),
        (None, {"AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
    ],
)
async def test_the_region_comes_from_the_setting_or_the_usual_variables(
    open_aws: OpenAws, setting: str | None, variables: dict[str, str], region: str
) -> None:
    aws = await open_aws(replace(CONFIG, region=setting), **CREDENTIALS, **variables)

    assert aws.region == region
    assert aws.reads.client.meta.endpoint_url == f"https://streams.dynamodb.{region}.amazonaws.com"
    assert aws.leases.client.meta.endpoint_url == f"https://dynamodb.{region}.amazonaws.com"
    assert aws.sends.client.meta.endpoint_url == f"https://sqs.{region}.amazonaws.com"


async def test_region_and_credentials_may_come_from_a_profile(open_aws: OpenAws, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("[profile work]\nregion = eu-west-1\naws_access_key_id = a\naws_secret_access_key = b\n")

    aws = await open_aws(AWS_CONFIG_FILE=str(file), AWS_PROFILE="work")

    assert aws.region == "eu-west-1"


async def test_without_a_region_the_start_is_refused_with_the_mend(open_aws: OpenAws) -> None:
    with pytest.raises(ConfigurationError, match=r"AWS_REGION is not set.*for instance AWS_REGION=eu-west-1"):
        await open_aws(**CREDENTIALS)


async def test_what_is_no_region_is_refused(open_aws: OpenAws) -> None:
    with pytest.raises(ConfigurationError, match="AWS_REGION=eu west: not the name of a region: write it as eu-west-1"):
        await open_aws(AWS_REGION="eu west", **CREDENTIALS)


async def test_a_profile_that_does_not_exist_is_refused_by_name(open_aws: OpenAws) -> None:
    with pytest.raises(
        ConfigurationError, match=r"AWS_PROFILE=nobody: The config profile \(nobody\) could not be found"
    ):
        await open_aws(AWS_PROFILE="nobody", AWS_REGION="eu-west-1")


async def test_a_configuration_file_that_cannot_be_read_is_refused(open_aws: OpenAws, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("[profile work\n")

    with pytest.raises(ConfigurationError, match="Unable to parse config file"):
        await open_aws(AWS_CONFIG_FILE=str(file), AWS_REGION="eu-west-1")


async def test_without_credentials_access_is_denied_with_the_mend(open_aws: OpenAws) -> None:
    with pytest.raises(AccessDenied, match="no AWS credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID"):
        await open_aws(AWS_REGION="eu-west-1")


async def test_half_a_pair_of_credentials_is_named(open_aws: OpenAws) -> None:
    with pytest.raises(AccessDenied, match="AWS_SECRET_ACCESS_KEY"):
        await open_aws(AWS_REGION="eu-west-1", AWS_ACCESS_KEY_ID="test")


class _Portal(BaseHTTPRequestHandler):
    """IAM Identity Center, of which only one question is asked."""

    def do_GET(self) -> None:
        expires_ms = int((time.time() + 3600) * 1000)
        keys = {"accessKeyId": "a", "secretAccessKey": "b", "sessionToken": "c", "expiration": expires_ms}
        known = self.path.startswith("/federation/credentials?") and self.headers["x-amz-sso_bearer_token"] == "token"
        body = json.dumps({"roleCredentials": keys} if known else {}).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Nothing on the test's output."""


async def test_credentials_may_come_from_an_sso_profile(
    open_aws: OpenAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, cache = tmp_path / "config", tmp_path / "cache"
    monkeypatch.setattr("botocore.tokens.SSOTokenProvider._SSO_TOKEN_CACHE_DIR", str(cache))
    file.write_text(SSO_PROFILE)
    cache.mkdir()
    token = {"accessToken": "token", "expiresAt": "2099-01-01T00:00:00Z"}
    (cache / f"{hashlib.sha1(b'work', usedforsecurity=False).hexdigest()}.json").write_text(json.dumps(token))
    with HTTPServer(("127.0.0.1", 0), _Portal) as portal:
        threading.Thread(target=portal.serve_forever, daemon=True).start()
        aws = await open_aws(
            AWS_CONFIG_FILE=str(file),
            AWS_PROFILE="dev",
            AWS_ENDPOINT_URL_SSO=f"http://127.0.0.1:{portal.server_port}",
        )
        wire = Wire(aws.leases.client, Answer({"TableNames": []}))
        await aws.leases.pool.call("ListTables", ORDERS, NEVER, aws.leases.client.list_tables)
        portal.shutdown()

    authorization: Any = wire.requests[0].headers["Authorization"]
    assert b"Credential=a/" in authorization


async def test_who_has_not_logged_in_is_told_to(
    open_aws: OpenAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "config"
    monkeypatch.setattr("botocore.tokens.SSOTokenProvider._SSO_TOKEN_CACHE_DIR", str(tmp_path))
    file.write_text(SSO_PROFILE)
    aws = await open_aws(AWS_CONFIG_FILE=str(file), AWS_PROFILE="dev")

    with pytest.raises(AccessDenied, match=r"Token for work does not exist; log in again with `aws sso login`"):
        await aws.leases.pool.call("ListTables", ORDERS, NEVER, aws.leases.client.list_tables)


@pytest.mark.parametrize("service", ["sso", "sso-oidc", "signin", "sts"])
async def test_botocore_finds_what_it_gets_credentials_from(
    open_aws: OpenAws, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    session, _ = _sessions()
    create: Any = session.client

    assert create(service, region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")


# --- endpoints ---


def test_the_endpoints_that_are_left_out_are_those_of_services_that_are_not_called() -> None:
    """All regions and variants of what is called, beside botocore's own list."""
    loaders = (ModelLoader(), Loader())
    ours, botocores = (EndpointResolver(loader.load_data("endpoints")) for loader in loaders)
    partitions = botocores.get_available_partitions()
    assert ours.get_available_partitions() == partitions
    regions = {
        region
        for partition in loaders[1].load_data("endpoints")["partitions"]
        for region in [*partition["regions"], f"{next(iter(partition['regions']))[:-1]}9", "nowhere"]
    }
    services = loaders[0].list_available_services("service-2")
    prefixes = {loaders[0].load_service_model(name, "service-2")["metadata"]["endpointPrefix"] for name in services}
    assert len(prefixes) == 8
    for prefix in prefixes:
        for partition in partitions:
            assert ours.get_available_endpoints(prefix, partition) == botocores.get_available_endpoints(
                prefix, partition
            )
        for region in regions:
            for variant in product((False, True), repeat=2):
                assert _endpoint(ours, prefix, region, *variant) == _endpoint(botocores, prefix, region, *variant)


def _endpoint(resolver: Any, prefix: str, region: str, fips: bool, dual_stack: bool) -> object:
    try:
        return resolver.construct_endpoint(prefix, region, use_fips_endpoint=fips, use_dualstack_endpoint=dual_stack)
    except BotoCoreError as error:
        return str(error)


async def test_each_service_has_its_own_endpoint_variable_and_the_general_one_is_for_the_rest(
    open_aws: OpenAws,
) -> None:
    aws = await open_aws(
        AWS_REGION="eu-west-1",
        AWS_ENDPOINT_URL="http://127.0.0.1:1",
        AWS_ENDPOINT_URL_DYNAMODB="http://127.0.0.1:2",
        AWS_ENDPOINT_URL_DYNAMODB_STREAMS="http://127.0.0.1:3",
        **CREDENTIALS,
    )

    assert aws.leases.client.meta.endpoint_url == "http://127.0.0.1:2"
    assert aws.reads.client.meta.endpoint_url == "http://127.0.0.1:3"
    assert aws.sends.client.meta.endpoint_url == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("variable", "url", "fault"),
    [
        (
            "AWS_ENDPOINT_URL_SQS",
            "http://sqs.example.com:9324",
            "plain http to another host: use https, or set POLLER_A",
        ),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://10.0.0.1", "plain http to another host"),
        ("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", "http://[2001:db8::1]", "plain http to another host"),
        ("AWS_ENDPOINT_URL", "http://169.254.169.254", "a link-local address"),
        ("AWS_ENDPOINT_URL", "https://169.254.170.2", "a link-local address"),
        ("AWS_ENDPOINT_URL", "ftp://127.0.0.1", "not a URL"),
    ],
)
async def test_an_endpoint_that_must_not_be_used_is_refused_by_the_variable_that_sets_it(
    open_aws: OpenAws, variable: str, url: str, fault: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await open_aws(AWS_REGION="eu-west-1", **CREDENTIALS, **{variable: url})

    assert str(caught.value).startswith(f"{variable}={url}: {fault}")


@pytest.mark.parametrize("url", ["localhost:8000", "http://dynamodb_local:8000", "http://"])
async def test_an_endpoint_that_is_no_url_is_refused_by_its_variable(open_aws: OpenAws, url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await open_aws(AWS_REGION="eu-west-1", AWS_ENDPOINT_URL_SQS=url, **CREDENTIALS)

    assert str(caught.value).startswith("AWS_ENDPOINT_URL_SQS")
    assert url in str(caught.value)


async def test_plain_http_to_another_host_can_be_allowed(open_aws: OpenAws) -> None:
    aws = await open_aws(
        replace(CONFIG, allow_insecure_endpoints=True),
        AWS_REGION="eu-west-1",
        AWS_ENDPOINT_URL="http://dynamodb-local:8000",
        **CREDENTIALS,
    )

    assert aws.leases.client.meta.endpoint_url == "http://dynamodb-local:8000"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254",
        "http://2852039166",
        "http://0xa9fea9fe",
        "http://[fe80::1]",
        "http://[::ffff:a9fe:a9fe]",
    ],
)
def test_a_link_local_address_is_never_allowed_however_it_is_written(url: str) -> None:
    with pytest.raises(ConfigurationError, match="a link-local address"):
        check_endpoint("SQS", url, {}, allow_insecure=True)


def test_an_endpoint_of_the_profile_is_named_as_such_and_without_its_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_endpoint("SQS", "http://me:secret@example.com/x", {}, allow_insecure=False)

    assert str(caught.value).startswith("endpoint_url in the AWS profile=http://***@example.com/x: plain http")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("sqs.localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("127.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
        ("elasticmq", False),
    ],
)
def test_what_counts_as_this_host(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


# --- what the clients are made of ---


async def test_each_kind_of_call_has_a_client_with_its_own_connections_time_outs_and_one_attempt(
    open_aws: OpenAws,
) -> None:
    aws = await open_aws(AWS_REGION="eu-west-1", AWS_MAX_ATTEMPTS="7", **CREDENTIALS)

    configs: list[Any] = [lane.client.meta.config for lane in (aws.reads, aws.leases, aws.sends)]
    assert [config.max_pool_connections for config in configs] == [3, 2, 4]
    assert {(config.connect_timeout, config.read_timeout) for config in configs} == {(1, 2.5)}
    assert {config.retries["total_max_attempts"] for config in configs} == {1}
    assert all(config.tcp_keepalive for config in configs)


async def test_a_failed_request_is_made_once(open_aws: OpenAws) -> None:
    aws = await open_aws(AWS_REGION="eu-west-1", **CREDENTIALS)
    wire = Wire(aws.leases.client, Answer({"__type": "InternalServerError"}, 500), Answer({"TableNames": []}))

    with pytest.raises(Exception, match="InternalServerError"):
        await aws.leases.pool.call("ListTables", ORDERS, NEVER, aws.leases.client.list_tables)

    assert len(wire.requests) == 1


async def test_a_request_says_who_sent_it(open_aws: OpenAws) -> None:
    aws = await open_aws(AWS_REGION="eu-west-1", **CREDENTIALS)
    wire = Wire(aws.leases.client, Answer({"TableNames": []}))

    await aws.leases.pool.call("ListTables", ORDERS, NEVER, aws.leases.client.list_tables)

    agent: Any = wire.requests[0].headers["User-Agent"]
    assert agent.split()[0] == f"dynamodb-stream-poller/{__version__}".encode()


async def test_reading_leases_and_sending_have_threads_of_their_own(open_aws: OpenAws, events: list[Event]) -> None:
    aws = await open_aws(AWS_REGION="eu-west-1", **CREDENTIALS)

    names = {
        await lane.pool.call("Name", ORDERS, NEVER, lambda: threading.current_thread().name)
        for lane in (aws.reads, aws.leases, aws.sends)
    }

    assert names == {"dynamodbstreams-1", "dynamodb-1", "sqs-1"}
    assert [event.service for event in events if isinstance(event, ApiCalled)] == ["dynamodbstreams", "dynamodb", "sqs"]


async def test_a_cold_client_is_made_once_and_checked_like_the_others(open_aws: OpenAws) -> None:
    aws = await open_aws(AWS_REGION="eu-west-1", AWS_ENDPOINT_URL_STS="http://example.com", **CREDENTIALS)

    assert await aws.s3() is await aws.s3()
    with pytest.raises(ConfigurationError, match=r"AWS_ENDPOINT_URL_STS=http://example\.com: plain http"):
        await aws.sts()
