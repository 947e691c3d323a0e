"""A backlog of 100,000 records on 4 shards, 1 % of them matching: the daemon beside a plain boto3 loop, in turn.

    python -m benchmarks.backlog [--rounds 3] [--records 25000] [--json FILE]

The machine's speed drifts, so what counts is the ratio within a round. The CPU time of a start (imports, clients; seen
on a backlog of next to nothing) is told apart: it is paid once in the life of a daemon.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.contest import CONTESTANTS, Result, Workload, run

_NEXT_TO_NOTHING = Workload(shards=4, records=100, match_percent=1.0)


@dataclass(frozen=True)
class Round:
    """One contestant in one round: its start alone, and the backlog."""

    start: Result
    backlog: Result

    @property
    def reading_cpu_s(self) -> float:
        """CPU seconds for the backlog beyond those of a start."""
        return self.backlog.cpu_s - self.start.cpu_s


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=25_000, help="of each of the 4 shards")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write every figure")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    workload = Workload(shards=4, records=options.records, match_percent=1.0)
    rounds = [
        {name: Round(run(name, _NEXT_TO_NOTHING), run(name, workload)) for name in CONTESTANTS}
        for _ in range(options.rounds)
    ]
    print(f"{workload.total:,} records on {workload.shards} shards, {workload.match_percent:g} % match; medians")
    for name in CONTESTANTS:
        print(line(name, [one[name] for one in rounds], workload))
    whole = sorted(one["boto3 loop"].backlog.cpu_s / one["poller"].backlog.cpu_s for one in rounds)
    reading = sorted(one["boto3 loop"].reading_cpu_s / one["poller"].reading_cpu_s for one in rounds)
    print(f"records per CPU second, poller / boto3 loop: {_listed(reading)}; with the start counted: {_listed(whole)}")
    if options.json:
        figures = {
            "python": platform.python_version(),
            "workload": asdict(workload),
            "rounds": [{name: asdict(result) for name, result in one.items()} for one in rounds],
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def line(name: str, results: list[Round], workload: Workload) -> str:
    """The medians of one contestant."""
    cpu_s = median(result.reading_cpu_s for result in results)
    return (
        f"{name:10}  {workload.total / cpu_s:9,.0f} records per CPU s ({cpu_s:.2f} s, and"
        f" {median(result.start.cpu_s for result in results):.2f} s to start)"
        f"  first delivery after {median(result.start.first_s for result in results):.2f} s"
        f"  all after {median(result.backlog.wall_s for result in results):.2f} s"
        f"  {max(result.backlog.memory_bytes for result in results) >> 20} MiB"
        f"  stand-in {median(result.backlog.standin_cpu_s for result in results):.2f} s CPU"
    )


def _listed(ratios: list[float]) -> str:
    return ", ".join(f"{ratio:.1f}" for ratio in ratios)


if __name__ == "__main__":
    main()
