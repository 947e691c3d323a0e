"""Random fleets on one lease table: one holder a lease, balance within a bound, and then nothing moves."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from poller.decide.balance import BalanceLimits, Sightings, plan_leases
from poller.model import SOUGHT, Lease

DURATION_S: Final = 10.0
LOOK_S: Final = 4.0
EAGER_LOOK_S: Final = 0.5
RENEW_S: Final = DURATION_S / 3
OWN_S: Final = DURATION_S * 0.9
STEP_S: Final = 0.25


@dataclass
class Worker:
    """A worker that does what its plans say, with the deadline that the table's writes give it."""

    name: str
    rng: random.Random
    max_leases: int | None = None
    sightings: Sightings = field(default_factory=Sightings)
    held: dict[str, Lease] = field(default_factory=dict)
    written_at: dict[str, float] = field(default_factory=dict)
    look_at: float = 0.0
    frozen_until: float = 0.0
    leaving: bool = False
    gone: bool = False
    eager_until: float = 0.0

    @property
    def deadline(self) -> float:
        return max((self.written_at[shard_id] for shard_id in self.held), default=0.0) + OWN_S


class Fleet:
    """The table, the workers on it, and time. A look takes a while: what it shows of each row was true then."""

    def __init__(self, leases: int, rng: random.Random) -> None:
        self.rng = rng
        self.now = 0.0
        self.rows = {f"s{number:03}": Lease(f"s{number:03}") for number in range(leases)}
        self.workers: list[Worker] = []
        self.moves = 0

    def join(self, max_leases: int | None = None) -> Worker:
        worker = Worker(f"w{len(self.workers):02}", random.Random(self.rng.random()), max_leases)
        worker.look_at = self.now + self.rng.random() * 0.2
        self.workers.append(worker)
        return worker

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += STEP_S
            for worker in self.rng.sample(self.workers, len(self.workers)):
                if not worker.gone and self.now >= worker.frozen_until:
                    self._turn(worker)
            self._check()

    # --- one worker ---

    def _turn(self, worker: Worker) -> None:
        if worker.held and self.now >= worker.deadline:
            worker.held.clear()
        if worker.held and self.now >= worker.deadline - OWN_S + RENEW_S:
            self._write(worker, self.rng.choice(sorted(worker.held)))
        if self.now >= worker.look_at:
            self._look(worker)
            eager = worker.leaving or self.now < worker.eager_until
            worker.look_at = self.now + (EAGER_LOOK_S if eager else LOOK_S)

    def _write(self, worker: Worker, shard_id: str) -> bool:
        """A renewal or checkpoint: only on the row as this worker knows it."""
        row, known = self.rows[shard_id], worker.held[shard_id]
        if (row.owner, row.counter) != (worker.name, known.counter):
            del worker.held[shard_id]
            return False
        self.rows[shard_id] = worker.held[shard_id] = row.renewed()
        worker.written_at[shard_id] = self.now
        return True

    def _look(self, worker: Worker) -> None:
        rows = dict(self.rows)
        worker.sightings.look(rows.values(), self.now - 0.1, self.now)
        for shard_id, row in rows.items():
            if shard_id in worker.held and row.owner != worker.name:
                del worker.held[shard_id]
            elif shard_id in worker.held and row.heir is not None:
                self._release(worker, shard_id)
        if worker.leaving:
            worker.gone = not worker.held
            return
        plan = plan_leases(
            rows,
            worker.sightings,
            BalanceLimits(DURATION_S, worker.max_leases),
            me=worker.name,
            readable=sorted(rows),
            held=frozenset(worker.held),
            rng=worker.rng,
        )
        for take in plan.take:
            if self.rows[take.lease.shard_id].counter == take.lease.counter:
                self._take(worker, take.lease.shard_id)
        for lease in plan.claim:
            row = self.rows[lease.shard_id]
            if row.owner == lease.owner and row.heir is None:
                self.rows[lease.shard_id] = row.promised(worker.name)
                worker.eager_until = self.now + DURATION_S
        for lease in plan.release:
            if self.rows[lease.shard_id].owner == worker.name:
                self.rows[lease.shard_id] = self.rows[lease.shard_id].released()

    def _take(self, worker: Worker, shard_id: str) -> None:
        self.rows[shard_id] = worker.held[shard_id] = self.rows[shard_id].taken_by(worker.name)
        worker.written_at[shard_id] = self.now
        self.moves += 1

    def _release(self, worker: Worker, shard_id: str) -> None:
        others = sorted(other for other in worker.held if other != shard_id)
        if others and max(worker.written_at[other] for other in others) + RENEW_S < self.now:
            self._write(worker, self.rng.choice(others))  # what is given back is no sign of life any more
        if shard_id in worker.held and self._write(worker, shard_id):  # the last checkpoint
            self.rows[shard_id] = self.rows[shard_id].released()
            del worker.held[shard_id]

    def leave(self, worker: Worker) -> None:
        worker.leaving = True
        for shard_id in worker.held:
            if self.rows[shard_id].successor is None:
                self.rows[shard_id] = self.rows[shard_id].promised(SOUGHT)
        worker.look_at = self.now

    # --- what must hold ---

    def _check(self) -> None:
        """No two workers may act for a shard at the same moment, whatever they believe."""
        acting = Counter(
            shard_id
            for worker in self.workers
            if not worker.gone and self.now < worker.deadline
            for shard_id in worker.held
        )
        assert all(count == 1 for count in acting.values()), "two workers act for one shard"

    def loads(self) -> list[int]:
        return [len(worker.held) for worker in self.workers if not worker.gone]


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), leases=st.integers(0, 40), workers=st.integers(1, 6))
def test_workers_that_join_hold_their_share_within_two_durations_and_then_nothing_moves(
    seed: int, leases: int, workers: int
) -> None:
    fleet = Fleet(leases, random.Random(seed))
    fleet.join()
    fleet.run(fleet.rng.uniform(0, 15))
    for _ in range(workers):
        fleet.join()
        fleet.run(fleet.rng.choice([0.0, fleet.rng.uniform(0, 6)]))
    fleet.run(2 * DURATION_S)
    assert sum(fleet.loads()) == leases
    assert max(fleet.loads()) - min(fleet.loads()) <= 1
    moves = fleet.moves
    fleet.run(60.0)
    assert fleet.moves == moves


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), leases=st.integers(1, 40), workers=st.integers(2, 6))
def test_whatever_workers_do_a_lease_has_one_holder_and_all_find_one_again(
    seed: int, leases: int, workers: int
) -> None:
    fleet = Fleet(leases, random.Random(seed))
    for _ in range(workers):
        fleet.join()
    for _ in range(fleet.rng.randint(1, 8)):
        fleet.run(fleet.rng.uniform(0, 12))
        living = [worker for worker in fleet.workers if not worker.gone and not worker.leaving]
        worker = fleet.rng.choice(living) if len(living) > 1 else fleet.join()
        match fleet.rng.choice(["join", "leave", "kill", "freeze"]):
            case "join":
                fleet.join()
            case "leave":
                fleet.leave(worker)
            case "kill":
                worker.gone = True
            case "freeze":
                worker.frozen_until = fleet.now + fleet.rng.uniform(0, 3 * DURATION_S)
    fleet.run(9 * DURATION_S)
    assert sum(fleet.loads()) == leases
    assert max(fleet.loads()) - min(fleet.loads()) <= 1
    moves = fleet.moves
    fleet.run(60.0)
    assert fleet.moves == moves


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), leases=st.integers(1, 40), workers=st.integers(2, 6))
def test_a_join_moves_only_what_the_new_worker_gets(seed: int, leases: int, workers: int) -> None:
    fleet = Fleet(leases, random.Random(seed))
    for _ in range(workers):
        fleet.join()
    fleet.run(60.0)
    moves = fleet.moves
    joined = fleet.join()
    fleet.run(60.0)
    assert fleet.moves - moves == len(joined.held) == leases // (workers + 1)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), leases=st.integers(6, 40), workers=st.integers(2, 6))
