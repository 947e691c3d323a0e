"""`poller cost`: what the daemon costs a month, and what it could cost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poller.cli.parameters import config_option

if TYPE_CHECKING:
    from poller.operate.cost import Estimate
    from poller.settings import Settings

_TIMEOUT_S = 10.0


@click.command(short_help="Say what it costs a month, and what another idle_max would save.")
@config_option
@click.option("--shards", type=click.IntRange(0), metavar="N", help="Reckon with so many shards; asks AWS nothing.")
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="And so many workers."
)
@click.option(
    "--url", "urls", multiple=True, metavar="URL", help="Where a daemon serves /metrics; once for each daemon."
)
@click.option("--json", "as_json", is_flag=True, help="As one JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    config: Path | None,
    shards: int | None,
    workers: int,
    urls: tuple[str, ...],
    as_json: bool,
) -> int:
    """Reckons what polling, lease table and queues cost, with the prices of the settings ([cost]).

    With --url it takes the rates that running daemons have measured in the last 15 minutes. Without, it reckons for
    a stream in which nothing happens: that is what it costs at least. Its shards are counted (DescribeStream), or
    given as --shards.

    \b
      poller cost
      poller cost --shards 64 --workers 3
      poller cost --url http://127.0.0.1:9464 --json
    """
    from poller.operate.cost import document, from_metrics, from_settings, lines  # noqa: PLC0415
    from poller.settings import load  # noqa: PLC0415
    from poller.startup import prices  # noqa: PLC0415

    _check_together(ctx, urls)
    settings = load(os.environ, config)
    estimate: Estimate
    if urls:
        from poller.cli.ask import get  # noqa: PLC0415

        pages = [get(url, "/metrics", _TIMEOUT_S)[1].decode(errors="replace") for url in urls]
        estimate = from_metrics(settings, prices(settings), pages)
    else:
        count = _count(settings) if shards is None else shards
        estimate = from_settings(settings, prices(settings), shards=count, workers=workers)
    if as_json:
        import json  # noqa: PLC0415

        click.echo(json.dumps(document(estimate, settings.cost.prices_from), indent=2))
    else:
        click.echo("\n".join(lines(estimate, settings.cost.prices_from)))
    return 0


def _check_together(ctx: click.Context, urls: tuple[str, ...]) -> None:
    from click.core import ParameterSource  # noqa: PLC0415

    for name in ("shards", "workers"):
        if urls and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} goes without --url, where it is measured.")


def _count(settings: Settings) -> int:
    """The stream's open shards: closed ones are read to their end and polled no more."""
    import asyncio  # noqa: PLC0415 - as is boto3, which --help need not wait for
    import random  # noqa: PLC0415

    from poller.aws.streams import BotoStreamSource  # noqa: PLC0415
    from poller.run.clock import SystemClock  # noqa: PLC0415
    from poller.startup import World, find_stream, open_aws  # noqa: PLC0415

    async def run() -> int:
        aws = await open_aws(settings, World(SystemClock(), lambda _: None, random.Random()))
        try:
            stream = await find_stream(settings, aws)
            source = BotoStreamSource(aws, stream.arn, stream.table)
            count, after = 0, None
            while True:
                page = await source.describe(after)
                count += sum(not shard.closed for shard in page.shards)
                after = page.last_shard_id
                if after is None:
                    return count
        finally:
            aws.close()

    return asyncio.run(run())
