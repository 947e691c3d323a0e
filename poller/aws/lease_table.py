"""The lease table in DynamoDB, under KCL's conditions: updates by the way of the hot calls, all else by boto3.

Every update carries a condition that implies that the row exists: a row that is no lease would stop a Java fleet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from poller.aws import lease_rows as row
from poller.aws.errors import Target, reading
from poller.aws.pool import NEVER
from poller.aws.session import Aws
from poller.errors import AwsError, ConfigurationError, LeaseConflict, NotFound, Unavailable
from poller.model import SOUGHT, Lease
from poller.run.ports import Clock

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef, TableDescriptionTypeDef

_CONFLICT: Final = "ConditionalCheckFailedException"
_REPORTED_MAX: Final = 1_000
_USABLE: Final = frozenset({"ACTIVE", "UPDATING"})
_FIRST_LOOK_S: Final = 0.02  # the local servers make a table at once, the service takes some seconds
_LOOK_EVERY_S: Final = 1.0


class BotoLeaseTable:
    """`poller.run.ports.LeaseTable`, and `poller.operate.ports.Leases` for what people do to it.

    `report` gets one line about each row that cannot be read as a lease, once a row; such a row is passed over.
    """

    def __init__(self, aws: Aws, table: str, report: Callable[[str], None]) -> None:
        self._call = aws.leases.pool.call
        self._client = aws.leases.client
        self._ask = aws.hot_leases.ask
        self._table = table
        self._region = aws.region
        self._arn = f"arn:aws:dynamodb:{aws.region}:*:table/{table}"
        self._target = Target(table, self._arn)
        self._report = report
        self._reported: set[str] = set()

    # --- the table itself ---

    async def ensure(self, create: bool, clock: Clock, wait_s: float = 60.0) -> bool:
        """Sees to it that the table is there and is a lease table; True if this very call made it.

        ConfigurationError: it is missing and must not be made, or has another key. Unavailable: not active in `wait_s`.
        Several workers may do this at once.
        """
        deadline = clock.monotonic() + wait_s
        delay_s = _FIRST_LOOK_S
        created = False
        while True:
            status = await self._status()
            if status in _USABLE:
                return created
            if status == "" and not create:
                raise ConfigurationError(
                    f"POLLER_LEASE_TABLE={self._table}: there is no such table in {self._region}:"
                    f" make it with the key {row.KEY} (S), or set POLLER_LEASE__CREATE=true"
                )
            if status == "":
                created = await self._create() or created
            if clock.monotonic() >= deadline:
                raise self._not_active(status, wait_s)
            await clock.sleep(delay_s)
            delay_s = min(2 * delay_s, _LOOK_EVERY_S)

    async def _status(self) -> str:
        """The table's status, "" if there is none; ConfigurationError if it cannot be a lease table."""
        function = self._client.describe_table
        try:
            answer = await self._call("DescribeTable", self._target, NEVER, function, TableName=self._table)
        except NotFound:
            return ""
        with reading("DescribeTable", self._table):
            table = answer["Table"]
            keys = _keys(table)
            status = table["TableStatus"]
        if keys != [f"{row.KEY} (S)"]:
            raise ConfigurationError(
                f"POLLER_LEASE_TABLE={self._table}: its key is {', '.join(keys)}, a lease table's is {row.KEY} (S):"
                " name another table"
            )
        return status

    async def _create(self) -> bool:
        """False: another worker is making it."""
        try:
            await self._call(
                "CreateTable",
                self._target,
                NEVER,
                self._client.create_table,
                TableName=self._table,
                KeySchema=[{"AttributeName": row.KEY, "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": row.KEY, "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
        except AwsError as error:
            if error.code == "ResourceInUseException":
                return False
            raise
        return True

    def _not_active(self, status: str, wait_s: float) -> Unavailable:
        code = "TableNotActive"
        text = f"DescribeTable on {self._table}: still {status or 'missing'} after {wait_s:g} s ({code})"
        return Unavailable(text, operation="DescribeTable", resource=self._table, code=code, answered=True)

    # --- its rows ---

    async def list(self) -> Sequence[Lease]:
        """All leases, read consistently, page by page."""
        leases: list[Lease] = []
        start: Mapping[str, AttributeValueTypeDef] | None = None
        while True:
            if start is None:
                answer = await self._call(
                    "Scan", self._target, NEVER, self._client.scan, TableName=self._table, ConsistentRead=True
                )
            else:
                answer = await self._call(
                    "Scan",
                    self._target,
                    NEVER,
                    self._client.scan,
                    TableName=self._table,
                    ConsistentRead=True,
                    ExclusiveStartKey=start,
                )
            with reading("Scan", self._table):
                leases += [lease for item in answer["Items"] if (lease := self._lease(item)) is not None]
                start = answer.get("LastEvaluatedKey")
            if not start:
                return leases

    async def read(self, shard_id: str) -> Lease | None:
        answer = await self._call(
            "GetItem",
            self._row(shard_id),
            NEVER,
            self._client.get_item,
            TableName=self._table,
            Key={row.KEY: {"S": shard_id}},
            ConsistentRead=True,
        )
        item = answer.get("Item")
        return None if item is None else self._lease(item)

    async def create(self, lease: Lease) -> bool:
        try:
            await self._call(
                "PutItem",
                self._row(lease.shard_id),
                NEVER,
                self._client.put_item,
                TableName=self._table,
                Item=row.item_of(lease),
                ConditionExpression=f"attribute_not_exists({row.KEY})",
            )
        except AwsError as error:
            if error.code == _CONFLICT:
                return False
            raise
        return True

    async def take(self, lease: Lease, worker_id: str) -> Lease:
        taken = lease.taken_by(worker_id)
        await self._update(
            lease,
            NEVER,
            "SET leaseOwner = :owner, pollerOwner = :owner, leaseCounter = :next,"
            " ownerSwitchesSinceCheckpoint = :switches REMOVE checkpointOwner, successor",
            "leaseCounter = :counter",
            {
                ":counter": row.number(lease.counter),
                ":next": row.number(taken.counter),
                ":owner": {"S": worker_id},
                ":switches": row.number(taken.owner_switches),
            },
        )
        return taken

    async def renew(self, lease: Lease, not_after: float) -> Lease:
        renewed = lease.renewed()
        await self._update(
            lease,
            not_after,
            "SET leaseCounter = :next",
            # KCL asks for the counter alone; a row that was deleted and made anew has the same numbers for others.
            "leaseCounter = :counter AND leaseOwner = :owner AND attribute_not_exists(checkpointOwner)",
            {
                ":counter": row.number(lease.counter),
                ":next": row.number(renewed.counter),
                ":owner": {"S": _owner(lease)},
            },
        )
        return renewed

    async def checkpoint(self, lease: Lease, checkpoint: str, time_ms: int, not_after: float) -> Lease:
        checkpointed = lease.checkpointed(checkpoint, time_ms)
        await self._update(
            lease,
            not_after,
            "SET leaseCounter = :next, checkpoint = :checkpoint, checkpointSubSequenceNumber = :zero,"
            " ownerSwitchesSinceCheckpoint = :zero, checkpointTime = :time"
            f" REMOVE {', '.join(row.PENDING)}",
            "leaseCounter = :counter AND leaseOwner = :owner",
            {
                ":counter": row.number(lease.counter),
                ":next": row.number(checkpointed.counter),
                ":owner": {"S": _owner(lease)},
                ":checkpoint": {"S": checkpoint},
                ":time": row.number(time_ms),
                ":zero": row.number(0),
            },
        )
        return checkpointed

    async def release(self, lease: Lease) -> Lease:
        """The counter is raised in the table, not set: it must never fall, whatever became of a lost renewal.

        One write of the owner's may have landed without an answer; any other counter is of a later tenure, though it
        may be the same worker's, or of a row made anew.
        """
        await self._update(
            lease,
            NEVER,
            "SET leaseCounter = leaseCounter + :one REMOVE leaseOwner, pollerOwner",
            "leaseOwner = :owner AND leaseCounter >= :counter AND leaseCounter <= :ahead",
            {
                ":owner": {"S": _owner(lease)},
                ":counter": row.number(lease.counter),
                ":ahead": row.number(lease.counter + 1),
                ":one": row.number(1),
            },
        )
        return lease.released()

    async def promise(self, lease: Lease, successor: str) -> Lease:
        """The counter stays: the holder's next write must find it as it knows it."""
        await self._update(
            lease,
            NEVER,
            "SET successor = :successor",
            "leaseOwner = :owner AND (attribute_not_exists(successor) OR successor = :sought)",
            {":owner": {"S": _owner(lease)}, ":successor": {"S": successor}, ":sought": {"S": SOUGHT}},
        )
        return lease.promised(successor)

    async def add_children(self, lease: Lease, children: frozenset[str], not_after: float) -> Lease:
        """The counter stays: the holder's next write must find it as it knows it."""
        await self._update(
            lease,
            not_after,
            "ADD childShardIds :children",
            "leaseCounter = :counter AND leaseOwner = :owner",
            {
                ":counter": row.number(lease.counter),
                ":owner": {"S": _owner(lease)},
                ":children": {"SS": sorted(children)},
            },
        )
        return lease.with_children(children)

    async def adopt(self, lease: Lease, stream_arn: str) -> Lease:
        await self._update(
            lease,
            NEVER,
            "SET streamArn = :arn",
            "leaseCounter = :counter AND attribute_not_exists(streamArn)",
            {":counter": row.number(lease.counter), ":arn": {"S": stream_arn}},
        )
        return replace(lease, stream_arn=stream_arn)

    async def delete(self, lease: Lease) -> None:
        try:
            await self._call(
                "DeleteItem",
                self._row(lease.shard_id),
                NEVER,
                self._client.delete_item,
                TableName=self._table,
                Key={row.KEY: {"S": lease.shard_id}},
                # The counter alone may be that of a row made anew meanwhile.
                ConditionExpression="leaseCounter = :counter AND checkpoint = :checkpoint",
                ExpressionAttributeValues={
                    ":counter": row.number(lease.counter),
                    ":checkpoint": {"S": lease.checkpoint},
                },
            )
        except AwsError as error:
            _raise_conflict(error, lease)
            raise

    async def _update(
        self,
        lease: Lease,
        not_after: float,
        update: str,
        condition: str,
        values: Mapping[str, AttributeValueTypeDef],
    ) -> None:
        try:
            request = {
                "TableName": self._table,
                "Key": {row.KEY: {"S": lease.shard_id}},
                "UpdateExpression": update,
                "ConditionExpression": condition,
                "ExpressionAttributeValues": values,
            }
            await self._ask("UpdateItem", self._row(lease.shard_id), not_after, request)
        except AwsError as error:
            _raise_conflict(error, lease)
            raise

    def _row(self, shard_id: str) -> Target:
        return Target(f"{self._table}/{shard_id}", self._arn)

    def _lease(self, item: Mapping[str, AttributeValueTypeDef]) -> Lease | None:
        try:
            return row.lease_of(item)
        except row.UnreadableRow as error:
            key = str(item.get(row.KEY))
            if key not in self._reported and len(self._reported) < _REPORTED_MAX:
                self._reported.add(key)
                name = item.get(row.KEY, {}).get("S", "?")
                self._report(f"lease table {self._table}: the row {name} is no lease and is passed over: {error}")
            return None

    # --- what people do to a row (`poller.operate.ports.Leases`) ---

    async def evict(self, lease: Lease) -> Lease:
        """Under the counter as well: a holder who has written since is alive, and that is for the caller to weigh."""
        evicted = lease.evicted()
        await self._update(
            lease,
            NEVER,
            "SET leaseCounter = :next REMOVE leaseOwner, pollerOwner, successor, checkpointOwner",
            "leaseCounter = :counter AND leaseOwner = :owner",
            {
                ":counter": row.number(lease.counter),
                ":next": row.number(evicted.counter),
                ":owner": {"S": _owner(lease)},
            },
        )
        return evicted

    async def move(self, lease: Lease, checkpoint: str, seek_time_ms: int | None, time_ms: int) -> Lease:
        moved = lease.moved(checkpoint, seek_time_ms, time_ms)
        removed = ["leaseOwner", "pollerOwner", "successor", "checkpointOwner", *row.PENDING]
        condition = "leaseCounter = :counter AND checkpoint = :old"
        values: dict[str, AttributeValueTypeDef] = {
            ":counter": row.number(lease.counter),
            ":next": row.number(moved.counter),
            ":old": {"S": lease.checkpoint},
            ":new": {"S": checkpoint},
            ":time": row.number(time_ms),
            ":zero": row.number(0),
        }
        seek = ""
        if seek_time_ms is None:
            removed.append(row.SEEK_TIME)
        else:
            seek, values[":seek"] = f", {row.SEEK_TIME} = :seek", row.number(seek_time_ms)
        if lease.owner is not None:  # the beginning of a hand-off (KCL 3) changes the owner and not the counter
            condition += " AND leaseOwner = :owner"
            values[":owner"] = {"S": lease.owner}
        await self._update(
            lease,
            NEVER,
            "SET leaseCounter = :next, checkpoint = :new, checkpointSubSequenceNumber = :zero,"
            f" ownerSwitchesSinceCheckpoint = :zero, checkpointTime = :time{seek} REMOVE {', '.join(removed)}",
            condition,
            values,
        )
        return moved


def _raise_conflict(error: AwsError, lease: Lease) -> None:
    if error.code == _CONFLICT:
        text = f"{error.operation} on {error.resource}: not the row with the counter {lease.counter}"
        raise LeaseConflict(text) from error


def _owner(lease: Lease) -> str:
    """The holder, who alone may write; LeaseConflict for a row that nobody holds."""
    if lease.owner is None:
        raise LeaseConflict(f"{lease.shard_id}: nobody holds this lease")
    return lease.owner


def _keys(table: TableDescriptionTypeDef) -> list[str]:
    """The key's attributes with their types: ["leaseKey (S)"]."""
    types = {definition["AttributeName"]: definition["AttributeType"] for definition in table["AttributeDefinitions"]}
    return [f"{key['AttributeName']} ({types[key['AttributeName']]})" for key in table["KeySchema"]]
