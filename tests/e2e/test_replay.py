"""`poller replay` as a user types it: what is counted, asked, sent, broken off and gone on with; the exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poller.decide.span import Span
from poller.model import TRIM_HORIZON, Position
from poller.operate.order import Order, write_order
from tests.e2e.command import Ended, endpoints, poller, poller_inside
from tests.e2e.daemon import DEADLINE_S, wait_until
from tests.e2e.story import Mailbox, Table, dynamodb, sqs
from tests.e2e.terminal import Terminal
from tests.replays import in_order
from tests.standin import Fault, Kind, Shard, World
from tests.standin.world import credentials

ROOT = Path(__file__).resolve().parents[2]
TABLE = "AnalysisMetadataTable"
SETTINGS = {"POLLER_TABLE": TABLE, "POLLER_QUEUE": "jobs", "POLLER_DEAD_LETTER_QUEUE": "dead-letters"}
# As many requests as an unhurried test wants: the pace has tests of its own, on virtual time.
SOON = ("--requests-per-second", "100")
NOBODY = "nobody is there to be asked; say --yes, or --dry-run."


class Site:
    """The stand-in with a stream of one shard and a queue, and the command before them."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.stream = world.stream(TABLE)
        self.shard = self.stream.add_shard()
        self.queue = world.queue("jobs")

    def environment(self, **settings: str) -> dict[str, str]:
        return {**credentials("us-east-1", "test"), "AWS_ENDPOINT_URL": self.world.url, **SETTINGS, **settings}

    async def replay(self, *arguments: str, **settings: str) -> Ended:
        ended = await asyncio.to_thread(
            poller_inside, "replay", *SOON, *arguments, environment=self.environment(**settings)
        )
        assert not any(self.world.count(name) for name in ("CreateTable", "PutItem", "UpdateItem", "Scan"))
        assert self.world.queues.keys() <= {"jobs", "jobs.fifo", "elsewhere"}
        return ended

    def upload(self, item: str, revision: int = 1, shard: Shard | None = None, age_s: float = 600.0) -> str:
        """Two changes of an item, of which the second is wanted; its name."""
        created_s = self.world.clock.wall() - age_s
        for phase in ("CREATED", "FILE_UPLOAD_COMPLETE"):
            image = {"phase": {"S": phase}, "revision": {"N": str(revision)}}
            (shard or self.shard).put(item, new_image=image, created_s=created_s)
        return f"{item}/{revision}"

    @property
    def received(self) -> list[str]:
        return [named(body) for body in self.queue.bodies]

    def state(self) -> Path:
        return self.folder / "state.json"


def named(body: str) -> str:
    image = json.loads(body)["dynamodb"]["NewImage"]
    return f"{image['analysisRequestId']['S']}/{image['revision']['N']}"


@pytest.fixture
async def site(world: World, tmp_path: Path) -> Site:
    return Site(world, tmp_path)


# --- counting and asking ----------------------------------------------------------------------------------------------


async def test_a_dry_run_counts_by_event_value_and_route_and_sends_nothing(site: Site) -> None:
    for number in range(4):
        site.upload(f"item-{number}")
    site.shard.put("item-0", "REMOVE", created_s=site.world.clock.wall() - 60)
    ended = await site.replay("--since", "2h", "--dry-run")

    assert ended.code == 0
    assert ended.lines[0].endswith("; 1 shard")
    assert [" ".join(line.split()) for line in ended.lines[2:9]] == [
        "events MODIFY 8, REMOVE 1",
        "",
        "NewImage.phase records wanted",
        "CREATED 4 0",
        "FILE_UPLOAD_COMPLETE 4 4",
        "(absent) 1 0",
        "",
    ]
    assert ended.lines[9] == "route default: 4 messages to jobs"
    assert ended.err == (
        f"poller: reads {TABLE}'s stream beside the daemon: a shard allows two readers at a time, and this is one of"
        " them, with at most 100 requests a second and shard\n"
    )
    assert site.queue.arrived == []


