"""What each step of a record's way costs by itself: microseconds a record, on pages of 1,000 records.

    python -m benchmarks.micro [--json FILE]

The machine's speed drifts: what can be compared between two runs is the last column, a step's cost over that of
`json.loads` of the same page, measured in turn with it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

from poller.aws.direct.blueprint import encode
from poller.aws.page import decode_page
from poller.aws.session import Aws
from poller.aws.sqs import BotoQueue
from poller.decide.batch import BatchLimits, Lanes
from poller.decide.filter import DEFAULT_PATTERN, compile_filter
from poller.model import Message, QueueInfo, Record
from poller.run.message import MessageBuilder
from poller.run.sift import Sifter
from tests.standin.records import backlog
from tests.standin.world import DEFAULT_KEY

RECORDS: Final = 1_000
_SHARD: Final = "shardId-00000001764105391000-0a1b2c3d"
_BATCH: Final = 10
_ROUNDS: Final = 30


@dataclass(frozen=True)
class Step:
    """`run` does it once for all records of a page."""

    name: str
    run: Callable[[], object]


@dataclass(frozen=True)
class Cost:
    """Of the fastest of all rounds; `ratio` is over the reference's."""

    name: str
    us_a_record: float
    ratio: float


def page(match_every: int) -> bytes:
    """A GetRecords answer's body."""
    records = backlog(
        RECORDS,
        0,
        key_attribute=DEFAULT_KEY,
        sequence_numbers=count(10, 10),
        created_s=1_764_105_391.0,
        match_every=match_every,
        image_bytes=600,
    )
    joined = b",".join(body for _, body in records)
    return b'{"Records":[' + joined + b'],"NextShardIterator":"' + b"i" * 250 + b'"}'


def steps() -> Iterator[Step]:
    some, every = page(100), page(1)
    yield Step("page: cut into records", lambda: decode_page(some))
    for name, body in (("none", page(0)), ("1 %", some), ("all", every)):
        decoded, alone = decode_page(body), Sifter([compile_filter([DEFAULT_PATTERN])])
        alone.sift(decoded, _SHARD)  # how a page is read depends on the one before
        yield Step(f"sift, {name} match", partial(alone.sift, decoded, _SHARD))
    sifter = Sifter([compile_filter([DEFAULT_PATTERN])])
    records = [match.record for match in sifter.sift(decode_page(every), _SHARD).matches]
    builder = MessageBuilder(table="T", form="record", attributes=(), fifo=False, group_by="auto")
    yield Step("message", lambda: [builder.build(record) for record in records])
    messages = [builder.build(record) for record in records]
    yield Step("lanes: in, out in batches, settled", lambda: through_lanes(records, messages))
    yield Step("body of SendMessageBatch", lambda: send_bodies(messages))


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    lane: str
    size_bytes: int


def through_lanes(records: list[Record], messages: list[Message]) -> None:
    lanes: Lanes[_Entry] = Lanes(BatchLimits(entries_max=_BATCH, bytes_max=1 << 20, window_s=0.0))
    for record, message in zip(records, messages, strict=True):
        lanes.add(_Entry(record.group, message.size_bytes), 0.0)
    while batch := lanes.next_batch(0.0):
        lanes.done(batch, 0.0)


def send_bodies(messages: list[Message]) -> None:
    """From messages to the request's body, and from the answer to outcomes."""

    async def ask(_operation: str, _target: object, _not_after: float, request: dict[str, Any]) -> dict[str, Any]:
        encode(request)
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]]}

    async def send() -> None:
        for start in range(0, len(messages), _BATCH):
            await queue.send(messages[start : start + _BATCH], 0.0)

    info = QueueInfo(name="q", url="http://localhost/1/q", arn="arn", fifo=False, message_bytes_max=1 << 20)
    queue = BotoQueue(cast("Aws", SimpleNamespace(hot_sends=SimpleNamespace(ask=ask))), info)
    asyncio.run(send())


def measure() -> list[Cost]:
    """The rounds of all steps take turns, so that a slow moment of the machine hits no single one."""
    body = page(100)
    reference = Step("json.loads of the page", lambda: json.loads(body))
    all_steps = [reference, *steps()]
    best = {step.name: float("inf") for step in all_steps}
    for _ in range(_ROUNDS):
        for step in all_steps:
            started = time.perf_counter()
            step.run()
            best[step.name] = min(best[step.name], time.perf_counter() - started)
    return [Cost(name, seconds / RECORDS * 1e6, seconds / best[reference.name]) for name, seconds in best.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    options = parser.parse_args()
    costs = measure()
    for cost in costs:
        print(f"{cost.name:36} {cost.us_a_record:8.3f} us a record {cost.ratio:8.3f}")
    if options.json:
        ratios = {cost.name: round(cost.ratio, 4) for cost in costs}
        options.json.write_text(json.dumps(ratios, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
