"""The simulator itself: the same seed is the same story everywhere, and the seeds that CI runs hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each has found a defect, and holds since that is mended: what went wrong, seed by seed. (43 and 55 have themes since,
# and tell other stories now; a planted bug, or a story in `tests/run`, stands for what they have found.)
FOUND = {
    6: "a checkpoint that had waited for the write of a shard's end took the end back",
    35: "the same, when the end's write had landed and its answer was lost",
    28: "a stream that was gone was left for the next while another worker still settled what it had read of it",
    43: "a lease that lapsed while it was being given back ended the whole worker",
    55: "one not-found after five seconds of other errors declared a shard gone",
    81: "a lease was being given back, and its records were still sent",
    82: "a shard hidden from the listing was waited for so many looks only, and these took a second",
    150: "a shard waited for the row of a parent that had been read long ago, which nobody would make",
    301: "a taking was answered after the lease had been given back again",
    485: "a replaced stream was left before the late children of its last shard were listed",
    722: "a grandchild was begun while its grandparent was hidden from the listing",
    877: "a worker that had not listed the stream began at LATEST again when the lease table was deleted",
    928: "a worker inherited two children and had room for one",
    91: "a lease that was being given back kept others alive until the release was answered (found by 231 of its time)",
    36: "a worker that had failed to list, and whose part it was no more, was never ready again",
    45: "the same, when the stream had been replaced since",
    10285: "after a row was deleted and made anew its old owner renewed it, since the counters were the same",
    96: "a route stayed unready after the letter that could not be stored was another worker's",
    23113: "a release that took effect late ended the tenure that the same worker had begun since",
    21466: "of a shard that had stopped after a loss, the rest was lost with its stream and nobody said so",
    34: "a worker took a parent for trimmed that had begun after its listing, and whose row was deleted",
    49: "the old owner of a row that was deleted and made anew read on, since the new row's counter was lower",
    5024: "a worker that left began to read a shard whose taking was answered late, and gave it back unsettled",
    10053: "at LATEST shards that had begun and ended before a late first listing were taken for old",
    113: "a listing that had begun before the next stream was gone on with made the old one's rows anew",
    30864: "at LATEST a closed shard two below an open one was taken for old; deleted rows stayed away",
    50456: "a row of an old stream, made late, had a new worker read the whole of that stream again",
    60432: "a living worker was taken for dead, since its only moving row was deleted, made anew and looked as before",
    70517: "a lease whose end had been written unheard was held for ever once its stream was gone",
    73545: "after a gap between two looks a living worker was taken for dead: its row, made anew, looked as before",
    50319: "a row made anew, and not read yet, was deleted for the finished one with the same counter",
    20673: "a release that took effect late ended its worker's tenure of a row made anew with the same counter",
    95328: "a worker that does not list was unready for good, since a shard was gone whose row had been cleaned up",
    90941: "answers that came late, to what a queue took before it went down, were held against a record",
    30196: "a change waited behind the letter of a lease that was lost, and its route slept on once that was given up",
}

# In each the judgement was wrong, and not the fleet: it did not allow for something.
MISJUDGED = {
    10239: "a mend of the time",
    11080: "a deleted row",
    20727: "a taking by Java",
    21304: "a freeze",
    21916: "workers that are full",
    60038: "a worker that was stopped while it gave a lease back",
    60071: "a shard of which all is trimmed behind its checkpoint",
    60569: "a lease table without rows is a first start, at LATEST",
    71254: "a server of tiny pages that cannot be asked for one shard's children",
    72457: "a shard that left the stream after its row was deleted",
    80254: "what is trimmed behind empty pages after a loss was said",
    81412: "a stream that is read again, shard by shard, after the lease table was deleted",
    90149: "the same, of shards in which nothing is wanted",
}


def simulator(*arguments: str, hash_seed: str = "0", timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.sim", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


@pytest.mark.parametrize("seed", [2, 8, 26])
def test_a_seed_tells_the_same_story_whatever_the_hashes(seed: int) -> None:
    stories = [simulator("--seed", str(seed), "--trace", hash_seed=hashes).stdout.splitlines() for hashes in "12"]
    told, again = ([line for line in story if " steps" not in line] for story in stories)
    assert len(told) > 100
    assert told == again


@pytest.mark.parametrize("seed", [*FOUND, *MISJUDGED], ids=str)
def test_a_seed_that_has_failed_once_holds(seed: int) -> None:
    run = simulator("--seed", str(seed))
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("kind", ["safety", "liveness"])
def test_safety_and_liveness_are_runs_of_their_own(kind: str) -> None:
    run = simulator(f"--{kind}", "--seeds", "12")
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_liveness_run_judges_only_what_comes_right_again() -> None:
    unsafe = ("--mutant", "item-spread-over-groups", "--seeds", "3")
    assert simulator("--safety", *unsafe).returncode == 1
    assert simulator("--liveness", *unsafe).returncode == 0


def test_a_safety_run_ends_with_the_faults() -> None:
    stuck = ("--mutant", "failed-listing-never-forgotten", "--seed", "94", "--seeds", "1")
    assert simulator("--liveness", *stuck).returncode == 1
    assert simulator("--safety", *stuck).returncode == 0


def test_two_hundred_seeds_hold() -> None:
    run = simulator("--seeds", "200", "--jobs", "2")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 failing of 200 seeds" in run.stdout


def test_a_violation_is_told_with_its_seed_and_how_to_see_it_again() -> None:
    run = simulator("--mutant", "checkpoint-at-the-highest", "--seeds", "20")
    assert run.returncode == 1
    command, violation, *_ = run.stdout.splitlines()
    assert command.startswith("python -m tests.sim --seed ")
    assert command.endswith("--mutant checkpoint-at-the-highest --trace")
    assert violation.strip().startswith("L: the checkpoint of ")
