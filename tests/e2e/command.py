"""A command as its users type it: `python -m poller ...` with an environment, and what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from poller.cli import commands
from tests.e2e.daemon import DEADLINE_S
from tests.e2e.story import CREDENTIALS


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> list[dict[str, Any]]:
        """What `--json` printed, and nothing beside it."""
        rows: list[dict[str, Any]] = json.loads(self.out)
        return rows

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON object that `--json` printed, and nothing beside it."""
        one: dict[str, Any] = json.loads(self.out)
        return one


def poller(*arguments: str, environment: Mapping[str, str]) -> Ended:
    """Runs it to its end. Nothing of this process's own settings reaches it but the path and what isolates boto3."""
    kept = ("PATH", "AWS_EC2_METADATA_DISABLED", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
    own = {name: os.environ[name] for name in kept if name in os.environ}
    process = subprocess.run(
        [sys.executable, "-m", "poller", *arguments],
        env={**own, **CREDENTIALS, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Ended(process.returncode, process.stdout, process.stderr)


def in_process(*arguments: str, environment: Mapping[str, str]) -> Ended:
    """The same by the same entry, without a process of its own, which takes a second; nobody sits there."""
    result = CliRunner().invoke(commands, arguments, env={**CREDENTIALS, **environment}, prog_name="poller")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


def endpoints(dynamodb: str, sqs: str) -> dict[str, str]:
    """The variables that lead the commands to local servers."""
    return {
        "AWS_ENDPOINT_URL_DYNAMODB": dynamodb,
        "AWS_ENDPOINT_URL_DYNAMODB_STREAMS": dynamodb,
        "AWS_ENDPOINT_URL_SQS": sqs,
    }


def poller_inside(*arguments: str, environment: Mapping[str, str]) -> Ended:
    """The same within this process, without a terminal: for the many cases where only what it does is of interest."""
    result = CliRunner().invoke(commands, arguments, env={**CREDENTIALS, **environment}, prog_name="poller")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)
