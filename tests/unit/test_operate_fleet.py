"""`poller leases`: from looks at the lease table to what is said of each shard and owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from poller.errors import PollerError
from poller.model import AT_TIMESTAMP, SHARD_END, SOUGHT, Lease
from poller.operate.fleet import Fleet, State, fleet_of
from poller.operate.looks import Life, Looks
from poller.operate.names import match, short_names

DURATION_S = 10.0


def ours(shard_id: str, owner: str = "w", counter: int = 1, **fields: Any) -> Lease:
    return Lease(shard_id, owner=owner, poller_owner=owner, counter=counter, **fields)


def java(shard_id: str, owner: str = "j", counter: int = 1, **fields: Any) -> Lease:
    return Lease(shard_id, owner=owner, counter=counter, **fields)


def renewed(lease: Lease) -> Lease:
    return replace(lease, counter=lease.counter + 1)


def looked(*looks: tuple[float, Sequence[Lease]]) -> Looks:
    """Looks at these moments, each with what it shows."""
    seen = Looks()
    for now, rows in looks:
        seen.look(rows, now, now)
    return seen


def fleet(*looks: tuple[float, Sequence[Lease]]) -> Fleet:
    """What the last of the looks, with those before it, shows."""
    return fleet_of(looks[-1][1], looked(*looks), DURATION_S)


def states(of: Fleet) -> dict[str, State]:
    return {shard.lease.shard_id: shard.state for shard in of.shards}


# --- signs of life ----------------------------------------------------------------------------------------------------


def test_a_row_that_has_not_moved_stands_still_at_least_since_the_first_look() -> None:
    row = ours("a")

    assert looked((0, [row]), (4, [row])).row(row) == Life(4.0, moved=False)


def test_a_row_that_has_moved_stands_still_since_the_look_that_showed_it() -> None:
    first, then = ours("a"), renewed(ours("a"))

    assert looked((0, [first]), (4, [then]), (7, [then])).row(then) == Life(3.0, moved=True)


def test_a_slow_look_lets_nobody_seem_silent_for_longer_than_it_was() -> None:
    row, looks = ours("a"), Looks()
    looks.look([row], began=0.0, ended=3.0)
    looks.look([row], began=11.0, ended=14.0)

    assert looks.owner(row) == Life(8.0, moved=False)


def test_a_worker_lives_while_any_of_its_rows_moves() -> None:
    still, moving = ours("a"), ours("b")
    looks = looked((0, [still, moving]), (4, [still, renewed(moving)]))

    assert looks.owner(still) == Life(0.0, moved=True)
    assert looks.row(still) == Life(4.0, moved=False)


def test_of_a_java_worker_each_row_speaks_for_itself() -> None:
    still, moving = java("a"), java("b")
    looks = looked((0, [still, moving]), (4, [still, renewed(moving)]))

    assert looks.owner(still) == Life(4.0, moved=False)
    assert looks.owner(renewed(moving)) == Life(0.0, moved=True)


def test_taking_a_lease_is_the_new_owners_sign_of_life_and_not_the_old_ones() -> None:
    kept, lost = ours("a", "old"), ours("b", "old")
    taken = lost.taken_by("new")
    looks = looked((0, [kept, lost]), (5, [kept, taken]))

    assert looks.owner(taken) == Life(0.0, moved=True)
    assert looks.owner(kept) == Life(5.0, moved=False)


def test_a_lease_that_nobody_holds_has_no_owner_whose_life_could_be_told() -> None:
    row = Lease("a")

    assert looked((0, [row])).owner(row) is None


# --- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "state"),
    [
        ([Lease("a")], State.UNOWNED),
        ([ours("a")], State.HELD),
        ([ours("a", checkpoint=SHARD_END)], State.FINISHED),
        ([Lease("a", parents=frozenset({"p"})), Lease("p")], State.WAITING_FOR_PARENT),
        ([Lease("a", parents=frozenset({"p"})), Lease("p", checkpoint=SHARD_END)], State.UNOWNED),
        ([Lease("a", parents=frozenset({"gone"}))], State.UNOWNED),
        ([Lease("a", parents=frozenset({"p"}), checkpoint="1"), Lease("p")], State.UNOWNED),
        ([ours("a", successor=SOUGHT)], State.HANDING_OVER),
        ([ours("a", successor="next")], State.HANDING_OVER),
        ([java("a", checkpoint_owner="old")], State.HANDING_OVER),
        ([java("a", successor="kept from another owner")], State.HELD),
    ],
)
def test_one_look_shows_what_the_rows_themselves_say(rows: list[Lease], state: State) -> None:
    assert states(fleet((0, rows)))["a"] is state


def test_a_shard_whose_owner_was_seen_at_work_is_being_read() -> None:
    assert states(fleet((0, [ours("a")]), (3, [renewed(ours("a"))])))["a"] is State.READING


def test_an_owner_that_stood_still_for_longer_than_a_lease_lasts_has_lost_it() -> None:
    rows = [ours("a")]

    assert states(fleet((0, rows), (DURATION_S, rows)))["a"] is State.HELD
    assert states(fleet((0, rows), (DURATION_S + 0.1, rows)))["a"] is State.EXPIRED


def test_owners_are_told_with_how_many_shards_they_hold_and_whether_they_live() -> None:
    rows = [ours("a", "one"), ours("b", "two"), ours("c", "two"), java("d"), ours("e", "one", checkpoint=SHARD_END)]
    later = [rows[0], rows[1], renewed(rows[2]), rows[3], rows[4]]
    owners = fleet((0, rows), (4, later), (11, later)).owners

    assert [(owner.name, owner.foreign, owner.shards, owner.alive) for owner in owners] == [
        ("two", False, 2, True),
        ("j", True, 1, False),
        ("one", False, 1, False),
    ]


def test_of_an_owner_that_did_not_move_yet_it_cannot_be_told_whether_it_lives() -> None:
    assert fleet((0, [ours("a")]), (4, [ours("a")])).owners[0].alive is None


# --- order and sums ---------------------------------------------------------------------------------------------------


def test_unfinished_shards_come_first_and_parents_before_their_children() -> None:
    rows = [
        Lease("1-child", parents=frozenset({"3-parent"})),
        Lease("0-done", checkpoint=SHARD_END),
        Lease("3-parent"),
        Lease("2-other"),
    ]

    assert [shard.lease.shard_id for shard in fleet((0, rows)).shards] == ["3-parent", "1-child", "2-other", "0-done"]


def test_the_shards_of_an_older_stream_come_before_those_of_its_successor() -> None:
    rows = [Lease("a", stream_arn="arn/2"), Lease("b", stream_arn="arn/1")]
    seen = fleet((0, rows))

    assert [shard.lease.shard_id for shard in seen.shards] == ["b", "a"]
    assert seen.streams == ("arn/1", "arn/2")


def test_states_are_counted_in_the_order_of_what_matters() -> None:
    rows = [Lease("a", checkpoint=SHARD_END), Lease("b"), ours("c"), Lease("d")]

    assert list(fleet((0, rows)).states.items()) == [(State.HELD, 1), (State.UNOWNED, 2), (State.FINISHED, 1)]


def test_a_moved_lease_is_told_by_its_checkpoint_like_any_other() -> None:
    row = Lease("a", checkpoint=AT_TIMESTAMP, seek_time_ms=5, parents=frozenset({"p"}))

    assert states(fleet((0, [row, Lease("p")])))["a"] is State.WAITING_FOR_PARENT


# --- names ------------------------------------------------------------------------------------------------------------

LONG = ["shardId-00000001712345678901-7d3f2a1b", "shardId-00000001712345678902-7d3f2a1c"]


def test_a_shard_is_shortened_to_its_last_characters() -> None:
    assert short_names(LONG) == {LONG[0]: "…7d3f2a1b", LONG[1]: "…7d3f2a1c"}


def test_shards_that_end_alike_keep_what_tells_them_apart() -> None:
    assert short_names(["shardId-1-aaaaaaaaaa", "shardId-2-aaaaaaaaaa"]) == {
        "shardId-1-aaaaaaaaaa": "…1-aaaaaaaaaa",
        "shardId-2-aaaaaaaaaa": "…2-aaaaaaaaaa",
    }


def test_a_name_that_would_gain_nothing_stays_whole() -> None:
    assert short_names(["shard-123", "a"]) == {"shard-123": "shard-123", "a": "a"}


@pytest.mark.parametrize(
    "given", [LONG[0], "7d3f2a1b", "1b", "…7d3f2a1b", "...7d3f2a1b", "shardId-00000001712345678901"]
)
def test_a_unique_part_stands_for_its_shard(given: str) -> None:
    assert match(given, LONG) == LONG[0]


def test_a_whole_name_is_meant_even_where_another_begins_with_it() -> None:
    assert match("shard-1", ["shard-1", "shard-12"]) == "shard-1"


def test_a_part_that_fits_several_shards_lists_them() -> None:
    with pytest.raises(PollerError, match=rf"shardId: fits 2 shards: {LONG[0]}, {LONG[1]}; write more of it"):
        match("shardId", LONG)


def test_of_very_many_only_some_are_listed() -> None:
    with pytest.raises(PollerError, match=r"fits 30 shards: .* and 20 more; write more of it"):
        match("shard", [f"shard-{number}" for number in range(30)])


@pytest.mark.parametrize("given", ["nix", "", "…", "00000001712345678901"])
def test_what_fits_no_shard_is_said(given: str) -> None:
    with pytest.raises(PollerError, match="no row of that shard"):
        match(given, LONG)
