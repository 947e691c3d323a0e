"""What can happen, one frozen dataclass a fact, stated once: `emit(LeaseLost(...))`.

The log line and the metrics follow from the event (`poller.observe`). Its name in the log is the class's name in snake
case and never changes; `level` is None for what only counts. No event carries item content: no image, no key, no value;
sequence numbers, event ids and error codes are positions, not content.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, NamedTuple, TypeVar

from typing_extensions import dataclass_transform

from poller.model import Lease

Level = Literal["debug", "info", "warning", "error"]
LossReason = Literal["trimmed", "shard_gone", "stream_gone"]


class Event:
    """A fact. `level` is how loudly it is logged."""

    __slots__ = ()
    level: ClassVar[Level | None] = "info"

    @classmethod
    def name(cls) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """The names of what it tells, in their order. Every kind of event is a dataclass, only this one is not."""
        return tuple(field.name for field in fields(cls))  # type: ignore[arg-type]


Emit = Callable[[Event], None]

_T = TypeVar("_T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def frequent(kind: type[_T]) -> type[_T]:
    """For what happens with every request: frozen to whoever checks types, and made in half the time (measured)."""
    return dataclass(slots=True, kw_only=True)(kind)


# --- the daemon -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStarting(Event):
    """The settings are valid and the process goes to work."""

    version: str
    worker_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonReady(Event):
    """Everything it stands on has been found: stream, lease table, queues."""

    stream: str
    stream_arn: str
    view_type: str
    lease_table: str
    routes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpListening(Event):
    """The addresses of metrics and health."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupWaiting(Event):
    """Something that the start needs does not answer yet; it is asked again, and this is said once a minute.

    `retry_in_s` 0: it has not even failed, and is still waited for.
    """

    level: ClassVar[Level | None] = "warning"
    stream: str
    what: str
    error: str
    retry_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupContinued(Event):
    """What the start waited for answers."""

    stream: str
    what: str
    waited_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupFailed(Event):
    """One of several streams cannot be begun, while others are at work; it is tried again after `retry_in_s`."""

    level: ClassVar[Level | None] = "error"
    stream: str
    error: str
    retry_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsDoubtful(Event):
    """A setting that is allowed and probably not what was meant."""

    level: ClassVar[Level | None] = "warning"
    stream: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsReloaded(Event):
    """SIGHUP came, and the settings were read again. `applied` is in force; `need_restart` is changed, and is not."""

    applied: tuple[str, ...]
    need_restart: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsRefused(Event):
    """SIGHUP came, and the settings cannot be used: those in force stay as they are."""

    level: ClassVar[Level | None] = "error"
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStopping(Event):
    """Reading stops; what is in flight is settled, checkpointed and released."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStopped(Event):
    """`clean`: everything in flight was settled and every lease released before the bound."""

    clean: bool
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStarted(Event):
    """With `--processes`: the worker with the number `child` was started."""

    child: int
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEnded(Event):
    """With `--processes`: a worker ended by itself, or not in order; the others are told to leave.

    `by`: its exit code, or the signal that killed it.
    """

    level: ClassVar[Level | None] = "error"
    child: int
    pid: int
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopLagged(Event):
    """How late the event loop woke a timer."""

    level: ClassVar[Level | None] = None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed(Event):
    """A loop ended with an error that nobody foresaw: a defect. It is started again after `retry_in_s`."""

    level: ClassVar[Level | None] = "error"
    stream: str
    task: str
    error: str
    retry_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLinesLost(Event):
    """Before this line so many could not be written: the disk was full, or nobody read them."""

    level: ClassVar[Level | None] = "warning"
    lines: int


# --- the stream and its shards --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered(Event):
    """A look at the stream's shards is complete. `created` leases were added to the table."""

    level: ClassVar[Level | None] = "debug"
    stream: str
    shards: int
    created: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryFailed(Event):
    """A look at the stream's shards did not come to its end; it is made again, and this is said once a minute."""

    level: ClassVar[Level | None] = "warning"
    stream: str
    code: str
    error: str
    retry_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryRecovered(Event):
    """A look at the stream's shards has come to its end again."""

    stream: str
    failing_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFailed(Event):
    """One look at the stream's shards did not come to its end (see `discovery_failed`)."""

    level: ClassVar[Level | None] = None
    stream: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReplaced(Event):
    """The table has a newer stream: the old one is read to its end first, then the new one from its beginning."""

    level: ClassVar[Level | None] = "warning"
    stream: str
    old_arn: str
    new_arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSwitched(Event):
    """The old stream is finished; the new one is read from its beginning."""

    stream: str
    old_arn: str
    new_arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewChanged(Event):
    """The stream that is read now carries other images with its records than the one before."""

    level: ClassVar[Level | None] = "warning"
    stream: str
    stream_arn: str
    view_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamUnsuited(Event):
    """The stream that is read now lacks images that the settings need: what they want of its records cannot match."""

    level: ClassVar[Level | None] = "error"
    stream: str
    stream_arn: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnded(Event):
    """The stream is disabled and read to its end, and the table has no newer one."""

    level: ClassVar[Level | None] = "warning"
    stream: str
    stream_arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStarted(Event):
    """A shard is read from `position` on."""

    stream: str
    shard: str
    position: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFinished(Event):
    """A shard was read to its end and everything in it is settled."""

    stream: str
    shard: str
    children: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStopped(Event):
    """This worker no longer reads the shard."""

    level: ClassVar[Level | None] = "debug"
    stream: str
    shard: str


