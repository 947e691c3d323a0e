"""The stand-in itself: one HTTP server before one world, for three services of AWS.

A call is dispatched by its `X-Amz-Target`; a fault that fits is found first, and spoils the call or its answer.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Final

import msgspec

from tests.standin import control, items, queues_api, s3, streams_api
from tests.standin.calls import Call
from tests.standin.faults import Fault, Kind
from tests.standin.httpd import Ending, HttpServer, Reply, Request
from tests.standin.queues import Outage
from tests.standin.wire import (
    JSON_TYPE,
    Answer,
    Operation,
    Params,
    ServiceError,
    Subject,
    error_answer,
    json_answer,
    with_crc32,
)
from tests.standin.world import World

_TARGETS: Final[dict[bytes, tuple[str, str, Operation]]] = {
    f"{prefix}.{name}".encode(): (service, name, operation)
    for service, prefix, operations in (
        ("dynamodb", "DynamoDBStreams_20120810", streams_api.OPERATIONS),
        ("dynamodb", "DynamoDB_20120810", items.OPERATIONS),
        ("sqs", "AmazonSQS", queues_api.OPERATIONS),
    )
    for name, operation in operations.items()
}
_HTML: Final = b"<html><body><h1>Bad Gateway</h1></body></html>"
_APPLIED: Final = {Kind.LOST, Kind.HALF, Kind.HALF_RESET, Kind.DELAY, Kind.WRONG_CRC32, Kind.TRUNCATED}
_ENDINGS: Final = {
    Kind.RESET: Ending.RESET,
    Kind.LOST: Ending.RESET,
    Kind.HALF: Ending.HALF,
    Kind.HALF_RESET: Ending.HALF_RESET,
    Kind.HANG: Ending.HANG,
}


class StandIn:
    """`async with StandIn() as world:` listens on a free port of the loopback interface for as long as the block lasts.

    Raises what went wrong in the stand-in itself, if anything did, when the block ends.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        region: str = "us-east-1",
        account: str = "000000000000",
        calls_kept: int = 100_000,
    ) -> None:
        self._address = (host, port, tls)
        self.world = World(region=region, account=account, calls_kept=calls_kept)
        self.world.http = HttpServer(self._handle)

    async def __aenter__(self) -> World:
        host, port, tls = self._address
        port = await self.world.http.start(host, port, tls)
        self.world.url = f"{'https' if tls else 'http'}://{host}:{port}"
        return self.world

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.world.http.stop()
        if self.world.http.defects and error is None:
            raise ExceptionGroup("the stand-in itself is broken", self.world.http.defects)

    def _handle(self, request: Request) -> Reply:
        if request.path == b"/_control":
            return Reply(control.answer(self.world, request.body))
        target = request.headers.get(b"x-amz-target")
        if target is None and b"/s3/" in request.headers.get(b"authorization", b""):
            name = s3.operation_of(request.method)
            params = s3.params_of(request.path, request.body)
            exchange = _Exchange(self.world, "s3", name, s3.OPERATIONS[name], _access_key(request))
            return exchange.reply(lambda: params)
        if target is None:
            return Reply(Answer(404, (b"no X-Amz-Target",), content_type="text/plain"))
        known = _TARGETS.get(target)
        if known is None:
            service = "sqs" if target.startswith(b"AmazonSQS.") else "dynamodb"
            return Reply(error_answer(service, ServiceError("UnknownOperationException")))
        return _Exchange(self.world, *known, _access_key(request)).reply(lambda: _parse(request.body))


class _Exchange:
    """One call from its body to its reply."""

    def __init__(self, world: World, service: str, name: str, operation: Operation, access_key: str) -> None:
        self._world = world
        self._service = service
        self._name = name
        self._operation = operation
        self._access_key = access_key
        self._outcome = "OK"

    def reply(self, read: Callable[[], Params]) -> Reply:
        subject = Subject()
        fault: Fault | None = None
        try:
            params = read()
            subject = self._operation.subject(self._world, params)
            self._world.policies.check(self._world, self._service, self._name, subject, params, self._access_key)
            fault = self._world.faults.pick(self._name, subject, self._access_key) or self._outage(subject)
            run = self._operation.run
            answer = self._spoilt(fault, lambda: run(self._world, params, self._access_key))
        except ServiceError as error:
            self._outcome = error.code
            answer = s3.error_answer(error) if self._service == "s3" else error_answer(self._service, error)
        if fault is not None and fault.kind is not Kind.ERROR:
            self._outcome = fault.kind.value
        self._world.calls.add(Call(self._world.clock.monotonic(), self._name, subject, self._access_key, self._outcome))
        if self._service == "dynamodb" and answer.content_type == JSON_TYPE:
            answer = with_crc32(answer)
        if fault is None:
            return Reply(answer)
        return Reply(answer, _ENDINGS.get(fault.kind, Ending.ANSWER), fault.delay_s)

    def _outage(self, subject: Subject) -> Fault | None:
        queue = self._world.queues.get(subject.queue)
        if queue is None or queue.outage is None:
            return None
        return Fault.unavailable() if queue.outage is Outage.UNAVAILABLE else Fault(Kind.RESET)

    def _spoilt(self, fault: Fault | None, run: Callable[[], Answer]) -> Answer:
        """The operation's answer, as the fault leaves it. Raises ServiceError."""
        if fault is None:
            if not self._world.rates.allows(self._name, self._world.clock.monotonic()):
                raise ServiceError("ThrottlingException", "Rate exceeded")
            return run()
        if fault.kind is Kind.ERROR:
            raise ServiceError(fault.code, fault.message, status=fault.status)
        if fault.kind is Kind.HTML:
            return Answer(fault.status, (_HTML,), content_type="text/html")
        if fault.kind not in _APPLIED:
            return json_answer({})
        answer = run()
        if fault.kind is Kind.WRONG_CRC32:
            return replace(answer, crc32=((with_crc32(answer).crc32 or 0) + 1) % 2**32)
        if fault.kind is Kind.TRUNCATED:
            body = b"".join(answer.parts)
            return replace(answer, parts=(body[: len(body) // 2],), crc32=None)
        return answer


def _parse(body: bytes) -> Params:
    """The call's parameters. msgspec refuses unpaired surrogates; SQS must see them, to refuse them entry by entry."""
    try:
        params = msgspec.json.decode(body or b"{}")
    except msgspec.DecodeError:
        try:
            params = json.loads(body)
        except ValueError:
            raise ServiceError("SerializationException", "the request is not JSON") from None
    if not isinstance(params, dict):
        raise ServiceError("SerializationException", "the request is not a JSON object")
    return Params(params)


def _access_key(request: Request) -> str:
    """Who called: the access key id of the signature."""
    _, _, rest = request.headers.get(b"authorization", b"").partition(b"Credential=")
    return rest.partition(b"/")[0].decode("ascii", "replace")
