"""What it costs to share a stream, and how long shards stand still when workers come and go: real processes, stand-in.

    python -m benchmarks.fleet [--json FILE]

Beside each figure that of a Java application on KCL 3.1.1 with its defaults, where there is one (one worker, 64 idle
leases, fail-over 10 s). Some five minutes; figures in seconds grow with the machine's other load.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from tests.e2e.fleet import TABLE, Copy, Fleet
from tests.standin import StandInProcess
from tests.standin.records import MATCHING_PHASE

DURATION_S = 10.0
LOOK_S = 4.2
IDLE_SHARDS = 64
QUEUE, DEAD = "jobs", "dead"
SETTINGS = {
    "POLLER_TABLE": TABLE,
    "POLLER_QUEUE": QUEUE,
    "POLLER_DEAD_LETTER_QUEUE": DEAD,
    "POLLER_LEASE__DURATION": f"{DURATION_S:g}s",
}
LEASE_READS, LEASE_WRITES = ("Scan", "GetItem", "Query"), ("UpdateItem", "PutItem", "DeleteItem")
_STARTS, _DEPLOYS, _KILLS, _ROLLS = 5, 3, 3, 6
_MINUTE_S = 60.0
# Every shard is polled at least once within this time, idle as it is.
_LAST_POLLS_S = 3.0


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    ours: str
    kcl: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write every figure")
    options = parser.parse_args()
    figures = [figure for part in (starts, costs, moves) for figure in part()]
    print(table(figures))
    if options.json:
        found = {
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "figures": [asdict(figure) for figure in figures],
        }
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def table(figures: Sequence[Figure]) -> str:
    """As Markdown."""
    rows = [("", "poller", "KCL 3.1.1"), ("---", "---", "---"), *((one.what, one.ours, one.kcl) for one in figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@contextmanager
def fleet_on(shards: int) -> Iterator[tuple[Fleet, list[str]]]:
    """A fleet without workers, and the so many shards of its stream."""
    with tempfile.TemporaryDirectory() as logs, StandInProcess("--calls-kept", "1000000") as remote:
        stream = remote.stream(TABLE, shards)
        for queue in (QUEUE, DEAD):
            remote.queue(queue)
        fleet = Fleet(remote, SETTINGS, Path(logs))
        try:
            yield fleet, stream.shards
        finally:
            fleet.end()


def until(condition: Callable[[], bool], at_most_s: float = 120.0) -> None:
    give_up = time.monotonic() + at_most_s
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"not true within {at_most_s:g} s: {condition}")
        time.sleep(0.02)


# --- the start --------------------------------------------------------------------------------------------------------


def starts() -> Iterator[Figure]:
    """One worker, again and again, each time on its own; the first time there is no lease table."""
    times = [one for _ in range(_STARTS) for one in _new_and_old()]
    for name, started, kcl in (("a new", times[::2], "47-131 s"), ("an old", times[1::2], "")):
        first, process = median(one for one, _ in started), median(one for _, one in started)
        text = f"{first:.2f} s, of which {process:.2f} s until the first call to AWS"
        yield Figure(f"process start to first GetRecords, {name} lease table", text, kcl)


def _new_and_old() -> tuple[tuple[float, float], tuple[float, float]]:
    with fleet_on(4) as (fleet, _):
        return _start(fleet), _start(fleet)


def _start(fleet: Fleet) -> tuple[float, float]:
    """Seconds from the start of a process to its first GetRecords, and to its first call of all."""
    began = time.monotonic()
    copy = fleet.join()
    until(lambda: any(call.access_key == copy.key for call in fleet.remote.calls("GetRecords")))
    calls = [call for name in fleet.remote.stats()["calls"] for call in fleet.remote.calls(name)]
    mine = [call for call in calls if call.access_key == copy.key]
    fleet.leave(copy)
    fleet.gather()
    first_read = min(call.at_s for call in mine if call.operation == "GetRecords")
    return first_read - began, min(call.at_s for call in mine) - began


# --- what it costs ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Calls to the lease table in a minute; DescribeStream calls at the start of all on a new and on an old table."""

    workers: int
    writes: int
    reads: int
    describes_new: int
    describes_old: int


def costs() -> Iterator[Figure]:
    """Three fleets side by side: what is counted does not depend on the machine's load."""
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(_cost, (1, 3, 10)))
    for cost in found:
        name = "1 worker" if cost.workers == 1 else f"{cost.workers} workers"
        kcl = ("1,157", "15") if cost.workers == 1 else ("", "")
        yield Figure(f"writes to the lease table a minute, {IDLE_SHARDS} idle shards, {name}", f"{cost.writes}", kcl[0])
        reads = f"{cost.reads} ({cost.reads / cost.workers:.1f} a worker)"
        yield Figure(f"reads of the lease table a minute, {name}", reads, kcl[1])
    largest = found[-1]
    yield Figure("DescribeStream calls when 10 workers start, a new lease table", f"{largest.describes_new}", "")
    yield Figure("DescribeStream calls when 10 workers start, an old lease table", f"{largest.describes_old}", "")


