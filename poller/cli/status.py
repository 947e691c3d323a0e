"""`poller status`: how the daemon is, said once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from poller.cli.ask import config_option, get, timeout_option, url_option, where
from poller.errors import PollerError

if TYPE_CHECKING:
    from rich.console import Console

    from poller.operate.told import Told

_NOBODY = "start the daemon (`poller run`), or say where it serves: --url, or POLLER_HTTP_HOST and POLLER_HTTP_PORT"


@click.command(short_help="How the daemon is: a verdict, what flows, routes and shards; exit code 0 or 1.")
@url_option
@config_option
@timeout_option
@click.option(
    "--shards",
    type=click.IntRange(0, 2000),
    default=20,
    show_default=True,
    metavar="20",
    help="How many shards of a stream to show, the worst first.",
)
@click.option("--json", "as_json", is_flag=True, help="All that the daemon tells, as JSON.")
def command(url: str | None, config: str | None, timeout_s: float, shards: int, as_json: bool) -> int:
    """Asks the daemon's /status and prints it for people. Exit code 0: it is ready; 1: it is not, or nobody answers.

    Host and port are those of POLLER_HTTP_HOST and POLLER_HTTP_PORT, or of the file
    that --config or POLLER_CONFIG names.

    \b
      poller status
      poller status --json | jq .verdict
      poller status --url http://127.0.0.1:9464 --shards 2000
    """
    base = where(url, config, os.environ)
    if as_json:
        document, seen = look(base, timeout_s, "")
        print_json(document, indent=2)
    else:
        _, seen = look(base, timeout_s, query(shards))
        show(seen, shards)
    return 0 if seen.ready else 1


def query(shards: int) -> str:
    """For the worst shards, and without settings."""
    return f"?settings=no&order=worst&shards={shards}"


def look(base: str, timeout_s: float, asked: str) -> tuple[object, Told]:
    """The daemon's answer, as it came and as it is read. PollerError: there is none, or it is none of a daemon's."""
    import json  # noqa: PLC0415 - `--help` needs none of them

    from poller.operate.told import told  # noqa: PLC0415

    status, body = get(base, f"/status{asked}", timeout_s, _NOBODY)
    if status != 200:
        raise PollerError(f"{base.rstrip('/')}/status answers {status}: not a daemon of this version; look at --url")
    try:
        document = json.loads(body)
        return document, told(document)
    except ValueError as error:
        raise PollerError(f"{base.rstrip('/')}/status: {error}; look at --url") from error


def show(seen: Told, shards: int) -> None:
    """On a terminal as wide as that is, elsewhere without a limit."""
    from poller.operate.panel import draw  # noqa: PLC0415

    made = console()
    made.print(draw(seen, shards), soft_wrap=not made.is_terminal)


def console() -> Console:
    import io  # noqa: PLC0415
    import sys  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a column keeps its width in an encoding without the bars
    return Console(highlight=False, width=None if sys.stdout.isatty() else 400)


def print_json(document: object, indent: int | None) -> None:
    import json  # noqa: PLC0415

    click.echo(json.dumps(document, indent=indent, ensure_ascii=False))
