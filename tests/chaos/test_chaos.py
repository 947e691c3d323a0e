"""A minute of chaos: six processes on real servers, faults of every kind; nothing lost, disordered or unexplained."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.__main__ import show_logs
from tests.chaos.run import chaos
from tests.chaos.site import Scale
from tests.chaos.worker import clock_can_be_shifted

# With this seed every kind comes in so short a time, and the last one is over by its end.
SEED = 193
SECONDS = 42.0
PACE_S = 2.5


@pytest.mark.real
def test_whatever_happens_everything_arrives_in_order_and_twice_only_for_a_reason(tmp_path: Path) -> None:
    outcome = chaos(tmp_path, SEED, Scale(), seconds=SECONDS, pace_s=PACE_S, say=print)
    print(outcome.report())
    if outcome.wrongs:
        show_logs(tmp_path)
    assert outcome.wrongs == []


def test_in_ci_the_clock_of_a_worker_can_be_shifted() -> None:
    assert clock_can_be_shifted() or os.environ.get("CI") != "true", "Debian's package faketime is not installed"
