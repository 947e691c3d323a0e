"""A process's way to a service: requests that are lost, that take effect and lose their answer, late, or not at all.

One attempt a request, as the real adapters make. What has left the process takes effect whatever becomes of it.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from poller.errors import AccessDenied, AwsError, DeadlinePassed, NotFound, PollerError, Throttled, Unavailable
from tests.sim.clocks import ProcessClock
from tests.sim.knobs import Knobs
from tests.sim.loop import Process, SimLoop

T = TypeVar("T")

# The defaults of `aws.connect_timeout` and `aws.request_timeout`.
CONNECT_TIMEOUT_S: Final = 2.0
REQUEST_TIMEOUT_S: Final = 3.0
_LATE_MAX_S: Final = 25.0

_OF_TABLES: Final = frozenset({"Scan", "DescribeTable", "CreateTable"})

# What an outage of a service looks like from outside.
OUTAGES: Final = ("refused", "hole", "lost", "mute", "throttled", "error", "denied")


@dataclass(slots=True)
class Service:
    """One of AWS's services; `outage` is of all who ask it, `unlisted` of DescribeStream alone; None for neither."""

    name: str
    outage: str | None = None
    unlisted: str | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """What becomes of a request, in seconds from the wire: its effect and its answer, None for neither.

    `error`: the code of an answer that is an error.
    """

    kind: str
    connect_s: float = 0.0
    effect_s: float | None = None
    answer_s: float | None = None
    error: str | None = None


class Link:
    """One process's way to one service. `fault_s` is when something last went wrong on it."""

    def __init__(
        self, process: Process, clock: ProcessClock, service: Service, loop: SimLoop, knobs: Knobs, rng: random.Random
    ) -> None:
        self.process = process
        self.clock = clock
        self.service = service
        self.loop = loop
        self.knobs = knobs
        self.rng = rng
        self.outage: str | None = None
        self.slow_scan = False
        self.fault_s = -math.inf

    async def request(
        self,
        operation: str,
        resource: str,
        effect: Callable[[], T],
        *,
        not_after: float = math.inf,
        on_wire: Callable[[bool], None] | None = None,
    ) -> T:
        """`effect` is what the service does. `on_wire` is called as the request leaves; true: past its deadline.

        As the real pool does it: a request is begun only as long as it could still connect before its deadline.
        """
        if self.clock.monotonic() + CONNECT_TIMEOUT_S >= not_after:
            raise DeadlinePassed(f"{operation} on {resource}: not sent")
        course = self._course(operation)
        request = _Request(self, operation, resource, effect, course, not_after, on_wire)
        if course.kind == "ok":
            request.go()
        else:
            self.fault_s = self.loop.true_s
            request.connect()
        return await request.waiter

    def _course(self, operation: str) -> Course:
        knobs = self.knobs
        latency_s = knobs.latency_s * (0.3 + self.rng.random())
        if self.service.name == "sqs":
            latency_s *= knobs.slow_queue
        unlisted = self.service.unlisted if operation == "DescribeStream" else None
        kind = self.outage or self.service.outage or unlisted or self._mishap(operation)
        if kind is None and operation == "Scan" and self.slow_scan:
            return Course("slow", effect_s=latency_s, answer_s=latency_s + self.rng.random() * knobs.slow_scan_s)
        slow_p = {"take": knobs.slow_taking_p, "release": knobs.slow_release_p}.get(operation, 0.0)
        if kind is None and self._happens(slow_p):
            return Course("slow", effect_s=latency_s, answer_s=latency_s + self.rng.random() * REQUEST_TIMEOUT_S * 0.9)
        if kind is None and operation == "renew" and self._happens(knobs.unheard_renewal_p):
            kind = "mute"
        if kind is None:
            return Course("ok", effect_s=latency_s, answer_s=latency_s)
        courses = {
            "refused": Course("refused", 0.001),
            "hole": Course("hole", CONNECT_TIMEOUT_S),
            "lost": Course("lost"),
            "mute": Course("mute", effect_s=latency_s),
        }
        return courses[kind] if kind in courses else self._drawn(kind, latency_s)

    def _happens(self, probability: float) -> bool:
        return probability > 0.0 and self.rng.random() < probability

    def _drawn(self, kind: str, latency_s: float) -> Course:
        rng = self.rng
        match kind:
            case "slow_connect":
                connect_s = rng.random() * CONNECT_TIMEOUT_S * 1.2
                return Course(kind, connect_s, effect_s=latency_s, answer_s=latency_s)
            case "late":
                return Course(kind, effect_s=rng.random() ** 2 * _LATE_MAX_S)
            case "slow":
                answer_s = latency_s + rng.random() * REQUEST_TIMEOUT_S * 1.3
                return Course(kind, effect_s=answer_s if rng.random() < 0.5 else latency_s, answer_s=answer_s)
            case "error":
                effect_s = latency_s if rng.random() < 0.3 else None
                return Course(kind, effect_s=effect_s, answer_s=latency_s, error=kind)
            case _:
                return Course(kind, answer_s=latency_s, error=kind)

    def _mishap(self, operation: str) -> str | None:
        knobs, drawn = self.knobs, self.rng.random()
        if knobs.only_rows_fail and (self.service.name != "dynamodb" or operation in _OF_TABLES):
            return None
        for name, probability in (
            ("slow_connect", knobs.slow_connect_p),
            ("lost", knobs.lost_p),
            ("mute", knobs.no_answer_p),
            ("late", knobs.late_effect_p),
            ("slow", knobs.slow_answer_p),
            ("throttled", knobs.throttled_p),
            ("error", knobs.error_p),
            ("astray", knobs.astray_p if operation == "GetRecords" else 0.0),
        ):
            if drawn < probability:
                return name
            drawn -= probability
        return None


