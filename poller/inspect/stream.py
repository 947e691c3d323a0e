"""Looks at the stream: which it is, whether it has what the routes want, its shards, and whether it may be read."""

from __future__ import annotations

from collections.abc import Sequence

from poller.aws.session import Aws
from poller.aws.streams import BotoStreamSource, BotoTables
from poller.decide.filter import Filter
from poller.errors import AccessDenied, InvalidRequest, PollerError, Throttled
from poller.inspect.findings import Finding, fault, ok, unknown, warning
from poller.model import TRIM_HORIZON, Position, Shard, StreamInfo
from poller.settings import Settings
from poller.startup import view_doubts, view_faults

# 100 shards each; DescribeStream allows 10 a second for the whole account, and the daemon wants some of them.
_PAGES_MAX = 20


def view_findings(settings: Settings, stream: StreamInfo, filters: Sequence[Filter]) -> list[Finding]:
    """Whether the records of this stream hold what the routes read."""
    faults = [fault("view type", error) for error in view_faults(settings, stream, filters)]
    mend = "enable the stream with NEW_AND_OLD_IMAGES"
    doubts = [warning("view type", text, mend) for text in view_doubts(settings, stream)]
    return [*faults, *doubts] or [ok("view type", f"{stream.view_type.value}: it has what the routes read")]


def state_finding(stream: StreamInfo) -> Finding:
    """Which stream it is. A disabled one gets no new records; whether `poller run` starts depends on the leases."""
    if stream.enabled:
        return ok("stream", f"{stream.arn}, enabled")
    text = f"{stream.arn}, disabled: what is in it can be read for 24 hours, changes are not recorded any more"
    return warning("stream", text, "enable it again with NEW_IMAGE or NEW_AND_OLD_IMAGES")


async def reading_findings(aws: Aws, stream: StreamInfo, *, followed: bool) -> list[Finding]:
    """The shards, and whether one of them can be read: its first record, which is shown to nobody.

    `followed`: the stream is that of a table by name, and the one that replaces it will be read after it.
    """
    source = BotoStreamSource(aws, stream.arn, stream.table)
    try:
        shards, complete = await _shards(source)
    except PollerError as error:
        return [fault("shards", error)]
    closed = sum(shard.closed for shard in shards)
    more = "" if complete else f"; only the first {_PAGES_MAX} pages of the listing were looked at"
    counted = ok("shards", f"{len(shards)}: {len(shards) - closed} open, {closed} closed{more}")
    listed = await _listing(aws, stream) if followed else []
    return [counted, *await _one_page(source, shards), *listed]


async def _shards(source: BotoStreamSource) -> tuple[list[Shard], bool]:
    """And whether they are all."""
    shards: list[Shard] = []
    after: str | None = None
    for _ in range(_PAGES_MAX):
        page = await source.describe(after)
        shards += page.shards
        after = page.last_shard_id
        if after is None:
            return shards, True
    return shards, False


async def _one_page(source: BotoStreamSource, shards: Sequence[Shard]) -> list[Finding]:
    """A read of one record; a shard allows two readers, and this one may be the third for a moment."""
    if not shards:
        return [unknown("shards", "there is none to read from yet")]
    shard = next((shard for shard in shards if not shard.closed), shards[-1])
    try:
        iterator = await source.iterator(shard.shard_id, Position(TRIM_HORIZON))
        await source.records(iterator, 1)
    except Throttled as error:
        return [unknown("shards", f"{shard.shard_id} was not read from: {error}")]
    except PollerError as error:
        return [fault("shards", error)]
    return [ok("shards", f"{shard.shard_id} can be read")]


async def _listing(aws: Aws, stream: StreamInfo) -> list[Finding]:
    """Asked for by the daemon only when a stream is replaced: not to be missed then."""
    try:
        await BotoTables(aws).streams(stream.table)
    except (AccessDenied, InvalidRequest) as error:
        refused = fault("stream", error)
        return [warning("stream", f"{refused.text}: it is needed when the stream is replaced", refused.mend)]
    except PollerError as error:
        return [fault("stream", error)]
    return []
