"""A side of the demo: a loop on a thread of its own that is started, stopped and asked whether it failed.

The endless loop is here, the single pass in whoever acts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import Event, Thread

from poller.demo.failure import DemoFailed


class Actor(ABC):
    """`step` is repeated until `stop`. An error ends the loop and is kept for `check`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._error: Exception | None = None
        self._stopping = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the step under way is done."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Raises DemoFailed if an error has ended it."""
        if self._error is not None:
            raise DemoFailed(f"the {self._name} failed: {self._error}") from self._error

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self.step()
        except Exception as error:  # noqa: BLE001 - kept for the demo, which ends for it
            self._error = error

    @abstractmethod
    def step(self) -> None:
        """One pass; it may wait, but not for long."""
