"""The threads in which boto3's calls are made, apart for each kind of call, and the bridge to the event loop.

Not a ThreadPoolExecutor: the resolver knows no time-out, and a thread that hangs in it must hold up neither its caller
nor the end of the process.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeVar

from botocore import xform_name

from poller.aws.errors import FAR_SIDE, Target, credentials_away, translate
from poller.errors import AwsError, DeadlinePassed, Unavailable
from poller.events import ApiCalled, Emit

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")

NEVER: Final = math.inf


@dataclass(slots=True, eq=False, repr=False)  # its arguments are content: they must never show up in a log
class _Call:
    operation: str
    target: Target
    not_after: float
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    loop: asyncio.AbstractEventLoop
    waiter: asyncio.Future[Any]
    started: float | None = None
    timer: asyncio.TimerHandle | None = None
    # Taken once, by the thread that makes the call or by whoever gives it up before: "not sent" must stay true.
    claim: threading.Lock = field(default_factory=threading.Lock)


class Pool:
    """At most `threads` daemon threads for the calls of one service.

    `limit_s` bounds every call from its caller's point of view, whatever its thread does: once for the wait for a free
    thread, once from then on. `monotonic` is the clock of the callers' deadlines; `connect_s` how long a request may
    take to connect before it is on its way: so much earlier than its deadline it is not begun any more.
    """

    def __init__(
        self,
        service: str,
        threads: int,
        *,
        limit_s: float,
        emit: Emit,
        monotonic: Callable[[], float],
        connect_s: float = 0.0,
    ) -> None:
        self._service = service
        self._threads_max = threads
        self._limit_s = limit_s
        self._connect_s = connect_s
        self._emit = emit
        self._monotonic = monotonic
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads = 0
        self._pending = 0
        self._closed = False

    async def call(
        self,
        operation: str,
        target: Target,
        not_after: float,
        function: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Calls `function` in a thread. One attempt; what the far side does comes as AwsError, translated.

        DeadlinePassed: a thread was free only when the request could have gone out after `not_after`, and nothing was
        sent. A cancelled call that has not begun is not made.
        """
        if self._closed:
            raise self._unavailable(operation, target, "ClientClosed", "the client is closed", sent=False)
        loop = asyncio.get_running_loop()
        call = _Call(operation, target, not_after, function, args, kwargs, loop, loop.create_future())
        call.timer = loop.call_later(self._limit_s, self._give_up, call)
        self._pending += 1
        if self._threads < min(self._pending, self._threads_max):
            self._threads += 1
            threading.Thread(target=self._serve, name=f"{self._service}-{self._threads}", daemon=True).start()
        self._calls.put(call)
        try:
            result: T = await call.waiter
        finally:
            del call  # it knows the waiter, and that its error, which knows this frame: a circle that stays for long
        return result

    def close(self) -> None:
        """Fails what waits for a thread and lets the threads end after their present call, without waiting for them."""
        self._closed = True
        try:
            while True:
                call = self._calls.get_nowait()
                if call is not None:
                    closed = self._unavailable(call.operation, call.target, "ClientClosed", "closing", sent=False)
                    self._settle(call, None, closed, None)
        except queue.Empty:
            pass
        for _ in range(self._threads):
            self._calls.put(None)

    # --- in a thread ---

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            self._perform(call)
            del call  # or it would keep its answer alive until the next one comes

    def _perform(self, call: _Call) -> None:
        result: Any = None
        error: Exception | None = None
        event: ApiCalled | None = None
        call.started = started = self._monotonic()
        if not call.waiter.done() and call.claim.acquire(blocking=False):
            if started + self._connect_s >= call.not_after:
                error = DeadlinePassed(f"{call.operation} on {call.target.name}: not sent, its deadline has passed")
            else:
                function = partial(call.function, *call.args, **call.kwargs)
                result, error = _attempt(call.operation, call.target, function)
                code = error.code if isinstance(error, AwsError) else "OK" if error is None else type(error).__name__
                seconds = self._monotonic() - started
                event = ApiCalled(service=self._service, operation=call.operation, code=code, seconds=seconds)
        try:
            call.loop.call_soon_threadsafe(self._settle, call, result, error, event)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more
        finally:
            del call, result, error  # the error knows the frame in which it was caught, and that one knows this

    # --- on the loop ---

    def _settle(self, call: _Call, result: Any, error: Exception | None, event: ApiCalled | None) -> None:
        self._pending -= 1
        if call.timer is not None:
            call.timer.cancel()
        if not call.waiter.done():
            if error is None:
                call.waiter.set_result(result)
            else:
                call.waiter.set_exception(error)
        if event is not None:
            self._emit(event)

    def _give_up(self, call: _Call) -> None:
        if call.waiter.done():
            return
        if call.claim.acquire(blocking=False):
            text = "no thread was free, the calls before it take too long"
            error = self._unavailable(call.operation, call.target, "NoThreadFree", text, sent=False)
            call.waiter.set_exception(error)
            return
        assert call.started is not None  # noqa: S101 - for the type checker: it is set before the claim is taken
        left_s = call.started + self._limit_s - self._monotonic()
        if left_s > 0:
            call.timer = call.loop.call_later(left_s, self._give_up, call)
            return
        text = f"no answer within {self._limit_s:g} s; its thread is left behind"
        call.waiter.set_exception(self._unavailable(call.operation, call.target, "CallTimeout", text, sent=True))

    def _unavailable(self, operation: str, target: Target, code: str, text: str, *, sent: bool) -> Unavailable:
        message = f"{operation} on {target.name}: {text} ({code})"
        return Unavailable(message, operation=operation, resource=target.name, code=code, answered=False, sent=sent)


def _attempt(operation: str, target: Target, function: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What came of it. Nothing here may know the call: the error knows this frame, and the call's waiter the error."""
    try:
        return function(), None
    except Exception as error:  # noqa: BLE001 - a defect belongs to the caller, not to the thread
        if not isinstance(error, FAR_SIDE) and not credentials_away(error):
            return None, error
        return None, _translated(error, operation, target)


def _translated(error: Exception, operation: str, target: Target) -> AwsError:
    """Not in the frame that the error knows."""
    translated = translate(error, operation=operation, resource=target.name, arn=target.arn)
    translated.__cause__ = error
    return translated


class Calls(Protocol):
    """The calls that are made all the time, by one way or another."""

    async def ask(self, operation: str, target: Target, not_after: float, request: Mapping[str, Any]) -> Any:
        """What the boto3 client's method of that operation returns for these arguments; else as `Pool.call`."""


@dataclass(frozen=True, slots=True)
class Lane(Generic[C]):
    """A client and the threads that are its own; itself the way by boto3 for the hot calls."""

    client: C
    pool: Pool

    async def ask(self, operation: str, target: Target, not_after: float, request: Mapping[str, Any]) -> Any:
        method = getattr(self.client, xform_name(operation))
        return await self.pool.call(operation, target, not_after, method, **request)
