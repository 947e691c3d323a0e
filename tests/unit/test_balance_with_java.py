"""What a worker makes of rows that a Java worker has taken after one of ours: their successor means nothing any more.

Java takes a free row and leaves alone what it does not know: a successor that ours had noted stays on it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from poller.decide.balance import BalanceLimits, LeasePlan, Sightings, plan_leases
from poller.model import SOUGHT, Lease

DURATION_S = 10.0


def plan(rows: Sequence[Lease]) -> LeasePlan:
    sightings = Sightings()
    sightings.look(rows, 0.0, 0.0)
    return plan_leases(
        {row.shard_id: row for row in rows},
        sightings,
        BalanceLimits(DURATION_S),
        me="me",
        readable=[row.shard_id for row in rows],
        held=frozenset(),
        rng=random.Random(1),
    )


def test_nothing_is_claimed_from_a_java_worker() -> None:
    assert plan([Lease("a", owner="java", successor=SOUGHT), Lease("b", owner="java")]).claim == ()


@pytest.mark.parametrize("successor", [SOUGHT, "me", "gone"])
def test_a_java_worker_counts_whatever_stands_as_successor_on_its_rows(successor: str) -> None:
    rows = [Lease("a", owner="java", successor=successor), Lease("b"), Lease("c"), Lease("d")]
    result = plan(rows)
    assert (result.workers, result.foreign, len(result.take)) == (2, True, 2)
