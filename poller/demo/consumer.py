"""The analysing side: receives the jobs from the queue as an analysis worker would, and deletes them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from poller.demo.actor import Actor
from poller.demo.ledger import Fact, Received

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

LONG_POLL_S: Final = 1  # SQS allows 20; this is also how long a stop may take


class Consumer(Actor):
    """A message is told, then deleted, as a worker deletes a job that is done."""

    def __init__(self, queue_url: str, sqs: SQSClient, tell: Callable[[Fact], None]) -> None:
        super().__init__("consumer")
        self._queue_url = queue_url
        self._sqs = sqs
        self._tell = tell

    def step(self) -> None:
        self.receive()

    def receive(self) -> int:
        """One long poll; returns how many messages it brought."""
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=LONG_POLL_S
        )
        messages = answer.get("Messages", [])
        if not messages:
            return 0
        now_s = time.monotonic()
        for message in messages:
            self._tell(received(message["Body"], now_s))
        self._sqs.delete_message_batch(
            QueueUrl=self._queue_url,
            Entries=[
                {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]} for index, message in enumerate(messages)
            ],
        )
        return len(messages)


def received(body: str, now_s: float) -> Received:
    """What a worker reads in a message: the stream record, as a Lambda function has it in `event["Records"]`."""
    change = json.loads(body)["dynamodb"]
    image = change["NewImage"]
    return Received(
        request_id=image["analysisRequestId"]["S"],
        phase=image["phase"]["S"],
        sequence_number=change["SequenceNumber"],
        body=body,
        at_s=now_s,
    )
