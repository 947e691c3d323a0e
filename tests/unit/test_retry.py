"""What becomes of an entry that the queue has answered."""

from __future__ import annotations

import pytest

from poller.decide.retry import Again, Backoff, DeadLetter, Fate, RetryLimits, Sent, fate
from poller.model import Accepted, EntryOutcome, Refused

BUSY = Refused("InternalError", "", sender_fault=False)
NEVER = Refused("InvalidMessageContents", "", sender_fault=True)
LIMITS = RetryLimits(max_attempts=3, max_record_age_s=600.0, backoff=Backoff(1.0, 60.0))


def decide(outcome: EntryOutcome, *, attempts: int = 0, tries: int = 1, alive: bool = True, age_s: float = 0.0) -> Fate:
    return fate(outcome, LIMITS, attempts=attempts, tries=tries, queue_alive=alive, age_s=age_s, random_unit=0.0)


def test_an_accepted_entry_is_sent() -> None:
    assert decide(Accepted()) == Sent()


def test_an_entry_at_fault_is_a_dead_letter_at_once() -> None:
    assert decide(NEVER, alive=False) == DeadLetter("refused", 1)


def test_a_refusal_while_others_get_through_counts_and_is_tried_again() -> None:
    assert decide(BUSY, attempts=1) == Again(0.5, 2)


def test_the_last_attempt_makes_a_dead_letter() -> None:
    assert decide(BUSY, attempts=2) == DeadLetter("max_attempts", 3)


def test_an_old_record_is_a_dead_letter_at_its_next_counted_refusal() -> None:
    assert decide(BUSY, age_s=600.0) == DeadLetter("max_record_age", 1)


def test_a_queue_that_takes_nothing_is_waited_for_however_often_and_long() -> None:
    assert decide(BUSY, attempts=2, tries=500, alive=False, age_s=1e6) == Again(30.0, 2)


def test_the_wait_doubles_up_to_its_bound_and_jitter_takes_at_most_half() -> None:
    backoff = Backoff(first_s=0.5, max_s=4.0)
    assert [backoff.wait_s(n, 0.999999) for n in (1, 2, 3, 4, 9)] == [
        pytest.approx(x, rel=1e-5) for x in (0.5, 1.0, 2.0, 4.0, 4.0)
    ]
    assert [backoff.wait_s(n, 0.0) for n in (1, 2, 3, 4, 9)] == [0.25, 0.5, 1.0, 2.0, 2.0]


def test_a_thousand_failures_do_not_overflow_the_wait() -> None:
    assert Backoff(0.1, 30.0).wait_s(5_000, 0.0) == 15.0
