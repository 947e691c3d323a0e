"""What the commands need of the lease table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from poller.model import Lease


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
