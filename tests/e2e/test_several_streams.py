"""Two streams in one process: each with a file, routes and a lease table of its own, and neither harms the other.

The daemon is a process before a stand-in, which fails for one of the streams only.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.command import Ended, poller
from tests.e2e.daemon import Daemon, wait_until
from tests.standin import Fault, Kind, Remote, StandInProcess

BOUND_S = 10.0
SETTINGS = {
    "POLLER_LEASE__DURATION": "3s",
    "POLLER_AWS__REQUEST_TIMEOUT": "900ms",
    "POLLER_AWS__CONNECT_TIMEOUT": "900ms",
    "POLLER_CHECKPOINT__INTERVAL": "100ms",
    "POLLER_POLLING__IDLE_MIN": "50ms",
    "POLLER_POLLING__IDLE_MAX": "100ms",
}
NO_SUCH_QUEUE = "there is no such queue in us-east-1; make it (`poller init`), or mend the name"
WRITES = ("CreateTable", "PutItem", "UpdateItem", "DeleteItem", "SendMessage", "SendMessageBatch")
# What counts something that went wrong, if it is above 0.
TROUBLES = re.compile(
    r"poller_(send_errors_total|records_lost_total|records_dead_lettered_total|records_resent_total|leases_lost_total"
    r'|lease_operations_total\{.*result="error"|checkpoints_total\{.*result="error"|discoveries_total\{.*result="error")'
)


class Application:
    """A table with its stream, its queues and its settings file."""

    def __init__(self, remote: Remote, table: str, folder: Path) -> None:
        self.remote = remote
        self.table = table
        self.queue = f"{table}-jobs"
        self.leases = f"{table}-leases"
        self.shard = remote.stream(table).shards[0]
        remote.queue(self.queue)
        remote.queue(f"{table}-dead")
        self.file = folder / f"{table}.toml"
        self.write(self.queue)

    def write(self, queue: str) -> None:
        """The file, with that queue."""
        stream = f'[stream]\ntable = "{self.table}"\n'
        self.file.write_text(
            f'{stream}[[route]]\nqueue = "{queue}"\ndead_letter_queue = "{self.table}-dead"\n', "utf-8"
        )

    def upload(self, item: str) -> None:
        image = {"phase": {"S": "FILE_UPLOAD_COMPLETE"}}
        self.remote.put(self.table, self.shard, {"key": item, "new_image": image})

    def received(self) -> list[str]:
        bodies = (json.loads(arrival.body) for arrival in self.remote.arrived(self.queue))
        return [body["dynamodb"]["Keys"]["analysisRequestId"]["S"] for body in bodies]

    def until_received(self, *items: str) -> None:
        wait_until(lambda: set(items) <= set(self.received()), lambda: f"{self.table}: only {self.received()}")

    def owners(self) -> list[str]:
        return [row["leaseOwner"]["S"] for row in self.remote.rows(self.leases).values() if "leaseOwner" in row]


class Pair:
    """Two applications, and a daemon for both that is not started yet. It is the first that must not be harmed."""

    def __init__(self, remote: Remote, name: str, folder: Path) -> None:
        self.remote = remote
        self.name = name
        self.well = Application(remote, f"{name}Well", folder)
        self.ill = Application(remote, f"{name}Ill", folder)
        self.arguments = ("--config", str(self.well.file), "--config", str(self.ill.file))
        self.environment = {**remote.env(name), **SETTINGS}
        self.daemon = Daemon(self.environment, folder / "log.jsonl", self.arguments)

    def ask(self, page: str) -> tuple[int, str]:
        address = urlsplit(str(self.daemon.wait_for("http_listening")[-1]["url"]))
        connection = HTTPConnection(str(address.hostname), address.port, timeout=BOUND_S)
        try:
            connection.request("GET", page)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def reasons(self) -> list[tuple[str, str]]:
        """What /readyz has against the daemon: the stream and its part."""
        status, body = self.ask("/readyz")
        answer = json.loads(body)
        assert answer["ready"] is (status == 200) is (not answer["reasons"])
        return [(reason["stream"], reason["part"]) for reason in answer["reasons"]]

    def until_ready(self) -> None:
        wait_until(lambda: self.reasons() == [], lambda: f"{self.ask('/readyz')}\n{self.daemon.tail()}")

    def until_not_ready(self, part: str) -> None:
        """Waits until the ill one is not ready for that reason, and the well one has none."""
        wait_until(
            lambda: (self.ill.table, part) in self.reasons(), lambda: f"{self.ask('/readyz')}\n{self.daemon.tail()}"
        )
        assert {stream for stream, _ in self.reasons()} == {self.ill.table}

    def troubles(self, application: Application) -> list[str]:
        """The series of its stream that count something that went wrong."""
        lines = self.ask("/metrics")[1].splitlines()
        counted = [line for line in lines if TROUBLES.match(line) and not line.endswith(" 0.0")]
        return [line for line in counted if f'stream="{application.table}"' in line]

    def run(self) -> Ended:
        """`poller run` to an end that it must find by itself."""
        return poller("run", *self.arguments, environment={**self.environment, "POLLER_HTTP_PORT": "0"})

    def outcomes(self, operation: str) -> list[str]:
        """What has become of the daemon's calls."""
        return [call.outcome for call in self.remote.calls(operation) if call.access_key == self.name]

    def written(self) -> list[str]:
        """The operations by which it has tried to change something."""
        return [operation for operation in WRITES if self.outcomes(operation)]


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with StandInProcess() as remote:
        yield remote


