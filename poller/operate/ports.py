"""What the commands need of the lease table, and of a dead-letter queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from poller.model import Lease, QueueInfo, ReceivedMessage


class Leases(Protocol):
    """The rows, seen and changed from outside, by no worker.

    A write takes the row as the caller knows it and returns the row as it stands afterwards; LeaseConflict: the row was
    another by then (or is gone), and nothing was written. No write ever makes a row.
    """

    async def list(self) -> Sequence[Lease]: ...

    async def read(self, shard_id: str) -> Lease | None: ...

    async def evict(self, lease: Lease) -> Lease:
        """Takes the lease away from its owner; afterwards it is nobody's. LeaseConflict for one that nobody holds."""

    async def move(self, lease: Lease, checkpoint: str, seek_time_ms: int | None, time_ms: int) -> Lease:
        """Writes another checkpoint, and takes the lease away from its owner, if it has one.

        `seek_time_ms`: with LATEST and AT_TIMESTAMP the instant that is meant, with TRIM_HORIZON 0 (whatever the first
        start said, everything is wanted), None with a sequence number; `time_ms`: now. Both since the epoch.
        """


class LetterBox(Protocol):
    """A dead-letter queue, read by people. At most ten messages a call; raises AwsError as `run.ports.Queue` does."""

    @property
    def info(self) -> QueueInfo: ...

    async def waiting(self) -> int:
        """About how many messages it holds, those that somebody has received and not deleted included."""

    async def receive(self, count: int, hidden_s: int) -> Sequence[ReceivedMessage]:
        """The next ones, hidden from everybody for so long. None: there are none to be seen just now."""

    async def hide(self, receipts: Sequence[str], hidden_s: int) -> Sequence[str]:
        """Hides them for so long from now on; 0: they can be received again at once. The receipts that failed."""

    async def delete(self, receipts: Sequence[str]) -> Sequence[str]:
        """The receipts that failed: their messages are still there, as far as anybody knows."""
