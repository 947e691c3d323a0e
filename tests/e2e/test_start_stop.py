"""Starting and stopping as a supervisor does it: signals at any moment, AWS that is not there, output that is gone.

The daemon is a process before a stand-in. Whatever one run leaves behind, the next one does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.daemon import Daemon, wait_until
from tests.servers.credentials import CredentialsServer, Mood
from tests.servers.relay import Relay
from tests.standin import Fault, Kind, Remote, StandInProcess

# The promise. A process that does not keep it waits for ever, or for a time-out of minutes.
BOUND_S = 10.0
# However slow the machine: what has not happened by then does not happen.
PATIENCE_S = 60.0
SETTINGS = {
    "POLLER_HTTP_PORT": "0",
    "POLLER_CHECKPOINT__INTERVAL": "200ms",
    "POLLER_POLLING__IDLE_MIN": "50ms",
    "POLLER_POLLING__IDLE_MAX": "100ms",
}
ITEMS = ("a", "b", "c")
LATER = "d"


class Scene:
    """A table of that name with one shard, its queue and its dead-letter queue; daemons before them.

    A daemon has the name as its access key, so that a fault can be meant for it alone.
    """

    def __init__(self, remote: Remote, name: str, tmp_path: Path) -> None:
        self.remote = remote
        self.name = name
        self.table = "".join(filter(str.isalnum, name.title()))
        self.queue = f"{self.table}-jobs"
        self.shard = remote.stream(self.table).shards[0]
        remote.queue(self.queue)
        remote.queue(f"{self.queue}-dead")
        self._tmp_path = tmp_path

    def environment(self, access_key: str) -> dict[str, str]:
        names = {"POLLER_TABLE": self.table, "POLLER_QUEUE": self.queue}
        letters = {"POLLER_DEAD_LETTER_QUEUE": f"{self.queue}-dead"}
        return {"PATH": os.environ["PATH"], **self.remote.env(access_key), **SETTINGS, **names, **letters}

    def daemon(self, access_key: str | None = None, url: str | None = None) -> Daemon:
        """One with that access key, and a log of its own; `url`: where AWS is for it."""
        key = access_key or self.name
        elsewhere = {"AWS_ENDPOINT_URL": url} if url else {}
        log = self._tmp_path / f"{self.table}-{key.replace(' ', '-')}.jsonl"
        return Daemon({**self.environment(key), **elsewhere}, log)

    def upload(self, *items: str) -> None:
        """Changes that must be heard of."""
        image = {"phase": {"S": "FILE_UPLOAD_COMPLETE"}}
        self.remote.put(self.table, self.shard, *({"key": item, "new_image": image} for item in items))

    def received(self) -> list[str]:
        """The items that the queue has heard of."""
        bodies = (json.loads(arrival.body) for arrival in self.remote.arrived(self.queue))
        return [body["dynamodb"]["Keys"]["analysisRequestId"]["S"] for body in bodies]

    def until_received(self, *items: str) -> None:
        wait_until(lambda: set(items) <= set(self.received()), lambda: f"only {self.received()}", PATIENCE_S)

    def called(self, operation: str, outcome: str) -> bool:
        """Has a daemon of this scene's own access key made such a call?"""
        calls = self.remote.calls(operation)
        return any((call.access_key, call.outcome) == (self.name, outcome) for call in calls)

    def until_called(self, operation: str, outcome: str) -> None:
        wait_until(lambda: self.called(operation, outcome), lambda: f"no {outcome} of {operation}", PATIENCE_S)

    def owners(self) -> list[str]:
        """Who holds the leases."""
        rows = self.remote.rows(f"{self.table}-leases").values()
        return [row["leaseOwner"]["S"] for row in rows if "leaseOwner" in row]


def text_of(daemon: Daemon) -> list[str]:
    """What is in its output and is no line of its log: a traceback, say."""
    lines = daemon.log.read_text("utf-8").splitlines() if daemon.log.exists() else []
    return [line for line in lines if not line.startswith("{")]


def ended(process: subprocess.Popen[bytes], *signals: signal.Signals) -> tuple[int, float]:
    """Sends them; the exit code, and how many seconds it took from the first one on."""
    began = time.monotonic()
    for number in signals:
        process.send_signal(number)
    return process.wait(PATIENCE_S), time.monotonic() - began


# --- a signal at any moment -------------------------------------------------------------------------------------------


