"""What the demo shows: on a terminal one line of counters that lives, elsewhere a plain one every two seconds.

Everything is printed from the demo's main thread. ASCII only: it must print in any locale.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from poller.demo.children import Stop
from poller.demo.failure import DemoFailed
from poller.demo.ledger import Counts, Received
from poller.demo.scenes import Say, Voice

PLAIN_LINE_EVERY_S: Final = 2.0
EXCERPT_LINES: Final = 14
_VOICES: Final = {
    Voice.DEMO: ("demo", "bold cyan"),
    Voice.PAGE: ("page", "bold yellow"),
    Voice.ALERT: ("alert", "bold red"),
    Voice.GOOD: ("good", "bold green"),
}
YOUR_OWN: Final = """\

[bold]Now your own table[/], in the account that your credentials lead to:

{install}  export AWS_REGION=eu-west-1
  export POLLER_TABLE=YourTable POLLER_QUEUE=your-jobs POLLER_DEAD_LETTER_QUEUE=your-dead-letters
  poller check   # what is there, what is missing, what may not be done; changes nothing
  poller init    # makes what is missing: lease table, queues
  poller run     # this daemon, on your table
"""
# `make run` plays without installing it.
_INSTALL: Final = "  pip install .  # in this checkout: for the command poller\n"
_ATTRIBUTE_VALUE = re.compile(r"\{\s+(\"[A-Z]+\": [^][{}]*?)\s+\}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the demo ended."""

    counts: Counts
    dead_letters: int
    daemon: Stop
    workers_killed: int = 0

    @property
    def missing(self) -> int:
        return self.counts.in_flight

    @property
    def good(self) -> bool:
        return not self.missing and not self.counts.unexpected and self.daemon.exit_code == 0


class Display:
    """Prints to `console`; `living`: it is a terminal that can rewrite a line."""

    def __init__(self, console: Console, *, living: bool) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if living else None
        self._hint = ""
        self._next_line_s: float | None = None  # known from the first look at the counters on

    @classmethod
    def on_stdout(cls) -> Display:
        console = Console(highlight=False, soft_wrap=True)
        return cls(console, living=sys.stdout.isatty() and not console.is_dumb_terminal)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """While the block lasts, `counts` has its line."""
        if self._live is None:
            yield
            return
        with self._live:
            yield

    def say(self, text: str = "") -> None:
        """Text in rich's markup."""
        self._console.print(text)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Names and values, one a line."""
        self.say("\n".join(_aligned(facts)))

    def message(self, number: int, message: Received) -> None:
        """A job as a worker gets it."""
        facts = {"phase": message.phase, "id": message.request_id, "position in shard": message.sequence_number}
        lines = [
            f"[bold green]Message {number}[/], as an analysis worker gets it:",
            *_aligned(facts),
            *(f"    [dim]{escape(line)}[/]" for line in excerpt(message.body)),
        ]
        self.say("\n".join(lines) + "\n")

    def told(self, said: Say) -> None:
        """What happens in a scene, and who says so."""
        name, style = _VOICES[said.voice]
        self.say(f"[{style}]{name:>6}[/]  {escape(said.text)}")

    def hint(self, text: str) -> None:
        """A line below the counters, on a terminal."""
        self._hint = text

    def counts(self, counts: Counts, now_s: float) -> None:
        """Shows the counters; `now_s` (monotonic) decides whether a plain line is due."""
        if self._live is not None:
            lines = [(counters(counts), "bold"), *([(self._hint, "dim")] if self._hint else [])]
            texts = [Text(line, style=style, no_wrap=True, overflow="ellipsis") for line, style in lines]
            self._live.update(Group(*texts), refresh=True)
        elif self._next_line_s is None:
            self._next_line_s = now_s + PLAIN_LINE_EVERY_S
        elif now_s >= self._next_line_s:
            self._next_line_s += PLAIN_LINE_EVERY_S
            self.say(counters(counts))

    def summary(self, outcome: Outcome) -> None:
        counts, daemon = outcome.counts, outcome.daemon
        self.say("\n[bold]Summary[/]")
        table = Table(show_header=False, box=None)
        table.add_column(style="cyan")
        table.add_column(justify="right")
        for name, value in (
            ("written to the table", f"{counts.written}"),
            ("expected in the queue", f"{counts.expected}"),
            ("received", f"{counts.received}"),
            ("duplicates", f"{counts.duplicates}"),
            ("missing", f"{outcome.missing}"),
            ("not asked for", f"{counts.unexpected}"),
            ("dead letters", f"{outcome.dead_letters}"),
            ("latency, half / 99 %", f"{seconds(counts.latency_p50_s)} / {seconds(counts.latency_p99_s)}"),
            ("daemon's exit code", f"{daemon.exit_code}"),
            ("daemon's stop took", seconds(daemon.seconds)),
            *([("workers killed", f"{outcome.workers_killed}")] if outcome.workers_killed else []),
        ):
            table.add_row(name, value)
        self._console.print(table, soft_wrap=False)
        self.say(verdict(outcome))
        if outcome.good:
            self.say(YOUR_OWN.format(install="" if _installed() else _INSTALL))

    def failed(self, error: DemoFailed) -> None:
        self.say(f"[bold red]Failed: {escape(str(error))}[/]")
        if error.log_lines:
            self.say("Its last words:")
        for line in error.log_lines:
            self.say(f"  [dim]{escape(line)}[/]")


def _installed() -> bool:
    try:
        distribution("dynamodb-stream-poller")
    except PackageNotFoundError:
        return False
    return True


def _aligned(facts: Mapping[str, str]) -> list[str]:
    width = max(map(len, facts))
    return [f"  [cyan]{name:<{width}}[/]  {escape(value)}" for name, value in facts.items()]


def counters(counts: Counts) -> str:
    """The line of counters."""
    return (
        f"written {counts.written}  expected {counts.expected}  received {counts.received}  "
        f"duplicates {counts.duplicates}  in flight {counts.in_flight}  {counts.per_second:.1f}/s  "
        f"latency {seconds(counts.latency_p50_s)} (99 %: {seconds(counts.latency_p99_s)})"
    )


def verdict(outcome: Outcome) -> str:
    """The last line, in rich's markup."""
    faults = [
        text
        for wrong, text in (
            (outcome.missing, f"missing: {outcome.missing} of {outcome.counts.expected} expected messages"),
            (outcome.counts.unexpected, f"received and not asked for: {outcome.counts.unexpected} messages"),
            (outcome.daemon.exit_code, f"the daemon ended with exit code {outcome.daemon.exit_code}"),
        )
        if wrong
    ]
    if not faults:
        return "[bold green]Everything that was expected has arrived.[/]"
    return f"[bold red]Failed: {'; '.join(faults)}.[/]"


def seconds(duration_s: float | None) -> str:
    return "-" if duration_s is None else f"{duration_s:.2f} s"


def excerpt(body: str) -> list[str]:
    """The beginning of a record's JSON, indented; an attribute's value stays on one line."""
    lines = _ATTRIBUTE_VALUE.sub(r"{\1}", json.dumps(json.loads(body), indent=2)).splitlines()
    return lines if len(lines) <= EXCERPT_LINES else [*lines[:EXCERPT_LINES], "      ..."]
