"""The play itself: builds the stage, lets writer, daemon and consumer act, and compares the books at the end."""

from __future__ import annotations

import math
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from poller.demo import stage
from poller.demo.children import Child, Daemon, Stop, started_daemon, started_emulator
from poller.demo.consumer import Consumer
from poller.demo.display import Display, Outcome
from poller.demo.failure import DemoFailed
from poller.demo.ledger import Counts, Fact, Ledger, Received
from poller.demo.story import Write, story
from poller.demo.writer import Writer

TICK_S: Final = 0.1
DRAIN_MAX_S: Final = 10.0
MESSAGES_SHOWN: Final = 3

DEFAULT_FILTER_NOTE: Final = """\

The daemon's default filter takes every change that leaves an item at FILE_UPLOAD_COMPLETE: a later change of an
item that is still there would match again. Here none comes, the next write makes it ANALYSED. On a stream that
has old images too, the route's setting `changed = ["phase"]` says it exactly.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`duration_s` None: until Ctrl-C. `http_port` 0: any free port."""

    duration_s: float | None
    http_port: int
    uploads_per_second: float
    seed: int


class Interrupt:
    """The first SIGINT, SIGTERM or SIGHUP asks the demo to end in order; a second one ends it at once."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - Python's signature
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def main(options: Options) -> int:
    """Plays until the time is over or a signal comes. 0: everything expected was received and the daemon exited 0."""
    display = Display.on_stdout()
    interrupt = Interrupt()
    folder = Path(tempfile.mkdtemp(prefix="poller-demo-"))
    failed = False
    try:
        outcome = _play(options, folder, display, interrupt)
        display.summary(outcome)
        failed = not outcome.good
    except DemoFailed as error:
        display.failed(error)
        failed = True
    finally:
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)
    if failed:
        display.say(f"The logs are kept in {folder}")
    return int(failed)


def _play(options: Options, folder: Path, display: Display, interrupt: Interrupt) -> Outcome:
    with ExitStack() as ends, _aws_errors_told():
        display.say("Starting an emulator of DynamoDB and SQS, then the daemon ...\n")
        _enter(stage.environment(os.environ, None))
        emulator = ends.enter_context(started_emulator(folder / "emulator.log"))
        _enter(stage.environment(os.environ, emulator.url))
        clients = stage.connect()
        queues = stage.build(clients)
        settings = stage.daemon_settings(options.http_port)
        daemon = ends.enter_context(started_daemon(os.environ | settings, folder / "daemon.log", emulator))
        address = daemon.address()
        display.facts(
            {
                "status page": f"{address}/",
                "metrics": f"{address}/metrics",
                "health": f"{address}/livez",
                "emulator": emulator.url,
                "daemon's log": str(daemon.log),
                "story": f"{options.uploads_per_second:g} uploads/s into {stage.TABLE}, seed {options.seed}",
            }
        )
        display.say(DEFAULT_FILTER_NOTE)
        writes = story(options.seed, options.uploads_per_second)
        sides = Sides(clients, queues, writes, (emulator, daemon), display)
        counts, stop = sides.play(daemon, _over(options.duration_s, interrupt))
        return Outcome(counts, stage.dead_letters(clients, queues), stop)


def _enter(environ: Mapping[str, str]) -> None:
    """Makes it the environment of this process, which has no other task than the demo, and of its children."""
    os.environ.clear()
    os.environ.update(environ)


def _over(duration_s: float | None, interrupt: Interrupt) -> Callable[[], bool]:
    ends_s = math.inf if duration_s is None else time.monotonic() + duration_s
    return lambda: interrupt.requested or time.monotonic() >= ends_s


@contextmanager
def _aws_errors_told() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise DemoFailed(f"the emulator did not do what it was asked to: {error}") from error


class Sides:
    """Writer and consumer at work, the books, and an eye on every process and thread."""

    def __init__(
        self,
        clients: stage.Clients,
        queues: stage.Queues,
        writes: Iterator[Write],
        children: Sequence[Child],
        display: Display,
    ) -> None:
        self._facts: SimpleQueue[Fact] = SimpleQueue()
        self._writer = Writer(writes, clients.dynamodb, self._facts.put)
        self._consumer = Consumer(queues.jobs, clients.sqs, self._facts.put)
        self._ledger = Ledger()
        self._children = children
        self._display = display
        self._shown = 0

    def play(self, daemon: Daemon, over: Callable[[], bool]) -> tuple[Counts, Stop]:
        """Until `over`; then waits (bounded) for what is in flight, stops the daemon and takes what it sent last."""
        try:
            with self._display.counting():
                self._writer.start()
                self._consumer.start()
                self._watch(lambda _: over())
                self._writer.stop()
                drained_s = time.monotonic() + DRAIN_MAX_S
                self._watch(lambda counts: not counts.in_flight or time.monotonic() >= drained_s)
                stop = daemon.stop()
                self._consumer.stop()
                while self._consumer.receive():
                    pass
                return self._count(), stop
        finally:
            self._writer.stop()
            self._consumer.stop()

    def _watch(self, until: Callable[[Counts], bool]) -> None:
        """Raises DemoFailed as soon as a process or a thread has ended."""
        while True:
            for child in self._children:
                child.check()
            for actor in (self._writer, self._consumer):
                actor.check()
            counts = self._count()
            self._display.counts(counts, time.monotonic())
            if until(counts):
                return
            time.sleep(TICK_S)

    def _count(self) -> Counts:
        for _ in range(self._facts.qsize()):
            fact = self._facts.get()
            self._ledger.note(fact)
            if isinstance(fact, Received) and self._shown < MESSAGES_SHOWN:
                self._shown += 1
                self._display.message(self._shown, fact)
        return self._ledger.counts(time.monotonic())
