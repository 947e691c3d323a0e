"""Where requests go: over TLS that nobody can switch off, plain http only where that is allowed, never link-local."""

from __future__ import annotations

import ast
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poller.aws.direct.trust import context
from poller.aws.endpoints import check_endpoint
from poller.aws.errors import Target
from poller.aws.pool import NEVER
from poller.aws.session import Aws, AwsConfig
from poller.errors import ConfigurationError, Unavailable
from poller.settings.sources import variables
from tests.direct.certificates import certificate
from tests.direct.server import answer, serving
from tests.memory.clock import ManualClock

ORDERS = Target("orders")
CONFIG = AwsConfig(
    region="eu-west-1", connect_timeout_s=5, request_timeout_s=10, read_threads=1, lease_threads=1, send_threads=1
)
# What switches verification off, or is believed to, in one program or another.
SWITCHES = {
    "AWS_CA_BUNDLE": "false",
    "REQUESTS_CA_BUNDLE": "",
    "CURL_CA_BUNDLE": "",
    "PYTHONHTTPSVERIFY": "0",
    "AWS_NO_VERIFY_SSL": "true",
    "BOTO_DISABLE_COMMONNAME": "1",
    "SSL_CERT_FILE": "",
    "NODE_TLS_REJECT_UNAUTHORIZED": "0",
}
# An empty one is refused at the start, and would hide what the others do.
BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
LINK_LOCAL = [
    "http://169.254.169.254",
    "https://169.254.170.2/v2",
    "http://0251.0376.0251.0376",
    "http://0xa9.0xfe.0xa9.0xfe",
    "http://169.16689662",
    "https://[fe80::1%25eth0]",
    "https://[::ffff:169.254.169.254]",
    "https://[::ffff:a9fe:a9fe]",
    "https://[64:ff9b::a9fe:a9fe]",
    "https://[fd00:ec2::254]",
]


@pytest.mark.parametrize("url", LINK_LOCAL)
@pytest.mark.parametrize("allow_insecure", [True, False])
def test_no_setting_allows_the_address_where_instances_keep_their_credentials(url: str, allow_insecure: bool) -> None:
    with pytest.raises(ConfigurationError):
        check_endpoint("SQS", url, {}, allow_insecure=allow_insecure)


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1",
        "http://sqs.eu-west-1.amazonaws.com",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://user@10.0.0.1",
        "http://127.0.0.1@10.0.0.1",
        "http://0.0.0.0:9324",
        "HTTP://10.0.0.1",
    ],
)
def test_plain_http_leaves_this_machine_only_where_that_is_allowed(url: str) -> None:
    with pytest.raises(ConfigurationError, match="plain http to another host"):
        check_endpoint("SQS", url, {}, allow_insecure=False)
    check_endpoint("SQS", url, {}, allow_insecure=True)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "gopher://127.0.0.1", "https://", "//127.0.0.1", "ws://127.0.0.1"]
)
def test_nothing_but_http_and_https_is_spoken(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not a URL"):
        check_endpoint("SQS", url, {}, allow_insecure=True)


@pytest.fixture
async def nobody_vouches_for_it(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a server with a certificate that is in order, of nobody whom anybody knows."""
    _, tls = certificate(tmp_path, "127.0.0.1")
    async with serving([answer(b"{}")], [answer(b"{}")], context=tls) as server:
        yield f"https://127.0.0.1:{server.port}"
    assert server.requests == []


@pytest.mark.parametrize("calls", ["direct", "boto3"])
@pytest.mark.parametrize("switch", [*BUNDLES, "all others"])
async def test_no_variable_switches_the_checking_of_certificates_off(
    nobody_vouches_for_it: str, monkeypatch: pytest.MonkeyPatch, aws_env: dict[str, str], calls: str, switch: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody_vouches_for_it)
    for name in [switch] if switch in BUNDLES else SWITCHES.keys() - BUNDLES:
        monkeypatch.setenv(name, SWITCHES[name])
    config = AwsConfig(**{**{name: getattr(CONFIG, name) for name in CONFIG.__slots__}, "calls": calls})
    with pytest.raises((Unavailable, ConfigurationError)):  # nobody who is trusted, or a bundle that is none
        await read(config)


async def read(config: AwsConfig) -> None:
    aws = await Aws.open(config, lambda _: None, ManualClock().monotonic)
    try:
        await aws.hot_reads.ask("GetRecords", ORDERS, NEVER, {"ShardIterator": "x", "Limit": 1})
    finally:
        aws.close()


def test_no_setting_is_about_verification() -> None:
    assert [name for name in variables() if any(word in name for word in ("verify", "tls", "ssl", "cert"))] == []


def test_the_way_of_the_daemons_own_checks_certificates_and_names(tmp_path: Path) -> None:
    trusted, _ = certificate(tmp_path, "127.0.0.1")
    made = context(str(trusted))
    assert made.check_hostname
    assert made.verify_mode.name == "CERT_REQUIRED"
    assert made.minimum_version.name in ("TLSv1_2", "TLSv1_3")


def test_nothing_in_the_source_weakens_it() -> None:
    weak = {"CERT_NONE", "_create_unverified_context", "disable_warnings", "InsecureRequestWarning"}
    found = []
    for path in (Path(__file__).parents[2] / "poller").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = getattr(node, "attr", getattr(node, "id", None))
            switched = isinstance(node, ast.keyword) and node.arg in ("verify", "check_hostname", "verify_ssl")
            if name in weak or switched:
                found.append(f"{path.name}:{getattr(node, 'lineno', 0)}")
    assert found == []


def test_a_name_that_leads_to_loopback_is_no_exception_to_plain_http() -> None:
    """A name may lead elsewhere at the next look: only `localhost`, which no resolver is asked for, is trusted."""
    assert socket.inet_aton("127.1")  # this machine's resolver reads short forms, and so does the check
    check_endpoint("SQS", "http://127.1:9324", {}, allow_insecure=False)
    with pytest.raises(ConfigurationError):
        check_endpoint("SQS", "http://localtest.me", {}, allow_insecure=False)