async def test_on_a_terminal_it_shows_what_it_counted_asks_and_a_yes_sends(site: Site) -> None:
    expected = [site.upload("a"), site.upload("b")]

    def sit_there() -> tuple[int, str]:
        command = ("replay", "--since", "1h", *SOON)
        with Terminal(*command, environment=site.environment()) as terminal:
            terminal.until_shown("Send 2? [y/N]")
            assert site.queue.arrived == []
            terminal.type("y\n")
            return terminal.ended(), terminal.shown

    code, shown = await asyncio.to_thread(sit_there)
    assert (code, sorted(site.received)) == (0, expected)
    assert "route default: 2 messages sent to jobs" in shown


@pytest.mark.parametrize("answer", ["n\n", None], ids=["no", "Ctrl-C"])
async def test_whatever_is_not_a_yes_sends_nothing(site: Site, answer: str | None) -> None:
    site.upload("a")

    def sit_there() -> tuple[int, str]:
        with Terminal("replay", "--since", "1h", *SOON, environment=site.environment()) as terminal:
            terminal.until_shown("[y/N]")
            if answer is None:
                terminal.interrupt()
            else:
                terminal.type(answer)
            return terminal.ended(), terminal.shown

    code, shown = await asyncio.to_thread(sit_there)
    assert code == 1
    assert "Traceback" not in shown
    assert site.queue.arrived == []


async def test_a_progress_bar_has_rate_and_time_left(site: Site) -> None:
    for number in range(60):
        site.upload(f"item-{number}")

    def sit_there() -> tuple[int, str]:
        with Terminal(
            "replay", "--since", "1h", "--rate", "30", *SOON, environment=site.environment(), columns=120
        ) as terminal:
            terminal.until_shown("Send 60? [y/N]")
            terminal.type("y\n")
            return terminal.ended(), terminal.shown

    code, shown = await asyncio.to_thread(sit_there)
    assert code == 0
    assert "sending" in shown
    assert "messages, " in shown
    assert "/s" in shown
    assert "left" in shown


# --- sending ----------------------------------------------------------------------------------------------------------


async def test_over_roll_overs_and_splits_everything_is_sent_once_in_order_per_item(site: Site) -> None:
    site.queue.refuse(every=4, times=6)
    expected = [site.upload(item) for item in "abcd"]
    left, right = site.stream.split(site.shard)
    for shard, items in ((left, "ab"), (right, "cd")):
        expected += [site.upload(item, 2, shard) for item in items]
    rolled = site.stream.roll(left)
    expected += [site.upload(item, 3, rolled) for item in "ab"]
    ended = await site.replay("--from", "TRIM_HORIZON", "--yes", "--json")

    assert (ended.code, ended.document["outcome"], ended.document["sent"]) == (0, "sent", {"default": len(expected)})
    assert sorted(site.received) == sorted(expected)
    assert in_order(site.received)


async def test_a_message_is_exactly_the_daemons(site: Site) -> None:
    queue = site.world.queue("jobs.fifo")
    stored = site.shard.put(
        "a", new_image={"phase": {"S": "FILE_UPLOAD_COMPLETE"}}, created_s=site.world.clock.wall() - 60
    )
    fifo = {"POLLER_QUEUE": "jobs.fifo", "POLLER_DEAD_LETTER_QUEUE": ""}
    given = {name: value for name, value in {**SETTINGS, **fifo}.items() if value}
    environment = {**credentials("us-east-1", "test"), "AWS_ENDPOINT_URL": site.world.url, **given}
    for fresh in ((), (), ("--fresh-ids",)):
        ended = await asyncio.to_thread(
            poller_inside, "replay", *SOON, "--since", "1h", "--yes", *fresh, environment=environment
        )
        assert ended.code == 0, ended.err
    first, second, third = queue.arrived
    assert (first.body.encode(), first.deduplication_id) == (stored.body, stored.event_id)
    assert [second.duplicate, third.duplicate] == [True, False]
    assert first.group_id == third.group_id


