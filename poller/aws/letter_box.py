"""A dead-letter queue by boto3, as whoever reads it sees it: received from, hidden, deleted from, counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from poller.aws.errors import Target, reading
from poller.aws.pool import NEVER
from poller.aws.session import Aws
from poller.aws.survey import queue_attributes
from poller.model import QueueInfo, ReceivedMessage

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import MessageTypeDef

BATCH_MAX: Final = 10
_COUNTS: Final = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
# A poll that waits asks all of the servers that hold the queue; one that does not asks some of them.
_WAIT_S: Final = 1
_PATIENCE_S: Final = 2.0


class BotoLetterBox:
    """`poller.operate.ports.LetterBox`. `request_timeout_s`: how long the service may be silent."""

    def __init__(self, aws: Aws, info: QueueInfo, request_timeout_s: float) -> None:
        self._aws = aws
        self._lane = aws.sends
        self._info = info
        self._target = Target(info.name, info.arn)
        self._wait_s = _WAIT_S if request_timeout_s >= _PATIENCE_S else 0

    @property
    def info(self) -> QueueInfo:
        return self._info

    async def waiting(self) -> int:
        attributes = await queue_attributes(self._aws, self._info)
        with reading("GetQueueAttributes", self._info.name):
            return sum(int(attributes.get(name, 0)) for name in _COUNTS)

    async def receive(self, count: int, hidden_s: int) -> Sequence[ReceivedMessage]:
        answer = await self._lane.pool.call(
            "ReceiveMessage",
            self._target,
            NEVER,
            self._lane.client.receive_message,
            QueueUrl=self._info.url,
            MaxNumberOfMessages=min(count, BATCH_MAX),
            VisibilityTimeout=hidden_s,
            WaitTimeSeconds=self._wait_s,
            MessageAttributeNames=["All"],
            # The older name of the same: ElasticMQ knows no other.
            AttributeNames=["All"],
        )
        with reading("ReceiveMessage", self._info.name):
            return [_received(message) for message in answer.get("Messages", ())]

    async def hide(self, receipts: Sequence[str], hidden_s: int) -> Sequence[str]:
        entries: Any = [
            {"Id": str(index), "ReceiptHandle": receipt, "VisibilityTimeout": hidden_s}
            for index, receipt in enumerate(receipts)
        ]
        answer = await self._lane.pool.call(
            "ChangeMessageVisibilityBatch",
            self._target,
            NEVER,
            self._lane.client.change_message_visibility_batch,
            QueueUrl=self._info.url,
            Entries=entries,
        )
        with reading("ChangeMessageVisibilityBatch", self._info.name):
            return _failed(answer, receipts)

    async def delete(self, receipts: Sequence[str]) -> Sequence[str]:
        entries: Any = [{"Id": str(index), "ReceiptHandle": receipt} for index, receipt in enumerate(receipts)]
        answer = await self._lane.pool.call(
            "DeleteMessageBatch",
            self._target,
            NEVER,
            self._lane.client.delete_message_batch,
            QueueUrl=self._info.url,
            Entries=entries,
        )
        with reading("DeleteMessageBatch", self._info.name):
            return _failed(answer, receipts)


def _received(message: MessageTypeDef) -> ReceivedMessage:
    system: dict[str, str] = dict(message.get("Attributes", {}))  # type: ignore[arg-type]  # names as plain text
    own = message.get("MessageAttributes", {})
    return ReceivedMessage(
        message_id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message.get("Body", ""),
        attributes={name: value["StringValue"] for name, value in own.items() if "StringValue" in value},
        sent_s=int(system.get("SentTimestamp", 0)) / 1000,
        group_id=system.get("MessageGroupId"),
    )


def _failed(answer: Any, receipts: Sequence[str]) -> list[str]:
    """Those receipts of which the answer does not say that it is done."""
    done = {int(entry["Id"]) for entry in answer.get("Successful", ())}
    return [receipt for index, receipt in enumerate(receipts) if index not in done]
