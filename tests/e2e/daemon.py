"""The daemon as a process of its own, as its users start it: `python -m poller run` with an environment."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

DEADLINE_S = 60.0


class Daemon:
    """One process at a time, started and ended as often as a test wants; its log lines add up in one file."""

    def __init__(self, environment: Mapping[str, str], log: Path, arguments: tuple[str, ...] = ()) -> None:
        self._environment = {"PATH": os.environ["PATH"], "POLLER_HTTP_PORT": "0", **environment}
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AssertionError("the daemon is not running")
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "poller", "run", *self._arguments],
                env=self._environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()
        self._process = None

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; the exit code, and how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=DEADLINE_S)
        self._process = None
        return code, time.monotonic() - began

    def rss_bytes(self) -> int:
        """The resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        match = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        if match is None:
            raise AssertionError(status)
        return int(match[1]) * 1024

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """What all its lives have logged, in order; only the events of that name, if one is given."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        events = [event for line in lines if (event := _event(line))]
        return [event for event in events if name is None or event["event"] == name]

    def wait_for(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        """Waits until an event has been logged so often."""
        wait_until(lambda: len(self.events(name)) >= count, lambda: f"no {name}: {self.tail()}")
        return self.events(name)

    def get(self, path: str) -> str:
        """An answer of its HTTP server."""
        url = self.wait_for("http_listening")[-1]["url"]
        with urllib.request.urlopen(url + path, timeout=DEADLINE_S) as answer:
            text: str = answer.read().decode()
            return text

    def tail(self) -> str:
        return self.log.read_text(encoding="utf-8")[-4000:]


def _event(line: str) -> dict[str, Any]:
    """Nothing from what is no event: another program's line, or one that a kill or a full disk has cut off."""
    try:
        event: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}
    return event


def wait_until(condition: Callable[[], bool], why: Callable[[], str], at_most_s: float = DEADLINE_S) -> None:
    """Looks until the condition holds; AssertionError with `why()` after a time in which only a defect does not."""
    give_up = time.monotonic() + at_most_s
    while not condition():
        if time.monotonic() > give_up:
            raise AssertionError(why())
        time.sleep(0.05)
