"""When a shard is asked for its next page."""

from __future__ import annotations

from poller.decide.pacing import STRETCHED_MAX_S, PacingLimits, next_pause_s, stretched_idle_max_s

LIMITS = PacingLimits(idle_min_s=0.25, idle_max_s=1.0, page_limit=1000)


def pause(last: float, records: int, size_bytes: int = 100, *, caught_up: bool = True, closed: bool = False) -> float:
    return next_pause_s(LIMITS, last, records=records, size_bytes=size_bytes, caught_up=caught_up, closed=closed)


def test_a_full_page_is_followed_at_once() -> None:
    assert pause(0.25, 1000) == 0.0


def test_a_page_full_of_bytes_is_followed_at_once() -> None:
    assert pause(0.25, 3, size_bytes=1_000_000) == 0.0


def test_a_page_with_some_records_is_followed_soon() -> None:
    assert pause(1.0, 3) == 0.25


def test_a_page_with_records_is_followed_at_once_while_catching_up() -> None:
    assert pause(1.0, 3, caught_up=False) == 0.0


def test_empty_pages_come_ever_later_up_to_the_longest_pause() -> None:
    pauses = [0.0]
    for _ in range(6):
        pauses.append(pause(pauses[-1], 0))
    assert pauses == [0.0, 0.25, 0.375, 0.5625, 0.84375, 1.0, 1.0]


def test_a_closed_shard_is_hurried_to_its_end() -> None:
    assert pause(1.0, 0, closed=True) == 0.0


def stretched(left_usd: float, shards: int = 10) -> tuple[float, bool]:
    """Ten shards at a dollar for a poll a second."""
    return stretched_idle_max_s(LIMITS, left_usd=left_usd, shards=shards, polling_usd=1.0)


def test_what_is_left_of_a_budget_is_spent_on_idle_shards_and_no_more() -> None:
    assert stretched(2.0) == (5.0, True)
    assert stretched(0.05) == (200.0, True)


def test_a_budget_never_makes_it_faster_than_the_settings() -> None:
    assert stretched(1_000.0) == (1.0, True)
    assert stretched(1.0, shards=0) == (1.0, True)


def test_a_budget_leaves_at_least_a_poll_in_five_minutes() -> None:
    assert stretched(0.01) == (STRETCHED_MAX_S, False)
    assert stretched(-1.0) == (STRETCHED_MAX_S, False)
