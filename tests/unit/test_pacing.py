"""When a shard is asked for its next page."""

from __future__ import annotations

from poller.decide.pacing import PacingLimits, next_pause_s

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
