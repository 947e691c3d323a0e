"""How this process takes memory from the system, and how often it looks for what is not used any more."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Mapping
from typing import Final

# A start makes some hundred thousand objects that stay, a page of a thousand records some thousand that go and are in
# no cycle: looking through them as often as Python does by itself costs a fifth of a start (measured).
_GC_THRESHOLDS: Final = (20_000, 20, 20)
# <malloc.h>
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
# A page of records is a megabyte.
_MAPPED_FROM_BYTES: Final = 16 << 20
_KEPT_BYTES: Final = 32 << 20
# With these a user says how the C library is to go about it.
_USERS: Final = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def prepare_memory(environ: Mapping[str, str]) -> None:
    """Before the imports, which make most of the objects that stay."""
    gc.set_threshold(*_GC_THRESHOLDS)
    if sys.platform == "linux" and not any(name in environ for name in _USERS):
        _keep_freed()


def _keep_freed() -> None:
    """What one page has left is used for the next one.

    By itself glibc gives it back to the system each time and asks for it again, of which every 4 kB are a page fault
    and are written full of zeros: an eighth of what a page of a thousand records costs (decision 13).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