@frequent
class PageRead(Event):
    """A page was read and sifted. `events` counts by event name, `matched` and `filtered` by route name.

    `behind_s` is how long ago the page's last record was created, 0 for an empty page; `polled_at_s` wall-clock time.
    `last`: the shard is closed and this was its last page.
    """

    level: ClassVar[Level | None] = None
    stream: str
    shard: str
    size_bytes: int
    events: dict[str, int]
    matched: dict[str, int]
    filtered: dict[str, int]
    behind_s: float
    polled_at_s: float
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardBehind(Event):
    """Where a shard that I hold stands, said once a second.

    `behind_s`: the age of the oldest unsettled record, 0 if there is none and the last page was empty.
    `oldest_created_s`: when that record was created (wall clock), None if there is none. `position`: where the next
    page begins, in words.
    """

    level: ClassVar[Level | None] = None
    stream: str
    shard: str
    behind_s: float
    oldest_created_s: float | None
    position: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFailing(Event):
    """Reading a shard fails since now; it is tried again, and said again once a minute."""

    level: ClassVar[Level | None] = "warning"
    stream: str
    shard: str
    operation: str
    code: str
    error: str
    failing_s: float
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRecovered(Event):
    """Reading a shard works again."""

    stream: str
    shard: str
    failing_s: float
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IteratorRenewed(Event):
    """A shard iterator had expired (15 minutes); reading goes on from the last position with a new one."""

    stream: str
    shard: str
    position: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTimeUnsupported(Event):
    """The server has no AT_TIMESTAMP: the shard is read from the trim horizon and what is older is passed over."""

    level: ClassVar[Level | None] = "warning"
    stream: str
    shard: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataLost(Event):
    """Records are gone that were never read: `reason` trimmed, shard_gone or stream_gone. `action` is done now."""

    level: ClassVar[Level | None] = "error"
    stream: str
    shard: str
    reason: LossReason
    position: str
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdlePollingStretched(Event):
    """Idle shards are polled less often than the settings want it, to keep within cost.monthly_budget_usd.

    `idle_max_s`: from now on, in place of `wanted_s`; `budget_usd`: this worker's part of the budget, of which
    `other_usd` goes to shards with data, leases and queues. `kept` false: not even the longest pause keeps it.
    """

    stream: str
    idle_max_s: float
    wanted_s: float
    budget_usd: float
    other_usd: float
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IdlePollingRestored(Event):
    """The budget allows again what the settings want."""

    stream: str
    idle_max_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingPaused(Event):
    """The buffers are full since the queues do not take what was read; leases are kept."""

    level: ClassVar[Level | None] = "warning"
    stream: str
    buffered_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingResumed(Event):
    """The buffers have room again."""

    stream: str
    paused_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffered(Event):
    """How much was read and is not settled."""

    level: ClassVar[Level | None] = None
    stream: str
    records: int
    size_bytes: int


# --- leases ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTableCreated(Event):
    """The lease table was not there and has been made."""

    stream: str
    table: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTaken(Event):
    """This worker reads the shard from now on.

    `reason`: unowned; expired; handed_over (its owner gave it up for me); inherited (I have finished its parent);
    returned (mine until my deadline passed).
    """

    stream: str
    shard: str
    reason: str
    previous_owner: str | None
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLost(Event):
    """This worker does not read the shard any more though it did not give it back.

    `reason`: taken (another worker has it), deadline (not renewed in time), deleted (the row is gone), unreleased
    (given back, but the table did not answer).
    """

    level: ClassVar[Level | None] = "warning"
    stream: str
    shard: str
    reason: str
    new_owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseReleased(Event):
    """The lease was given back, after the last checkpoint. `successor`: the worker that had asked for it."""

    stream: str
    shard: str
    checkpoint: str
    successor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseClaimed(Event):
    """This worker has asked a living owner for the lease, which settles and checkpoints what it has read first."""

    stream: str
    shard: str
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignOwnersSeen(Event):
    """Workers of another kind, Java's KCL that is, hold leases in this table.

    Only what is released or expired is taken from them, and every lease is renewed by itself, as they expect it.
    `owners` are their names, `leases` counts what they hold.
    """

    level: ClassVar[Level | None] = "warning"
    stream: str
    owners: tuple[str, ...]
    leases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignOwnersGone(Event):
    """No worker of another kind has been seen in the table for two lease durations."""

    stream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseOperation(Event):
    """One call to the lease table. `result`: ok, conflict, landed (its answer had been lost), error."""

    level: ClassVar[Level | None] = None
    stream: str
    operation: str
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTableFailing(Event):
    """The lease table does not answer, or not as it should."""

    level: ClassVar[Level | None] = "warning"
    stream: str
    code: str
    error: str
    failing_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTableRecovered(Event):
    """The lease table answers again."""

    stream: str
    failing_s: float


