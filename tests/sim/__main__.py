"""`python -m tests.sim --seed 42`: one seed and what became of it; `--seeds 1000 --jobs 2`: many, and those that fail.

Nothing of the poller may be imported here before a bug is planted in it.
"""

from __future__ import annotations

import argparse
import sys
from typing import Literal

from tests.sim.mutants import MUTANTS
from tests.sim.planting import plant


def main() -> int:
    args = _arguments()
    if args.mutant is not None:
        plant(next(mutant for mutant in MUTANTS if mutant.name == args.mutant))
    from tests.sim import commands

    kind: Literal["both", "safety", "liveness"] = args.kind
    if args.mutants:
        return commands.find_all(args.jobs, args.seeds or 100)
    if args.seeds is None:
        return commands.one(args.seed, kind, trace=args.trace)
    return commands.many(args.seed, args.seeds, kind, args.jobs, minutes=args.minutes, mutant=args.mutant)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the seed, or the first of many (default: 1)")
    parser.add_argument("--seeds", type=int, help="run so many; 0: until stopped")
    parser.add_argument("--minutes", type=float, help="of many seeds begin none after so long")
    parser.add_argument("--jobs", type=int, default=1, help="processes for many seeds (default: 1)")
    parser.add_argument("--trace", action="store_true", help="tell the whole story of the seed")
    parser.set_defaults(kind="both")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--safety",
        dest="kind",
        action="store_const",
        const="safety",
        help="faults to the end; judged is what must always hold",
    )
    kinds.add_argument(
        "--liveness",
        dest="kind",
        action="store_const",
        const="liveness",
        help="faults, then calm; judged is that everything comes right again (default: both)",
    )
    parser.add_argument(
        "--mutant",
        metavar="NAME",
        choices=[mutant.name for mutant in MUTANTS],
        help="plant a bug, and stop at the first seed that finds it",
    )
    parser.add_argument("--mutants", action="store_true", help="plant every bug in turn; each must be found")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