async def test_a_time_a_key_a_filter_and_another_queue_choose_what_goes_where(site: Site) -> None:
    elsewhere = site.world.queue("elsewhere")
    site.upload("a", age_s=7200)
    site.upload("b", age_s=600)
    site.upload("a", 2, age_s=600)
    site.upload("a", 3, age_s=10)
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(site.world.clock.wall() - 60))
    pattern = '{"dynamodb": {"NewImage": {"phase": {"S": ["CREATED"]}}}}'
    ended = await site.replay(
        "--since", "1h", "--until", until, "--key", "analysisRequestId=a", "--filter", pattern, "--queue", "elsewhere",
        "--yes",
    )  # fmt: skip

    assert ended.code == 0
    assert [named(body) for body in elsewhere.bodies] == ["a/2"]
    assert site.queue.arrived == []


async def test_a_key_attribute_that_no_record_has_is_told(site: Site) -> None:
    site.upload("a")
    ended = await site.replay("--since", "1h", "--key", "requestId=a", "--dry-run")

    assert ended.code == 0
    assert ended.lines[2].strip() == "none has the key attribute requestId: the key is analysisRequestId"


async def test_from_a_record_on_its_shard_and_what_follows_is_read(site: Site) -> None:
    other = site.stream.add_shard()
    site.upload("elsewhere", shard=other)
    site.upload("before")
    image = {"phase": {"S": "FILE_UPLOAD_COMPLETE"}, "revision": {"N": "1"}}
    number = site.shard.put("a", new_image=image, created_s=site.world.clock.wall() - 60).sequence_number
    rolled = site.stream.roll(site.shard)
    expected = ["a/1", site.upload("b", shard=rolled)]
    ended = await site.replay("--from", number, "--yes")

    assert (ended.code, site.received) == (0, expected)


async def test_only_the_shard_that_is_named_is_read(site: Site) -> None:
    other = site.stream.add_shard()
    site.upload("elsewhere", shard=other)
    expected = site.upload("a")
    ended = await site.replay("--from", "TRIM_HORIZON", "--shard", site.shard.shard_id[-8:], "--yes")

    assert (ended.code, site.received) == (0, [expected])


async def test_what_cannot_be_sent_is_listed_with_exit_code_1_and_the_rest_is_sent(site: Site) -> None:
    site.queue.refuse(contains='"poison"', sender_fault=True, code="InvalidMessageContents")
    site.upload("poison")
    expected = [site.upload("a"), site.upload("b")]
    ended = await site.replay("--since", "1h", "--yes")

    assert (ended.code, sorted(site.received)) == (1, expected)
    assert ended.lines[:2] == ["route default: 2 messages sent to jobs", "1 record could not be sent:"]
    assert ": refused: InvalidMessageContents: " in ended.lines[2]


async def test_throttling_expired_iterators_and_lost_answers_are_waited_out(site: Site) -> None:
    site.world.faults.add(Fault.throttle("LimitExceededException", operation="GetRecords", times=2))
    site.world.faults.add(Fault(Kind.RESET, operation="GetRecords", skip=1, times=1))
    site.world.faults.add(Fault.throttle("RequestThrottled", operation="SendMessageBatch", times=2))
    expected = [site.upload(f"item-{number}") for number in range(3)]
    ended = await site.replay("--since", "1h", "--yes")

    assert (ended.code, sorted(site.received)) == (0, expected)
    assert f"reading {site.shard.shard_id} fails, and is tried again: " in ended.err
    assert "somebody else may read it beside the daemon" in ended.err


