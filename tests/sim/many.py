"""Many seeds, in as many processes as there are jobs; each seed is its own, whatever ran before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

from tests.sim.simulation import Kind, Outcome, simulate

# So many seeds a job are asked for ahead: there may be no end of them.
_AHEAD: Final = 4


def run_many(seeds: Iterable[int], kind: Kind, jobs: int) -> Iterator[Outcome]:
    """The outcome of each seed, in their order."""
    if jobs == 1:
        for seed in seeds:
            yield simulate(seed, kind)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        asked: deque[Future[Outcome]] = deque()
        for seed in seeds:
            asked.append(pool.submit(simulate, seed, kind))
            if len(asked) >= jobs * _AHEAD:
                yield asked.popleft().result()
        while asked:
            yield asked.popleft().result()
