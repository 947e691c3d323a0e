"""The lease table in memory, under the same conditions as the one in DynamoDB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from poller.errors import DeadlinePassed, LeaseConflict
from poller.model import Lease
from poller.run.ports import Clock
from tests.memory.gates import Gate, open_gate


class MemoryLeaseTable:
    """`poller.run.ports.LeaseTable`, and `poller.operate.ports.Leases` for what people do to it.

    `rows` are the test's to read and to change; `unreadable`: those that somebody has spoilt, which stand there all the
    same.
    """

    def __init__(self, clock: Clock) -> None:
        self.rows: dict[str, Lease] = {}
        self.unreadable: set[str] = set()
        self.before: Gate = open_gate
        self.after: Gate = open_gate
        self._clock = clock

    async def list(self) -> Sequence[Lease]:
        await self.before("Scan", "leases")
        leases = [self.rows[shard_id] for shard_id in sorted(self.rows.keys() - self.unreadable)]
        await self.after("Scan", "leases")
        return leases

    async def read(self, shard_id: str) -> Lease | None:
        await self.before("GetItem", shard_id)
        lease = None if shard_id in self.unreadable else self.rows.get(shard_id)
        await self.after("GetItem", shard_id)
        return lease

    async def create(self, lease: Lease) -> bool:
        await self.before("PutItem", lease.shard_id)
        created = lease.shard_id not in self.rows
        self.rows.setdefault(lease.shard_id, lease)
        await self.after("PutItem", lease.shard_id)
        return created

    async def take(self, lease: Lease, worker_id: str) -> Lease:
        return await self._update(lease.taken_by(worker_id), keeps_successor=False, counter=lease.counter)

    async def renew(self, lease: Lease, not_after: float) -> Lease:
        after = lease.renewed()
        return await self._update(after, not_after, counter=lease.counter, owner=_owner(lease), checkpoint_owner=None)

    async def checkpoint(self, lease: Lease, checkpoint: str, time_ms: int, not_after: float) -> Lease:
        after = lease.checkpointed(checkpoint, time_ms)
        return await self._update(after, not_after, counter=lease.counter, owner=_owner(lease))

    async def release(self, lease: Lease) -> Lease:
        await self.before("UpdateItem", lease.shard_id)
        row = self._row(lease.shard_id, owner=_owner(lease))
        if row.counter not in (lease.counter, lease.counter + 1):
            raise LeaseConflict(f"{lease.shard_id}: it was taken again")
        self.rows[lease.shard_id] = row.released()
        await self.after("UpdateItem", lease.shard_id)
        return lease.released()

    async def promise(self, lease: Lease, successor: str) -> Lease:
        await self.before("UpdateItem", lease.shard_id)
        row = self._row(lease.shard_id, owner=_owner(lease))
        if row.heir is not None:
            raise LeaseConflict(f"{lease.shard_id}: it is promised to {row.heir}")
        self.rows[lease.shard_id] = row.promised(successor)
        await self.after("UpdateItem", lease.shard_id)
        return lease.promised(successor)

    async def add_children(self, lease: Lease, children: frozenset[str], not_after: float) -> Lease:
        after = lease.with_children(children)
        return await self._update(after, not_after, counter=lease.counter, owner=_owner(lease))

    async def adopt(self, lease: Lease, stream_arn: str) -> Lease:
        return await self._update(replace(lease, stream_arn=stream_arn), counter=lease.counter, stream_arn=None)

    async def delete(self, lease: Lease) -> None:
        await self.before("DeleteItem", lease.shard_id)
        self._row(lease.shard_id, counter=lease.counter, checkpoint=lease.checkpoint)
        del self.rows[lease.shard_id]
        await self.after("DeleteItem", lease.shard_id)

    async def evict(self, lease: Lease) -> Lease:
        return await self._update(lease.evicted(), keeps_successor=False, counter=lease.counter, owner=_owner(lease))

    async def move(self, lease: Lease, checkpoint: str, seek_time_ms: int | None, time_ms: int) -> Lease:
        after = lease.moved(checkpoint, seek_time_ms, time_ms)
        expected: dict[str, Any] = {"counter": lease.counter, "checkpoint": lease.checkpoint}
        if lease.owner is not None:
            expected["owner"] = lease.owner
        return await self._update(after, keeps_successor=False, **expected)

    async def _update(
        self, after: Lease, not_after: float | None = None, *, keeps_successor: bool = True, **expected: object
    ) -> Lease:
        """Replaces the row by `after` if it is as expected; what others added to it meanwhile stays."""
        await self.before("UpdateItem", after.shard_id)
        if not_after is not None and self._clock.monotonic() >= not_after:
            raise DeadlinePassed(f"UpdateItem on {after.shard_id}: not sent")
        row = self._row(after.shard_id, **expected)
        self.rows[after.shard_id] = replace(
            after,
            children=row.children | after.children,
            stream_arn=after.stream_arn or row.stream_arn,
            successor=row.successor if keeps_successor else None,
        )
        await self.after("UpdateItem", after.shard_id)
        return after

    def _row(self, shard_id: str, **expected: object) -> Lease:
        row = self.rows.get(shard_id)
        if row is None:
            raise LeaseConflict(f"{shard_id}: there is no such row")
        for name, value in expected.items():
            if getattr(row, name) != value:
                raise LeaseConflict(f"{shard_id}: {name} is {getattr(row, name)!r}, not {value!r}")
        return row


def _owner(lease: Lease) -> str:
    if lease.owner is None:
        raise LeaseConflict(f"{lease.shard_id}: nobody holds this lease")
    return lease.owner
