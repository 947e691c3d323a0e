"""Lines to a reader that stands still: none waits, none is cut in two, and what is lost is counted."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from poller.events import DaemonStopping, Event
from poller.observe.fanout import Fanout
from poller.observe.log import LogSink
from poller.observe.outlet import Outlet, TextOutlet, standard_output

SAID = DaemonStopping(reason="x" * 100)


class Pipe:
    """A pipe of four pages."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 16_384)

    def read(self) -> bytes:
        """What is in it now."""
        os.set_blocking(self.reader, False)
        read = b""
        with suppress(BlockingIOError):
            while some := os.read(self.reader, 65536):
                read += some
        return read


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.writer)
    os.close(pipe.reader)


def events(read: bytes) -> list[str]:
    return [json.loads(line)["event"] for line in read.splitlines()]


def test_a_reader_that_stands_still_costs_lines_and_no_time_and_is_told_how_many(pipe: Pipe) -> None:
    log = LogSink("info", "json", Outlet(pipe.writer))  # type: ignore[arg-type]  # it is as much of one as is needed
    emit = Fanout([log], TextOutlet(pipe.writer))  # that pipe is full as well
    for _ in range(1_000):
        emit(SAID)
    first = events(pipe.read())
    emit(SAID)
    after = [json.loads(line) for line in pipe.read().splitlines()]
    assert [line["event"] for line in after] == ["log_lines_lost", "daemon_stopping"]
    assert after[0]["lines"] + len(first) == 1_000


def test_a_line_longer_than_the_pipe_is_finished_before_the_next_one(pipe: Pipe) -> None:
    outlet = Outlet(pipe.writer)
    assert outlet.write(b"a" * 40_000 + b"\n") == 40_001
    with pytest.raises(BlockingIOError):
        outlet.write(b"lost\n")
    read = pipe.read()
    while not read.endswith(b"b\n"):
        with suppress(BlockingIOError):
            outlet.write(b"b\n")
        read += pipe.read()
    assert read == b"a" * 40_000 + b"\nb\n"


def test_a_pipe_that_others_fill_between_the_look_and_the_write_is_not_waited_for(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", os.fdopen(os.dup(pipe.writer), "w"))
    outlet = standard_output(shared=True)
    sys.stdout.close()
    write = os.write

    def fill_first(descriptor: int, line: bytes) -> int:
        os.set_blocking(pipe.writer, False)
        with suppress(BlockingIOError):
            while True:
                write(pipe.writer, b"o" * 4096)
        return write(descriptor, line)

    monkeypatch.setattr(os, "write", fill_first)
    with pytest.raises(BlockingIOError):
        outlet.write(b"lost\n")
    monkeypatch.setattr(os, "write", write)
    assert set(pipe.read()) == {ord("o")}
    assert outlet.write(b"after\n") == 6
    assert pipe.read() == b"after\n"


def test_a_full_disk_costs_the_lines_of_that_time(tmp_path: Path) -> None:
    heard: list[Event] = []
    with open("/dev/full", "wb", buffering=0) as full, (tmp_path / "log").open("wb") as file:
        sink = LogSink("info", "json", Outlet(full.fileno()))  # type: ignore[arg-type]
        emit = Fanout([sink, heard.append], TextOutlet(file.fileno()))
        emit(SAID)
        emit(SAID)
    assert heard == [SAID, SAID]
    assert (tmp_path / "log").read_text().count("\n") == 1
