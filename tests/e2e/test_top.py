"""`poller top` and `poller status` as somebody uses them: on a terminal, in a pipe, while a daemon breaks and goes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.command import poller
from tests.e2e.daemon import wait_until
from tests.e2e.terminal import Terminal
from tests.e2e.test_health import Site
from tests.standin import StandInProcess

CALM = "Both shards are read; up to date; nothing retrying."


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with StandInProcess() as remote:
        site = Site(remote, tmp_path / "log")
        try:
            site.daemon.start()
            site.until_ready()
            yield site
        finally:
            site.daemon.__exit__()


def test_top_shows_a_queue_that_breaks_and_a_daemon_that_goes_and_comes_back_until_q(site: Site) -> None:
    port = str(urlsplit(site.url).port)
    environment = {"POLLER_HTTP_PORT": port}
    with Terminal("top", "--every", "200ms", environment=environment, columns=130) as terminal:
        terminal.until_shown(CALM)
        site.remote.queue_down("jobs")
        site.upload("a")
        terminal.until_shown("Queue jobs has refused everything for ")
        terminal.until_shown("refuses for ")
        site.daemon.kill()
        terminal.until_shown("NO ANSWER")
        terminal.until_shown("below is what was last known. no answer from")
        site.remote.queue_up("jobs")
        before = terminal.shown.count(CALM)
        site.start_again(POLLER_HTTP_PORT=port)
        terminal.until_shown(CALM, times=before + 1)
        terminal.type("x")  # means nothing
        terminal.type("q")
        assert terminal.ended() == 0
        assert terminal.shown.endswith("\x1b[?1049l"), "the screen is as it was before"


def test_top_ends_at_ctrl_c_and_in_a_pipe_prints_one_look_after_the_other(site: Site) -> None:
    with Terminal("top", "--url", site.url, environment={}) as terminal:
        terminal.until_shown(CALM)
        terminal.interrupt()
        assert terminal.ended() == 0
    command = [sys.executable, "-m", "poller", "top", "--url", site.url, "--every", "200ms", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        levels = [json.loads(process.stdout.readline())["verdict"]["level"] for _ in range(3)]
        process.send_signal(2)
        rest = process.stdout.read()
        assert process.wait(60) == 0
    assert set(levels) == {"ok"}
    assert all(json.loads(line) for line in rest.splitlines())


def test_on_a_terminal_that_can_only_print_top_prints(site: Site) -> None:
    with Terminal("top", "--url", site.url, environment={"TERM": "dumb"}) as terminal:
        terminal.until_shown(CALM, times=2)
        terminal.interrupt()
        assert terminal.ended() == 0
    assert "\x1b[?1049h" not in terminal.shown


def test_in_an_encoding_without_its_signs_status_is_still_told(site: Site) -> None:
    site.upload("a")

    def said() -> str:
        ended = poller("status", "--url", site.url, environment={"PYTHONIOENCODING": "latin-1"})
        assert (ended.code, ended.err) == (0, "")
        return ended.out

    wait_until(lambda: "?" in said(), said)
    assert "\\u" not in said()


def test_status_and_top_once_say_in_their_exit_code_whether_it_is_ready(site: Site) -> None:
    environment = {"POLLER_HTTP_PORT": str(urlsplit(site.url).port)}
    ended = poller("status", environment=environment)
    assert (ended.code, ended.err) == (0, "")
    assert f"OK  {CALM}" in ended.out
    assert all(shard.removeprefix("shardId-").lstrip("0") in ended.out for shard in site.shards)
    site.remote.queue_down("jobs")
    site.upload("a")
    site.until_not_ready("queue of route default")
    ended = poller("top", "--once", environment=environment)
    assert ended.code == 1
    assert "TROUBLE  Queue jobs has refused everything for " in ended.out
    site.daemon.kill()
    ended = poller("status", environment=environment)
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith(f"poller: no answer from http://127.0.0.1:{environment['POLLER_HTTP_PORT']}/status: ")
