"""`poller run`: the daemon, until SIGTERM or SIGINT."""

from __future__ import annotations

import os
from pathlib import Path

import click

from poller.cli.parameters import configs_option
from poller.memory import prepare_memory

# More than any machine has a use for: a slip of the finger should not start a thousand.
_PROCESSES_MAX = 64


@click.command(short_help="Run the daemon until SIGTERM or Ctrl-C.")
@configs_option
@click.option(
    "--processes",
    type=click.IntRange(1, _PROCESSES_MAX),
    default=1,
    show_default=True,
    metavar="N",
    help="So many workers, each a process of its own, behind one HTTP port.",
)
# How such a worker is started; not for people.
@click.option("--process", "number", type=int, hidden=True)
@click.option("--tied-to-fd", type=int, hidden=True)
@click.option("--serve-on-fd", type=int, hidden=True)
def command(
    configs: tuple[Path, ...], processes: int, number: int | None, tied_to_fd: int | None, serve_on_fd: int | None
) -> int:
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

    \b
    On two cores, where one is not enough; the workers divide the shards among them:
      poller run --processes 2
    """
    prepare_memory(os.environ)
    if processes > 1:
        from poller.processes.parent import main as main_of_several  # noqa: PLC0415 - as below; without boto3

        return main_of_several(configs, os.environ, processes)
    from poller.app import main  # noqa: PLC0415 - boto3 and aiohttp take half a second, which --help need not wait for

    if number is None or tied_to_fd is None:
        return main(configs, os.environ)
    from poller.part import Part  # noqa: PLC0415 - only where it is one of several

    return main(configs, os.environ, Part(number, tied_to_fd, serve_on_fd))
