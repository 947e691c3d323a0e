"""The nouns of the field: shard, lease, checkpoint, position, record, message.

Plain frozen data, no behaviour that needs a clock, a socket or a random number; every floor of the house may import it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec
from typing_extensions import Buffer


class Value(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A value that is made for every record: in half the time of a dataclass, and unknown to the garbage collector.

    So it must never be part of a cycle of references. Equal to nothing but itself; `msgspec.structs.replace` makes
    another of it.
    """


class Mutable(msgspec.Struct, eq=False, gc=False):
    """The same for what changes on its way."""


# Sentinel checkpoints as KCL writes them (ExtendedSequenceNumber / SentinelCheckpoint); any other value is a sequence
# number.
TRIM_HORIZON: Final = "TRIM_HORIZON"
LATEST: Final = "LATEST"
AT_TIMESTAMP: Final = "AT_TIMESTAMP"
SHARD_END: Final = "SHARD_END"
SENTINELS: Final = frozenset({TRIM_HORIZON, LATEST, AT_TIMESTAMP, SHARD_END})

# The other kinds of a position, of which no row tells.
AFTER_SEQUENCE_NUMBER: Final = "AFTER_SEQUENCE_NUMBER"
AT_SEQUENCE_NUMBER: Final = "AT_SEQUENCE_NUMBER"

# As a lease's `successor`: its owner is leaving, and whoever has room may claim the lease.
SOUGHT: Final = "?"


class ViewType(StrEnum):
    """What a stream's records carry (`StreamViewType`)."""

    KEYS_ONLY = "KEYS_ONLY"
    NEW_IMAGE = "NEW_IMAGE"
    OLD_IMAGE = "OLD_IMAGE"
    NEW_AND_OLD_IMAGES = "NEW_AND_OLD_IMAGES"

    @property
    def has_new_image(self) -> bool:
        return self in (ViewType.NEW_IMAGE, ViewType.NEW_AND_OLD_IMAGES)

    @property
    def has_old_image(self) -> bool:
        return self in (ViewType.OLD_IMAGE, ViewType.NEW_AND_OLD_IMAGES)


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream of one table, as `DescribeTable` or `DescribeStream` names it.

    `table` is the table's name, `arn` the stream's ARN; `enabled` is false once the stream is disabled: its shards are
    closed then, and readable for 24 hours more.
    """

    arn: str
    table: str
    view_type: ViewType
    enabled: bool


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard of a stream. `closed`: it has an ending sequence number, nothing will be added to it."""

    shard_id: str
    parent_id: str | None = None
    closed: bool = False


