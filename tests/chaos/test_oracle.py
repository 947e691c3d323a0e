"""The plan and the oracle themselves: the same seed, the same faults; and every wrong is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.ledger import Book, Change, Ledger
from tests.chaos.oracle import Bounds, Owners, Spell, wrongs_of_delivery
from tests.chaos.plan import Crew, Fault, Kind, Service, plan
from tests.chaos.test_chaos import PACE_S, SECONDS, SEED

CREW = Crew((1, 2, 3, 4, 5, 6), clocks=(1, 2), renewing=(3, 4, 5, 6), spared=(1, 2, 3), tables=4)
BOUNDS = Bounds(before_ms=2_000, after_ms=3_000)
KILLED = Spell(100_000, 105_000, "kill -9", frozenset({3}))


class Case:
    """One queue, and changes of one item that were written."""

    def __init__(self, changes: int = 3, *, ordered: bool = True) -> None:
        self.ledger = Ledger([Book("queue", ordered=ordered)])
        self.ledger.expect(Change("Table/1", number) for number in range(1, changes + 1))
        self.owners = Owners()
        self.owners.note("Table", 3, 0)
        self._messages = 0

    def arrive(self, revision: int, sent_ms: int) -> None:
        self._messages += 1
        self.ledger.note("queue", str(self._messages), Change("Table/1", revision), sent_ms)

    def wrongs(self, *spells: Spell) -> list[str]:
        return wrongs_of_delivery(self.ledger, spells, self.owners, BOUNDS)


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_faults_and_another_one_others() -> None:
    first, again, other = (plan(seed, CREW, seconds=100, pace_s=3) for seed in (7, 7, 8))
    assert first == again != other


def test_every_kind_comes_before_one_comes_again() -> None:
    kinds = [fault.kind for fault in plan(7, CREW, seconds=1_000, pace_s=3)]
    assert set(kinds[: len(Kind)]) == set(Kind)


def test_the_short_run_has_a_fault_of_every_kind() -> None:
    assert {fault.kind for fault in plan(SEED, replace(CREW, spared=()), seconds=SECONDS, pace_s=PACE_S)} == set(Kind)


def test_faults_only_befall_those_whom_they_may_befall() -> None:
    for fault in plan(7, CREW, seconds=10_000, pace_s=3):
        for aimed in (fault.aimed(holder, CREW) for holder in CREW.workers):
            assert aimed.kind is not Kind.CLOCK or set(aimed.workers) <= {1, 2}
            assert aimed.kind is not Kind.CREDENTIALS or set(aimed.workers) <= {3, 4, 5, 6}
            assert aimed.kind not in (Kind.KILL, Kind.STOP) or set(aimed.workers) <= {4, 5, 6}


def test_a_fault_finds_the_holder_of_its_shard() -> None:
    fault = Fault(0.0, Kind.FREEZE, 6.0, (1,), table=2)
    assert fault.aimed(5, CREW).workers == (5,)
    assert fault.aimed(None, CREW) == fault


def test_two_faults_that_would_undo_each_other_touch_the_same() -> None:
    cut = Fault(0.0, Kind.CUT, 1.0, (2,), (Service.QUEUES,))
    restart = Fault(0.0, Kind.SQS, 1.0, CREW.workers, (Service.QUEUES,))
    assert set(cut.touches()) <= set(restart.touches())
    assert not set(cut.touches()) & set(Fault(0.0, Kind.KILL, 1.0, (2,)).touches())


# --- the oracle -------------------------------------------------------------------------------------------------------


def test_what_arrives_once_and_in_order_is_right() -> None:
    case = Case()
    for revision in (1, 2, 3):
        case.arrive(revision, 1_000 * revision)
    assert case.wrongs() == []


def test_what_does_not_arrive_is_lost() -> None:
    case = Case(2)
    case.arrive(1, 1_000)
    assert case.wrongs() == ["1 lost of queue: Change(item='Table/1', revision=2)"]


def test_what_nobody_asked_for_is_foreign() -> None:
    case = Case(0)
    case.arrive(9, 1_000)
    assert case.wrongs() == ["1 that nobody asked for: Change(item='Table/1', revision=9)"]


def test_a_queue_that_keeps_the_order_shows_what_was_sent_out_of_order() -> None:
    case = Case()
    for revision in (1, 3, 2):
        case.arrive(revision, 1_000)
    assert case.wrongs() == ["1 out of order: queue: Table/1 revision 2 after 3"]


def test_of_a_queue_without_an_order_the_times_of_sending_count() -> None:
    case = Case(2, ordered=False)
    case.arrive(2, 2_000)
    case.arrive(1, 1_000)
    assert case.wrongs() == []
    late = Case(2, ordered=False)
    late.arrive(1, 2_000)
    late.arrive(2, 1_000)
    assert late.wrongs() == ["1 out of order: queue: Table/1 revision 2 sent 1000 ms before 1"]


def test_a_later_copy_of_an_earlier_revision_is_no_disorder() -> None:
    case = Case(2)
    for revision, at_ms in ((1, 101_000), (2, 101_000), (1, 107_000), (2, 107_000)):
        case.arrive(revision, at_ms)
    assert case.wrongs(KILLED) == []


@pytest.mark.parametrize(
    ("first_ms", "sender", "right"),
    [
        (97_000, 3, False),  # longer ago than a checkpoint interval
        (99_000, 3, True),
        (104_000, 3, True),
        (107_000, 3, True),
        (109_000, 3, False),  # its end was noticed by then
        (104_000, 5, False),  # it was not this worker's
    ],
)
def test_a_message_may_come_twice_if_something_was_wrong_with_its_sender_then(
    first_ms: int, sender: int, right: bool
) -> None:
    case = Case(1)
    case.owners.note("Table", sender, 1_000)
    case.arrive(1, first_ms)
    case.arrive(1, 120_000)
    wrongs = case.wrongs(KILLED)
    assert not wrongs if right else wrongs[0].startswith("1 twice without a reason")


def test_a_message_that_the_queue_hands_out_twice_was_not_sent_twice() -> None:
    case = Case(1)
    for _ in range(2):
        case.ledger.note("queue", "the same", Change("Table/1", 1), 1_000)
    assert case.wrongs() == []
