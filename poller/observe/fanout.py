"""One fact to all who want to know: the `emit` that the loops are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from poller.events import Emit, Event
from poller.observe.log import whereabouts


class Text(Protocol):
    """What takes text: `sys.stderr`, or what stands for it."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


Taker = Callable[[Any], None]


@runtime_checkable
class Choosy(Protocol):
    """A sink that says what of it takes a kind of events: always the same for one kind, and nothing for most."""

    def __call__(self, event: Event, /) -> None: ...

    def takers(self, kind: type[Event]) -> Sequence[Taker]: ...


class Fanout:
    """Calls every sink with every event; of one that is choosy what takes events of this kind.

    A sink that fails is reported once on `stderr`, since the log may be what failed; the daemon and the others go on.
    """

    def __init__(self, sinks: Sequence[Emit | Choosy], stderr: Text) -> None:
        self._sinks = tuple(sinks)
        self._stderr = stderr
        self._reported: set[int] = set()
        # Some events come with every request, and few sinks want them.
        self._takers: dict[type[Event], tuple[tuple[Emit | Choosy, Taker], ...]] = {}

    def __call__(self, event: Event) -> None:
        kind = type(event)
        takers = self._takers.get(kind)
        if takers is None:
            takers = self._takers[kind] = tuple((sink, take) for sink in self._sinks for take in _takers(sink, kind))
        for sink, take in takers:
            try:
                take(event)
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


def _takers(sink: Emit | Choosy, kind: type[Event]) -> Sequence[Taker]:
    return sink.takers(kind) if isinstance(sink, Choosy) else (sink,)