async def test_records_that_are_gone_are_told_with_exit_code_1(site: Site) -> None:
    """Trimmed after the parent was read, before its child is."""
    expected = site.upload("a")
    child = site.stream.roll(site.shard)
    site.upload("gone", shard=child)
    kept = site.upload("kept", shard=child)
    site.world.faults.add(
        Fault(code="TrimmedDataAccessException", status=400, operation="GetRecords", shard=child.shard_id, times=1)
    )
    ended = await site.replay("--from", "TRIM_HORIZON", "--yes")

    assert ended.code == 1
    assert "records of the span are gone from the stream in 1 place" in ended.lines
    assert sorted(site.received) == sorted([expected, "gone/1", kept])


async def test_a_queue_that_takes_nothing_is_given_up_and_the_rest_is_resumed(site: Site) -> None:
    expected = [site.upload(f"item-{number}") for number in range(12)]
    down = site.world.faults.add(Fault.unavailable(operation="SendMessageBatch"))
    ended = await site.replay("--since", "1h", "--yes", "--patience", "1s", "--state", str(site.state()))

    assert ended.code == 1
    assert any(line.startswith("given up: route default: nothing was taken for 1 s: ") for line in ended.lines)
    assert ended.lines[-1] == f"go on with: poller replay --resume {site.state()}"
    site.world.faults.remove(down)
    again = await site.replay("--resume", str(site.state()), "--yes", "--json")
    assert (again.code, again.document["sent"]) == (0, {"default": 12})
    assert sorted(site.received) == sorted(expected)
    assert not site.state().exists()


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


