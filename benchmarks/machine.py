"""What a process has cost: CPU time and memory from /proc, and a core of its own. Linux only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Processes that are started meanwhile run on that core and on no other; None: wherever they like."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores() -> tuple[int, int] | tuple[None, None]:
    """One for the contestant, one for the stand-in; None for both where there are not two."""
    first, *others = sorted(os.sched_getaffinity(0))
    return (others[0], first) if others else (None, None)


def cpu_s(pid: int) -> float:
    """User and system time of the whole process, threads that have ended included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def memory_bytes(pid: int, *, peak: bool = True) -> int:
    """The most that was resident at any time, or what is now."""
    name = "VmHWM" if peak else "VmRSS"
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
