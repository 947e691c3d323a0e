"""How much is tried: the same few examples at every run, many and new ones with `make fuzz`."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

FACTOR: Final = int(os.environ.get("FUZZ", "1"))
"""Times the examples of a usual run; above 1 they are drawn anew each time, and failures are kept for the next run."""


def examples(count: int) -> settings:
    """So many examples of one property, whatever time each of them takes on a busy machine."""
    return settings(
        max_examples=count * FACTOR,
        derandomize=FACTOR == 1,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
