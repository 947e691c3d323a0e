"""The command line: which commands there are, and what becomes of an error.

A command is a module here that names its click command `command`, and one line in `COMMANDS`. `poller --help` imports
all of them, so each imports at its top nothing but click and what is cheap; the work is imported when it begins.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from typing import Any, Final

import click

from poller.errors import ConfigurationError, PollerError
from poller.operate.names import printable

COMMANDS: Final = {
    "run": "poller.cli.run",
    "check": "poller.cli.check",
    "init": "poller.cli.init",
    "status": "poller.cli.status",
    "top": "poller.cli.top",
    "leases": "poller.cli.leases",
    "dead-letters": "poller.cli.dead_letters",
    "redrive": "poller.cli.redrive",
    "iam-policy": "poller.cli.iam_policy",
    "cost": "poller.cli.cost",
    "replay": "poller.cli.replay",
    "tap": "poller.cli.tap",
    "config": "poller.cli.config",
    "filter": "poller.cli.filter",
    "healthcheck": "poller.cli.healthcheck",
    "demo": "poller.cli.demo",
}


# A disk that takes no more: nothing that a traceback would help with.
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Failure(click.ClickException):
    """What a user can do something about: one line on stderr, no traceback, exit code 1."""

    def __init__(self, error: PollerError) -> None:
        super().__init__(printable(" ".join(str(error).splitlines())))

    def show(self, file: Any = None) -> None:
        click.echo(f"poller: {self.message}", file=file, err=file is None)


class Misconfigured(Failure):
    """The same, where the settings are to blame: exit code 2, as click's own for wrong usage."""

    exit_code = 2


class Commands(click.Group):
    """Finds a command's module by its name; turns errors and a command's return value into an exit code.

    A command returns its exit code, or None for 0. An error that nobody foresaw keeps its traceback; Python exits 1.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command

    def invoke(self, ctx: click.Context) -> None:
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            exit_code: int | None = super().invoke(ctx)
        except ConfigurationError as error:
            raise Misconfigured(error) from error
        except PollerError as error:
            raise Failure(error) from error
        except OSError as error:
            if error.errno not in _FULL:
                raise
            # What Python would still flush at its end goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Failure(PollerError(f"nothing more could be written: {error.strerror}")) from error
        ctx.exit(exit_code or 0)


def _show_version(context: click.Context, option: click.Parameter, asked: bool) -> None:
    from poller.cli.version import show  # noqa: PLC0415 - subprocess, which no command needs for its help

    show(context, option, asked)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Version and commit."
)
def commands() -> None:
    """Reads a DynamoDB stream, filters it, and delivers what matches to SQS.

    \b
    See it work, on an emulator:   poller demo
    Run it:                        POLLER_TABLE=Orders POLLER_QUEUE=order-jobs poller run
    """


def main() -> None:
    """The console script; ends the process with 0 (done), 1 (failed) or 2 (usage, configuration)."""
    commands(prog_name="poller")
