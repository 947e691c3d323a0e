"""What is known of the daemon at this moment: plain data, of which readiness and the status page are made.

All times are seconds on one monotonic clock, but for those named `..._wall_s`, which are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from poller.events import DaemonReady, FleetSeen
from poller.observe.flow import Counts, Flow


class Fault(NamedTuple):
    """Something that does not work. `error`: the last word on it."""

    since: float
    error: str


class Loss(NamedTuple):
    """Records that are gone and were never read."""

    at: float
    shard: str
    reason: str
    position: str
    action: str


@dataclass(slots=True)
class ShardKnown:
    """A shard whose lease this worker holds.

    `polled_at`: when the last page came, None before the first; `ended_at`: when the shard's last page came; `open_at`:
    when something in it was last said to be unsettled. `renewed_at`: when this worker last gave the sign of life that
    keeps it.
    """

    taken_at: float
    checkpoint: str
    renewed_at: float
    polled_at: float | None = None
    ended_at: float | None = None
    lost_at: float | None = None
    open_at: float = 0.0
    failing: Fault | None = None
    position: str | None = None
    behind_s: float | None = None
    oldest_created_wall_s: float | None = None
    checkpoint_wall_s: float | None = None
    retrying_since_wall_s: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class RouteKnown:
    """A route and its queues. Counts are of this process's life; `waiting` and `dead_letters_waiting` of now.

    `progress_at`: when the queue last answered, or nothing waited for it.
    """

    progress_at: float
    matched: int = 0
    filtered: int = 0
    delivered: int = 0
    dead_lettered: int = 0
    not_taken: int = 0
    waiting: int = 0
    dead_letters_waiting: int = 0
    failing: Fault | None = None
    dead_letters_failing: Fault | None = None
    last_error: Fault | None = None
    retrying_shards: set[str] = field(default_factory=set)

    @property
    def refusing(self) -> Fault | None:
        """Why the queue takes nothing of what waits. While nothing does it is not asked, and may have recovered."""
        return self.failing if self.waiting else None


@dataclass(slots=True)
class Known:
    """All of it. `working_at`: since when the daemon's start is over, and the first page of each of its shards read.

    `looked_at` and `discovered_at`: the last complete looks at the lease table and at the stream's shards; `nobodys`:
    shards that could be read and that no living worker owns, since when; `unsuited`: the stream lacks images that the
    settings need. `stretched_s`: for how long a budget lets idle shards alone, beyond the settings, until
    `stretched_until`. `read` counts records in this process's life.
    """

    started_at: float
    version: str = ""
    worker_id: str = ""
    waiting_for: Fault | None = None
    start_failed: Fault | None = None
    found: DaemonReady | None = None
    found_at: float | None = None
    working_at: float | None = None
    worker_failed: Fault | None = None
    stopping_at: float | None = None
    stream_arn: str | None = None
    view_type: str | None = None
    unsuited: Fault | None = None
    replaced_by: str | None = None
    ended: bool = False
    shards_listed: int = 0
    discovered_at: float | None = None
    discovery_failing: Fault | None = None
    fleet: FleetSeen | None = None
    looked_at: float | None = None
    nobodys: dict[str, float] = field(default_factory=dict)
    lease_table_failing: Fault | None = None
    shards: dict[str, ShardKnown] = field(default_factory=dict)
    unpolled: set[str] = field(default_factory=set)
    routes: dict[str, RouteKnown] = field(default_factory=dict)
    stretched_s: float = 0.0
    stretched_until: float = 0.0
    paused_at: float | None = None
    resumed_at: float = 0.0
    buffered_records: int = 0
    buffered_bytes: int = 0
    losses: list[Loss] = field(default_factory=list)
    losses_total: int = 0
    read: int = 0
    flow: Flow = field(default_factory=Flow)

    def totals(self) -> Counts:
        """What has flowed through since the process began, over all routes."""
        routes = self.routes.values()
        return Counts(
            self.read,
            sum(route.matched for route in routes),
            sum(route.delivered for route in routes),
            sum(route.dead_lettered for route in routes),
        )
