"""A stream, a queue and replays before them in memory, on virtual time: what tests of spans are told with."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from poller.aws.session import Aws
from poller.decide.filter import DEFAULT_PATTERN, compile_filter
from poller.decide.span import Span
from poller.model import TRIM_HORIZON, Position, ViewType
from poller.operate.account import Left
from poller.operate.replay import Count, Ended, Replay, Target
from poller.operate.stream import Manners, StreamSite
from poller.operate.wanted import Wanted, key_filter
from poller.settings import load
from poller.startup import World
from tests.memory.queue import MemoryQueue
from tests.memory.streams import MemoryStream, MemoryTables
from tests.rig import COMPLETE, TABLE
from tests.virtual import VirtualClock

SETTINGS = {"POLLER_TABLE": TABLE, "POLLER_QUEUE": "jobs", "POLLER_ROUTE__MAX_ATTEMPTS": "3"}


class Desk:
    """Where somebody sits who replays the stream of one table. `told`: what was said meanwhile."""

    def __init__(self, clock: VirtualClock, queue: str = "jobs", **settings: str) -> None:
        self.clock = clock
        self.table = MemoryTables(clock).create(TABLE, ViewType.NEW_IMAGE)
        self.queue = MemoryQueue(queue, clock)
        self.settings = load({**SETTINGS, **settings}, None)
        self.told: list[str] = []
        self.patterns: Sequence[object] = (DEFAULT_PATTERN,)

    @property
    def stream(self) -> MemoryStream:
        return self.table.stream

    @property
    def shards(self) -> list[str]:
        return list(self.stream.shards.shards)

    def upload(self, item: str, revision: int = 1) -> str:
        """Two changes of an item, of which the second is wanted; its name."""
        for phase in ("CREATED", COMPLETE):
            self.table.put({"id": {"S": item}, "phase": {"S": phase}, "revision": {"N": str(revision)}})
        return f"{item}/{revision}"

    def span(self, start: Position | None = None, **fields: Any) -> Span:
        return Span(start or Position(TRIM_HORIZON), **{"until_s": float(int(self.clock.wall()) + 1), **fields})

    def replay(
        self,
        span: Span | None = None,
        *,
        patience_s: float = 30.0,
        keys: Sequence[tuple[str, str]] = (),
        left: Mapping[str, Left] | None = None,
    ) -> Replay:
        clock = self.clock
        surroundings = World(clock, lambda _: None, random.Random(1))
        site = StreamSite(self.settings, cast("Aws", None), self.stream.info, self.stream, clock.wall(), surroundings)
        wanted = Wanted(compile_filter(self.patterns), key_filter(keys))
        target = Target(self.settings.routes[0], wanted, self.queue)
        return Replay(
            site,
            span or self.span(),
            [target],
            manners=Manners(20.0, patience_s),
            say=self.told.append,
            left=left or {},
        )

    async def count(self, span: Span | None = None) -> Count:
        return await self.replay(span).count(lambda _: None)

    async def send(
        self,
        span: Span | None = None,
        *,
        stop_when: Callable[[], bool] = lambda: False,
        fresh: str | None = None,
        rate: float | None = None,
        **how: Any,
    ) -> Ended:
        """One part of a replay, stopped as by Ctrl-C once the condition holds."""
        stop = asyncio.Event()

        async def watch() -> None:
            while not stop_when():  # noqa: ASYNC110 - on virtual time a look costs nothing
                await asyncio.sleep(0.01)
            stop.set()

        watching = asyncio.create_task(watch())
        try:
            return await self.replay(span, **how).send(stop, lambda progress, rest: None, rate=rate, fresh=fresh)
        finally:
            watching.cancel()

    @property
    def received(self) -> list[str]:
        images = (json.loads(message.body)["dynamodb"]["NewImage"] for message in self.queue.messages)
        return [f"{image['id']['S']}/{image['revision']['N']}" for image in images]


def in_order(received: Sequence[str]) -> bool:
    """Did the changes of every item come in their order?"""
    last: dict[str, int] = {}
    for name in received:
        item, _, revision = name.partition("/")
        if int(revision) <= last.get(item, 0):
            return False
        last[item] = int(revision)
    return True
