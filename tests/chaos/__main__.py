"""`python -m tests.chaos`: the long form, for people."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import chaos
from tests.chaos.site import Scale
from tests.chaos.soak import soak
from tests.servers import missing_for_real_servers

_TAIL_LINES = 15


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=None, help="the same faults again")
    parser.add_argument("--pace", type=float, default=4.0, help="seconds from one fault to the next")
    parser.add_argument("--rate", type=float, default=40.0, help="changes a second")
    parser.add_argument("--soak", action="store_true", help="200 changes a second and a fault a minute instead")
    arguments = parser.parse_args()
    if missing := missing_for_real_servers():
        sys.exit(f"not found on this machine: {', '.join(missing)}")
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to stop"))  # and the workers with it
    seconds = 60 * arguments.minutes
    if arguments.soak:
        outcome = soak(folder, seed, seconds=seconds, say=say)
    else:
        outcome = chaos(folder, seed, Scale(rate=arguments.rate), seconds=seconds, pace_s=arguments.pace, say=say)
    print(outcome.report())
    if outcome.wrongs:
        show_logs(folder)
        return 1
    print(
        "nothing lost, in order, nothing twice without a reason; every worker ready, and gone when it was asked to go"
    )
    return 0


def say(line: str) -> None:
    print(line, flush=True)


def show_logs(folder: Path) -> None:
    for log in sorted(folder.glob("*.jsonl")):
        print(f"--- the end of {log}")
        print("\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]))


if __name__ == "__main__":
    sys.exit(main())
