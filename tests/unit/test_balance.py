"""What a worker takes, claims and gives back."""

from __future__ import annotations

import random
from dataclasses import replace

from poller.decide.balance import BalanceLimits, LeasePlan, Sightings, plan_leases
from poller.model import SHARD_END, SOUGHT, Lease

DURATION_S = 10.0


def plan(
    rows: list[Lease], sightings: Sightings, *, held: frozenset[str] = frozenset(), max_leases: int | None = None
) -> LeasePlan:
    return plan_leases(
        {row.shard_id: row for row in rows},
        sightings,
        BalanceLimits(DURATION_S, max_leases),
        me="me",
        readable=[row.shard_id for row in rows if not row.finished],
        held=held,
        rng=random.Random(1),
    )


def seen(rows: list[Lease], *looks_at: float, moved: list[Lease] | None = None) -> Sightings:
    """The same rows at each of the looks, `moved` instead of them at the last; each look takes no time."""
    sightings = Sightings()
    looks = looks_at or (0.0,)
    for at in looks:
        sightings.look(moved if moved is not None and at == looks[-1] else rows, at, at)
    return sightings


def ours(shard_id: str, owner: str, counter: int = 1, successor: str | None = None) -> Lease:
    return Lease(shard_id, owner=owner, poller_owner=owner, counter=counter, successor=successor)


def taken(plan_: LeasePlan) -> list[tuple[str, str]]:
    return sorted((take.lease.shard_id, take.reason) for take in plan_.take)


def claimed(plan_: LeasePlan) -> list[str]:
    return sorted(lease.shard_id for lease in plan_.claim)


# --- who is gone ---


def test_the_next_to_be_gone_is_the_other_owner_that_has_been_silent_for_longest() -> None:
    silent, lively, own = ours("a", "silent"), ours("b", "lively"), ours("c", "me")
    sightings = seen([silent, lively, own], 0.0, 4.0, moved=[silent, replace(lively, counter=2), own])
    assert sightings.next_expiry(DURATION_S, now=4.0, me="me") == 10.0
    assert sightings.next_expiry(DURATION_S, now=10.0, me="me") == 14.0  # the silent one is gone already
    assert sightings.next_expiry(DURATION_S, now=14.0, me="me") == float("inf")


# --- what is nobody's ---


def test_a_lone_worker_takes_everything_that_is_free() -> None:
    rows = [Lease(f"s{n}") for n in range(3)]
    assert taken(plan(rows, seen(rows))) == [("s0", "unowned"), ("s1", "unowned"), ("s2", "unowned")]


def test_a_worker_takes_its_fair_share_rounded_up() -> None:
    rows = [ours("a", "other"), *(Lease(f"s{n}") for n in range(4))]
    result = plan(rows, seen(rows))
    assert (len(result.take), result.workers) == (3, 2)


def test_finished_leases_count_neither_as_load_nor_as_a_worker() -> None:
    rows = [*(replace(ours(f"f{n}", "other"), checkpoint=SHARD_END) for n in range(50)), Lease("a"), Lease("b")]
    result = plan(rows, seen(rows))
    assert (len(result.take), result.workers) == (2, 1)


def test_no_more_than_max_leases_are_held() -> None:
    rows = [Lease(f"s{n}") for n in range(5)]
    assert len(plan(rows, seen(rows), held=frozenset({"s0"}), max_leases=3).take) == 2


def test_a_lease_that_nobody_wants_for_long_is_taken_beyond_the_share() -> None:
    rows = [ours("a", "full"), ours("b", "me"), ours("d", "me"), Lease("c")]
    moved = [ours("a", "full", 9), *rows[1:]]
    held = frozenset({"b", "d"})
    assert taken(plan(moved, seen(rows, 0.0, 20.0, moved=moved), held=held)) == []
    assert taken(plan(moved, seen(rows, 0.0, 20.1, moved=moved), held=held)) == [("c", "unowned")]


def test_a_lease_that_bears_my_name_is_taken_back_whatever_the_share() -> None:
    rows = [ours("s", "me"), ours("t", "me"), ours("u", "other")]
    assert taken(plan(rows, seen(rows))) == [("s", "returned"), ("t", "returned")]


def test_a_lease_that_bears_my_name_and_that_i_may_not_hold_is_given_back() -> None:
    rows = [ours("s", "me"), ours("t", "me")]
    result = plan(rows, seen(rows), held=frozenset({"s"}), max_leases=1)
    assert [lease.shard_id for lease in result.release] == ["t"]


# --- who is alive ---


def test_an_owner_that_is_first_seen_counts_as_alive_for_a_duration() -> None:
    rows = [ours("s", "other")]
    assert taken(plan(rows, seen(rows, 100.0, 110.0))) == []
    assert taken(plan(rows, seen(rows, 100.0, 110.1))) == [("s", "expired")]


def test_any_row_that_moves_keeps_all_leases_of_its_owner() -> None:
    rows = [ours("s", "other"), ours("t", "other")]
    moved = [rows[0], ours("t", "other", 2)]
    result = plan(moved, seen(rows, 0.0, 15.0, moved=moved))
    assert (taken(result), result.workers) == ([], 2)


def test_a_row_made_anew_and_taken_has_moved_though_its_counter_is_the_same() -> None:
    rows = [replace(ours("s", "other", 2), checkpoint="7", checkpoint_time_ms=1_000)]
    anew = [replace(rows[0], checkpoint_time_ms=12_000)]
    assert taken(plan(anew, seen(rows, 0.0, 15.0, moved=anew))) == []


