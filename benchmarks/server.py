"""The stand-in of `benchmarks/standin` as a process: built when asked for, started, asked what it has seen."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

ROOT: Final = Path(__file__).resolve().parents[1]
TABLE: Final = "AnalysisMetadataTable"
QUEUE: Final = "analysis-jobs"
_SOURCE: Final = ROOT / "benchmarks" / "standin"
_BINARY: Final = ROOT / ".cache" / "benchmarks" / "standin"
_ANSWER_TIMEOUT_S: Final = 30.0


class NoStandInError(Exception):
    """The stand-in cannot be built."""


def build() -> Path:
    """The program; go itself knows whether anything is to be done."""
    if shutil.which("go") is None:
        raise NoStandInError("the benchmarks' stand-in for AWS is built with Go (1.19 or newer), which is not here")
    _BINARY.parent.mkdir(parents=True, exist_ok=True)
    ended = subprocess.run(
        ["go", "build", "-o", str(_BINARY), "."], cwd=_SOURCE, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        raise NoStandInError(f"go could not build the benchmarks' stand-in:\n{ended.stderr}")
    return _BINARY


class StandIn:
    """`with StandIn(["-shards", "4"]) as standin:`, listening at `standin.url` as long as the block lasts."""

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        self.stream_arn = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([build(), *self._arguments], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise NoStandInError(f"the stand-in ended at once, exit code {self._process.wait()}")
        said = json.loads(line)
        self.url, self.stream_arn = said["url"], said["stream"]
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def stats(self) -> dict[str, Any]:
        """What it has counted since the last `reset` or `begin` (`standin/stats.go` has the names)."""
        with urllib.request.urlopen(f"{self.url}/control/stats", timeout=_ANSWER_TIMEOUT_S) as answer:
            stats: dict[str, Any] = json.load(answer)
        return stats

    def do(self, command: str, **arguments: Any) -> None:
        """`begin`, `end`, `reset`, `watch`, `stop-sink`, `start-sink`, `hold`, `give`."""
        asked = urllib.request.Request(f"{self.url}/control/{command}", data=json.dumps(arguments).encode())
        urllib.request.urlopen(asked, timeout=_ANSWER_TIMEOUT_S).close()
