"""SQS queues as a test scripts them: what arrived, what is refused, and when the whole queue is down.

The wire is in `queues_api`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any, Final

from tests.standin.clock import Clock

DEDUPLICATION_WINDOW_S: Final = 5 * 60.0
BATCH_BYTES_MAX: Final = 1024 * 1024
MessageAttributes = Mapping[str, Mapping[str, Any]]


class Outage(StrEnum):
    """How a queue that is down behaves."""

    UNAVAILABLE = "unavailable"  # 503
    RESET = "reset"  # the connection is reset, nothing is answered


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that the queue took. `duplicate`: a FIFO queue has it already and dropped it.

    `at_s` is on the wall clock, `monotonic_s` on the clock of `Call.at_s`.
    """

    at_s: float
    message_id: str
    body: str
    group_id: str | None
    deduplication_id: str | None
    attributes: MessageAttributes
    duplicate: bool
    access_key: str
    monotonic_s: float
    trace_header: str | None = None


@dataclass(slots=True)
class Refusal:
    """Entries that the queue refuses: those that contain a text, or every nth, `times` times (None: always)."""

    code: str
    sender_fault: bool
    contains: str | None
    every: int | None
    times: int | None
    seen: int = 0
    refused: int = 0

    def refuses(self, body: str) -> bool:
        if self.times is not None and self.refused >= self.times:
            return False
        if self.contains is not None and self.contains not in body:
            return False
        self.seen += 1
        if self.every is not None and self.seen % self.every != 0:
            return False
        self.refused += 1
        return True


@dataclass(slots=True)
class Stored:
    """A message waiting to be received and deleted. `visible_from_s` and the receipt are on the stand-in's clock."""

    arrival: Arrival
    visible_from_s: float = 0.0
    receives: int = 0
    first_received_s: float | None = None


class Entry:
    """A message as it was sent.

    `encoded` is its body in UTF-8; `size_bytes` counts as SQS does: body, and name, type and value of each attribute,
    but not of system attributes, of which there is one, `trace_header`.
    """

    __slots__ = ("attributes", "body", "deduplication_id", "encoded", "group_id", "size_bytes", "trace_header")

    def __init__(
        self,
        body: str,
        group_id: str | None,
        deduplication_id: str | None,
        attributes: MessageAttributes,
        trace_header: str | None = None,
    ) -> None:
        self.trace_header = trace_header
        self.body = body
        self.group_id = group_id
        self.deduplication_id = deduplication_id
        self.attributes = attributes
        self.encoded = body.encode("utf-8", "surrogatepass")
        self.size_bytes = len(self.encoded)
        for name, attribute in attributes.items():
            value = attribute.get("StringValue", attribute.get("BinaryValue", ""))
            self.size_bytes += len(name.encode()) + len(attribute.get("DataType", "")) + len(value.encode())


