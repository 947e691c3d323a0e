"""What the demo's keys bring about: a queue that breaks, a worker that is killed, and what is told of both."""

from __future__ import annotations

from collections.abc import Iterable

from poller.demo.alerts import Scrape
from poller.demo.ledger import Counts
from poller.demo.page import Look
from poller.demo.scenes import BreakQueue, Do, End, KillWorker, MendQueue, Say, Scenes, Voice
from poller.observe.verdict import Level

CALM = "The only shard is read; up to date; nothing retrying."
REFUSED = "Queue analysis-jobs has refused everything for 3.0 s; 7 records wait."
BREAK_S = 15.0


def books(*, awaited_since_s: float | None = None, duplicates: int = 0) -> Counts:
    return Counts(9, 3, 3, duplicates, 0, 0, 0.6, 0.125, 1.5, awaited_since_s)


def calm(at_s: float, *, reads: bool = True) -> Look:
    return Look(Level.OK, CALM, reads, Scrape(at_s, at_s, True, 0.0, 50.0, None))


def refused(at_s: float, errors: float = 10.0, since_s: float = 100.0) -> Look:
    return Look(Level.TROUBLE, REFUSED, True, Scrape(at_s, at_s, False, errors, 50.0, since_s))


def told(plan: Iterable[Do], voice: Voice) -> list[str]:
    return [do.text for do in plan if isinstance(do, Say) and do.voice is voice]


def acts(plan: Iterable[Do]) -> list[Do]:
    return [do for do in plan if not isinstance(do, Say)]


def broken(at_s: float = 100.0) -> Scenes:
    scenes = Scenes(BREAK_S)
    list(scenes.seen(at_s - 1, books(), calm(at_s - 1)))
    assert acts(scenes.typed("b", at_s, books())) == [BreakQueue()]
    return scenes


def killed(at_s: float = 100.0, duplicates: int = 0) -> Scenes:
    scenes = Scenes(BREAK_S)
    assert acts(scenes.typed("k", at_s, books(duplicates=duplicates))) == [KillWorker()]
    return scenes


def test_q_ends_it_and_a_key_without_a_meaning_does_nothing() -> None:
    assert list(Scenes(BREAK_S).typed("q", 0.0, books())) == [End()]
    assert list(Scenes(BREAK_S).typed("x", 0.0, books())) == []


def test_what_is_under_way_is_not_begun_again() -> None:
    assert list(broken().typed("b", 101.0, books())) == []
    assert list(killed().typed("k", 101.0, books())) == []


def test_the_page_turns_and_each_alert_is_named_once() -> None:
    scenes = broken()
    first = list(scenes.seen(103.0, books(), refused(103.0)))

    assert told(first, Voice.PAGE) == [REFUSED]
    assert told(first, Voice.ALERT) == [
        "PollerNotReady (warning) is pending, would ring after 5 min of this: docs/runbook.md#pollernotready",
        "PollerSinkErrors (warning) is pending, would ring after 10 min of this: docs/runbook.md#pollersinkerrors",
        (
            "PollerRetryingTooLong (critical) would be pending in 4 min 57 s, and ring 1 min later:"
            " docs/runbook.md#pollerretryingtoolong"
        ),
    ]
    assert list(scenes.seen(104.0, books(), refused(104.0))) == []


def test_an_alert_that_comes_to_be_pending_is_told_again() -> None:
    scenes = Scenes(break_s=3600.0)
    list(scenes.typed("b", 100.0, books()))
    list(scenes.seen(103.0, books(), refused(103.0)))

    assert told(scenes.seen(400.0, books(), refused(400.0)), Voice.ALERT) == [
        (
            "PollerRetryingTooLong (critical) is pending, would ring after 1 min of this:"
            " docs/runbook.md#pollerretryingtoolong"
        )
    ]


def test_the_queue_is_mended_when_its_time_is_over_and_the_page_is_heard_once_more() -> None:
    plan = list(broken().seen(115.0, books(), refused(115.0)))

    assert acts(plan) == [MendQueue()]
    assert told(plan, Voice.PAGE)[-1] == REFUSED
    assert told(plan, Voice.DEMO) == ["The queue takes messages again, after 15 s."]


def test_it_is_mended_in_time_though_nobody_answers() -> None:
    assert acts(broken().seen(115.0, books(), None)) == [MendQueue()]


def test_the_end_of_the_demo_mends_a_broken_queue_and_only_that() -> None:
    scenes = broken()

    assert acts(scenes.over(101.0)) == [MendQueue()]
    assert list(scenes.over(102.0)) == []
    assert list(scenes.typed("b", 103.0, books())) == []
    assert list(Scenes(BREAK_S).over(1.0)) == []


def test_it_has_recovered_when_the_page_is_calm_and_what_waited_has_arrived() -> None:
    scenes = broken()
    list(scenes.seen(115.0, books(), refused(115.0)))

    assert list(scenes.seen(115.5, books(awaited_since_s=114.0), calm(115.5))) == []
    assert list(scenes.seen(116.0, books(awaited_since_s=115.8), refused(116.0))) == []
    assert told(scenes.seen(117.0, books(awaited_since_s=116.9), calm(117.0)), Voice.GOOD) == [
        f"It has recovered, 2.0 s after the queue: everything that was written meanwhile has arrived. The page: {CALM}"
    ]
    assert not scenes.under_way


def test_a_killed_worker_is_followed_by_one_that_reads_and_what_came_twice_is_counted() -> None:
    scenes = killed(duplicates=1)
    waits = list(scenes.seen(102.0, books(), calm(102.0, reads=False)))

    assert told(waits, Voice.PAGE) == [f"{CALM} The dead one's lease still stands."]
    assert list(scenes.seen(103.0, books(), None)) == []
    assert list(scenes.seen(112.0, books(awaited_since_s=101.0), calm(112.0))) == []
    assert list(scenes.seen(114.5, books(awaited_since_s=111.0), calm(114.5))) == []
    assert told(scenes.seen(115.0, books(duplicates=3), calm(115.0)), Voice.GOOD) == [
        (
            "Another worker reads on, 12 s after the kill: everything that was written meanwhile has arrived;"
            " 2 messages came twice: sent, and not yet checkpointed when the worker died."
        )
    ]
    assert not scenes.under_way


def test_that_no_message_came_twice_is_said_as_well() -> None:
    scenes = killed()
    list(scenes.seen(112.0, books(), calm(112.0)))

    assert told(scenes.seen(114.0, books(), calm(114.0)), Voice.GOOD)[0].endswith("; no message came twice.")


def test_the_hint_says_what_the_keys_do_now() -> None:
    assert Scenes(BREAK_S).hint(0.0) == "b breaks the queue | k kills the worker | q ends with the books"
    assert broken().hint(106.0).startswith("the queue is broken, 9 s more | k kills")
    assert "another worker takes over" in killed().hint(101.0)
    scenes = broken()
    list(scenes.seen(115.0, books(), None))
    assert scenes.hint(115.0).startswith("the queue recovers")
    list(scenes.over(116.0))
    assert scenes.hint(116.0) == "ending: what is on its way is waited for"
