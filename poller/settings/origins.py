"""Where each setting's value comes from, so that a fault is told in the words of the one who wrote it.

A setting is named by its dotted path, `lease.duration` or `route.0.queue`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

_SHOWN_MAX = 120  # characters of a value: enough to recognise it, and the line stays one
_PASSWORD = re.compile(r"(?<=://)[^/@\s\"]+(?=@)")
# What is a URL from its first character on may hold anything before its last @: secrets are seldom escaped as they
# should be. As a text of its own, and as a string in JSON.
_IN_TEXT = re.compile(r"\A(\s*[a-z0-9+.-]*://).+(?=@)", re.DOTALL | re.IGNORECASE)
_IN_JSON = re.compile(r"(\"\s*[a-z0-9+.-]*://)(?:[^\"\\]|\\.)+(?=@)", re.IGNORECASE)


def masked(text: str) -> str:
    """The text without user and password of the URLs in it."""
    for whole in (_IN_TEXT, _IN_JSON):
        text = whole.sub(r"\1***", text)
    return _PASSWORD.sub("***", text)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written: `name` is the variable's or, in the file, the key; `value` is as it was written."""

    kind: Literal["default", "file", "environment"]
    name: str
    value: object = None
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        if self.kind == "environment":
            return f"environment variable {self.name}"
        return f"file {self.place}" if self.kind == "file" else "default"

    @property
    def place(self) -> str:
        return self.file if self.line is None else f"{self.file}, line {self.line}"

    @property
    def written(self) -> str:
        """`POLLER_HTTP_PORT="x"`, `http.port = "x" (poller.toml, line 7)`, or only the name of what nobody has set."""
        text = masked(json.dumps(self.value, default=str))
        if len(text) > _SHOWN_MAX:
            text = f"{text[:_SHOWN_MAX]}..."
        if self.kind == "environment":
            return f"{self.name}={text}"
        name = self.name if self.kind == "default" else f"{self.name} = {text}"
        return f"{name} ({self.place})" if self.file else name


@dataclass(frozen=True, slots=True)
class Origins:
    """The origins of all settings that somebody has set.

    `file`: the one that was read; `lines`: where its keys and tables are; `variables`: by which environment variable a
    setting could be set.
    """

    known: Mapping[str, Origin] = field(default_factory=dict)
    file: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    def of(self, setting: str) -> Origin:
        """A setting's origin; for an element of a list, the list's."""
        for path in _with_ancestors(setting):
            if path in self.known:
                return self.known[path]
        if not self.file:
            return Origin("default", self.variables.get(setting, key(setting)))
        line = next((self.lines[path] for path in _with_ancestors(setting) if path in self.lines), None)
        return Origin("default", key(setting), file=self.file, line=line)

    def with_those_of(self, other: Origins, settings: Collection[str]) -> Origins:
        """These, but for the named settings, which are from where `other` has them."""
        known = {path: origin for path, origin in self.known.items() if path not in settings}
        return replace(self, known=known | {path: other.known[path] for path in settings if path in other.known})

    def fault(self, setting: str, problem: str) -> str:
        """One line: the setting as it was written, its value, what is wrong with it and the mend."""
        return f"{self.of(setting).written}: {problem}"


def key(setting: str) -> str:
    """The setting as the file spells it: `route.0.queue` -> `route.queue`."""
    return re.sub(r"\.\d+(?=\.|$)", "", setting)


def _with_ancestors(setting: str) -> Iterator[str]:
    yield setting
    while "." in setting:
        setting = setting.rpartition(".")[0]
        yield setting
