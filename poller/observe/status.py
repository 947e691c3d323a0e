"""What is known of the daemon as JSON: `/readyz` for probes and alarms, `/status` for people and tools.

Bounded, whatever the size of the stream; no item content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from poller.events import SeenLease
from poller.observe.health import Bounds, Reason, readiness
from poller.observe.http import Answer
from poller.observe.known import Fault, Known, RouteKnown, ShardKnown
from poller.run.ports import Clock
from poller.settings import Settings, describe
from poller.settings.origins import masked

# How many reasons are told one by one: the oldest.
REASONS_MAX: Final = 50
# How many shards are shown: mine first, then the others that are not finished.
SHARDS_MAX: Final = 2_000

_JSON: Final = "application/json"

Object = dict[str, Any]


class Report:
    """The two pages of one stream, and the answer behind `poller_ready`. `known` is kept up to date by others."""

    def __init__(self, known: Known, settings: Settings, clock: Clock) -> None:
        self._known = known
        self._settings = settings
        self._bounds = Bounds.of(settings)
        self._clock = clock
        # They never change, and a filter may be long.
        self._settings_json = msgspec.Raw(
            msgspec.json.encode(
                [{"setting": row.setting, "value": row.value, "origin": str(row.origin)} for row in describe(settings)]
            )
        )

    def ready(self) -> bool:
        """Is the daemon ready at this moment?"""
        return not self.reasons()

    def readiness(self) -> Answer:
        """200 or 503, with the reasons: `{"ready": false, "reasons": [{"part", "since", "seconds", "text"}]}`."""
        return readiness_answer(self.reasons(), Times(self._clock))

    def status(self) -> Answer:
        """All that is known; always 200. Times are UTC, None (null) stands for what is not known or not the case."""
        times = Times(self._clock)
        return json_answer(self.of_the_process(times) | self.of_the_stream(times))

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

    def of_the_stream(self, times: Times) -> Object:
        """What is known of the stream, with its lease table and routes."""
        known, reasons = self._known, self.reasons()
        return {
            "working_since": times.at(known.working_at),
            "ready": not reasons,
            "reasons": times.reasons(reasons),
            "stream": self._stream(times),
            "lease_table": self._lease_table(times),
            "buffers": self._buffers(times),
            "data_losses": {
                "count": known.losses_total,
                "first": [{**loss._asdict(), "at": times.at(loss.at)} for loss in known.losses],
            },
            "routes": [self._route(name, route, times) for name, route in known.routes.items()],
            "shards_by_state": known.fleet.shards if known.fleet else {},
            **self._shards(times),
            "bounds_seconds": {name.removesuffix("_s"): value for name, value in asdict(self._bounds).items()},
            "settings": self._settings_json,
        }

    def reasons(self) -> tuple[Reason, ...]:
        """Why it is not ready at this moment, oldest first."""
        return readiness(self._known, self._bounds, self._clock.monotonic())

    def _stream(self, times: Times) -> Object:
        known = self._known
        return {
            "table": self._settings.stream.table_name,
            "arn": known.stream_arn,
            "view_type": known.found.view_type if known.found else None,
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
        }

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
            **times.failing(route.failing),
            "dead_letters": times.failing(route.dead_letters_failing),
            "last_error": route.last_error.error if route.last_error else None,
            "last_error_at": times.at(route.last_error.since if route.last_error else None),
        }

    def _shards(self, times: Times) -> Object:
        """The rows of the last look at the lease table, and of mine what this process knows of them."""
        rows = self._rows()
        shown = [_shard(row, self._known.shards.get(row.lease.shard_id), times) for row in rows[:SHARDS_MAX]]
        return {"shards": shown, "shards_not_shown": len(rows) - len(shown)}

    def _rows(self) -> list[SeenLease]:
        rows = self._known.fleet.rows if self._known.fleet else ()
        mine: list[SeenLease] = []
        others: list[SeenLease] = []
        finished: list[SeenLease] = []
        for row in rows:
            if row.lease.shard_id in self._known.shards:
                mine.append(row)
            else:
                (finished if row.state == "finished" else others).append(row)
        return [*mine, *others, *finished]


def readiness_answer(reasons: Sequence[Reason], times: Times) -> Answer:
    """What `/readyz` says with these reasons, or without any."""
    return json_answer({"ready": not reasons, "reasons": times.reasons(reasons)}, 503 if reasons else 200)


def json_answer(body: Object, status: int = 200) -> Answer:
    return Answer(msgspec.json.encode(body) + b"\n", _JSON, status)


def _shard(row: SeenLease, mine: ShardKnown | None, times: Times) -> Object:
    lease = row.lease
    written_s = None if lease.checkpoint_time_ms is None else lease.checkpoint_time_ms / 1000
    shown: Object = {
        "shard": lease.shard_id,
        "state": row.state,
        "owner": lease.owner,
        "mine": mine is not None,
        "checkpoint": lease.checkpoint,
        "checkpoint_written": times.of_wall(written_s),
        "parents": sorted(lease.parents),
    }
    if mine is None:
        return shown
    retrying = {route: times.of_wall(since_s) for route, since_s in mine.retrying_since_wall_s.items()}
    return shown | {
        "checkpoint": mine.checkpoint,
        "checkpoint_written": times.of_wall(mine.checkpoint_wall_s or written_s),
        "held_since": times.at(mine.taken_at),
        "position": mine.position,
        "behind_seconds": None if mine.behind_s is None else round(mine.behind_s, 3),
        "oldest_unsettled": times.of_wall(mine.oldest_created_wall_s),
        "last_page": times.at(mine.polled_at),
        "read_to_its_end": times.at(mine.ended_at),
        **times.failing(mine.failing),
        "retrying_since": retrying,
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