def interrupted(site: Site, *arguments: str) -> tuple[int, str]:
    """A replay that gets Ctrl-C as soon as something has arrived; its exit code and what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "poller", "replay", "--since", "1h", "--yes", *SOON, *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **site.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=site.folder,
    )
    with process:
        try:
            wait_until(lambda: bool(site.queue.arrived), lambda: "nothing has arrived")
        finally:
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert "Traceback" not in err
    return process.returncode, out


async def test_ctrl_c_says_where_it_stopped_and_the_command_that_resumes_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [site.upload(f"item-{number}") for number in range(40)]
    child = site.stream.roll(site.shard)
    expected += [site.upload(f"item-{number}", 2, child) for number in range(40)]
    code, out = await asyncio.to_thread(interrupted, site, "--rate", "20")

    assert code == 1
    assert 0 < len(site.received) < len(expected)
    lines = out.splitlines()
    assert "stopped" in lines
    assert any(line.startswith(f"  {site.shard.shard_id}: after ") for line in lines)
    start = "go on with: poller replay --resume "
    assert lines[-1].startswith(start)
    monkeypatch.chdir(site.folder)
    ended = await site.replay("--resume", lines[-1].removeprefix(start), "--yes")
    assert ended.code == 0
    assert sorted(site.received) == sorted(expected)
    assert in_order(site.received)
    assert list(site.folder.iterdir()) == []


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--since", "1h"), NOBODY),
        (("--yes",), "say from where: either --since or --from, or --resume."),
        (("--since", "1h", "--from", "TRIM_HORIZON", "--yes"), "say from where"),
        (("--since", "2", "--yes"), 'a duration needs its unit; write "2s"'),
        (("--from", "LATEST", "--yes"), "nothing has come after it; `poller tap` shows what does."),
        (("--from", "yesterday", "--yes"), "must be TRIM_HORIZON, LATEST or a time such as"),
        (("--since", "1h", "--until", "TRIM_HORIZON", "--yes"), "must be a time such as"),
        (("--since", "1h", "--key", "a", "--yes"), "write NAME=VALUE"),
        (("--since", "1h", "--route", "other", "--yes"), "there is no such route; there are: default"),
        (("--since", "1h", "--filter", "{", "--yes"), "--filter: not JSON"),
        (("--since", "1h", "--resume", "x.json", "--yes"), "--since goes without --resume"),
        (("--resume", "x.json", "--yes"), "--resume x.json: cannot be read: No such file or directory"),
        (("--since", "1h", "--dry-run", "--yes"), "--dry-run sends nothing"),
    ],
)
def test_wrong_usage_ends_with_exit_code_2(arguments: tuple[str, ...], fault: str) -> None:
    ended = poller_inside("replay", *arguments, environment=SETTINGS)

    assert (ended.code, ended.out) == (2, "")
    assert fault in ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (("--since", "1h", "--queue", "nowhere"), 2, "--queue nowhere: there is no such queue in us-east-1"),
        (("--from", "2099-01-01T00:00:00Z"), 2, "--from: that time is yet to come, by the service's clock"),
        (("--since", "1h", "--until", "2020-01-01T00:00:00Z"), 2, "nothing lies between the two"),
        (("--since", "1h", "--shard", "nix"), 1, "nix: the stream has no such shard (any more)"),
        (("--from", "999999999999999999999"), 1, "has no such record (any more)"),
    ],
)
async def test_what_the_stream_or_the_account_does_not_have_is_one_line(
    site: Site, arguments: tuple[str, ...], code: int, fault: str
) -> None:
    ended = await site.replay(*arguments, "--dry-run")

    assert (ended.code, ended.out) == (code, "")
    assert fault in ended.err
    assert "Traceback" not in ended.err


def test_a_damaged_state_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"version": 1, "places": 5}')
    ended = poller_inside("replay", "--resume", str(tmp_path / "state.json"), "--yes", environment=SETTINGS)

    assert (ended.code, ended.out) == (2, "")
    assert "not the state of a replay, or a damaged one" in ended.err


def test_a_state_file_is_not_written_over_and_not_used_for_another_stream(tmp_path: Path) -> None:
    state = str(tmp_path / "state.json")
    write_order(
        Path(state),
        Order("arn:aws:dynamodb:us-east-1:000000000000:table/Other/stream/1", Span(Position(TRIM_HORIZON)), ()),
    )
    for arguments, fault in (
        (("--since", "1h", "--state", state), "exists; go on with it by --resume, or name another file"),
        (("--resume", state), f"of the stream of Other, and the settings name {TABLE}"),
    ):
        ended = poller_inside("replay", *arguments, "--yes", environment=SETTINGS)
        assert (ended.code, ended.out) == (2, "")
        assert fault in ended.err


def test_a_state_file_that_cannot_be_kept_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    state = str(tmp_path / "nowhere" / "state.json")
    ended = poller_inside("replay", "--since", "1h", "--state", state, "--yes", environment=SETTINGS)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"poller: --state {state}: its folder is not there, or may not be written to\n"


def test_its_help_has_examples() -> None:
    assert "  poller replay --since 2h --dry-run" in poller_inside("replay", "--help", environment={}).out


# --- for real ---------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_on_real_servers_a_span_is_sent_again(
    dynamodb_local: str, elasticmq: str, unique: Callable[[str], str]
) -> None:
    table = Table(dynamodb(dynamodb_local), unique("Uploads"))
    jobs = Mailbox(sqs(elasticmq), unique("jobs"))
    own = {"POLLER_TABLE": table.name, "POLLER_QUEUE": jobs.name}
    environment = {**endpoints(dynamodb_local, elasticmq), **own}
    expected = [*table.uploads(["a", "b", "c"]), *table.uploads(["a", "b", "c"], 2)]

    def replay(*arguments: str) -> dict[str, Any]:
        ended = poller("replay", *SOON, *arguments, "--json", environment=environment)
        assert ended.code == 0, ended.err
        return ended.document

    counted = replay("--from", "TRIM_HORIZON", "--dry-run")
    assert counted["routes"] == [{"route": "default", "queue": jobs.name, "wanted": 6}]
    assert counted["counted"]["events"]["INSERT"] == 3
    assert replay("--from", "TRIM_HORIZON", "--yes")["sent"] == {"default": 6}
    assert replay("--since", "1h", "--key", "analysisRequestId=b", "--yes")["sent"] == {"default": 2}
    jobs.drain()
    assert sorted(jobs.names) == sorted([*expected, "b/1", "b/2"])
    assert in_order(jobs.names[:6])
    assert f"{table.name}-leases" not in table.client.list_tables()["TableNames"]
