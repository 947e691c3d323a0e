"""A worker of a KCL application in Java as a process of its own, and what it says it has done (`KclWorker.java`)."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

from tests.e2e.daemon import DEADLINE_S, wait_until
from tests.servers import jars

_SOURCE: Final = Path(__file__).with_name("KclWorker.java")
_NAME: Final = "kcl"
# Started often and never long: compile little, keep the memory small.
_JAVA: Final = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"]
_LOG: Final = {"showDateTime": "true", "dateTimeFormat": "HH:mm:ss.SSS"}


def missing_for_kcl() -> list[str]:
    """What must be installed for the worker to be compiled, beside what the local servers need."""
    missing = [] if shutil.which("javac") else ["javac"]
    if shutil.which("mvn") is None and not jars.fetched(_NAME):
        missing.append("mvn")
    return missing


class KclWorker:
    """One process at a time, started and ended as often as a test wants; what it says adds up in one file.

    `checkpoint_ms`: it checkpoints after a page once so much time has passed since it last did.
    """

    def __init__(
        self,
        endpoint: str,
        stream_arn: str,
        application: str,
        *,
        worker_id: str,
        folder: Path,
        failover_ms: int,
        checkpoint_ms: int = 0,
    ) -> None:
        self._arguments = [endpoint, stream_arn, application, worker_id, str(failover_ms), str(checkpoint_ms)]
        self._said = folder / f"{worker_id}.jsonl"
        self.log = folder / f"{worker_id}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AssertionError("the KCL worker is not running")
        return self._process

    def start(self) -> None:
        lib, classes = jars.fetch(_NAME), jars.compiled(_NAME, _SOURCE)
        settings = [f"-Dorg.slf4j.simpleLogger.{name}={value}" for name, value in _LOG.items()]
        with self._said.open("ab") as out, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_JAVA, *settings, "-cp", f"{classes}:{lib}/*", "KclWorker", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
            )

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()
        self._process = None

    def terminate(self) -> None:
        """SIGTERM: a graceful shutdown, as its users do it. It is over when it has been said of every shard."""
        stops = self._count("lease", "stopped")
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=DEADLINE_S)
        self._process = None
        assert self._count("lease", "stopped") > stops, self.tail()

    def said(self, name: str) -> list[dict[str, Any]]:
        """The lines with that name, of all its lives, in order; one that is still being written is not among them."""
        text = self._said.read_text(encoding="utf-8") if self._said.exists() else ""
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("}\n")]
        return [line for line in lines if name in line]

    @property
    def names(self) -> list[str]:
        """The changes that it has processed, in order: "item/revision"."""
        return [f"{record['item']}/{record['revision']}" for record in self.said("record")]

    @property
    def checkpoint(self) -> str:
        """The last one that it says it has written."""
        checkpoint: str = self.said("checkpoint")[-1]["checkpoint"]
        return checkpoint

    def logged(self, text: str) -> list[str]:
        """The lines of KCL's log with that text in it."""
        return [line for line in self.log.read_text(encoding="utf-8").splitlines() if text in line]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, self.tail)

    def tail(self) -> str:
        return self.log.read_text(encoding="utf-8")[-4000:]

    def _count(self, name: str, value: str) -> int:
        return sum(line[name] == value for line in self.said(name))
