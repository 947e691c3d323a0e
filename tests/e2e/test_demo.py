"""`poller demo` as its user starts it: a process in a pipe, on the embedded emulator."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.terminal import Terminal

COMMAND = [sys.executable, "-u", "-m", "poller", "demo"]
BOUND_S = 120  # only so that a hanging demo fails; it takes a few seconds


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo puts its logs."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def play(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The demo from its beginning to its end."""
    command = [*COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)


@contextmanager
def playing() -> Iterator[subprocess.Popen[str]]:
    """The demo without an end; killed with the block, of which its children take notice."""
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line_with(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Reads on to the next line that matches."""
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        seen.append(line)
        if match := re.search(pattern, line):
            return match
    raise AssertionError(f"it ended without {pattern!r}:\n{''.join(seen)}")


def summary(output: str) -> dict[str, str]:
    """The table after the heading: name and value of each line."""
    return dict(re.findall(r"^ (\S.*?)\s{2,}(\S.*?) *$", output.partition("Summary\n")[2], re.MULTILINE))


def test_the_demo_delivers_everything_says_so_and_leaves_nothing_behind(scratch: Path) -> None:
    result = play("--for", "5s")
    assert result.returncode == 0, result.stdout + result.stderr
    figures = summary(result.stdout)

    assert int(figures["written to the table"]) > int(figures["expected in the queue"]) > 0
    assert figures["received"] == figures["expected in the queue"]
    assert figures["missing"] == figures["not asked for"] == figures["dead letters"] == "0"
    assert figures["daemon's exit code"] == "0"
    assert "Everything that was expected has arrived." in result.stdout
    assert result.stderr == ""
    assert list(scratch.iterdir()) == []


def test_the_first_messages_are_shown_as_a_worker_gets_them() -> None:
    with playing() as process:
        line_with(process, r"^Message 1, as an analysis worker gets it:$")
        assert line_with(process, r" phase +(\w+)$")[1] == "FILE_UPLOAD_COMPLETE"
        request_id = line_with(process, r" id +(req-\w+)$")[1]
        line_with(process, r" position in shard +\d+$")
        line_with(process, rf'"analysisRequestId": \{{"S": "{request_id}"\}}')


def test_the_addresses_that_it_names_answer() -> None:
    with playing() as process:
        metrics = line_with(process, r" metrics +(http://127\.0\.0\.1:\d+/metrics)$")[1]
        health = line_with(process, r" health +(http://127\.0\.0\.1:\d+/livez)$")[1]

        with urllib.request.urlopen(metrics, timeout=BOUND_S) as answer:
            assert b"poller_records_read_total" in answer.read()
        with urllib.request.urlopen(health, timeout=BOUND_S) as answer:
            assert answer.status == 200


def test_a_broken_queue_and_a_killed_worker_lose_nothing_and_each_is_told(scratch: Path) -> None:
    with Terminal("demo", "--break", "5s", environment={"TMPDIR": str(scratch)}, columns=200) as terminal:
        terminal.until_shown(", as an analysis worker gets it:")
        assert terminal.keys_count_at_once()
        terminal.type("b")
        terminal.until_shown("Queue analysis-jobs has refused everything for ")
        terminal.until_shown("PollerNotReady (warning) is pending, would ring after 5 min")
        terminal.until_shown("PollerRetryingTooLong (critical) would be pending in ")
        terminal.type("k")  # into the middle of it: the next one finds what this one could not send
        terminal.until_shown("The queue takes messages again, after ")
        terminal.until_shown("Another worker reads on, ")
        terminal.until_shown("It has recovered, ")
        terminal.type("q")
        assert terminal.ended() == 0, terminal.shown
        assert not terminal.keys_count_at_once()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.shown).replace("\r\n", "\n")
    figures = summary(plain)

    assert figures["received"] == figures["expected in the queue"] != "0"
    assert figures["missing"] == figures["not asked for"] == figures["dead letters"] == "0"
    assert figures["workers killed"] == "1"
    assert plain.index("status page") < plain.index("metrics")
    assert [plain.count(f"\n  poller {command} ") for command in ("check", "init", "run")] == [1, 1, 1]
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    with playing() as process:
        line_with(process, r"^Message 1")
        process.send_signal(number)
        output, errors = process.communicate(timeout=BOUND_S)

    assert process.returncode == 0, output + errors
    assert summary(output)["missing"] == "0"


def test_a_real_account_in_the_environment_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1")
    monkeypatch.setenv("POLLER_TABLE", "Orders")
    result = play("--for", "2s")

    assert result.returncode == 0, result.stdout + result.stderr


def test_a_daemon_that_cannot_start_is_told_with_its_own_words_and_the_logs_are_kept(scratch: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = play("--http-port", f"{port}")

    assert result.returncode == 1
    assert "Failed: the daemon ended by itself with exit code 2" in result.stdout
    words = result.stdout.partition("Its last words:")[2]
    assert f"{port}" in words
    assert "(--http-port)" in words, "the demo's own option, and not the variable that it sets"
    assert {log.name for folder in scratch.iterdir() for log in folder.iterdir()} == {"daemon.log", "emulator.log"}