def test_who_has_not_looked_for_longer_than_a_lease_lasts_knows_of_nobodys_silence() -> None:
    rows = [ours("s", "other")]
    sightings = Sightings()
    for at, expired in ((0.0, []), (4.0, []), (30.0, []), (34.0, []), (40.1, [("s", "expired")])):
        sightings.look(rows, at, at, gap_max_s=DURATION_S)
        assert taken(plan(rows, sightings)) == expired


def test_a_lease_of_javas_lives_by_its_own_row() -> None:
    rows = [Lease("s", owner="java", counter=1), Lease("t", owner="java", counter=1)]
    moved = [rows[0], Lease("t", owner="java", counter=2)]
    result = plan(moved, seen(rows, 0.0, 15.0, moved=moved))
    assert (taken(result), result.workers, result.foreign) == ([("s", "expired")], 2, True)


def test_an_expired_owner_is_no_worker_and_its_leases_are_free() -> None:
    rows = [ours("a", "dead"), ours("b", "dead")]
    result = plan(rows, seen(rows, 0.0, 11.0))
    assert (taken(result), result.workers) == ([("a", "expired"), ("b", "expired")], 1)


def test_a_movement_counts_from_the_end_of_the_look_that_shows_it() -> None:
    rows = [ours("s", "other")]
    sightings = Sightings()
    sightings.look(rows, 0.0, 3.0)  # the row may have been written a moment before it was read
    sightings.look(rows, 12.0, 15.0)
    assert taken(plan(rows, sightings)) == []


def test_an_owner_that_has_not_moved_by_the_beginning_of_a_look_is_judged_by_that_moment() -> None:
    rows = [ours("s", "other")]
    sightings = Sightings()
    sightings.look(rows, 0.0, 0.0)
    sightings.look(rows, 9.0, 14.0)  # what it showed may have been so at 9 s already
    assert taken(plan(rows, sightings)) == []


# --- moving leases between the living ---


def test_a_worker_that_joins_claims_its_share_from_who_has_most() -> None:
    rows = [*(ours(f"a{n}", "a") for n in range(6)), *(ours(f"b{n}", "b") for n in range(3))]
    assert claimed(plan(rows, seen(rows))) == ["a3", "a4", "a5"]


def test_at_rest_nothing_moves() -> None:
    rows = [*(ours(f"a{n}", "a") for n in range(3)), *(ours(f"m{n}", "me") for n in range(2))]
    result = plan(rows, seen(rows), held=frozenset({"m0", "m1"}))
    assert (result.take, result.claim, result.release) == ((), (), ())


def test_leases_are_not_claimed_from_java() -> None:
    rows = [Lease(f"j{n}", owner="java", counter=1) for n in range(6)]
    assert claimed(plan(rows, seen(rows))) == []


def test_what_a_leaving_worker_has_is_claimed_up_to_the_share_without_it() -> None:
    rows = [*(ours(f"l{n}", "leaver", successor=SOUGHT) for n in range(4)), ours("a", "a"), ours("b", "b")]
    result = plan(rows, seen(rows))
    assert (len(result.claim), result.workers) == (2, 3)
    assert set(claimed(result)) < {"l0", "l1", "l2", "l3"}


def test_what_was_claimed_counts_for_the_claimant() -> None:
    rows = [*(ours(f"a{n}", "a") for n in range(2)), *(ours(f"c{n}", "a", successor="me") for n in range(2))]
    assert claimed(plan(rows, seen(rows))) == []


def test_a_lease_that_was_given_back_for_me_is_taken() -> None:
    rows = [replace(Lease("s", counter=2), successor="me")]
    assert taken(plan(rows, seen(rows))) == [("s", "handed_over")]


def test_a_lease_that_was_given_back_for_another_is_kept_for_a_moment() -> None:
    rows = [replace(Lease("s", counter=2), successor="other")]
    assert taken(plan(rows, seen(rows, 0.0, 2.9))) == []
    assert taken(plan(rows, seen(rows, 0.0, 3.1))) == [("s", "unowned")]


def test_a_claim_does_not_exceed_the_maximum() -> None:
    rows = [ours(f"a{n}", "a") for n in range(10)]
    assert len(plan(rows, seen(rows), max_leases=2).claim) == 2


def test_survivors_take_different_leases_of_a_dead_worker_at_the_same_moment() -> None:
    rows = [*(ours(f"d{n}", "dead") for n in range(6)), ours("m", "me"), ours("o", "other")]
    moved = [*rows[:6], ours("m", "me", 9), ours("o", "other", 9)]
    sightings = seen(rows, 0.0, 11.0, moved=moved)
    mine = plan(moved, sightings, held=frozenset({"m"}))
    assert taken(mine) == [(f"d{n}", "expired") for n in (0, 2, 4)]


# --- who lists the shards ---


def test_the_living_worker_of_ours_with_the_first_name_lists_the_shards() -> None:
    rows = [ours("a", "zoe"), ours("m", "me"), Lease("j", owner="java", counter=1)]
    assert plan(rows, seen(rows), held=frozenset({"m"})).lists
    earlier = [*rows, ours("b", "adam")]
    assert not plan(earlier, seen(earlier), held=frozenset({"m"})).lists


def test_a_worker_without_leases_leaves_the_listing_to_others() -> None:
    rows = [ours("a", "zoe")]
    assert not plan(rows, seen(rows)).lists


def test_who_is_alone_with_nothing_to_take_lists() -> None:
    assert plan([], seen([])).lists
