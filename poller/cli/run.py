"""`poller run`: the daemon, until SIGTERM or SIGINT."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import click

from poller.cli.parameters import configs_option

# A start makes some hundred thousand objects that stay, a page of a thousand records some thousand that go and are in
# no cycle: looking through them as often as Python does by itself costs a fifth of a start (measured).
_GC_THRESHOLDS = (50_000, 20, 20)


@click.command(short_help="Run the daemon until SIGTERM or Ctrl-C.")
@configs_option
def command(configs: tuple[Path, ...]) -> int:
    """Reads the table's stream and delivers what matches, until SIGTERM or Ctrl-C.

    The first signal settles what is in flight, writes the checkpoints, gives the leases back and exits 0; a second one
    ends it at once. One stream with one queue needs no file:

    \b
      export POLLER_TABLE=AnalysisMetadataTable
      export POLLER_QUEUE=analysis-jobs POLLER_DEAD_LETTER_QUEUE=analysis-jobs-dead-letters
      poller run

    \b
    Everything else is in the file:
      poller run --config config/poller.toml

    \b
    Several streams in one process, each with a file, routes and a lease table of its own:
      poller run --config orders.toml --config payments.toml
    """
    gc.set_threshold(*_GC_THRESHOLDS)  # before the imports, which make most of those objects
    from poller.app import main  # noqa: PLC0415 - boto3 and aiohttp take half a second, which --help need not wait for

    return main(configs, os.environ)
