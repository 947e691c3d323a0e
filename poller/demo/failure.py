"""The one error of the demo."""

from __future__ import annotations

from collections.abc import Sequence

from poller.errors import PollerError


class DemoFailed(PollerError):
    """The demo cannot go on; `log_lines` are the last ones of the process that is to blame."""

    def __init__(self, message: str, log_lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.log_lines = log_lines
