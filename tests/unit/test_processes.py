"""Several processes as one service: its pages, its exit code, and what ties a worker to its parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import poller
from poller.events import DaemonReady, LoopLagged
from poller.observe.http import Answer, HttpServer, Queried
from poller.part import FOUND, Tie
from poller.processes.child import Child, said_of
from poller.processes.pages import Front
from poller.processes.parent import LEAVE_S, Parent, command, exit_code
from poller.run.clock import SystemClock
from poller.run.pace import Pace
from poller.settings import load
from tests.memory.clock import ManualClock

READY = Answer(b'{"ready":true,"reasons":[]}\n', "application/json")
DAEMON_READY = DaemonReady(stream="s", stream_arn="arn", view_type="NEW_IMAGE", lease_table="l", routes=("default",))


def not_ready(since: str, part: str) -> Answer:
    reason = {"part": part, "since": since, "seconds": 1.0, "text": "So it is."}
    return Answer(json.dumps({"ready": False, "reasons": [reason]}).encode(), "application/json", 503)


@dataclass
class FakeWorker:
    """One that says what it is told to, or nothing."""

    number: int
    says: Answer | None = None
    pid: int | None = 77
    newborn: bool = False
    started_at: float | None = 0.0
    answered_at: float | None = None
    ended_at: float | None = None
    asked: list[str] = field(default_factory=list)

    async def ask(self, path: str) -> Answer | None:
        self.asked.append(path)
        return self.says


def front(*workers: FakeWorker) -> Front:
    return Front(workers, ManualClock())


async def parts(*workers: FakeWorker) -> tuple[int, list[tuple[int, str]]]:
    """What /readyz answers: its status, and of each reason the process and the part."""
    answer = await front(*workers).readiness()
    body = json.loads(answer.body)
    assert body["ready"] is (answer.status == 200)
    return answer.status, [(one["process"], one["part"]) for one in body["reasons"]]


# --- the pages --------------------------------------------------------------------------------------------------------


async def test_it_is_ready_when_all_are() -> None:
    assert await parts(FakeWorker(1, READY), FakeWorker(2, READY)) == (200, [])


async def test_what_each_has_against_itself_is_told_with_its_process_oldest_first() -> None:
    late = FakeWorker(1, not_ready("2026-11-23T08:00:01.000Z", "buffers"))
    early = FakeWorker(3, not_ready("2026-11-23T08:00:00.000Z", "lease table"))

    assert await parts(late, FakeWorker(2, READY), early) == (503, [(3, "lease table"), (1, "buffers")])


@pytest.mark.parametrize(
    ("silent", "part"),
    [
        (FakeWorker(2, started_at=None), "start"),
        (FakeWorker(2, newborn=True), "start"),
        (FakeWorker(2, answered_at=1.0), "process"),
        (FakeWorker(2), "process"),
        (FakeWorker(2, ended_at=1.0), "process"),
    ],
)
async def test_one_that_says_nothing_is_not_ready(silent: FakeWorker, part: str) -> None:
    assert await parts(FakeWorker(1, READY), silent) == (503, [(2, part)])


async def test_it_lives_when_all_that_have_begun_to_live_do() -> None:
    well = Answer(b"ok\n")
    unborn, newborn = FakeWorker(2, started_at=None), FakeWorker(3, newborn=True)

    assert await front(FakeWorker(1, well), unborn, newborn).liveness() == Answer(b"ok\n")


async def test_a_frozen_one_or_a_dead_one_fails_the_liveness_of_all() -> None:
    answer = await front(FakeWorker(1, Answer(b"ok\n")), FakeWorker(2), FakeWorker(3, ended_at=1.0)).liveness()

    assert (answer.status, answer.body) == (503, b"process 2 does not answer\nprocess 3 does not answer\n")


def status(level: str, text: str) -> Answer:
    verdict = {"level": level, "text": text}
    ready = level in ("ok", "attention")
    return Answer(json.dumps({"worker_id": "me", "verdict": verdict, "ready": ready}).encode() + b"\n")


WELL = status("ok", "All 8 shards are read.")


async def test_the_status_has_an_entry_for_each_process() -> None:
    answer = await front(FakeWorker(1, WELL), FakeWorker(2, started_at=None)).status()
    first, second = json.loads(answer.body)["processes"]

    assert (first["process"], first["up"], first["status"]) == (1, True, json.loads(WELL.body))
    assert first["verdict"] == first["status"]["verdict"]
    assert (second["process"], second["up"], second["status"], second["started_at"]) == (2, False, None, None)


async def whole(*workers: FakeWorker, after_s: float = 0.0) -> tuple[bool, str, str]:
    """What `/status` says of all of them: ready, level and text of the verdict."""
    clock = ManualClock()
    pages = Front(workers, clock)
    clock.advance(after_s)
    body = json.loads((await pages.status()).body)
    return body["ready"], body["verdict"]["level"], body["verdict"]["text"]


async def test_where_all_are_well_the_verdict_says_so_and_what_the_first_one_does() -> None:
    both = await whole(FakeWorker(1, WELL), FakeWorker(2, WELL))
    assert both == (True, "ok", "Both processes are well. Process 1: All 8 shards are read.")
    three = await whole(*(FakeWorker(number, WELL) for number in (1, 2, 3)))
    assert three == (True, "ok", "All 3 processes are well. Process 1: All 8 shards are read.")
    assert await whole(FakeWorker(1, WELL)) == (True, "ok", "Process 1: All 8 shards are read.")


async def test_the_verdict_is_that_of_the_process_that_is_worst_off_and_tells_how_many_others_are_as_badly() -> None:
    look, trouble = status("attention", "1 min behind."), status("trouble", "Queue jobs refuses.")

    one = await whole(FakeWorker(1, WELL), FakeWorker(2, look))
    assert one == (True, "attention", "Process 2: 1 min behind.")
    two = await whole(FakeWorker(1, look), FakeWorker(2, look))
    assert two == (True, "attention", "Process 1: 1 min behind. 1 other process worth a look as well.")
    bad = await whole(FakeWorker(1, look), FakeWorker(2, trouble), FakeWorker(3, status("starting", "It starts.")))
    assert bad == (False, "trouble", "Process 2: Queue jobs refuses. 1 other process not ready either.")
    worse = await whole(*(FakeWorker(number, trouble) for number in (1, 2, 3)))
    assert worse == (False, "trouble", "Process 1: Queue jobs refuses. 2 other processes not ready either.")


NOW_S = 1000.0  # where the clock begins
UNASKED = "It is started as soon as the first one has found all that the settings name."
FROZEN = "It has not answered for 12 s: its event loop stands still, or the process is frozen."
NEWBORN = "It was started just now, and has not answered yet."


@pytest.mark.parametrize(
    ("silent", "after_s", "level", "text"),
    [
        (FakeWorker(2, answered_at=NOW_S), 12.0, "trouble", FROZEN),
        (FakeWorker(2, newborn=True, started_at=NOW_S), 12.0, "starting", NEWBORN),
        (FakeWorker(2, started_at=None), 60.0, "starting", UNASKED),
        (FakeWorker(2, started_at=None), 61.0, "trouble", UNASKED),
        (FakeWorker(2, ended_at=NOW_S), 2.0, "stopping", "It has ended, and the others leave."),
    ],
)
async def test_one_that_says_nothing_is_judged_from_outside(
    silent: FakeWorker, after_s: float, level: str, text: str
) -> None:
    assert await whole(FakeWorker(1, WELL), silent, after_s=after_s) == (False, level, f"Process 2: {text}")


async def test_what_is_asked_of_the_status_is_asked_of_each_process() -> None:
    worker = FakeWorker(1, WELL)
    page = front(worker).pages()["/status"]
    assert isinstance(page, Queried)
    assert (await page.answer({"shards": "50", "find": "a b&c=d"})).status == 200
    assert (await page.answer({"shards": "<script>"})).status == 400
    assert worker.asked == ["/status?shards=50&find=a+b%26c%3Dd"]


async def test_a_query_that_is_too_long_for_a_worker_is_refused_as_it_is_there() -> None:
    too_long = Answer(b"400 Bad Request\n", status=400)

    answer = await front(FakeWorker(1, too_long), FakeWorker(2), FakeWorker(3, WELL)).status({"find": "/" * 3000})
    assert answer == too_long


async def test_the_page_for_people_is_there_as_well() -> None:
    page = front().pages()["/"]()
    assert isinstance(page, Answer)
    assert page.content_type == "text/html; charset=utf-8"


async def test_the_metrics_are_those_of_all_that_answer() -> None:
    page = b"# TYPE x gauge\nx 1\n"
    answer = await front(FakeWorker(1, Answer(page)), FakeWorker(2)).metrics()

    assert answer.body.startswith(b'# TYPE x gauge\nx{process="1"} 1\n')
    assert b'poller_process_up{process="2"} 0.0\n' in answer.body
    assert answer.content_type.startswith("text/plain; version=0.0.4")


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([0, 0], 0),
        ([], 0),
        ([0, 1], 1),
        ([2], 2),
        ([1, 2, 0], 2),
        ([0, -signal.SIGKILL], 1),
        ([-signal.SIGSEGV, 0], 1),
        # A signal before there was a handler for it: nothing had begun.
        ([0, -signal.SIGTERM], 0),
        ([-signal.SIGINT, 0], 0),
    ],
)
def test_the_exit_code_is_the_highest_of_all(codes: list[int], code: int) -> None:
    assert exit_code(codes) == code


def test_an_end_is_told_in_words() -> None:
    assert [said_of(3), said_of(-9), said_of(-63)] == ["exit code 3", "SIGKILL", "signal 63"]


# --- a worker's start -------------------------------------------------------------------------------------------------


def test_a_worker_is_started_with_the_same_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(poller.__file__).parent.parent)
    files = ["--config", "a.toml", "--config", "b c.toml"]

    assert command([Path("a.toml"), Path("b c.toml")]) == [sys.executable, "-m", "poller", "run", *files]


def test_a_folder_that_holds_something_of_the_same_name_does_not_replace_the_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    assert command([]) == [sys.executable, "-P", "-m", "poller", "run"]


# --- what ties them ---------------------------------------------------------------------------------------------------


class Tied:
    """A worker's end of the tie, and the other one."""

    def __init__(self) -> None:
        self.parent, theirs = socket.socketpair()
        self.parent.settimeout(5)
        self.tie = Tie(theirs.detach())
        self.left: asyncio.Queue[str] = asyncio.Queue()
        self.tie.listen(self.left.put_nowait)

    async def reason(self) -> str:
        async with asyncio.timeout(5):
            return await self.left.get()


