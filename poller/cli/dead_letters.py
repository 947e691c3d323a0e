"""`poller dead-letters`: what could not be delivered, and why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poller.cli.parameters import config_option, known_routes

if TYPE_CHECKING:
    from poller.operate.dead_letters import Seen
    from poller.settings import Settings


@click.command(short_help="Show what lies in the dead-letter queues, and why.")
@config_option
@click.option("--route", "routes", multiple=True, metavar="NAME", help="Only this route's queue; may be repeated.")
@click.option(
    "--max",
    "letters_max",
    type=click.IntRange(1, 10_000),
    default=1_000,
    show_default=True,
    metavar="N",
    help="Look at so many messages of each queue at most.",
)
@click.option(
    "--examples",
    "examples_max",
    type=click.IntRange(0, 100),
    default=1,
    show_default=True,
    metavar="N",
    help="So many examples of each reason and route.",
)
@click.option("--show", is_flag=True, help="With the examples' content: the item's keys and all that the letter holds.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON list, one object a queue.")
def command(
    *,
    config: Path | None,
    routes: tuple[str, ...],
    letters_max: int,
    examples_max: int,
    show: bool,
    as_json: bool,
) -> int:
    """Counts the dead letters by reason and route, with their ages and an example each, and takes none of them out.

    A queue shows a message only to those who receive it: while this looks, some seconds, what it has seen is hidden
    from others, and each look counts as a receive. Content of items is shown only with --show.

    \b
      poller dead-letters
      poller dead-letters --route default --examples 5 --show
      poller dead-letters --json | jq '.[].letters[] | {reason, count}'
    """
    import asyncio  # noqa: PLC0415 - as is boto3, which --help need not wait for
    import json  # noqa: PLC0415

    from poller.operate.letter_words import seen_document, seen_lines  # noqa: PLC0415
    from poller.run.clock import SystemClock  # noqa: PLC0415
    from poller.settings import load  # noqa: PLC0415

    settings = load(os.environ, config)
    known_routes(settings, routes)
    found = asyncio.run(_look(settings, routes, letters_max, examples_max))
    if as_json:
        click.echo(json.dumps([seen_document(seen, show=show) for seen in found], indent=2, ensure_ascii=False))
        return 0
    for number, seen in enumerate(found):
        if number:
            click.echo()
        for line in seen_lines(seen, SystemClock().wall(), show=show):
            click.echo(line)
    return 0


async def _look(settings: Settings, routes: tuple[str, ...], letters_max: int, examples_max: int) -> list[Seen]:
    from poller.operate.dead_letters import look  # noqa: PLC0415
    from poller.operate.letter_site import open_letters  # noqa: PLC0415
    from poller.run.clock import SystemClock  # noqa: PLC0415

    async with open_letters(settings, SystemClock()) as site:
        return [
            await look(one.box, site.clock, site.rng, letters_max=letters_max, examples_max=examples_max)
            for one in await site.boxes(routes)
        ]
