"""Types of command line values that several commands take."""

from __future__ import annotations

from pathlib import Path

import click


class Duration(click.ParamType[float]):
    """Seconds, written as in the settings: a number and its unit. Between the two, both included."""

    name = "duration"

    def __init__(self, at_least: str, at_most: str) -> None:
        self._at_least, self._at_most = at_least, at_most

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        from poller.settings import units  # noqa: PLC0415 - pydantic is of no use to those who give no duration

        try:
            return units.Duration(self._at_least, self._at_most).read(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


# Of every command that reads the settings.
config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="POLLER_CONFIG",
    show_envvar=True,
    metavar="FILE",
    help="Settings in TOML; POLLER_* environment variables go before the file.",
)
