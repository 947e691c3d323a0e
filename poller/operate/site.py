"""What the commands stand on: the settings' clients, lease table and stream, opened, checked, and closed again."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from poller.aws.lease_table import BotoLeaseTable
from poller.aws.session import Aws
from poller.aws.streams import BotoStreamSource
from poller.aws.survey import table_facts
from poller.decide.succession import table_name_of
from poller.errors import PollerError
from poller.model import Lease
from poller.operate.hold import Say
from poller.operate.names import match
from poller.run.ports import Clock
from poller.settings import Settings
from poller.startup import World, find_stream, open_aws


@dataclass(frozen=True, slots=True)
class Site:
    """One lease table, and the stream that its rows are about."""

    settings: Settings
    aws: Aws
    table: BotoLeaseTable
    clock: Clock
    say: Say

    @property
    def duration_s(self) -> float:
        """How long a lease lasts without a sign of life."""
        return self.settings.lease.duration_s

    async def find(self, shard: str) -> tuple[Lease, dict[str, Lease]]:
        """The row that is meant, and all rows by shard. PollerError: there is none, or it is of another table."""
        rows = {row.shard_id: row for row in await self.table.list()}
        lease = rows[match(shard, rows)]
        if lease.shard_id != shard:
            self.say(f"{shard} is {lease.shard_id}")
        theirs = table_name_of(lease.stream_arn or "")
        if theirs and theirs != self.settings.stream.table_name:
            raise self.settings.fault(
                "lease.table",
                f"{self.settings.lease_table} belongs to another stream ({lease.stream_arn}); name another table",
            )
        return lease, rows

    async def source_of(self, lease: Lease) -> BotoStreamSource:
        """The stream that a row belongs to; for one that names none, as Java leaves it, the settings'."""
        stream_arn = lease.stream_arn or (await find_stream(self.settings, self.aws)).arn
        return BotoStreamSource(self.aws, stream_arn, self.settings.stream.table_name)

    async def now_s(self, source: BotoStreamSource) -> float:
        """The service's own clock, with which records' creation times are compared; ours where it does not say."""
        served_at_s = (await source.describe()).served_at_s
        return self.clock.wall() if served_at_s is None else served_at_s


@asynccontextmanager
async def open_site(settings: Settings, clock: Clock, say: Say) -> AsyncIterator[Site]:
    """Opens the clients and looks whether there is a lease table; `say` gets a line about each row that is none.

    PollerError: there is no such table, or no AWS; ConfigurationError: it is no lease table.
    """
    aws = await open_aws(settings, World(clock, lambda _: None, random.Random()))
    try:
        name = settings.lease_table
        if await table_facts(aws, name) is None:
            raise PollerError(
                f"there is no lease table {name} in {aws.region}: no worker has made it yet, or POLLER_LEASE_TABLE"
                " names another"
            )
        table = BotoLeaseTable(aws, name, say)
        await table.ensure(create=False, clock=clock)
        yield Site(settings, aws, table, clock, say)
    finally:
        aws.close()
