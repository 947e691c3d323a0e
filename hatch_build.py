"""Writes into wheel and sdist from which commit they were built, for `poller --version`."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface[Any]):
    """The commit is REVISION's where there is no repository, as in a container's build. Unknown: nothing is written."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """An editable install asks git each time; an sdist brings the file along."""
        root = Path(self.root)
        if version == "editable" or (root / "poller" / "COMMIT").exists():
            return
        if commit := _commit(root):
            self._folder = tempfile.TemporaryDirectory()
            written = Path(self._folder.name, "COMMIT")
            written.write_text(f"{commit}\n", "ascii")
            build_data["force_include"][str(written)] = "poller/COMMIT"

    def finalize(self, _version: str, _build_data: dict[str, Any], _artifact_path: str) -> None:
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _commit(root: Path) -> str:
    if given := re.fullmatch(r"[0-9a-f]{7,64}(-dirty)?", os.environ.get("REVISION", "")):
        return given[0]
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    if not (root / ".git").exists():
        return ""
    try:
        described = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return described.stdout.strip()
