"""Sinks that say which events they take: as if each had been given all."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from poller import events
from poller.application import Muster
from poller.events import Event, LeaseTaken, PageRead, StartupWaiting
from poller.observe.fanout import Choosy, Fanout
from poller.observe.log import LogSink
from poller.observe.metrics import LOGGED_ONLY, Metrics
from poller.observe.watch import ByStream, Watch

TAKEN = LeaseTaken(stream="Uploads", shard="shardId-1", reason="expired", previous_owner=None, checkpoint="42")
WAITING = StartupWaiting(stream="Uploads", what="the table", error="no answer", retry_in_s=1.0)
KINDS: list[type[Event]] = [
    kind for _, kind in inspect.getmembers(events, inspect.isclass) if issubclass(kind, Event) and kind is not Event
]


class Picky:
    """Takes events of one kind, by these."""

    def __init__(self, kind: type[Event], *takers: Callable[[Any], None]) -> None:
        self.asked: list[type[Event]] = []
        self._kind = kind
        self._takers = takers

    def __call__(self, event: Event) -> None:
        raise AssertionError("it said what takes its events")

    def takers(self, kind: type[Event]) -> tuple[Callable[[Any], None], ...]:
        self.asked.append(kind)
        return self._takers if kind is self._kind else ()


def test_a_choosy_sink_is_asked_once_a_kind_and_hears_by_what_it_named() -> None:
    one, other, all_of_them = list[Event](), list[Event](), list[Event]()
    picky = Picky(LeaseTaken, one.append, other.append)
    emit = Fanout([picky, all_of_them.append], io.StringIO())
    for event in (TAKEN, WAITING, TAKEN, WAITING):
        emit(event)
    assert one == other == [TAKEN, TAKEN]
    assert all_of_them == [TAKEN, WAITING, TAKEN, WAITING]
    assert picky.asked == [LeaseTaken, StartupWaiting]


def test_what_fails_of_a_choosy_sink_is_said_once_by_the_sinks_name_and_stops_nothing_else() -> None:
    def broken(_: Event) -> None:
        raise BrokenPipeError("gone")

    heard, stderr = list[Event](), io.StringIO()
    emit = Fanout([Picky(LeaseTaken, broken, heard.append), heard.append], stderr)
    emit(TAKEN)
    emit(TAKEN)
    assert heard == [TAKEN] * 4
    assert stderr.getvalue() == "poller: 'Picky failed on lease_taken: BrokenPipeError: gone'; said once\n"


def sinks() -> Iterator[tuple[Choosy, frozenset[type[Event]]]]:
    """The daemon's own, and which kinds of events leave each as it is."""
    silent = frozenset(kind for kind in KINDS if kind.level is None)
    yield LogSink("debug", "json", io.BytesIO()), silent
    yield Metrics(), LOGGED_ONLY
    watch = Watch(["default"], lambda: 0.0)
    unwatched = frozenset(kind for kind in KINDS if not watch.wants(kind))
    yield ByStream({"Uploads": watch}), unwatched
    yield ByStream({"Uploads": watch, "Orders": Watch(["default"], lambda: 0.0)}), unwatched
    yield Muster(["Uploads", "Orders"]), frozenset(KINDS) - {StartupWaiting}


@pytest.mark.parametrize(("sink", "indifferent"), [pytest.param(*each, id=type(each[0]).__name__) for each in sinks()])
def test_the_daemons_sinks_take_all_that_changes_them(sink: Choosy, indifferent: frozenset[type[Event]]) -> None:
    assert len(KINDS) > 60
    assert {kind for kind in KINDS if not sink.takers(kind)} == indifferent


def test_a_page_comes_to_its_own_streams_watch() -> None:
    watches = {name: Watch(["default"], lambda: 0.0) for name in ("Uploads", "Orders")}
    for several in (watches, {"Orders": watches["Orders"]}):
        emit = Fanout([ByStream(several)], io.StringIO())
        emit(
            PageRead(
                stream="Orders",
                shard="s",
                size_bytes=3,
                events={"MODIFY": 3},
                matched={"default": 0},
                filtered={"default": 3},
                behind_s=0.0,
                polled_at_s=0.0,
            )
        )
    assert watches["Orders"].known.read == 6
    assert watches["Uploads"].known.read == 0
