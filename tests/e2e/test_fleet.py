"""Six workers on sixty shards: they join, leave, die and freeze in random order, while shards roll and split.

`FLEET_SEED` repeats a run's order of events, as far as processes can be made to repeat anything.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.daemon import wait_until
from tests.e2e.evidence import (
    WAKING_S,
    Holders,
    Lapse,
    Missing,
    Stray,
    in_order,
    messages,
    most_sent_within,
    repeats,
)
from tests.e2e.fleet import LEASES, TABLE, Fleet, Writer
from tests.standin import StandInProcess

WORKERS, WORKERS_MIN, WORKERS_MAX = 6, 4, 8
SHARDS = 60
DURATION_S = 5.0
CHECKPOINT_S = 1.0
POLL_S = 1.0
ANSWER_MAX_S = 1.5
# Batches that a worker's threads may have on their way when it is frozen, of both routes.
BATCHES = 4
PAUSE_S = (2.0, 6.0)
QUEUES = ("every", "ordered.fifo")
SETTINGS = {
    "POLLER_TABLE": TABLE,
    "POLLER_HTTP__ENABLED": "false",
    "POLLER_LEASE__DURATION": f"{DURATION_S}s",
    "POLLER_LEASE__DISCOVERY_INTERVAL": "5s",
    "POLLER_AWS__REQUEST_TIMEOUT": f"{ANSWER_MAX_S}s",
    "POLLER_AWS__CONNECT_TIMEOUT": "0.5s",
    "POLLER_CHECKPOINT__INTERVAL": f"{CHECKPOINT_S}s",
    "POLLER_POLLING__IDLE_MIN": "0.5s",
    "POLLER_POLLING__IDLE_MAX": f"{POLL_S}s",
}
CONFIG = f"""
[[route]]
name = "every"
queue = "every"
dead_letter_queue = "dead"
batches_in_flight = {BATCHES // 2}
[[route]]
name = "ordered"
queue = "ordered.fifo"
dead_letter_queue = "dead"
batches_in_flight = {BATCHES // 2}
"""
EVENTS = {"join": 6, "leave": 4, "kill": 3, "freeze": 2, "roll": 4, "split": 2}


def test_a_fleet_loses_nothing_and_never_reads_a_shard_twice_whatever_happens_to_its_workers(tmp_path: Path) -> None:
    seed = int(os.environ.get("FLEET_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"FLEET_SEED={seed}")
    rng = random.Random(seed)
    config = tmp_path / "poller.toml"
    config.write_text(CONFIG, encoding="utf-8")
    with StandInProcess("--calls-kept", "1000000") as remote:
        for queue in (*QUEUES, "dead"):
            remote.queue(queue)
        remote.keep_journal(LEASES)
        writer = Writer.on(remote, SHARDS, random.Random(seed), pause_s=0.1)
        fleet = Fleet(remote, {**SETTINGS, "POLLER_CONFIG": str(config)}, tmp_path)
        try:
            for _ in range(WORKERS):
                fleet.join()
            until_balanced(fleet, writer)
            writer.start()
            live_through_it(fleet, writer, rng)
            writer.stop()
            until_balanced(fleet, writer)
            for queue in QUEUES:
                until_arrived(queue, fleet, writer)
            rested_from = time.monotonic()
            time.sleep(2 * DURATION_S)
            rested_to = time.monotonic()
            assert fleet.dead() == []
            for copy in list(fleet.copies.values()):
                fleet.leave(copy)
            fleet.gather()
            holders = Holders(remote.journal(LEASES))
            reads = remote.calls("GetRecords", last=1_000_000)
            every = messages(remote.arrived("every"), writer.shard_of)
            ordered = messages(remote.arrived("ordered.fifo"), writer.shard_of)
            dead_letters = remote.arrived("dead")
        finally:
            fleet.end()

    expected = set(writer.expected)
    assert {message.name for message in every} == expected
    assert Counter(message.name for message in ordered) == Counter(writer.expected)
    assert dead_letters == []
    assert in_order(every)
    assert in_order(ordered)
    strays = holders.stray_reads(reads)
    again = repeats(every, fleet.incidents, holders.lapses, ANSWER_MAX_S)
    print(
        f"{len(reads)} reads, {len(strays)} of them stray; {len(every)} messages, of them again: "
        f"{again.because.total()} after a kill or a freeze, {len(again.unanswered)} not answered in time,"
        f" {len(again.lapsed)} after a lapse"
    )
    assert again.without == [], "sent twice though no worker was killed, frozen or left without an answer"
    assert_lapses_of_silent_workers(holders.lapses)
    for incident, count in again.because.items():
        assert count <= most_sent_within(every, incident.key, CHECKPOINT_S + POLL_S), incident
    assert_one_request_after_each_loss(strays)
    assert_nothing_sent_after_waking(holders.stray_sends(every + ordered), fleet)
    assert holders.changes_between(rested_from, rested_to) == 0
    assert {(key, code) for key, code, _ in fleet.exits if code != 0} == set()
    assert max(seconds for _, _, seconds in fleet.exits) < 10.0
    assert fleet.said("task_failed") == []


def until_balanced(fleet: Fleet, writer: Writer) -> None:
    """Waits until every open shard is read and the shares are even."""

    def balanced() -> bool:
        writer.check()
        assert fleet.dead() == []
        return fleet.balanced(len(writer.lines))

    wait_until(balanced, lambda: f"not balanced: {fleet.loads()}", at_most_s=120)


def until_arrived(queue: str, fleet: Fleet, writer: Writer) -> None:
    """Waits until the queue has heard of everything."""
    missing = Missing(fleet.remote, queue, writer)
    wait_until(missing.none, lambda: f"lost: {sorted(missing.names)}", at_most_s=120)


def live_through_it(fleet: Fleet, writer: Writer, rng: random.Random) -> None:
    """All the events in random order, a few seconds apart. A frozen worker wakes after two lease durations."""
    events = [name for name, count in EVENTS.items() for _ in range(count)]
    rng.shuffle(events)
    while events:
        event = next((event for event in events if possible(event, fleet)), None)
        if event is not None:
            events.remove(event)
            happen(event, fleet, writer, rng)
        elif not any(copy.frozen for copy in fleet.copies.values()):
            raise AssertionError(f"impossible: {events}")
        time.sleep(rng.uniform(*PAUSE_S))
        writer.check()
        wake_up(fleet)
    while any(copy.frozen for copy in fleet.copies.values()):
        time.sleep(0.1)
        wake_up(fleet)


def possible(event: str, fleet: Fleet) -> bool:
    if event == "join":
        return len(fleet.copies) < WORKERS_MAX
    if event in {"leave", "kill", "freeze"}:
        return len(fleet.awake) > WORKERS_MIN
    return True


def happen(event: str, fleet: Fleet, writer: Writer, rng: random.Random) -> None:
    print(f"{time.monotonic():.1f} {event}, {len(fleet.awake)} of {len(fleet.copies)} awake")
    match event:
        case "join":
            fleet.join()
        case "leave":
            fleet.leave(rng.choice(fleet.awake))
        case "kill":
            fleet.kill(rng.choice(fleet.awake))
        case "freeze":
            fleet.freeze(rng.choice(fleet.awake))
        case "roll":
            writer.roll()
        case _:
            writer.split()


def wake_up(fleet: Fleet) -> None:
    for copy in [copy for copy in fleet.copies.values() if copy.frozen]:
        if time.monotonic() - fleet.frozen_at[copy.key] >= 2 * DURATION_S:
            fleet.wake(copy)


def assert_lapses_of_silent_workers(lapses: Sequence[Lapse]) -> None:
    """Nobody loses a lease but who has moved none of its rows for about a lease duration.

    A row that moved and was handed over before anybody looked was a sign of life that nobody has seen.
    """
    assert [lapse for lapse in lapses if lapse.silent_s < DURATION_S / 2] == []


def assert_one_request_after_each_loss(strays: Sequence[Stray]) -> None:
    """Who has lost a shard asks it for nothing more, but for the one request that was in its thread at that moment."""
    a_loss = Counter((stray.key, stray.shard, stray.lost_at_s) for stray in strays)
    assert {loss: count for loss, count in a_loss.items() if count > 1} == {}


def assert_nothing_sent_after_waking(strays: Sequence[Stray], fleet: Fleet) -> None:
    """Nothing is sent without the lease, but for the batches that were in the threads of a worker when it froze."""
    for stray in strays:
        freezes = [one for one in fleet.incidents if one.key == stray.key and not one.killed]
        assert any(one.at_s <= stray.at_s <= one.over_s + WAKING_S for one in freezes), stray
    a_loss = Counter((stray.key, stray.shard, stray.lost_at_s) for stray in strays)
    assert all(count <= BATCHES * 10 for count in a_loss.values()), a_loss
