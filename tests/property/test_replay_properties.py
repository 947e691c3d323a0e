"""A replay of any tree, broken off anywhere and gone on with, sends every wanted record once, in its item's order."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from hypothesis import event, given, settings
from hypothesis import strategies as st

from poller.decide.span import Span
from poller.errors import AwsError, IteratorExpired, Throttled
from poller.model import AT_TIMESTAMP, Message, Position, Refused
from poller.operate.account import Left
from poller.operate.order import Order, read_order, write_order
from poller.operate.replay import Ended
from tests.memory.gates import fault, no_answer
from tests.replays import Desk, in_order
from tests.virtual import VirtualClock, run

ITEMS = "abcdefghij"
FAULTS: tuple[Callable[[str, str], AwsError], ...] = (
    no_answer,
    lambda operation, resource: fault(Throttled, operation, resource, "ThrottlingException"),
    lambda operation, resource: fault(IteratorExpired, operation, resource, "ExpiredIteratorException"),
)


class Writer:
    """Writes into the tree while it grows: puts, rolls, splits, late children, empty pages, and time that passes."""

    def __init__(self, desk: Desk, rng: random.Random) -> None:
        self.desk = desk
        self.rng = rng
        self.revisions = dict.fromkeys(ITEMS, 0)
        self.written: list[tuple[str, int]] = []

    async def write(self, steps: int) -> None:
        tree, rng = self.desk.stream.shards, self.rng
        for _ in range(steps):
            kind = rng.random()
            leaf = rng.choice([shard.shard_id for shard in tree if not shard.closed])
            if kind < 0.7:
                item = rng.choice(ITEMS)
                self.revisions[item] += 1
                created_s = int(self.desk.clock.wall())
                self.written.append((self.desk.upload(item, self.revisions[item]), created_s))
            elif kind < 0.78:
                tree.roll(leaf)
            elif kind < 0.84:
                tree.split(leaf)
            elif kind < 0.9:
                tree.hide(leaf, rng.randrange(1, 3))
            elif kind < 0.95:
                tree.empty(leaf, rng.randrange(1, 8))
            else:
                await self.desk.clock.sleep(rng.random() * 30)


def span_of(writer: Writer) -> tuple[Span, list[str]]:
    """A span of the tree, and what belongs to it."""
    rng, desk = writer.rng, writer.desk
    times = [created_s for _, created_s in writer.written]
    if not times or rng.random() < 0.4:
        return desk.span(), [name for name, _ in writer.written]
    since, until = rng.choice(times), rng.choice([*times, int(desk.clock.wall())]) + 1
    names = [name for name, created_s in writer.written if since <= created_s < until]
    return desk.span(Position(AT_TIMESTAMP, timestamp_ms=since * 1000), until_s=float(until)), names


def through_a_file(desk: Desk, ended: Ended) -> Order:
    """As a state file keeps it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state.json")
        write_order(path, Order(desk.stream.info.arn, ended.rest.span, ("default",), left=ended.rest.left))
        return read_order(path)


@given(st.integers(0, 1 << 32))
@settings(max_examples=60, deadline=None)
def test_every_wanted_record_is_sent_once_and_in_the_order_of_its_item(seed: int) -> None:
    rng = random.Random(seed)

    async def story(clock: VirtualClock) -> None:
        desk = Desk(clock, POLLER_ROUTE__MAX_ATTEMPTS="1000")
        writer = Writer(desk, rng)
        await writer.write(rng.randrange(1, 60))
        span, expected = span_of(writer)
        troubled = rng.random() < 0.5

        async def fail(operation: str, resource: str) -> None:
            if troubled and rng.random() < 0.2:
                # Not an internal error, of which the reader concludes that the server has no AT_TIMESTAMP.
                raise rng.choice(FAULTS if operation == "GetRecords" else FAULTS[:2])(operation, resource)

        def refuse(_: Message) -> Refused | None:
            return Refused("InternalError", "", sender_fault=False) if troubled and rng.random() < 0.3 else None

        desk.stream.before = fail
        desk.queue.refuse = refuse
        parts = 0
        left: Mapping[str, Left] = {}
        while True:
            parts += 1
            more = len(desk.received) + rng.randrange(1, 20)
            stop_when = partial(lambda more: len(desk.queue.messages) >= more, more)
            ended = await desk.send(span, stop_when=stop_when, rate=rng.choice([None, 20.0, 3.0]), left=left)
            assert ended.progress.lost == []
            if ended.outcome == "sent":
                break
            assert ended.outcome == "interrupted", ended.why
            order = through_a_file(desk, ended)
            span, left = order.span, order.left
        event(f"{min(parts, 4)} parts, {min(len(desk.shards), 5)} shards")
        assert sorted(desk.received) == sorted(expected)
        assert in_order(desk.received)

    run(story)
