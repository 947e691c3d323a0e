"""Looks at the lease table: whether it is one, whose, and who holds what. A table that is missing is not made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Sequence

from poller.aws.lease_rows import KEY
from poller.aws.lease_table import BotoLeaseTable
from poller.aws.session import Aws
from poller.aws.survey import table_facts
from poller.errors import PollerError
from poller.inspect.findings import Finding, fault, ok, unknown, warning
from poller.model import Lease, StreamInfo
from poller.run.ports import Clock
from poller.settings import Settings
from poller.startup import disabled_fault, foreign_lease_table

PART = "lease table"
_OWNERS_SHOWN = 5
# What KCL 3 keeps beside its lease table, in tables of their own: who leads, and how busy each worker is.
_BESIDE = ("-CoordinatorState", "-WorkerMetricStats")


async def lease_findings(settings: Settings, aws: Aws, clock: Clock, stream: Awaitable[StreamInfo]) -> list[Finding]:
    """`stream` may raise PollerError: then it cannot be told whether the rows are this stream's."""
    name, odd_rows = settings.lease_table, list[str]()
    table = BotoLeaseTable(aws, name, odd_rows.append)
    try:
        facts = await table_facts(aws, name)
        if facts is None and settings.lease.create:
            text = f"{name}: not there yet; `poller init` or the first `poller run` makes it (dynamodb:CreateTable)"
            return [*await _nothing_left(settings, stream, ()), ok(PART, text)]
        # Nothing to make: this says what is wrong with a table in the words of the daemon.
        await table.ensure(create=False, clock=clock, wait_s=0.0)
        rows = await table.list()
        await table.read(rows[0].shard_id if rows else "-")  # may it be? The row is of no interest here.
    except PollerError as error:
        return [fault(PART, error)]
    findings = [ok(PART, f"{name}: {facts.status if facts else 'ACTIVE'}, key {KEY} (S)"), _held(rows)]
    findings += await _kcl(settings, aws, rows)
    try:
        findings.append(_whose(settings, await stream, rows))
        findings += await _nothing_left(settings, stream, rows)
    except PollerError:
        findings.append(unknown(PART, "whose it is cannot be told without the stream"))
    return findings + [warning(PART, text, "delete the row, or name another table") for text in odd_rows]


async def _nothing_left(settings: Settings, stream: Awaitable[StreamInfo], rows: Sequence[Lease]) -> list[Finding]:
    """Whether a disabled stream is read to its end: then there is nothing to start for."""
    try:
        disabled = disabled_fault(settings, await stream, rows)
    except PollerError:
        return []
    return [fault("stream", disabled)] if disabled else []


def _held(rows: Sequence[Lease]) -> Finding:
    """How many shards, and in whose hands; whether a lease is over cannot be seen in one look."""
    if not rows:
        return ok(PART, "no rows: nothing has been read with it yet")
    finished = sum(row.finished for row in rows)
    owners = Counter(row.owner for row in rows if row.owner and not row.finished)
    free = len(rows) - finished - owners.total()
    return ok(
        PART,
        f"{len(rows)} {'row' if len(rows) == 1 else 'rows'}: {finished} finished, {free} held by nobody,"
        f" {owners.total()} held{' by ' if owners else ''}{_shown(owners)}",
    )


def _shown(owners: Counter[str]) -> str:
    """`a (2), b (1)`, and how many more there are."""
    shown = [f"{owner} ({count})" for owner, count in owners.most_common(_OWNERS_SHOWN)]
    if len(owners) > _OWNERS_SHOWN:
        shown.append(f"{len(owners) - _OWNERS_SHOWN} more")
    return ", ".join(shown)


async def _kcl(settings: Settings, aws: Aws, rows: Sequence[Lease]) -> list[Finding]:
    """What a KCL application has to do with the table: its workers on the rows, and what KCL 3 keeps beside it."""
    findings = []
    owners = Counter(row.owner for row in rows if row.foreign and row.owner and not row.finished)
    if owners:
        held = "1 lease is" if owners.total() == 1 else f"{owners.total()} leases are"
        text = (
            f"{held} held by {'a worker' if len(owners) == 1 else 'workers'} of a KCL application, {_shown(owners)};"
            f" `poller run` takes only what they give back, or have not renewed for {settings.lease.duration_s:g} s:"
            " keep lease.duration equal to the application's failoverTimeMillis"
        )
        findings.append(ok(PART, text))
    if owners or any(row.stream_arn is None for row in rows):
        names = [settings.lease_table + suffix for suffix in _BESIDE]
        if there := [name for name in names if await _is_there(aws, name)]:
            findings.append(ok(PART, f"KCL 3 has {' and '.join(there)} beside it; `poller` leaves them alone"))
    return findings


async def _is_there(aws: Aws, table: str) -> bool:
    """No, too, where it must not be asked: nothing depends on the answer."""
    try:
        return await table_facts(aws, table) is not None
    except PollerError:
        return False


def _whose(settings: Settings, stream: StreamInfo, rows: Sequence[Lease]) -> Finding:
    if foreign := foreign_lease_table(settings, stream, rows):
        return fault(PART, foreign)
    pinned = {row.stream_arn for row in rows if row.stream_arn}
    unpinned = sum(row.stream_arn is None for row in rows)
    if unpinned:
        named = "1 row names" if unpinned == 1 else f"{unpinned} rows name"
        return ok(PART, f"{named} no stream, as a KCL application leaves them; taken over from the checkpoint on")
    earlier = sorted(arn for arn in pinned if arn < stream.arn)
    if earlier:
        return ok(PART, f"its rows are this table's, and {len(earlier)} of its earlier streams is among them")
    return ok(PART, "it belongs to this stream" if pinned else "it belongs to no stream yet")
