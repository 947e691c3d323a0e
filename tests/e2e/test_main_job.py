"""The main job on real servers: killed, stopped, without its queue, with a poison record, its stream replaced."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, wait_until
from tests.e2e.story import CREDENTIALS, Mailbox, Table, dynamodb, most_within, sqs
from tests.servers.relay import Relay

ITEMS = 5_000
# The writer is slow enough for the worker to be in the midst of things at every turn of the story.
SLICE = 100
SLICE_PAUSE_S = 1.0
CHECKPOINT_INTERVAL_S = 1.0

CONFIG = """
[stream]
table = "{table}"
[lease]
duration = "4s"
discovery_interval = "5s"
[aws]
request_timeout = "1s"
connect_timeout = "1s"
[checkpoint]
interval = "1s"
[[route]]
name = "ordered"
queue = "{fifo}"
dead_letter_queue = "{dead}"
[[route]]
name = "every"
queue = "{standard}"
dead_letter_queue = "{dead}"
"""


class Writer(threading.Thread):
    """Writes the uploads of all items at a steady pace, every tenth item three times; notes what must be heard of."""

    def __init__(self, table: Table, item_ids: Sequence[str], rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.table = table
        self.item_ids = item_ids
        self.rng = rng
        self.expected: list[str] = []
        self.failure: Exception | None = None
        self.pause = threading.Lock()

    def run(self) -> None:
        try:
            for start in range(0, len(self.item_ids), SLICE):
                some = self.item_ids[start : start + SLICE]
                with self.pause:
                    self.expected += self.table.uploads(some)
                    for revision in (2, 3):
                        self.expected += self.table.uploads(some[::10], revision)
                time.sleep(SLICE_PAUSE_S)
        except Exception as failure:  # noqa: BLE001 - the test's own thread raises it again
            self.failure = failure

    def progress(self) -> float:
        return len(self.expected) / (1.2 * len(self.item_ids))


@pytest.mark.real
def test_every_match_arrives_whatever_happens_to_the_worker_its_queue_and_its_stream(
    dynamodb_local: str, elasticmq: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    client = sqs(elasticmq)
    table = Table(dynamodb(dynamodb_local), unique("AnalysisMetadataTable"))
    standard = Mailbox(client, unique("every"))
    fifo = Mailbox(client, unique("ordered") + ".fifo", FifoQueue="true")
    dead = Mailbox(client, unique("dead"))
    config = tmp_path / "poller.toml"
    config.write_text(
        CONFIG.format(table=table.name, fifo=fifo.name, standard=standard.name, dead=dead.name), encoding="utf-8"
    )
    writer = Writer(table, [f"item-{number:05}" for number in range(ITEMS)], random.Random(7))
    with Relay(int(elasticmq.rsplit(":", 1)[1])) as line:
        environment = {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL_DYNAMODB": dynamodb_local,
            "AWS_ENDPOINT_URL_DYNAMODB_STREAMS": dynamodb_local,
            "AWS_ENDPOINT_URL_SQS": line.url,
        }
        with Daemon(environment, tmp_path / "log.jsonl", ("--config", str(config))) as daemon:
            writer.start()
            exits, memory = live_through_it(daemon, writer, line, table)
            writer.join()
            if writer.failure is not None:
                raise writer.failure
            watch_the_rest(daemon, writer, [standard, fifo, dead])
            exits.append(daemon.terminate())

    assert Counter(name for name in standard.names if name).keys() == set(writer.expected)
    assert set(fifo.names) == set(writer.expected)
    assert in_order(fifo.names)
    # A worker that is killed leaves what it has sent since its last checkpoint to its successor, and no more.
    window_ms = int((CHECKPOINT_INTERVAL_S + 1.0) * 1000)
    duplicates = len(standard.names) - len(set(standard.names))
    assert duplicates <= 3 * most_within([one.sent_ms for one in standard.received], window_ms)
    assert poisoned(dead) == {"poison"}
    assert [code for code, _ in exits] == [0, 0, 0]
    assert all(seconds < 10.0 for _, seconds in exits)
    assert len(daemon.events("stream_switched")) == 1
    assert not daemon.events("task_failed")
    assert max(memory) < 1.5 * memory[0], f"memory grew: {memory}"


def live_through_it(
    daemon: Daemon, writer: Writer, line: Relay, table: Table
) -> tuple[list[tuple[int, float]], list[int]]:
    """Three kills, two stops, twenty seconds without a queue, a poison record, and another stream.

    The exits, each with its seconds, and the worker's memory before, during and after the time without a queue.
    """
    exits = []

    def written(share: float) -> None:
        wait_until(lambda: writer.failure is not None or writer.progress() >= share, daemon.tail, at_most_s=300)

    def restart() -> None:
        lives = len(daemon.events("shard_started"))
        daemon.start()
        daemon.wait_for("shard_started", lives + 1)

    written(0.08)
    daemon.kill()
    restart()
    written(0.2)
    exits.append(daemon.terminate())
    restart()
    with writer.pause:
        # Each U+0001 becomes six bytes of JSON: an item that DynamoDB takes, and a message that no queue takes.
        table.put("poison", "CREATED", 1)
        table.put("poison", "FILE_UPLOAD_COMPLETE", 1, file={"S": "\u0001" * 300_000})
    written(0.3)
    memory = [daemon.rss_bytes()]
    line.cut()
    for _ in range(20):
        time.sleep(1.0)
        memory.append(daemon.rss_bytes())
    line.restore()
    daemon.wait_for("queue_recovered")
    written(0.7)
    memory.append(daemon.rss_bytes())
    daemon.kill()
    restart()
    with writer.pause:
        table.replace_stream()
    daemon.wait_for("stream_switched")
    written(0.85)
    exits.append(daemon.terminate())
    restart()
    written(0.95)
    daemon.kill()
    restart()
    return exits, memory


def watch_the_rest(daemon: Daemon, writer: Writer, mailboxes: Sequence[Mailbox]) -> None:
    """Receives until all is there."""
    expected = set(writer.expected)

    def all_there() -> bool:
        for mailbox in mailboxes:
            mailbox.drain()
        standard, fifo, dead = mailboxes
        return expected <= set(standard.names) and expected <= set(fifo.names) and len(dead.received) >= 2

    wait_until(all_there, daemon.tail, at_most_s=300)


def in_order(names: Sequence[str]) -> bool:
    """Do the revisions of every item come in order, each for the first time?"""
    revisions: dict[str, list[int]] = defaultdict(list)
    for name in names:
        item, _, revision = name.partition("/")
        revisions[item].append(int(revision))
    return all(seen == sorted(seen) for seen in revisions.values())


def poisoned(dead: Mailbox) -> set[str]:
    """Which items the dead letters are about: by their keys, since the whole record fits in no queue."""
    text = [json.dumps(letter.body) for letter in dead.received]
    return {name for name in ("poison", "item-") for letter in text if name in letter}