@pytest.fixture
async def tied() -> AsyncIterator[Tied]:
    tied = Tied()
    yield tied
    asyncio.get_running_loop().remove_reader(tied.tie.fileno())
    tied.parent.close()
    tied.tie.close()


async def test_a_worker_leaves_for_the_reason_that_its_parent_gives(tied: Tied) -> None:
    tied.parent.send(b"SIG")
    tied.parent.send(b"TERM")
    tied.parent.shutdown(socket.SHUT_WR)

    assert await tied.reason() == "SIGTERM"
    assert tied.left.empty()


async def test_a_worker_leaves_when_its_parent_is_gone(tied: Tied) -> None:
    tied.parent.close()

    assert await tied.reason() == "the parent process is gone"


async def test_a_worker_says_once_that_it_has_found_everything(tied: Tied) -> None:
    for event in (LoopLagged(seconds=0.0), DAEMON_READY, DAEMON_READY):
        tied.tie(event)

    assert tied.parent.recv(100) == FOUND


# --- the child as its parent has it -----------------------------------------------------------------------------------

SILENT = "import time; time.sleep(60)"
EXITS = "import os; os.write(int(os.sys.argv[4]), b'fo'); os.write(int(os.sys.argv[4]), b'und\\n'); os._exit(3)"


def child(script: str, *, serves: bool = False) -> Child:
    return Child(2, [sys.executable, "-c", script], SystemClock(), serves=serves)