class SeenLease(NamedTuple):
    """A row of the lease table and what it says of its shard.

    `state`: reading, draining (mine, and on its way to its end or to another worker), waiting_for_parent, unowned,
    finished, or expired (its owner shows no sign of life any more).
    """

    lease: Lease
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSeen(Event):
    """A look at the lease table. `shards` counts them by state, `held` are mine, `workers` live owners and me.

    `lists`: it is for me to look for new shards; `unrenewed_s`: how long ago the write was sent that keeps my leases, 0
    without any. `rows` are those of the stream that is being read, mine as I last wrote them; `rowless`: shards that
    have none (that can be read), and so no reader, counted as unowned.
    """

    level: ClassVar[Level | None] = None
    stream: str
    shards: dict[str, int]
    held: int
    workers: int
    lists: bool = True
    unrenewed_s: float = 0.0
    rows: tuple[SeenLease, ...] = ()
    rowless: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointWritten(Event):
    """Everything in the shard up to here is settled, and the table says so."""

    level: ClassVar[Level | None] = "debug"
    stream: str
    shard: str
    checkpoint: str
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFailed(Event):
    """The checkpoint could not be written; it is tried again as long as the lease holds (see `lease_table_failing`)."""

    level: ClassVar[Level | None] = None
    stream: str
    shard: str
    code: str


# --- delivery -------------------------------------------------------------------------------------------------------


@frequent
class Delivered(Event):
    """The queue has these messages.

    `latencies_s`: from each record's creation (whole seconds) to the queue's answer; `size_bytes`: of the whole batch.
    """

    level: ClassVar[Level | None] = None
    stream: str
    route: str
    count: int
    latencies_s: tuple[float, ...]
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SendFailed(Event):
    """`count` entries of a batch were not taken; what becomes of them is another event."""

    level: ClassVar[Level | None] = "debug"
    stream: str
    route: str
    code: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resent(Event):
    """Entries that a consumer may see twice are sent again, under the same deduplication id. `reason`: no_answer."""

    level: ClassVar[Level | None] = None
    stream: str
    route: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRetrying(Event):
    """The queue refuses this one record while it takes others; its item's later records wait behind it.

    Said of the first one, and of another once a minute while there are any: `retrying` is how many wait to be sent
    again.
    """

    level: ClassVar[Level | None] = "warning"
    stream: str
    route: str
    shard: str
    event_id: str
    code: str
    attempts: int
    retry_in_s: float
    retrying: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRetryingEnded(Event):
    """No single record is being retried any more, and none was refused for a minute.

    `failing_s`: from the first refusal to the last of `refusals`.
    """

    stream: str
    route: str
    failing_s: float
    refusals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRetrying(Event):
    """Since when the oldest refused record of a shard is being retried on a route; None: nothing is, any more."""

    level: ClassVar[Level | None] = None
    stream: str
    shard: str
    route: str
    since_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettered(Event):
    """The record is stored in the dead-letter queue, as `content` says: whole, or enough to read it again."""

    level: ClassVar[Level | None] = "error"
    stream: str
    route: str
    shard: str
    event_id: str
    sequence_number: str
    reason: str
    code: str
    attempts: int
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFailing(Event):
    """A record that must be dead-lettered cannot be: there is no dead-letter queue, or it refuses. The shard waits."""

    level: ClassVar[Level | None] = "error"
    stream: str
    route: str
    shard: str
    event_id: str
    reason: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRecovered(Event):
    """What had to be dead-lettered on the route is stored."""

    stream: str
    route: str
    failing_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteWaiting(Event):
    """How many records of a route are not settled, said once a second; `dead_letters`: those to store."""

    level: ClassVar[Level | None] = None
    stream: str
    route: str
    waiting: int
    dead_letters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFailing(Event):
    """The whole queue takes nothing.

    No attempt is counted against a record, reading pauses when the buffers are full.
    """

    level: ClassVar[Level | None] = "error"
    stream: str
    route: str
    queue: str
    code: str
    error: str
    failing_s: float
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRecovered(Event):
    """The queue takes messages again."""

    stream: str
    route: str
    queue: str
    failing_s: float


# --- calls ----------------------------------------------------------------------------------------------------------


@frequent
class ApiCalled(Event):
    """One request to AWS. `code` is OK or the error's code."""

    level: ClassVar[Level | None] = None
    service: str
    operation: str
    code: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsByBoto3(Event):
    """A service's hot calls go by boto3's own call path, which costs more CPU; the daemon's own cannot be used here."""

    service: str
    reason: str


@frequent
class LimiterWaited(Event):
    """A call waited for its limiter."""

    level: ClassVar[Level | None] = None
    limiter: str
    seconds: float
