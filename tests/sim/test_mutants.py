"""Bugs on purpose: those that the first seeds find are planted here, all of them by `make mutants`."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from tests.sim.commands import found_after
from tests.sim.knobs import Knobs
from tests.sim.mutants import MUTANTS
from tests.sim.planting import Mutant

ROOT = Path(__file__).parents[2]
QUICK = (
    "checkpoint-at-the-highest",
    "last-page-dropped",
    "end-before-the-last-settlement",
    "two-of-an-item-at-once",
    "partial-failure-ignored",
    "failed-batch-skipped",
    "body-written-anew",
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_source_that_it_was_written_for(mutant: Mutant) -> None:
    source = (ROOT / mutant.module.replace(".", "/")).with_suffix(".py").read_text()
    compile(mutant.applied_to(source), mutant.module, "exec", dont_inherit=True)


def test_mutants_have_names_of_their_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25


def test_the_table_of_failures_has_all_its_rows_and_each_names_its_planted_bugs_and_what_there_is() -> None:
    table = (ROOT / "docs/reliability.md").read_text("utf-8").partition("## The fifty ways to fail")[2]
    rows = dict(re.findall(r"^\| ([\d, ]+) \|[^|]*\| (.*) \|$", table, re.MULTILINE))
    covered = {int(number): by for numbers, by in rows.items() for number in numbers.split(", ")}
    assert sorted(covered) == list(range(1, 51))
    named = {name for by in rows.values() for name in re.findall(r"\*([a-z-]+)\*", by)}
    assert named <= {mutant.name for mutant in MUTANTS}
    assert [mutant.name for mutant in MUTANTS if mutant.row and f"*{mutant.name}*" not in covered[mutant.row]] == []
    knobs = {field.name for field in fields(Knobs)}
    for word in {word for by in rows.values() for word in re.findall(r"`([^`]+)`", by)}:
        if word.endswith(".py"):
            assert (ROOT / word).exists() or (ROOT / "tests/property" / word).exists(), word
        else:
            assert knobs & {word, f"{word}_p", f"{word}_every_s"}, word


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found_in_the_first_seeds(name: str) -> None:
    seed, _ = found_after(name, seeds=30)
    assert seed is not None