class Moment(NamedTuple):
    """When the signal comes: what does not work by then, and what has been seen of it.

    `operation` and `outcome` name a call of the daemon's that has come to this, `event` what it has said. `kept`: it
    cannot give its leases back, since their table does not answer.
    """

    name: str
    faults: Callable[[Scene], list[Fault]] = lambda scene: []
    operation: str = ""
    outcome: str = ""
    event: str = ""
    kept: bool = False

    def __str__(self) -> str:
        return self.name


def hanging(operation: str) -> Callable[[Scene], list[Fault]]:
    return lambda scene: [Fault(Kind.HANG, operation=operation, access_key=scene.name)]


def failing(operation: str) -> Callable[[Scene], list[Fault]]:
    return lambda scene: [Fault.unavailable(operation=operation, access_key=scene.name)]


def lease_table_hangs(scene: Scene) -> list[Fault]:
    return [Fault(Kind.HANG, operation="DescribeTable", table=f"{scene.table}-leases", access_key=scene.name)]


def lease_table_fails(scene: Scene) -> list[Fault]:
    return [Fault.internal(operation="DescribeTable", table=f"{scene.table}-leases", access_key=scene.name)]


def writes_hang(scene: Scene) -> list[Fault]:
    """From the first one on that follows on taking the lease."""
    return [Fault(Kind.HANG, operation="UpdateItem", access_key=scene.name, skip=1)]


MOMENTS = [
    # The longest first: nobody has its leases before they are over.
    Moment("with the lease table gone silent", writes_hang, "UpdateItem", "hang", kept=True),
    Moment("before the stream is found", hanging("DescribeTable"), "DescribeTable", "hang"),
    Moment("before the lease table answers", lease_table_hangs, "DescribeTable", "hang"),
    Moment("before the lease table works", lease_table_fails, event="startup_waiting"),
    Moment("while the lease table is being made", hanging("CreateTable"), "CreateTable", "hang"),
    Moment("during discovery", hanging("DescribeStream"), "DescribeStream", "hang"),
    Moment("while a page is awaited", hanging("GetRecords"), "GetRecords", "hang"),
    Moment("in a retry of a page", failing("GetRecords"), event="read_failing"),
    Moment("with the queue down", failing("SendMessageBatch"), event="queue_failing"),
    Moment("with the queue hanging", hanging("SendMessageBatch"), "SendMessageBatch", "hang"),
    Moment("when all is well", operation="SendMessageBatch", outcome="OK"),
]
SIGNALLED = [
    *((moment, signal.SIGTERM) for moment in MOMENTS),
    (MOMENTS[-1], signal.SIGINT),
]


class Left(NamedTuple):
    """How a daemon has left, and how the next one has found the place."""

    code: int
    seconds: float
    text: list[str]
    last_event: str
    owners: list[str]
    reasons: set[str]
    received: set[str]


def leave(moment: Moment, number: signal.Signals, remote: Remote, tmp_path: Path) -> Left:
    """Has records waiting, a signal sent at the moment, and another daemon do the rest."""
    scene = Scene(remote, f"{moment.name} {number.name}", tmp_path)
    for fault in moment.faults(scene):
        remote.fault(fault)
    scene.upload(*ITEMS)
    with scene.daemon() as daemon:
        if moment.operation:
            scene.until_called(moment.operation, moment.outcome)
        if moment.event:
            daemon.wait_for(moment.event)
        code, seconds = ended(daemon.process, number)
    owners = scene.owners()
    scene.upload(LATER)
    with scene.daemon("the next one") as following:
        scene.until_received(*ITEMS, LATER)
        following.terminate()
    reasons = {event["reason"] for event in following.events("lease_taken")}
    last = daemon.events()[-1]["event"]
    return Left(code, seconds, text_of(daemon), last, owners, reasons, set(scene.received()))


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with StandInProcess() as remote:
        yield remote


Leave = Callable[[Moment, signal.Signals], Left]


@pytest.fixture(scope="module")
def left(remote: Remote, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Leave]:
    """How a daemon left at a moment by a signal. All that are wanted run at the same time, a few at once."""
    tmp_path = tmp_path_factory.mktemp("moments")
    found = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = [(one["moment"], one["number"]) for one in found if "moment" in one]
    with ThreadPoolExecutor(max_workers=4) as threads:
        runs: dict[Any, Future[Left]] = {one: threads.submit(leave, *one, remote, tmp_path) for one in wanted}
        yield lambda moment, number: runs[moment, number].result()


