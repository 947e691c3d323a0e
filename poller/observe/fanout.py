"""One fact to all who want to know: the `emit` that the loops are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from poller.events import Emit, Event
from poller.observe.log import whereabouts


class Text(Protocol):
    """What takes text: `sys.stderr`, or what stands for it."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class Fanout:
    """Calls every sink with every event.

    A sink that fails is reported once on `stderr`, since the log may be what failed; the daemon and the others go on.
    """

    def __init__(self, sinks: Sequence[Emit], stderr: Text) -> None:
        self._sinks = tuple(sinks)
        self._stderr = stderr
        self._reported: set[int] = set()

    def __call__(self, event: Event) -> None:
        for sink in self._sinks:
            try:
                sink(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, watching must not stop what is watched
                self._report(sink, event, error)

    def _report(self, sink: Callable[[Event], None], event: Event, error: Exception) -> None:
        if id(sink) in self._reported:
            return
        self._reported.add(id(sink))
        # The text of what the disk or the pipe says is needed; that of a defect may quote what it stumbled on.
        why = f"{type(error).__name__}: {error}" if isinstance(error, OSError) else whereabouts(error)
        what = f"{type(sink).__name__} failed on {event.name()}: {why}"
        try:
            self._stderr.write(f"poller: {what!a}; said once\n")
            self._stderr.flush()
        except (OSError, ValueError):
            return  # nowhere left to say it
