"""The uploading side: carries the story's writes out, each when it is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from boto3.dynamodb.types import TypeSerializer

from poller.demo.actor import Actor
from poller.demo.ledger import Fact, Wrote
from poller.demo.stage import TABLE
from poller.demo.story import Item, Write

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef


class Writer(Actor):
    """A write is told after it has succeeded. One that is late is made at once."""

    def __init__(self, story: Iterator[Write], dynamodb: DynamoDBClient, tell: Callable[[Fact], None]) -> None:
        super().__init__("writer")
        self._story = story
        self._dynamodb = dynamodb
        self._tell = tell
        self._serialize = TypeSerializer().serialize
        self._begun_s: float | None = None

    def step(self) -> None:
        if self._begun_s is None:
            self._begun_s = time.monotonic()
        write = next(self._story)
        if self._stopping.wait(max(0.0, self._begun_s + write.due_s - time.monotonic())):
            return
        at_s = time.monotonic()
        if write.item is None:
            self._dynamodb.delete_item(TableName=TABLE, Key={"analysisRequestId": {"S": write.request_id}})
        else:
            self._dynamodb.put_item(TableName=TABLE, Item=self._image(write.item))
        self._tell(Wrote(write.request_id, write.phase, write.expected, at_s))

    def _image(self, item: Item) -> dict[str, AttributeValueTypeDef]:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return {name: self._serialize(value) for name, value in {**item, "updatedAt": now}.items()}
