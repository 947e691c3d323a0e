"""The life of a server process: a free port, a start that waits until it answers, an end by its process id.

What the process prints goes to a log file, whose end is shown when it does not start.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, ClassVar, Final, Self

_START_TIMEOUT_S: Final = 90.0
_STOP_TIMEOUT_S: Final = 10.0
_PROBE_INTERVAL_S: Final = 0.05
_PORT_ATTEMPTS: Final = 3


class ServerError(Exception):
    """A server did not start. The message ends with the end of its log."""


class ServerProcess(ABC):
    """One server at `url` on the loopback interface. `folder` takes its log, and is where it runs.

    After `stop`, `start` brings it up again at the same port, and empty: these servers keep their contents in memory.
    `pause` freezes it with its contents: connections are accepted by the kernel, and nothing answers.
    """

    name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """How to start it on `self.port`."""

    def environment(self) -> dict[str, str]:
        """Its environment: the tests' own, without the settings of whoever runs them."""
        return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "POLLER_"))}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerError(f"{self.name} is not running")
        return self._process.pid

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once it answers. A port that turns out to be taken is exchanged for another at the first start."""
        attempts = 1 if self.port else _PORT_ATTEMPTS
        for attempt in range(attempts):
            self.port = self.port if attempts == 1 else free_port()
            with self.log.open("ab") as log:
                self._launch(log)
            try:
                self._wait_until_it_answers()
            except BaseException as error:
                self.stop()
                if isinstance(error, ServerError) and self._port_was_taken() and attempt < attempts - 1:
                    continue
                raise
            return

    def stop(self) -> None:
        """Ends it, by force if it must be. Does nothing when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _launch(self, log: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            self.command(),
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the tests, which then end it in order
        )

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise ServerError(f"{self.name} ended with exit code {self._process.returncode}:\n{self._log_end()}")
            if self._answers():
                return
            time.sleep(_PROBE_INTERVAL_S)
        raise ServerError(f"{self.name} did not answer within {_START_TIMEOUT_S:.0f} s:\n{self._log_end()}")

    def _answers(self) -> bool:
        """Any HTTP answer will do: it is up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        else:
            return True
        finally:
            connection.close()

    def _port_was_taken(self) -> bool:
        end = self._log_end().lower()
        return "address already in use" in end or "bindexception" in end or "failed to bind" in end

    def _log_end(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
