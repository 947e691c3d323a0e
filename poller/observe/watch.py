"""A sink of events that keeps what is known of the daemon up to date (`poller.observe.known`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from poller.events import (
    Buffered,
    CheckpointWritten,
    DaemonReady,
    DaemonStarting,
    DaemonStopping,
    DataLost,
    DeadLettered,
    DeadLetterFailing,
    DeadLetterRecovered,
    Delivered,
    Discovered,
    DiscoveryFailed,
    Event,
    FleetSeen,
    IdlePollingRestored,
    IdlePollingStretched,
    LeaseLost,
    LeaseReleased,
    LeaseTableFailing,
    LeaseTableRecovered,
    LeaseTaken,
    LoopLagged,
    PageRead,
    QueueFailing,
    QueueRecovered,
    ReadFailing,
    ReadingPaused,
    ReadingResumed,
    ReadRecovered,
    RouteWaiting,
    SendFailed,
    SettingsReloaded,
    ShardBehind,
    ShardFinished,
    ShardRetrying,
    ShardStarted,
    ShardStopped,
    StartupFailed,
    StartupWaiting,
    StreamEnded,
    StreamReplaced,
    StreamSwitched,
    StreamUnsuited,
    TaskFailed,
    ViewChanged,
)
from poller.observe.known import Fault, Known, Loss, RouteKnown, ShardKnown
from poller.settings.origins import masked

# How many losses are kept one by one; the others are counted.
LOSSES_MAX: Final = 20
_NOBODYS: Final = ("unowned", "expired")
# An error's text in characters: enough to know what it is.
_ERROR_MAX: Final = 300


class ByStream:
    """A sink of events that hands each to its stream's own watch; those of no stream are everybody's."""

    def __init__(self, watches: Mapping[str, Watch]) -> None:
        self._watches: Final = dict(watches)

    def __call__(self, event: Event) -> None:
        stream = getattr(event, "stream", None)
        for watch in self._watches.values() if stream is None else (self._watches[stream],):
            watch(event)

    def takers(self, kind: type[Event]) -> tuple[Callable[[Event], None], ...]:
        """Nothing for what no watch wants (`poller.observe.fanout.Choosy`)."""
        if not any(watch.wants(kind) for watch in self._watches.values()):
            return ()
        return tuple(self._watches.values()) if len(self._watches) == 1 else (self,)


class Watch:
    """A sink of events that keeps `known` up to date. `routes`: their names, in the settings' order."""

    def __init__(self, routes: Iterable[str], monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        began = monotonic()
        self.known: Final = Known(started_at=began, routes={name: RouteKnown(progress_at=began) for name in routes})
        self._handlers: Final[dict[type[Event], Callable[[Any, float], None]]] = {
            **self._of_the_process(),
            **self._of_the_fleet(),
            **self._of_shards(),
            **self._of_routes(),
        }

    def __call__(self, event: Event) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event, self._monotonic())

    def wants(self, kind: type[Event]) -> bool:
        """Does such an event change anything that is known?"""
        return kind in self._handlers

    def _of_the_process(self) -> dict[type[Event], Callable[[Any, float], None]]:
        return {
            DaemonStarting: self._on_starting,
            StartupWaiting: self._on_waiting,
            StartupFailed: self._on_start_failed,
            DaemonReady: self._on_found,
            DaemonStopping: self._on_stopping,
            SettingsReloaded: self._on_reloaded,
            TaskFailed: self._on_worker_failed,
            IdlePollingStretched: self._on_stretched,
            IdlePollingRestored: self._on_restored,
            ReadingPaused: self._on_paused,
            ReadingResumed: self._on_resumed,
            Buffered: self._on_buffered,
            LoopLagged: self._on_tick,
        }

    def _of_the_fleet(self) -> dict[type[Event], Callable[[Any, float], None]]:
        return {
            Discovered: self._on_discovered,
            DiscoveryFailed: self._on_discovery_failed,
            FleetSeen: self._on_fleet,
            LeaseTableFailing: self._on_lease_table_failing,
            LeaseTableRecovered: self._on_lease_table_recovered,
            StreamReplaced: self._on_replaced,
            StreamSwitched: self._on_switched,
            ViewChanged: self._on_view,
            StreamUnsuited: self._on_unsuited,
            StreamEnded: self._on_stream_ended,
        }

    def _of_shards(self) -> dict[type[Event], Callable[[Any, float], None]]:
        return {
            LeaseTaken: self._on_taken,
            ShardStarted: self._on_started,
            PageRead: self._on_page,
            ShardBehind: self._on_behind,
            ReadFailing: self._on_read_failing,
            ReadRecovered: self._on_read_recovered,
            DataLost: self._on_data_lost,
            CheckpointWritten: self._on_checkpoint,
            ShardRetrying: self._on_retrying,
            **dict.fromkeys((LeaseLost, LeaseReleased, ShardFinished, ShardStopped), self._on_end),
        }

    def _of_routes(self) -> dict[type[Event], Callable[[Any, float], None]]:
        return {
            RouteWaiting: self._on_route_waiting,
            Delivered: self._on_delivered,
            SendFailed: self._on_send_failed,
            QueueFailing: self._on_queue_failing,
            QueueRecovered: self._on_queue_recovered,
            DeadLettered: self._on_dead_lettered,
            DeadLetterFailing: self._on_dead_letter_failing,
            DeadLetterRecovered: self._on_dead_letter_recovered,
        }

    # --- the process --------------------------------------------------------------------------------------------------

    def _on_starting(self, event: DaemonStarting, _now: float) -> None:
        self.known.version, self.known.worker_id = event.version, event.worker_id

    def _on_waiting(self, event: StartupWaiting, now: float) -> None:
        since = self.known.waiting_for.since if self.known.waiting_for else now
        self.known.waiting_for = Fault(since, _brief(f"{event.what}: {event.error}"))

    def _on_start_failed(self, event: StartupFailed, now: float) -> None:
        since = self.known.start_failed.since if self.known.start_failed else now
        self.known.start_failed, self.known.waiting_for = Fault(since, _brief(event.error)), None

    def _on_found(self, event: DaemonReady, now: float) -> None:
        known = self.known
        known.found, known.found_at, known.stream_arn = event, now, event.stream_arn
        known.view_type = event.view_type
        known.waiting_for = known.start_failed = None

    def _on_stopping(self, _event: DaemonStopping, now: float) -> None:
        self.known.stopping_at = now

    def _on_worker_failed(self, event: TaskFailed, now: float) -> None:
        """The next worker begins with nothing: what the old one knew of its troubles says nothing of the new one's."""
        known = self.known
        since = known.worker_failed.since if known.worker_failed else now
        known.worker_failed = Fault(since, _brief(event.error))
        known.working_at = known.discovered_at = known.looked_at = known.fleet = None
        known.discovery_failing = known.lease_table_failing = known.paused_at = known.unsuited = None
        known.stretched_until = now
        known.nobodys.clear()
        known.shards.clear()
        known.unpolled.clear()
        for route in known.routes.values():
            route.failing = route.dead_letters_failing = None
            route.waiting = route.dead_letters_waiting = 0
            route.retrying_shards.clear()

    def _on_stretched(self, event: IdlePollingStretched, now: float) -> None:
        """Pauses that have begun last as long as they were to."""
        shortened = event.idle_max_s < self.known.stretched_s and now < self.known.stretched_until
        if not shortened:
            self.known.stretched_s = event.idle_max_s
        self.known.stretched_until = math.inf

    def _on_restored(self, _event: IdlePollingRestored, now: float) -> None:
        self.known.stretched_until = now + 2 * self.known.stretched_s

    def _on_paused(self, _event: ReadingPaused, now: float) -> None:
        self.known.paused_at = now

    def _on_resumed(self, _event: ReadingResumed, now: float) -> None:
        self.known.paused_at, self.known.resumed_at = None, now

    def _on_buffered(self, event: Buffered, _now: float) -> None:
        self.known.buffered_records, self.known.buffered_bytes = event.records, event.size_bytes

    def _on_tick(self, _event: LoopLagged, now: float) -> None:
        """Comes by itself, twice a second, whatever else happens."""
        self.known.flow.look(now, self.known.totals())

    # --- stream, lease table, fleet -----------------------------------------------------------------------------------

    def _on_discovered(self, event: Discovered, now: float) -> None:
        known = self.known
        known.discovered_at, known.shards_listed, known.discovery_failing = now, event.shards, None

    def _on_discovery_failed(self, event: DiscoveryFailed, now: float) -> None:
        since = self.known.discovery_failing.since if self.known.discovery_failing else now
        self.known.discovery_failing = Fault(since, _brief(event.error))

    def _on_fleet(self, event: FleetSeen, now: float) -> None:
        known = self.known
        known.fleet, known.looked_at = event, now
        if not event.lists:
            known.discovered_at, known.discovery_failing = now, None  # another worker sees to it
        nobodys = [*(row.lease.shard_id for row in event.rows if row.state in _NOBODYS), *event.rowless]
        known.nobodys = {shard: known.nobodys.get(shard, now) for shard in nobodys}
        for lease, _ in event.rows:
            shard = known.shards.get(lease.shard_id)
            if shard is not None:
                shard.renewed_at = now - event.unrenewed_s
        self._note_work(now)

    def _note_work(self, now: float) -> None:
        """The start is over with the first look at the table that shows shards, and a page of each that is mine."""
        known = self.known
        if known.working_at is not None or known.fleet is None or known.discovered_at is None or known.unpolled:
            return
        if known.fleet.rows or known.fleet.rowless or not known.shards_listed:
            known.working_at, known.worker_failed = now, None

    def _on_lease_table_failing(self, event: LeaseTableFailing, now: float) -> None:
        self.known.lease_table_failing = Fault(now - event.failing_s, _brief(event.error))

    def _on_lease_table_recovered(self, _event: LeaseTableRecovered, _now: float) -> None:
        self.known.lease_table_failing = None

    def _on_replaced(self, event: StreamReplaced, _now: float) -> None:
        self.known.replaced_by = event.new_arn

    def _on_switched(self, event: StreamSwitched, _now: float) -> None:
        self.known.stream_arn, self.known.replaced_by, self.known.ended = event.new_arn, None, False

    def _on_view(self, event: ViewChanged, _now: float) -> None:
        self.known.view_type, self.known.unsuited = event.view_type, None

    def _on_unsuited(self, event: StreamUnsuited, now: float) -> None:
        self.known.unsuited = Fault(now, _brief(event.error))

    def _on_reloaded(self, _event: SettingsReloaded, _now: float) -> None:
        """Settings that do not suit the stream are refused."""
        self.known.unsuited = None

    def _on_stream_ended(self, _event: StreamEnded, _now: float) -> None:
        self.known.ended = True

    # --- shards of mine -----------------------------------------------------------------------------------------------

    def _on_taken(self, event: LeaseTaken, now: float) -> None:
        self.known.shards[event.shard] = ShardKnown(taken_at=now, checkpoint=event.checkpoint, renewed_at=now)
        self.known.unpolled.add(event.shard)

    def _on_started(self, event: ShardStarted, _now: float) -> None:
        shard = self.known.shards.get(event.shard)
        if shard is not None:
            shard.position = event.position

    def _on_page(self, page: PageRead, now: float) -> None:
        self.known.read += sum(page.events.values())
        for name, count in page.matched.items():
            self.known.routes[name].matched += count
        for name, count in page.filtered.items():
            self.known.routes[name].filtered += count
        shard = self.known.shards.get(page.shard)
        if shard is None:
            return
        shard.polled_at, shard.behind_s = now, page.behind_s
        if page.last:
            shard.ended_at = now
        if page.shard in self.known.unpolled:
            self.known.unpolled.discard(page.shard)
            self._note_work(now)

    def _on_behind(self, event: ShardBehind, now: float) -> None:
        shard = self.known.shards.get(event.shard)
        if shard is None:
            return
        shard.behind_s, shard.oldest_created_wall_s = event.behind_s, event.oldest_created_s
        shard.position = event.position or shard.position
        if event.oldest_created_s is not None:
            shard.open_at = now

    def _on_read_failing(self, event: ReadFailing, now: float) -> None:
        shard = self.known.shards.get(event.shard)
        if shard is not None:
            shard.failing = Fault(now - event.failing_s, _brief(event.error))

    def _on_read_recovered(self, event: ReadRecovered, _now: float) -> None:
        shard = self.known.shards.get(event.shard)
        if shard is not None:
            shard.failing = None

    def _on_data_lost(self, event: DataLost, now: float) -> None:
        known = self.known
        known.losses_total += 1
        if len(known.losses) < LOSSES_MAX:
            known.losses.append(Loss(now, event.shard, event.reason, event.position, event.action))
        shard = known.shards.get(event.shard)
        if shard is not None and event.action == "stop":
            shard.lost_at = now
            known.unpolled.discard(event.shard)
            self._note_work(now)

    def _on_checkpoint(self, event: CheckpointWritten, _now: float) -> None:
        shard = self.known.shards.get(event.shard)
        if shard is not None:
            shard.checkpoint, shard.checkpoint_wall_s = event.checkpoint, event.at_s

    def _on_retrying(self, event: ShardRetrying, _now: float) -> None:
        route, shard = self.known.routes[event.route], self.known.shards.get(event.shard)
        if event.since_s is None:
            route.retrying_shards.discard(event.shard)
            if not route.retrying_shards:
                route.dead_letters_failing = None  # whatever could not be stored has gone another way, or to another
        else:
            route.retrying_shards.add(event.shard)
        if shard is not None and event.since_s is not None:
            shard.retrying_since_wall_s[event.route] = event.since_s
        elif shard is not None:
            shard.retrying_since_wall_s.pop(event.route, None)

    def _on_end(self, event: LeaseLost | LeaseReleased | ShardFinished | ShardStopped, now: float) -> None:
        self.known.shards.pop(event.shard, None)
        if event.shard in self.known.unpolled:
            self.known.unpolled.discard(event.shard)
            self._note_work(now)

    # --- routes -------------------------------------------------------------------------------------------------------

    def _on_route_waiting(self, event: RouteWaiting, now: float) -> None:
        route = self.known.routes[event.route]
        route.waiting, route.dead_letters_waiting = event.waiting, event.dead_letters
        if not event.waiting:
            route.progress_at = now

    def _on_delivered(self, event: Delivered, now: float) -> None:
        route = self.known.routes[event.route]
        route.delivered += event.count
        route.progress_at = now

    def _on_send_failed(self, event: SendFailed, now: float) -> None:
        route = self.known.routes[event.route]
        route.not_taken += event.count
        route.progress_at = now
        route.last_error = Fault(now, event.code)

    def _on_queue_failing(self, event: QueueFailing, now: float) -> None:
        route = self.known.routes[event.route]
        route.failing, route.waiting = Fault(now - event.failing_s, _brief(event.error)), event.waiting
        route.last_error = Fault(now, _brief(event.error))

    def _on_queue_recovered(self, event: QueueRecovered, _now: float) -> None:
        self.known.routes[event.route].failing = None

    def _on_dead_lettered(self, event: DeadLettered, now: float) -> None:
        route = self.known.routes[event.route]
        route.dead_lettered += 1
        route.progress_at = now

    def _on_dead_letter_failing(self, event: DeadLetterFailing, now: float) -> None:
        route = self.known.routes[event.route]
        since = route.dead_letters_failing.since if route.dead_letters_failing else now
        route.dead_letters_failing = Fault(since, _brief(event.error))
        route.progress_at = now
        route.last_error = Fault(now, _brief(event.error))

    def _on_dead_letter_recovered(self, event: DeadLetterRecovered, _now: float) -> None:
        self.known.routes[event.route].dead_letters_failing = None


def _brief(error: str) -> str:
    """On one line, of bounded length, without passwords."""
    text = masked(" ".join(error.split()))
    return text if len(text) <= _ERROR_MAX else f"{text[:_ERROR_MAX]}..."