def _cost(workers: int) -> Cost:
    with fleet_on(IDLE_SHARDS) as (fleet, _):
        describes_new = _start_all(fleet, workers)
        for copy in list(fleet.copies.values()):
            fleet.leave(copy)
        fleet.gather()
        describes_old = _start_all(fleet, workers)
        time.sleep(2 * LOOK_S)
        before = fleet.remote.stats()["calls"]
        time.sleep(_MINUTE_S)
        after = fleet.remote.stats()["calls"]
        writes, reads = (_count(after, names) - _count(before, names) for names in (LEASE_WRITES, LEASE_READS))
        return Cost(workers, writes, reads, describes_new, describes_old)


def _start_all(fleet: Fleet, workers: int) -> int:
    """How many DescribeStream calls it took until all shards were shared evenly."""
    before = fleet.remote.count("DescribeStream")
    for _ in range(workers):
        fleet.join()
    until(lambda: fleet.balanced(IDLE_SHARDS))
    return fleet.remote.count("DescribeStream") - before


def _count(calls: dict[str, dict[str, int]], names: Sequence[str]) -> int:
    return sum(count for name in names for count in calls.get(name, {}).values())


# --- workers that go, shards that end ---------------------------------------------------------------------------------


def moves() -> Iterator[Figure]:
    """Three workers on 64 shards: leaving, dying, and a shard that rolls."""
    with fleet_on(IDLE_SHARDS) as (fleet, shards):
        for _ in range(3):
            fleet.join()
        until(lambda: fleet.balanced(len(shards)))
        gaps = [gap for _ in range(_DEPLOYS) for gap in _deploy(fleet, shards)]
        exits = [seconds for _, _, seconds in fleet.exits]
        children = [_roll(fleet, shards) for _ in range(_ROLLS)]
        silences = [_kill(fleet, shards) for _ in range(_KILLS)]
    deploys = "deploys: 27 s, as users report"
    between = f"max {max(gaps):.2f} s, median {median(gaps):.2f} s ({len(gaps)} shards)"
    yield Figure("SIGTERM: last GetRecords of the leaver to first of the successor", between, deploys)
    yield Figure("SIGTERM: until the process has ended", f"max {max(exits):.2f} s", "")
    limit = f"lease.duration {DURATION_S:g} s + one look of {LOOK_S:g} s"
    worst = f"max {max(silences):.1f} s ({len(silences)} kills)"
    yield Figure(f"kill -9 of one of three: until the last of its shards is read again ({limit})", worst, "up to 146 s")
    last = f"max {max(children):.2f} s, median {median(children):.2f} s ({len(children)} rolls)"
    yield Figure("a shard's last settlement to its child's first GetRecords", last, "")


def _reads(fleet: Fleet, since_s: float) -> dict[str, list[tuple[float, str]]]:
    """When each shard was read since then, and by whom."""
    reads: dict[str, list[tuple[float, str]]] = {}
    for call in fleet.remote.calls("GetRecords", last=5_000):
        if call.at_s >= since_s:
            reads.setdefault(call.subject.shard, []).append((call.at_s, call.access_key))
    return reads


def _deploy(fleet: Fleet, shards: Sequence[str]) -> list[float]:
    """One worker joins and an old one leaves, as in a rolling deploy; for how long each of its shards stood still."""
    oldest = next(iter(fleet.copies.values()))
    fleet.join()
    until(lambda: fleet.balanced(len(shards)))
    since = time.monotonic() - _LAST_POLLS_S
    fleet.leave(oldest)
    fleet.gather()
    until(lambda: fleet.balanced(len(shards)))
    return _gaps_after(fleet, oldest, since)


def _gaps_after(fleet: Fleet, leaver: Copy, since_s: float) -> list[float]:
    """From the leaver's last read of each shard to the first of whoever came next."""
    gaps = []
    for reads in _reads(fleet, since_s).values():
        last = max((at for at, key in reads if key == leaver.key), default=None)
        following = [at for at, _ in reads if last is not None and at > last]
        if last is not None and following:
            gaps.append(min(following) - last)
    return gaps


def _kill(fleet: Fleet, shards: Sequence[str]) -> float:
    """How long after a worker was killed the last of its shards was read again. Another one takes its place."""
    killed = next(iter(fleet.copies.values()))
    fleet.kill(killed)
    at = fleet.incidents[-1].at_s
    until(lambda: fleet.balanced(len(shards)))
    time.sleep(_LAST_POLLS_S)
    reads = _reads(fleet, at - _LAST_POLLS_S).values()
    orphans = [of_shard for of_shard in reads if killed.key in {key for _, key in of_shard}]
    fleet.join()
    until(lambda: fleet.balanced(len(shards)))
    return max(min(read for read, key in of_shard if read > at and key != killed.key) for of_shard in orphans) - at


def _roll(fleet: Fleet, shards: list[str]) -> float:
    """From the last message of a shard that rolls to the first read of its child."""
    remote, since = fleet.remote, time.monotonic()
    parent = shards.pop(0)
    remote.put(TABLE, parent, {"key": parent, "new_image": {"phase": {"S": MATCHING_PHASE}}})
    child = remote.roll(TABLE, parent)
    shards.append(child)
    until(lambda: child in _reads(fleet, since))
    settled = max(one.monotonic_s for one in remote.arrived(QUEUE) if one.monotonic_s >= since)
    return _reads(fleet, since)[child][0][0] - settled


if __name__ == "__main__":
    main()
