"""When a lasting fault is spoken of."""

from __future__ import annotations

from poller.decide.trouble import Over, Trouble


def test_a_fault_is_said_as_it_begins_and_then_once_a_minute() -> None:
    trouble = Trouble()
    said = [second for second in range(0, 181, 5) if trouble.failed(float(second))]
    assert said == [0, 60, 120, 180]


def test_its_end_is_said_with_its_length() -> None:
    trouble = Trouble()
    trouble.failed(10.0)
    trouble.failed(15.0)
    assert trouble.worked(40.0) == Over(lasted_s=30.0, failures=2)
    assert trouble.worked(41.0) is None


def test_a_hiccup_within_the_quiet_failures_is_never_mentioned() -> None:
    trouble = Trouble(quiet_failures=1)
    assert not trouble.failed(1.0)
    assert trouble.worked(2.0) is None


def test_a_fault_that_was_quiet_at_first_counts_from_its_first_failure() -> None:
    trouble = Trouble(quiet_failures=1)
    assert not trouble.failed(1.0)
    assert trouble.failed(4.0)
    assert trouble.lasting_s(5.0) == 4.0
    assert trouble.worked(11.0) == Over(lasted_s=10.0, failures=2)


def test_a_new_fault_after_the_end_is_said_again_at_once() -> None:
    trouble = Trouble()
    assert trouble.failed(0.0)
    trouble.worked(1.0)
    assert trouble.failed(2.0)
