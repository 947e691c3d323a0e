"""What the command line does: one seed, many seeds, all the planted bugs."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.sim.many import run_many
from tests.sim.mutants import MUTANTS
from tests.sim.report import command, summary
from tests.sim.simulation import Kind, simulate

_ROOT: Final = Path(__file__).parents[2]


def one(seed: int, kind: Kind, *, trace: bool) -> int:
    """Runs a seed and says what happened; 1 if something did not hold."""
    outcome = simulate(seed, kind, out=sys.stdout if trace else None)
    print(summary(outcome))
    return 0 if outcome.violation is None else 1


def many(first: int, count: int, kind: Kind, jobs: int, *, minutes: float | None, mutant: str | None = None) -> int:
    """Runs seeds and names those that fail; 1 if any does. With a bug planted it stops at the first.

    `minutes`: no seed is begun after so long; None: all are.
    """
    began = time.perf_counter()
    until = math.inf if minutes is None else began + minutes * 60
    totals: Counter[str] = Counter()
    failing = 0
    seeds: Iterable[int] = itertools.count(first) if count == 0 else range(first, first + count)
    seeds = itertools.takewhile(lambda _: time.perf_counter() < until, seeds)
    try:
        for outcome in run_many(seeds, kind, 1 if mutant else jobs):
            totals += outcome.counts
            totals["seeds"] += 1
            totals["virtual seconds"] += round(outcome.virtual_s)
            if outcome.violation is not None:
                failing += 1
                text = str(outcome.violation).splitlines()[0]
                print(f"{command(outcome.seed, kind, mutant)}\n  {text}", flush=True)
                if mutant:
                    break
    except KeyboardInterrupt:
        pass
    print(", ".join(f"{count} {name}" for name, count in sorted(totals.items())))
    print(f"{failing} failing of {totals['seeds']} seeds in {time.perf_counter() - began:.0f} s")
    return 1 if failing else 0


def find_all(jobs: int, seeds: int) -> int:
    """Plants every bug in a process of its own, and says after how many seeds it was found; 1 if one was not."""
    missed = 0
    with ThreadPoolExecutor(jobs) as pool:
        found = pool.map(lambda mutant: found_after(mutant.name, seeds), MUTANTS)
        for mutant, (after, text) in zip(MUTANTS, found, strict=True):
            missed += after is None
            place = "NOT FOUND" if after is None else f"seed {after}"
            print(f"{mutant.name:<42} row {mutant.row:>2}  {place:<10} {text}", flush=True)
    print(f"{len(MUTANTS) - missed} of {len(MUTANTS)} found within {seeds} seeds")
    return 1 if missed else 0


def found_after(mutant: str, seeds: int) -> tuple[int | None, str]:
    """The seed that finds a planted bug, and how; None: all of them pass."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.sim", "--mutant", mutant, "--seeds", str(seeds)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = run.stdout.splitlines()
    if run.returncode == 0:
        return None, ""
    if run.returncode != 1 or len(lines) < 2 or " --seed " not in lines[0]:
        raise RuntimeError(f"{mutant}: {run.stdout}{run.stderr}")
    return int(lines[0].partition(" --seed ")[2].split()[0]), lines[1].strip()
