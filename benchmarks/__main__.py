"""Contestants side by side on the workloads, in one run: medians, ratios, and a history in `benchmarks/results`.

    python -m benchmarks [--quick] [--workloads W1,W3] [--only poller,boto3] [--rounds 3]

The machine's speed drifts, so contestants take turns, and what counts is the ratio within a round. Exit code 2: Go is
missing, with which the stand-in is built.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.measure import FailedError, Figures, measure
from benchmarks.report import Source, save, table
from benchmarks.server import NoStandInError, build
from benchmarks.workloads import ALL, FULL, MATCH_CURVE, SHARD_CURVE, Kind, Workload, quick

_QUICK_CONTESTANTS = ("poller", "boto3")
# Unless others are named: each point costs the slow ones minutes.
_CURVE_CONTESTANTS = ("poller", "limit")


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with all that was started
    source = Source.now()
    try:
        build()
    except NoStandInError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    present = [one for one in contestants(options) if not _absent(one)]
    kept = ""
    for workload in workloads(options):
        print(f"\n{workload.title()}", flush=True)
        on_curves = options.only or _CURVE_CONTESTANTS
        taking_part = [one for one in present if workload not in (*SHARD_CURVE, *MATCH_CURVE) or one.name in on_curves]
        found = rounds(taking_part, workload, options.rounds)
        print(table(workload, found), flush=True)
        if not options.dry:  # now, since the whole takes most of an hour and may be stopped
            kept = f"\n{save([(workload, found)], source, options.rounds)}"
    print(kept)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(workload.name for workload in FULL)
    parser.add_argument("--workloads", type=_names, metavar="NAMES", help=f"of {names}, shards, match; default: all")
    parser.add_argument("--only", type=_names, metavar="NAMES", help=f"of {', '.join(CONTESTANTS)}")
    parser.add_argument(
        "--rounds", type=int, help="default: 3, with --quick 1; live workloads and slow contestants have one"
    )
    parser.add_argument("--quick", action="store_true", help="small workloads, poller and boto3; less than two minutes")
    parser.add_argument(
        "--profile", metavar="FILE", help="run the contestants under cProfile, the last one's goes there"
    )
    parser.add_argument("--dry", action="store_true", help="keep nothing in benchmarks/results")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    for name in options.only or ():
        if name not in CONTESTANTS:
            parser.error(f"no contestant {name}; there are {', '.join(CONTESTANTS)}")
    for name in options.workloads or ():
        if name not in {*ALL, "shards", "match"}:
            parser.error(f"no workload {name}; there are {', '.join(ALL)}, shards, match")
    return options


def _names(text: str) -> list[str]:
    return text.split(",")


def contestants(options: argparse.Namespace) -> list[Contestant]:
    default = _QUICK_CONTESTANTS if options.quick else tuple(CONTESTANTS)
    chosen = [CONTESTANTS[name] for name in options.only or default]
    return [one.profiled(options.profile) for one in chosen] if options.profile else chosen


def workloads(options: argparse.Namespace) -> list[Workload]:
    curves = {"shards": SHARD_CURVE, "match": MATCH_CURVE}
    all_of_them = quick() if options.quick else (*FULL, *SHARD_CURVE, *MATCH_CURVE)
    if options.workloads is None:
        return [*all_of_them]
    known = ALL | {workload.name: workload for workload in all_of_them}
    return [workload for name in options.workloads for workload in curves.get(name) or (known[name],)]


def _absent(contestant: Contestant) -> bool:
    why = contestant.missing()
    if why:
        print(f"without {contestant.name}: {why}")
    return bool(why)


def rounds(present: Sequence[Contestant], workload: Workload, count: int) -> dict[str, list[Figures]]:
    """Figures of every round by contestant; they take turns."""
    found: dict[str, list[Figures]] = {contestant.name: [] for contestant in present}
    for number in range(count):
        for contestant in present:
            if number == 0 or not (contestant.slow or workload.kind is Kind.LIVE):
                found[contestant.name] += measured(contestant, workload)
    return found


def measured(contestant: Contestant, workload: Workload) -> list[Figures]:
    """Nothing, and a word about it, from one that did not do its work."""
    try:
        return [measure(contestant, workload)]
    except FailedError as error:
        print(f"FAILED: {error}", flush=True)
        return []


if __name__ == "__main__":
    main()