@dataclass(frozen=True, slots=True)
class ShardPage:
    """One answer of `DescribeStream`. `last_shard_id` absent is the only sign that the listing is complete.

    `served_at_s` is the service's own clock (the answer's `Date`, seconds since the epoch), None where it does not say:
    instants that are compared with records' creation times come from there, since a machine's wall clock may be wrong.
    """

    stream: StreamInfo
    shards: tuple[Shard, ...]
    last_shard_id: str | None = None
    served_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """One row of the lease table, in KCL's schema; `shard_id` is its `leaseKey`.

    The last six are attributes of our own, which Java workers ignore and keep. `stream_arn`: the stream that the row
    belongs to; `start_time_ms`: the instant before which a shard that was there at the first start is not wanted
    (start positions LATEST and a time); `checkpoint_time_ms`: when the checkpoint was last written; times in ms since
    the epoch. `poller_owner`: the owner, if it was one of ours that took the lease; `successor`: the worker to whom
    its owner is to hand it over as soon as everything that was read is settled, or SOUGHT. `seek_time_ms`: the instant
    from which on the shard is read since a person has moved its checkpoint there, in place of `start_time_ms`, which
    goes on saying what the first start meant for all other shards.
    """

    shard_id: str
    owner: str | None = None
    counter: int = 0
    checkpoint: str = TRIM_HORIZON
    parents: frozenset[str] = frozenset()
    children: frozenset[str] = frozenset()
    owner_switches: int = 0
    checkpoint_owner: str | None = None
    stream_arn: str | None = None
    start_time_ms: int | None = None
    checkpoint_time_ms: int | None = None
    poller_owner: str | None = None
    successor: str | None = None
    seek_time_ms: int | None = None

    @property
    def finished(self) -> bool:
        """Read to the shard's end, and everything in it settled."""
        return self.checkpoint == SHARD_END

    @property
    def begun(self) -> bool:
        """Something in the shard is settled: its checkpoint is a place in it, or its end."""
        return self.checkpoint not in (TRIM_HORIZON, LATEST, AT_TIMESTAMP)

    @property
    def foreign(self) -> bool:
        """Its owner is none of ours: a worker of Java's KCL, or of a version of ours that did not sign its rows."""
        return self.owner is not None and self.owner != self.poller_owner

    @property
    def heir(self) -> str | None:
        """The worker of ours that has claimed the lease, None while nobody has.

        Java keeps the attribute when it takes the lease, and knows nothing of it.
        """
        return None if self.foreign or self.successor == SOUGHT else self.successor

    @property
    def sought(self) -> bool:
        """Its owner is leaving, and nobody has claimed the lease yet."""
        return self.owner is not None and not self.foreign and self.successor == SOUGHT

    # What a successful write leaves behind. The table's adapter writes these, and a holder compares them with the row
    # after a lost answer: one definition for both.

    def taken_by(self, worker_id: str) -> Lease:
        switches = self.owner_switches + (1 if self.owner != worker_id else 0)
        return replace(
            self,
            owner=worker_id,
            poller_owner=worker_id,
            successor=None,
            counter=self.counter + 1,
            owner_switches=switches,
            checkpoint_owner=None,
        )

    def renewed(self) -> Lease:
        return replace(self, counter=self.counter + 1)

    def checkpointed(self, checkpoint: str, time_ms: int) -> Lease:
        return replace(
            self, counter=self.counter + 1, checkpoint=checkpoint, checkpoint_time_ms=time_ms, owner_switches=0
        )

    def released(self) -> Lease:
        """`successor` stays: the lease is kept for whoever has claimed it, for a moment."""
        return replace(self, owner=None, poller_owner=None, counter=self.counter + 1)

    def evicted(self) -> Lease:
        """The lease is taken away from whoever holds it, and kept for nobody."""
        return replace(self.released(), successor=None, checkpoint_owner=None)

    def moved(self, checkpoint: str, seek_time_ms: int | None, time_ms: int) -> Lease:
        """The same, and its place is another: a holder who does not know of it must not write his own over it."""
        return replace(
            self.evicted().checkpointed(checkpoint, time_ms), counter=self.counter + 1, seek_time_ms=seek_time_ms
        )

    def promised(self, successor: str) -> Lease:
        """The successor's name is written under the owner's counter, which it leaves as it is."""
        return replace(self, successor=successor)

    def with_children(self, children: frozenset[str]) -> Lease:
        """The children's names are written under the holder's counter, which they leave as it is."""
        return replace(self, children=self.children | children)


@dataclass(frozen=True, slots=True)
class Position:
    """Where to read next in a shard: the arguments of `GetShardIterator`.

    `kind` is one of TRIM_HORIZON, LATEST, AT_TIMESTAMP (with `timestamp_ms`), AFTER_SEQUENCE_NUMBER and
    AT_SEQUENCE_NUMBER (with `sequence_number`).
    """

    kind: str
    sequence_number: str | None = None
    timestamp_ms: int | None = None

    @classmethod
    def after(cls, sequence_number: str) -> Position:
        return cls(AFTER_SEQUENCE_NUMBER, sequence_number=sequence_number)

    @classmethod
    def at(cls, sequence_number: str) -> Position:
        return cls(AT_SEQUENCE_NUMBER, sequence_number=sequence_number)


@dataclass(frozen=True, slots=True)
class Trace:
    """The span of the page that a record was read in, by OpenTelemetry's numbers: 128 and 64 bits.

    `sampled`: somebody keeps it; what comes of the record is then kept as well.
    """

    trace_id: int
    span_id: int
    sampled: bool


class Text(NamedTuple):
    """The part of an answer's body in which its records stand: one after another, with a comma between each two."""

    body: bytes | bytearray
    begin: int
    end: int


