"""The world that the hosts share: the table and its stream, the lease table, the queues; and all that is told of it."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from poller.errors import AwsError, InvalidRequest
from poller.events import ApiCalled, Buffered, Event, FleetSeen, LeaseOperation, PageRead, RouteWaiting, ShardBehind
from poller.model import AT_TIMESTAMP, LATEST, Lease, Message, Refused, ViewType
from tests.memory.gates import fault
from tests.memory.lease_table import MemoryLeaseTable
from tests.memory.queue import MemoryQueue
from tests.memory.shards import Entry, MemoryShard
from tests.memory.streams import MemoryStream, MemoryTables
from tests.sim.clocks import TrueClock
from tests.sim.host import Host
from tests.sim.knobs import Knobs
from tests.sim.ledger import Written
from tests.sim.loop import SimLoop
from tests.sim.network import Service
from tests.sim.oracle import Oracle, Violation
from tests.sim.story import Story

TABLE: Final = "AnalysisMetadataTable"
COMPLETE: Final = "FILE_UPLOAD_COMPLETE"
ROUTES: Final = {"jobs": "jobs.fifo", "audit": "audit"}
MAX_ATTEMPTS: Final = 3
# Small, so that a message that is too large costs the simulation little.
MESSAGE_BYTES_MAX: Final = 4_096
# What happens all the time is not worth a line in the story.
_UNTOLD: Final = (ApiCalled, Buffered, FleetSeen, LeaseOperation, PageRead, RouteWaiting, ShardBehind)


class World:
    """`calm`: the faults are over. `trace`: told of every event."""

    def __init__(self, seed: int, knobs: Knobs, loop: SimLoop, story: Story, fail: Callable[[Violation], None]) -> None:
        self.knobs = knobs
        self.loop = loop
        self.clock = TrueClock(loop)
        self.story = story
        self.rng = random.Random(f"world {seed}")
        self.calm = False
        self.fail = fail
        self.oracle = Oracle(lambda: loop.true_s, fail, max_attempts=MAX_ATTEMPTS)
        self.services = {name: Service(name) for name in ("dynamodb", "streams", "sqs")}
        self.hosts: list[Host] = []
        self.tables = MemoryTables(self.clock)
        self.table = self.tables.create(TABLE, None)
        self.leases = MemoryLeaseTable(self.clock)
        self.table_there = True
        self.queues = {
            route: MemoryQueue(name, self.clock, message_bytes_max=MESSAGE_BYTES_MAX) for route, name in ROUTES.items()
        }
        self.letters = MemoryQueue("letters", self.clock, message_bytes_max=MESSAGE_BYTES_MAX)
        self.letters_failing = False
        self.on_row_request: Callable[[Host, str], None] = lambda _, __: None  # one of a worker's has taken effect
        self.on_row_read: Callable[[Host], None] = lambda _: None  # one has asked for a row by itself
        self.on_first_row: Callable[[], None] = lambda: None  # at LATEST
        self.queues_failed_s = -math.inf  # when a queue last refused anything
        self.refusing: Counter[str] = Counter()  # by route: the number of the outage, 0 for none
        for route, queue in self.queues.items():
            queue.refuse = self._refusal(route)
        self.letters.refuse = self._letter_refusal
        self._revisions: Counter[str] = Counter()
        self.enable()
        while len(self.open_shards()) < knobs.shards:
            self.split(self.open_shards()[0])
        for shard in list(self.stream.shards):
            if shard.closed and knobs.roots_trimmed:
                self.stream.shards.forget(shard.shard_id)
                self.oracle.ledger.shards[shard.shard_id].of_old = True
        if knobs.start == LATEST:
            self.oracle.begins_at_latest()
        self.start_ms: int | None = None
        if knobs.start == AT_TIMESTAMP:
            self.start_ms = math.ceil(self.clock.wall() + 5.0) * 1000
            self.oracle.required_from_s = self.start_ms / 1000 - self.clock.wall() + loop.true_s

    # --- what is told ---

    @property
    def now_s(self) -> float:
        return self.loop.true_s

    def ear(self, host: Host) -> Callable[[Event], None]:
        """Where a worker's events go."""

        def hear(event: Event) -> None:
            self.oracle.said(host, event)
            host.known(event)
            if not isinstance(event, _UNTOLD):
                self.story.tell(self.now_s, host.name, _in_words(event))

        return hear

    def row_changed(self, host: Host | None, operation: str, before: Lease | None, after: Lease | None) -> None:
        row = after or before
        if row is not None and operation != "renew":
            text = f"row {row.shard_id[-8:]} {operation}: {row.owner} {row.counter} {row.checkpoint[-6:]}"
            self.story.tell(self.now_s, "world" if host is None else host.name, text)
        if operation == "create" and self.oracle.no_row_yet:
            self.on_first_row()
        self.oracle.row_changed(host, operation, before, after)
        if host is not None and host.alive:
            self.on_row_request(host, operation)

    # --- shards ---

    @property
    def stream(self) -> MemoryStream:
        return self.table.stream

    def enable(self) -> None:
        """A stream, or another one in its place."""
        stream = self.table.enable(ViewType.NEW_AND_OLD_IMAGES)
        stream.page_shards = self.knobs.listing_page
        stream.iterator_life_s = self.knobs.iterator_life_s
        for shard in stream.shards:
            self.oracle.ledger.opened(shard.shard_id, stream.info.arn, None)

    def replace(self) -> None:
        self.close_all()
        self.table.disable()
        self.enable()

    def close_all(self) -> None:
        for shard in self.stream.shards:
            self.oracle.ledger.shards[shard.shard_id].closed = True

    def open_shards(self) -> list[str]:
        return [shard.shard_id for shard in self.stream.shards if not shard.closed]

    def split(self, shard_id: str) -> tuple[str, ...]:
        children = self.stream.shards.split(shard_id)
        return self._born(shard_id, children)

    def roll(self, shard_id: str) -> tuple[str, ...]:
        return self._born(shard_id, (self.stream.shards.roll(shard_id),))

    def _born(self, parent_id: str, children: tuple[str, ...]) -> tuple[str, ...]:
        for child in children:
            self.oracle.ledger.opened(child, self.stream.info.arn, parent_id)
        return children

    def all_shards(self) -> list[MemoryShard]:
        return [shard for stream in self.tables.all_streams(TABLE) for shard in stream.shards]

    def shard(self, shard_id: str) -> MemoryShard | None:
        for stream in self.tables.all_streams(TABLE):
            if shard_id in stream.shards.shards and not stream.gone:
                return stream.shards[shard_id]
        return None

    def is_there(self, arn: str) -> bool:
        return any(stream.info.arn == arn and not stream.gone for stream in self.tables.all_streams(TABLE))

    def is_gone(self, shard_id: str) -> bool:
        return self.shard(shard_id) is None

    def trimmed(self, shard_id: str) -> int:
        """The last sequence number of a shard that is gone."""
        shard = self.shard(shard_id)
        return 10**30 if shard is None else shard.trimmed

    # --- writing ---

    def write(self, key: str, phase: str, poison: str | None = None) -> Written | None:
        """One change of one item; None if there is no stream that would tell of it."""
        self._revisions[key] += 1
        revision = self._revisions[key]
        item: dict[str, dict[str, Any]] = {"id": {"S": key}, "phase": {"S": phase}, "revision": {"N": str(revision)}}
        if poison in ("refused", "batch"):
            item["poison"] = {"S": poison}
        elif poison == "large":
            item["pad"] = {"S": "x" * MESSAGE_BYTES_MAX}
        number = self.table.put(item)
        if number is None:
            return None
        shard = self.stream.shards.open_shard(key)
        if poison == "unreadable":
            _spoil(shard)
        body = shard.entries[-1].body.decode()
        if poison != "unreadable":  # the image of before is in the record, too
            poison = _poison_in(body)
        count = len(self.oracle.ledger.records) + 1
        record = Written(count, key, shard.shard_id, int(number), body, _wanted(body), poison)
        self.oracle.wrote(record)
        return record

    # --- queues ---

    def _refusal(self, route: str) -> Callable[[Message], Refused | None]:
        def refuse(message: Message) -> Refused | None:
            refused = drawn(message)
            if refused is not None:
                self.queues_failed_s = self.now_s
            return refused

        def drawn(message: Message) -> Refused | None:
            if self.refusing[route]:
                return Refused("InternalError", "not now", sender_fault=False)
            if '"poison":{"S":"refused"}' in message.body:
                return Refused("InvalidMessageContents", "poison", sender_fault=True)
            if '"poison":{"S":"batch"}' in message.body:
                self.queues_failed_s = self.now_s
                raise fault(InvalidRequest, "SendMessageBatch", route, "InvalidParameterValue")
            if not self.calm and self.rng.random() < self.knobs.refused_p:
                return Refused("InternalError", "by chance", sender_fault=False)
            return None

        return refuse

    def _letter_refusal(self, message: Message) -> Refused | None:
        return Refused("InternalError", "not now", sender_fault=False) if self.letters_failing else None

    @staticmethod
    def unknown_filter() -> AwsError:
        return fault(InvalidRequest, "DescribeStream", TABLE, "ShardFilterIgnored")


