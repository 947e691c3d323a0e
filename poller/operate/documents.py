"""What the commands say as JSON. Names stay as they are once they are out; null: not known, or not the case. Pure."""

from __future__ import annotations

from typing import Any

from poller.model import Lease
from poller.operate.between import Between
from poller.operate.fleet import OwnerSeen, ShardSeen
from poller.operate.move import Plan
from poller.operate.release import Released
from poller.operate.watch import Seen
from poller.operate.words import utc

Object = dict[str, Any]


def fleet_document(seen: Seen) -> Object:
    """`poller leases --json`: all shards, finished ones as well, in the order in which they are shown."""
    fleet = seen.fleet
    return {
        "table": seen.table,
        "at": utc(seen.wall_s),
        "looks": seen.looks,
        "looked_for_s": _rounded(seen.looked_for_s),
        "lease_duration_s": seen.duration_s,
        "trouble": seen.trouble,
        "streams": list(fleet.streams),
        "states": {state.value: count for state, count in fleet.states.items()},
        "owners": [_owner(owner) for owner in fleet.owners],
        "leases": [_shard(shard) for shard in fleet.shards],
    }


def _owner(owner: OwnerSeen) -> Object:
    return {
        "owner": owner.name,
        "kcl": owner.foreign,
        "shards": owner.shards,
        "alive": owner.alive,
        "moved": owner.life.moved,
        "still_s": _rounded(owner.life.still_s),
    }


def _shard(shard: ShardSeen) -> Object:
    return {
        "shard": shard.lease.shard_id,
        "state": shard.state.value,
        "moved": shard.life.moved,
        "still_s": _rounded(shard.life.still_s),
        **lease_document(shard.lease),
    }


def lease_document(lease: Lease) -> Object:
    """A row, under the names of this project."""
    return {
        "shard": lease.shard_id,
        "owner": lease.owner,
        "kcl": lease.foreign,
        "successor": lease.successor,
        "counter": lease.counter,
        "checkpoint": lease.checkpoint,
        "checkpoint_time": _time(lease.checkpoint_time_ms),
        "start_time": _time(lease.start_time_ms),
        "seek_time": _time(lease.seek_time_ms),
        "parents": sorted(lease.parents),
        "children": sorted(lease.children),
        "stream_arn": lease.stream_arn,
    }


def released_document(result: Released, table: str) -> Object:
    """`poller leases release --json`. `outcome`: released, or unowned where nobody held it."""
    outcome = "released" if result.done else "unowned"
    return {
        "table": table,
        "outcome": outcome,
        "taken_from": result.before.owner,
        "lease": lease_document(result.after),
    }


def moved_document(plan: Plan, after: Lease | None, table: str) -> Object:
    """`poller leases set --json`. `outcome`: set or declined; `lease` is the row as it stands afterwards."""
    return {
        "table": table,
        "outcome": "declined" if after is None else "set",
        "taken_from": None if after is None else plan.lease.owner,
        "before": lease_document(plan.lease),
        "lease": lease_document(plan.lease if after is None else after),
        "records": _between(plan.between),
        "not_counted": plan.uncounted,
        "warnings": list(plan.warnings),
    }


def _between(between: Between | None) -> Object | None:
    if between is None:
        return None
    return {
        "direction": between.direction if between.count or not between.complete else "none",
        "count": between.count,
        "complete": between.complete,
        "first_created": None if between.first_s is None else utc(between.first_s),
        "last_created": None if between.last_s is None else utc(between.last_s),
    }


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else utc(time_ms / 1000)


def _rounded(seconds: float) -> float:
    return round(seconds, 1)
