"""How much has been read and is not settled, over all shards: too much, and reading waits; renewing never does."""

from __future__ import annotations

import asyncio

from poller.events import Buffered, Emit, ReadingPaused, ReadingResumed
from poller.run.ports import Clock


class Buffer:
    """An account of records and bytes with a bound.

    It is checked before a page is asked for, so what is kept can exceed `bytes_max` by the pages under way at that
    moment (1 MB each at most, as many as `polling.concurrency`).
    """

    def __init__(self, bytes_max: int, *, stream: str, clock: Clock, emit: Emit) -> None:
        self.bytes_max = bytes_max
        self.records = 0
        self.size_bytes = 0
        self._stream = stream
        self._clock = clock
        self._emit = emit
        self._room = asyncio.Event()
        self._room.set()
        self._full_since: float | None = None

    def add(self, records: int, size_bytes: int) -> None:
        self.records += records
        self.size_bytes += size_bytes
        if self.size_bytes >= self.bytes_max and self._full_since is None:
            self._full_since = self._clock.monotonic()
            self._room.clear()
            self._emit(ReadingPaused(stream=self._stream, buffered_bytes=self.size_bytes))

    def remove(self, records: int, size_bytes: int) -> None:
        self.records -= records
        self.size_bytes -= size_bytes
        # Half empty before reading goes on, so that a slow queue does not switch it off and on with every batch.
        if self._full_since is not None and self.size_bytes <= self.bytes_max // 2:
            paused_s = self._clock.monotonic() - self._full_since
            self._full_since = None
            self._room.set()
            self._emit(ReadingResumed(stream=self._stream, paused_s=paused_s))

    async def room(self) -> None:
        """Returns when another page may be read."""
        await self._room.wait()

    def report(self) -> None:
        self._emit(Buffered(stream=self._stream, records=self.records, size_bytes=self.size_bytes))
