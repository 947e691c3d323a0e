"""A dead-letter queue in memory, as whoever reads it sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poller.model import Message, QueueInfo, ReceivedMessage
from poller.run.ports import Clock
from tests.memory.gates import Gate, open_gate


@dataclass
class _Kept:
    message: Message
    sent_s: float
    visible_from_s: float = 0.0
    receives: int = 0


class MemoryLetterBox:
    """`poller.operate.ports.LetterBox`. `before` and `after` meet every call; `undeletable`: nothing can be deleted."""

    def __init__(self, name: str, clock: Clock) -> None:
        arn = f"arn:aws:sqs:eu-west-1:123456789012:{name}"
        self._info = QueueInfo(name, f"https://sqs/{name}", arn, name.endswith(".fifo"), 1 << 20)
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._count = 0
        self.before: Gate = open_gate
        self.after: Gate = open_gate
        self.undeletable = False

    @property
    def info(self) -> QueueInfo:
        return self._info

    def put(self, *messages: Message) -> None:
        for message in messages:
            self._count += 1
            self._kept[f"m{self._count}"] = _Kept(message, self._clock.wall())

    @property
    def bodies(self) -> list[str]:
        return [kept.message.body for kept in self._kept.values()]

    @property
    def hidden(self) -> list[str]:
        now = self._clock.monotonic()
        return [name for name, kept in self._kept.items() if kept.visible_from_s > now]

    async def waiting(self) -> int:
        await self.before("GetQueueAttributes", self._info.name)
        return len(self._kept)

    async def receive(self, count: int, hidden_s: int) -> Sequence[ReceivedMessage]:
        await self.before("ReceiveMessage", self._info.name)
        now = self._clock.monotonic()
        taken: list[ReceivedMessage] = []
        held_up = set()
        for message_id, kept in self._kept.items():
            group = kept.message.group_id
            if kept.visible_from_s > now:
                held_up.add(group)
            elif len(taken) < count and not (self._info.fifo and group in held_up):
                kept.receives += 1
                receipt = f"{message_id}#{kept.receives}"
                attributes = dict(kept.message.attributes)
                taken.append(ReceivedMessage(message_id, receipt, kept.message.body, attributes, kept.sent_s, group))
        for one in taken:
            self._kept[one.message_id].visible_from_s = now + hidden_s
        await self.after("ReceiveMessage", self._info.name)
        return taken

    async def hide(self, receipts: Sequence[str], hidden_s: int) -> Sequence[str]:
        await self.before("ChangeMessageVisibilityBatch", self._info.name)
        now, failed = self._clock.monotonic(), []
        for receipt in receipts:
            kept = self._kept.get(receipt.partition("#")[0])
            if kept is None or kept.visible_from_s <= now:
                failed.append(receipt)
            else:
                kept.visible_from_s = now + hidden_s
        return failed

    async def delete(self, receipts: Sequence[str]) -> Sequence[str]:
        await self.before("DeleteMessageBatch", self._info.name)
        if self.undeletable:
            return receipts
        for receipt in receipts:
            self._kept.pop(receipt.partition("#")[0], None)
        await self.after("DeleteMessageBatch", self._info.name)
        return []
