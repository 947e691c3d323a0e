"""Types of command line values that several commands take."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from poller.settings import Settings


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


class _Files(click.Option):
    """May be given several times; the variable names one file, whatever is in its name."""

    def value_from_envvar(self, ctx: click.Context) -> tuple[str, ...] | None:
        value = self.resolve_envvar_value(ctx)
        return None if value is None else (value,)


def _only_one(_ctx: click.Context, _param: click.Parameter, paths: tuple[Path, ...]) -> Path | None:
    """For a command that has to do with one application: the last of several would hide the others."""
    if len(paths) > 1:
        raise click.UsageError(f"--config: given {len(paths)} times; this command takes one file.")
    return paths[0] if paths else None


_HELP: Final = "Settings in TOML; POLLER_* environment variables override the file."
_config: Final = partial(
    click.option,
    cls=_Files,
    multiple=True,
    type=click.Path(path_type=Path),
    envvar="POLLER_CONFIG",
    show_envvar=True,
    metavar="FILE",
)
# Of every command that reads the settings of one application.
config_option = _config("--config", callback=_only_one, help=_HELP)
# Of those that can do so for several, each with a file of its own.
configs_option = _config("--config", "configs", help=f"{_HELP} Once for each of several streams.")


# Of every command that reads a stream beside the daemon.
requests_per_second_option: Final = click.option(
    "--requests-per-second",
    type=click.FloatRange(0.1, 1000),
    default=2.0,
    show_default=True,
    metavar="N",
    help="At most N GetRecords a second and shard, since the daemon reads there too.",
)


def known_routes(settings: Settings, names: Iterable[str]) -> None:
    """Raises UsageError for a route that the settings do not have."""
    known = [route.name for route in settings.routes]
    for name in names:
        if name not in known:
            raise click.UsageError(f"--route: there is no route {name!r}; there is {', '.join(known)}")
