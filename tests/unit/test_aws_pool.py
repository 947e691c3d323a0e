"""A call goes to a thread and comes back as a result or as one of our errors, in bounded time, and is counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from botocore.exceptions import ReadTimeoutError

from poller.aws.errors import Target
from poller.aws.pool import NEVER, Pool
from poller.errors import DeadlinePassed, Unavailable
from poller.events import ApiCalled, Event
from tests.garbage import no_garbage
from tests.memory.clock import ManualClock

ORDERS = Target("orders")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def make(clock: ManualClock, events: list[Event]) -> Iterator[Callable[..., Pool]]:
    made: list[Pool] = []

    def make_pool(threads: int = 1, limit_s: float = 3600.0, connect_s: float = 0.0) -> Pool:
        made.append(
            Pool(
                "sqs",
                threads,
                limit_s=limit_s,
                emit=events.append,
                monotonic=clock.monotonic,
                connect_s=connect_s,
            )
        )
        return made[-1]

    yield make_pool
    for pool in made:
        pool.close()


class Hanging:
    """A function that does not return before it is told to."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> str:
        self._begun.set()
        self.go.wait()
        return "done"

    async def has_begun(self) -> None:
        await asyncio.to_thread(self._begun.wait)


async def test_a_call_returns_what_its_function_returns(make: Callable[..., Pool]) -> None:
    assert await make().call("Add", ORDERS, NEVER, lambda left, right: left + right, 1, right=2) == 3


async def test_every_request_is_counted_on_the_loop_with_its_time(
    make: Callable[..., Pool], clock: ManualClock, events: list[Event]
) -> None:
    await make().call("SendMessageBatch", ORDERS, NEVER, clock.advance, 0.25)

    assert events == [ApiCalled(service="sqs", operation="SendMessageBatch", code="OK", seconds=0.25)]


async def test_a_failed_request_is_translated_and_counted_by_its_code(
    make: Callable[..., Pool], events: list[Event]
) -> None:
    def fail() -> None:
        raise ReadTimeoutError(endpoint_url="http://127.0.0.1:1")

    with pytest.raises(Unavailable, match="SendMessageBatch on orders: no answer") as caught:
        await make().call("SendMessageBatch", ORDERS, NEVER, fail)

    assert isinstance(caught.value.__cause__, ReadTimeoutError)
    assert [event.code for event in events if isinstance(event, ApiCalled)] == ["ReadTimeoutError"]


async def test_a_failed_request_leaves_nothing_to_the_garbage_collector(make: Callable[..., Pool]) -> None:
    pool = make()

    def fail() -> None:
        raise ReadTimeoutError(endpoint_url="https://sqs", error="late")

    with no_garbage():
        for _ in range(3):
            with pytest.raises(Unavailable):
                await pool.call("SendMessageBatch", ORDERS, NEVER, fail)


async def test_a_defect_comes_to_its_caller_as_it_is(make: Callable[..., Pool]) -> None:
    pool = make()

    with pytest.raises(ZeroDivisionError):
        await pool.call("Divide", ORDERS, NEVER, lambda: 1 / 0)

    assert await pool.call("Add", ORDERS, NEVER, lambda: 2) == 2


async def test_a_request_that_could_only_start_past_its_deadline_is_not_made(
    make: Callable[..., Pool], clock: ManualClock, events: list[Event]
) -> None:
    pool, made = make(), list[str]()
    deadline = clock.monotonic() + 5

    first = pool.call("First", ORDERS, deadline, clock.advance, 5)
    second = pool.call("Second", ORDERS, deadline, made.append, "second")
    results = await asyncio.gather(first, second, return_exceptions=True)

    assert isinstance(results[1], DeadlinePassed)
    assert made == []
    assert [event.operation for event in events if isinstance(event, ApiCalled)] == ["First"]


async def test_a_request_that_could_only_connect_past_its_deadline_is_not_made(
    make: Callable[..., Pool], clock: ManualClock
) -> None:
    pool = make(connect_s=2.0)

    assert await pool.call("First", ORDERS, clock.monotonic() + 2.5, lambda: 1) == 1
    with pytest.raises(DeadlinePassed):
        await pool.call("Second", ORDERS, clock.monotonic() + 2.0, lambda: 2)


