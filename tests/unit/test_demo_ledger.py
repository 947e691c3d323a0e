"""The demo's books: what was written against what arrived."""

from __future__ import annotations

import pytest

from poller.demo import ledger
from poller.demo.ledger import Counts, Fact, Ledger, Received, Wrote

DONE = "FILE_UPLOAD_COMPLETE"


def wrote(request_id: str, *, phase: str | None = DONE, at_s: float = 0.0) -> Wrote:
    return Wrote(request_id, phase, phase == DONE, at_s)


def received(request_id: str, *, phase: str = DONE, at_s: float = 0.0) -> Received:
    return Received(request_id, phase, sequence_number="1", body="{}", at_s=at_s)


def counts_of(*facts: Fact, now_s: float = 0.0) -> Counts:
    books = Ledger()
    for fact in facts:
        books.note(fact)
    return books.counts(now_s)


def test_nothing_told_is_nothing_counted() -> None:
    assert counts_of() == Counts(0, 0, 0, 0, 0, 0, 0.0, None, None)


def test_every_write_is_counted_and_only_a_completed_upload_is_expected() -> None:
    counts = counts_of(wrote("a", phase="CREATED"), wrote("a"), wrote("a", phase="ANALYSED"), wrote("a", phase=None))

    assert (counts.written, counts.expected, counts.in_flight) == (4, 1, 1)


def test_what_has_arrived_is_no_longer_in_flight() -> None:
    counts = counts_of(wrote("a"), wrote("b"), received("a"))

    assert (counts.received, counts.in_flight, counts.duplicates, counts.unexpected) == (1, 1, 0, 0)


def test_a_message_may_be_told_before_its_write() -> None:
    early = counts_of(received("a", at_s=5.0))
    both = counts_of(received("a", at_s=5.0), wrote("a", at_s=4.0))

    assert (early.received, early.unexpected) == (1, 1)
    assert (both.received, both.unexpected, both.in_flight, both.latency_p50_s) == (1, 0, 0, 1.0)


def test_a_second_arrival_is_a_duplicate_and_not_received_again() -> None:
    counts = counts_of(wrote("a"), received("a"), received("a"), received("a"))

    assert (counts.received, counts.duplicates, counts.unexpected) == (1, 2, 0)


def test_a_second_arrival_before_the_write_is_told_is_a_duplicate_too() -> None:
    counts = counts_of(received("a"), received("a"), wrote("a"))

    assert (counts.received, counts.duplicates, counts.unexpected) == (1, 1, 0)


def test_a_message_for_another_phase_is_not_the_one_that_was_expected() -> None:
    counts = counts_of(wrote("a"), received("a", phase="FILE_UPLOAD_STARTED"))

    assert (counts.in_flight, counts.unexpected) == (1, 1)


def test_a_message_that_no_write_asked_for_stays_unexpected() -> None:
    counts = counts_of(wrote("a", phase="ANALYSED"), received("a", phase="ANALYSED"))

    assert (counts.expected, counts.received, counts.unexpected) == (0, 1, 1)


def test_the_latency_is_from_the_begin_of_the_write_to_the_arrival() -> None:
    counts = counts_of(wrote("a", at_s=10.0), received("a", at_s=10.25))

    assert counts.latency_p50_s == counts.latency_p99_s == 0.25


def test_percentiles_are_the_nearest_ranks() -> None:
    facts: list[Fact] = []
    for number in range(1, 101):
        facts += [wrote(f"{number}"), received(f"{number}", at_s=float(number))]
    counts = counts_of(*facts)

    assert (counts.latency_p50_s, counts.latency_p99_s) == (50.0, 99.0)


def test_the_rate_is_of_the_last_five_seconds() -> None:
    facts = [received(f"{second}", at_s=float(second)) for second in range(20)]

    assert counts_of(*facts, now_s=19.0).per_second == 1.0
    assert counts_of(*facts, now_s=22.0).per_second == 0.4
    assert counts_of(*facts, now_s=60.0).per_second == 0.0


def test_it_forgets_the_oldest_arrivals_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "REMEMBERED_MAX", 2)
    old_ones = [fact for name in "abc" for fact in (wrote(name), received(name))]

    assert counts_of(*old_ones, received("b"), received("c")).duplicates == 2
    assert counts_of(*old_ones, received("a")).unexpected == 1
