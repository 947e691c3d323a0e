"""A replay in words and as a document: what it would do, and what came of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from poller.model import AT_SEQUENCE_NUMBER, Position, QueueInfo
from poller.operate.order import Order
from poller.operate.replay import Ended, Target
from poller.operate.tally import Tally, Value
from poller.operate.words import counted, utc

_LISTED_MAX = 20


def span(order: Order) -> str:
    """`from ... to ...`, and of which shards."""
    where, until_s = order.span, order.span.until_s or 0.0
    first = next(iter(where.places.values()), where.start)
    if first.kind == AT_SEQUENCE_NUMBER:
        since = f"from record {first.sequence_number}"
    elif where.start.timestamp_ms is not None:
        since = f"from {utc(where.start.timestamp_ms / 1000)}"
    else:
        since = "from the trim horizon"
    text = f"{since} to {utc(until_s)}"
    if where.roots is not None:
        text += f", {', '.join(sorted(where.roots))}" + (" and what follows" if where.descend else "")
    if where.finished:
        text += f"; done already: {counted(len(where.finished), 'shard')}"
    return text


def plan(order: Order, tally: Tally, queues: Sequence[QueueInfo], shards: int) -> Iterator[str]:
    """What was counted, line by line."""
    yield f"span     {span(order)}; {counted(shards, 'shard')}"
    records = f"{tally.records:,}"
    if tally.first_s is not None and tally.last_s is not None:
        records += f", created from {utc(tally.first_s)} to {utc(tally.last_s)}"
    yield f"records  {records}"
    known = sorted(tally.key_names)
    if unknown := [name for name, _ in order.keys if known and name not in known]:
        yield f"         none has the key attribute {', '.join(unknown)}: the key is {', '.join(known)}"
    events = {name: count for name, count in tally.events.items() if count}
    if events:
        yield f"events   {', '.join(f'{name} {count:,}' for name, count in sorted(events.items()))}"
    if tally.unreadable:
        yield f"         {counted(tally.unreadable, 'record')} cannot be understood, and cannot be sent"
    for name, values in tally.values():
        if values:
            yield ""
            yield from _table(name, values)
    yield ""
    for route, queue, count in zip(order.routes, queues, tally.routes, strict=True):
        yield f"route {route}: {counted(count, 'message')} to {queue.name}"


def _place(place: Position) -> str:
    if place.sequence_number is not None:
        return f"{'at' if place.kind == AT_SEQUENCE_NUMBER else 'after'} {place.sequence_number}"
    if place.timestamp_ms is not None:
        return f"nothing yet, from {utc(place.timestamp_ms / 1000)}"
    return "nothing yet, from the trim horizon"


def _table(name: str, values: Sequence[Value]) -> Iterator[str]:
    width = max(len(name), *(len(value.value) + 2 for value in values))
    yield f"{name:<{width}}  {'records':>11}  {'wanted':>11}"
    for value in values:
        yield f"{'  ' + value.value:<{width}}  {value.records:>11,}  {value.wanted:>11,}"


def ended(result: Ended, targets: Sequence[Target], state: str | None) -> Iterator[str]:
    """What came of it, for people; `state`: the file to go on with."""
    progress = result.progress
    for target in targets:
        sent = progress.sent[target.route.name]
        yield f"route {target.route.name}: {counted(sent, 'message')} sent to {target.queue.info.name}"
    if progress.unsent:
        yield f"{counted(progress.unsent, 'record')} could not be sent:"
        for one in progress.listed[:_LISTED_MAX]:
            where = f"{one.shard}/{one.sequence_number} ({one.event_id})"
            yield f"  {one.route}: {where}: {one.reason}: {one.code}: {one.text}"
        if progress.unsent > _LISTED_MAX:
            yield f"  and {progress.unsent - _LISTED_MAX:,} more; --json lists up to 1,000"
    if progress.lost:
        yield f"records of the span are gone from the stream in {counted(len(progress.lost), 'place')}"
    if result.outcome != "sent":
        yield "stopped" if result.outcome == "interrupted" else f"given up: {result.why}"
        for shard_id, place in sorted(result.rest.span.places.items()):
            yield f"  {shard_id}: {_place(place)}"
        if progress.waiting:
            yield f"  {counted(progress.waiting, 'message')} were read and not sent: they come first when it goes on"
    if state is not None:
        yield f"go on with: poller replay --resume {state}"


def plan_document(order: Order, tally: Tally | None, queues: Sequence[QueueInfo]) -> dict[str, Any]:
    """What is to be done; `tally` None: it was not counted."""
    where = order.span
    start = where.start
    document: dict[str, Any] = {
        "stream": order.stream_arn,
        "from": utc(start.timestamp_ms / 1000) if start.timestamp_ms is not None else start.kind,
        "until": utc(where.until_s or 0.0),
        "shards": None if where.roots is None else sorted(where.roots),
        "routes": [{"route": name, "queue": info.name} for name, info in zip(order.routes, queues, strict=True)],
        "counted": None,
    }
    if tally is not None:
        for row, count in zip(document["routes"], tally.routes, strict=True):
            row["wanted"] = count
        document["counted"] = {
            "records": tally.records,
            "unreadable": tally.unreadable,
            "events": dict(tally.events),
            "values": {name: [asdict(value) for value in values] for name, values in tally.values()},
        }
    return document


def ended_document(result: Ended, sent_before: Mapping[str, int], state: str | None) -> dict[str, Any]:
    """What came of it. `sent` counts this part, `sent_before` the parts before it."""
    progress = result.progress
    return {
        "outcome": result.outcome,
        "why": result.why or None,
        "records": progress.records,
        "sent": dict(progress.sent),
        "sent_before": dict(sent_before),
        "unsent": progress.unsent,
        "unsent_listed": [asdict(one) for one in progress.listed],
        "lost": progress.lost,
        "state": state,
    }
