"""A minute of chaos: six processes on real servers, faults of every kind; nothing lost, disordered or unexplained."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.run import chaos
from tests.chaos.site import Scale
from tests.chaos.worker import clock_can_be_shifted


@pytest.mark.real
def test_whatever_happens_everything_arrives_in_order_and_twice_only_for_a_reason(tmp_path: Path) -> None:
    outcome = chaos(tmp_path, 20, Scale(), seconds=45.0, pace_s=3.0, say=print)
    print(outcome.report())
    assert outcome.wrongs == []


def test_in_ci_the_clock_of_a_worker_can_be_shifted() -> None:
    assert clock_can_be_shifted() or os.environ.get("CI") != "true", "Debian's package faketime is not installed"
