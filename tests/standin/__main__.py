"""The stand-in as a process of its own: prints `{"url": "..."}` once it listens, ends at SIGTERM or SIGINT.

`python -m tests.standin --port 0 --backlog 4:25000 --match-percent 1 --queue analysis`
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
from importlib.util import find_spec

from tests.standin.server import StandIn
from tests.standin.world import World


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.standin", description="A stand-in for AWS.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--table", default="AnalysisMetadataTable", help="the table of the backlog")
    parser.add_argument("--backlog", metavar="SHARDS:RECORDS", help="so many shards, each with so many records")
    parser.add_argument("--match-percent", type=float, default=1.0, help="of the backlog, evenly spread")
    parser.add_argument("--image-bytes", type=int, default=600, help="size of a new image")
    parser.add_argument("--close", action="store_true", help="close the backlog's shards")
    parser.add_argument("--queue", action="append", default=[], metavar="NAME", help="make a queue; may be repeated")
    parser.add_argument("--discard", action="store_true", help="queues count messages and keep none")
    parser.add_argument("--calls-kept", type=int, default=100_000)
    return parser.parse_args()


def prepare(world: World, options: argparse.Namespace) -> None:
    """Makes the queues and the backlog."""
    for name in options.queue:
        world.queue(name).discard = options.discard
    if options.backlog is None:
        return
    shards, records = (int(part) for part in options.backlog.split(":"))
    match_every = round(100 / options.match_percent) if options.match_percent else 0
    stream = world.stream(options.table)
    for number in range(shards):
        shard = stream.add_shard()
        shard.fill(records, match_every=match_every, image_bytes=options.image_bytes, first=number * records)
        if options.close:
            shard.close()


async def serve(options: argparse.Namespace) -> None:
    standin = StandIn(host=options.host, port=options.port, region=options.region, calls_kept=options.calls_kept)
    prepare(standin.world, options)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with standin as world:
        print(json.dumps({"url": world.url}), flush=True)
        await stop.wait()


def main() -> None:
    # Records and messages are many, never go and are in no cycles: looking through them again and again is what the
    # garbage collector would spend most of this process's time on.
    gc.set_threshold(1_000_000)
    if find_spec("uvloop") is not None:
        import uvloop

        uvloop.run(serve(arguments()))
    else:
        asyncio.run(serve(arguments()))


if __name__ == "__main__":
    main()