@pytest.mark.parametrize(("moment", "number"), SIGNALLED, ids=lambda value: getattr(value, "name", ""))
def test_whenever_the_signal_comes_it_leaves_in_time_and_the_next_one_does_the_rest(
    moment: Moment, number: signal.Signals, left: Leave
) -> None:
    found = left(moment, number)

    assert (found.code, found.text, found.last_event) == (0, [], "daemon_stopped")
    assert found.seconds < BOUND_S
    assert found.received == {*ITEMS, LATER}
    if not moment.kept:
        assert found.owners == []
        assert found.reasons == {"unowned"}


def test_a_second_signal_ends_it_at_once_with_1(remote: Remote, tmp_path: Path) -> None:
    scene = Scene(remote, "twice", tmp_path)
    remote.fault(Fault(Kind.HANG, operation="SendMessageBatch", access_key=scene.name))
    scene.upload(*ITEMS)
    with scene.daemon() as daemon:
        scene.until_called("SendMessageBatch", "hang")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for("daemon_stopping")
        code, _ = ended(daemon.process, signal.SIGTERM)

    assert (code, text_of(daemon)) == (1, [])
    # The first signal alone would have waited for the queue, and then said that it is over.
    assert daemon.events("daemon_stopped") == []


@pytest.mark.parametrize("delay_s", [0.0, 0.25])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_right_after_the_start_is_no_accident(
    number: signal.Signals, delay_s: float, remote: Remote, tmp_path: Path
) -> None:
    daemon = Scene(remote, f"early {number.name} {delay_s:g}", tmp_path).daemon()
    with daemon:
        wait_until(lambda: heeds_signals(daemon.process.pid), daemon.tail, PATIENCE_S)
        time.sleep(delay_s)
        code, seconds = ended(daemon.process, number)

    assert (code, text_of(daemon)) == (0, [])
    assert seconds < BOUND_S


@pytest.mark.parametrize("arguments", [(), ("--processes", "2")], ids=["one process", "two"])
def test_sighup_right_after_the_start_is_heard_once_there_is_somebody_to_hear_it(
    arguments: tuple[str, ...], remote: Remote, tmp_path: Path
) -> None:
    scene = Scene(remote, f"early SIGHUP {len(arguments)}", tmp_path)
    with Daemon(scene.environment(scene.name), tmp_path / "log.jsonl", arguments) as daemon:
        wait_until(lambda: heeds_signals(daemon.process.pid), daemon.tail, PATIENCE_S)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("daemon_ready")
        code, _ = ended(daemon.process, signal.SIGTERM)

    assert (code, text_of(daemon)) == (0, [])


