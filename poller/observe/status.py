"""What is known of the daemon as JSON: `/readyz` for probes and alarms, `/status` for people and tools.

Bounded, whatever the size of the stream; no item content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from poller.decide.filter import DEFAULT_PATTERN
from poller.events import SeenLease
from poller.observe.flow import Counts, Steps
from poller.observe.health import Bounds, Reason, readiness
from poller.observe.http import Answer, Query
from poller.observe.known import Fault, Known, RouteKnown, ShardKnown
from poller.observe.selection import Wanted, owners, select
from poller.observe.shard_metrics import RETENTION_S
from poller.observe.verdict import Seen, Tally, Verdict, tally, verdict
from poller.run.ports import Clock
from poller.settings import Settings, describe
from poller.settings.origins import masked

# How many reasons are told one by one: the oldest.
REASONS_MAX: Final = 50

_JSON: Final = "application/json"

Object = dict[str, Any]
_NO_QUERY: Final[Query] = {}


class Report:
    """The two pages of one stream, and the answer behind `poller_ready`. `known` is kept up to date by others.

    `costs`: what this worker's requests cost, US dollars a month by what for; None: it is not known.
    """

    def __init__(
        self,
        known: Known,
        settings: Settings,
        clock: Clock,
        costs: Callable[[], dict[str, float] | None] = lambda: None,
    ) -> None:
        self._costs = costs
        self._known = known
        self._queues = {route.name: _queue_name(route.queue) for route in settings.routes}
        self._clock = clock
        # They never change, and a filter may be long.
        self.set_settings(settings)

    def set_settings(self, settings: Settings) -> None:
        """Those in force from now on."""
        self._settings = settings
        self._bounds = Bounds.of(settings)
        self._settings_json = msgspec.Raw(
            msgspec.json.encode(
                [
                    {"setting": row.setting, "value": row.value, "origin": str(row.origin)}
                    for row in describe(settings, DEFAULT_PATTERN)
                ]
            )
        )

    def ready(self) -> bool:
        """Is the daemon ready at this moment?"""
        return not self.reasons()

    def readiness(self) -> Answer:
        """200 or 503, with the reasons: `{"ready": false, "reasons": [{"part", "since", "seconds", "text"}]}`."""
        return readiness_answer(self.reasons(), Times(self._clock))

    def status(self, query: Query = _NO_QUERY) -> Answer:
        """All that is known, or what of it `query` wants (`Wanted`). Times are UTC; None (null) stands for what is not
        known or not the case.
        """
        return status_answer(query, self._status)

    def _status(self, wanted: Wanted) -> Object:
        times = Times(self._clock)
        return self.of_the_process(times) | self.of_the_stream(times, wanted)

    def verdict(self) -> tuple[Verdict, Tally]:
        """How it stands in a sentence, and the counts that such a sentence about several streams needs."""
        now, wall_s = self._clock.monotonic(), self._clock.wall()
        seen = Seen(self._known, readiness(self._known, self._bounds, now), self._queues, now, wall_s)
        return verdict(seen), tally(seen)

    def of_the_process(self, times: Times) -> Object:
        """What is the same for all streams of a process."""
        known = self._known
        return {
            "worker_id": known.worker_id,
            "version": known.version,
            "now": times.of_wall(times.wall_s),
            "started_at": times.at(known.started_at),
            "stopping_since": times.at(known.stopping_at),
        }

    def of_the_stream(self, times: Times, wanted: Wanted) -> Object:
        """What is known of the stream, with its lease table and routes."""
        known, reasons = self._known, self.reasons()
        return {
            "verdict": self.verdict()[0]._asdict(),
            "working_since": times.at(known.working_at),
            "ready": not reasons,
            "reasons": times.reasons(reasons),
            "stream": self._stream(times),
            "lease_table": self._lease_table(times),
            "buffers": self._buffers(times),
            "flow": _flow(known, times),
            "estimated_cost_usd_per_month": self._cost(),
            "data_losses": {
                "count": known.losses_total,
                "first": [{**loss._asdict(), "at": times.at(loss.at)} for loss in known.losses],
            },
            "routes": [self._route(name, route, times) for name, route in known.routes.items()],
            "shards_by_state": known.fleet.shards if known.fleet else {},
            **self._shards(times, wanted),
            "bounds_seconds": {name.removesuffix("_s"): value for name, value in asdict(self._bounds).items()},
            **({"settings": self._settings_json} if wanted.settings else {}),
        }

    def reasons(self) -> tuple[Reason, ...]:
        """Why it is not ready at this moment, oldest first."""
        return readiness(self._known, self._bounds, self._clock.monotonic())

    def _stream(self, times: Times) -> Object:
        known = self._known
        return {
            "table": self._settings.stream.table_name,
            "arn": known.stream_arn,
            "view_type": known.view_type,
            "shards_listed": known.shards_listed,
            "last_listed": times.at(known.discovered_at),
            **times.failing(known.discovery_failing),
            "replaced_by": known.replaced_by,
            "ended": known.ended,
        }

    def _lease_table(self, times: Times) -> Object:
        known = self._known
        return {
            "name": self._settings.lease_table,
            "last_look": times.at(known.looked_at),
            **times.failing(known.lease_table_failing),
            "workers": known.fleet.workers if known.fleet else None,
            "leases_held": len(known.shards),
            "owners": [
                {
                    "owner": one.name,
                    "me": one.name == known.worker_id,
                    "kcl": one.foreign,
                    "leases": one.leases,
                    "at_work": one.at_work,
                }
                for one in owners(known.fleet.rows if known.fleet else ())
            ],
        }

    def _cost(self) -> dict[str, float] | None:
        costs = self._costs()
        return None if costs is None else {what: round(usd, 4) for what, usd in costs.items()}

    def _buffers(self, times: Times) -> Object:
        return {
            "records": self._known.buffered_records,
            "bytes": self._known.buffered_bytes,
            "bytes_max": self._settings.polling.buffer_max_bytes,
            "reading_paused_since": times.at(self._known.paused_at),
        }

    def _route(self, name: str, route: RouteKnown, times: Times) -> Object:
        settings = next(one for one in self._settings.routes if one.name == name)
        return {
            "name": name,
            "queue": masked(settings.queue),
            "dead_letter_queue": masked(settings.dead_letter_queue) if settings.dead_letter_queue else None,
            "matched": route.matched,
            "filtered": route.filtered,
            "delivered": route.delivered,
            "dead_lettered": route.dead_lettered,
            "entries_not_taken": route.not_taken,
            "waiting": route.waiting,
            "dead_letters_waiting": route.dead_letters_waiting,
            **times.failing(route.refusing),
            "dead_letters": times.failing(route.dead_letters_failing),
            "last_error": route.last_error.error if route.last_error else None,
            "last_error_at": times.at(route.last_error.since if route.last_error else None),
        }

    def _shards(self, times: Times, wanted: Wanted) -> Object:
        """The rows of the last look at the lease table, and of mine what this process knows of them."""
        mine = self._known.shards
        chosen = select(self._known.fleet.rows if self._known.fleet else (), mine, wanted)
        rows = [_row(row, mine.get(row.lease.shard_id), times, brief=wanted.brief) for row in chosen.rows]
        return {
            "shards": rows,
            "shards_found": chosen.found,
            "shards_not_shown": chosen.total - len(rows),
        }


def status_answer(query: Query, status: Callable[[Wanted], Object]) -> Answer:
    """200, or 400 if the query cannot be read."""
    try:
        wanted = Wanted.of(query)
    except ValueError as error:
        return not_wanted(error)
    return json_answer(status(wanted))


def not_wanted(error: ValueError) -> Answer:
    """400: the query cannot be read."""
    return Answer(f"400 {error}\n".encode(), status=400)


def readiness_answer(reasons: Sequence[Reason], times: Times) -> Answer:
    """What `/readyz` says with these reasons, or without any."""
    return json_answer({"ready": not reasons, "reasons": times.reasons(reasons)}, 503 if reasons else 200)


def json_answer(body: Object, status: int = 200) -> Answer:
    return Answer(msgspec.json.encode(body) + b"\n", _JSON, status)


def _queue_name(queue: str) -> str:
    """As people call it, also where the settings have its URL."""
    return masked(queue).rstrip("/").rpartition("/")[2]


def _flow(known: Known, times: Times) -> Object:
    """Records, over all routes: since the process began, a second (of the last ten), and step by step, oldest first."""
    return {
        "totals": known.totals()._asdict(),
        "per_second": {name: round(rate, 3) for name, rate in known.flow.per_second()._asdict().items()},
        "waiting": sum(route.waiting for route in known.routes.values()),
        "history": [_steps(known.flow.fine, times), _steps(known.flow.coarse, times)],
    }


def _steps(steps: Steps, times: Times) -> Object:
    done = list(steps.done)
    columns = {name: [step[index] for step in done] for index, name in enumerate(Counts._fields)}
    return {"step_seconds": steps.step_s, "until": times.at(steps.ended_at), **columns}


def _row(row: SeenLease, mine: ShardKnown | None, times: Times, *, brief: bool) -> Object:
    lease = row.lease
    shown: Object = {
        "shard": lease.shard_id,
        "state": row.state,
        "owner": lease.owner,
        "mine": mine is not None,
        "parents": sorted(lease.parents),
    }
    if brief:
        return shown
    written_s = None if lease.checkpoint_time_ms is None else lease.checkpoint_time_ms / 1000
    shown |= {
        "checkpoint": lease.checkpoint,
        "checkpoint_written": times.of_wall(written_s),
        "children": sorted(lease.children),
    }
    return shown if mine is None else shown | _of_mine(mine, written_s, times)


def _of_mine(mine: ShardKnown, written_s: float | None, times: Times) -> Object:
    """What only the shard's own worker knows of it."""
    oldest_s = mine.oldest_created_wall_s
    return {
        "checkpoint": mine.checkpoint,
        "checkpoint_written": times.of_wall(mine.checkpoint_wall_s or written_s),
        "held_since": times.at(mine.taken_at),
        "position": mine.position,
        "behind_seconds": None if mine.behind_s is None else round(mine.behind_s, 3),
        "oldest_unsettled": times.of_wall(oldest_s),
        "data_loss_at": None if oldest_s is None else times.of_wall(oldest_s + RETENTION_S),
        "last_page": times.at(mine.polled_at),
        "read_to_its_end": times.at(mine.ended_at),
        **times.failing(mine.failing),
        "retrying_since": {route: times.of_wall(since_s) for route, since_s in mine.retrying_since_wall_s.items()},
        "data_lost_at": times.at(mine.lost_at),
    }


