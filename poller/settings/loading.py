"""From environment and file to valid settings, or to one line that says which setting is wrong and what to write.

Those of several applications in one process are put together in `several`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from poller.errors import ConfigurationError
from poller.settings.model import Settings
from poller.settings.origins import Origin, Origins
from poller.settings.sources import CONFIG_VARIABLE, Source, read_environment, read_file, variables

_NO_FILE: Final = Source({}, ())

# pydantic's own faults in our words; `{}`: what its context says.
_WORDS: Final = {
    "missing": "not set; name the queue that matches are sent to",  # the only setting without a default
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters",
    "tuple_type": "must be a list",
    "too_long": "must be at most {max_length}",
    "literal_error": "must be {expected}",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le:g}",
    "value_error": "{error}",
    "refused": "{problem}",
}


class InvalidSettings(ConfigurationError):
    """Settings that cannot work. Its message is the first fault's line; `faults` has one line for each."""

    def __init__(self, faults: Sequence[str]) -> None:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(faults[0] + more)
        self.faults = tuple(faults)


def load(environ: Mapping[str, str], config: Path | None, *, now: float | None = None) -> Settings:
    """The settings in force: what the environment says, then the file, then the defaults.

    `config`: the file named on the command line, None: the one in POLLER_CONFIG, if any. `now`: seconds since the
    epoch, None: by this machine's clock. ConfigurationError: the file or a setting cannot be used.
    """
    environment, file, name = read_environment(environ), _NO_FILE, ""
    if written := _config_file(environ, config):
        path, option = written
        name = path.name
        file = read_file(path, option, name)
    refuse([*environment.faults, *file.faults])
    known = dict(file.known) | _route_chosen(environment.known, file, name)
    settings = validated(known, file, name)
    check_with_world(settings, environ.get("AWS_REGION"), now)
    return settings


def validated(known: Mapping[str, Origin], file: Source, name: str) -> Settings:
    """The settings that these values make. `file` and `name`: the one they are from, for the rest. InvalidSettings."""
    with_first_route = {setting.replace("route.", "route.0."): variable for setting, variable in variables().items()}
    origins = Origins(known, name, file.lines, with_first_route)
    try:
        return Settings.with_origins(_nested(known, file.routes), origins)
    except ValidationError as error:
        raise InvalidSettings([_fault(origins, detail) for detail in error.errors(include_url=False)]) from None


def check_with_world(settings: Settings, aws_region: str | None, now: float | None, *, several: bool = False) -> None:
    """What region and clock have against the settings: ConfigurationError. `several`: a variable cannot be the mend."""
    _check_region(settings, aws_region, several=several)
    start_ms = settings.stream.start_position.timestamp_ms
    if start_ms is not None and start_ms > (time.time() if now is None else now) * 1000:
        raise settings.fault("stream.start_position", "is in the future; write LATEST for what happens from now on")


def _check_region(settings: Settings, aws_region: str | None, *, several: bool) -> None:
    """An ARN and AWS_REGION that name two regions: one of them is not what its user thinks. A third word decides.

    AWS_DEFAULT_REGION and a profile's region are what their names say, and give way to the ARN.
    """
    region = settings.stream.arn_region
    if region is None or settings.stream.region or not aws_region or aws_region == region:
        return
    by_name = f'stream.region = "{region}"' if several else f"POLLER_STREAM__REGION={region}"
    mend = f"set AWS_REGION={region}, or {by_name} to leave AWS_REGION as it is"
    raise settings.fault("stream.arn", f"the stream is in {region}, and AWS_REGION is {aws_region}; {mend}")


def _config_file(environ: Mapping[str, str], config: Path | None) -> tuple[Path, str] | None:
    """The file and how its user named it. A command line may have its default from the variable."""
    named = environ.get(CONFIG_VARIABLE)
    if config is not None and str(config) != named:
        return config, f"--config {config}"
    if named is None:
        return None
    origin = Origin("environment", CONFIG_VARIABLE, named)
    if not named:
        raise InvalidSettings([f"{origin.written}: empty; name a TOML file, or do not set it"])
    return Path(named), origin.written


def _route_chosen(environment: Mapping[str, Origin], file: Source, name: str) -> dict[str, Origin]:
    """The variables with those of a route given to the only one there is."""
    if file.routes > 1:
        which = (
            f"{name} has {file.routes} routes and a variable does not say which; set it in the [[route]] that is meant"
        )
        refuse([f"{origin.written}: {which}" for path, origin in environment.items() if path.startswith("route.")])
    return {path.replace("route.", "route.0."): origin for path, origin in environment.items()}


def _nested(known: Mapping[str, Origin], routes: int) -> dict[str, Any]:
    """Dotted paths as nested tables. The stream and one route are always there, so that what they lack gets named."""
    tables: dict[str, dict[str, object]] = {"stream": {}, **{f"route.{index}": {} for index in range(max(1, routes))}}
    for setting, origin in known.items():
        table, _, name = setting.rpartition(".")
        tables.setdefault(table, {})[name] = origin.value
    plain = {name: table for name, table in tables.items() if not name.startswith("route.")}
    return plain | {"route": [table for name, table in tables.items() if name.startswith("route.")]}


def _fault(origins: Origins, detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    path = [*(str(part) for part in detail["loc"]), *filter(None, [context.get("setting")])]
    words = _WORDS.get(detail["type"])
    problem = words.format(**context) if words else detail["msg"]
    return origins.fault(".".join(path), problem.replace("'", '"') if detail["type"] == "literal_error" else problem)


def refuse(faults: Sequence[str]) -> None:
    """InvalidSettings, if there are any faults."""
    if faults:
        raise InvalidSettings(faults)
