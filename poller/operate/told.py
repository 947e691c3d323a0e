"""What a daemon's `/status` tells, read for people: one stream, several, or several processes of such. Pure.

It comes from another process, maybe of another version and with whatever is in a name: what is missing is not known,
and no character of it moves a terminal's cursor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from poller.observe.spoken import spoken
from poller.observe.verdict import Level

Object = Mapping[str, Any]

_ORDER: Final = list(Level)


@dataclass(frozen=True, slots=True)
class StreamTold:
    """One stream of one process. `stream` and `process` are empty for a process that does not answer."""

    name: str
    level: Level
    text: str
    stream: Object
    process: Object


@dataclass(frozen=True, slots=True)
class Told:
    """The whole answer; `level` and `text` are the verdict on all of it."""

    ready: bool
    level: Level
    text: str
    streams: tuple[StreamTold, ...]
    now_s: float

    def since(self, time: str | None) -> float | None:
        """Seconds from this time of day until the answer was made."""
        return None if time is None else self.now_s - _seconds(time)

    def ago(self, time: str | None) -> str | None:
        passed = self.since(time)
        return None if passed is None else f"{spoken(passed)} ago"


def told(document: Any) -> Told:
    """ValueError: this is no answer of a daemon's `/status`."""
    try:
        streams = tuple(_streams(document, ""))
        worst = max(streams, key=lambda one: _ORDER.index(one.level))
        verdict = document.get("verdict") or {"level": worst.level, "text": f"{worst.name}: {worst.text}"}
        ready = all(one.stream.get("ready", False) for one in streams)
        return Told(ready, _level(verdict), plain(verdict["text"]), streams, _seconds(document["now"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not the status of a daemon ({type(error).__name__}: {error})") from error


def _streams(document: Object, prefix: str) -> Iterator[StreamTold]:
    if "processes" in document:
        for one in document["processes"]:
            name = f"process {one['process']}"
            if one["status"] is None:
                silent = {"level": "trouble" if one.get("started_at") else "starting", "text": "It does not answer."}
                verdict = one.get("verdict") or silent
                yield StreamTold(name, _level(verdict), plain(verdict["text"]), {}, {})
            else:
                yield from _streams(one["status"], f"{name}: ")
        return
    for stream in document.get("streams", [document]):
        verdict, name = stream["verdict"], plain(stream["stream"]["table"])
        yield StreamTold(f"{prefix}{name}", _level(verdict), plain(verdict["text"]), stream, document)


def _level(verdict: Object) -> Level:
    return Level(verdict["level"])


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def plain(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
