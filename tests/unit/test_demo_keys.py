"""Keys count at once while they are read, and the terminal is as it was afterwards, whatever happened."""

from __future__ import annotations

import os
import pty
import signal
import termios
from collections.abc import Iterator
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from poller.demo import keys
from poller.demo.keys import Keys, keys_of_terminal


class Seat(NamedTuple):
    """Where somebody types, and the terminal that the demo has."""

    keyboard: int
    terminal: int

    def by_lines(self) -> bool:
        modes = termios.tcgetattr(self.terminal)[3]
        return bool(modes & termios.ICANON and modes & termios.ECHO)


@pytest.fixture
def seat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seat]:
    keyboard, terminal = pty.openpty()
    with os.fdopen(terminal, "r+b", buffering=0) as file:
        # Not in `sys` itself, whose streams pytest takes for itself between a fixture and its test.
        monkeypatch.setattr(keys, "sys", SimpleNamespace(stdin=file, stdout=file))
        yield Seat(keyboard, terminal)
    os.close(keyboard)


def test_a_key_counts_without_return_and_the_terminal_is_given_back(seat: Seat) -> None:
    with keys_of_terminal() as typing:
        assert typing.there
        assert not seat.by_lines()
        assert typing.typed(0.0) == ""
        os.write(seat.keyboard, b"Bk")
        assert typing.typed(60.0) == "bk"
    assert seat.by_lines()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_terminal_is_given_back_after_an_error_and_ctrl_c(seat: Seat, error: type[BaseException]) -> None:
    def play() -> None:
        with keys_of_terminal():
            assert not seat.by_lines()
            raise error

    with pytest.raises(error):
        play()
    assert seat.by_lines()


def test_keys_count_again_after_ctrl_z_and_fg(seat: Seat) -> None:
    shells = termios.tcgetattr(seat.terminal)
    with keys_of_terminal():
        termios.tcsetattr(seat.terminal, termios.TCSANOW, shells)
        os.kill(os.getpid(), signal.SIGCONT)
        assert not seat.by_lines()
    assert seat.by_lines()
    assert signal.getsignal(signal.SIGCONT) is signal.SIG_DFL


def test_ctrl_c_stays_a_signal(seat: Seat) -> None:
    with keys_of_terminal() as typing:
        assert typing.there
        assert termios.tcgetattr(seat.terminal)[3] & termios.ISIG


def test_a_terminal_that_is_gone_is_not_asked_again() -> None:
    theirs, ours = os.pipe()
    os.close(ours)
    typing = Keys(theirs)

    assert typing.typed(60.0) == ""
    assert not typing.there
    os.close(theirs)


def test_a_pipe_has_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, encoding="utf-8") as nothing:
        monkeypatch.setattr(keys, "sys", SimpleNamespace(stdin=nothing, stdout=nothing))
        with keys_of_terminal() as typing:
            assert not typing.there
            assert typing.typed(0.0) == ""
