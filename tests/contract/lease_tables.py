"""The servers that hold a lease table, and a way around the port to the rows as they stand there."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from poller.aws.errors import Target
from poller.aws.lease_table import BotoLeaseTable
from poller.aws.pool import NEVER
from tests.contract.conftest import OpenAws
from tests.memory.clock import ManualClock

SERVERS = [pytest.param("dynamodb_local", marks=pytest.mark.real), "moto_server", "standin"]


@dataclass
class ServerTable:
    """A lease table in a server, with a way around the port."""

    table: BotoLeaseTable
    put: Callable[[dict[str, Any]], Awaitable[Any]]
    get: Callable[[str], Awaitable[dict[str, Any]]]
    reports: list[str] = field(default_factory=list)


async def server_table(url: str, open_aws: OpenAws, clock: ManualClock) -> ServerTable:
    aws = await open_aws(url)
    name, reports = f"leases-{uuid.uuid4().hex}", list[str]()
    table = BotoLeaseTable(aws, name, reports.append)
    await table.ensure(create=True, clock=clock)
    lane, target = aws.leases, Target(name)

    async def put(item: dict[str, Any]) -> None:
        await lane.pool.call("PutItem", target, NEVER, lane.client.put_item, TableName=name, Item=item)

    async def get(shard_id: str) -> dict[str, Any]:
        key = {"leaseKey": {"S": shard_id}}
        function = lane.client.get_item
        answer = await lane.pool.call("GetItem", target, NEVER, function, TableName=name, Key=key, ConsistentRead=True)
        return dict(answer["Item"])

    return ServerTable(table, put, get, reports)
