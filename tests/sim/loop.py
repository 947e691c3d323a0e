"""An event loop for several processes at once, on virtual time: each runs on its own clock, freezes, wakes and dies.

Every callback belongs to the process in whose context it was made, or to the world, whose clock is the true one.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import random
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from enum import Enum
from typing import Any

from typing_extensions import TypeVarTuple, Unpack

Args = TypeVarTuple("Args")

# So many callbacks without any time passing are a loop that will never end.
_AT_ONCE_MAX = 300_000
_TICK_S = 1e-6

OWNER: ContextVar[Process | None] = ContextVar("OWNER", default=None)


class State(Enum):
    """A frozen process (SIGSTOP) runs again, a dead one (kill -9) never: no callback, no `finally`."""

    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"


class Skew:
    """How a process's monotonic clock relates to true time: `own = offset + rate * true`."""

    __slots__ = ("offset_s", "rate")

    def __init__(self, offset_s: float, rate: float) -> None:
        self.offset_s = offset_s
        self.rate = rate

    def own(self, true_s: float) -> float:
        return self.offset_s + self.rate * true_s

    def true(self, own_s: float) -> float:
        return (own_s - self.offset_s) / self.rate


class Process:
    """What the loop knows of one: its clock, its state, its tasks, and what it would have run while it was frozen."""

    def __init__(self, name: str, skew: Skew) -> None:
        self.name = name
        self.skew = skew
        self.state = State.RUNNING
        self.held: list[events.Handle] = []
        self.tasks: dict[SimTask, None] = {}

    def context(self) -> Context:
        """A context whose callbacks are this process's."""
        context = copy_context()
        context.run(OWNER.set, self)
        return context


def _owner_of(handle: Any) -> Process | None:
    """Whose callback it is: None is the world."""
    owner: Process | None = handle._context.get(OWNER)
    return owner


class SimTask(asyncio.Task[Any]):
    """A task whose hash does not depend on where in memory it lies: sets of tasks are iterated in one order always."""

    def __init__(self, serial: int, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> None:
        self._serial = serial
        super().__init__(coro, **kwargs)

    def __hash__(self) -> int:
        return self._serial


class Deadlock(Exception):
    """Everything waits, and no timer will wake any of it."""


class Livelock(Exception):
    """Callbacks follow on callbacks, and time stands still."""


class SimLoop(asyncio.BaseEventLoop):
    """Virtual time; `rng` shuffles the order of ready callbacks of different processes, None leaves it.

    A timer of a process is due when its own clock says so. `lag_s`: timers wake up to so much late, as in a loop that
    has other things to do.
    """

    def __init__(self, rng: random.Random | None = None, lag_s: float = 0.0) -> None:
        super().__init__()
        self.true_s = 1_000.0
        self.steps = 0
        self._steps_before = 0
        self._rng = rng
        self._lag_s = lag_s
        self._queue: deque[events.Handle] = deque()
        self._timers: list[tuple[float, int, events.TimerHandle]] = []
        self._serial = 0
        self.world = Context()
        self._over = False
        self._tasks: dict[SimTask, None] = {}
        self._graves: list[Process] = []

    # --- what asyncio asks of a loop ---

    def time(self) -> float:
        owner = OWNER.get()
        return self.true_s if owner is None else owner.skew.own(self.true_s)

    def call_soon(
        self, callback: Callable[[Unpack[Args]], object], *args: *Args, context: Context | None = None
    ) -> events.Handle:
        handle = events.Handle(callback, args, self, context)
        self._queue.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Args]], object],
        *args: *Args,
        context: Context | None = None,
    ) -> events.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Args]], object],
        *args: *Args,
        context: Context | None = None,
    ) -> events.TimerHandle:
        owner = OWNER.get()
        # Never at this very moment: a clock that is read again has always moved.
        true_s = max(self.true_s, when if owner is None else owner.skew.true(when)) + _TICK_S
        if self._rng is not None and self._lag_s and owner is not None:
            true_s += self._rng.random() * self._lag_s
        return self._at(true_s, when, callback, args, context)

    def at_true(self, true_s: float, callback: Callable[..., Any], *args: Any) -> events.TimerHandle:
        """The world's own timer, whoever sets it: it goes off whatever becomes of that process."""
        return self._at(true_s, true_s, callback, args, self.world)

    def _at(
        self, true_s: float, when: float, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None
    ) -> events.TimerHandle:
        timer = events.TimerHandle(when, callback, args, self, context)
        self._serial += 1
        heapq.heappush(self._timers, (true_s, self._serial, timer))
        return timer

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> Any:
        self._serial += 1
        task = SimTask(self._serial, coro, loop=self, name=str(name or "task"), context=context)
        owner = OWNER.get() if context is None else context.get(OWNER)
        tasks = self._tasks if owner is None else owner.tasks
        tasks[task] = None
        task.add_done_callback(tasks.pop, context=self.world)
        return task

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._over:
            super().call_exception_handler(context)

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        pass

    def _run_once(self) -> None:
        """One callback, or one leap to the next timer."""
        queue, timers = self._queue, self._timers
        while not queue:
            if not timers:
                raise Deadlock
            true_s, _, timer = heapq.heappop(timers)
            if timer._cancelled:
                continue
            if true_s > self.true_s:
                self.true_s = true_s
                self._steps_before = self.steps
            queue.append(timer)
        handle = queue.popleft() if self._rng is None or len(queue) == 1 else self._drawn(self._rng)
        if handle._cancelled:
            return
        owner = _owner_of(handle)
        if owner is not None and owner.state is not State.RUNNING:
            if owner.state is State.FROZEN:
                owner.held.append(handle)
            return
        self.steps += 1
        if self.steps - self._steps_before > _AT_ONCE_MAX:
            raise Livelock(repr(handle))
        handle._run()

    def _drawn(self, rng: random.Random) -> events.Handle:
        """The first ready callback of a process drawn at random: what happens at once happens in any order."""
        queue = self._queue
        owner = _owner_of(queue[int(rng.random() * len(queue))])
        for place, handle in enumerate(queue):
            if _owner_of(handle) is owner:
                del queue[place]
                return handle
        raise AssertionError("a queue without the callback that was drawn from it")

    # --- what happens to processes ---

    def freeze(self, process: Process) -> None:
        if process.state is State.RUNNING:
            process.state = State.FROZEN

    def thaw(self, process: Process, *, answers_first: bool | None = None) -> None:
        """What it has missed is run in its order; or what came for it before its own timers, or after them."""
        if process.state is State.FROZEN:
            process.state = State.RUNNING
            if answers_first is not None:
                process.held.sort(key=lambda handle: isinstance(handle, events.TimerHandle) is answers_first)
            self._queue.extend(process.held)
            process.held.clear()

    def kill(self, process: Process) -> None:
        """Nothing of it ever runs again. Its tasks are kept as they are, so that no `finally` of theirs is run."""
        process.state = State.DEAD
        process.held.clear()
        self._graves.append(process)

    def take_apart(self) -> None:
        """The end of everything: what is still pending is closed here and now, and whatever that raises is nobody's."""
        self._over = True
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            for tasks in [self._tasks, *(process.tasks for process in self._graves)]:
                for task in tasks:
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    coro: Any = task.get_coro()
                    with suppress(BaseException):
                        coro.close()
                tasks.clear()
            self._queue.clear()
            self._timers.clear()
            gc.collect()
        finally:
            sys.unraisablehook = hook
