"""The two sources of settings, environment and file: what each says and where, before anybody judges the values."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from poller.errors import ConfigurationError
from poller.settings.model import Settings
from poller.settings.origins import Origin, key
from poller.settings.sections import RouteSettings

CONFIG_VARIABLE: Final = "POLLER_CONFIG"
_PREFIX: Final = "POLLER_"
_SHORT_NAMES: Final = {
    "stream.table": "POLLER_TABLE",
    "stream.arn": "POLLER_STREAM_ARN",
    "stream.start_position": "POLLER_START_POSITION",
    "lease.table": "POLLER_LEASE_TABLE",
    "lease.worker_id": "POLLER_WORKER_ID",
    "aws.allow_insecure_endpoints": "POLLER_ALLOW_INSECURE_ENDPOINTS",
    "http.host": "POLLER_HTTP_HOST",
    "http.port": "POLLER_HTTP_PORT",
    "log.level": "POLLER_LOG_LEVEL",
    "log.format": "POLLER_LOG_FORMAT",
    "route.queue": "POLLER_QUEUE",
    "route.dead_letter_queue": "POLLER_DEAD_LETTER_QUEUE",
    "route.filter": "POLLER_FILTER",
}
# What some editors put before a text; it says nothing.
_BYTE_ORDER_MARK: Final = "\ufeff"
_HEADER: Final = re.compile(r"\s*\[(?P<list>\[)?\s*(?P<name>[\w. -]+?)\s*\]\]?\s*(#.*)?$")
_ASSIGNMENT: Final = re.compile(r"\s*([\w.-]+)\s*=")
# What Kubernetes puts into every pod beside a service named "poller".
_SERVICE_LINK: Final = re.compile(r"POLLER_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")


@dataclass(frozen=True, slots=True)
class Source:
    """What one source says: the settings that it sets, by dotted path, and the faults in how it says it."""

    known: Mapping[str, Origin]
    faults: Sequence[str]
    routes: int = 0
    lines: Mapping[str, int] = field(default_factory=dict)


# --- names ------------------------------------------------------------------------------------------------------------


@cache
def sections() -> Mapping[str, Sequence[str]]:
    """The file's tables and the settings in each, in their order; `route` is last."""
    models = {name: info.annotation for name, info in Settings.model_fields.items() if name != "routes"}
    spelled = {name: _spelled(model) for name, model in models.items() if isinstance(model, type)}
    return spelled | {"route": _spelled(RouteSettings)}


@cache
def variables() -> Mapping[str, str]:
    """By which environment variable each setting is set: `lease.duration` -> `POLLER_LEASE__DURATION`."""
    paths = [f"{section}.{name}" for section, names in sections().items() for name in names]
    return {path: _SHORT_NAMES.get(path) or _long_name(path) for path in paths}


