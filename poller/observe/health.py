"""Is the daemon ready, and if not, why: a pure decision over what is known of it.

Every promise is checked by the age of its last proof, so that a loop that stands still shows even if no event says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from poller.observe.known import Fault, Known, RouteKnown, ShardKnown
from poller.settings import RouteSettings, Settings
from poller.settings.units import format_duration


class Reason(NamedTuple):
    """Why the daemon is not ready. `part`: what is meant; `since`: seconds on the monotonic clock; `text`: a sentence.

    The text says what to do where somebody can do something about it. `stream`: whose part, where there are several.
    """

    part: str
    since: float
    text: str
    stream: str = ""


@dataclass(frozen=True, slots=True)
class Bounds:
    """For how long a proof is good, in seconds.

    `unread_s`: a page of a shard; `unrenewed_s`: the sign of life that keeps the leases; `unlooked_s`: a look
    at the lease table; `undiscovered_s`: a look at the stream's shards; `patience_s`: how long a shard may be nobody's,
    be at its end without that being written, or the look at the stream's shards fail; `silent_s`: by route, an answer
    of its queue while something waits for it.
    """

    unread_s: float
    unrenewed_s: float
    unlooked_s: float
    undiscovered_s: float
    patience_s: float
    silent_s: Mapping[str, float]

    @classmethod
    def of(cls, settings: Settings) -> Bounds:
        """What follows from how often the settings let each thing happen."""
        polling, lease_s = settings.polling, settings.lease.duration_s
        pause_s = max(polling.idle_max_s, 1 / polling.requests_per_second_per_shard)
        return cls(
            unread_s=max(10.0, 5 * pause_s + 3 * settings.aws.request_timeout_s),
            unrenewed_s=2 * lease_s,
            unlooked_s=3 * lease_s,
            undiscovered_s=2 * settings.lease.discovery_interval_s + 3 * lease_s,
            patience_s=3 * lease_s,
            silent_s={route.name: _silent_s(route) for route in settings.routes},
        )


def _silent_s(route: RouteSettings) -> float:
    """Longer than the longest wait on purpose: between two attempts of a record, for a batch, for the route's rate."""
    batch_s = route.batch_size / route.messages_per_second if route.messages_per_second else 0.0
    return max(120.0, 2 * (route.batch_window_s + batch_s))


def readiness(known: Known, bounds: Bounds, now: float) -> tuple[Reason, ...]:
    """Why the daemon is not ready, oldest first; empty: it is.

    Ready: its start is over, every shard that is its own is really read, its leases are renewed, no shard is nobody's
    for long, each queue takes what waits for it, and no record was lost since the process began. A worker without any
    shard, since others have them all, is ready.
    """
    reasons = [
        *_process(known),
        *_losses(known),
        *_fleet(known, bounds, now),
        *_reading(known, bounds, now),
        *(reason for name, route in known.routes.items() for reason in _route(name, route, bounds, now)),
    ]
    return tuple(sorted(reasons, key=lambda reason: reason.since))


def _process(known: Known) -> Iterator[Reason]:
    if known.stopping_at is not None:
        yield Reason("stop", known.stopping_at, "The daemon is leaving.")
    if known.worker_failed is not None:
        text = f"The worker ended with an error that nobody foresaw ({known.worker_failed.error}); it is begun again."
        yield Reason("worker", known.worker_failed.since, text)
    elif known.found_at is None and known.start_failed is not None:
        text = f"It cannot be begun, and is tried again while the other streams go on: {_said(known.start_failed)}"
        yield Reason("start", known.start_failed.since, text)
    elif known.found_at is None:
        waits = f"It waits for the {known.waiting_for.error}" if known.waiting_for else "Nothing has failed so far"
        yield Reason("start", known.started_at, f"Stream, lease table and queues are not all found yet. {waits}.")
    elif known.working_at is None:
        missing = f"the first page of {_some(known.unpolled)}" if known.unpolled else "the first look at the shards"
        yield Reason("start", known.found_at, f"All is found; {missing} has not come yet.")


def _losses(known: Known) -> Iterator[Reason]:
    if not known.losses:
        return
    first = known.losses[0]
    places = "one place" if known.losses_total == 1 else f"{known.losses_total} places"
    yield Reason(
        "data loss",
        first.at,
        f"Records were lost that were never read, in {places}, first in {first.shard} ({first.reason}, position"
        f" {first.position}; what is done: {first.action}). Make up for them from the table; stream.on_data_loss ="
        ' "skip" reads on after a gap. A restart clears this.',
    )