class Page(Value, frozen=True):
    """One answer of `GetRecords`: each record's JSON text exactly as it came, undecoded.

    `records` are views into the answer's body: copy with `bytes(...)` what must outlive the page. They may be cut apart
    only when somebody asks for them, and AwsError is raised then if the answer turns out to be none. `next_iterator`
    absent means that the shard is closed and this was its last page, which may itself hold records. `text`: where
    all of them stand, None if that is not known, or there are none. `asked_s`: when the request was made (wall clock),
    None where nobody wants to know.
    """

    records: Sequence[Buffer]
    next_iterator: str | None
    size_bytes: int
    text: Text | None = None
    asked_s: float | None = None


class Record(Value, frozen=True):
    """A record that at least one route wants.

    `body` is the record's JSON as the service sent it; `group` a hash of the item's key (32 hex digits), the same for
    every change of one item whatever the order in which the service names its key attributes; `created_s` the service's
    `ApproximateCreationDateTime` (seconds since the epoch, whole seconds), 0 if it is not known.

    `fault` is None, or why the record could not be understood: such a record is never dropped, it goes to the
    dead-letter queue of every route, and then the fields that could not be read are empty.
    """

    shard_id: str
    event_id: str
    event_name: str
    sequence_number: str
    created_s: float
    group: str
    body: bytes
    fault: str | None = None

    def age_s(self, wall_s: float) -> float:
        """Seconds since the record was created, 0 if that is not known; never negative, whatever the clocks show."""
        return max(0.0, wall_s - self.created_s) if self.created_s else 0.0


class Match(Value, frozen=True):
    """A record on its way to `routes` (indices into the daemon's routes, in their order).

    `before` is the sequence number of the record just before it in its page, None for the first of a page: the place up
    to which everything is settled while this one is not.
    """

    record: Record
    routes: tuple[int, ...]
    before: str | None


@dataclass(frozen=True, slots=True)
class Sifted:
    """What the filters made of one page.

    `events` counts the page's records by event name; `matched` and `filtered` count them by route index. `skipped`
    counts the records older than the start time, which no route gets. `last_sequence_number` and `last_created_s` are
    those of the page's last record that could be understood, None for a page without one. `trace`: the page's span,
    None without traces.
    """

    matches: tuple[Match, ...]
    events: dict[str, int]
    matched: tuple[int, ...]
    filtered: tuple[int, ...]
    skipped: int = 0
    last_sequence_number: str | None = None
    last_created_s: float | None = None
    trace: Trace | None = None


class Content(StrEnum):
    """What a dead letter's body holds: what `redrive` needs to know to send it again."""

    RECORD = "record"  # the whole record
    S3 = "s3"  # a pointer to the whole record in the dead-letter bucket
    KEYS = "keys"  # its keys and position: read it again from the stream
    POSITION = "position"  # its position only: the keys did not fit either


class Message(Value, frozen=True):
    """One entry of a `SendMessageBatch`; built once, and sent again exactly as it was.

    `size_bytes` counts as SQS does: the body's UTF-8 bytes, and name, type and value of every attribute. `trace` goes
    with it as a system attribute, which does not count.
    """

    body: str
    size_bytes: int
    group_id: str | None = None
    deduplication_id: str | None = None
    attributes: Mapping[str, str] = msgspec.field(default_factory=dict)
    trace: Trace | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedMessage:
    """A message as its queue hands it out. `receipt` is what it is hidden and deleted by; `sent_s` since the epoch.

    `attributes` are those that hold text; `group_id` None but in a FIFO queue, or where a standard one was given it.
    """

    message_id: str
    receipt: str
    body: str
    attributes: Mapping[str, str]
    sent_s: float
    group_id: str | None = None


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """What a queue says of itself. `message_bytes_max` is its `MaximumMessageSize`, for a message and for a batch."""

    name: str
    url: str
    arn: str
    fifo: bool
    message_bytes_max: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The queue has this entry."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The queue refused this one entry of a batch (an element of `Failed`).

    `sender_fault` true: the same entry can never succeed. `text` is the service's message.
    """

    code: str
    text: str
    sender_fault: bool


EntryOutcome = Accepted | Refused
