"""`poller init`: makes the tables and queues that the settings name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poller.cli.parameters import configs_option

if TYPE_CHECKING:
    from poller.provision import Step
    from poller.settings import Settings


@click.command(short_help="Make the lease table and the queues that are not there yet.")
@configs_option
@click.option("--dry-run", is_flag=True, help="Say what would be made; write nothing.")
@click.option("--story-table", is_flag=True, help="Make the stream's table too, as the one of the demo's story.")
@click.option("--json", "as_json", is_flag=True, help="The steps as a JSON list.")
def command(*, configs: tuple[Path, ...], dry_run: bool, story_table: bool, as_json: bool) -> int:
    """Makes the lease table (billed on demand) and each route's queues, and asks nothing.

    A queue with a dead-letter queue gets a redrive policy to it: after 5 receives SQS moves a message there, too. What
    is there already stays as it is, but for a queue without a redrive policy. It may be run as often as one likes.

    \b
      poller init --dry-run
      poller init --config config/local.toml --story-table
    """
    import asyncio  # noqa: PLC0415 - as is boto3, which --help need not wait for

    from poller.filters import compile_filters  # noqa: PLC0415
    from poller.settings import load_all  # noqa: PLC0415

    settings = load_all(os.environ, configs)
    for one in settings:
        compile_filters(one)  # what is wrong is said before anything is written
    steps: list[Step] = []

    def report(step: Step) -> None:
        steps.append(step)
        if not as_json:
            click.echo(f"{step.outcome:<10}  {step.what:<17}  {step.name}: {step.detail}")

    try:
        for one in settings:
            asyncio.run(_provision(one, report, dry_run=dry_run, story_table=story_table))
    finally:
        if as_json:
            _print_json(steps)
    return 0


async def _provision(settings: Settings, report: Callable[[Step], None], *, dry_run: bool, story_table: bool) -> None:
    import random  # noqa: PLC0415

    from poller.provision import Provision  # noqa: PLC0415
    from poller.run.clock import SystemClock  # noqa: PLC0415
    from poller.startup import World, open_aws  # noqa: PLC0415

    clock = SystemClock()
    aws = await open_aws(settings, World(clock, lambda _: None, random.Random()))
    try:
        await Provision(settings, aws, clock, report, dry_run=dry_run).run(story_table=story_table)
    finally:
        aws.close()


def _print_json(steps: list[Step]) -> None:
    import json  # noqa: PLC0415

    fields = ("outcome", "what", "name", "detail")
    click.echo(json.dumps([{name: getattr(step, name) for name in fields} for step in steps], indent=2))
