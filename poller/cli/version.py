"""`poller --version`: the version, and from which commit it is, as far as that is known."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import click

import poller

_PACKAGE: Final = Path(poller.__file__).parent
_SHOWN: Final = 12  # characters of a commit: enough to find it by
_GIT: Final = ("git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*")
_COMMIT: Final = re.compile(r"([0-9a-f]{7,64})(-dirty)?")


def version_text(package: Path = _PACKAGE) -> str:
    """`poller 0.1.0 (1a2b3c4d5e6f)`; `-dirty`: the checkout has changes. Nothing in brackets: nobody knows."""
    commit = _COMMIT.fullmatch(_built_from(package) or _checked_out(package))
    about = f" ({commit[1][:_SHOWN]}{commit[2] or ''})" if commit else ""
    return f"poller {poller.__version__}{about}"


def _built_from(package: Path) -> str:
    """What the build has written beside the modules (`hatch_build.py`)."""
    try:
        return (package / "COMMIT").read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _checked_out(package: Path) -> str:
    """What git says of the checkout that this is run from; who is only installed somewhere below one is not in it."""
    if not (package.parent / ".git").exists():
        return ""
    try:
        asked = subprocess.run(_GIT, cwd=package.parent, capture_output=True, text=True, timeout=5, check=True)  # noqa: S603 - no word of it is anybody's
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return asked.stdout.strip()


def show(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    """The option's callback."""
    if asked and not context.resilient_parsing:
        click.echo(version_text())
        context.exit()