class _Request(Generic[T]):
    """One request on its way. Its timers are the process's as long as it has not left, and the world's afterwards."""

    __slots__ = ("course", "effect", "link", "not_after", "on_wire", "operation", "resource", "waiter")

    def __init__(
        self,
        link: Link,
        operation: str,
        resource: str,
        effect: Callable[[], T],
        course: Course,
        not_after: float,
        on_wire: Callable[[bool], None] | None,
    ) -> None:
        self.link = link
        self.operation = operation
        self.resource = resource
        self.effect = effect
        self.course = course
        self.not_after = not_after
        self.on_wire = on_wire
        self.waiter: asyncio.Future[T] = link.loop.create_future()

    def connect(self) -> None:
        """A frozen process has its connection, and sends what it had to send when it wakes, however late."""
        connect_s, kind = self.course.connect_s, self.course.kind
        if kind in ("refused", "hole") or connect_s > CONNECT_TIMEOUT_S:
            code = "EndpointConnectionError" if kind == "refused" else "ConnectTimeoutError"
            self.link.loop.call_later(min(connect_s, CONNECT_TIMEOUT_S), self._fail, self._unanswered(code, sent=False))
        elif connect_s:
            self.link.loop.call_later(connect_s, self.go)
        else:
            self.go()

    def go(self) -> None:
        """The request is on the wire."""
        loop, course = self.link.loop, self.course
        if self.on_wire is not None:
            self.on_wire(self.link.clock.monotonic() >= self.not_after)
        if course.effect_s is not None and course.effect_s == course.answer_s:
            loop.at_true(loop.true_s + course.effect_s, self._take_effect, True)
        else:
            if course.effect_s is not None:
                loop.at_true(loop.true_s + course.effect_s, self._take_effect, False)
            if course.answer_s is not None and course.effect_s is None:
                loop.at_true(loop.true_s + course.answer_s, self._answer, None, None)
        if course.answer_s is None or course.answer_s > REQUEST_TIMEOUT_S * 0.9:
            loop.call_later(REQUEST_TIMEOUT_S, self._fail, self._unanswered("ReadTimeoutError"))

    def _take_effect(self, answers: bool) -> None:
        result: T | None = None
        error: PollerError | None = None
        try:
            result = self.effect()
        except PollerError as raised:
            error = raised
        if answers:
            self._answer(result, error)
        elif self.course.answer_s is not None and self.course.effect_s is not None:
            later_s = max(0.0, self.course.answer_s - self.course.effect_s)
            self.link.loop.at_true(self.link.loop.true_s + later_s, self._answer, result, error)

    def _answer(self, result: Any, error: PollerError | None) -> None:
        if self.waiter.done():
            return
        error = self._service_error() or error
        if error is not None:
            self._fail(error)
        else:
            self.waiter.set_result(result)

    def _fail(self, error: PollerError) -> None:
        if not self.waiter.done():
            self.waiter.set_exception(error)

    def _service_error(self) -> AwsError | None:
        text = f"{self.operation} on {self.resource}"
        match self.course.error:
            case None:
                return None
            case "throttled":
                code = "ThrottlingException"
                return Throttled(f"{text}: {code}", operation=self.operation, resource=self.resource, code=code)
            case "denied":
                code = "ExpiredTokenException"
                return AccessDenied(f"{text}: {code}", operation=self.operation, resource=self.resource, code=code)
            case "astray":
                code = "ResourceNotFoundException"
                return NotFound(f"{text}: {code}", operation=self.operation, resource=self.resource, code=code)
            case _:
                code = "InternalServerError"
                return Unavailable(
                    f"{text}: {code}", operation=self.operation, resource=self.resource, code=code, answered=True
                )

    def _unanswered(self, code: str, *, sent: bool = True) -> Unavailable:
        text = f"{self.operation} on {self.resource}: {code}"
        return Unavailable(text, operation=self.operation, resource=self.resource, code=code, answered=False, sent=sent)