def test_a_leaving_worker_hands_over_what_it_has_and_nothing_else_moves(seed: int, leases: int, workers: int) -> None:
    """Where every worker has some lease, that is: of those without one the others know nothing."""
    fleet = Fleet(leases, random.Random(seed))
    for _ in range(workers):
        fleet.join()
    fleet.run(60.0)
    moves = fleet.moves
    leaver = fleet.rng.choice(fleet.workers)
    had = len(leaver.held)
    fleet.leave(leaver)
    fleet.run(LOOK_S + 2 * EAGER_LOOK_S)
    assert leaver.gone
    assert (fleet.moves - moves, sum(fleet.loads())) == (had, leases)
    assert max(fleet.loads()) - min(fleet.loads()) <= 1
    fleet.run(60.0)
    assert fleet.moves - moves == had


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), leases=st.integers(1, 40), most=st.lists(st.integers(1, 15), min_size=1, max_size=4))
def test_no_worker_exceeds_its_maximum_and_the_others_take_the_rest(seed: int, leases: int, most: list[int]) -> None:
    fleet = Fleet(leases, random.Random(seed))
    for max_leases in most:
        fleet.join(max_leases)
    fleet.join()
    for _ in range(30):
        fleet.run(4 * STEP_S * 20)
        assert all(worker.max_leases is None or len(worker.held) <= worker.max_leases for worker in fleet.workers)
    assert sum(fleet.loads()) == leases
