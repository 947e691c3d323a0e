"""`python -m tests.sim --seed 42`: one seed and what became of it; `--seeds 1000 --jobs 2`: many, and those that fail."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter

from tests.sim.many import run_many
from tests.sim.report import command, summary
from tests.sim.simulation import Kind, simulate


def main() -> int:
    args = _arguments()
    kind: Kind = "safety" if args.safety else "liveness" if args.liveness else "both"
    if args.seeds is None:
        outcome = simulate(args.seed, kind, out=sys.stdout if args.trace else None)
        print(summary(outcome))
        return 0 if outcome.violation is None else 1
    return _many(args.seed, args.seeds, kind, args.jobs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the seed, or the first of many (default: 1)")
    parser.add_argument("--seeds", type=int, help="run so many; 0: until stopped")
    parser.add_argument("--jobs", type=int, default=1, help="processes for many seeds (default: 1)")
    parser.add_argument("--trace", action="store_true", help="tell the whole story of the seed")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--safety", action="store_true", help="faults to the end; only what must always hold")
    which.add_argument("--liveness", action="store_true", help="only what must come right once the faults are over")
    return parser.parse_args()


def _many(first: int, count: int, kind: Kind, jobs: int) -> int:
    began = time.perf_counter()
    totals: Counter[str] = Counter()
    failing: list[int] = []
    seeds = itertools.count(first) if count == 0 else range(first, first + count)
    try:
        for outcome in run_many(seeds, kind, jobs):
            totals += outcome.counts
            totals["seeds"] += 1
            totals["virtual s"] += round(outcome.virtual_s)
            if outcome.violation is not None:
                failing.append(outcome.seed)
                print(f"{command(outcome.seed, kind)}\n  {outcome.violation}", flush=True)
    except KeyboardInterrupt:
        pass
    real_s = time.perf_counter() - began
    print(", ".join(f"{count} {name}" for name, count in sorted(totals.items())))
    print(f"{len(failing)} failing of {totals['seeds']} seeds in {real_s:.0f} s")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
