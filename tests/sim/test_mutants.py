"""Bugs on purpose: those that the first seeds find are planted here, all of them by `make mutants`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.commands import found_after
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


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found_in_the_first_seeds(name: str) -> None:
    seed, _ = found_after(name, seeds=30)
    assert seed is not None
