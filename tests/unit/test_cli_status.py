"""`poller status` and `poller top --once`: what they make of what a daemon tells, whoever that is."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from click.testing import CliRunner, Result

from poller import cli
from poller.events import (
    DaemonReady,
    DaemonStarting,
    Delivered,
    Discovered,
    FleetSeen,
    LeaseTaken,
    PageRead,
    QueueFailing,
    RouteWaiting,
    SeenLease,
)
from poller.model import Lease
from poller.observe.status import Report
from poller.observe.watch import Watch
from poller.operate.panel import draw
from poller.operate.told import told
from poller.settings import load
from tests.pages import PageServer, serving
from tests.still import EPOCH_S, StillClock

STREAM, ROUTE, ME = "Uploads", "default", "worker-1"


def report(shards: int = 3, *, table: str = STREAM, queue: str = "jobs") -> tuple[Report, Watch]:
    """Of a daemon that reads so many shards."""
    settings = load({"POLLER_TABLE": table, "POLLER_QUEUE": queue, "POLLER_WORKER_ID": ME}, None)
    watch = Watch([ROUTE], StillClock().monotonic)
    rows = [SeenLease(Lease(f"shardId-{number:020}-ab", owner=ME), "reading") for number in range(shards)]
    watch(DaemonStarting(version="1", worker_id=ME))
    watch(DaemonReady(stream=table, stream_arn="arn", view_type="NEW_IMAGE", lease_table="leases", routes=(ROUTE,)))
    watch(Discovered(stream=table, shards=shards, created=0, seconds=0.1))
    for row in rows:
        shard = row.lease.shard_id
        watch(LeaseTaken(stream=table, shard=shard, reason="unowned", previous_owner=None, checkpoint="TRIM_HORIZON"))
        watch(
            PageRead(
                stream=table,
                shard=shard,
                size_bytes=1,
                events={"MODIFY": 5},
                matched={ROUTE: 2},
                filtered={ROUTE: 3},
                behind_s=0.4,
                polled_at_s=EPOCH_S,
            )
        )
    watch(FleetSeen(stream=table, shards={"reading": shards}, held=shards, workers=1, rows=tuple(rows)))
    return Report(watch.known, settings, StillClock()), watch


def break_queue(watch: Watch, error: str = "AccessDenied: no") -> None:
    watch(QueueFailing(stream=STREAM, route=ROUTE, queue="jobs", code="x", error=error, failing_s=250.0, waiting=1204))
    watch(RouteWaiting(stream=STREAM, route=ROUTE, waiting=1204, dead_letters=0))


class Daemon(PageServer):
    """Serves the status of a report, or whatever else `said` is."""

    def __init__(self) -> None:
        super().__init__()
        self.report, self.watch = report()
        self.said: bytes | None = None

    def answer(self, path: str, query: Mapping[str, str]) -> tuple[int, bytes]:
        body = self.report.status(query).body if self.said is None else self.said
        return (200 if path == "/status" else 404), body


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with serving(Daemon()) as server:
        yield server


def poller(*arguments: str) -> Result:
    return CliRunner().invoke(cli.commands, arguments, prog_name="poller")


COMMANDS = [("status",), ("top", "--once")]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_ready_daemon_is_exit_code_0_with_verdict_flow_route_and_shards(
    daemon: Daemon, command: tuple[str, ...]
) -> None:
    result = poller(*command, "--url", daemon.url)
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines[0] == f"{STREAM}  worker {ME}, up 0.0 s"
    assert lines[1] == "OK  All 3 shards are read; 0.4 s behind; nothing retrying."
    assert "15 since the start" in result.stdout
    assert any(line.startswith("default  jobs") for line in lines)
    assert sum(" reading " in line for line in lines) == 3
    assert lines[-1] == f"workers: {ME} (this one): 3 shards"


@pytest.mark.parametrize("command", COMMANDS)
def test_one_that_is_not_is_exit_code_1_with_the_reasons(daemon: Daemon, command: tuple[str, ...]) -> None:
    break_queue(daemon.watch)
    result = poller(*command, "--url", daemon.url)
    assert result.exit_code == 1
    assert "TROUBLE  Queue jobs has refused everything for 4 min 10 s; 1,204 records wait." in result.stdout
    assert "queue of route default for 4 min 10 s: It takes no messages: AccessDenied: no." in result.stdout
    assert "refuses for 4 min 10 s" in result.stdout


def test_of_a_queue_it_says_that_it_takes_messages_once_it_has_taken_one(daemon: Daemon) -> None:
    assert "none taken yet" in poller("status", "--url", daemon.url).stdout
    daemon.watch(Delivered(stream=STREAM, route=ROUTE, count=1, latencies_s=(0.1,)))
    assert "takes messages" in poller("status", "--url", daemon.url).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_what_the_daemon_tells_with_the_same_exit_codes(daemon: Daemon, command: tuple[str, ...]) -> None:
    result = poller(*command, "--url", daemon.url, "--json")
    assert (result.exit_code, json.loads(result.stdout)["verdict"]["level"]) == (0, "ok")
    break_queue(daemon.watch)
    result = poller(*command, "--url", daemon.url, "--json")
    assert (result.exit_code, json.loads(result.stdout)["verdict"]["level"]) == (1, "trouble")


def test_status_as_json_is_all_that_is_known(daemon: Daemon) -> None:
    document = json.loads(poller("status", "--url", daemon.url, "--json").stdout)
    assert document == json.loads(daemon.report.status().body)


def test_as_many_shards_as_are_asked_for_are_shown_and_the_others_counted(daemon: Daemon) -> None:
    daemon.report, _ = report(30)
    assert "and 10 more shards\n" in poller("status", "--url", daemon.url).stdout.replace("shards  ", "shards")
    assert "and 28 more shards" in poller("status", "--url", daemon.url, "--shards", "2").stdout
    assert "more shard" not in poller("status", "--url", daemon.url, "--shards", "100").stdout


@pytest.mark.parametrize("command", [*COMMANDS, ("top",), ("top", "--json"), ("status", "--json")])
def test_when_nobody_answers_one_line_says_where_and_what_to_do(command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    result = poller(*command, "--url", f"http://127.0.0.1:{port}")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith(f"poller: no answer from http://127.0.0.1:{port}/status: ")
    assert "start the daemon (`poller run`), or say where it serves: --url" in result.stderr


def test_what_is_no_daemon_is_said_in_one_line(daemon: Daemon) -> None:
    for said in (b"<html>", b"[]", b"{}", b'{"streams": []}', b'{"verdict": 1}'):
        daemon.said = said
        result = poller("status", "--url", daemon.url)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
        assert "look at --url" in result.stderr
    assert "answers 404" in poller("status", "--url", f"{daemon.url}/elsewhere").stderr


@pytest.mark.parametrize(
    "arguments",
    [("--url", "ftp://x"), ("--timeout", "5"), ("--shards", "-1"), ("--every", "1s"), ("--unknown",)],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    assert poller("status", *arguments).exit_code == 2


@pytest.mark.parametrize("command", ["status", "top"])
def test_help_has_an_example(command: str) -> None:
    result = poller(command, "--help")
    assert (result.exit_code, f"  poller {command} --" in result.stdout) == (0, True)


def test_an_error_with_control_characters_moves_no_cursor(daemon: Daemon) -> None:
    break_queue(daemon.watch, error="\x1b[2J\x1b]0;owned\x07 [bold]no[/bold]")
    shown = poller("status", "--url", daemon.url).stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[bold]no[/bold]" in shown


def document(made: Report) -> Any:
    return json.loads(made.status().body)


def test_several_streams_are_told_one_below_the_other_under_one_verdict() -> None:
    first, second = document(report()[0]), document(report(table="Orders")[0])
    both = first | {"streams": [first, second], "verdict": {"level": "ok", "text": "All is well."}}
    seen = told(both)
    assert (seen.ready, seen.text, [one.name for one in seen.streams]) == (True, "All is well.", ["Uploads", "Orders"])
    assert drawn(seen).index("All is well.") < drawn(seen).index("Uploads") < drawn(seen).index("Orders")


def test_of_several_processes_the_one_that_does_not_answer_is_the_worst() -> None:
    processes = [
        {"process": 0, "started_at": "2026-11-23T08:00:00Z", "status": document(report()[0])},
        {"process": 1, "started_at": "2026-11-23T08:00:00Z", "status": None},
    ]
    seen = told({"now": "2026-11-23T08:00:00Z", "processes": processes})
    assert (seen.ready, seen.level, seen.text) == (False, "trouble", "process 1: It does not answer.")
    assert "process 0: Uploads" in drawn(seen)


def test_the_verdict_on_several_processes_is_their_parents_where_it_tells_one() -> None:
    starts = {"level": "starting", "text": "It is started soon."}
    processes = [
        {"process": 1, "started_at": "2026-11-23T08:00:00Z", "status": document(report()[0])},
        {"process": 2, "started_at": None, "status": None, "verdict": starts},
    ]
    whole = {"level": "starting", "text": "Process 2: It is started soon."}
    seen = told({"now": "2026-11-23T08:00:00Z", "verdict": whole, "ready": False, "processes": processes})

    assert (seen.ready, seen.level, seen.text) == (False, "starting", "Process 2: It is started soon.")
    assert drawn(seen).startswith(" STARTING  Process 2: It is started soon.")
    assert [(one.name, one.text) for one in seen.streams][1] == ("process 2", "It is started soon.")


def drawn(seen: Any) -> str:
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as capture:
        console.print(draw(seen, 5))
    return capture.get()


def test_what_it_costs_is_told_where_it_is_known() -> None:
    told_costs = document(report()[0]) | {"estimated_cost_usd_per_month": {"stream_reads": 0.5, "queue": 1.25}}
    assert drawn(told(told_costs)).endswith(
        "cost: this worker's requests come to 1.75 USD a month, by the last 15 minutes\n"
    )
    assert "cost:" not in drawn(told(document(report()[0])))
