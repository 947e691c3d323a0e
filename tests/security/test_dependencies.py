"""What is installed: pinned, hashed, from no particular index, and each direct dependency with its reason."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCKED = sorted((ROOT / "requirements").glob("*.txt"))
REASONS = (ROOT / "docs/decisions/0002-dependencies.md").read_text("utf-8")


def names(requirements: list[str]) -> set[str]:
    found = {re.split(r"[\[<>=~!; ]", one)[0] for one in requirements}
    return found - {PROJECT["project"]["name"]}


def direct() -> set[str]:
    """All that somebody decided on."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    groups = PROJECT["dependency-groups"].values()
    everything = [PROJECT["project"]["dependencies"], *extras, *groups, PROJECT["build-system"]["requires"]]
    return names([one for requirements in everything for one in requirements])


@pytest.mark.parametrize("file", LOCKED, ids=lambda file: file.name)
def test_every_package_is_pinned_and_hashed_and_comes_from_no_particular_index(file: Path) -> None:
    text = file.read_text("utf-8")
    entries = re.findall(r"^[a-zA-Z0-9].*?(?=^[a-zA-Z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
    assert entries
    assert [
        entry for entry in entries if not re.match(r"[\w.-]+==[\w.]+", entry) or "--hash=sha256:" not in entry
    ] == []
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host", text)


def test_all_that_is_shipped_is_locked() -> None:
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements/run.txt").read_text("utf-8"), re.MULTILINE))
    assert names(PROJECT["project"]["dependencies"]) <= locked
    assert not names(PROJECT["project"]["optional-dependencies"]["demo"]) & locked


@pytest.mark.parametrize("name", sorted(direct()))
def test_every_direct_dependency_has_its_reason(name: str) -> None:
    table = [line for line in REASONS.splitlines() if line.startswith("|")]
    assert any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", line.split("|")[1]) for line in table)
