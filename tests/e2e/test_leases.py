"""`poller leases` and what can be done with it, as a user types it: what is shown, what is written, the exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from poller.aws.lease_rows import item_of, lease_of
from poller.model import AT_TIMESTAMP, SHARD_END, TRIM_HORIZON, Lease
from tests.e2e.command import Ended, endpoints, poller
from tests.e2e.daemon import DEADLINE_S, Daemon, wait_until
from tests.e2e.story import CREDENTIALS, Mailbox, Table, dynamodb, sqs
from tests.e2e.terminal import Terminal
from tests.standin import Fault, Remote, StandInProcess, World
from tests.standin.world import credentials

TABLE = "AnalysisMetadataTable"
LEASES = f"{TABLE}-leases"
# A short lease, and time-outs that a busy machine keeps all the same.
BRIEF = {
    "POLLER_LEASE__DURATION": "3s",
    "POLLER_AWS__REQUEST_TIMEOUT": "900ms",
    "POLLER_AWS__CONNECT_TIMEOUT": "900ms",
}
SETTINGS = {"POLLER_TABLE": TABLE, "POLLER_QUEUE": "jobs", "POLLER_DEAD_LETTER_QUEUE": "dead-letters", **BRIEF}
WRITES = ("CreateTable", "PutItem", "UpdateItem", "DeleteItem", "SendMessageBatch")


class Site:
    """The stand-in with a stream of one shard, its lease table, and the command before them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stream = world.stream(TABLE)
        self.shard = self.stream.add_shard()
        self.table = world.table(LEASES)

    def environment(self, **settings: str) -> dict[str, str]:
        given = {**credentials("us-east-1", "test"), "AWS_ENDPOINT_URL": self.world.url, **SETTINGS, **settings}
        return {name: value for name, value in given.items() if value}

    async def leases(self, *arguments: str, **settings: str) -> Ended:
        return await asyncio.to_thread(poller, "leases", *arguments, environment=self.environment(**settings))

    def put(self, shard_id: str | None = None, owner: str | None = None, **fields: Any) -> Lease:
        """A row of the lease table."""
        own = {"poller_owner": owner, "stream_arn": self.stream.arn, "counter": 7, **fields}
        lease = Lease(shard_id or self.shard.shard_id, owner=owner, **own)
        self.replace(lease)
        return lease

    def replace(self, lease: Lease) -> None:
        item: Any = item_of(lease)
        self.table.items[lease.shard_id] = item

    def row(self, shard_id: str | None = None) -> Lease:
        item: Any = self.table.items[shard_id or self.shard.shard_id]
        lease = lease_of(item)
        assert lease is not None
        return lease

    def records(self, count: int = 3, age_s: float = 60.0) -> list[str]:
        """So many records, created so long ago; their sequence numbers."""
        created_s = self.world.clock.wall() - age_s
        return [self.shard.put(f"item-{number}", created_s=created_s).sequence_number for number in range(count)]

    @asynccontextmanager
    async def at_work(self, shard_id: str | None = None) -> AsyncIterator[None]:
        """The row's owner renews it, as a living one does."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(0.05)
                self.replace(self.row(shard_id).renewed())

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()

    def written(self) -> list[str]:
        return [operation for operation in WRITES if self.world.count(operation)]


@pytest.fixture
async def site(world: World) -> Site:
    return Site(world)


# --- the table --------------------------------------------------------------------------------------------------------


async def test_it_shows_each_shard_with_its_state_owner_checkpoint_parents_and_children(site: Site) -> None:
    site.put("shard-1", "worker-1", checkpoint="5", checkpoint_time_ms=1_795_629_000_000)
    site.put("shard-2", "worker-2", poller_owner=None)
    site.put("shard-3", parents=frozenset({"shard-1"}))
    site.put("shard-4")
    site.put("shard-0", checkpoint=SHARD_END, children=frozenset({"shard-1"}))
    async with site.at_work("shard-1"):
        ended = await site.leases("--look-for", "500ms")

    assert (ended.code, ended.err) == (0, "")
    head, *owners = ended.lines[:3]
    assert head == f"{LEASES}: 5 shards: 1 reading, 1 held, 1 unowned, 1 waiting, 1 finished"
    assert [owner.split(", ")[0] for owner in owners] == ["  worker-1: 1 shard", "  worker-2 (KCL): 1 shard"]
    assert [line.split()[:2] for line in ended.lines[5:]] == [
        ["shard-1", "reading"],
        ["shard-2", "held"],
        ["shard-3", "waiting"],
        ["shard-4", "unowned"],
        ["shard-0", "finished"],
    ]
    assert ended.lines[5].split()[2:3] + ended.lines[5].split()[4:] == [
        "worker-1",
        "5",
        "2026-11-25T17:50:00Z",
        "-",
        "-",
    ]
    assert site.written() == []


async def test_json_is_one_document(site: Site) -> None:
    site.put("shard-1", "worker-1")
    ended = await site.leases("--json", "--look-for", "0s")

    assert (ended.code, ended.err) == (0, "")
    assert (ended.document["table"], ended.document["looks"], ended.document["states"]) == (LEASES, 1, {"held": 1})
    (lease,) = ended.document["leases"]
    assert (lease["shard"], lease["owner"], lease["stream_arn"]) == ("shard-1", "worker-1", site.stream.arn)


async def test_finished_shards_are_shown_when_asked_for(site: Site) -> None:
    for number in range(6):
        site.put(f"shard-{number}", checkpoint=SHARD_END)

    assert "and 6 finished shards (--all shows them)" in (await site.leases()).lines
    assert len([line for line in (await site.leases("--all")).lines if "SHARD_END" in line]) == 6


async def test_on_a_terminal_it_is_as_wide_as_that(site: Site) -> None:
    site.put("shardId-00000001712345678901-7d3f2a1b", "a-worker-with-a-long-name:1:5be1a7c2")

    def look() -> tuple[int, str]:
        with Terminal("leases", "--look-for", "0s", environment=site.environment(), columns=80) as terminal:
            return terminal.ended(), terminal.shown

    code, shown = await asyncio.to_thread(look)
    assert code == 0
    assert "…7d3f2a1b" in shown
    assert "shardId-" not in shown


async def test_a_row_that_is_no_lease_is_said_and_hides_no_other(site: Site) -> None:
    site.put("shard-1")
    site.table.items["stray"] = {"leaseKey": {"S": "stray"}}
    ended = await site.leases()

    assert ended.code == 0
    assert "1 unowned" in ended.lines[0]
    assert "the row stray is no lease and is passed over" in ended.err


async def test_a_table_that_is_not_there_is_one_line_and_exit_code_1(site: Site) -> None:
    ended = await site.leases(POLLER_LEASE_TABLE="nowhere")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "poller: there is no lease table nowhere in us-east-1: no worker has made it yet, or POLLER_LEASE_TABLE names"
        " another\n"
    )


async def test_a_table_that_is_no_lease_table_is_one_line_and_exit_code_2(site: Site) -> None:
    site.world.table("Things", "id")
    ended = await site.leases(POLLER_LEASE_TABLE="Things")

    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "its key is id (S), a lease table's is leaseKey (S)" in ended.err


async def test_a_table_that_does_not_answer_is_one_line_and_exit_code_1(site: Site) -> None:
    site.world.faults.add(Fault.throttle(operation="Scan"))
    ended = await site.leases()

    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith(f"poller: Scan on {LEASES}: throttled")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--every", "1s"), "--every goes with --watch."),
        (("--watch", "--look-for", "1s"), "--look-for goes without --watch"),
        (("--look-for", "4"), 'a duration needs its unit; write "4s" or "4ms"'),
        (("--json", "release", "x"), "--json belongs behind `poller leases release`."),
        (("--watch", "release", "x"), "--watch shows the table; it does not go with `release`."),
        (("releas", "x"), "No such command 'releas'"),
        (("release",), "Missing argument 'SHARD'"),
        (("set", "x"), "Missing option '--to'"),
        (("set", "x", "--to", "77"), "not a sequence number: those have 21 to 40 digits"),
        (("set", "x", "--to", "SHARD_END"), "must be TRIM_HORIZON, LATEST or a time such as"),
        (("--config", "nowhere.toml", "release", "x"), "nowhere.toml"),
        (("--config", "elsewhere.toml", "set", "x", "--to", "LATEST", "--config", "nowhere.toml"), "nowhere.toml"),
    ],
)
def test_wrong_usage_ends_with_exit_code_2(arguments: tuple[str, ...], fault: str) -> None:
    ended = poller("leases", *arguments, environment=SETTINGS)

    assert (ended.code, ended.out) == (2, "")
    assert fault in ended.err


@pytest.mark.parametrize(
    ("arguments", "example"),
    [
        ((), "  poller leases --watch --every 1s"),
        (("release",), "  poller leases release 7d3f2a1b"),
        (("set",), "  poller leases set 7d3f2a1b --to 2026-11-23T08:00:00Z"),
    ],
)
def test_its_help_has_examples(arguments: tuple[str, ...], example: str) -> None:
    assert example in poller("leases", *arguments, "--help", environment={}).out


# --- watching ---------------------------------------------------------------------------------------------------------


def watched(environment: dict[str, str], arguments: tuple[str, ...], lines: int) -> tuple[int, list[str]]:
    """A watch into a pipe, interrupted after so many lines; the exit code and all that it printed."""
    command = [sys.executable, "-m", "poller", "leases", "--watch", "--every", "200ms", *arguments]
    process = subprocess.Popen(
        command,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    read = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=DEADLINE_S)
    return process.returncode, [line.rstrip("\n") for line in (*read, *rest.splitlines())]


async def watch(site: Site, *arguments: str, lines: int) -> tuple[int, list[str]]:
    return await asyncio.to_thread(watched, site.environment(), arguments, lines)


async def test_elsewhere_than_on_a_terminal_a_watch_prints_one_look_after_the_other(site: Site) -> None:
    site.put("shard-1", "worker-1")
    async with site.at_work("shard-1"):
        code, lines = await watch(site, lines=14)

    assert code == 0
    assert [line for line in lines if line.startswith(LEASES)][:2] == [
        f"{LEASES}: 1 shard: 1 held",
        f"{LEASES}: 1 shard: 1 reading",
    ]
    assert not [line for line in lines if "Traceback" in line]


async def test_a_watch_as_json_is_one_document_a_line(site: Site) -> None:
    site.put("shard-1", "worker-1")
    code, lines = await watch(site, "--json", lines=3)

    assert code == 0
    assert [json.loads(line)["looks"] for line in lines[:3]] == [1, 2, 3]


async def test_on_a_terminal_a_watch_shows_the_age_growing_in_place_until_ctrl_c(site: Site) -> None:
    site.put("shard-1", "worker-1")

    def sit_there() -> tuple[int, str]:
        with Terminal("leases", "--watch", "--every", "200ms", environment=site.environment()) as terminal:
            terminal.until_shown(">1.")
            terminal.until_shown("expired")
            terminal.interrupt()
            return terminal.ended(), terminal.shown

    code, shown = await asyncio.to_thread(sit_there)
    assert code == 0
    assert "\x1b[1A" in shown  # the cursor goes up again
    assert "Traceback" not in shown


# --- release ----------------------------------------------------------------------------------------------------------


async def test_a_lease_that_nobody_holds_needs_no_release(site: Site) -> None:
    site.put()
    ended = await site.leases("release", site.shard.shard_id)

    assert (ended.code, ended.out, ended.err) == (
        0,
        f"{site.shard.shard_id}: nobody holds it; there is nothing to release\n",
        "",
    )
    assert site.written() == []


async def test_a_holder_at_work_keeps_its_lease(site: Site) -> None:
    site.put(owner="worker-1")
    async with site.at_work():
        ended = await site.leases("release", site.shard.shard_id)

    assert (ended.code, ended.out) == (1, "")
    waits, refused = ended.err.splitlines()
    assert waits.startswith(
        f"worker-1 holds {site.shard.shard_id}: watching whether it is still at work, for up to 3 s"
    )
    assert refused.startswith(f"poller: {site.shard.shard_id}: its holder worker-1 is at work; stop that worker, or")
    assert site.row().owner == "worker-1"
    assert site.written() == []


async def test_a_holder_that_is_gone_loses_its_lease_once_it_has_expired(site: Site) -> None:
    held = site.put(owner="worker-1", checkpoint="5")
    began = time.monotonic()
    ended = await site.leases("release", site.shard.shard_id)

    assert time.monotonic() - began > 3
    assert ended.code == 0
    assert ended.out == (
        f"{site.shard.shard_id}: taken from worker-1, and free for any worker;"
        " reading goes on after 000000000000000000005\n"
    )
    assert site.row() == held.evicted()


async def test_whoever_insists_gets_the_lease_from_a_holder_at_work_at_once(site: Site) -> None:
    site.put(owner="worker-1")
    async with site.at_work():
        ended = await site.leases("release", site.shard.shard_id[-8:], "--force", "--json")
        assert site.row().owner is None

    assert (ended.code, ended.err) == (0, f"{site.shard.shard_id[-8:]} is {site.shard.shard_id}\n")
    assert (ended.document["outcome"], ended.document["taken_from"]) == ("released", "worker-1")
    assert ended.document["lease"]["owner"] is None


async def test_a_shard_without_a_row_is_one_line_and_exit_code_1(site: Site) -> None:
    ended = await site.leases("release", "nix", "--force")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "poller: nix: no row of that shard; `poller leases --all` lists those that there are\n"


async def test_a_part_of_several_shards_lists_them(site: Site) -> None:
    site.put("shard-10")
    site.put("shard-11")
    ended = await site.leases("release", "shard-1", "--force")

    assert ended.code == 1
    assert ended.err == "poller: shard-1: fits 2 shards: shard-10, shard-11; write more of it\n"


async def test_the_lease_table_of_another_stream_is_left_alone(site: Site) -> None:
    site.put(owner="worker-1", stream_arn=site.world.stream("Other").arn)
    ended = await site.leases("release", site.shard.shard_id, "--force")

    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert f"{LEASES} belongs to another stream" in ended.err
    assert site.written() == []


# --- set --------------------------------------------------------------------------------------------------------------


async def test_where_nobody_can_be_asked_it_says_what_it_would_do_and_does_not(site: Site) -> None:
    numbers = site.records()
    site.put(checkpoint=numbers[-1])
    ended = await site.leases("set", site.shard.shard_id, "--to", "TRIM_HORIZON")

    assert ended.code == 1
    assert [" ".join(line.split()) for line in ended.lines[:4]] == [
        f"shard {site.shard.shard_id}",
        "held by nobody",
        f"stands after {numbers[-1]}",
        "goes to the trim horizon, the oldest that the stream still has of it",
    ]
    assert ended.lines[4].startswith("means    3 records are read again, created at ")
    assert ended.err.splitlines() == [
        "poller: nobody is there to be asked; say --yes",
        "poller: nothing was written",
    ]
    assert site.written() == []


async def test_a_yes_moves_the_checkpoint_and_json_has_the_row_before_and_after(site: Site) -> None:
    numbers = site.records()
    stood = site.put(checkpoint=numbers[0], start_time_ms=5)
    ended = await site.leases("set", site.shard.shard_id, "--to", numbers[1], "--yes", "--json")

    assert ended.code == 0
    row = site.row()
    assert row == stood.moved(numbers[1], None, row.checkpoint_time_ms or 0)
    assert ended.document["outcome"] == "set"
    assert [ended.document[name]["checkpoint"] for name in ("before", "lease")] == numbers[:2]
    assert (ended.document["records"]["direction"], ended.document["records"]["count"]) == ("skipped", 1)
    assert ended.document["warnings"] == [
        "what is skipped is never sent, unless the checkpoint is set back while the stream keeps it (24 hours)"
    ]


async def test_latest_is_the_services_present_second(site: Site) -> None:
    site.records(2)
    site.put()
    before_ms = int(site.world.clock.wall()) * 1000
    ended = await site.leases("set", site.shard.shard_id, "--to", "LATEST", "--yes")
    row = site.row()

    assert ended.code == 0
    assert ended.lines[4].startswith("means    2 records are skipped, created at ")
    assert row.checkpoint == AT_TIMESTAMP
    assert row.seek_time_ms is not None
    assert before_ms <= row.seek_time_ms <= site.world.clock.wall() * 1000
    assert row.seek_time_ms % 1000 == 0


async def answered(site: Site, answer: str | None, before: Callable[[], None] = lambda: None) -> tuple[int, str]:
    """`set --to TRIM_HORIZON` on a terminal; `before`: what happens while it asks. No answer is a Ctrl-C."""
    command = ("leases", "set", site.shard.shard_id, "--to", "TRIM_HORIZON")

    def sit_there() -> tuple[int, str]:
        with Terminal(*command, environment=site.environment()) as terminal:
            terminal.until_shown("Move it? [y/N]")
            before()
            if answer is None:
                terminal.interrupt()
            else:
                terminal.type(answer)
            return terminal.ended(), terminal.shown

    return await asyncio.to_thread(sit_there)


async def test_on_a_terminal_it_asks_and_a_yes_is_enough(site: Site) -> None:
    site.put(checkpoint=site.records()[-1])
    code, shown = await answered(site, "y\n")

    assert code == 0
    assert f"{site.shard.shard_id}: set; reading goes on from the trim horizon" in " ".join(shown.split())
    assert (site.row().checkpoint, site.row().seek_time_ms) == (TRIM_HORIZON, 0)


@pytest.mark.parametrize("answer", ["n\n", "\n", None], ids=["no", "nothing", "Ctrl-C"])
async def test_whatever_is_not_a_yes_writes_nothing(site: Site, answer: str | None) -> None:
    site.put(checkpoint=site.records()[-1])
    code, shown = await answered(site, answer)

    assert code == 1
    assert "Traceback" not in shown
    assert site.written() == []


async def test_a_row_that_changes_while_it_asks_is_left_alone(site: Site) -> None:
    stood = site.put(checkpoint=site.records()[-1])
    taken = stood.taken_by("worker-2")

    code, shown = await answered(site, "y\n", before=lambda: site.replace(taken))

    assert code == 1
    assert "its row has changed since it was looked at; nothing was written" in " ".join(shown.split())
    assert site.row() == taken


async def test_under_a_holder_at_work_a_checkpoint_stays_unless_somebody_insists(site: Site) -> None:
    numbers = site.records()
    site.put(owner="worker-1", checkpoint=numbers[-1])
    async with site.at_work():
        refused = await site.leases("set", site.shard.shard_id, "--to", "TRIM_HORIZON", "--yes")
        assert (refused.code, site.row().owner, site.row().checkpoint) == (1, "worker-1", numbers[-1])
        insisted = await site.leases("set", site.shard.shard_id, "--to", "TRIM_HORIZON", "--yes", "--force")
        assert (insisted.code, site.row().owner, site.row().checkpoint) == (0, None, TRIM_HORIZON)

    assert "its holder worker-1 is at work" in refused.err
    assert "worker-1; the lease is taken from it even while it is at work: it notices" in insisted.out


@pytest.mark.parametrize(
    ("target", "code", "fault"),
    [
        ("000000000000000000001", 1, "the stream does not take it for a sequence number of "),
        ("999999999999999999999", 1, "has no such record, nor any behind it"),
        ("2099-01-01T00:00:00Z", 2, "that time is yet to come, by the service's clock"),
    ],
)
async def test_a_place_that_there_is_not_is_refused(site: Site, target: str, code: int, fault: str) -> None:
    site.records()
    site.put(checkpoint=TRIM_HORIZON)
    ended = await site.leases("set", site.shard.shard_id, "--to", target, "--yes")

    assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1)
    assert fault in ended.err
    assert site.written() == []


async def test_a_shard_that_the_stream_has_no_more_is_left_alone(site: Site) -> None:
    site.put("shard-1", checkpoint=SHARD_END)
    ended = await site.leases("set", "shard-1", "--to", "TRIM_HORIZON", "--yes")

    assert ended.code == 1
    assert "shard-1: there is nothing left of it in the stream, wherever it is set to" in ended.err
    assert site.written() == []


# --- before a living daemon -------------------------------------------------------------------------------------------


@pytest.mark.real
def test_on_real_servers_a_living_worker_notices_goes_on_and_reads_again(
    dynamodb_local: str, elasticmq: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    table = Table(dynamodb(dynamodb_local), unique("Uploads"))
    jobs, dead = Mailbox(sqs(elasticmq), unique("jobs")), Mailbox(sqs(elasticmq), unique("letters"))
    own = {"POLLER_TABLE": table.name, "POLLER_QUEUE": jobs.name, "POLLER_DEAD_LETTER_QUEUE": dead.name, **BRIEF}
    environment = {**CREDENTIALS, **endpoints(dynamodb_local, elasticmq), **own}

    def leases(*arguments: str) -> dict[str, Any]:
        ended = poller("leases", *arguments, "--json", environment=environment)
        assert ended.code == 0, ended.err
        return ended.document

    def until(expected: list[str], times: int = 1) -> None:
        def all_there() -> bool:
            jobs.drain()
            return all(jobs.names.count(name) >= times for name in expected)

        wait_until(all_there, daemon.tail)

    with Daemon(environment, tmp_path / "log.jsonl") as daemon:
        first = table.uploads(["a", "b"])
        until(first)
        (seen,) = leases()["leases"]
        assert (seen["state"], seen["moved"]) == ("reading", True)
        shard = seen["shard"][-8:]
        refused = poller("leases", "release", shard, environment=environment)
        assert (refused.code, refused.out) == (1, "")
        assert leases("release", shard, "--force")["taken_from"] == seen["owner"]
        second = table.uploads(["c", "d"])
        until(second)
        daemon.wait_for("lease_taken", 2)
        moved = leases("set", shard, "--to", "TRIM_HORIZON", "--force", "--yes")
        assert moved["records"]["direction"] == "again"
        assert 8 <= moved["records"]["count"] <= 16  # as far as the last checkpoint, up to an interval ago
        until([*first, *second], times=2)
        daemon.wait_for("lease_taken", 3)
        assert leases("set", shard, "--to", "LATEST", "--force", "--yes")["lease"]["checkpoint"] == AT_TIMESTAMP
        third = table.uploads(["e", "f"])
        until(third)
        assert [event["reason"] for event in daemon.wait_for("lease_lost", 3)] == ["taken"] * 3
        code, _ = daemon.terminate()

    assert code == 0
    assert set(jobs.names) == {*first, *second, *third}
    assert not daemon.events("task_failed")


@pytest.fixture
def remote() -> Iterator[Remote]:
    with StandInProcess() as remote:
        yield remote


def test_set_to_latest_a_backlog_is_skipped_by_whoever_reads_next(remote: Remote, tmp_path: Path) -> None:
    (shard,) = remote.stream(TABLE).shards
    remote.queue("jobs")
    remote.queue("dead-letters")
    environment = {**remote.env(), **SETTINGS, "POLLER_CHECKPOINT__INTERVAL": "100ms"}

    def upload(item: str, age_s: float = 0.0) -> None:
        created_s = time.time() - age_s
        image = {"phase": {"S": "FILE_UPLOAD_COMPLETE"}}
        remote.put(TABLE, shard, {"key": item, "new_image": image, "created_s": created_s})

    def received() -> list[str]:
        bodies = (json.loads(arrival.body) for arrival in remote.arrived("jobs"))
        return [body["dynamodb"]["Keys"]["analysisRequestId"]["S"] for body in bodies]

    with Daemon(environment, tmp_path / "log.jsonl") as daemon:
        upload("first", age_s=30)
        wait_until(lambda: received() == ["first"], daemon.tail)
        daemon.terminate()
        for number in range(20):
            upload(f"backlog-{number}", age_s=20)
        ended = poller("leases", "set", shard, "--to", "LATEST", "--yes", "--json", environment=environment)
        upload("new")
        daemon.start()
        wait_until(lambda: "new" in received(), daemon.tail)
        assert daemon.terminate()[0] == 0

    assert (ended.document["records"]["direction"], ended.document["records"]["count"]) == ("skipped", 20)
    assert received() == ["first", "new"]
