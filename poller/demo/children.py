"""The demo's child processes: the emulator, and the daemon exactly as `poller run` starts it.

Both run in a session of their own, so that a Ctrl-C reaches only the demo, which ends them in order.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from poller.demo.failure import DemoFailed
from poller.events import HttpListening

EMULATOR_START_MAX_S: Final = 20.0
DAEMON_START_MAX_S: Final = 20.0
DAEMON_STOP_MAX_S: Final = 15.0  # it promises to be gone within 10
LOOK_EVERY_S: Final = 0.05
LAST_LINES: Final = 10
LAST_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Child:
    """A process of the demo and the file that holds what it says."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raises DemoFailed if it has ended."""
        exit_code = self.process.poll()
        if exit_code is not None:
            raise self.failed(f"ended by itself with exit code {exit_code}")

    def failed(self, what: str) -> DemoFailed:
        return DemoFailed(f"the {self.name} {what}", _last_lines(self.log))


@dataclass(frozen=True, slots=True)
class Emulator(Child):
    """The emulator, and where it listens."""

    url: str

    def take_along(self, pid: int | None) -> None:
        """If the demo dies without a word, the emulator ends this process too. None takes it back."""
        self._tell(f"{pid or ''}")

    def take_messages(self, *, take: bool) -> None:
        """Whether its queues take messages, or refuse them all."""
        self._tell("accept" if take else "refuse")

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None  # noqa: S101 - for the type checker: it was started with a pipe
        with suppress(BrokenPipeError):  # it has died, which `check` says better
            self.process.stdin.write(f"{line}\n".encode())
            self.process.stdin.flush()


@dataclass(frozen=True, slots=True)
class Stop:
    """How the daemon ended after SIGTERM; exit code -9: it had to be killed."""

    exit_code: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Daemon(Child):
    """`poller run`."""

    def failed(self, what: str) -> DemoFailed:
        error = Child.failed(self, what)
        # The variable is set by the demo itself, from its own option.
        lines = [line.replace("POLLER_HTTP_PORT", "--http-port") for line in error.log_lines]
        return DemoFailed(str(error), lines)

    def address(self) -> str:
        """Waits for the event of its log that says where it serves metrics and health. DemoFailed: it does not come."""
        deadline = time.monotonic() + DAEMON_START_MAX_S
        with self.log.open(encoding="utf-8", errors="replace") as log:
            while time.monotonic() < deadline:
                self.check()
                while line := log.readline():
                    if url := _url_of(line):
                        return url.rstrip("/")
                time.sleep(LOOK_EVERY_S)
        raise self.failed(f"did not say `{HttpListening.name()}` within {DAEMON_START_MAX_S:g} s")

    def stop(self) -> Stop:
        """SIGTERM, as an orchestrator would; killed if it is not gone long after it should be."""
        begun_s = time.monotonic()
        self.process.terminate()
        try:
            self.process.wait(DAEMON_STOP_MAX_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return Stop(self.process.wait(), time.monotonic() - begun_s)


@contextmanager
def started_emulator(log: Path) -> Iterator[Emulator]:
    """The emulator, listening, for as long as the block lasts. DemoFailed: it does not start."""
    with log.open("wb") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "poller.demo.emulator"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
            start_new_session=True,
        )
    try:
        emulator = Emulator("emulator", process, log, _first_line(process, EMULATOR_START_MAX_S))
        if not emulator.url:
            raise emulator.failed("did not start")
        yield emulator
    finally:
        _end(process)


@contextmanager
def started_daemon(environ: Mapping[str, str], log: Path, emulator: Emulator) -> Iterator[Daemon]:
    """The daemon; the end of the block kills it if it is still there."""
    with log.open("wb") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "poller", "run"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        emulator.take_along(process.pid)
        yield Daemon("daemon", process, log)
    finally:
        _end(process)
        emulator.take_along(None)


class Workers:
    """The daemon, and after a kill the next one, at the same address. One at a time; the end of the block kills it."""

    def __init__(self, environ: Mapping[str, str], folder: Path, emulator: Emulator) -> None:
        self._environ = dict(environ)
        self._folder = folder
        self._emulator = emulator
        self._end = ExitStack()
        self._started = 0

    def __enter__(self) -> Self:
        self._start()
        try:
            self.address = self.current.address()
        except BaseException:
            self._end.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()

    @property
    def killed(self) -> int:
        return self._started - 1

    def replace(self) -> None:
        """kill -9, and the next one is begun; it is not waited for."""
        self._end.close()
        self._environ["POLLER_HTTP_PORT"] = f"{urlsplit(self.address).port}"
        self._start()

    def _start(self) -> None:
        self._started += 1
        log = self._folder / ("daemon.log" if self._started == 1 else f"daemon-{self._started}.log")
        self.current = self._end.enter_context(started_daemon(self._environ, log, self._emulator))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a child that keeps nothing: what had to be settled has been settled by now, or the demo has failed."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def _first_line(process: subprocess.Popen[bytes], timeout_s: float) -> str:
    """Empty: it ended, or said nothing in time."""
    if process.stdout is None:
        return ""
    readable, _, _ = select.select([process.stdout], [], [], timeout_s)
    return process.stdout.readline().decode().strip() if readable else ""


def _url_of(log_line: str) -> str | None:
    """The address, if the line is the event that tells it. Anything may stand in a log, even half a line."""
    with suppress(ValueError):
        event = json.loads(log_line)
        if isinstance(event, dict) and event.get("event") == HttpListening.name():
            return str(event["url"])
    return None


def _last_lines(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
        return file.read().decode(errors="replace").splitlines()[-LAST_LINES:]