class Times:
    """Monotonic seconds as times of day, all by one look at both clocks."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.monotonic()
        self.wall_s: Final = clock.wall()
        self._epoch_s = self.wall_s - self._now

    def at(self, monotonic_s: float | None) -> str | None:
        """`2026-11-23T08:00:00.123Z`"""
        return None if monotonic_s is None else self.of_wall(self._epoch_s + monotonic_s)

    def of_wall(self, wall_s: float | None) -> str | None:
        """The same for seconds since the epoch."""
        if wall_s is None:
            return None
        return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def failing(self, fault: Fault | None) -> Object:
        return {
            "failing_since": self.at(fault.since if fault else None),
            "error": fault.error if fault else None,
        }

    def reasons(self, reasons: Sequence[Reason]) -> list[Object]:
        """As they are told: the oldest one by one, the others counted."""
        told = [self._reason(reason) for reason in reasons[:REASONS_MAX]]
        return [*told, *self._others(reasons[REASONS_MAX:])]

    def _others(self, more: Sequence[Reason]) -> Iterator[Object]:
        if more:
            yield self._reason(Reason("others", more[0].since, f"There are {len(more)} more reasons; see /status."))

    def _reason(self, reason: Reason) -> Object:
        stream = {"stream": reason.stream} if reason.stream else {}
        return stream | {
            "part": reason.part,
            "since": self.at(reason.since),
            "seconds": round(max(0.0, self._now - reason.since), 3),
            "text": reason.text,
        }
