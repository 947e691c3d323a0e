"""A progress bar on a terminal, with rate and time left; elsewhere nothing, so that no log fills with it."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_PARTS = 1_000


class _Counted(ProgressColumn):
    """How many so far, and how many a second since the beginning."""

    def render(self, task: Task) -> Text:
        count, unit, elapsed_s = task.fields["count"], task.fields["unit"], task.elapsed or 0.0
        rate = count / elapsed_s if elapsed_s > 0 else 0.0
        return Text(f"{count:,} {unit}, {rate:,.1f}/s")


class Bar:
    """One piece of work. `total`: how many there will be, None: it is told by how much of the span is read."""

    def __init__(self, what: str, unit: str, total: int | None = None) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._total = total
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            _Counted(),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal or self._console.is_dumb_terminal,
            speed_estimate_period=60,
        )
        self._task = self._progress.add_task(what, total=total or _PARTS, count=0, unit=unit)
        self._shown_at = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, part: float, count: int) -> None:
        """`part`: how much of the span is read, from 0 to 1."""
        now = time.monotonic()
        if now - self._shown_at < 0.1:
            return
        self._shown_at = now
        completed = count if self._total else part * _PARTS
        self._progress.update(self._task, completed=completed, count=count)

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(f"poller: {text}", soft_wrap=True, markup=False)