class Queue:
    """One queue.

    `arrived` holds everything it took, in order; with `discard` messages are counted in `taken` and forgotten, which is
    for benchmarks. `batch_bytes_max` is the service's limit for a whole batch: SQS holds every message against the
    queue's MaximumMessageSize, but the sum only against this.
    """

    def __init__(self, name: str, arn: str, attributes: Mapping[str, str], clock: Clock) -> None:
        self.name = name
        self.arn = arn
        self.clock = clock
        self.created_s = clock.wall()
        self.fifo = name.endswith(".fifo")
        self.attributes = {
            "MaximumMessageSize": str(BATCH_BYTES_MAX),
            "VisibilityTimeout": "30",
            "MessageRetentionPeriod": "345600",
            "DelaySeconds": "0",
            "ReceiveMessageWaitTimeSeconds": "0",
            "SqsManagedSseEnabled": "true",
            **({"ContentBasedDeduplication": "false"} if self.fifo else {}),
            **attributes,
        }
        self.batch_bytes_max = BATCH_BYTES_MAX
        self.arrived: list[Arrival] = []
        self.taken = 0
        self.discard = False
        self.outage: Outage | None = None
        self.refusals: list[Refusal] = []
        self.messages: dict[str, Stored] = {}
        self._ids = count(1)
        self._seen: dict[str, tuple[float, str]] = {}

    @property
    def message_bytes_max(self) -> int:
        return int(self.attributes["MaximumMessageSize"])

    @property
    def bodies(self) -> list[str]:
        """The bodies of what arrived and was no duplicate, in order."""
        return [arrival.body for arrival in self.arrived if not arrival.duplicate]

    def down(self, outage: Outage = Outage.UNAVAILABLE) -> None:
        """The whole queue takes nothing and answers nothing useful, until `up`."""
        self.outage = outage

    def up(self) -> None:
        self.outage = None

    def refuse(
        self,
        *,
        contains: str | None = None,
        every: int | None = None,
        times: int | None = None,
        sender_fault: bool = False,
        code: str = "InternalError",
    ) -> Refusal:
        """Refuses single entries of batches from now on (see `Refusal`)."""
        refusal = Refusal(code, sender_fault, contains, every, times)
        self.refusals.append(refusal)
        return refusal

    def refusal_of(self, body: str) -> Refusal | None:
        if not self.refusals:
            return None
        return next((refusal for refusal in self.refusals if refusal.refuses(body)), None)

    def take(self, entry: Entry, access_key: str) -> str:
        """Stores the entry, or drops it as a duplicate (FIFO, five minutes). Returns the message's id."""
        self.taken += 1
        if self.discard:
            return f"{self.taken:08d}-0000-0000-0000-000000000000"
        now = self.clock.monotonic()
        known_id = self._known(entry, now)
        message_id = known_id or f"{next(self._ids):08d}-0000-0000-0000-000000000000"
        arrival = Arrival(
            self.clock.wall(),
            message_id,
            entry.body,
            entry.group_id,
            entry.deduplication_id,
            entry.attributes,
            known_id is not None,
            access_key,
            now,
            entry.trace_header,
        )
        self.arrived.append(arrival)
        if known_id is None:
            self.messages[message_id] = Stored(arrival)
            if self.fifo and entry.deduplication_id is not None:
                self._seen[entry.deduplication_id] = (now, message_id)
        return message_id

    def _known(self, entry: Entry, now: float) -> str | None:
        if not self.fifo or entry.deduplication_id is None:
            return None
        at_s, message_id = self._seen.get(entry.deduplication_id, (float("-inf"), ""))
        return message_id if now - at_s < DEDUPLICATION_WINDOW_S else None

    def receive(self, number: int, visibility_s: float) -> list[Stored]:
        """The next visible messages, hidden for a while. In a FIFO queue a message in flight holds up its group."""
        now = self.clock.monotonic()
        received: list[Stored] = []
        groups_in_flight: set[str | None] = set()
        for stored in self.messages.values():
            if len(received) == number:
                break
            group_id = stored.arrival.group_id
            if stored.visible_from_s > now:
                groups_in_flight.add(group_id)
                continue
            if self.fifo and group_id in groups_in_flight:
                continue
            received.append(stored)
        for stored in received:
            stored.visible_from_s = now + visibility_s
            stored.receives += 1
            stored.first_received_s = stored.first_received_s or self.clock.wall()
        return received

    def hide(self, message_id: str, visibility_s: float) -> bool:
        """Hides a message that was received for so long from now on; false: nobody has it, or it is gone."""
        now = self.clock.monotonic()
        stored = self.messages.get(message_id)
        if stored is None or stored.visible_from_s <= now:
            return False
        stored.visible_from_s = now + visibility_s
        return True

    def purge(self) -> None:
        self.messages.clear()


def body_md5(encoded: bytes) -> str:
    return hashlib.md5(encoded, usedforsecurity=False).hexdigest()


def attributes_md5(attributes: MessageAttributes) -> str:
    """As the developer guide has it: sorted by name, each part after its length in four bytes, 1 before a value."""

    def measured(text: str) -> bytes:
        raw = text.encode()
        return struct.pack(">I", len(raw)) + raw

    digest = hashlib.md5(usedforsecurity=False)
    for name in sorted(attributes):
        attribute = attributes[name]
        digest.update(measured(name) + measured(attribute["DataType"]))
        digest.update(b"\x01" + measured(attribute.get("StringValue", "")))
    return digest.hexdigest()
