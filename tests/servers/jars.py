"""Fetches Java programs with Maven, once, into the repository's `.cache/servers`; compiles what is our own beside them.

A stamp holds the digest of the pom or source that was used; a lock keeps two test processes from doing it at once.
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
_COMPILE_TIMEOUT_S: Final = 120.0


class FetchError(Exception):
    """Maven could not fetch a program, or javac could not compile one."""


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


def compiled(name: str, source: Path) -> Path:
    """The folder of the classes that the source makes on those jars, compiled if need be."""
    lib, folder = fetch(name), _CACHE / name
    classes, stamp = folder / "classes", folder / "classes-stamp"
    digest = _digest(name) + hashlib.sha256(source.read_bytes()).hexdigest()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != digest:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(classes, ignore_errors=True)
            _run(f"compile {source.name}", ["javac", "-proc:none", "-cp", f"{lib}/*", "-d", str(classes), str(source)])
            stamp.write_text(digest)
    return classes


def _fetch(name: str, folder: Path) -> None:
    staging = folder / "staging"
    (folder / "stamp").unlink(missing_ok=True)
    for old in (staging, folder / "lib"):
        shutil.rmtree(old, ignore_errors=True)
    pom = str(_POMS / name / "pom.xml")
    _run(
        f"fetch {name}",
        ["mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", f"-DoutputDirectory={staging}"],
        _FETCH_TIMEOUT_S,
    )
    staging.rename(folder / "lib")
    (folder / "stamp").write_text(_digest(name))


def _run(what: str, command: list[str], timeout_s: float = _COMPILE_TIMEOUT_S) -> None:
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s, check=False
    )
    if ended.returncode != 0:
        raise FetchError(f"{command[0]} could not {what}:\n{ended.stdout[-4000:]}")


def _digest(name: str) -> str:
    return hashlib.sha256((_POMS / name / "pom.xml").read_bytes()).hexdigest()