async def test_a_child_is_known_to_have_found_everything_and_how_it_ended() -> None:
    one = child(EXITS)
    one.start()

    assert await one.ended() == 3
    assert one.found.is_set()
    assert await one.ask("/livez") is None
    one.tell_to_leave("SIGTERM")  # and nothing happens


async def test_a_child_that_is_killed_has_not_found_anything() -> None:
    one = child(SILENT)
    one.start()
    one.kill()

    assert await one.ended() == -signal.SIGKILL
    assert not one.found.is_set()


async def test_a_child_that_does_not_answer_is_given_up_within_a_second() -> None:
    one = child(SILENT, serves=True)
    one.start()
    began = asyncio.get_running_loop().time()
    try:
        assert await one.ask("/livez") is None
        assert asyncio.get_running_loop().time() - began < 5
        assert one.newborn
    finally:
        one.kill()
        await one.ended()


def parent(script: str) -> Parent:
    names = {"POLLER_TABLE": "Orders", "POLLER_QUEUE": "jobs", "POLLER_HTTP__ENABLED": "false"}
    return Parent(load(names, None), [sys.executable, "-c", script], 2)


async def test_a_worker_that_does_not_leave_is_killed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poller.processes.parent.LEAVE_S", 0.1)
    one = parent(SILENT)
    living = asyncio.create_task(one.live())
    await asyncio.sleep(0)
    one.leave("SIGTERM")

    assert await living == [-signal.SIGKILL]  # the second one was never started


def test_a_worker_has_all_the_time_that_it_takes_to_leave_and_a_frozen_one_keeps_nobody_beyond_the_promise() -> None:
    assert Pace(checkpoint_s=1.0, discovery_s=60.0).leave_s + 0.5 <= LEAVE_S < 9.6  # and the process still has to end


FOUND_THEN = "import os, sys; tie = int(sys.argv[4]); os.write(tie, b'found\\n'); first = sys.argv[2] == '1'"
LEAVES_WHEN_TOLD = "print(os.read(tie, 100).decode(), flush=True) if first else os._exit(3)"


async def test_when_one_ends_by_itself_the_others_are_told_to_leave(capfd: pytest.CaptureFixture[str]) -> None:
    assert await parent(f"{FOUND_THEN}; {LEAVES_WHEN_TOLD}").live() == [0, 3]

    lines = capfd.readouterr().out.splitlines()
    assert "process 2 has ended" in lines
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert [one["event"] for one in logged] == [
        "process_started",
        "process_started",
        "process_ended",
        "daemon_stopping",
    ]
    assert (logged[2]["child"], logged[2]["by"]) == (2, "exit code 3")


async def test_a_server_takes_over_a_socket_that_listens_already() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = HttpServer({"/": lambda: Answer(b"here\n")})
    await server.start_on(socket.socket(fileno=os.dup(listening.fileno())))
    listening.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    assert (await reader.read()).endswith(b"\r\n\r\nhere\n")
    writer.close()
    await server.stop()
