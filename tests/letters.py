"""Dead letters as the daemon writes them, for tests of those who read them."""

from __future__ import annotations

from poller.decide.filter import compile_filter
from poller.model import Message, Page, Record
from poller.run.message import Why, letter
from poller.run.sift import Sifter
from tests.standin.queues import Entry, Queue
from tests.standin.records import record as stream_record

TABLE = "AnalysisMetadataTable"
ARN = f"arn:aws:dynamodb:us-east-1:000000000000:table/{TABLE}/stream/2026-11-25T00:00:00.000"
SHARD = "shardId-00000001795000000000-0a1b2c3d"


def record_of(body: bytes, shard_id: str = SHARD) -> Record:
    (match,) = Sifter([compile_filter([])]).sift(Page([body], None, len(body)), shard_id).matches
    return match.record


def body_of(item: str, number: int, *, padding: int = 0) -> bytes:
    """The `number`th change of an item."""
    image = {"revision": {"N": str(number)}, "padding": {"S": "x" * padding}}
    sequence_number = f"{number:021d}"
    return stream_record(
        {"analysisRequestId": {"S": item}},
        sequence_number=sequence_number,
        created_s=1_795_000_000,
        new_image=image,
        event_id=f"event-{item}-{number}",
    )


def letter_of(
    body: bytes,
    reason: str = "max_attempts",
    *,
    shard_id: str = SHARD,
    route: str = "default",
    table: str = TABLE,
    stream_arn: str = ARN,
    died_s: float = 1_795_000_100,
    limit_bytes: int = 1 << 20,
    fifo: bool = False,
    stored_at: str | None = None,
) -> Message:
    """The letter that the daemon would write; `limit_bytes` as the dead-letter queue has it."""
    why = Why(
        route=route,
        reason=reason,
        code="InternalError",
        text="the queue did not want it",
        attempts=10,
        first_failed_s=died_s - 60,
        now_s=died_s,
        stream_arn=stream_arn,
        table=table,
    )
    message, _ = letter(record_of(body, shard_id), why, limit_bytes=limit_bytes, fifo=fifo, stored_at=stored_at)
    return message


def put(queue: Queue, message: Message) -> None:
    """Into a queue of the stand-in."""
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()}
    queue.take(Entry(message.body, message.group_id, message.deduplication_id, attributes), "daemon")
