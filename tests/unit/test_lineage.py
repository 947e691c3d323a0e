"""From shards and rows to the rows that are missing, and to the shards that may start."""

from __future__ import annotations

from poller.decide.lineage import (
    Stage,
    Start,
    already_read,
    below,
    children_missing,
    in_lineage_order,
    new_leases,
    removable,
    stage,
    start_of,
    stream_finished,
    unexplained_parents,
)
from poller.model import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Lease, Shard

ARN = "arn:aws:dynamodb:eu-west-1:000000000000:table/T/stream/1"
NOW_MS = 1_700_000_000_000
HORIZON = Start(TRIM_HORIZON)
LATEST_NOW = Start(LATEST, NOW_MS)


def listing(*shards: Shard) -> dict[str, Shard]:
    return {shard.shard_id: shard for shard in shards}


def table(*leases: Lease) -> dict[str, Lease]:
    return {lease.shard_id: lease for lease in leases}


def created(shards: dict[str, Shard], leases: dict[str, Lease], start: Start) -> dict[str, tuple[str, int | None]]:
    rows = new_leases(shards, leases, start, stream_arn=ARN)
    return {row.shard_id: (row.checkpoint, row.start_time_ms) for row in rows}


def test_at_the_horizon_every_listed_shard_gets_a_row_parents_first() -> None:
    shards = listing(Shard("child", "root"), Shard("root", "trimmed", closed=True))
    rows = new_leases(shards, {}, HORIZON, stream_arn=ARN)
    assert [(row.shard_id, row.checkpoint, row.parents) for row in rows] == [
        ("root", TRIM_HORIZON, frozenset({"trimmed"})),
        ("child", TRIM_HORIZON, frozenset({"root"})),
    ]


def test_every_new_row_names_its_stream() -> None:
    assert new_leases(listing(Shard("a")), {}, HORIZON, stream_arn=ARN)[0].stream_arn == ARN


def test_latest_applies_to_the_open_shards_of_the_first_listing() -> None:
    assert created(listing(Shard("a")), {}, LATEST_NOW) == {"a": (LATEST, NOW_MS)}


def test_latest_writes_a_closed_shard_with_children_down_as_finished() -> None:
    shards = listing(Shard("old", closed=True), Shard("new", "old"))
    assert created(shards, {}, LATEST_NOW) == {"old": (SHARD_END, NOW_MS), "new": (LATEST, NOW_MS)}


def test_latest_reads_a_closed_shard_whose_children_are_late() -> None:
    assert created(listing(Shard("old", closed=True)), {}, LATEST_NOW) == {"old": (TRIM_HORIZON, NOW_MS)}


def test_latest_never_applies_to_the_child_of_a_shard_that_has_a_row() -> None:
    rows = table(Lease("old", checkpoint=LATEST, start_time_ms=NOW_MS))
    shards = listing(Shard("old", closed=True), Shard("new", "old"))
    assert created(shards, rows, LATEST_NOW) == {"new": (TRIM_HORIZON, None)}


def test_latest_never_applies_below_an_open_shard_of_the_same_listing() -> None:
    shards = listing(Shard("old"), Shard("new", "old"))
    assert created(shards, {}, LATEST_NOW)["new"] == (TRIM_HORIZON, None)


def test_latest_never_applies_further_below_an_open_shard_either() -> None:
    # The first page was read before the shard rolled over, the last one after its children had, too.
    shards = listing(Shard("a"), Shard("b", "a", closed=True), Shard("c", "b", closed=True), Shard("d", "c"))
    assert created(shards, {}, LATEST_NOW) == {"a": (LATEST, NOW_MS)} | dict.fromkeys("bcd", (TRIM_HORIZON, None))


def test_a_time_applies_to_all_shards_of_the_first_listing() -> None:
    shards = listing(Shard("old", closed=True), Shard("new", "old"))
    at = Start(AT_TIMESTAMP, NOW_MS)
    assert created(shards, {}, at) == {"old": (AT_TIMESTAMP, NOW_MS), "new": (AT_TIMESTAMP, NOW_MS)}


def test_once_there_are_rows_the_start_is_the_instant_of_the_first_one() -> None:
    rows = [Lease("a", start_time_ms=NOW_MS + 5), Lease("b", start_time_ms=NOW_MS), Lease("c")]
    assert start_of(rows, Start(LATEST, NOW_MS + 99)) == Start(TRIM_HORIZON, NOW_MS)


def test_without_rows_the_start_is_the_one_asked_for() -> None:
    assert start_of([], LATEST_NOW) == LATEST_NOW


def test_a_shard_that_has_a_row_gets_no_other() -> None:
    assert created(listing(Shard("a")), table(Lease("a", checkpoint="5")), HORIZON) == {}


def test_a_cleaned_up_parent_of_a_started_child_is_not_read_again() -> None:
    shards = listing(
        Shard("grandparent", closed=True), Shard("parent", "grandparent", closed=True), Shard("c", "parent")
    )
    assert created(shards, table(Lease("c", checkpoint="7")), HORIZON) == {}


def test_a_late_sibling_below_a_cleaned_up_parent_is_read_from_its_horizon() -> None:
    shards = listing(Shard("parent", closed=True), Shard("a", "parent"), Shard("b", "parent"))
    assert created(shards, table(Lease("a", checkpoint="7")), LATEST_NOW) == {"b": (TRIM_HORIZON, None)}


