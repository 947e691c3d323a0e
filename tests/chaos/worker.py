"""One worker: a process with several applications, its own lines to every service, its own clock and credentials."""

from __future__ import annotations

import json
import re
import resource
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from tests.chaos.plan import Service
from tests.e2e.daemon import Daemon
from tests.servers import Relay

_METRICS_S: Final = 2.0
_TASKS: Final = re.compile(r"^poller_asyncio_tasks (\S+)$", re.MULTILINE)
# Where Debian's package `faketime` puts it; the form for programs with threads.
_FAKETIME: Final = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def clock_can_be_shifted() -> bool:
    return bool(_FAKETIME)


class Footprint(NamedTuple):
    """What a process holds."""

    rss_bytes: int
    files: int
    threads: int
    tasks: int

    def __str__(self) -> str:
        memory = f"{self.rss_bytes / 2**20:.1f} MiB"
        return f"{memory}, {self.files} open files, {self.threads} threads, {self.tasks} tasks"


class Exit(NamedTuple):
    """How a worker left after SIGTERM, and how long it had lived by then."""

    worker: int
    code: int
    seconds: float
    at_ms: int
    age_s: float


@dataclass(frozen=True)
class Means:
    """What a worker is started with, beside its lines."""

    folder: Path
    configs: tuple[Path, ...]
    environment: Mapping[str, str]
    shiftable: bool


class Worker:
    """A worker by its number. `ports`: of the servers behind its lines."""

    def __init__(self, number: int, means: Means, ports: Mapping[Service, int]) -> None:
        self.number = number
        self.lines = {service: Relay(port) for service, port in ports.items()}
        self.exits: list[Exit] = []
        self._started_at = 0.0
        self._url = ""
        self._clock = means.folder / f"worker-{number}.clock"
        self.set_clock(0.0)
        arguments = tuple(word for config in means.configs for word in ("--config", str(config)))
        environment = {**means.environment, **self._endpoints(), "POLLER_WORKER_ID": f"worker-{number}"}
        if means.shiftable:
            environment |= self._faketime()
        self.daemon = Daemon(environment, means.folder / f"worker-{number}.jsonl", arguments)

    def __enter__(self) -> Self:
        for line in self.lines.values():
            line.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.__exit__()
        for line in self.lines.values():
            line.__exit__()

    def _endpoints(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_DYNAMODB": self.lines[Service.LEASES].url,
            "AWS_ENDPOINT_URL_DYNAMODB_STREAMS": self.lines[Service.STREAMS].url,
            "AWS_ENDPOINT_URL_SQS": self.lines[Service.QUEUES].url,
        }

    def _faketime(self) -> dict[str, str]:
        """The wall clock is what the file says; the clocks of deadlines are left alone."""
        return {
            "LD_PRELOAD": str(_FAKETIME[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_CACHE_DURATION": "1",
        }

    def set_clock(self, by_s: float) -> None:
        """Shifts the wall clock, within a second."""
        fresh = self._clock.with_suffix(".new")
        fresh.write_text(f"{by_s:+.0f}s\n", encoding="ascii")
        fresh.replace(self._clock)

    @property
    def running(self) -> bool:
        return self.daemon.running

    def start(self) -> None:
        self._started_at = time.monotonic()
        self.daemon.start()

    def freeze(self) -> None:
        self.daemon.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.daemon.process.send_signal(signal.SIGCONT)

    def terminate(self) -> Exit:
        age_s = time.monotonic() - self._started_at
        ended = Exit(self.number, *self.daemon.terminate(), now_ms(), age_s)
        self.exits.append(ended)
        return ended

    def fill_disk(self) -> None:
        """No byte more goes into its log: the write fails, as on a full disk."""
        size = self.daemon.log.stat().st_size
        resource.prlimit(self.daemon.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def empty_disk(self) -> None:
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(self.daemon.process.pid, resource.RLIMIT_FSIZE, unlimited)

    def why_not_ready(self) -> str:
        """Empty: it is ready."""
        try:
            self.daemon.get("/readyz")
        except urllib.error.HTTPError as answer:
            with answer:
                reasons: list[dict[str, Any]] = json.loads(answer.read())["reasons"]
            return "; ".join(f"{one.get('stream', '')} {one['part']}: {one['text']}" for one in reasons)
        except (OSError, AssertionError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def footprint(self) -> Footprint:
        process = Path(f"/proc/{self.daemon.process.pid}")
        threads = re.search(r"^Threads:\s+(\d+)$", (process / "status").read_text(encoding="ascii"), re.MULTILINE)
        assert threads is not None
        files = len(list((process / "fd").iterdir()))
        return Footprint(self.daemon.rss_bytes(), files, int(threads[1]), self._tasks())

    def _tasks(self) -> int:
        """0: it does not answer at present."""
        url = self._url or next((event["url"] for event in reversed(self.daemon.events("http_listening"))), "")
        self._url = ""  # a new life has another
        try:
            with urllib.request.urlopen(f"{url}/metrics", timeout=_METRICS_S) as answer:
                found = _TASKS.search(answer.read().decode())
        except (OSError, ValueError, HTTPException):
            return 0
        self._url = url
        return int(float(found[1])) if found else 0


def now_ms() -> int:
    """As the queues stamp their messages."""
    return int(time.time() * 1000)
