"""The list of all settings, as Markdown: `python -m poller.settings.reference > docs/settings.md`.

Names, variables, bounds and defaults are the model's; the words are those of `config/poller.toml`, which stands
beside the package in a checkout. A test holds the page equal to both.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

from poller.settings.changes import changes_at_work
from poller.settings.model import ROUTES_MAX, Settings
from poller.settings.sections import RouteSettings
from poller.settings.sources import variables
from poller.settings.units import Duration, Size

FILE: Final = Path(__file__).parents[2] / "config" / "poller.toml"
_HEADER: Final = re.compile(r"\[{1,2}(\w+)\]{1,2}")
_ASSIGNMENT: Final = re.compile(r"(?:# )?(\w+) = .+")
_VARIABLE: Final = re.compile(r"\s*\[(POLLER_\w+)\]")

_HEAD: Final = f"""\
# Settings

Every setting: its name in the TOML file (`poller run --config FILE`, or `POLLER_CONFIG=FILE`), the environment variable
that overrides the file, what it may be, and its default. Durations carry their unit (`ms`, `s`, `m`, `h`, `d`), sizes
too (`B`, `KiB`, `MiB`, `GiB`). Default "as told": nothing, or what its text says.
[config/poller.toml](../config/poller.toml) is a file with all of them.

- Credentials, region and endpoints are those of every AWS tool: `AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL_SQS`
  and so on.
- A setting that cannot be used ends the start with exit code 2, and one line that names it, its value and the mend.
- `poller config show` prints what is in force, and where each comes from.
- SIGHUP (`kill -HUP`) reads the file again. What is marked "SIGHUP" is taken over at work, all else needs a restart; so
  does a variable, since those of a running process do not change.
- Of several routes ({ROUTES_MAX} at most) each is a `[[route]]` in the file. The variables of a route describe the only
  one.
- Of several streams in one process, each is a file of its own; variables for `[stream]`, `lease.table` and `[[route]]`
  are refused then.

This page is generated (`python -m poller.settings.reference > docs/settings.md`) and held up to date by a test.
"""


class Row(NamedTuple):
    """One setting. `bounds` and `default` are Markdown; `at_work`: SIGHUP takes it over."""

    path: str
    variable: str
    bounds: str
    default: str
    at_work: bool
    text: str


def rows(comments: Mapping[str, str]) -> Iterator[Row]:
    """Every setting in the file's order. `comments`: the words for each; KeyError: one has none."""
    for section, model in _sections():
        for name, field in model.model_fields.items():
            path = f"{section}.{field.alias or name}"
            text = comments[path]
            if not (mentioned := _VARIABLE.search(text)) or mentioned[1] != variables()[path]:
                raise KeyError(f"config/poller.toml names another variable for {path}")
            at_work, default = changes_at_work(section, name), _default(model, name, field)
            yield Row(path, variables()[path], _bounds(field), default, at_work, _VARIABLE.sub("", text))


def comments_of(text: str) -> dict[str, str]:
    """Of a settings file: what is written above each setting, and above each section, by dotted path."""
    found: dict[str, str] = {}
    section, above = "", list[str]()
    for line in text.splitlines():
        if header := _HEADER.fullmatch(line):
            section = header[1]
            found[section], above = " ".join(above), []
        elif assignment := _ASSIGNMENT.fullmatch(line):
            found[f"{section}.{assignment[1]}"], above = " ".join(above), []
        else:
            above = [*above, line.removeprefix("#").strip()] if line else []
    return found


def markdown(text: str) -> str:
    """The whole page, with the comments of a settings file that is this text."""
    comments = comments_of(text)
    lines, section = [_HEAD], ""
    for row in rows(comments):
        if not row.path.startswith(f"{section}."):
            section = row.path.partition(".")[0]
            about = [f"{_plain(comments[section])}\n"] if comments[section] else []
            lines += [f"## {section}\n", *about]
        facts = f"`{row.variable}` · {row.bounds} · default: {row.default}{' · SIGHUP' if row.at_work else ''}"
        lines += [f"### {row.path}\n", f"{facts}\n", f"{_plain(row.text)}\n"]
    return "\n".join(lines)


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation
    yield "route", RouteSettings


def _plain(text: str) -> str:
    """Words, in which nothing is Markdown's."""
    return re.sub(r"([<>*\[\]])", r"\\\1", text)


# --- what it may be ---------------------------------------------------------------------------------------------------


def _bounds(field: FieldInfo) -> str:
    """Between what, or which words, as the annotations say it."""
    parts = list(_parts([*field.metadata, field.annotation]))
    choices = ", ".join(f'`"{value}"`' for part in parts if get_origin(part) is Literal for value in get_args(part))
    if any(get_origin(part) is tuple for part in parts):
        return f"a list of {choices}" if choices else "a list"
    if choices or bool in parts:
        return choices or "`true`, `false`"
    bounds = [f"{part.at_least} to {part.at_most}" for part in parts if isinstance(part, Duration | Size)]
    words = [part.func.__doc__ or "" for part in parts if isinstance(part, AfterValidator)]
    return next(iter(bounds or words), _number(parts) or "text")


def _number(parts: Sequence[object]) -> str:
    low = next((f"{part.ge}" for part in parts if isinstance(part, Ge)), "")
    above = next((f"above {part.gt}" for part in parts if isinstance(part, Gt)), "")
    high = next((f"{part.le}" for part in parts if isinstance(part, Le)), "")
    if high:
        return f"{low} to {high}" if low else f"{above}, at most {high}"
    return f"{low} or more" if low else above


def _parts(annotations: Iterable[Any]) -> Iterator[Any]:
    """Everything that annotations say, from the outside inwards."""
    for one in annotations:
        yield one
        yield from _parts(
            one.metadata if isinstance(one, FieldInfo) else () if get_origin(one) is Literal else get_args(one)
        )


def _default(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    """As the file would have it."""
    if field.is_required():
        return "must be set"
    if field.default_factory is not None or field.default is None:
        return "as told"
    written = model.model_construct().model_dump(mode="json", include={name})
    return f"`{json.dumps(written[name])}`"


def main() -> None:
    sys.stdout.write(markdown(FILE.read_text("utf-8")))


if __name__ == "__main__":
    main()
