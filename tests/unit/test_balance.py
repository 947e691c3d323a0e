"""Which leases a worker takes."""

from __future__ import annotations

from poller.decide.balance import LeasePlan, Sightings, Take, plan_leases
from poller.model import SHARD_END, Lease

DURATION_S = 10.0


def plan(
    rows: list[Lease],
    sightings: Sightings,
    now: float,
    *,
    held: frozenset[str] = frozenset(),
    former: frozenset[str] = frozenset(),
    max_leases: int | None = None,
) -> LeasePlan:
    return plan_leases(
        {row.shard_id: row for row in rows},
        sightings,
        now,
        me="me",
        readable=[row.shard_id for row in rows if not row.finished],
        held=held,
        former=former,
        duration_s=DURATION_S,
        max_leases=max_leases,
        shuffled=list,
    )


def seen(rows: list[Lease], now: float = 0.0) -> Sightings:
    sightings = Sightings()
    sightings.look(rows, now)
    return sightings


def taken(plan_: LeasePlan) -> list[tuple[str, str]]:
    return [(take.lease.shard_id, take.reason) for take in plan_.take]


def test_a_lone_worker_takes_everything_that_is_free() -> None:
    rows = [Lease(f"s{n}") for n in range(3)]
    assert taken(plan(rows, seen(rows), 0.0)) == [("s0", "unowned"), ("s1", "unowned"), ("s2", "unowned")]


def test_a_lease_first_seen_with_an_owner_counts_as_just_renewed() -> None:
    rows = [Lease("s", owner="other", counter=7)]
    sightings = seen(rows, now=100.0)
    assert taken(plan(rows, sightings, 100.0 + DURATION_S)) == []
    assert taken(plan(rows, sightings, 100.1 + DURATION_S)) == [("s", "expired")]


def test_a_counter_that_moves_keeps_the_lease_alive() -> None:
    sightings = seen([Lease("s", owner="other", counter=7)], now=0.0)
    rows = [Lease("s", owner="other", counter=8)]
    sightings.look(rows, 9.0)
    assert taken(plan(rows, sightings, 15.0)) == []


def test_a_worker_takes_its_fair_share_rounded_up() -> None:
    rows = [Lease("a", owner="other", counter=1), *(Lease(f"s{n}") for n in range(4))]
    result = plan(rows, seen(rows), 0.0)
    assert (len(result.take), result.workers) == (3, 2)


def test_an_expired_owner_is_no_worker_and_its_leases_are_free() -> None:
    rows = [Lease("a", owner="dead", counter=1), Lease("b", owner="dead", counter=1)]
    result = plan(rows, seen(rows), DURATION_S + 1)
    assert (taken(result), result.workers) == ([("a", "expired"), ("b", "expired")], 1)


def test_finished_leases_count_neither_as_load_nor_as_a_sign_of_life() -> None:
    rows = [*(Lease(f"f{n}", owner="other", checkpoint=SHARD_END) for n in range(50)), Lease("a"), Lease("b")]
    result = plan(rows, seen(rows), 0.0)
    assert (len(result.take), result.workers) == (2, 1)


def test_no_more_than_max_leases_are_held() -> None:
    rows = [Lease(f"s{n}") for n in range(5)]
    assert len(plan(rows, seen(rows), 0.0, held=frozenset({"s0"}), max_leases=3).take) == 2


def test_a_lease_that_nobody_wants_for_long_is_taken_beyond_the_share() -> None:
    rows = [Lease("a", owner="full", counter=1), Lease("b"), Lease("c")]
    sightings = seen(rows)
    held = frozenset({"b"})
    rows[1] = Lease("b", owner="me", counter=1)
    renewed = [Lease("a", owner="full", counter=2), *rows[1:]]
    sightings.look(renewed, 2 * DURATION_S)
    assert taken(plan(renewed, sightings, 2 * DURATION_S + 1, held=held)) == [("c", "unowned")]


def test_a_lease_that_i_let_lapse_is_mine_to_take_back() -> None:
    rows = [Lease("s", owner="me", counter=3)]
    assert taken(plan(rows, seen(rows), 0.0, former=frozenset({"s"}))) == [("s", "returned")]


def test_a_lease_under_my_name_that_this_process_never_had_must_expire_first() -> None:
    rows = [Lease("s", owner="me", counter=3)]
    assert taken(plan(rows, seen(rows), 0.0)) == []


def test_leases_are_tried_in_the_shuffled_order() -> None:
    rows = {name: Lease(name) for name in "abc"}

    def backwards(takes: list[Take]) -> list[Take]:
        return takes[::-1]

    result = plan_leases(
        rows,
        seen(list(rows.values())),
        0.0,
        me="me",
        readable=list(rows),
        held=frozenset(),
        former=frozenset(),
        duration_s=DURATION_S,
        max_leases=None,
        shuffled=backwards,
    )
    assert [take.lease.shard_id for take in result.take] == ["c", "b", "a"]
