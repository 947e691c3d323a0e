"""What is asked of AWS once, at the start or by a command: who calls, what a table and a queue say. Only reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore.parsers import ResponseParserError

from poller.aws.errors import Target, reading, unreadable
from poller.aws.pool import NEVER
from poller.aws.session import Aws
from poller.errors import NotFound
from poller.model import QueueInfo


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table as `DescribeTable` shows it: `ACTIVE`, `("leaseKey (S)",)`."""

    status: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service's requests go to. `custom`: not one of AWS's own hosts."""

    service_id: str
    url: str

    @property
    def custom(self) -> bool:
        host = urlsplit(self.url).hostname or ""
        return not host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def endpoints(aws: Aws) -> tuple[Endpoint, ...]:
    """Those of the calls that the daemon makes all the time."""
    clients = (aws.leases.client, aws.reads.client, aws.sends.client)
    return tuple(Endpoint(client.meta.service_model.service_id, client.meta.endpoint_url) for client in clients)


async def caller(aws: Aws) -> str | None:
    """The ARN of whoever the credentials belong to; None: only AWS itself could say, and DynamoDB is not AWS's here.

    Credentials that are meant for a local server are shown to nobody else.
    """
    lane = await aws.sts()
    sts = Endpoint("STS", lane.client.meta.endpoint_url)
    if not sts.custom and endpoints(aws)[0].custom:
        return None
    try:
        answer = await lane.pool.call("GetCallerIdentity", Target("AWS"), NEVER, lane.client.get_caller_identity)
    except ResponseParserError as error:  # no XML: whatever answers there, it is not STS
        raise unreadable("GetCallerIdentity", "AWS") from error
    with reading("GetCallerIdentity", "AWS"):
        return answer["Arn"]


async def table_facts(aws: Aws, table: str) -> TableFacts | None:
    """None: there is no such table."""
    target = Target(table, f"arn:aws:dynamodb:{aws.region}:*:table/{table}")
    lane = aws.leases
    try:
        answer = await lane.pool.call("DescribeTable", target, NEVER, lane.client.describe_table, TableName=table)
    except NotFound:
        return None
    with reading("DescribeTable", table):
        described = answer["Table"]
        types = {one["AttributeName"]: one["AttributeType"] for one in described["AttributeDefinitions"]}
        keys = tuple(f"{key['AttributeName']} ({types[key['AttributeName']]})" for key in described["KeySchema"])
        return TableFacts(described["TableStatus"], keys)


async def queue_attributes(aws: Aws, info: QueueInfo) -> Mapping[str, str]:
    """All attributes that the queue tells; which those are depends on the server."""
    lane = aws.sends
    answer = await lane.pool.call(
        "GetQueueAttributes",
        Target(info.name, info.arn),
        NEVER,
        lane.client.get_queue_attributes,
        QueueUrl=info.url,
        AttributeNames=["All"],
    )
    with reading("GetQueueAttributes", info.name):
        return {str(name): value for name, value in answer["Attributes"].items()}
