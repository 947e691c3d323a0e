"""Many seeds, in as many processes as there are jobs; each seed is its own, whatever ran before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.sim.simulation import Kind, Outcome, simulate


def run_many(seeds: Iterable[int], kind: Kind, jobs: int) -> Iterator[Outcome]:
    """The outcome of each seed, in their order."""
    if jobs == 1:
        for seed in seeds:
            yield _one(seed, kind)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_one, seeds, _repeated(kind), chunksize=1)


def _repeated(kind: Kind) -> Iterator[Kind]:
    while True:
        yield kind


def _one(seed: int, kind: Kind) -> Outcome:
    return simulate(seed, kind)