def _spelled(model: type[BaseModel]) -> Sequence[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _long_name(path: str) -> str:
    return _PREFIX + path.replace(".", "__").upper()


# --- environment ------------------------------------------------------------------------------------------------------


def read_environment(environ: Mapping[str, str]) -> Source:
    """The POLLER_* variables. Those of a route are `route.NAME`: which route that is, its reader knows."""
    paths = {variable: path for path, variable in variables().items()}
    ours = {name: value for name, value in environ.items() if name.startswith(_PREFIX) and name != CONFIG_VARIABLE}
    known = {paths[name]: Origin("environment", name, value) for name, value in ours.items() if name in paths}
    faults = [f"{_one_line(name)}: {_unknown_variable(name)}" for name in sorted(ours) if name not in paths]
    return Source(known, faults)


def _unknown_variable(name: str) -> str:
    if _SERVICE_LINK.fullmatch(name):
        mend = "set enableServiceLinks to false in the pod's spec, or name the service otherwise"
        return f'no such setting; Kubernetes sets it for a service named "poller": {mend}'
    # Whoever writes the section out means the short name, also with a single underscore behind the section.
    spelled_out = {_long_name(path).replace("__", "_"): variable for path, variable in variables().items()}
    nearest = spelled_out.get(name.replace("__", "_"))
    nearest = nearest or _nearest(name, [CONFIG_VARIABLE, *variables().values()], len(_PREFIX))
    return _no_such_setting(nearest)


# --- file -------------------------------------------------------------------------------------------------------------


def read_file(path: Path, written: str, name: str) -> Source:
    """The TOML file. ConfigurationError: it cannot be read, or is no TOML.

    `written`: how its user named it; `name`: what it is called where a setting is told of.
    """
    try:
        text = path.read_text("utf-8").removeprefix(_BYTE_ORDER_MARK)
        content = tomllib.loads(text)
        json.dumps(content, default=str)  # whatever is in it must be possible to tell of
    except FileNotFoundError:
        raise ConfigurationError(f"{written}: no such file; create it, or name another") from None
    except OSError as error:
        raise ConfigurationError(f"{written}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{written}: not UTF-8 at byte {error.start + 1}; TOML is UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{written}: not valid TOML: {error}") from error
    except RecursionError:
        raise ConfigurationError(f"{written}: not valid TOML: nested too deep") from None
    except ValueError:  # Python's own bound for integers, far beyond TOML's
        raise ConfigurationError(f"{written}: not valid TOML: an integer has thousands of digits") from None
    lines = _lines(text)
    known: dict[str, Origin] = {}
    faults: list[str] = []
    for setting, value in _settings(content):
        origin = Origin("file", key(setting), value, name, lines.get(setting))
        if problem := _misplaced(key(setting), is_table=isinstance(value, dict)):
            faults.append(f"{_one_line(origin.name)} ({origin.place}): {problem}")
        known[setting] = origin
    routes = content.get("route")
    return Source(known, faults, len(routes) if isinstance(routes, list) else 0, lines)


def _settings(content: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Every setting of a file with its dotted path; what is no table of settings, as it is."""
    for section, table in content.items():
        routes = section == "route" and isinstance(table, list)
        for index, one in enumerate(table if routes else [table]):
            path = f"route.{index}" if routes else section
            if not isinstance(one, dict) or section not in sections() or (section == "route" and not routes):
                yield path, one
                continue
            yield from ((f"{path}.{name}", value) for name, value in one.items())


def _misplaced(name: str, *, is_table: bool) -> str | None:
    """Why the file cannot have this here, None if it can."""
    section, _, setting = name.partition(".")
    if section not in sections():
        # A setting before any table's header is looked for in all of them.
        within = None if is_table else _elsewhere(section)
        return _no_such_setting(within or _nearest(section, list(sections())))
    if not setting:
        return f"must be a table: write {'[[route]]' if section == 'route' else f'[{section}]'}"
    if setting not in sections()[section]:
        elsewhere = _elsewhere(setting)
        here = _nearest(setting, sections()[section])
        return _no_such_setting(elsewhere or (f"{section}.{here}" if here else _nearest(name, list(variables()))))
    return None


def _elsewhere(setting: str) -> str | None:
    return next((path for path in variables() if path.endswith(f".{setting}")), None)


def _lines(text: str) -> Mapping[str, int]:
    """The line of each key and table, as far as they are written plainly: a wrong guess only misleads a reader."""
    lines: dict[str, int] = {}
    table, routes = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = header["name"]
            if table == "route" and header["list"]:
                table, routes = f"route.{routes}", routes + 1
            lines.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            lines.setdefault(f"{table}.{assignment[1]}" if table else assignment[1], number)
    return lines


# --- did you mean -----------------------------------------------------------------------------------------------------


def _nearest(name: str, known: Sequence[str], prefix_length: int = 0) -> str | None:
    """The known name that this one resembles most; a prefix that all of them share makes nothing alike."""
    by_rest = {one[prefix_length:]: one for one in known}
    closest = get_close_matches(name[prefix_length:], by_rest, n=1)
    return by_rest[closest[0]] if closest else None


def _one_line(name: str) -> str:
    return name if name and name.isprintable() else json.dumps(name)


def _no_such_setting(nearest: str | None) -> str:
    return f"no such setting; {f'did you mean {nearest}?' if nearest else 'config/poller.toml lists them all'}"