@pytest.fixture
def pair(remote: Remote, tmp_path: Path, unique: Callable[[str], str]) -> Iterator[Pair]:
    pair = Pair(remote, unique("T"), tmp_path)
    try:
        yield pair
    finally:
        remote.clear_faults()
        pair.daemon.__exit__()


@pytest.fixture
def ready(pair: Pair) -> Pair:
    pair.daemon.start()
    pair.until_ready()
    return pair


# --- side by side -----------------------------------------------------------------------------------------------------


def test_two_streams_are_delivered_each_to_its_queue_with_places_of_its_own(ready: Pair) -> None:
    ready.well.upload("a")
    ready.ill.upload("b")
    ready.well.until_received("a")
    ready.ill.until_received("b")

    assert (ready.well.received(), ready.ill.received()) == (["a"], ["b"])
    assert len(ready.well.owners()) == len(ready.ill.owners()) == 1
    assert [event["stream"] for event in ready.daemon.events("lease_taken")].count(ready.well.table) == 1
    assert {event["stream"] for event in ready.daemon.events("daemon_ready")} == {ready.well.table, ready.ill.table}
    assert len(ready.daemon.events("daemon_starting")) == len(ready.daemon.events("http_listening")) == 1


def test_the_status_has_both_streams_side_by_side_and_the_metrics_keep_them_apart(ready: Pair) -> None:
    ready.well.upload("a")
    ready.well.until_received("a")
    delivered = 'poller_records_delivered_total{{route="default",stream="{}"}} {}'.format
    wait_until(lambda: delivered(ready.well.table, "1.0") in sorted_labels(ready.ask("/metrics")[1]), ready.daemon.tail)
    status: dict[str, Any] = json.loads(ready.ask("/status")[1])

    assert delivered(ready.ill.table, "0.0") in sorted_labels(ready.ask("/metrics")[1])
    assert (status["ready"], "stream" in status, "routes" in status) == (True, False, False)
    assert [one["stream"]["table"] for one in status["streams"]] == [ready.well.table, ready.ill.table]
    assert [one["lease_table"]["name"] for one in status["streams"]] == [ready.well.leases, ready.ill.leases]
    assert [one["routes"][0]["delivered"] for one in status["streams"]] == [1, 0]
    assert {shard["owner"] for one in status["streams"] for shard in one["shards"]} == {status["worker_id"]}


