"""What botocore would send for an operation: its URL and headers, as a form that is only filled in for each request.

botocore itself is asked, once for each operation and resource: it resolves, serialises and signs one request, which is
stopped before it is sent. The form is used only if it gives that same request again, signature included. So whatever
rules there are for endpoints, partitions, FIPS, dual stack or accounts, they are botocore's own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import msgspec
from botocore import xform_name
from botocore.utils import get_environ_proxies

from poller.aws.direct.signer import ALGORITHM, Keys, Signer

encode: Final = msgspec.json.Encoder().encode
# What differs from request to request, and what speaks of botocore's own attempts.
_NOT_IN_THE_FORM: Final = frozenset(
    {
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "authorization",
        "content-length",
        "host",
        "x-amz-date",
        "x-amz-security-token",
        "x-amzn-trace-id",
    }
)


class NotDirect(Exception):
    """Requests of this kind must go by boto3; says why."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go to."""

    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """One request as botocore would have sent it; header names in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    def is_by(self, keys: Keys) -> bool:
        """Was it signed with these credentials, or by something that names none?"""
        authorization = self.headers.get("authorization", "")
        return "Credential=" not in authorization or f"Credential={keys.access_key}/" in authorization


class Blueprint:
    """The form of one operation's requests. NotDirect: it cannot be filled in so that botocore's own comes out."""

    def __init__(self, sample: Sample) -> None:
        parts = urlsplit(sample.url)
        tls = parts.scheme == "https"
        if sample.method != "POST" or parts.scheme not in {"http", "https"} or not parts.hostname:
            raise NotDirect("it is no POST request to an http or https endpoint")
        self.url: Final = sample.url
        self.origin: Final = Origin(parts.hostname, parts.port or (443 if tls else 80), tls)
        region, service, signed = _signature(sample.headers.get("authorization", ""))
        host = parts.netloc.rpartition("@")[2].removesuffix(":443" if tls else ":80")
        fixed = {name: value for name, value in sample.headers.items() if name not in _NOT_IN_THE_FORM}
        try:
            self._signer = Signer(
                sample.url,
                {name: value for name, value in fixed.items() if name in signed} | {"host": host},
                region,
                service,
            )
        except ValueError as error:
            raise NotDirect(str(error)) from error
        lines = ["POST / HTTP/1.1", f"Host: {host}", "Accept-Encoding: identity"]
        self._head = "".join(f"{line}\r\n" for line in (*lines, *(f"{name}: {fixed[name]}" for name in fixed))).encode()

    def fill(self, keys: Keys, time: str, body: bytes) -> bytes:
        """The whole request. `time` as in `X-Amz-Date`."""
        token = f"X-Amz-Security-Token: {keys.token}\r\n" if keys.token else ""
        rest = (
            f"X-Amz-Date: {time}\r\n{token}Authorization: {self._signer.sign(keys, time, body)}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return b"".join((self._head, rest.encode(), body))

    def check(self, sample: Sample, keys: Keys) -> None:
        """NotDirect unless this form gives the sample's own signature."""
        if self._signer.sign(keys, sample.headers["x-amz-date"], sample.body) != sample.headers["authorization"]:
            raise NotDirect("its requests would be signed in another way than botocore's")


def draw(client: Any, operation: str, request: Mapping[str, Any]) -> tuple[Blueprint, Sample]:
    """The form of such requests, from the one that botocore makes. Takes milliseconds, and may wait for credentials.

    NotDirect: they must go by boto3. Raises what the client's method raises.
    """
    sample = _sample(client, operation, request)
    if client.meta.config.proxies or get_environ_proxies(sample.url):
        raise NotDirect("a proxy is configured")
    if json.loads(sample.body) != json.loads(encode(request)):
        raise NotDirect("its requests would be written in another way than botocore's")
    return Blueprint(sample), sample


class _Stopped(Exception):
    def __init__(self, request: Any) -> None:
        super().__init__()
        self.request = request


def _sample(client: Any, operation: str, request: Mapping[str, Any]) -> Sample:
    """The client's other threads go on undisturbed."""
    thread = threading.get_ident()

    def stop(request: Any, **_: Any) -> None:
        if threading.get_ident() == thread:
            raise _Stopped(request)

    moment = f"before-send.{client.meta.service_model.service_id.hyphenize()}.{operation}"
    client.meta.events.register(moment, stop)
    try:
        _call(getattr(client, xform_name(operation)), request)
    except _Stopped as stopped:
        sent = stopped.request
    finally:
        client.meta.events.unregister(moment, stop)
    headers = {name.lower(): _text(value) for name, value in sent.headers.items()}
    return Sample(sent.method, sent.url, headers, sent.body)


def _call(method: Any, request: Mapping[str, Any]) -> NoReturn:
    method(**request)
    raise NotDirect("botocore's request could not be stopped")


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _signature(authorization: str) -> tuple[str, str, frozenset[str]]:
    """Region, service and the signed headers' names."""
    if not authorization.startswith(f"{ALGORITHM} "):
        raise NotDirect("its requests are not signed with " + ALGORITHM)
    fields = dict(part.strip().split("=", 1) for part in authorization.removeprefix(ALGORITHM).split(","))
    _key, _day, region, service, _ending = fields["Credential"].rsplit("/", 4)
    return region, service, frozenset(fields["SignedHeaders"].split(";"))
