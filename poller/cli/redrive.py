"""`poller redrive`: dead letters back to where they were to go."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poller.cli.parameters import config_option, known_routes

if TYPE_CHECKING:
    from poller.operate.redrive import Report, Wanted
    from poller.settings import Settings

_SAY_EVERY_S = 5.0


@click.command(short_help="Send dead letters to their queues again.")
@config_option
@click.option("--dry-run", is_flag=True, help="Find out what would be sent and what would stay; send nothing.")
@click.option("--reason", "reasons", multiple=True, metavar="NAME", help="Only letters of this reason; repeatable.")
@click.option("--route", "routes", multiple=True, metavar="NAME", help="Only letters of this route; repeatable.")
@click.option("--max", "letters_max", type=click.IntRange(1), metavar="N", help="So many letters of a queue at most.")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="So many letters a second at most, to spare what stands behind the queue.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as a JSON list, one object a dead-letter queue.")
def command(
    *,
    config: Path | None,
    dry_run: bool,
    reasons: tuple[str, ...],
    routes: tuple[str, ...],
    letters_max: int | None,
    rate: float | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Sends each dead letter's record as its route would send it now, and then takes the letter out of its queue.

    Group and deduplication id are those of the first time. A record that is not in its letter is fetched from S3, or
    read again from the stream while that has it (24 hours). What cannot be sent stays and is listed, and so do
    messages that this daemon did not write. Cut short at any moment, it loses nothing; at worst a letter is sent
    twice. Exit code 1: some stayed that were meant to go.

    \b
      poller redrive --dry-run
      poller redrive --reason max_attempts --rate 20
      poller redrive --route default --max 10 --yes
    """
    from poller.operate.letter_words import report_document, report_lines  # noqa: PLC0415 - which --help need not wait for
    from poller.operate.redrive import Wanted  # noqa: PLC0415
    from poller.settings import load  # noqa: PLC0415

    settings = load(os.environ, config)
    known_routes(settings, routes)
    wanted = Wanted(frozenset(reasons), frozenset(routes), letters_max, rate, dry_run)
    if not dry_run and not yes and not _agreed(settings, wanted, err=as_json):
        click.echo("poller: nothing was sent", err=True)
        return 1
    reports: list[Report] = []
    interrupted = False
    try:
        _run(settings, wanted, reports)
    except KeyboardInterrupt:
        interrupted = True
        click.echo("poller: interrupted; what was sent until now:", err=True)
    finally:
        if as_json:
            import json  # noqa: PLC0415

            click.echo(json.dumps([report_document(report) for report in reports], indent=2, ensure_ascii=False))
        else:
            for report in reports:
                click.echo("\n".join(report_lines(report)))
    return 1 if interrupted or any(report.failed for report in reports) else 0


def _agreed(settings: Settings, wanted: Wanted, *, err: bool) -> bool:
    """The answer of whoever sits there, who is told what is to be done; nobody is no answer."""
    import asyncio  # noqa: PLC0415

    # It is asked between two event loops: one that runs would keep Ctrl-C to itself until there is an answer.
    for line in asyncio.run(_plan(settings, wanted)):
        click.echo(line, err=err)
    if not sys.stdin.isatty():
        click.echo("poller: nobody is there to be asked; say --yes", err=True)
        return False
    return click.confirm("Send them?", default=False, err=err)


async def _plan(settings: Settings, wanted: Wanted) -> list[str]:
    from poller.operate.letter_site import open_letters  # noqa: PLC0415
    from poller.run.clock import SystemClock  # noqa: PLC0415

    async with open_letters(settings, SystemClock()) as site:
        targets = await site.targets(wanted.routes)
        lines = []
        for one in await site.boxes(wanted.routes):
            queues = sorted({targets[name].queue.info.name for name in one.routes if name in targets})
            waiting = await one.box.waiting()
            lines.append(f"{one.box.info.name} holds about {waiting:,}; letters go to {', '.join(queues)}")
        return lines


def _run(settings: Settings, wanted: Wanted, reports: list[Report]) -> None:
    """`reports` grow as it goes."""
    import asyncio  # noqa: PLC0415

    from poller.operate.letter_site import open_letters  # noqa: PLC0415
    from poller.operate.redrive import Redrive  # noqa: PLC0415
    from poller.run.clock import SystemClock  # noqa: PLC0415

    clock = SystemClock()
    said_at = clock.monotonic()

    def progress(report: Report) -> None:
        nonlocal said_at
        if clock.monotonic() - said_at >= _SAY_EVERY_S:
            said_at = clock.monotonic()
            click.echo(f"{report.queue}: " + ", ".join(_standing(report)), err=True)

    async def run() -> None:
        async with open_letters(settings, clock) as site:
            targets = await site.targets(wanted.routes)
            for one in await site.boxes(wanted.routes):
                redrive = Redrive(
                    one.box,
                    targets,
                    site.originals(),
                    wanted,
                    table=settings.stream.table_name,
                    only_route=one.only_route,
                    clock=clock,
                    rng=site.rng,
                    progress=progress,
                )
                reports.append(redrive.report)
                await redrive.run()

    asyncio.run(run())


def _standing(report: Report) -> Iterator[str]:
    yield f"{report.sent.total():,} {'could be sent' if report.dry_run else 'sent'}"
    yield f"{report.stayed_count:,} stayed"
    yield f"{report.looked_at:,} of about {report.waiting:,} looked at"