def sorted_labels(exposition: str) -> str:
    """The exposition with each series' labels in alphabetical order."""
    return re.sub(r"\{(.*?)\}", lambda match: "{" + ",".join(sorted(match[1].split(","))) + "}", exposition)


# --- trouble with one of them -----------------------------------------------------------------------------------------


def stream_hangs(pair: Pair) -> None:
    pair.remote.fault(Fault(Kind.HANG, operation="GetRecords", table=pair.ill.table))


def queue_fails(pair: Pair) -> None:
    pair.remote.queue_down(pair.ill.queue)


def queue_hangs(pair: Pair) -> None:
    pair.remote.fault(Fault(Kind.HANG, operation="SendMessageBatch", queue=pair.ill.queue))


def lease_table_fails(pair: Pair) -> None:
    pair.remote.fault(Fault.internal(table=pair.ill.leases))


TROUBLE = [
    pytest.param(stream_hangs, "shard {shard}", id="its stream hangs"),
    pytest.param(queue_fails, "queue of route default", id="its queue fails"),
    pytest.param(queue_hangs, "queue of route default", id="its queue hangs"),
    pytest.param(lease_table_fails, "lease table", id="its lease table fails"),
]


@pytest.mark.parametrize(("fail", "part"), TROUBLE)
def test_what_fails_for_one_stream_is_told_of_it_and_leaves_the_other_delivering(
    ready: Pair, fail: Callable[[Pair], None], part: str
) -> None:
    fail(ready)
    ready.ill.upload("waits")
    ready.until_not_ready(part.format(shard=ready.ill.shard))
    ready.well.upload("a")
    ready.well.until_received("a")

    assert {stream for stream, _ in ready.reasons()} == {ready.ill.table}
    assert ready.troubles(ready.well) == []
    assert json.loads(ready.ask("/status")[1])["streams"][0]["ready"] is True
    ready.remote.clear_faults()
    ready.remote.queue_up(ready.ill.queue)
    ready.ill.until_received("waits")
    ready.until_ready()


def test_the_health_check_says_of_which_stream_it_speaks(ready: Pair) -> None:
    queue_fails(ready)
    ready.ill.upload("waits")
    ready.until_not_ready("queue of route default")
    url = ready.daemon.events("http_listening")[0]["url"]
    checked = poller("healthcheck", "--url", url, environment={})

    assert checked.code == 1
    assert f"\n  stream {ready.ill.table}: queue of route default (since " in checked.out


# --- the start --------------------------------------------------------------------------------------------------------


def test_a_stream_that_waits_for_aws_holds_the_other_one_up_no_longer_than_it_is_asked(pair: Pair) -> None:
    pair.remote.fault(Fault.unavailable(operation="DescribeTable", table=pair.ill.table))
    pair.well.upload("a")
    pair.ill.upload("b")
    pair.daemon.start()
    pair.well.until_received("a")
    pair.until_not_ready("start")

    assert {event["stream"] for event in pair.daemon.events("startup_waiting")} == {pair.ill.table}
    assert pair.ill.received() == []
    pair.remote.clear_faults()
    pair.ill.until_received("b")
    pair.until_ready()


def test_a_stream_whose_aws_hangs_does_not_hold_the_other_one_up(pair: Pair) -> None:
    pair.remote.fault(Fault(Kind.HANG, operation="DescribeTable", table=pair.ill.table))
    pair.well.upload("a")
    pair.daemon.start()
    pair.well.until_received("a")

    assert pair.ill.owners() == []


def test_settings_that_prove_wrong_while_the_other_stream_is_at_work_are_told_and_tried_again(pair: Pair) -> None:
    pair.ill.write("none")
    pair.remote.fault(Fault.unavailable(operation="GetQueueUrl", queue="none"))
    pair.well.upload("a")
    pair.ill.upload("b")
    pair.daemon.start()
    pair.well.until_received("a")
    pair.remote.clear_faults()
    [failed, *_] = pair.daemon.wait_for("startup_failed")
    pair.until_not_ready("start")
    pair.well.upload("c")
    pair.well.until_received("c")

    assert failed["stream"] == pair.ill.table
    assert failed["error"] == f'route.queue = "none" ({pair.ill.file}, line 4): {NO_SUCH_QUEUE}'
    pair.remote.queue("none")
    pair.until_ready()
    code, _ = pair.daemon.terminate()
    assert code == 0


