"""What a check has found: one line each, the faults with their mend, and the exit code that follows from all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from poller.aws.errors import CREDENTIALS_MEND
from poller.errors import AccessDenied, ConfigurationError, InvalidRequest, PollerError, Unavailable

# `unknown`: it could not be told, and that by itself is nothing wrong.
Level = Literal["ok", "warning", "fault", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about one part (`stream`, `lease table`, `queue of route default`).

    `settings`: a fault for which `poller run` would not start but end with exit code 2.
    """

    part: str
    level: Level
    text: str
    mend: str | None = None
    settings: bool = False


def ok(part: str, text: str) -> Finding:
    return Finding(part, "ok", text)


def unknown(part: str, text: str) -> Finding:
    return Finding(part, "unknown", text)


def warning(part: str, text: str, mend: str | None = None) -> Finding:
    return Finding(part, "warning", text, mend)


def fault(part: str, error: PollerError) -> Finding:
    """What an error means to whoever checks. As in `poller.startup`: refusals are the settings' fault, silence is not.

    The messages of this project end with their mend.
    """
    text = " ".join(str(error).splitlines())
    refused = isinstance(error, ConfigurationError | AccessDenied | InvalidRequest)
    if refused:
        text, mend = _apart(text)
    elif isinstance(error, Unavailable) and not error.answered:
        mend = "see that the endpoint is the right one and can be reached from here; `poller run` waits for it"
    else:
        mend = "try again in a while"
    return Finding(part, "fault", text, mend, settings=refused)


def _apart(text: str) -> tuple[str, str | None]:
    """An error's message without its mend, and the mend: behind the last semicolon or, without one, the last colon."""
    if text.endswith(CREDENTIALS_MEND):
        return text.removesuffix(CREDENTIALS_MEND).rstrip(":; "), CREDENTIALS_MEND
    for separator in ("; ", ": "):
        what, _, mend = text.rpartition(separator)
        if what:
            return what, mend
    return text, None


def exit_code(findings: Iterable[Finding]) -> int:
    """0: nothing is wrong; 1: something is, or does not answer; 2: as long as this is so, `poller run` ends with 2."""
    faults = [finding for finding in findings if finding.level == "fault"]
    if any(finding.settings for finding in faults):
        return 2
    return 1 if faults else 0
