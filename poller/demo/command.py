"""The play itself: builds the stage, lets writer, daemon and consumer act, and compares the books at the end."""

from __future__ import annotations

import math
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Final, assert_never

from botocore.exceptions import BotoCoreError, ClientError

from poller.demo import stage
from poller.demo.children import Emulator, Stop, Workers, started_emulator
from poller.demo.consumer import Consumer
from poller.demo.display import Display, Outcome
from poller.demo.failure import DemoFailed
from poller.demo.keys import Keys, keys_of_terminal
from poller.demo.ledger import Counts, Fact, Ledger, Received
from poller.demo.page import look
from poller.demo.scenes import BreakQueue, Do, End, KillWorker, MendQueue, Say, Scenes
from poller.demo.story import Write, story
from poller.demo.writer import Writer

TICK_S: Final = 0.1
# While a scene is played, a look at the page; otherwise only what the rates of the alert rules are made of.
LOOK_EVERY_S: Final = 0.5
SCRAPE_EVERY_S: Final = 5.0
# Everything arrives at once, but what a dead worker left or what the queue refused last: a lease, a long pause.
DRAIN_MAX_S: Final = 45.0
MESSAGES_SHOWN: Final = 3

DEFAULT_FILTER_NOTE: Final = """\

The daemon's default filter takes every change that leaves an item at FILE_UPLOAD_COMPLETE: a later change of an
item that is still there would match again. Here none comes, the next write makes it ANALYSED. On a stream that
has old images too, the route's setting `changed = ["phase"]` says it exactly.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`duration_s` None: until Ctrl-C. `http_port` 0: any free port. `break_s`: how long the key b breaks the queue."""

    duration_s: float | None
    http_port: int
    uploads_per_second: float
    seed: int
    break_s: float


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
        keys = ends.enter_context(keys_of_terminal())
        display.say("Starting an emulator of DynamoDB and SQS, then the daemon ...\n")
        _enter(stage.environment(os.environ, None))
        emulator = ends.enter_context(started_emulator(folder / "emulator.log"))
        _enter(stage.environment(os.environ, emulator.url))
        clients = stage.connect()
        queues = stage.build(clients)
        settings = stage.daemon_settings(options.http_port)
        workers = ends.enter_context(Workers(os.environ | settings, folder, emulator))
        address = workers.address
        display.facts(
            {
                "status page": f"{address}/",
                "metrics": f"{address}/metrics",
                "health": f"{address}/livez",
                "emulator": emulator.url,
                "daemon's log": str(workers.current.log),
                "story": f"{options.uploads_per_second:g} uploads/s into {stage.TABLE}, seed {options.seed}",
            }
        )
        display.say(DEFAULT_FILTER_NOTE)
        writes = story(options.seed, options.uploads_per_second)
        played = Played(emulator, workers, keys, Scenes(options.break_s))
        sides = Sides(clients, queues, writes, played, display)
        counts, stop = sides.play(_over(options.duration_s, interrupt))
        return Outcome(counts, stage.dead_letters(clients, queues), stop, workers.killed)


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


@dataclass(frozen=True, slots=True)
class Played:
    """What the keys play with."""

    emulator: Emulator
    workers: Workers
    keys: Keys
    scenes: Scenes


class Sides:
    """Writer and consumer at work, the books, and an eye on every process and thread."""

    def __init__(
        self,
        clients: stage.Clients,
        queues: stage.Queues,
        writes: Iterator[Write],
        played: Played,
        display: Display,
    ) -> None:
        self._facts: SimpleQueue[Fact] = SimpleQueue()
        self._writer = Writer(writes, clients.dynamodb, self._facts.put)
        self._consumer = Consumer(queues.jobs, clients.sqs, self._facts.put)
        self._ledger = Ledger()
        self._played = played
        self._display = display
        self._shown = 0
        self._ends = False
        self._look_s = 0.0

    def play(self, over: Callable[[], bool]) -> tuple[Counts, Stop]:
        """Until `over`; then waits (bounded) for what is in flight, stops the daemon and takes what it sent last."""
        try:
            with self._display.counting():
                self._writer.start()
                self._consumer.start()
                self._watch(lambda _: self._ends or over())
                self._writer.stop()
                self._do(self._played.scenes.over(time.monotonic()))
                drained_s = time.monotonic() + DRAIN_MAX_S
                self._watch(lambda counts: not counts.in_flight or time.monotonic() >= drained_s)
                self._played.workers.current.address()  # one that was only just begun knows no SIGTERM yet
                stop = self._played.workers.current.stop()
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
            for child in (self._played.emulator, self._played.workers.current):
                child.check()
            for actor in (self._writer, self._consumer):
                actor.check()
            counts = self._count()
            self._display.counts(counts, time.monotonic())
            if until(counts):
                return
            self._perform(counts)

    def _perform(self, counts: Counts) -> None:
        """One tick of what is played by key; without keys it only waits."""
        keys, scenes = self._played.keys, self._played.scenes
        for key in keys.typed(TICK_S):
            self._do(scenes.typed(key, time.monotonic(), counts))
        if not keys.there:
            return
        now_s = time.monotonic()
        self._display.hint(scenes.hint(now_s))
        if now_s >= self._look_s:
            self._look_s = now_s + (LOOK_EVERY_S if scenes.under_way else SCRAPE_EVERY_S)
            self._do(scenes.seen(time.monotonic(), counts, look(self._played.workers.address)))

    def _do(self, plan: Iterable[Do]) -> None:
        for do in plan:
            match do:
                case Say():
                    self._display.told(do)
                case BreakQueue():
                    self._played.emulator.take_messages(take=False)
                    self._look_s = 0.0
                case MendQueue():
                    self._played.emulator.take_messages(take=True)
                case KillWorker():
                    self._played.workers.replace()
                    self._look_s = 0.0
                case End():
                    self._ends = True
                case _:
                    assert_never(do)

    def _count(self) -> Counts:
        for _ in range(self._facts.qsize()):
            fact = self._facts.get()
            self._ledger.note(fact)
            if isinstance(fact, Received) and self._shown < MESSAGES_SHOWN:
                self._shown += 1
                self._display.message(self._shown, fact)
        return self._ledger.counts(time.monotonic())