async def test_no_more_threads_than_allowed_work_at_once(make: Callable[..., Pool]) -> None:
    pool, together = make(threads=2), threading.Barrier(2)
    names: set[str] = set()

    def meet() -> None:
        names.add(threading.current_thread().name)
        together.wait(timeout=60)

    await asyncio.gather(*(pool.call("Meet", ORDERS, NEVER, meet) for _ in range(6)))

    assert names == {"sqs-1", "sqs-2"}


async def test_a_cancelled_call_that_has_not_begun_is_not_made(make: Callable[..., Pool], events: list[Event]) -> None:
    pool, hang, made = make(), Hanging(), list[str]()
    running = asyncio.create_task(pool.call("Wait", ORDERS, NEVER, hang))
    waiting = asyncio.create_task(pool.call("Write", ORDERS, NEVER, made.append, "written"))
    await hang.has_begun()

    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    hang.go.set()
    await running
    await pool.call("After", ORDERS, NEVER, lambda: None)

    assert made == []
    assert [event.operation for event in events if isinstance(event, ApiCalled)] == ["Wait", "After"]


async def test_a_cancelled_call_that_is_under_way_is_still_counted(
    make: Callable[..., Pool], events: list[Event]
) -> None:
    pool, hang = make(), Hanging()
    running = asyncio.create_task(pool.call("Wait", ORDERS, NEVER, hang))
    await hang.has_begun()

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    hang.go.set()
    await pool.call("After", ORDERS, NEVER, lambda: None)

    assert [event.operation for event in events if isinstance(event, ApiCalled)] == ["Wait", "After"]


class Timers:
    """The loop's timers, fired by the test instead of by time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pending: list[tuple[float, Callable[[], object]]] = []
        self._loop = asyncio.get_running_loop()
        self._never = self._loop.call_later(3600, lambda: None)
        self._never.cancel()
        monkeypatch.setattr(self._loop, "call_later", self._call_later)

    def _call_later(self, delay_s: float, function: Callable[..., object], *args: object) -> asyncio.TimerHandle:
        self.pending.append((delay_s, lambda: function(*args)))
        return self._never

    def fire(self) -> None:
        due, self.pending = self.pending, []
        for _, function in due:
            function()


async def test_a_call_that_hangs_is_given_up_and_its_thread_left_behind(
    make: Callable[..., Pool], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, hang, timers = make(limit_s=6.0), Hanging(), Timers(monkeypatch)
    hanging = asyncio.create_task(pool.call("GetRecords", ORDERS, NEVER, hang))
    await hang.has_begun()

    clock.advance(5)
    timers.fire()
    assert [delay_s for delay_s, _ in timers.pending] == [1.0]
    clock.advance(1)
    timers.fire()

    with pytest.raises(Unavailable, match="no answer within 6 s") as caught:
        await hanging
    assert caught.value.code == "CallTimeout"
    assert (caught.value.answered, caught.value.sent) == (False, True)
    hang.go.set()


async def test_a_call_that_finds_no_thread_is_given_up_and_never_made(
    make: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, hang, made = make(threads=1), Hanging(), list[str]()
    hanging = asyncio.create_task(pool.call("GetRecords", ORDERS, NEVER, hang))
    await hang.has_begun()
    timers = Timers(monkeypatch)
    waiting = asyncio.create_task(pool.call("Write", ORDERS, NEVER, made.append, "written"))
    await asyncio.sleep(0)

    timers.fire()

    with pytest.raises(Unavailable, match="no thread was free") as caught:
        await waiting
    assert (caught.value.answered, caught.value.sent) == (False, False)
    hang.go.set()
    await hanging
    await pool.call("After", ORDERS, NEVER, lambda: None)
    assert made == []


async def test_closing_fails_what_waits_and_waits_for_nothing(make: Callable[..., Pool]) -> None:
    pool, hang = make(), Hanging()
    running = asyncio.create_task(pool.call("Wait", ORDERS, NEVER, hang))
    await hang.has_begun()
    waiting = asyncio.create_task(pool.call("Write", ORDERS, NEVER, lambda: None))
    await asyncio.sleep(0)

    pool.close()

    with pytest.raises(Unavailable, match="closing") as closing:
        await waiting
    assert not closing.value.sent
    with pytest.raises(Unavailable, match="the client is closed"):
        await pool.call("Late", ORDERS, NEVER, lambda: None)
    hang.go.set()
    assert await running == "done"
