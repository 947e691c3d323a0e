"""A queue and a bucket in memory: what a consumer would see of what was sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from poller.errors import DeadlinePassed, InvalidRequest, NotFound, TooLarge
from poller.model import Accepted, EntryOutcome, Message, QueueInfo, Refused
from poller.run.ports import Clock
from tests.memory.gates import Gate, fault, open_gate

DEDUPLICATION_S = 300.0
# What SQS takes is #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.
ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class MemoryQueue:
    """`poller.run.ports.Queue`. `messages` is what consumers see, in order; `refuse` makes entries fail."""

    def __init__(self, name: str, clock: Clock, *, message_bytes_max: int = 1_048_576) -> None:
        arn, url = (
            f"arn:aws:sqs:eu-west-1:123456789012:{name}",
            f"https://sqs.eu-west-1.amazonaws.com/123456789012/{name}",
        )
        self._info = QueueInfo(name, url, arn, name.endswith(".fifo"), message_bytes_max)
        self._clock = clock
        self._seen: dict[str, float] = {}
        self.messages: list[Message] = []
        self.deleted = False
        self.refuse: Callable[[Message], Refused | None] = lambda message: None
        self.before: Gate = open_gate
        self.after: Gate = open_gate

    @property
    def info(self) -> QueueInfo:
        return self._info

    async def send(self, batch: Sequence[Message], not_after: float) -> Sequence[EntryOutcome]:
        await self.before("SendMessageBatch", self._info.name)
        if self._clock.monotonic() >= not_after:
            raise DeadlinePassed(f"SendMessageBatch on {self._info.name}: not sent")
        self._check(batch)
        outcomes = [self._store(message) for message in batch]
        await self.after("SendMessageBatch", self._info.name)
        return outcomes

    def _check(self, batch: Sequence[Message]) -> None:
        """What the service refuses a batch for as a whole."""
        operation, name = "SendMessageBatch", self._info.name
        if self.deleted:
            raise fault(NotFound, operation, name, "QueueDoesNotExist")
        if not 1 <= len(batch) <= 10:
            raise fault(InvalidRequest, operation, name, "TooManyEntriesInBatchRequest")
        if sum(map(size_bytes, batch)) > self._info.message_bytes_max:
            raise fault(TooLarge, operation, name, "BatchRequestTooLong")

    def _store(self, message: Message) -> EntryOutcome:
        if ILLEGAL.search(message.body):
            return Refused("InvalidMessageContents", "an illegal character", sender_fault=True)
        if self._info.fifo and (message.group_id is None or message.deduplication_id is None):
            return Refused("MissingParameter", "a FIFO queue needs a group and a deduplication id", sender_fault=True)
        refused = self.refuse(message)
        if refused is not None:
            return refused
        if not (self._info.fifo and self._is_duplicate(message.deduplication_id or "")):
            self.messages.append(message)
        return Accepted()

    def _is_duplicate(self, deduplication_id: str) -> bool:
        """A FIFO queue accepts a duplicate and shows it to nobody."""
        now = self._clock.monotonic()
        duplicate = now - self._seen.get(deduplication_id, -DEDUPLICATION_S) < DEDUPLICATION_S
        if not duplicate:
            self._seen[deduplication_id] = now
        return duplicate


def size_bytes(message: Message) -> int:
    """As SQS counts: the body, and name, type and value of every attribute."""
    attributes = sum(len((name + "String" + value).encode()) for name, value in message.attributes.items())
    return len(message.body.encode()) + attributes


class MemoryLetterStore:
    """`poller.run.ports.LetterStore`."""

    def __init__(self) -> None:
        self.letters: dict[str, bytes] = {}
        self.before: Gate = open_gate

    async def put(self, key: str, body: bytes) -> str:
        await self.before("PutObject", key)
        self.letters[key] = body
        return f"s3://letters/{key}"
