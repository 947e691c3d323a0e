"""The hot calls of one service on connections of our own; by boto3 where that is set, or where nothing else will do.

One attempt each, with the errors, time limits and events of `poller.aws.pool`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from botocore.awsrequest import HeadersDict
from botocore.exceptions import ClientError, MetadataRetrievalError

from poller.aws.components import BODY, PARSER, check_whole
from poller.aws.direct.blueprint import Blueprint, NotDirect, draw, encode
from poller.aws.direct.credentials import Credentials
from poller.aws.direct.http import Answer
from poller.aws.direct.origin import Connections
from poller.aws.direct.threads import ignore, in_thread
from poller.aws.direct.trust import context
from poller.aws.errors import EXPIRED, FAR_SIDE, Target, UnreadableAnswer, credentials_away, translate
from poller.aws.pool import Lane
from poller.errors import AwsError, DeadlinePassed
from poller.events import ApiCalled, CallsByBoto3, Emit

_OK_MAX: Final = 300  # statuses below it are answers, from it on errors
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Limits:
    """In seconds, of one request: to connect, to hear nothing, and for all of it."""

    connect_s: float
    silence_s: float
    whole_s: float


@dataclass(frozen=True, slots=True)
class _Way:
    """How requests of one kind go out."""

    blueprint: Blueprint
    connections: Connections


@dataclass(frozen=True, slots=True)
class _Making:
    """The way of one kind, on its way."""

    key: tuple[str, str]
    task: asyncio.Task[None]


class DirectCalls:
    """`poller.aws.pool.Calls` for one service. `certificates`: the file of those that are trusted."""

    def __init__(
        self,
        service: str,
        lane: Lane[Any],
        *,
        credentials: Credentials,
        certificates: str,
        limits: Limits,
        emit: Emit,
        monotonic: Callable[[], float],
    ) -> None:
        self._service = service
        self._lane = lane
        self._credentials = credentials
        self._certificates = certificates
        self._limits = limits
        self._emit = emit
        self._monotonic = monotonic
        self._ways: dict[tuple[str, str], _Way | None] = {}
        self._making: _Making | None = None
        self._connections: dict[object, Connections] = {}
        self._said: set[str] = set()
        self._second = 0
        self._date = ""

    async def ask(self, operation: str, target: Target, not_after: float, request: Mapping[str, Any]) -> Any:
        """As `Pool.call`, for the client's method of that operation."""
        key = operation, _about(request)
        way = self._ways.get(key) or await self._way(key, target, request)
        if way is None:
            return await self._lane.ask(operation, target, not_after, request)
        started = self._monotonic()
        try:
            answer = await self._attempt(way, operation, not_after, encode(request))
        except DeadlinePassed:
            raise DeadlinePassed(f"{operation} on {target.name}: not sent, its deadline has passed") from None
        except Exception as error:
            # Without a name here: an error that this frame knows would keep the frame, and with it the request, alive
            # until the garbage collector comes, which is seldom.
            raise self._failed(error, operation, target, started) from error
        self._count(operation, "OK", started)
        return answer

    def close(self) -> None:
        for connections in self._connections.values():
            connections.close()

    async def _attempt(self, way: _Way, operation: str, not_after: float, body: bytes) -> Any:
        credentials = self._credentials
        if credentials.wanting:
            await credentials.ready(self._limits.whole_s)

        def fill() -> bytes:
            # When the connection is there, and not before: to connect may take longer than the lease lasts.
            if self._monotonic() >= not_after:
                raise DeadlinePassed
            return way.blueprint.fill(credentials.keys, self._now(), body)

        limits = self._limits
        answer = await way.connections.ask(fill, limits.silence_s, limits.whole_s)
        return self._read(operation, answer)

    def _read(self, operation: str, answer: Answer) -> Any:
        """What the client's method would return or raise."""
        if answer.status >= _OK_MAX:
            raise self._refused(operation, answer)
        check_whole(answer.headers, answer.body, json=False)
        if operation == "GetRecords":
            return {BODY: answer.body}
        try:
            return _decode(answer.body)
        except (ValueError, RecursionError) as error:
            text = "the answer is not a JSON object: something other than AWS answers here"
            raise UnreadableAnswer("UnreadableAnswer", text) from error

    def _refused(self, operation: str, answer: Answer) -> ClientError:
        response = {
            "headers": HeadersDict(answer.headers),
            "status_code": answer.status,
            "body": bytes(answer.body),
            "context": {"operation_name": operation},
        }
        shape = self._lane.client.meta.service_model.operation_model(operation).output_shape
        parsed: Any = PARSER.parse(response, shape)
        return ClientError(parsed, operation)

    def _failed(self, error: Exception, operation: str, target: Target, started: float) -> AwsError:
        translated = self._translated(error, operation, target)
        self._count(operation, translated.code, started)
        return translated

    def _translated(self, error: Exception, operation: str, target: Target) -> AwsError:
        if not isinstance(error, FAR_SIDE) and not credentials_away(error):
            raise error  # a defect of our own
        translated = translate(error, operation=operation, resource=target.name, arn=target.arn)
        if translated.code in EXPIRED:
            self._credentials.refused()
        return translated

    def _count(self, operation: str, code: str, started: float) -> None:
        seconds = self._monotonic() - started
        self._emit(ApiCalled(service=self._service, operation=operation, code=code, seconds=seconds))

    def _now(self) -> str:
        """The wall clock as a signature wants it."""
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        return self._date

    # --- the first request of each kind -------------------------------------------------------------------------------

    async def _way(self, key: tuple[str, str], target: Target, request: Mapping[str, Any]) -> _Way | None:
        """None: they go by boto3, and that has been said.

        Waits no longer than for a whole request. What takes long are the credentials; all else is this machine's.
        """
        started, limit = self._monotonic(), asyncio.timeout(self._limits.whole_s)
        try:
            async with limit:
                while key not in self._ways:
                    await self._made(key, request)
        except Exception as error:
            raise self._failed(self._late() if limit.expired() else error, key[0], target, started) from error
        return self._ways[key]

    def _late(self) -> MetadataRetrievalError:
        return MetadataRetrievalError(error_msg=f"none came within {self._limits.whole_s:g} s")

    async def _made(self, key: tuple[str, str], request: Mapping[str, Any]) -> None:
        """Waits until the way that is being made has been, which may be that of another kind.

        One at a time, whoever waits for it and whoever has given up: a thread that hangs is the only one that does.
        """
        making, loop = self._making, asyncio.get_running_loop()
        if making is None or making.task.done() or making.task.get_loop() is not loop:
            task = loop.create_task(self._make_way(key, request))
            task.add_done_callback(ignore)
            making = self._making = _Making(key, task)
        try:
            await asyncio.shield(making.task)
        except Exception:
            if making.key == key:
                raise
        finally:
            del making  # its error knows this frame

    async def _make_way(self, key: tuple[str, str], request: Mapping[str, Any]) -> None:
        try:
            self._ways[key] = await in_thread(lambda: self._make(key[0], request))
        except NotDirect as reason:
            self._ways[key] = None
            self._say(str(reason))
        finally:
            self._making = None  # not kept, nor what its error knows

    def _make(self, operation: str, request: Mapping[str, Any]) -> _Way:
        """In a thread."""
        blueprint, sample = draw(self._lane.client, operation, request)
        keys = self._credentials.fetch()
        if not sample.is_by(keys):  # they have been renewed in between
            blueprint, sample = draw(self._lane.client, operation, request)
        blueprint.check(sample, keys)
        origin = blueprint.origin
        trusted = context(self._certificates) if origin.tls else None
        connections = self._connections.get(origin)
        if connections is None:
            connections = Connections(origin, blueprint.url, trusted, self._limits.connect_s)
            self._connections[origin] = connections
        return _Way(blueprint, connections)

    def _say(self, reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            self._emit(CallsByBoto3(service=self._service, reason=reason))


def _about(request: Mapping[str, Any]) -> Any:
    """What a request is about and its endpoint may depend on."""
    return request.get("QueueUrl") or request.get("TableName") or request.get("StreamArn") or ""
