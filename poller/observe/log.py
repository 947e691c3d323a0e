"""Events as log lines: JSON for machines, or for people on a terminal; one event is one line, whatever is in it.

The libraries' own records (stdlib logging) go through the same renderer, never below INFO: their debug shows the wire.
"""

from __future__ import annotations

import json
import logging
import math
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from pathlib import PurePath
from types import TracebackType
from typing import Any, BinaryIO, Final, Literal

import structlog

from poller.events import Event, Level, LogLinesLost

Format = Literal["auto", "json", "console"]
Render = Callable[[object, str, MutableMapping[str, Any]], bytes]

# A line that is not from `poller.events`: something that a library had to say.
LIBRARY_EVENT: Final = "library_logged"
# And the lines that are for CloudWatch, if they are asked for.
EMBEDDED_EVENT: Final = "metrics_embedded"

_NUMBERS: Final[dict[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_COLOURS: Final = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_NO_COLOUR: Final = "\x1b[0m"
# Whoever lowers one of these by name must not succeed either: their debug lines hold requests, answers and signatures.
_SHOW_THE_WIRE: Final = ("botocore", "boto3", "urllib3")

_REPEAT_S: Final = 60.0
_REPEATS_MAX: Final = 256

_encode = json.JSONEncoder(default=str, separators=(",", ":")).encode


class LogSink:
    """Writes events of `level` and above to `stream`. `auto`: console on a terminal, JSON elsewhere.

    `now`: seconds since the epoch. OSError, ValueError: the stream is gone; that is for `Fanout` to report.
    """

    def __init__(
        self,
        level: Level,
        form: Format,
        stream: BinaryIO,
        *,
        process: int | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`process`: which of several that write to the same place; each line says so, and is written in one piece."""
        terminal = stream.isatty()
        console = form == "console" or (form == "auto" and terminal)
        colours = terminal and not os.environ.get("NO_COLOR")
        render: Render = _ConsoleLine(colours=colours) if console else _json_line
        said_by: dict[str, object] = {}
        if process is not None:
            render, said_by = _InOnePiece(render), {"process": process}
        self._stamp: Final = _Stamp(now, said_by)
        self._render: Final = render
        self._stream: Final = stream
        self._lost = 0
        self.set_level(level)
        self._line = structlog.BytesLoggerFactory(stream)().msg

    def __call__(self, event: Event) -> None:
        kind = type(event)
        method, name, names = self._plans.get(kind) or self._plan(kind)
        if method is not None:
            self._write(method, name, {field: _brief(getattr(event, field)) for field in names})

    def takers(self, kind: type[Event]) -> tuple[Callable[[Event], None], ...]:
        """Nothing for what is never logged, whatever the level (`poller.observe.fanout.Choosy`)."""
        return () if kind.level is None else (self,)

    def set_level(self, level: Level) -> None:
        """From the next line on. Libraries' lines are bridged by the level that held when that was set up."""
        self.level = _NUMBERS[level]
        logger = structlog.wrap_logger(
            structlog.BytesLoggerFactory(self._stream)(),
            processors=[self._stamp, self._render],
            wrapper_class=structlog.make_filtering_bound_logger(self.level),
        ).bind()
        self._methods: dict[str, Callable[..., Any]] = {name: getattr(logger, name) for name in _NUMBERS}
        # What to call for each class of events, and its fields; nothing to call: it is not logged at this level.
        self._plans: dict[type[Event], tuple[Callable[..., Any] | None, str, tuple[str, ...]]] = {}

    def library(self, level: Level, **said: object) -> None:
        """A line of a library's."""
        self._write(self._methods[level], LIBRARY_EVENT, said)

    def embed(self, document: Mapping[str, object]) -> None:
        """A line of metrics for CloudWatch: JSON, whatever level and format the others have. One that fails is lost."""
        try:
            self._line(_json_line(None, "info", self._stamp(None, "info", {"event": EMBEDDED_EVENT, **document})))
        except OSError:
            self._lost += 1
        except ValueError:
            return  # the stream is closed; `Fanout` says so when it meets it

    def _write(self, method: Callable[..., Any], name: str, said: Mapping[str, object]) -> None:
        """A line, and before it how many have not got through since the last one that has."""
        try:
            if self._lost:
                self._methods["warning"](LogLinesLost.name(), lines=self._lost)
                self._lost = 0
            method(name, **said)
        except OSError:
            self._lost += 1
            raise

    def _plan(self, kind: type[Event]) -> tuple[Callable[..., Any] | None, str, tuple[str, ...]]:
        silent = kind.level is None or _NUMBERS[kind.level] < self.level
        method = None if silent or kind.level is None else self._methods[kind.level]
        self._plans[kind] = (method, kind.name(), kind.fields())
        return self._plans[kind]


def _brief(value: object) -> object:
    """A time to the millisecond is enough for a line."""
    return round(value, 3) if isinstance(value, float) else value


class _Stamp:
    """Puts time, level, event, and who says it where there are several, before the fields."""

    def __init__(self, now: Callable[[], float], said_by: Mapping[str, object]) -> None:
        self._now = now
        self._said_by = said_by

    def __call__(self, _logger: object, method: str, said: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        at = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")
        return {"ts": at.replace("+00:00", "Z"), "level": method, "event": said.pop("event"), **self._said_by, **said}


def _json_line(_logger: object, _method: str, said: MutableMapping[str, Any]) -> bytes:
    # Only printable ASCII is left: nothing that a value holds can end the line or speak to a terminal.
    return _encode(said).encode("ascii")


class _ConsoleLine:
    """`08:00:00.123 warning lease_lost shard=shardId-1 reason=taken`"""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: object, method: str, said: MutableMapping[str, Any]) -> bytes:
        at, level, event = said.pop("ts"), f"{said.pop('level'):<7}", said.pop("event")
        if self._colours:
            level = f"{_COLOURS[method]}{level}{_NO_COLOUR}"
        values = (f"{name}={_plain(value)}" for name, value in said.items())
        return " ".join([at[11:-1], level, event, *values]).encode("utf-8")


class _InOnePiece:
    """Cuts the longest values until a pipe takes the line whole, so that no other process's gets into it."""

    def __init__(self, render: Render) -> None:
        self._render = render

    def __call__(self, logger: object, method: str, said: MutableMapping[str, Any]) -> bytes:
        line = self._render(logger, method, dict(said))
        while len(line) >= select.PIPE_BUF:  # its end is not in it yet
            longest = max(said, key=lambda name: len(_text(said[name])))
            text = _text(said[longest])
            said[longest] = f"{text[: len(text) // 2]}..."
            line = self._render(logger, method, dict(said))
        return line


def _text(value: object) -> str:
    return value if isinstance(value, str) else _encode(value)


def _plain(value: object) -> str:
    """The value on one line; in quotes and escaped when it holds anything but printable text without blanks."""
    text = _text(value)
    if text and text.isprintable() and not any(mark in text for mark in (" ", '"', "=")):
        return text
    if text.isprintable():
        return f'"{text}"' if isinstance(value, str) else text
    return f'"{text.encode("unicode_escape").decode("ascii")}"'


class _Bridge(logging.Handler):
    """Hands the records of stdlib logging to the sink."""

    def __init__(self, sink: LogSink, monotonic: Callable[[], float]) -> None:
        # A library's INFO is about itself ("found credentials in ..."): for those who look for a fault. Its DEBUG shows
        # the wire, and is never logged.
        super().__init__(logging.INFO if sink.level <= logging.DEBUG else max(logging.WARNING, sink.level))
        self._sink = sink
        self._repeats = _Repeats(monotonic)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a library's slip in its own arguments is still worth its line
            message = str(record.msg)
        said: dict[str, object] = {"logger": record.name, "message": message}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            # asyncio shows the failed task, and with it the error's text, from the second line on.
            said["message"] = message.partition("\n")[0]
            said["error"] = whereabouts(error)
        repeated = self._repeats.since_said(tuple(said.values()))
        if repeated is None:
            return
        if repeated:
            said["repeated"] = repeated
        try:
            self._sink.library(_level(record.levelno), **said)
        except (OSError, ValueError):
            return  # a log that cannot be written cannot say so: `Fanout` does when it meets it


class _Repeats:
    """Of what a library says again and again, as botocore does at every call without credentials, one line a minute."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        # When it was said last, and how often it was not since; those that were said last in the end.
        self._known: dict[tuple[object, ...], tuple[float, int]] = {}

    def since_said(self, what: tuple[object, ...]) -> int | None:
        """How often it was kept back since it was said last; None: keep it back."""
        now = self._monotonic()
        said_at, kept_back = self._known.get(what, (-math.inf, 0))
        if now - said_at < _REPEAT_S:
            self._known[what] = (said_at, kept_back + 1)
            return None
        self._known.pop(what, None)
        self._known[what] = (now, 0)
        if len(self._known) > _REPEATS_MAX:
            del self._known[next(iter(self._known))]
        return kept_back


def whereabouts(error: BaseException) -> str:
    """An error that nobody foresaw, by its kind and place and without its text, which may quote an item."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return f"{type(error).__name__} in {' > '.join(places)}" if places else type(error).__name__


def hide_texts_of_errors() -> None:
    """From now on Python itself shows an error that nobody catches by its kind and its places, in any thread."""

    def show(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        if sys.stderr is None:
            return
        frames = [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
        causes = f", from {type(error.__cause__).__name__}" if error and error.__cause__ else ""
        try:
            sys.stderr.write("\n".join([f"poller: a defect: {kind.__name__}{causes}", *frames, ""]))
        except (OSError, ValueError):
            return  # nowhere left to say it

    sys.excepthook = show
    threading.excepthook = lambda hooked: show(hooked.exc_type, hooked.exc_value, hooked.exc_traceback)
    sys.unraisablehook = lambda hooked: show(hooked.exc_type, hooked.exc_value, hooked.exc_traceback)


def _level(number: int) -> Level:
    if number >= logging.ERROR:
        return "error"
    return "warning" if number >= logging.WARNING else "info"


def capture_libraries(sink: LogSink, *, monotonic: Callable[[], float] = time.monotonic) -> Callable[[], None]:
    """Sends what libraries log, and Python's warnings, through the sink from now on; the answer undoes it."""
    root, bridge = logging.getLogger(), _Bridge(sink, monotonic)
    loggers = [root, *map(logging.getLogger, _SHOW_THE_WIRE)]
    before = [(logger, logger.level) for logger in loggers]
    handlers = root.handlers[:]
    root.handlers[:] = [bridge]
    for logger in loggers:
        logger.setLevel(bridge.level)
    logging.captureWarnings(True)

    def undo() -> None:
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        for logger, level in before:
            logger.setLevel(level)

    return undo
