"""The page that lists what can stand in the log."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

from poller.events import DaemonStarting, Delivered, Event, LeaseLost
from poller.observe import catalogue
from poller.observe.log import LogSink, capture_libraries

PAGE = Path(__file__).parents[2] / "docs" / "events.md"


def entry(name: str) -> catalogue.Entry:
    [found] = [one for one in catalogue.entries() if one.name == name]
    return found


def fields_of(line: bytes) -> list[str]:
    """The fields of a line of the log, without those that every line has."""
    return [name for name in json.loads(line) if name not in ("ts", "level", "event")]


def test_the_page_in_the_repository_is_what_the_events_say() -> None:
    assert PAGE.read_text("utf-8") == catalogue.markdown(), "python -m poller.observe.catalogue > docs/events.md"


def test_as_a_module_it_prints_the_page() -> None:
    command = [sys.executable, "-m", "poller.observe.catalogue"]
    printed = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    assert printed.decode() == catalogue.markdown()


def test_every_event_is_there_once_and_says_in_a_sentence_what_it_is() -> None:
    entries = catalogue.entries()
    ours = {kind.name() for kind in Event.__subclasses__() if kind.__module__ == "poller.events"}
    assert {one.name for one in entries} == ours
    assert len({one.name for one in entries}) == len(entries)
    assert [one.name for one in entries if not one.meaning.endswith(".") or "|" in one.meaning] == []


def test_an_entry_has_the_level_the_fields_and_the_first_sentence_of_its_event() -> None:
    assert entry("lease_lost") == catalogue.Entry(
        "lease_lost",
        "warning",
        ("stream", "shard", "reason", "new_owner"),
        "This worker does not read the shard any more though it did not give it back.",
    )
    assert entry("delivered").level is None


def test_a_line_has_the_fields_of_its_entry_in_their_order() -> None:
    out = io.BytesIO()
    sink = LogSink("debug", "json", out)
    sink(DaemonStarting(version="1", worker_id="me"))
    sink(LeaseLost(stream="s", shard="shardId-1", reason="taken"))
    sink(Delivered(stream="s", route="r", count=1, latencies_s=(1.0,)))

    started, lost = out.getvalue().splitlines()
    assert fields_of(started) == list(entry("daemon_starting").fields)
    assert fields_of(lost) == list(entry("lease_lost").fields)


def test_a_librarys_line_has_the_fields_that_the_page_says() -> None:
    out = io.BytesIO()
    seconds = iter([0.0, 30.0, 60.0])
    undo = capture_libraries(LogSink("info", "json", out), monotonic=lambda: next(seconds))
    try:
        for _ in range(3):
            logging.getLogger("urllib3").error("failed", exc_info=OSError("it broke"))
    finally:
        undo()

    _, line = out.getvalue().splitlines()
    assert json.loads(line)["event"] == catalogue.LIBRARY.name
    assert fields_of(line) == list(catalogue.LIBRARY.fields)