def test_a_deleted_row_above_a_child_that_has_not_started_is_made_again() -> None:
    shards = listing(Shard("parent", closed=True), Shard("c", "parent"))
    assert created(shards, table(Lease("c", parents=frozenset({"parent"}))), HORIZON) == {
        "parent": (TRIM_HORIZON, None)
    }


def test_a_finished_row_goes_once_its_shard_is_trimmed_and_no_child_waits_for_it() -> None:
    parent = Lease("parent", checkpoint=SHARD_END)
    waiting = Lease("child", parents=frozenset({"parent"}))
    begun = Lease("child", checkpoint="7", parents=frozenset({"parent"}))
    assert removable(table(parent, waiting), {"child"}) == ()
    assert removable(table(parent, begun), {"parent", "child"}) == ()
    assert removable(table(parent, begun), {"child"}) == (parent,)


def test_something_unfinished_remains_in_the_table() -> None:
    assert removable(table(Lease("a", checkpoint=SHARD_END), Lease("b", checkpoint=SHARD_END)), ()) == ()


def test_a_child_waits_for_its_parent() -> None:
    parent, child = Lease("p", checkpoint="5"), Lease("c", parents=frozenset({"p"}))
    assert stage(child, table(parent, child), {}) is Stage.WAITING_FOR_PARENT


def test_a_child_of_a_finished_parent_may_start() -> None:
    parent, child = Lease("p", checkpoint=SHARD_END), Lease("c", parents=frozenset({"p"}))
    assert stage(child, table(parent, child), {}) is Stage.READY


def test_a_child_of_a_trimmed_parent_may_start() -> None:
    child = Lease("c", parents=frozenset({"p"}))
    assert stage(child, table(child), {}) is Stage.READY


def test_a_child_whose_listed_parent_has_no_row_yet_waits() -> None:
    child = Lease("c", parents=frozenset({"p"}))
    assert stage(child, table(child), listing(Shard("p", closed=True))) is Stage.WAITING_FOR_PARENT


def test_a_shard_that_was_read_before_goes_on_whatever_became_of_its_parents_row() -> None:
    child = Lease("c", checkpoint="9", parents=frozenset({"p"}))
    assert stage(child, table(child), listing(Shard("p", closed=True))) is Stage.READY


def test_a_finished_shard_is_finished() -> None:
    lease = Lease("a", checkpoint=SHARD_END)
    assert stage(lease, table(lease), {}) is Stage.FINISHED


def test_a_parent_that_is_neither_listed_nor_leased_is_asked_for() -> None:
    shards = listing(Shard("a", "gone"), Shard("b", "leased"), Shard("c", "a"), Shard("known", "gone-too"))
    rows = table(Lease("leased"), Lease("known"))
    assert unexplained_parents(shards, rows) == {"gone"}


def test_parents_come_before_children_and_a_cycle_is_cut() -> None:
    shards = listing(Shard("c", "b"), Shard("b", "a"), Shard("a"), Shard("x", "y"), Shard("y", "x"))
    assert [shard.shard_id for shard in in_lineage_order(shards)] == ["a", "b", "c", "y", "x"]


def test_a_disabled_stream_is_finished_when_every_listed_shard_is() -> None:
    shards = listing(Shard("a", closed=True))
    done, open_ = table(Lease("a", checkpoint=SHARD_END)), table(Lease("a", checkpoint="5"))
    assert stream_finished(done, shards, enabled=False)
    assert not stream_finished(done, shards, enabled=True)
    assert not stream_finished(done, shards, enabled=False, complete=False)
    assert not stream_finished(open_, shards, enabled=False)
    assert not stream_finished({}, shards, enabled=False)


def test_a_finished_shard_without_children_makes_one_look_again() -> None:
    rows = table(Lease("a", checkpoint=SHARD_END), Lease("b", checkpoint="3"))
    assert children_missing(rows, listing(Shard("a", closed=True), Shard("b"))) == {"a"}
    assert children_missing(rows, listing(Shard("a", closed=True), Shard("b", "a"))) == frozenset()


def test_nothing_below_a_doubtful_parent_is_certain_however_far_down() -> None:
    shards = listing(Shard("child", "hidden", closed=True), Shard("grandchild", "child"), Shard("other"))
    assert below({"hidden"}, shards, {}) == {"child", "grandchild"}
    assert below({"hidden"}, shards, table(Lease("child", parents=frozenset({"hidden"})))) == frozenset()


def test_a_parent_without_a_row_was_read_if_anything_below_it_was() -> None:
    shards = listing(Shard("root", closed=True), Shard("left", "root"), Shard("right", "root"))
    assert already_read(shards, table(Lease("left", checkpoint="7"), Lease("right"))) == {"root"}
    assert already_read(shards, table(Lease("left"), Lease("right"))) == frozenset()


def test_of_a_stream_that_was_gone_on_from_only_a_late_child_of_a_row_is_read() -> None:
    shards = listing(
        Shard("root", closed=True), Shard("left", "root", closed=True), Shard("late", "left"), Shard("right", "root")
    )
    rows = table(Lease("left", checkpoint=SHARD_END, parents=frozenset({"root"})))
    assert already_read(shards, rows, followed=True) == {"root", "right"}
    made = new_leases(shards, rows, HORIZON, stream_arn=ARN, followed=True)
    assert [row.shard_id for row in made] == ["late"]
    assert [row.shard_id for row in new_leases(shards, {}, HORIZON, stream_arn=ARN, followed=True)] == []
