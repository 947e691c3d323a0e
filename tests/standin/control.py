"""`POST /_control`: the world's levers for another process, one small JSON command a request.

`{"do": "split", "table": "T", "shard": "shardId-..."}` is answered with `{"result": ...}`, or with status 400 and
`{"error": "..."}`. The client is `remote.Remote`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from poller.model import ViewType
from tests.standin.faults import Fault
from tests.standin.queues import Outage
from tests.standin.streams import AtTimestamp, Shard, Stream
from tests.standin.wire import Answer, json_answer
from tests.standin.world import World

Arguments = dict[str, Any]
_SWITCHES: Final = {
    "page_shards",
    "page_records",
    "page_bytes",
    "page_overlap",
    "iterator_age_s",
    "readers_max",
    "reader_window_s",
    "final_page_empty",
}


def answer(world: World, body: bytes) -> Answer:
    """Does what the body says."""
    try:
        arguments = msgspec.json.decode(body, type=Arguments)
        command = _COMMANDS[arguments.pop("do")]
        return json_answer({"result": command(world, arguments)})
    except (KeyError, TypeError, ValueError) as wrong:
        return json_answer({"error": repr(wrong)}, status=400)


def _stream(world: World, arguments: Arguments) -> Stream:
    """By `arn`, or the latest of `table`."""
    if "arn" in arguments:
        return world.streams[arguments["arn"]]
    stream = world.latest_stream(arguments["table"])
    if stream is None:
        raise KeyError(f"table {arguments['table']} has no stream")
    return stream


def _shard(world: World, arguments: Arguments) -> Shard:
    return _stream(world, arguments).shards[arguments["shard"]]


def _describe(stream: Stream) -> dict[str, Any]:
    return {"arn": stream.arn, "shards": list(stream.shards)}


# --- streams --------------------------------------------------------------------------------------------------------


def _make_stream(world: World, arguments: Arguments) -> Any:
    stream = world.stream(arguments["table"], ViewType(arguments.get("view_type", "NEW_IMAGE")))
    for _ in range(arguments.get("shards", 1)):
        stream.add_shard()
    return _describe(stream)


def _replace_stream(world: World, arguments: Arguments) -> Any:
    return _describe(world.replace_stream(arguments["table"]))


def _disable(world: World, arguments: Arguments) -> None:
    _stream(world, arguments).disable()


def _forget_stream(world: World, arguments: Arguments) -> None:
    world.forget_stream(_stream(world, arguments))


def _expire_iterators(world: World, arguments: Arguments) -> None:
    _stream(world, arguments).expire_iterators()


def _switch(world: World, arguments: Arguments) -> None:
    stream = _stream(world, arguments)
    for name, value in arguments["switches"].items():
        if name == "at_timestamp":
            stream.at_timestamp = AtTimestamp(value)
        elif name in _SWITCHES:
            setattr(stream, name, value)
        else:
            raise KeyError(f"a stream has no switch {name}")


def _put(world: World, arguments: Arguments) -> Any:
    shard = _shard(world, arguments)
    stored = [shard.put(one.pop("key"), one.pop("event_name", "MODIFY"), **one) for one in arguments["records"]]
    return [{"sequence_number": one.sequence_number, "event_id": one.event_id} for one in stored]


def _fill(world: World, arguments: Arguments) -> None:
    names = ("match_every", "image_bytes", "first")
    given = {name: arguments[name] for name in names if name in arguments}
    _shard(world, arguments).fill(arguments["count"], **given)


def _close(world: World, arguments: Arguments) -> None:
    _shard(world, arguments).close()


def _split(world: World, arguments: Arguments) -> Any:
    return [child.shard_id for child in _stream(world, arguments).split(_shard(world, arguments))]


def _roll(world: World, arguments: Arguments) -> Any:
    return _stream(world, arguments).roll(_shard(world, arguments)).shard_id


def _hide(world: World, arguments: Arguments) -> None:
    _shard(world, arguments).hide(arguments.get("listings"))


def _show(world: World, arguments: Arguments) -> None:
    _shard(world, arguments).show()


def _vanish(world: World, arguments: Arguments) -> None:
    _shard(world, arguments).vanish()


def _trim(world: World, arguments: Arguments) -> Any:
    return _shard(world, arguments).trim(arguments.get("before"))


def _empty_pages(world: World, arguments: Arguments) -> None:
    _shard(world, arguments).empty_pages = arguments["count"]


# --- queues and rows ------------------------------------------------------------------------------------------------


def _make_queue(world: World, arguments: Arguments) -> Any:
    queue = world.queue(arguments["queue"], arguments.get("attributes"))
    queue.discard = arguments.get("discard", queue.discard)
    return world.queue_url(queue.name)


def _queue_down(world: World, arguments: Arguments) -> None:
    world.queues[arguments["queue"]].down(Outage(arguments.get("outage", "unavailable")))


def _queue_up(world: World, arguments: Arguments) -> None:
    world.queues[arguments["queue"]].up()


def _refuse(world: World, arguments: Arguments) -> None:
    world.queues[arguments.pop("queue")].refuse(**arguments)


def _accept(world: World, arguments: Arguments) -> None:
    world.queues[arguments["queue"]].refusals.clear()


def _arrived(world: World, arguments: Arguments) -> Any:
    arrived = world.queues[arguments["queue"]].arrived
    since = arguments.get("since", 0)
    return [dataclasses.asdict(arrival) for arrival in arrived[since : since + arguments.get("limit", 10_000)]]


def _rows(world: World, arguments: Arguments) -> Any:
    table = world.tables.get(arguments["table"])
    return table.items if table else {}


def _keep_journal(world: World, arguments: Arguments) -> None:
    world.keep_journal(arguments["table"])


def _journal(world: World, arguments: Arguments) -> Any:
    since = arguments.get("since", 0)
    page = world.journals[arguments["table"]][since : since + arguments.get("limit", 10_000)]
    return [dataclasses.asdict(written) for written in page]


def _put_row(world: World, arguments: Arguments) -> None:
    table = world.table(arguments["table"])
    table.items[arguments["item"][table.key_attribute]["S"]] = arguments["item"]


def _delete_row(world: World, arguments: Arguments) -> None:
    world.tables[arguments["table"]].items.pop(arguments["key"])


def _delete_table(world: World, arguments: Arguments) -> None:
    del world.tables[arguments["table"]]


# --- the world ------------------------------------------------------------------------------------------------------


def _fault(world: World, arguments: Arguments) -> None:
    world.faults.add(msgspec.convert(arguments["fault"], Fault))


def _clear_faults(world: World, arguments: Arguments) -> None:
    world.faults.clear()


def _limit(world: World, arguments: Arguments) -> None:
    world.rates.limit(arguments["operation"], arguments["per_second"])


def _advance(world: World, arguments: Arguments) -> None:
    world.clock.advance(arguments["seconds"])


def _drop_connections(world: World, arguments: Arguments) -> None:
    world.http.drop_connections()


def _calls(world: World, arguments: Arguments) -> Any:
    calls = world.calls.of(arguments["operation"])[-arguments.get("last", 10_000) :]
    return [dataclasses.asdict(call) | {"subject": call.subject._asdict()} for call in calls]


def _stats(world: World, arguments: Arguments) -> Any:
    return {
        "cpu_s": time.process_time(),
        "connections": len(world.http.connections),
        "calls": world.calls.counts(),
        "taken": {queue.name: queue.taken for queue in world.queues.values()},
    }


_COMMANDS: Final[dict[str, Callable[[World, Arguments], Any]]] = {
    "stream": _make_stream,
    "replace_stream": _replace_stream,
    "disable": _disable,
    "forget_stream": _forget_stream,
    "expire_iterators": _expire_iterators,
    "switch": _switch,
    "put": _put,
    "fill": _fill,
    "close": _close,
    "split": _split,
    "roll": _roll,
    "hide": _hide,
    "show": _show,
    "vanish": _vanish,
    "trim": _trim,
    "empty_pages": _empty_pages,
    "queue": _make_queue,
    "queue_down": _queue_down,
    "queue_up": _queue_up,
    "refuse": _refuse,
    "accept": _accept,
    "arrived": _arrived,
    "rows": _rows,
    "keep_journal": _keep_journal,
    "journal": _journal,
    "put_row": _put_row,
    "delete_row": _delete_row,
    "delete_table": _delete_table,
    "fault": _fault,
    "clear_faults": _clear_faults,
    "limit": _limit,
    "advance": _advance,
    "drop_connections": _drop_connections,
    "calls": _calls,
    "stats": _stats,
}
