"""These tests need a JDK beside what the local servers need; they fail in CI where it is missing."""

from __future__ import annotations

import os

import pytest

from tests.interop.kcl import missing_for_kcl


@pytest.fixture(autouse=True)
def _a_jdk() -> None:
    if missing := missing_for_kcl():
        reason = f"needs a JDK and the KCL's jars; not found: {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason} (skipped on a user's machine, required in CI)", pytrace=False)
        pytest.skip(reason)
