"""The contestant on Java's KCL (`benchmarks/kcl`): fetched with Maven and compiled once, into `.cache`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Final

from benchmarks.server import QUEUE, ROOT
from benchmarks.workloads import Workload
from tests.servers import missing_for_real_servers

_SOURCES: Final = ROOT / "benchmarks" / "kcl"
_CACHE: Final = ROOT / ".cache" / "benchmarks" / "kcl"
_POM, _PROGRAM = _SOURCES / "pom.xml", _SOURCES / "KclContestant.java"
# Where more waits: as often as it makes sense at all.
_PAUSE_MIN_MS: Final = 50
_FETCH_TIMEOUT_S: Final = 900.0


def missing() -> str:
    """What it lacks here; its lease table is in DynamoDB Local."""
    lacking = missing_for_real_servers()
    lacking += [name for name in ("javac", "mvn") if shutil.which(name) is None and name not in lacking]
    return f"not found: {', '.join(lacking)}" if lacking else ""


def command(url: str, stream_arn: str, workload: Workload) -> list[str]:
    """Fetches and compiles it first, if need be."""
    build()
    # After an empty page it waits twice as long as it is told.
    pause_ms = _PAUSE_MIN_MS if workload.records else round(workload.pause_s * (1000 if workload.rate else 500))
    return [
        "java",
        "-Xmx1g",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
        "-cp",
        f"{_CACHE / 'classes'}:{_CACHE / 'lib'}/*",
        "KclContestant",
        *(url, stream_arn, QUEUE, str(pause_ms)),
    ]


def build() -> None:
    digest = hashlib.sha256(_POM.read_bytes() + _PROGRAM.read_bytes()).hexdigest()
    stamp = _CACHE / "stamp"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    shutil.rmtree(_CACHE, ignore_errors=True)
    lib, classes = _CACHE / "lib", _CACHE / "classes"
    _run(
        "mvn", "-q", "-B", "-Dstyle.color=never", "-f", _POM, "dependency:copy-dependencies", f"-DoutputDirectory={lib}"
    )
    _run("javac", "-proc:none", "-cp", f"{lib}/*", "-d", classes, _PROGRAM)
    stamp.write_text(digest)


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, timeout=_FETCH_TIMEOUT_S, stdin=subprocess.DEVNULL)
