"""`poller dead-letters` and `poller redrive` as a user types them: what is shown, sent, left, and the exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import Ended, endpoints, in_process, poller
from tests.e2e.daemon import Daemon, wait_until
from tests.e2e.story import CREDENTIALS, Mailbox, Table, dynamodb, sqs
from tests.e2e.terminal import Terminal
from tests.letters import TABLE, body_of, letter_of, put
from tests.standin import Fault, Kind, World
from tests.standin.queues import Entry
from tests.standin.world import credentials

SETTINGS = {"POLLER_TABLE": TABLE, "POLLER_QUEUE": "jobs", "POLLER_DEAD_LETTER_QUEUE": "letters"}
BRIEF = {"POLLER_AWS__REQUEST_TIMEOUT": "1s", "POLLER_AWS__CONNECT_TIMEOUT": "1s"}


class Site:
    """The stand-in with a route's queue and its dead-letter queue, and the commands before them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stream = world.stream(TABLE)
        self.shard = self.stream.add_shard()
        self.jobs = world.queue("jobs")
        self.letters = world.queue("letters")

    def environment(self, **settings: str) -> dict[str, str]:
        given = {**credentials("us-east-1", "test"), "AWS_ENDPOINT_URL": self.world.url}
        return {name: value for name, value in {**given, **SETTINGS, **BRIEF, **settings}.items() if value}

    async def poller(self, *arguments: str, **settings: str) -> Ended:
        return await asyncio.to_thread(in_process, *arguments, environment=self.environment(**settings))

    def put(self, item: str, reason: str = "max_attempts", padding: int = 0, **how: Any) -> None:
        put(self.letters, letter_of(body_of(item, 1, padding=padding), reason, **how))

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """The command, without waiting for its end."""
        return subprocess.Popen(
            [sys.executable, "-m", "poller", *arguments],
            env={"PATH": os.environ["PATH"], **self.environment(**settings)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def put_other(self, body: str = '{"no": "letter"}') -> None:
        self.letters.take(Entry(body, None, None, {}), "somebody")

    @property
    def hidden(self) -> int:
        now = self.world.clock.monotonic()
        return sum(stored.visible_from_s > now for stored in self.letters.messages.values())


@pytest.fixture
async def site(world: World) -> Site:
    return Site(world)


# --- on real servers --------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_letters_of_the_daemon_are_shown_and_redriven_once_their_route_is_mended(
    dynamodb_local: str, elasticmq: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    table = Table(dynamodb(dynamodb_local), unique("Uploads"))
    jobs = Mailbox(sqs(elasticmq), unique("jobs") + ".fifo", FifoQueue="true")
    dead = Mailbox(sqs(elasticmq), unique("letters"))
    environment = {
        **CREDENTIALS,
        **endpoints(dynamodb_local, elasticmq),
        "POLLER_TABLE": table.name,
        "POLLER_QUEUE": jobs.name,
        "POLLER_DEAD_LETTER_QUEUE": dead.name,
        "POLLER_FILTER": '{"eventName": ["REMOVE"]}',
    }
    # A deletion has no new image.
    with Daemon({**environment, "POLLER_ROUTE__MESSAGE": "image"}, tmp_path / "log") as daemon:
        daemon.wait_for("daemon_ready")
        for item in ("a", "b"):
            table.put(item, "CREATED", 1)
            table.client.delete_item(TableName=table.name, Key={"analysisRequestId": {"S": item}})
        letters = daemon.wait_for("dead_lettered", 2)
        assert daemon.terminate()[0] == 0
    dead.client.send_message(QueueUrl=dead.url, MessageBody='{"failed": "a consumer"}')

    brief = {**environment, **BRIEF}  # no long polls
    seen = poller("dead-letters", environment=brief)
    assert (seen.code, seen.err) == (0, "")
    assert seen.lines[0] == f"{dead.name} (standard): 3 messages looked at, all that there are"
    assert seen.lines[2].split()[:3] == ["no_image", "default", "2"]
    assert "1 message is no letter of this daemon" in seen.lines[3]
    assert (
        f"    event     {letters[0]['event_id']}" in seen.lines
        or f"    event     {letters[1]['event_id']}" in seen.lines
    )

    # As if one of them had fitted into no queue: it says where the record is, and the stream still has it.
    taken = _take(dead, letters[1]["event_id"])
    arn = table.client.describe_table(TableName=table.name)["Table"]["LatestStreamArn"]
    shard_id, _, number = taken["position"].rpartition("/")
    place = {"streamArn": arn, "shardId": shard_id, "sequenceNumber": number}
    attributes: Any = {
        name: {"DataType": "String", "StringValue": value} for name, value in {**taken, "content": "position"}.items()
    }
    dead.client.send_message(QueueUrl=dead.url, MessageBody=json.dumps(place), MessageAttributes=attributes)

    dry = poller("redrive", "--dry-run", environment=brief)
    assert (dry.code, dry.lines[0]) == (0, f"{dead.name}: 2 letters would be sent, 0 would stay")
    ended = poller("redrive", "--yes", environment=environment)
    assert (ended.code, ended.err) == (0, "")
    assert ended.lines[:2] == [f"{dead.name}: 2 letters sent, 0 stayed", "  2 no_image to route default"]

    jobs.drain()
    assert sorted(one.body["eventID"] for one in jobs.received) == sorted(one["event_id"] for one in letters)
    assert {one["Attributes"]["MessageDeduplicationId"] for one in jobs.raw} == {one["event_id"] for one in letters}
    dead.drain()
    assert [one["Body"] for one in dead.raw if "MessageAttributes" not in one] == ['{"failed": "a consumer"}']


def _take(dead: Mailbox, event_id: str) -> dict[str, str]:
    """The attributes of that letter, which is taken out."""
    held: Any = []
    while messages := dead.client.receive_message(
        QueueUrl=dead.url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    ).get("Messages"):
        held += messages
    (letter,) = [one for one in held if event_id in one["Body"]]
    for one in held:
        receipt = one["ReceiptHandle"]
        if one is letter:
            dead.client.delete_message(QueueUrl=dead.url, ReceiptHandle=receipt)
        else:
            dead.client.change_message_visibility(QueueUrl=dead.url, ReceiptHandle=receipt, VisibilityTimeout=0)
    return {name: str(value["StringValue"]) for name, value in letter["MessageAttributes"].items()}


# --- dead-letters -----------------------------------------------------------------------------------------------------


async def test_it_counts_by_reason_and_shows_no_content_unless_it_is_asked(site: Site) -> None:
    for item in ("secret-1", "secret-2"):
        site.put(item)
    site.put("secret-3", "too_large", limit_bytes=1200, padding=5_000)
    ended = await site.poller("dead-letters")

    assert (ended.code, ended.err) == (0, "")
    assert ended.lines[:4] == [
        "letters (standard): 3 messages looked at, all that there are",
        "  REASON        ROUTE    LETTERS  OLDEST  NEWEST",
        ended.lines[2],
        ended.lines[3],
    ]
    assert [line.split()[:3] for line in ended.lines[2:4]] == [
        ["max_attempts", "default", "2"],
        ["too_large", "default", "1"],
    ]
    assert "    error     InternalError: the queue did not want it" in ended.lines
    assert "    holds     the item's key and the record's position in the stream" in ended.lines
    assert '{"S"' not in ended.out
    assert (len(site.letters.messages), site.hidden) == (3, 0)

    shown = await site.poller("dead-letters", "--show", "--json")
    examples = [kind["examples"][0] for kind in shown.json[0]["letters"]]
    assert [example["keys"]["analysisRequestId"]["S"][:6] for example in examples] == ["secret", "secret"]


async def test_a_part_is_called_a_part(site: Site) -> None:
    for number in range(5):
        site.put(f"item{number}")
    ended = await site.poller("dead-letters", "--max", "3", "--examples", "0")

    assert ended.lines[0] == "letters (standard): 3 messages looked at of about 5: this is only a part"


async def test_without_a_dead_letter_queue_the_settings_are_to_blame(site: Site) -> None:
    for command in ("dead-letters", "redrive"):
        ended = await site.poller(command, POLLER_DEAD_LETTER_QUEUE="")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.count("\n") == 1
        assert "dead-letter queue" in ended.err


async def test_an_unknown_route_is_wrong_usage(site: Site) -> None:
    ended = await site.poller("redrive", "--route", "elsewhere")

    assert ended.code == 2
    assert "there is no route 'elsewhere'; there is default" in ended.err


async def test_a_right_that_is_missing_is_named(site: Site) -> None:
    site.world.faults.add(Fault.access_denied(operation="ReceiveMessage", status=403))
    ended = await site.poller("dead-letters")

    assert ended.code == 1
    assert f"allow sqs:ReceiveMessage on {site.letters.arn}" in ended.err


# --- redrive ----------------------------------------------------------------------------------------------------------


async def test_nobody_there_to_be_asked_sends_nothing(site: Site) -> None:
    site.put("a")
    ended = await site.poller("redrive")

    assert (ended.code, ended.out) == (1, "letters holds about 1; letters go to jobs\n")
    assert ended.err == "poller: nobody is there to be asked; say --yes\npoller: nothing was sent\n"
    assert (site.jobs.bodies, len(site.letters.messages)) == ([], 1)


async def test_on_a_terminal_it_asks(site: Site) -> None:
    site.put("a")

    def answer() -> int:
        with Terminal("redrive", environment=site.environment()) as terminal:
            terminal.until_shown("Send them? [y/N]")
            terminal.type("y\n")
            return terminal.ended()

    assert await asyncio.to_thread(answer) == 0
    assert (len(site.jobs.bodies), len(site.letters.messages)) == (1, 0)


async def test_what_stays_is_listed_with_the_reason_and_makes_exit_code_1(site: Site) -> None:
    site.put("a")
    site.put("b", route="elsewhere")
    site.put_other()
    ended = await site.poller("redrive", "--yes")

    assert ended.code == 1
    assert ended.lines == [
        "letters: 1 letter sent, 1 stayed",
        "  1 max_attempts to route default",
        "  stays: event-b-1 (max_attempts, route elsewhere): its route elsewhere is not in the settings",
        f"  1 message is no letter of this daemon and was left alone: {_other_id(site)}",
    ]
    assert (len(site.letters.messages), site.hidden) == (2, 0)


def _other_id(site: Site) -> str:
    return next(iter(name for name, one in site.letters.messages.items() if not one.arrival.attributes))


async def test_records_in_s3_and_in_the_stream_are_fetched_from_there(site: Site) -> None:
    stored = body_of("a", 1, padding=5_000)
    site.world.buckets["letters-bucket"] = {"t/a.json": stored}
    url = "s3://letters-bucket/t/a.json"
    put(site.letters, letter_of(stored, "too_large", limit_bytes=1024, stored_at=url))
    kept = site.shard.put("b", new_image={"padding": {"S": "x" * 5_000}})
    place: Any = {"shard_id": site.shard.shard_id, "stream_arn": site.stream.arn}
    put(site.letters, letter_of(kept.body, "too_large", limit_bytes=1200, **place))
    ended = await site.poller("redrive", "--yes", POLLER_ROUTE__DEAD_LETTER_BUCKET="letters-bucket")

    assert (ended.code, ended.err) == (0, "")
    assert sorted(site.jobs.bodies) == sorted([stored.decode(), kept.body.decode()])
    assert not site.letters.messages


async def test_a_send_that_fails_half_way_leaves_what_was_not_taken(site: Site) -> None:
    site.jobs.refuse(contains="event-b", sender_fault=True, code="InvalidMessageContents")
    for item in "abc":
        site.put(item)
    ended = await site.poller("redrive", "--yes", "--json")

    assert ended.code == 1
    (report,) = ended.json
    assert (report["sent_count"], report["stayed_count"]) == (2, 1)
    assert report["stayed"][0]["event_id"] == "event-b-1"
    assert len(site.letters.messages) == 1


async def test_a_deletion_that_fails_is_said(site: Site) -> None:
    site.world.faults.add(Fault.access_denied(operation="DeleteMessageBatch", status=403))
    site.put("a")
    ended = await site.poller("redrive", "--yes")

    assert ended.code == 1
    assert "  still there: event-a-1 (max_attempts, route default): sent, and not deleted" in ended.out


async def test_killed_between_sending_and_deleting_it_loses_nothing_and_consumers_see_it_once(site: Site) -> None:
    fifo = site.world.queue("jobs.fifo")
    hang = site.world.faults.add(Fault(Kind.HANG, operation="DeleteMessageBatch"))
    site.put("a")
    process = site.start("redrive", "--yes", POLLER_QUEUE="jobs.fifo")
    await asyncio.to_thread(wait_until, lambda: hang.hits > 0, lambda: "nothing was deleted")
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.communicate, None, 30)
    site.world.faults.clear()
    assert (len(fifo.bodies), len(site.letters.messages)) == (1, 1)

    site.world.clock.advance(120)
    ended = await site.poller("redrive", "--yes", POLLER_QUEUE="jobs.fifo")
    assert (ended.code, len(fifo.bodies), len(site.letters.messages)) == (0, 1, 0)


async def test_ctrl_c_ends_it_after_the_batch_in_hand_and_says_what_was_sent(site: Site) -> None:
    for number in range(30):
        site.put(f"item{number}")
    process = site.start("redrive", "--yes", "--rate", "1")
    await asyncio.to_thread(wait_until, lambda: len(site.jobs.bodies) > 0, lambda: "nothing was sent")
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.to_thread(process.communicate, None, 30)

    assert (process.returncode, err) == (1, "poller: interrupted; what was sent until now:\n")
    assert f"letters: {len(site.jobs.bodies)} letter" in out
    assert len(site.jobs.bodies) + len(site.letters.messages) == 30
    assert site.hidden == 0