@pytest.mark.parametrize("slow", ["the wrong one", "the other one"])
def test_settings_that_are_wrong_at_the_start_end_the_process_with_2_before_anything_is_written(
    pair: Pair, slow: str
) -> None:
    pair.ill.write("nowhere")
    queue = "nowhere" if slow == "the wrong one" else pair.well.queue
    pair.remote.fault(Fault(Kind.DELAY, operation="GetQueueUrl", queue=queue, delay_s=0.5))
    ended = pair.run()

    line = f'poller: route.queue = "nowhere" ({pair.ill.file}, line 4): {NO_SUCH_QUEUE}\n'
    assert (ended.code, ended.err) == (2, line)
    assert pair.written() == []


def test_a_lease_table_that_is_none_ends_the_process_before_the_other_ones_is_made(pair: Pair) -> None:
    pair.ill.file.write_text(f'{pair.ill.file.read_text("utf-8")}[lease]\ntable = "{pair.ill.table}-dead"\n', "utf-8")
    pair.remote.stream(f"{pair.ill.table}-dead")
    ended = pair.run()

    assert ended.code == 2
    assert ended.err == (
        f"poller: {pair.ill.file}: POLLER_LEASE_TABLE={pair.ill.table}-dead: its key is analysisRequestId (S),"
        " a lease table's is leaseKey (S): name another table\n"
    )
    assert pair.written() == []


# --- the end ----------------------------------------------------------------------------------------------------------


def test_both_leave_at_the_same_time_and_soon(ready: Pair) -> None:
    code, seconds = ready.daemon.terminate()

    assert code == 0
    assert seconds < BOUND_S
    assert ready.well.owners() == ready.ill.owners() == []
    assert [event["clean"] for event in ready.daemon.events("daemon_stopped")] == [True]


def test_one_that_cannot_leave_in_order_keeps_the_other_from_nothing(ready: Pair) -> None:
    queue_hangs(ready)
    ready.ill.upload("waits")
    wait_until(lambda: "hang" in ready.outcomes("SendMessageBatch"), ready.daemon.tail)
    process, began = ready.daemon.process, time.monotonic()
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: ready.well.owners() == [], ready.daemon.tail)
    well_s = time.monotonic() - began
    code = process.wait(60)

    assert (code, time.monotonic() - began < BOUND_S) == (0, True)
    assert well_s < time.monotonic() - began
    assert [event["clean"] for event in ready.daemon.events("daemon_stopped")] == [False]


def test_a_signal_during_the_start_ends_both(pair: Pair) -> None:
    pair.remote.fault(Fault.unavailable(operation="DescribeTable"))
    pair.daemon.start()
    pair.daemon.wait_for("startup_waiting", 2)
    code, seconds = pair.daemon.terminate()

    assert code == 0
    assert seconds < BOUND_S


# --- before it runs ---------------------------------------------------------------------------------------------------


def test_check_tells_of_each_application_what_it_finds_and_ends_with_the_worst_of_it(pair: Pair) -> None:
    pair.ill.write("nowhere")
    told = poller("check", *pair.arguments, environment=pair.environment)
    rows = poller("check", *pair.arguments, "--json", environment=pair.environment).json

    assert told.code == 2
    headings = [line for line in told.lines if line.startswith("--- ")]
    assert headings == [f"--- {one.file}: stream {one.table}" for one in (pair.well, pair.ill)]
    assert told.lines[-1] == "1 fault, 0 warnings: with these settings `poller run` would not start"
    assert {row["stream"] for row in rows} == {pair.well.table, pair.ill.table}
    assert [row["stream"] for row in rows if row["level"] == "fault"] == [pair.ill.table]
    assert pair.written() == []
