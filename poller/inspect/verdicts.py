"""A filter's verdict on records from a file: what forms of file there are, and what is told of each record. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from poller.decide.filter import Filter, Finding


class UnreadableRecords(ValueError):
    """The text holds no records; the message says where and why, and never what stands there."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a record is wanted, and why; the findings show content of its item."""

    match: bool
    event_name: str
    event_id: str
    findings: tuple[Finding, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        names = ("path", "wanted", "found", "ok", "pattern")
        return {
            "match": self.match,
            "event_name": self.event_name or None,
            "event_id": self.event_id or None,
            "findings": [{name: getattr(finding, name) for name in names} for finding in self.findings],
        }


def verdict_on(compiled: Filter, record: dict[str, Any]) -> Verdict:
    return Verdict(
        compiled.matches(record), _text(record, "eventName"), _text(record, "eventID"), compiled.explain(record)
    )


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) else ""


def read_records(text: str) -> list[dict[str, Any]]:
    """The records of one JSON value or of several, one after the other or one a line.

    Each is a record, a list of records, or an object whose `Records` are some: an answer of `GetRecords`, an event of
    Lambda. UnreadableRecords: something is none of that, or there is no record at all.
    """
    records = [record for value, line in _values(text.removeprefix("\ufeff")) for record in _records(value, line)]
    if not records:
        raise UnreadableRecords("holds no record")
    return records


def _values(text: str) -> Iterator[tuple[object, int]]:
    """Each JSON value with the line that it begins in."""
    decoder = json.JSONDecoder()
    at, line, counted = 0, 1, 0
    while at < len(text):
        if text[at] in " \t\r\n":
            at += 1
            continue
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise UnreadableRecords(f"line {error.lineno}: not JSON: {error.msg} (column {error.colno})") from error
        except RecursionError as error:
            raise UnreadableRecords(f"line {line}: nested too deep") from error
        yield value, line


def _records(value: object, line: int) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and "Records" in value and "dynamodb" not in value:
        value = value["Records"]
        if not isinstance(value, list):
            raise UnreadableRecords(f"line {line}: Records is not a list")
    for index, record in enumerate(value if isinstance(value, list) else [value]):
        if not isinstance(record, dict):
            which = f", element {index + 1}" if isinstance(value, list) else ""
            raise UnreadableRecords(f"line {line}{which}: a record is a JSON object, as GetRecords gives it")
        yield record
