"""The frontier of one shard: what is settled, and the checkpoint that is safe."""

from __future__ import annotations

import pytest

from poller.decide.frontier import Frontier, Ticket


def admit(frontier: Frontier, before: str | None, parts: int = 1) -> Ticket:
    return frontier.admit(before=before, parts=parts, created_s=float(frontier.window), size_bytes=10)


def test_a_new_frontier_stands_at_the_checkpoint_of_the_row() -> None:
    assert Frontier("TRIM_HORIZON").checkpoint == "TRIM_HORIZON"


def test_filtered_records_move_the_frontier_by_themselves() -> None:
    frontier = Frontier("TRIM_HORIZON")
    frontier.saw("150")
    assert frontier.checkpoint == "150"


def test_an_unsettled_record_holds_the_frontier_just_before_it() -> None:
    frontier = Frontier("100")
    admit(frontier, "119")
    frontier.saw("150")
    assert frontier.checkpoint == "119"


def test_the_first_record_of_a_page_holds_the_frontier_at_the_last_one_seen() -> None:
    frontier = Frontier("100")
    frontier.saw("150")
    admit(frontier, None)
    frontier.saw("200")
    assert frontier.checkpoint == "150"


def test_records_settled_out_of_order_do_not_jump_over_the_gap() -> None:
    frontier = Frontier("100")
    first, second, third = admit(frontier, "100"), admit(frontier, "101"), admit(frontier, "102")
    frontier.saw("103")
    frontier.settle(third)
    frontier.settle(second)
    assert frontier.checkpoint == "100"
    frontier.settle(first)
    assert frontier.checkpoint == "103"


def test_a_record_for_two_routes_is_settled_by_the_second() -> None:
    frontier = Frontier("100")
    ticket = admit(frontier, "100", parts=2)
    frontier.saw("101")
    frontier.settle(ticket)
    assert frontier.checkpoint == "100"
    frontier.settle(ticket)
    assert frontier.checkpoint == "101"


def test_the_end_of_the_shard_is_never_the_checkpoint() -> None:
    frontier = Frontier("100")
    frontier.saw("150")
    frontier.saw_end()
    assert (frontier.ended, frontier.drained, frontier.checkpoint) == (True, True, "150")


def test_what_is_open_is_counted_until_it_is_settled() -> None:
    frontier = Frontier("100")
    first, second = admit(frontier, "100"), admit(frontier, "101")
    assert (frontier.open_records, frontier.open_bytes, frontier.window) == (2, 20, 2)
    frontier.settle(second)
    assert (frontier.open_records, frontier.open_bytes, frontier.window) == (1, 10, 2)
    frontier.settle(first)
    assert (frontier.open_records, frontier.open_bytes, frontier.window) == (0, 0, 0)


def test_the_age_is_that_of_the_oldest_unsettled_record() -> None:
    frontier = Frontier("100")
    ages = [frontier.oldest_open_created_s]
    first = frontier.admit(before="100", parts=1, created_s=7.0, size_bytes=1)
    frontier.admit(before="101", parts=1, created_s=8.0, size_bytes=1)
    ages.append(frontier.oldest_open_created_s)
    frontier.settle(first)
    ages.append(frontier.oldest_open_created_s)
    assert ages == [None, 7.0, 8.0]


def test_settling_more_often_than_routes_wanted_it_is_a_defect() -> None:
    frontier = Frontier("100")
    ticket = admit(frontier, "100")
    frontier.settle(ticket)
    with pytest.raises(ValueError, match="more often"):
        frontier.settle(ticket)


def test_a_record_that_no_route_wants_is_not_admitted() -> None:
    with pytest.raises(ValueError, match="no route"):
        admit(Frontier("100"), "100", parts=0)
