"""What `dead-letters` and `redrive` stand on: the settings' clients and dead-letter queues, opened and closed again."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from poller.aws.letter_box import BotoLetterBox
from poller.aws.s3 import BotoLetterStore
from poller.aws.session import Aws
from poller.aws.streams import BotoStreamSource
from poller.operate.originals import Originals
from poller.operate.redrive import Target
from poller.run.message import MessageBuilder
from poller.run.ports import Clock
from poller.settings import Settings
from poller.startup import World, find_route_queue, open_aws


@dataclass(frozen=True, slots=True)
class RouteBox:
    """A dead-letter queue, and the names of the routes whose letters go there."""

    box: BotoLetterBox
    routes: tuple[str, ...]

    @property
    def only_route(self) -> str | None:
        return self.routes[0] if len(self.routes) == 1 else None


@dataclass(frozen=True, slots=True)
class LetterSite:
    """The dead-letter queues of the settings' routes."""

    settings: Settings
    aws: Aws
    clock: Clock
    rng: random.Random

    async def boxes(self, routes: Collection[str]) -> list[RouteBox]:
        """Those of the routes of these names, or of all. ConfigurationError: there is no such queue, or none at all."""
        found: dict[str, tuple[BotoLetterBox, list[str]]] = {}
        for index, route in enumerate(self.settings.routes):
            if route.dead_letter_queue is None:
                continue
            setting = f"route.{index}.dead_letter_queue"
            info = (await find_route_queue(self.settings, self.aws, setting, route.dead_letter_queue)).info
            box = BotoLetterBox(self.aws, info, self.settings.aws.request_timeout_s)
            found.setdefault(info.arn, (box, []))[1].append(route.name)
        boxes = [RouteBox(box, tuple(names)) for box, names in found.values()]
        if routes:
            boxes = [box for box in boxes if set(box.routes) & set(routes)]
        if not boxes:
            index = next((i for i, route in enumerate(self.settings.routes) if route.name in routes), 0)
            problem = "not set; the route has no dead-letter queue, and so no dead letters"
            raise self.settings.fault(f"route.{index}.dead_letter_queue", problem)
        return boxes

    async def targets(self, routes: Collection[str]) -> dict[str, Target]:
        """Where the letters of these routes go, or of all. ConfigurationError: there is no such queue."""
        targets = {}
        for index, route in enumerate(self.settings.routes):
            if routes and route.name not in routes:
                continue
            queue = await find_route_queue(self.settings, self.aws, f"route.{index}.queue", route.queue)
            builder = MessageBuilder(
                table=self.settings.stream.table_name,
                form=route.message,
                attributes=route.attributes,
                fifo=queue.info.fifo,
                group_by=route.group_by,
            )
            targets[route.name] = Target(queue, builder)
        return targets

    def originals(self) -> Originals:
        table = self.settings.stream.table_name
        buckets = {route.dead_letter_bucket for route in self.settings.routes if route.dead_letter_bucket}
        stores = {bucket: BotoLetterStore(self.aws, bucket) for bucket in buckets}
        return Originals(
            table,
            buckets,
            lambda bucket, key: stores[bucket].get(key),
            lambda arn: BotoStreamSource(self.aws, arn, table),
            clock=self.clock,
            rng=self.rng,
        )


@asynccontextmanager
async def open_letters(settings: Settings, clock: Clock) -> AsyncIterator[LetterSite]:
    """Opens the clients. PollerError: there is no AWS."""
    rng = random.Random()
    aws = await open_aws(settings, World(clock, lambda _: None, rng))
    try:
        yield LetterSite(settings, aws, clock, rng)
    finally:
        aws.close()
