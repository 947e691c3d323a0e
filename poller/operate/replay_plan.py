"""From what was typed to what a replay does: its order, the routes' queues and filters, and what should be known."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from poller.aws.sqs import BotoQueue, WrongQueue, check_account, find_queue
from poller.decide.span import Span
from poller.errors import ConfigurationError, NotFound
from poller.filters import compile_filters
from poller.model import QueueInfo
from poller.operate.order import Order
from poller.operate.replay import Target
from poller.operate.spans import Wish, check_order, older_than_kept, span_of, start_of, until_of
from poller.operate.stream import Manners, StreamSite
from poller.operate.wanted import Wanted, key_filter, other_filter
from poller.run.span import list_shards
from poller.settings import RouteSettings, Settings
from poller.startup import find_route_queue


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed about a new replay."""

    wish: Wish
    routes: tuple[str, ...] = ()
    queue: str | None = None
    filters: tuple[str, ...] = ()
    keys: tuple[tuple[str, str], ...] = ()
    fresh: bool = False


def routes_of(settings: Settings, names: Sequence[str]) -> tuple[str, ...]:
    """The routes that are meant, all without a name. ConfigurationError: there is no such route."""
    known = [route.name for route in settings.routes]
    for name in names:
        if name not in known:
            raise ConfigurationError(f"--route {name}: there is no such route; there are: {', '.join(known)}")
    return tuple(name for name in known if not names or name in names)


async def order_of(site: StreamSite, asked: Asked, manners: Manners) -> Order:
    """The span and the rest of the order, fixed from here on. ConfigurationError, PollerError: it cannot be done."""
    start, until_s = start_of(asked.wish, site.now_s), until_of(asked.wish, site.now_s)
    check_order(start, until_s)
    span: Span = Span(start, until_s)
    if asked.wish.shards or start.sequence_number is not None:
        shards = await list_shards(site.source, site.describe_limiter(), site.clock, manners.patience_s)
        span = await span_of(asked.wish, start, until_s, shards=shards, source=site.source, clock=site.clock)
    return Order(
        stream_arn=site.stream.arn,
        span=span,
        routes=routes_of(site.settings, asked.routes),
        queue=asked.queue,
        filters=asked.filters,
        keys=asked.keys,
        fresh=secrets.token_hex(8) if asked.fresh else None,
    )


async def targets_of(site: StreamSite, order: Order) -> tuple[Target, ...]:
    """The routes with their queues, as the daemon finds them. ConfigurationError: one of them is not there."""
    settings = site.settings
    routes_of(settings, order.routes)
    key = key_filter(order.keys)
    own = compile_filters(settings)
    other = other_filter(order.filters) if order.filters else None
    targets: list[Target] = []
    for index, route in enumerate(settings.routes):
        if route.name in order.routes:
            queue = await _queue(site, index, route, order.queue)
            targets.append(Target(route, Wanted(other or own[index], key), queue))
    return tuple(targets)


async def _queue(site: StreamSite, index: int, route: RouteSettings, other: str | None) -> BotoQueue:
    if other is None:
        return await find_route_queue(site.settings, site.aws, f"route.{index}.queue", route.queue)
    try:
        queue = await find_queue(site.aws, other)
        check_account(queue.info, site.stream.arn)
    except WrongQueue as error:
        raise ConfigurationError(f"--queue {other}: {error.problem}") from error
    except NotFound as error:
        raise ConfigurationError(f"--queue {other}: there is no such queue in {site.aws.region}") from error
    return queue


def warnings_of(order: Order, queues: Sequence[QueueInfo], now_s: float) -> Iterator[str]:
    """What whoever says yes should know."""
    yield (
        "the daemon goes on meanwhile: what is sent again may come after newer changes of the same items; among the"
        " replayed ones the order of an item's changes is kept"
    )
    fifo = sorted({queue.name for queue in queues if queue.fifo})
    if fifo and order.fresh is None:
        yield (
            f"{', '.join(fifo)} drops what it has had within the last five minutes, since the deduplication ids are the"
            " daemon's own (--fresh-ids sends with others)"
        )
    if older_than_kept(order.span.start, now_s):
        yield "the span begins more than 24 hours ago, longer than the stream keeps anything: all that is there is read"
