"""`poller top`: the status page on a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from poller.cli import status
from poller.cli.ask import config_option, timeout_option, url_option, where
from poller.cli.parameters import Duration
from poller.errors import PollerError

if TYPE_CHECKING:
    from poller.operate.told import Told

# Of each stream; a screen shows fewer.
_SHARDS: Final = 100
_ONCE_SHARDS: Final = 20


@click.command(short_help="The daemon's status, live on a terminal: verdict, flow, routes, the worst shards.")
@url_option
@config_option
@timeout_option
@click.option(
    "--every",
    "every_s",
    type=Duration("200ms", "1h"),
    default=1.0,
    show_default="1s",
    metavar="1s",
    help="How often to look.",
)
@click.option("--once", is_flag=True, help="Print it once and end: exit code 0 if the daemon is ready, 1 if not.")
@click.option("--json", "as_json", is_flag=True, help="A JSON line for each look, or with --once one document.")
def command(*, url: str | None, config: str | None, timeout_s: float, every_s: float, once: bool, as_json: bool) -> int:
    """Shows how the daemon is until q or Ctrl-C; a daemon that is started again is picked up again.

    Where the output is no terminal, or one that can only print, one look is printed after the other.

    \b
      poller top
      poller top --url http://127.0.0.1:9464 --every 5s
      poller top --once && echo ready
    """
    base = where(url, config, os.environ)
    document, seen = status.look(base, timeout_s, status.query(_SHARDS))
    if once:
        if as_json:
            status.print_json(document, indent=2)
        else:
            status.show(seen, _ONCE_SHARDS)
        return 0 if seen.ready else 1
    try:
        if as_json or status.console().is_dumb_terminal or not sys.stdout.isatty():
            _one_after_the_other(base, timeout_s, every_s, as_json=as_json)
        else:
            _live(base, timeout_s, every_s, seen)
    except KeyboardInterrupt:
        pass  # how one ends it
    return 0


def _one_after_the_other(base: str, timeout_s: float, every_s: float, *, as_json: bool) -> None:
    """Never returns. A look that fails is said on stderr."""
    while True:
        try:
            document, seen = status.look(base, timeout_s, status.query(_SHARDS))
            if as_json:
                status.print_json(document, indent=None)
            else:
                status.show(seen, _ONCE_SHARDS)
                click.echo()
        except PollerError as error:
            click.echo(f"poller: {error}", err=True)
        time.sleep(every_s)


def _live(base: str, timeout_s: float, every_s: float, seen: Told) -> None:
    """In place, until q is typed."""
    from rich.live import Live  # noqa: PLC0415

    from poller.operate.panel import draw, rows_that_fit  # noqa: PLC0415

    console = status.console()
    silent: str | None = None
    silent_since = ""
    with _typed_at_once(), Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        while True:
            live.update(draw(seen, rows_that_fit(console.height, seen), silent=silent), refresh=True)
            if _asked_to_end(every_s):
                return
            try:
                _, seen = status.look(base, timeout_s, status.query(_SHARDS))
                silent = None
            except PollerError as error:
                if silent is None:
                    silent_since = time.strftime("%H:%M:%S")
                silent = f"since {silent_since}; below is what was last known. {error}"


@contextmanager
def _typed_at_once() -> Iterator[None]:
    """A key counts without Return, and is not shown."""
    if not sys.stdin.isatty():
        yield
        return
    import termios  # noqa: PLC0415 - not everywhere
    import tty  # noqa: PLC0415

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _asked_to_end(wait_s: float) -> bool:
    """Waits so long, or until q is typed."""
    import select  # noqa: PLC0415

    if not sys.stdin.isatty():
        time.sleep(wait_s)
        return False
    until = time.monotonic() + wait_s
    while (left_s := until - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left_s)[0]:
            typed = os.read(sys.stdin.fileno(), 64)
            if not typed or b"q" in typed.lower():
                return True
    return False
