"""The site of the fault tests: the daemon's world, on a stand-in of its own for each test."""

from __future__ import annotations

import pytest

from tests.faults.harness import Site
from tests.standin import World


@pytest.fixture
async def site(world: World, aws_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Site:
    """The stand-in behind every client of boto3, and the table of the story in it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", world.url)
    return Site(world)
