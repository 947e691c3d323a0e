"""`poller --version`: the version from one place, and the commit wherever it can be known."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

import poller
from poller.cli import commands
from poller.cli.version import version_text

ROOT = Path(__file__).parents[2]
_with_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Where a package would be: in no checkout, not built."""
    (tmp_path / "poller").mkdir()
    return tmp_path / "poller"


@pytest.fixture
def checkout(package: Path) -> Path:
    """The same in a checkout of its own; the package."""
    (package / "module.py").touch()
    who = {f"GIT_{role}_{what}": "nobody" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=package.parent, env=os.environ | who, timeout=30, check=True)
    return package


def test_the_version_is_said_with_the_name() -> None:
    result = CliRunner().invoke(commands, ["--version"])
    assert result.exit_code == 0
    assert re.fullmatch(rf"poller {poller.__version__}( \([0-9a-f]{{7,12}}(-dirty)?\))?\n", result.output)


def test_what_was_built_says_from_which_commit(package: Path) -> None:
    (package / "COMMIT").write_text("1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d\n")
    assert version_text(package) == f"poller {poller.__version__} (1a2b3c4d5e6f)"


@_with_git
def test_a_checkout_is_asked_itself(checkout: Path) -> None:
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, timeout=30, check=True
    )
    assert version_text(checkout) == f"poller {poller.__version__} ({head.stdout[:12]})"


@_with_git
def test_a_checkout_with_changes_says_so(checkout: Path) -> None:
    (checkout / "module.py").write_text("changed\n")
    assert version_text(checkout).endswith("-dirty)")


def test_whoever_knows_no_commit_says_the_version_alone(package: Path) -> None:
    assert version_text(package) == f"poller {poller.__version__}"


@pytest.mark.parametrize("content", [b"", b"\xff\n", b"one\ntwo\n", b"<b>\n"])
def test_a_file_that_holds_no_commit_is_none(package: Path, content: bytes) -> None:
    (package / "COMMIT").write_bytes(content)
    assert version_text(package) == f"poller {poller.__version__}"


def test_without_git_there_is_no_commit(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package.parent / ".git").mkdir()
    monkeypatch.setenv("PATH", "/nowhere")
    assert version_text(package) == f"poller {poller.__version__}"


@_with_git
def test_a_repository_that_git_does_not_like_is_none(package: Path) -> None:
    (package.parent / ".git").write_text("no repository\n")
    assert version_text(package) == f"poller {poller.__version__}"


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"] == {"path": "poller/__init__.py"}
    others = [
        path
        for path in (ROOT / "poller").rglob("*.py")
        if re.search(r"^__version__ =", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert others == [ROOT / "poller" / "__init__.py"]
