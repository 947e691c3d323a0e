"""Lanes: one item's records one after another, different items side by side, ten entries and so many bytes a batch."""

from __future__ import annotations

from dataclasses import dataclass

from poller.decide.batch import BatchLimits, Lanes


@dataclass(frozen=True)
class Entry:
    lane: str
    number: int = 0
    size_bytes: int = 1


def lanes(entries_max: int = 10, bytes_max: int = 1000, window_s: float = 0.0) -> Lanes[Entry]:
    return Lanes(BatchLimits(entries_max, bytes_max, window_s))


def test_nothing_waits_in_empty_lanes() -> None:
    empty = lanes()
    assert (empty.next_batch(0.0), empty.wait_s(0.0), len(empty)) == ([], None, 0)


def test_different_items_share_a_batch_of_at_most_ten() -> None:
    some = lanes()
    for number in range(12):
        some.add(Entry(f"item-{number}"), 0.0)
    assert [len(some.next_batch(0.0)), len(some.next_batch(0.0)), some.next_batch(0.0)] == [10, 2, []]


def test_an_item_has_one_entry_under_way_and_the_next_only_after_it() -> None:
    some = lanes()
    first, second = Entry("item", 1), Entry("item", 2)
    some.add(first, 0.0)
    some.add(second, 0.0)
    assert some.next_batch(0.0) == [first]
    assert some.next_batch(0.0) == []
    some.done([first], 0.0)
    assert some.next_batch(0.0) == [second]


def test_a_refused_entry_keeps_its_place_before_the_later_ones_of_its_item() -> None:
    some = lanes()
    first, second, other = Entry("item", 1), Entry("item", 2), Entry("other")
    some.add(first, 0.0)
    some.add(second, 0.0)
    some.next_batch(0.0)
    some.again(first, at=5.0)
    some.add(other, 0.0)
    assert some.next_batch(1.0) == [other]
    assert some.wait_s(1.0) == 4.0
    assert some.next_batch(5.0) == [first]


def test_a_batch_stays_within_the_bytes_of_the_queue() -> None:
    some = lanes(bytes_max=100)
    for number, size in enumerate((60, 30, 20)):
        some.add(Entry(f"item-{number}", number, size), 0.0)
    assert [entry.number for entry in some.next_batch(0.0)] == [0, 1]
    assert [entry.number for entry in some.next_batch(0.0)] == [2]


def test_an_entry_above_the_limit_goes_alone() -> None:
    some = lanes(bytes_max=100)
    some.add(Entry("large", 1, 500), 0.0)
    some.add(Entry("small", 2, 1), 0.0)
    assert [entry.number for entry in some.next_batch(0.0)] == [1]


def test_a_batch_that_is_not_full_waits_for_its_window() -> None:
    some = lanes(entries_max=2, window_s=0.5)
    some.add(Entry("a"), 10.0)
    assert some.next_batch(10.25) == []
    assert some.wait_s(10.25) == 0.25
    assert some.next_batch(10.5) == [Entry("a")]


def test_a_full_batch_does_not_wait_for_its_window() -> None:
    some = lanes(entries_max=2, window_s=0.5)
    some.add(Entry("a"), 10.0)
    some.add(Entry("b"), 10.0)
    assert len(some.next_batch(10.0)) == 2


def test_dropping_takes_heads_and_those_behind_them() -> None:
    some = lanes()
    for number in range(3):
        some.add(Entry("item", number), 0.0)
    some.add(Entry("other", 9), 0.0)
    assert some.drop(lambda entry: entry.lane == "item") == 3
    assert [entry.number for entry in some.next_batch(0.0)] == [9]


def test_dropping_a_head_lets_the_next_of_another_owner_go() -> None:
    some = lanes()
    some.add(Entry("item", 1), 0.0)
    some.add(Entry("item", 2), 0.0)
    assert some.drop(lambda entry: entry.number == 1) == 1
    assert [entry.number for entry in some.next_batch(0.0)] == [2]


def test_an_entry_under_way_is_not_dropped_and_still_keeps_its_item_back() -> None:
    some = lanes()
    out = Entry("item", 1)
    some.add(out, 0.0)
    some.next_batch(0.0)
    some.add(Entry("item", 2), 0.0)
    assert some.drop(lambda entry: entry.number == 1) == 0
    assert some.next_batch(0.0) == []
    some.done([out], 0.0)
    assert [entry.number for entry in some.next_batch(0.0)] == [2]


def test_a_resting_entry_can_be_dropped() -> None:
    some = lanes()
    entry = Entry("item", 1)
    some.add(entry, 0.0)
    some.next_batch(0.0)
    some.again(entry, 5.0)
    assert (some.drop(lambda _: True), len(some), some.wait_s(0.0)) == (1, 0, None)
