"""`poller tap`: records as they pass, and what the filters say to each."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poller.cli.parameters import Duration, config_option, requests_per_second_option
from poller.cli.replay import Place, say_reader

if TYPE_CHECKING:
    from poller.operate.stream import StreamSite
    from poller.operate.tap import Passed, Tap
    from poller.settings import Settings


@click.command(short_help="Show records as they pass, and what the filters say to each.")
@config_option
@click.option("--matched", is_flag=True, help="Only records that some route wants.")
@click.option(
    "--dropped", is_flag=True, help="Only records that no route wants, with the reason that the filter gives."
)
@click.option("--route", "routes", multiple=True, metavar="NAME", help="Only this route; all of them without it.")
@click.option("--images", is_flag=True, help="The items' images too, and what was found; without it only the keys.")
@click.option("--shard", "shards", multiple=True, metavar="SHARD", help="Only this shard; several times for several.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="End after N records.")
@click.option(
    "--from",
    "start",
    type=Place(),
    default="LATEST",
    show_default=True,
    metavar="PLACE",
    help="From LATEST, TRIM_HORIZON, a time, or the record with this sequence number.",
)
@requests_per_second_option
@click.option(
    "--patience",
    "patience_s",
    type=Duration("0s", "1h"),
    default=60.0,
    show_default="1m",
    metavar="1m",
    help="How long the stream may fail before this is given up.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document a record and line.")
def command(*, config: Path | None, **given: Any) -> int:
    """Shows records as they pass, with what each route's filter says to them, until Ctrl-C. It sends nothing.

    Of items only the keys are shown, and of a filter the path that failed and what it wanted there; --images shows the
    images, and what was found instead. Shards are followed over roll-overs.

    A shard allows two readers at a time. This is one of them, as each worker of the daemon is, so that there is no room
    for a third. It reads by itself, and may be some records before or behind the daemon.

    \b
      poller tap --matched
      poller tap --dropped --limit 20
      poller tap --from 2026-11-23T08:00:00Z --images --json | jq .new_image.phase
    """
    from poller.settings import load  # noqa: PLC0415 - pydantic, which --help need not wait for

    return _Command(load(os.environ, config), given).run()


class _Command:
    def __init__(self, settings: Settings, given: dict[str, Any]) -> None:
        self._settings = settings
        self._given = given
        self._short = sys.stdout.isatty()
        self._tap: Tap | None = None

    def run(self) -> int:
        import asyncio  # noqa: PLC0415

        from poller.operate.replay_plan import routes_of  # noqa: PLC0415
        from poller.operate.tap import Enough  # noqa: PLC0415

        routes_of(self._settings, self._given["routes"])
        try:
            asyncio.run(self._open())
            click.echo("poller: the stream has ended: no shard follows those that were read", err=True)
        except (Enough, KeyboardInterrupt):
            pass
        except BrokenPipeError:
            # Whoever read this has what they wanted. What Python would still flush at its end goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if self._tap is not None:
            click.echo(
                f"poller: {self._tap.read:,} read, {self._tap.matched:,} matched,"
                f" {self._tap.read - self._tap.matched:,} dropped, {self._tap.shown:,} shown",
                err=True,
            )
        return 0

    async def _open(self) -> None:
        from poller.operate.stream import open_stream  # noqa: PLC0415 - boto3
        from poller.run.clock import SystemClock  # noqa: PLC0415

        async with open_stream(self._settings, SystemClock()) as site:
            await self._read(site)

    async def _read(self, site: StreamSite) -> None:
        from poller.decide.pacing import PacingLimits  # noqa: PLC0415
        from poller.events import Event  # noqa: PLC0415
        from poller.filters import compile_filters  # noqa: PLC0415
        from poller.operate.replay import told  # noqa: PLC0415
        from poller.operate.replay_plan import routes_of  # noqa: PLC0415
        from poller.operate.spans import Wish, span_of, start_of  # noqa: PLC0415
        from poller.operate.stream import Manners  # noqa: PLC0415
        from poller.operate.tally import Counted  # noqa: PLC0415
        from poller.operate.tap import Tap  # noqa: PLC0415
        from poller.run.sift import Sifter  # noqa: PLC0415
        from poller.run.span import list_shards  # noqa: PLC0415

        given, settings = self._given, self._settings
        manners = Manners(given["requests_per_second"], given["patience_s"])
        say_reader(site.stream.table, manners)
        names = routes_of(settings, given["routes"])
        filters = zip((route.name for route in settings.routes), compile_filters(settings), strict=True)
        routes = [(name, compiled) for name, compiled in filters if name in names]
        wish = Wish(given["start"], shards=given["shards"])
        shards = await list_shards(site.source, site.describe_limiter(), site.clock, manners.patience_s)
        span = await span_of(
            wish, start_of(wish, site.now_s), None, shards=shards, source=site.source, clock=site.clock
        )
        both = given["matched"] == given["dropped"]
        self._tap = tap = Tap(
            Sifter([compiled for _, compiled in routes]),
            routes,
            self._show,
            matched=both or given["matched"],
            dropped=both or given["dropped"],
            limit=given["limit"],
        )
        already: set[str] = set()

        def note(event: Event) -> None:
            if text := told(event, already):
                click.echo(f"poller: {text}", err=True)

        pacing = PacingLimits(settings.polling.idle_min_s, settings.polling.idle_max_s, settings.polling.page_limit)
        reader = site.reader(
            span, tap, [Counted(name) for name, _ in routes], pacing=pacing, manners=manners, emit=note
        )
        await reader.run()

    def _show(self, passed: Passed) -> None:
        from poller.operate.tap import as_json, as_line  # noqa: PLC0415

        images = self._given["images"]
        line = (
            as_json(passed, images=images)
            if self._given["as_json"]
            else as_line(passed, short=self._short, images=images)
        )
        click.echo(line)
