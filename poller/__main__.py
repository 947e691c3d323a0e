"""`python -m poller`, and the console script: from the very start a signal ends `poller run` in order."""

from __future__ import annotations

import io
import os
import signal
import sys

_STDERR = 2


def main() -> None:
    """Ends the process with 0 (done), 1 (failed) or 2 (usage, configuration)."""
    if sys.argv[1:2] == ["run"]:
        # Before anything else is imported, which takes longer than some supervisors wait.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _nothing_begun)
        # Kept for when somebody listens: by default it would end the process.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        _fill_standard_descriptors()
    elif sys.stdout is None:
        # Closed by whoever started it, which the daemon bears by itself: what is printed goes nowhere.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    elif isinstance(sys.stdout, io.TextIOWrapper):
        # What a terminal's encoding lacks is written as `\\u2026`, which is JSON as well, and ends no command.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        from poller.cli import main as cli  # noqa: PLC0415

        cli()
    except KeyboardInterrupt:
        # Before click is there to say it.
        sys.exit(1)


def _nothing_begun(_number: int, _frame: object) -> None:
    """A signal before the daemon has handlers of its own: there is nothing to settle yet, and nothing to tidy up.

    Without this one a container's first process, to which no default applies, would not even end. Not by SystemExit:
    raised in the midst of an import, it may be swallowed there.
    """
    os._exit(0)


def _fill_standard_descriptors() -> None:
    """What was closed by whoever started it leads nowhere. Else a socket gets its number, and libuv aborts on it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(descriptor)


if __name__ == "__main__":
    main()
