"""Fetches the Java servers with Maven, once, into the repository's `.cache/servers`.

A stamp holds the digest of the pom that was fetched; a lock keeps two test processes from fetching at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[2]
_CACHE: Final = _ROOT / ".cache" / "servers"
_POMS: Final = Path(__file__).resolve().parent / "maven"
_FETCH_TIMEOUT_S: Final = 900.0


class FetchError(Exception):
    """Maven could not fetch a server."""


def fetched(name: str) -> bool:
    """Whether the jars that the pom asks for are there."""
    stamp = _CACHE / name / "stamp"
    return stamp.is_file() and stamp.read_text() == _digest(name)


def fetch(name: str) -> Path:
    """The folder of the server's jars, fetched if need be."""
    folder = _CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not fetched(name):
            _fetch(name, folder)
    return folder / "lib"


def _fetch(name: str, folder: Path) -> None:
    staging = folder / "staging"
    for old in (staging, folder / "lib"):
        shutil.rmtree(old, ignore_errors=True)
    command = ["mvn", "-q", "-B", "-f", str(_POMS / name / "pom.xml"), "dependency:copy-dependencies"]
    maven = subprocess.run(
        [*command, f"-DoutputDirectory={staging}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_FETCH_TIMEOUT_S,
        check=False,
    )
    if maven.returncode != 0:
        raise FetchError(f"Maven could not fetch {name}:\n{maven.stdout[-4000:]}")
    staging.rename(folder / "lib")
    (folder / "stamp").write_text(_digest(name))


def _digest(name: str) -> str:
    return hashlib.sha256((_POMS / name / "pom.xml").read_bytes()).hexdigest()
