"""The list of all commands, as Markdown: `python -m poller.cli.reference > docs/commands.md`.

It is what `--help` prints, command by command; a test holds the page equal to it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

import click

from poller.cli import commands

_WIDTH: Final = 100
_HEAD: Final = """\
# Commands

What `poller COMMAND --help` prints, of every command. Exit codes of all of them: 0 done, 1 failed, 2 usage or
configuration. What is wrong with the configuration, and what to do, is one line on standard error; wrong usage is told
there below the command's usage. Commands that look at the daemon's world take its settings: the same `--config FILE` or
`POLLER_*` variables ([settings](settings.md)).

This page is generated (`python -m poller.cli.reference > docs/commands.md`) and held up to date by a test.
"""


def every_command() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Each command under its whole name (`filter test`), with the context in which it would be asked for help."""
    root = click.Context(commands, info_name="poller", terminal_width=_WIDTH, **commands.context_settings)
    yield from _below("", commands, root)


def _below(name: str, group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        if command is None or command.hidden:
            continue
        whole = f"{name} {word}".lstrip()
        inner = click.Context(command, parent=context, info_name=word, terminal_width=_WIDTH)
        yield whole, command, inner
        if isinstance(command, click.Group):
            yield from _below(whole, command, inner)


def markdown() -> str:
    """The whole page."""
    parts = [_HEAD]
    for name, command, context in every_command():
        depth = "##" if " " not in name else "###"
        parts.append(f"{depth} poller {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def main() -> None:
    sys.stdout.write(markdown())


if __name__ == "__main__":
    main()
