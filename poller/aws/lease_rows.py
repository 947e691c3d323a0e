"""A lease as a row of KCL's lease table, and back. Pure.

Read from amazon-kinesis-client 3.5.1 and the DynamoDB Streams adapter 2.3.0, which write and read the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from poller.model import SENTINELS, Lease

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef

    Item = dict[str, AttributeValueTypeDef]

KEY: Final = "leaseKey"
OWNER: Final = "leaseOwner"
COUNTER: Final = "leaseCounter"
CHECKPOINT: Final = "checkpoint"
SUB_SEQUENCE: Final = "checkpointSubSequenceNumber"
SWITCHES: Final = "ownerSwitchesSinceCheckpoint"
PARENTS: Final = "parentShardIds"
CHILDREN: Final = "childShardIds"
CHECKPOINT_OWNER: Final = "checkpointOwner"  # KCL 3, only while a hand-off is under way
ENTITY_TYPE: Final = "entityType"  # KCL 3.5: other things than leases stand in the table, under other types
PENDING: Final = ("pendingCheckpoint", "pendingCheckpointSubSequenceNumber", "pendingCheckpointState")
# Our own; Java ignores and keeps them.
STREAM_ARN: Final = "streamArn"
START_TIME: Final = "startTime"
CHECKPOINT_TIME: Final = "checkpointTime"
POLLER_OWNER: Final = "pollerOwner"
SUCCESSOR: Final = "successor"
SEEK_TIME: Final = "seekTime"

_TIME_MS_MAX: Final = 253_402_300_799_999  # the end of the year 9999, the last that calendars know


class UnreadableRow(Exception):
    """A row in the lease table that cannot be read as a lease."""


def number(value: int) -> AttributeValueTypeDef:
    return {"N": str(value)}


def item_of(lease: Lease) -> Item:
    """The whole row, with the attributes that the DynamoDB Streams adapter writes though they mean nothing here."""
    item: Item = {
        KEY: {"S": lease.shard_id},
        COUNTER: number(lease.counter),
        CHECKPOINT: {"S": lease.checkpoint},
        SUB_SEQUENCE: number(0),
        SWITCHES: number(lease.owner_switches),
        "startingHashKey": {"S": "0"},
        "endingHashKey": {"S": "1"},
    }
    texts = {
        OWNER: lease.owner,
        CHECKPOINT_OWNER: lease.checkpoint_owner,
        STREAM_ARN: lease.stream_arn,
        POLLER_OWNER: lease.poller_owner,
        SUCCESSOR: lease.successor,
    }
    numbers = {
        START_TIME: lease.start_time_ms,
        CHECKPOINT_TIME: lease.checkpoint_time_ms,
        SEEK_TIME: lease.seek_time_ms,
    }
    sets = {PARENTS: lease.parents, CHILDREN: lease.children}  # DynamoDB has no empty set
    item |= {name: {"S": text} for name, text in texts.items() if text is not None}
    item |= {name: number(value) for name, value in numbers.items() if value is not None}
    item |= {name: {"SS": sorted(names)} for name, names in sets.items() if names}
    return item


def lease_of(item: Mapping[str, AttributeValueTypeDef]) -> Lease | None:
    """The lease that a row holds, None for a row that is not a lease; UnreadableRow says what is wrong with it."""
    if _text(item, ENTITY_TYPE) not in (None, "LEASE"):
        return None
    shard_id, counter, checkpoint = _text(item, KEY), _number(item, COUNTER), _text(item, CHECKPOINT)
    if shard_id is None:
        raise UnreadableRow(f"{KEY} is missing")
    if counter is None:
        raise UnreadableRow(f"{COUNTER} is missing")
    if checkpoint is None or not (checkpoint in SENTINELS or (checkpoint.isascii() and checkpoint.isdigit())):
        raise UnreadableRow(f"{CHECKPOINT} is neither a sequence number nor one of {', '.join(sorted(SENTINELS))}")
    return Lease(
        shard_id=shard_id,
        owner=_text(item, OWNER),
        counter=counter,
        checkpoint=checkpoint,
        parents=_names(item, PARENTS),
        children=_names(item, CHILDREN),
        owner_switches=_number(item, SWITCHES) or 0,
        checkpoint_owner=_text(item, CHECKPOINT_OWNER),
        stream_arn=_text(item, STREAM_ARN),
        start_time_ms=_time(item, START_TIME),
        checkpoint_time_ms=_time(item, CHECKPOINT_TIME),
        poller_owner=_text(item, POLLER_OWNER),
        successor=_text(item, SUCCESSOR),
        seek_time_ms=_time(item, SEEK_TIME),
    )


def _text(item: Mapping[str, AttributeValueTypeDef], name: str) -> str | None:
    """None for an attribute that is not there or NULL, as Java reads them."""
    value = item.get(name)
    if value is None or "NULL" in value:
        return None
    text = value.get("S")
    if not isinstance(text, str):
        raise UnreadableRow(f"{name} is not a string")
    return text


def _number(item: Mapping[str, AttributeValueTypeDef], name: str) -> int | None:
    value = item.get(name)
    if value is None or "NULL" in value:
        return None
    try:
        return int(value["N"])
    except (KeyError, TypeError, ValueError):
        raise UnreadableRow(f"{name} is not a whole number") from None


def _time(item: Mapping[str, AttributeValueTypeDef], name: str) -> int | None:
    """One row with a time that nobody can show or ask for must not stop what is done for all the others."""
    time_ms = _number(item, name)
    if time_ms is not None and not 0 <= time_ms <= _TIME_MS_MAX:
        raise UnreadableRow(f"{name} is no time in milliseconds since 1970")
    return time_ms


def _names(item: Mapping[str, AttributeValueTypeDef], name: str) -> frozenset[str]:
    """A plain string or anything else is read as no names at all, as Java does."""
    names = item.get(name, {}).get("SS")
    return frozenset(each for each in names if isinstance(each, str)) if isinstance(names, list) else frozenset()