def heeds_signals(pid: int) -> bool:
    """Has the process got so far as to have handlers of its own? Python itself has none for SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    [caught] = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(caught >> (signal.SIGTERM - 1) & 1)


# --- AWS that is not there --------------------------------------------------------------------------------------------


def test_without_aws_it_waits_says_so_and_comes_up_by_itself(remote: Remote, tmp_path: Path) -> None:
    scene = Scene(remote, "no aws at first", tmp_path)
    scene.upload(*ITEMS)
    with Relay(int(remote.url.rpartition(":")[2])) as line:
        line.cut()
        with scene.daemon(url=line.url) as daemon:
            daemon.wait_for("startup_waiting", 2)
            time.sleep(2.0)  # long enough for it to ask again, and to say nothing of it
            livez = daemon.get("/livez")
            line.restore()
            scene.until_received(*ITEMS)
            code, _ = daemon.terminate()

    waited = daemon.events("startup_waiting")
    assert {wait["what"] for wait in waited} >= {"stream", f"queue {scene.queue}"}
    assert all("EndpointConnectionError" in wait["error"] for wait in waited)
    assert sorted(wait["what"] for wait in waited) == sorted(
        over["what"] for over in daemon.events("startup_continued")
    )
    assert livez == "ok\n"
    assert code == 0


def test_aws_may_be_away_for_a_while(remote: Remote, tmp_path: Path) -> None:
    scene = Scene(remote, "aws away", tmp_path)
    with Relay(int(remote.url.rpartition(":")[2])) as line, scene.daemon(url=line.url) as daemon:
        scene.upload(ITEMS[0])
        scene.until_received(ITEMS[0])
        line.cut()
        scene.upload(*ITEMS[1:])
        daemon.wait_for("read_failing")
        line.restore()
        daemon.wait_for("read_recovered")
        scene.until_received(*ITEMS)
        code, _ = daemon.terminate()

    assert (code, text_of(daemon), daemon.events("task_failed")) == (0, [], [])


def test_credentials_that_do_not_come_at_the_start_are_waited_for(remote: Remote, tmp_path: Path) -> None:
    scene = Scene(remote, "no credentials yet", tmp_path)
    with CredentialsServer() as credentials:
        credentials.moods[1] = Mood.FAILING
        environment = scene.environment(scene.name)
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            del environment[variable]
        environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = credentials.url(1)
        with Daemon(environment, tmp_path / "log.jsonl") as daemon:
            waiting = daemon.wait_for("startup_waiting")
            credentials.moods[1] = Mood.WELL
            scene.upload(*ITEMS)
            scene.until_received(*ITEMS)
            code, _ = daemon.terminate()

    assert "no usable AWS credentials are to be had" in waiting[0]["error"]
    assert code == 0


def test_a_helper_that_never_gives_credentials_does_not_hold_up_the_end(remote: Remote, tmp_path: Path) -> None:
    scene = Scene(remote, "a helper that hangs", tmp_path)
    helper, asked = tmp_path / "helper", tmp_path / "asked"
    helper.write_text(f"#!/bin/sh\ntouch '{asked}'\nexec sleep {PATIENCE_S:g}\n", "utf-8")
    helper.chmod(0o755)
    profile = tmp_path / "config"
    profile.write_text(f"[default]\ncredential_process = {helper}\n", "utf-8")
    environment = {**scene.environment(scene.name), "AWS_CONFIG_FILE": str(profile)}
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del environment[variable]
    with Daemon(environment, tmp_path / "log.jsonl") as daemon:
        wait_until(asked.exists, daemon.tail, PATIENCE_S)
        code, seconds = ended(daemon.process, signal.SIGTERM)

    assert (code, text_of(daemon)) == (0, [])
    assert seconds < BOUND_S


# --- output that is gone ----------------------------------------------------------------------------------------------


def test_without_a_reader_of_its_output_it_goes_on(remote: Remote, tmp_path: Path) -> None:
    scene = Scene(remote, "nobody reads", tmp_path)
    with subprocess.Popen(
        [sys.executable, "-m", "poller", "run"],
        env=scene.environment(scene.name),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        scene.upload(*ITEMS)
        scene.until_received(*ITEMS)
        code, seconds = ended(process, signal.SIGTERM)
        said = process.stderr.read().decode()

    assert said.startswith("poller: 'LogSink failed on ")
    assert said.endswith(": BrokenPipeError: [Errno 32] Broken pipe'; said once\n")
    assert said.count("\n") == 1
    assert code == 0
    assert seconds < BOUND_S
    assert scene.owners() == []


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_with_standard_descriptors_closed_it_works_and_leaves_in_order(
    closed: str, remote: Remote, tmp_path: Path
) -> None:
    scene = Scene(remote, f"closed {len(closed)} {closed[0]}", tmp_path)
    shell = ["sh", "-c", f"exec {sys.executable} -m poller run {closed}"]
    with subprocess.Popen(shell, env=scene.environment(scene.name)) as process:
        scene.upload(*ITEMS)
        scene.until_received(*ITEMS)
        code, _ = ended(process, signal.SIGTERM)

    assert code == 0
    assert scene.owners() == []


def test_with_a_reader_of_its_output_that_stands_still_it_goes_on(remote: Remote, tmp_path: Path) -> None:
    scene = Scene(remote, "nobody reads on", tmp_path)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while os.write(writer, b"x" * 4096):
            pass
    os.set_blocking(writer, True)
    with subprocess.Popen(
        [sys.executable, "-m", "poller", "run"], env=scene.environment(scene.name), stdout=writer, stderr=writer
    ) as process:
        os.close(writer)
        scene.upload(*ITEMS)
        scene.until_received(*ITEMS)
        code, seconds = ended(process, signal.SIGTERM)
    os.close(reader)

    assert code == 0
    assert seconds < BOUND_S
    assert scene.owners() == []
