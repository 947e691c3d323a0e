"""What the process asks of the C library and of Python's garbage collector."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from poller.memory import prepare_memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that is asked")
# A megabyte, taken and given back a thousand times, as pages are. Prints how often a part of it was new.
PAGES = """
import resource
from poller.memory import prepare_memory

prepare_memory({})
def pages(count):
    for _ in range(count):
        page, pieces = bytearray(950_000), [bytes(100_000) for _ in range(3)]
pages(10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
pages(1_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


class Glibc:
    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.asked.append((option, value))
        return 1


@pytest.fixture(autouse=True)
def _thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.fixture
def glibc(monkeypatch: pytest.MonkeyPatch) -> Glibc:
    library = Glibc()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    return library


@linux
def test_what_a_page_has_left_is_used_for_the_next_one() -> None:
    run = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True, timeout=60)
    assert int(run.stdout) < 1_000  # a page has more than three hundred parts


@linux
def test_the_c_library_is_asked_once_for_each(glibc: Glibc) -> None:
    prepare_memory({})
    assert [option for option, _ in glibc.asked] == [-3, -1]


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_a_user_has_said_to_it_holds(name: str, glibc: Glibc) -> None:
    prepare_memory({name: "1048576"})
    assert glibc.asked == []


def test_a_c_library_without_that_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    prepare_memory({})
    assert gc.get_threshold()[0] > 10_000
