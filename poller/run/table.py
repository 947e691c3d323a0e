"""The lease table as one worker calls it: every call counted, its health drawn from it, not too many writes at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from poller.decide.trouble import Trouble
from poller.errors import AwsError, LeaseConflict
from poller.events import Emit, LeaseOperation, LeaseTableFailing, LeaseTableRecovered
from poller.run.ports import Clock, LeaseTable

T = TypeVar("T")

# How many writes to the table are under way at once: enough for a thousand leases in a third of ten seconds.
_WRITES_AT_ONCE = 16


class Table:
    """`rows` is the port; `writing` is held by whoever writes."""

    def __init__(self, rows: LeaseTable, *, stream: str, clock: Clock, emit: Emit) -> None:
        self.rows = rows
        self.writing = asyncio.Semaphore(_WRITES_AT_ONCE)
        self._stream = stream
        self._clock = clock
        self._emit = emit
        self._trouble = Trouble(quiet_failures=1)

    @property
    def failing(self) -> bool:
        """Has it failed to answer several times in a row?"""
        return self._trouble.failures > 1

    async def call(self, operation: str, call: Awaitable[T]) -> T:
        """One call. Raises what it raises: AwsError, LeaseConflict, DeadlinePassed."""
        try:
            answer = await call
        except LeaseConflict:
            self.note(operation, "conflict")
            self._answers()
            raise
        except AwsError as error:
            self.note(operation, "error")
            now = self._clock.monotonic()
            if self._trouble.failed(now):
                lasting_s = self._trouble.lasting_s(now)
                self._emit(
                    LeaseTableFailing(stream=self._stream, code=error.code, error=str(error), failing_s=lasting_s)
                )
            raise
        self.note(operation, "ok")
        self._answers()
        return answer

    def note(self, operation: str, result: str) -> None:
        """What came of an operation."""
        self._emit(LeaseOperation(stream=self._stream, operation=operation, result=result))

    def _answers(self) -> None:
        over = self._trouble.worked(self._clock.monotonic())
        if over is not None:
            self._emit(LeaseTableRecovered(stream=self._stream, failing_s=over.lasted_s))
