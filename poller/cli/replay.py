"""`poller replay`: a span of the stream is sent again, without touching the leases."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from poller.cli.parameters import Duration, config_option, requests_per_second_option

if TYPE_CHECKING:
    import asyncio

    from poller.model import Position, QueueInfo
    from poller.operate.order import Order
    from poller.operate.replay import Ended, Target
    from poller.operate.stream import Manners, StreamSite
    from poller.operate.tally import Tally
    from poller.settings import Settings

T = TypeVar("T")

# What a state file says already.
_OF_THE_ORDER = {
    "since_s": "--since",
    "start": "--from",
    "until": "--until",
    "shards": "--shard",
    "keys": "--key",
    "routes": "--route",
    "queue": "--queue",
    "filters": "--filter",
    "fresh": "--fresh-ids",
}
_WRITE_STATE_EVERY_S = 5.0


class Place(click.ParamType["Position"]):
    """Where a span begins."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Position:
        from poller.operate.spans import read_from  # noqa: PLC0415 - pydantic, which --help need not wait for

        try:
            return read_from(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


class Time(click.ParamType["Position"]):
    """An instant."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Position:
        from poller.settings.values import read_start_position  # noqa: PLC0415

        try:
            position = read_start_position(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        if position.timestamp_ms is None:
            self.fail(f"{value!r}: must be a time such as 2026-11-23T08:00:00Z", param, ctx)
        return position


class Key(click.ParamType[tuple[str, str]]):
    """One key attribute of an item."""

    name = "key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        from poller.operate.wanted import read_key  # noqa: PLC0415

        try:
            return read_key(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


@click.command(short_help="Send a span of the stream again, without touching the leases.")
@config_option
@click.option(
    "--since", "since_s", type=Duration("1s", "7d"), metavar="2h", help="From so long ago; the stream keeps 24 hours."
)
@click.option(
    "--from",
    "start",
    type=Place(),
    metavar="PLACE",
    help="From TRIM_HORIZON, a time such as 2026-11-23T08:00:00Z, or the record with this sequence number.",
)
@click.option("--until", type=Time(), metavar="TIME", help="What was created before this time; now without it.")
@click.option("--shard", "shards", multiple=True, metavar="SHARD", help="Only this shard; several times for several.")
@click.option(
    "--key",
    "keys",
    type=Key(),
    multiple=True,
    metavar="NAME=VALUE",
    help="Only the item with this key; twice for a key of two attributes.",
)
@click.option("--route", "routes", multiple=True, metavar="NAME", help="Only this route; all of them without it.")
@click.option("--queue", metavar="QUEUE", help="To this queue (name or URL) instead of the route's.")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="JSON",
    help="This pattern instead of the route's filter; of several, one must match. {}: every record.",
)
@click.option(
    "--rate", type=click.FloatRange(0.01, 100_000), metavar="N", help="At most N messages a second and route."
)
@requests_per_second_option
@click.option(
    "--patience",
    "patience_s",
    type=Duration("0s", "1h"),
    default=60.0,
    show_default="1m",
    metavar="1m",
    help="How long a stream or queue may fail before the replay is given up, to be resumed.",
)
@click.option("--fresh-ids", "fresh", is_flag=True, help="Other deduplication ids than the daemon's, for FIFO queues.")
@click.option("--dry-run", is_flag=True, help="Count, and send nothing.")
@click.option("--yes", is_flag=True, help="Do not count and ask before: send.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep in this file what is left, at least every 5 s.  [default: a new file here when stopped]",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Go on with a replay that was stopped; the file becomes --state.",
)
@click.option("--json", "as_json", is_flag=True, help="As one JSON document.")
@click.pass_context
def command(ctx: click.Context, /, *, config: Path | None, as_json: bool, **given: Any) -> int:
    """Reads a span of the stream again and sends what matches once more, beside the daemon and without its leases.

    It counts first, by event, by the values that the filter looks for and by route, and asks before it sends. Messages
    are exactly those of the daemon, with the same group and deduplication ids: a FIFO queue drops what it has had
    within five minutes, unless --fresh-ids. Shards are followed over roll-overs, parents before children, so that the
    changes of one item keep their order. What a queue refuses is tried again as often as the route's max_attempts; what
    cannot be sent is listed.

    A shard allows two readers at a time. This is one of them, as each worker of the daemon is, so that there is no room
    for a third.

    Ctrl-C stops it in order: what is on its way arrives, and what is left is written to a file for --resume.

    Exit code 0: all is sent, or counted; 1: stopped, declined, given up, or something could not be sent.

    \b
      poller replay --since 2h --dry-run
      poller replay --from 2026-11-23T08:00:00Z --until 2026-11-23T09:00:00Z
      poller replay --since 30m --key orderId=4711 --queue orders-debug --filter '{}'
      poller replay --from TRIM_HORIZON --route default --rate 50 --yes
      poller replay --resume poller-replay-20261123-080000.json
    """
    _check_together(ctx, given)
    if not (given["yes"] or given["dry_run"] or sys.stdin.isatty()):
        raise click.UsageError("nobody is there to be asked; say --yes, or --dry-run.")
    from poller.settings import load  # noqa: PLC0415

    settings = load(os.environ, config)
    return _Command(settings, given, as_json=as_json).run()


def _check_together(ctx: click.Context, given: dict[str, Any]) -> None:
    named = [
        option
        for name, option in _OF_THE_ORDER.items()
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given["resume"] is not None:
        if named:
            raise click.UsageError(f"{named[0]} goes without --resume: the file says what is to be sent.")
        if given["state"] is not None:
            raise click.UsageError("--state goes without --resume, whose file it is then.")
        return
    if (given["since_s"] is None) == (given["start"] is None):
        raise click.UsageError("say from where: either --since or --from, or --resume.")
    if given["start"] is not None and given["start"].kind == "LATEST":
        raise click.UsageError("--from LATEST: nothing has come after it; `poller tap` shows what does.")
    if given["dry_run"] and given["yes"]:
        raise click.UsageError("--dry-run sends nothing; --yes goes without it.")


class _Command:
    """One replay as it was typed."""

    def __init__(self, settings: Settings, given: dict[str, Any], *, as_json: bool) -> None:
        from poller.operate.stream import Manners  # noqa: PLC0415

        self._settings = settings
        self._given = given
        self._as_json = as_json
        self._manners: Manners = Manners(given["requests_per_second"], given["patience_s"])
        self._order: Order | None = None
        self._state: Path | None = given["resume"] or given["state"]

    def run(self) -> int:
        from poller.operate import replay_words  # noqa: PLC0415

        self._prepare()
        document: dict[str, Any] = {}
        if not self._given["yes"]:
            order, tally, queues, shards, warnings = self._within(self._count)
            self._order = order
            document = replay_words.plan_document(order, tally, queues) | {"warnings": warnings}
            for line in replay_words.plan(order, tally, queues, shards):
                self._tell(line)
            for line in warnings:
                self._tell(f"note: {line}")
            if self._given["dry_run"] or not sum(tally.routes):
                if not self._given["dry_run"]:
                    self._tell("there is nothing to send")
                return self._end(0, document | {"outcome": "counted"})
            # It is asked between two event loops: one that runs would keep Ctrl-C to itself until there is an answer.
            if not click.confirm(f"Send {sum(tally.routes):,}?", default=False, err=self._as_json):
                click.echo("poller: nothing was sent", err=True)
                return self._end(1, document | {"outcome": "declined"})
            self._total = sum(tally.routes)
        result, order, targets = self._within(self._send)
        state = self._keep(result, order)
        if not document:
            document = replay_words.plan_document(order, None, [target.queue.info for target in targets])
        for line in replay_words.ended(result, targets, state):
            self._tell(line)
        bad = result.outcome != "sent" or result.progress.unsent or result.progress.lost
        return self._end(int(bool(bad)), document | replay_words.ended_document(result, order.sent, state))

    _total: int | None = None

    def _prepare(self) -> None:
        """What can be told to be wrong before anything is asked of AWS."""
        from poller.decide.succession import table_name_of  # noqa: PLC0415
        from poller.errors import ConfigurationError  # noqa: PLC0415
        from poller.operate.order import read_order  # noqa: PLC0415
        from poller.operate.replay_plan import routes_of  # noqa: PLC0415
        from poller.operate.wanted import other_filter  # noqa: PLC0415

        if self._given["resume"] is not None:
            self._order = read_order(self._given["resume"])
            table = table_name_of(self._order.stream_arn)
            if table != self._settings.stream.table_name:
                problem = f"of the stream of {table}, and the settings name {self._settings.stream.table_name}"
                raise ConfigurationError(f"--resume {self._given['resume']}: {problem}")
        elif self._state is not None and self._state.exists():
            raise ConfigurationError(f"--state {self._state}: exists; go on with it by --resume, or name another file")
        elif self._state is not None and not os.access(self._state.absolute().parent, os.W_OK):
            # Told before anything is sent: it was asked for lest the replay be killed.
            raise ConfigurationError(f"--state {self._state}: its folder is not there, or may not be written to")
        names = routes_of(self._settings, self._given["routes"] if self._order is None else self._order.routes)
        if self._given["filters"]:
            other_filter(self._given["filters"])
        if self._given["queue"] is not None and len(names) > 1:
            raise click.UsageError(f"--queue: for which route? Name one with --route; there are: {', '.join(names)}.")

    async def _ordered(self, site: StreamSite) -> Order:
        if self._order is None:
            from poller.operate.replay_plan import Asked, order_of  # noqa: PLC0415
            from poller.operate.spans import Wish  # noqa: PLC0415

            given = self._given
            wish = Wish(given["start"], given["since_s"], given["until"], given["shards"])
            asked = Asked(wish, given["routes"], given["queue"], given["filters"], given["keys"], given["fresh"])
            self._order = await order_of(site, asked, self._manners)
        return self._order

    async def _count(self, site: StreamSite) -> tuple[Order, Tally, list[QueueInfo], int, list[str]]:
        from poller.cli.bars import Bar  # noqa: PLC0415
        from poller.operate.replay import Replay  # noqa: PLC0415
        from poller.operate.replay_plan import targets_of, warnings_of  # noqa: PLC0415

        order = await self._ordered(site)
        targets = await targets_of(site, order)
        with Bar("counting", "records") as bar:
            replay = Replay(site, order.span, targets, manners=self._manners, say=bar.say, left=order.left)
            counted = await replay.count(lambda progress: bar.show(progress.part, progress.records))
        queues = [target.queue.info for target in targets]
        return order, counted.tally, queues, counted.shards, list(warnings_of(order, queues, site.now_s))

    async def _send(self, site: StreamSite) -> tuple[Ended, Order, tuple[Target, ...]]:
        import asyncio  # noqa: PLC0415

        from poller.cli.bars import Bar  # noqa: PLC0415
        from poller.operate.replay import Replay  # noqa: PLC0415
        from poller.operate.replay_plan import targets_of  # noqa: PLC0415

        order = await self._ordered(site)
        targets = await targets_of(site, order)
        stop = asyncio.Event()
        _on_signals(stop)
        written_at = time.monotonic()
        with Bar("sending", "messages", self._total) as bar:

            def look(progress: Any, rest: Any) -> None:
                nonlocal written_at
                bar.show(progress.part, sum(progress.sent.values()) + progress.unsent)
                if self._state is not None and time.monotonic() - written_at >= _WRITE_STATE_EVERY_S:
                    self._write(self._state, order.broken_off(rest(), progress.sent))
                    written_at = time.monotonic()

            replay = Replay(site, order.span, targets, manners=self._manners, say=bar.say, left=order.left)
            result = await replay.send(stop, look, rate=self._given["rate"], fresh=order.fresh)
        return result, order, targets

    def _keep(self, result: Ended, order: Order) -> str | None:
        """Writes what is left to the state file, or removes it when nothing is; its name."""
        if result.outcome == "sent":
            if self._state is not None:
                self._state.unlink(missing_ok=True)
            return None
        path = self._state or Path(time.strftime("poller-replay-%Y%m%d-%H%M%S.json", time.gmtime()))
        return str(path) if self._write(path, order.broken_off(result.rest, result.progress.sent)) else None

    def _write(self, path: Path, order: Order) -> bool:
        """A state that cannot be kept must not end the sending; it is said."""
        from poller.errors import PollerError  # noqa: PLC0415
        from poller.operate.order import write_order  # noqa: PLC0415

        try:
            write_order(path, order)
        except PollerError as error:
            click.echo(f"poller: {error}", err=True)
            return False
        return True

    def _within(self, work: Callable[[StreamSite], Awaitable[T]]) -> T:
        import asyncio  # noqa: PLC0415 - as is boto3, which --help need not wait for

        from poller.operate.stream import open_stream  # noqa: PLC0415
        from poller.run.clock import SystemClock  # noqa: PLC0415

        async def run() -> T:
            stream_arn = None if self._order is None else self._order.stream_arn
            async with open_stream(self._settings, SystemClock(), stream_arn) as site:
                say_reader(site.stream.table, self._manners)
                return await work(site)

        return asyncio.run(run())

    def _tell(self, line: str) -> None:
        click.echo(line, err=self._as_json)

    def _end(self, code: int, document: dict[str, Any]) -> int:
        if self._as_json:
            import json  # noqa: PLC0415

            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return code


def say_reader(table: str, manners: Manners) -> None:
    """Whoever reads beside the daemon says so."""
    click.echo(
        f"poller: reads {table}'s stream beside the daemon: a shard allows two readers at a time, and this is one of"
        f" them, with at most {manners.requests_per_second:g} requests a second and shard",
        err=True,
    )


def _on_signals(stop: asyncio.Event) -> None:
    """The first signal stops in order, a second one at once."""
    import asyncio  # noqa: PLC0415
    import signal  # noqa: PLC0415
    import threading  # noqa: PLC0415

    if threading.current_thread() is not threading.main_thread():
        return  # no signals come here

    loop = asyncio.get_running_loop()

    def stopped() -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped)
