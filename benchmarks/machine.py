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
def pinned(*cores: int | None) -> Iterator[None]:
    """Processes that are started meanwhile run on these cores and on no other; None: wherever they would anyhow."""
    before = os.sched_getaffinity(0)
    if chosen := {core for core in cores if core is not None}:
        os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores() -> tuple[int, int] | tuple[None, None]:
    """One for the contestant, one for the stand-in; None for both where there are not two."""
    first, *others = sorted(os.sched_getaffinity(0))
    return (others[0], first) if others else (None, None)


def cpu_s(pid: int) -> float:
    """User and system time of the process and its children, with all their threads."""
    return sum(_cpu_s(one) for one in _family(pid))


def memory_bytes(pid: int) -> int:
    """The most that was resident at any time; of several processes the sum."""
    return sum(_peak_bytes(one) for one in _family(pid))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def _peak_bytes(pid: int) -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