def _wanted(body: str) -> tuple[str, ...]:
    """What the routes' filters mean, in other words than theirs."""
    record = json.loads(body)
    phase = record["dynamodb"]["NewImage"]["phase"]["S"]
    jobs = ("jobs",) if record["eventName"] == "MODIFY" and phase == COMPLETE else ()
    return (*jobs, "audit") if phase.startswith("FILE_UPLOAD_") else jobs


def _poison_in(body: str) -> str | None:
    if len(body) > MESSAGE_BYTES_MAX:
        return "large"
    return next((poison for poison in ("refused", "batch") if f'"poison":{{"S":"{poison}"}}' in body), None)


def _spoil(shard: MemoryShard) -> None:
    """Makes a shard's last record one whose item cannot be told."""
    entry = shard.entries[-1]
    record = json.loads(entry.body)
    record["dynamodb"]["Keys"] = "what a pity"
    body = json.dumps(record, separators=(",", ":")).encode()
    shard.entries[-1] = Entry(entry.sequence_number, entry.created_s, body)


def _in_words(event: Event) -> str:
    fields = {name: getattr(event, name) for name in event.fields() if name != "stream"}
    words = [f"{name}={_short(value)}" for name, value in fields.items()]
    return f"{event.name()} {' '.join(words)}"


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return text[-8:] if text.startswith("shardId-") else text