def _fleet(known: Known, bounds: Bounds, now: float) -> Iterator[Reason]:
    """The lease table, the stream's listing, and shards that are nobody's."""
    if known.lease_table_failing is not None:
        yield Reason(
            "lease table",
            known.lease_table_failing.since,
            f"It does not answer as it should, and nothing is sent that could not be checkpointed: "
            f"{_said(known.lease_table_failing)}",
        )
    elif known.looked_at is not None and now - known.looked_at > bounds.unlooked_s:
        yield Reason("lease table", known.looked_at, "No look at it has come to its end for too long.")
    failing = known.discovery_failing
    if failing is not None and now - failing.since > bounds.patience_s:
        yield Reason("discovery", failing.since, f"The stream's shards cannot be listed: {_said(failing)}")
    elif known.discovered_at is not None and now - known.discovered_at > bounds.undiscovered_s:
        yield Reason("discovery", known.discovered_at, "The stream's shards have not been listed for too long.")
    if known.unsuited is not None:
        yield Reason("view type", known.unsuited.since, f"What is wanted cannot match: {_said(known.unsuited)}")
    long = {shard: since for shard, since in known.nobodys.items() if now - since > bounds.patience_s}
    if long:
        yield Reason(
            "unowned shards",
            min(long.values()),
            f"Nobody reads {_some(long)}: {_why_nobody(known, long)}",
        )


def _why_nobody(known: Known, shards: Mapping[str, float]) -> str:
    if known.fleet is not None and shards.keys() <= set(known.fleet.rowless):
        return "the lease table has no row for it that can be read. Mend or delete the row that `poller check` names."
    return "no living worker has the lease. Start another worker, or raise lease.max_leases."


def _reading(known: Known, bounds: Bounds, now: float) -> Iterator[Reason]:
    if known.paused_at is not None and now - known.paused_at > bounds.unread_s:
        yield Reason(
            "buffers",
            known.paused_at,
            f"Reading is paused: {known.buffered_bytes} bytes are read and not settled, since the queues take less"
            " than is read.",
        )
    for name, shard in known.shards.items():
        problem = _shard(shard, known, bounds, now)
        if problem is not None:
            yield Reason(f"shard {name}", *problem)


def _shard(shard: ShardKnown, known: Known, bounds: Bounds, now: float) -> tuple[float, str] | None:
    """Since when the shard is not kept as it should be, and why."""
    if shard.lost_at is not None:
        return shard.lost_at, "It is not read any more since records of it were lost (stream.on_data_loss = stop)."
    if now - shard.renewed_at > bounds.unrenewed_s:
        return shard.renewed_at, "Its lease is not renewed."
    if shard.ended_at is not None:
        since = max(shard.ended_at, shard.open_at)
        ended_long = shard.oldest_created_wall_s is None and now - since > bounds.patience_s
        return (since, "It is read to its end and settled, and its end cannot be written.") if ended_long else None
    return _unread(shard, known, bounds, now)


def _unread(shard: ShardKnown, known: Known, bounds: Bounds, now: float) -> tuple[float, str] | None:
    since = max(shard.taken_at if shard.polled_at is None else shard.polled_at, known.resumed_at)
    # A pause is told once, for all shards.
    until = now if known.paused_at is None else min(now, known.paused_at)
    stretched_s = known.stretched_s if now < known.stretched_until else 0.0
    if until - since <= bounds.unread_s + 2 * stretched_s:
        return None
    if shard.failing is not None:
        return since, f"It is not read: {_said(shard.failing)}"
    if shard.retrying_since_wall_s:
        routes = ", ".join(sorted(shard.retrying_since_wall_s))
        return since, f"It is not read, though no call fails; records of it are being retried on {routes}."
    return (
        since,
        f"It is not read, though no call fails: no page came for more than {format_duration(bounds.unread_s)}.",
    )


def _route(name: str, route: RouteKnown, bounds: Bounds, now: float) -> Iterator[Reason]:
    if route.refusing is not None:
        yield Reason(f"queue of route {name}", route.refusing.since, f"It takes no messages: {_said(route.refusing)}")
    elif route.waiting and now - route.progress_at > bounds.silent_s[name]:
        text = f"{route.waiting} records wait for it, and it has neither taken nor refused any."
        yield Reason(f"queue of route {name}", route.progress_at, text)
    if route.dead_letters_failing is not None:
        yield Reason(
            f"dead-letter queue of route {name}",
            route.dead_letters_failing.since,
            f"A record cannot be stored there, and its shard's checkpoint waits: {_said(route.dead_letters_failing)}",
        )


def _said(fault: Fault) -> str:
    """The error's own words as the end of a sentence."""
    return fault.error if fault.error.endswith((".", "!", "?")) else f"{fault.error}."


_NAMED_MAX = 3


def _some(shards: Mapping[str, float] | set[str]) -> str:
    """`shardId-1, shardId-2, shardId-3 and 5 more`."""
    names = sorted(shards)
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
