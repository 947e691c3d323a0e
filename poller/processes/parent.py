"""`poller run --processes N`: the process that the world sees. It starts the workers and passes on what concerns them.

It reads no stream, and keeps nothing that is not in the workers as well: when it dies, they leave in order.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import uvloop

import poller
from poller.errors import PollerError
from poller.events import DaemonStopped, DaemonStopping, HttpListening, ProcessEnded, ProcessStarted
from poller.filters import compile_filters
from poller.observe.fanout import Fanout
from poller.observe.http import HttpServer
from poller.observe.log import LogSink, capture_libraries, hide_texts_of_errors
from poller.observe.outlet import give_up_standard_output, last_resort, standard_output
from poller.processes.child import Child, said_of
from poller.processes.pages import Front
from poller.run.clock import SystemClock
from poller.settings import Settings, load_all
from poller.traces import missing

# A worker that is not frozen is gone by then (`poller.run.pace`), and all together promise to be within 10 s: some
# orchestrators kill the parent then.
LEAVE_S: Final = 9.5
# Its number in the log.
_PARENT: Final = 0


def main(configs: Sequence[Path], environ: Mapping[str, str], count: int) -> int:
    """Runs so many workers until a signal, or the end of one of them, ends all; the exit code.

    Raises ConfigurationError, before anything is started, for settings that cannot work.
    """
    hide_texts_of_errors()
    settings = load_all(environ, configs)
    for one in settings:
        compile_filters(one)  # what is wrong is said before anything is started
    if fault := missing(settings[0]):
        raise fault
    try:
        # What concerns the process is the same in all of them.
        return uvloop.run(Parent(settings[0], command(configs), count).run())
    finally:
        give_up_standard_output()


def command(configs: Sequence[Path]) -> list[str]:
    """What starts a worker with the same settings, and with this very package wherever it is run from."""
    root = Path(poller.__file__).parent.parent
    # In a folder that is not the package's own, something else there might bear its name.
    safe_path = [] if root == Path.cwd() else ["-P"]
    files = [word for path in configs for word in ("--config", str(path))]
    return [sys.executable, *safe_path, "-m", "poller", "run", *files]


def exit_code(codes: Iterable[int]) -> int:
    """What the exit codes of all workers come to: the highest one; a death by a signal counts as 1.

    One that died of the very signal that asks it to leave had not even got as far as to heed it, and has begun nothing.
    """
    return max((_exit_code(code) for code in codes), default=0)


def _exit_code(code: int) -> int:
    if code in (-signal.SIGTERM, -signal.SIGINT):
        return 0
    return code if code >= 0 else 1


class Parent:
    """The workers, their common HTTP port, and how all of it ends."""

    def __init__(self, settings: Settings, command: Sequence[str], count: int) -> None:
        """`command`: what starts a worker."""
        self._http = settings.http
        self._clock = SystemClock()
        output = standard_output(shared=True)
        self._log = LogSink(settings.log.level, settings.log.format, output, process=_PARENT)
        self._emit = Fanout([self._log], last_resort())
        self._children = [
            Child(number, command, self._clock, serves=settings.http.enabled) for number in range(1, count + 1)
        ]
        self._leaving = asyncio.Event()
        self._reason = ""
        self._asked_at = 0.0
        self._signals = 0

    async def run(self) -> int:
        """The exit code. ConfigurationError: it cannot listen where it should."""
        capture_libraries(self._log)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # one that came before is heard now
        async with AsyncExitStack() as stack:
            await self._serve(stack)
            code = exit_code(await self.live())
        self._emit(DaemonStopped(clean=code == 0, seconds=self._clock.monotonic() - self._asked_at))
        return code

    async def _serve(self, stack: AsyncExitStack) -> None:
        if not self._http.enabled:
            return
        server = HttpServer(Front(self._children, self._clock).pages())
        stack.push_async_callback(server.stop)
        self._emit(HttpListening(url=await server.start(self._http.host, self._http.port)))

    async def live(self) -> list[int]:
        """From the start of the first worker to the end of the last; how they have ended."""
        first, *others = self._children
        endings = [self._start(first)]
        # What is wrong with the settings, or waited for, is said once, and not by everyone.
        await self._unless_leaving(first.found)
        if not self._leaving.is_set():
            endings += [self._start(child) for child in others]
        await self._leaving.wait()
        for child in self._children:
            child.tell_to_leave(self._reason)
        _, hanging = await asyncio.wait(endings, timeout=LEAVE_S)
        if hanging:
            self._kill_all()
        return await asyncio.gather(*endings)

    def _start(self, child: Child) -> asyncio.Task[int]:
        try:
            pid = child.start()
        except OSError as error:
            raise PollerError(f"process {child.number} cannot be started: {error}") from error
        self._emit(ProcessStarted(child=child.number, pid=pid))
        return asyncio.create_task(self._until_ended(child, pid))

    async def _until_ended(self, child: Child, pid: int) -> int:
        code = await child.ended()
        if not self._is_as_it_should(child, code):
            self._emit(ProcessEnded(child=child.number, pid=pid, by=said_of(code)))
        self.leave(f"process {child.number} has ended")
        return code

    def _is_as_it_should(self, child: Child, code: int) -> bool:
        """It was asked to leave and left in order; or it has said what is wrong with the settings."""
        if self._leaving.is_set():
            return _exit_code(code) == 0
        return code == 2 and not child.found.is_set()

    async def _unless_leaving(self, event: asyncio.Event) -> None:
        """Waits for the event, or until it is time to leave."""
        waits = [asyncio.create_task(event.wait()), asyncio.create_task(self._leaving.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _signalled(self, number: signal.Signals) -> None:
        """The first signal: leave in order. The second: at once, and all."""
        self._signals += 1
        if self._signals > 1:
            self._kill_all()
            os._exit(1)
        self.leave(signal.Signals(number).name)

    def _reload(self) -> None:
        """Each worker reads the settings again, and says in its log what came of it."""
        for child in self._children:
            child.reload()

    def leave(self, reason: str) -> None:
        """Asks all of them to, once."""
        if self._leaving.is_set():
            return
        self._reason, self._asked_at = reason, self._clock.monotonic()
        self._emit(DaemonStopping(reason=reason))
        self._leaving.set()

    def _kill_all(self) -> None:
        for child in self._children:
            child.kill()
