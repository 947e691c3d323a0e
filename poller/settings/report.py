"""The settings in force, for people: each with its value as they would write it, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from poller.settings.model import Settings
from poller.settings.origins import Origin, masked


class Row(NamedTuple):
    """One setting: `lease.duration`, `10s`, where that comes from."""

    setting: str
    value: str
    origin: Origin


def describe(settings: Settings, default_pattern: Mapping[str, Any]) -> Sequence[Row]:
    """All settings in the file's order, users and passwords in URLs masked; `-`: not set, and without a default.

    `default_pattern`: the filter that is in force where a route has none of its own.
    """
    values = settings.model_dump(mode="json", by_alias=True)
    values["lease"]["table"] = settings.lease_table
    for route in values["route"]:
        if route["filter"] is None:
            route["filter"] = [default_pattern]
    return [Row(path, masked(_text(value)), settings.origin(path)) for path, value in _flat(values)]


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for section, table in values.items():
        tables = {f"route.{index}": one for index, one in enumerate(table)} if section == "route" else {section: table}
        for path, one in tables.items():
            yield from ((f"{path}.{name}", value) for name, value in one.items())


def _text(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
