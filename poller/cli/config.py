"""`poller config show`: the settings in force, and where each came from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from poller.cli.parameters import configs_option

if TYPE_CHECKING:
    from poller.settings import Row, Settings

# A longer value pushes only its own line to the right.
_VALUE_WIDTH_MAX = 40


@click.group(short_help="Show the settings in force, and where each comes from.")
def command() -> None:
    """The settings: what is in force.

    \b
      poller config show
      poller config show --config config/poller.toml --json
    """


@command.command(short_help="Every setting, its value, and where that comes from.")
@configs_option
@click.option("--json", "as_json", is_flag=True, help="As a JSON list.")
def show(configs: tuple[Path, ...], as_json: bool) -> None:
    """Every setting with its value and where that comes from: the environment, the file (with its line) or the default.

    Below them the AWS_* variables that decide about region, endpoints and credentials. Passwords and keys are masked.
    Exit code 2, with one line, if the settings cannot be used.

    \b
      poller config show
      POLLER_LEASE__DURATION=20s poller config show --config config/poller.toml
    """
    from poller.filters import compile_filters  # noqa: PLC0415 - as is pydantic, which --help need not wait for
    from poller.settings import load_all  # noqa: PLC0415

    settings = load_all(os.environ, configs)
    for one in settings:
        compile_filters(one)
    aws = [*_aws_variables(os.environ)]
    if len(settings) == 1:
        blocks = [Block(None, "", [*_settings(settings[0]), *aws])]
    else:
        blocks = [Block(one.stream.table_name, f"{one.file}: stream", [*_settings(one)]) for one in settings]
        blocks += [Block(None, "for all of them", aws)] if aws else []
    if as_json:
        _print_json(blocks, several=len(settings) > 1)
    else:
        _print(blocks)


class Block(NamedTuple):
    """Settings of one application, under a heading if there are several."""

    stream: str | None
    heading: str
    rows: list[Row]


def _settings(settings: Settings) -> Sequence[Row]:
    from poller.decide.filter import DEFAULT_PATTERN  # noqa: PLC0415
    from poller.settings import describe  # noqa: PLC0415

    return describe(settings, DEFAULT_PATTERN)


def _aws_variables(environ: Mapping[str, str]) -> Iterator[Row]:
    """Those of every AWS tool; of the keys only as much as tells them apart."""
    from poller.settings import Origin, Row  # noqa: PLC0415
    from poller.settings.origins import masked  # noqa: PLC0415

    for name in sorted(environ):
        if not name.startswith("AWS_"):
            continue
        value = masked(environ[name])
        if name == "AWS_ACCESS_KEY_ID":
            value = f"***{value[-4:]}" if len(value) > 8 else "***"
        elif any(word in name for word in ("KEY", "SECRET", "TOKEN", "PASSWORD")) and not name.endswith("_FILE"):
            value = "***"
        yield Row(name, value, Origin("environment", name, value))


def _print(blocks: list[Block]) -> None:
    for block in blocks:
        if block.heading:
            click.echo(" ".join(["---", block.heading, *filter(None, [block.stream])]))
        setting_width = max(len(row.setting) for row in block.rows)
        value_width = min(max(len(row.value) for row in block.rows), _VALUE_WIDTH_MAX)
        for row in block.rows:
            click.echo(f"{row.setting:<{setting_width}}  {row.value:<{value_width}}  {_source(row)}")


def _source(row: Row) -> str:
    """Of an AWS_* variable the first column has the name already."""
    return "environment" if row.setting.startswith("AWS_") else str(row.origin)


def _print_json(blocks: list[Block], *, several: bool) -> None:
    """One list; of several applications each row has its `stream`, null for what is of all of them."""
    import json  # noqa: PLC0415

    shown = [({"stream": block.stream} if several else {}) | _plain(row) for block in blocks for row in block.rows]
    click.echo(json.dumps(shown, indent=2, ensure_ascii=False))


def _plain(row: Row) -> dict[str, object]:
    return {
        "setting": row.setting,
        "value": row.value,
        "origin": row.origin.kind,
        "variable": row.origin.name if row.origin.kind == "environment" else None,
        "file": row.origin.file if row.origin.kind == "file" else None,
        "line": row.origin.line if row.origin.kind == "file" else None,
    }
