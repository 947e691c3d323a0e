"""The list of everything that can stand in the log, as Markdown: `python -m poller.observe.catalogue > docs/events.md`.

Made from `poller.events`, so that it cannot say anything else than the daemon does; a test holds the file equal to it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Final, NamedTuple

from poller import events
from poller.events import Event
from poller.observe.log import EMBEDDED_EVENT, LIBRARY_EVENT

_HEAD: Final = """\
# What is logged

One event is one line. Names never change; a line may get more fields. Every line has `ts` (UTC, to the millisecond),
`level` and `event`, and then the fields of its event, in this order; with `poller run --processes N`, between them,
`process`: 1 to N, 0 for the parent. Fields whose name ends in `_s` are seconds. No line at any level holds an item's
content or its key: sequence numbers, event ids and error codes are positions, not content.

A fault that lasts is one line when it begins, one now and then while it lasts, and one when it is over.

`POLLER_LOG_LEVEL` is the lowest level that is logged, `info` if it is not set.

This page is generated (`python -m poller.observe.catalogue > docs/events.md`) and held up to date by a test.
"""
_COUNTED: Final = """\
## What only counts

These happen too often for a line. The metrics and the status page are made from them.

"""
_ORDER: Final = ("error", "warning", "info", "debug")


class Entry(NamedTuple):
    """One event: its name in the log, its level (None: never logged), its fields in their order, what it says."""

    name: str
    level: str | None
    fields: tuple[str, ...]
    meaning: str


LIBRARY: Final = Entry(
    LIBRARY_EVENT,
    "warning",
    ("logger", "message", "error", "repeated"),
    "Something that a library had to say; `error` only where there was one, by its kind and place. What it says again"
    " is a line once a minute; `repeated`: how often it was not."
    " The level is the library's own: warnings and errors, and with `POLLER_LOG_LEVEL=debug` its info; never its debug,"
    " which shows requests and answers.",
)

EMBEDDED: Final = Entry(
    EMBEDDED_EVENT,
    "info",
    ("_aws", "Stream", "Route"),
    "Metrics for CloudWatch in its embedded metric format, once a minute if `log.embedded_metrics` is set, at any"
    " `POLLER_LOG_LEVEL`; their names and values follow. `Route` only in those of a route.",
)


def entries() -> list[Entry]:
    """Every event of `poller.events`, in the order in which they stand there."""
    kinds = (kind for kind in vars(events).values() if isinstance(kind, type))
    return [_entry(kind) for kind in kinds if issubclass(kind, Event) and kind is not Event]


def markdown() -> str:
    """The whole page."""
    known = entries()
    logged = [entry for entry in [*known, LIBRARY, EMBEDDED] if entry.level is not None]
    by_level = [f"## {level}\n\n{_table(entry for entry in logged if entry.level == level)}" for level in _ORDER]
    return "\n".join([_HEAD, *by_level, _COUNTED + _table(entry for entry in known if entry.level is None)])


def _table(some: Iterable[Entry]) -> str:
    rows = ["| event | fields | what has happened |", "|---|---|---|", *map(_row, some)]
    return "\n".join(rows) + "\n"


def _row(entry: Entry) -> str:
    names = ", ".join(f"`{name}`" for name in entry.fields)
    return f"| `{entry.name}` | {names} | {entry.meaning} |"


def _entry(kind: type[Event]) -> Entry:
    return Entry(kind.name(), kind.level, kind.fields(), _first_sentence(kind.__doc__ or ""))


def _first_sentence(text: str) -> str:
    """Up to the first full stop or blank line, on one line."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=\.) ", paragraph)[0]


def main() -> None:
    sys.stdout.write(markdown())


if __name__ == "__main__":
    main()
