"""Which records a command wants: a route's filter or another, and only those of one item. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import Buffer

from poller.decide.filter import Filter, PatternError, compile_filter
from poller.decide.pattern import exact_number
from poller.errors import ConfigurationError
from poller.run.fields import Path
from poller.run.sift import whole


class Wanted:
    """Records that a filter wants, of one item if there is a key. As `poller.run.skim.Wants`."""

    def __init__(self, compiled: Filter, key: Filter | None = None) -> None:
        self.filter = compiled
        self.key = key
        self.paths: frozenset[Path] = compiled.paths | (key.paths if key else frozenset())
        self.wants_all = compiled.wants_all and key is None
        self.needles = key.needles if compiled.needles is None and key is not None else compiled.needles

    def matches(self, record: Mapping[str, Any]) -> bool:
        return self.filter.matches(record) and (self.key is None or self.key.matches(record))


def read_key(text: str) -> tuple[str, str]:
    """`NAME=VALUE`. ValueError: it is none."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError("write NAME=VALUE, the name of a key attribute and its value")
    return name, value


def key_filter(keys: Sequence[tuple[str, str]]) -> Filter | None:
    """The item with these values of its key attributes, whatever their types; None without any."""
    if not keys:
        return None
    names = {name: _value(value) for name, value in keys}
    return compile_filter([{"dynamodb": {"Keys": names}}])


def _value(text: str) -> dict[str, Any]:
    number = exact_number(text)
    return {"$or": [{"S": [text]}, {"N": [text] if number is None else [text, number]}, {"B": [text]}]}


def other_filter(patterns: Sequence[str]) -> Filter:
    """ConfigurationError: patterns of the command line that cannot be compiled."""
    try:
        return compile_filter(patterns)
    except PatternError as error:
        raise ConfigurationError(f"--filter: {error}") from error


def decoded(raw: Buffer) -> dict[str, Any] | None:
    """The record as JSON; None for one that cannot be understood."""
    try:
        return whole(raw)
    except (ValueError, TypeError, RecursionError):
        return None


def shown(value: object) -> str:
    """One value of a record, for people."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
