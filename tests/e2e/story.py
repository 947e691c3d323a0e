"""The table, the writer and the consumer of the end-to-end tests, on real servers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_sqs import SQSClient

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
PHASES = ("CREATED", "FILE_UPLOAD_STARTED", "FILE_UPLOAD_COMPLETE", "ANALYSED")
_CONFIG = Config(retries={"total_max_attempts": 10, "mode": "standard"}, connect_timeout=10, read_timeout=60)


@dataclass(frozen=True)
class Received:
    """One message: which change it tells of, when the queue got it (ms since the epoch), and its body."""

    name: str
    sent_ms: int
    body: dict[str, Any]


def dynamodb(url: str) -> DynamoDBClient:
    return boto3.client("dynamodb", endpoint_url=url, config=_CONFIG, **_credentials())


def sqs(url: str) -> SQSClient:
    return boto3.client("sqs", endpoint_url=url, config=_CONFIG, **_credentials())


def _credentials() -> Any:
    return {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}


class Table:
    """The table of the story. Every item's `revision` counts how often it was uploaded."""

    def __init__(self, client: DynamoDBClient, name: str) -> None:
        self.client = client
        self.name = name
        client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "analysisRequestId", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "analysisRequestId", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        )

    def write(self, item_ids: Sequence[str], phase: str, revision: int) -> None:
        """One change of each item, in batches; the changes of one item keep their order from call to call."""
        for some in _batches(item_ids, 25):
            self.client.batch_write_item(
                RequestItems={self.name: [{"PutRequest": {"Item": _item(id_, phase, revision)}} for id_ in some]}
            )

    def uploads(self, item_ids: Sequence[str], revision: int = 1) -> list[str]:
        """All phases of these items; the names of the changes that must be heard of."""
        for phase in PHASES:
            self.write(item_ids, phase, revision)
        return [f"{id_}/{revision}" for id_ in item_ids]

    def put(self, item_id: str, phase: str, revision: int, **more: Any) -> None:
        self.client.put_item(TableName=self.name, Item={**_item(item_id, phase, revision), **more})

    def replace_stream(self) -> None:
        """Disables the stream and enables it again: a new ARN."""
        self.disable_stream()
        time.sleep(0.01)  # the label of a stream is its time, in milliseconds
        self.enable_stream()

    def disable_stream(self) -> None:
        """Closes its shards; it stays readable."""
        self.client.update_table(TableName=self.name, StreamSpecification={"StreamEnabled": False})

    def enable_stream(self) -> None:
        """A new stream, with an ARN of its own."""
        self.client.update_table(
            TableName=self.name, StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
        )


def _item(item_id: str, phase: str, revision: int) -> dict[str, Any]:
    return {
        "analysisRequestId": {"S": item_id},
        "requestorId": {"S": f"requestor-{hash(item_id) % 50}"},
        "phase": {"S": phase},
        "revision": {"N": str(revision)},
    }


def _batches(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(ids)
    while some := list(islice(rest, size)):
        yield some


class Mailbox:
    """A queue, and everything that was ever received from it."""

    def __init__(self, client: SQSClient, name: str, **attributes: str) -> None:
        self.client = client
        self.name = name
        self.url = client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type]
        self.received: list[Received] = []
        self.raw: list[Any] = []

    def drain(self) -> int:
        """Receives and deletes what is there now; how many."""
        count = 0
        while messages := self.client.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages"):
            self.client.delete_message_batch(
                QueueUrl=self.url,
                Entries=[{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)],
            )
            self.raw += messages
            self.received += [_received(message) for message in messages]
            count += len(messages)
        return count

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.received]


def _received(message: Any) -> Received:
    body = json.loads(message["Body"])
    image = body.get("dynamodb", {}).get("NewImage", {})
    name = f"{image['analysisRequestId']['S']}/{image['revision']['N']}" if "revision" in image else ""
    return Received(name, int(message["Attributes"]["SentTimestamp"]), body)


def most_within(sent_ms: Sequence[int], window_ms: int) -> int:
    """The largest number of messages that were sent within any window of so many milliseconds."""
    ordered = sorted(sent_ms)
    most = first = 0
    for last, at in enumerate(ordered):
        while at - ordered[first] > window_ms:
            first += 1
        most = max(most, last - first + 1)
    return most
