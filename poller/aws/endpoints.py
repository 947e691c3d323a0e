"""Which endpoints are acceptable, and how to name the setting that an endpoint comes from. Pure.

Plain http shows item content and signatures to the network; a link-local address is the instance's metadata service,
which has two more in IPv6.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from poller.errors import ConfigurationError

# Of EC2's instances and of EKS's pods, where it is no link-local one ("fd00:ec2::254", "fd00:ec2::23").
_CREDENTIALS_V6: Final = ipaddress.IPv6Network("fd00:ec2::/32")
# How a network without IPv4 names an address of it (RFC 6052).
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")


def check_endpoint(service_id: str, url: str, environ: Mapping[str, str], *, allow_insecure: bool) -> None:
    """Raises ConfigurationError for an endpoint not to be used; `service_id` as in the model: `DynamoDB Streams`.

    Refused: any scheme but http and https, link-local addresses, and http elsewhere than on loopback unless allowed.
    """
    parts = urlsplit(url)
    setting = f"{source_of(service_id, url, environ)}={_shown(url)}"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(f"{setting}: not a URL: write it as https://host or http://127.0.0.1:8000")
    address = _address(parts.hostname)
    if address is not None and (address.is_link_local or address in _CREDENTIALS_V6):
        raise ConfigurationError(
            f"{setting}: a link-local address, where instances keep their credentials: name the service's own endpoint"
        )
    if parts.scheme == "http" and not allow_insecure and not is_loopback(parts.hostname):
        raise ConfigurationError(
            f"{setting}: plain http to another host: use https, or set POLLER_ALLOW_INSECURE_ENDPOINTS=true"
        )


def is_loopback(host: str) -> bool:
    """`localhost`, a name under it (RFC 6761), or an address of this host's loopback."""
    address = _address(host)
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")


def source_of(service_id: str, url: str, environ: Mapping[str, str]) -> str:
    """The environment variable that an endpoint comes from, or where else it must come from."""
    for name in endpoint_variables(service_id):
        if environ.get(name) == url:
            return name
    return "endpoint_url in the AWS profile"


def endpoint_variables(service_id: str) -> tuple[str, str]:
    """The variables that set a service's endpoint, the stronger first."""
    return f"AWS_ENDPOINT_URL_{service_id.upper().replace(' ', '_')}", "AWS_ENDPOINT_URL"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is written as, in any of the forms that the resolver reads; None for a name."""
    try:
        # Also 127.1, 2130706433 and 0x7f000001: what the C library takes for an address.
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        pass
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return None
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def _shown(url: str) -> str:
    """The URL without user name and password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"***@{host}")) if host != parts.netloc else url
