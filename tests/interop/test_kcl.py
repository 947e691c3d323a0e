"""One lease table, a KCL 3 application in Java and `poller run`, one after the other and both at once, on real servers.

A change is named "item/revision", and the stream of the table has one shard: all that is written has one order.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from tests.e2e.command import endpoints, poller
from tests.e2e.daemon import Daemon, wait_until
from tests.e2e.story import CREDENTIALS, Mailbox, Table, dynamodb, most_within, sqs
from tests.interop.kcl import KclWorker

DURATION_S = 4
CHECKPOINT_INTERVAL_S = 0.2
ITEMS = 7
PAUSE_S = 0.02
# Enough to be in the midst of things, and several pages of the Java worker's.
SOME = 50
# So many looks or renewals of a worker pass in more than two lease durations.
RENEWALS = 7
ASSIGNMENTS = 14
NEVER_MS = 3_600_000


class Scene:
    """A table, a queue, and the name of an application; whoever reads them shares its lease table."""

    def __init__(self, dynamodb_url: str, sqs_url: str, unique: Callable[[str], str], folder: Path) -> None:
        self.url = dynamodb_url
        self.client = dynamodb(dynamodb_url)
        self.table = Table(self.client, unique("AnalysisMetadataTable"))
        self.application = unique("analysis-application")
        self.mailbox = Mailbox(sqs(sqs_url), unique("jobs"))
        self.folder = folder
        self.environment = {
            **CREDENTIALS,
            **endpoints(dynamodb_url, sqs_url),
            "POLLER_TABLE": self.table.name,
            "POLLER_QUEUE": self.mailbox.name,
            "POLLER_FILTER": "[]",  # every record
            "POLLER_LEASE_TABLE": self.application,
            "POLLER_LEASE__DURATION": f"{DURATION_S}s",
            "POLLER_AWS__REQUEST_TIMEOUT": "1200ms",  # three of them must fit into the lease's duration
            "POLLER_AWS__CONNECT_TIMEOUT": "1200ms",
            "POLLER_CHECKPOINT__INTERVAL": f"{CHECKPOINT_INTERVAL_S}s",
            "POLLER_POLLING__IDLE_MAX": "250ms",
        }

    def java(self, worker_id: str = "java", checkpoint_ms: int = 0) -> KclWorker:
        """A worker of the application, for the stream that the table has now."""
        return KclWorker(
            self.url,
            self.stream_arn,
            self.application,
            worker_id=worker_id,
            folder=self.folder,
            failover_ms=DURATION_S * 1000,
            checkpoint_ms=checkpoint_ms,
        )

    def ours(self) -> Daemon:
        return Daemon(self.environment, self.folder / "ours.jsonl")

    @property
    def stream_arn(self) -> str:
        return self.client.describe_table(TableName=self.table.name)["Table"]["LatestStreamArn"]

    def rows(self) -> dict[str, dict[str, Any]]:
        """The lease table as it is: the values of each row's attributes, by shard."""
        items = self.client.scan(TableName=self.application, ConsistentRead=True)["Items"]
        return {
            item["leaseKey"]["S"]: {name: next(iter(value.values())) for name, value in item.items()} for item in items
        }

    def row(self) -> dict[str, Any]:
        """The only row."""
        (row,) = self.rows().values()
        return row

    def received(self) -> list[str]:
        """What the queue has heard of so far, with repetitions."""
        self.mailbox.drain()
        return self.mailbox.names

    def sent_until(self, checkpoint: str, written: Sequence[str]) -> int:
        """How many of the changes had been written when the one with that sequence number was."""
        (name,) = (one.name for one in self.mailbox.received if one.body["dynamodb"]["SequenceNumber"] == checkpoint)
        return written.index(name) + 1


class Writer(threading.Thread):
    """Changes one item after the other, so that every worker comes and goes in the midst of it."""

    def __init__(self, table: Table) -> None:
        super().__init__(daemon=True)
        self._table = table
        self._over = threading.Event()
        self._failure: Exception | None = None
        self.written: list[str] = []

    def run(self) -> None:
        try:
            while not self._over.wait(PAUSE_S):
                self.write()
        except Exception as failure:  # noqa: BLE001 - the test's own thread raises it again
            self._failure = failure

    def write(self) -> None:
        revision, item = divmod(len(self.written), ITEMS)
        self._table.put(f"item-{item}", "FILE_UPLOAD_COMPLETE", revision)
        self.written.append(f"item-{item}/{revision}")

    def write_some(self) -> None:
        for _ in range(SOME):
            self.write()

    def finish(self) -> None:
        """Nothing is written any more; raises what went wrong."""
        self._over.set()
        self.join()
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()


@pytest.fixture
def scene(dynamodb_local: str, elasticmq: str, unique: Callable[[str], str], tmp_path: Path) -> Scene:
    return Scene(dynamodb_local, elasticmq, unique, tmp_path)


def same(some: Sequence[str], others: Sequence[str]) -> bool:
    """The same changes, each as often, in whatever order the queue gave them out."""
    return Counter(some) == Counter(others)


def processed_by(java: KclWorker, checkpoint: str) -> int:
    """How many records the Java worker had processed when it had come to that one."""
    return [record["sequence_number"] for record in java.said("record")].index(checkpoint) + 1


@pytest.mark.real
def test_a_java_application_and_poller_go_on_where_the_other_stopped_and_read_every_record_once(scene: Scene) -> None:
    before, after = scene.java("before"), scene.java("after")
    with Writer(scene.table) as writer:
        with before:
            before.wait_until(lambda: len(before.names) >= SOME)
            before.terminate()
        javas = scene.row()
        checked = poller("check", environment=scene.environment)
        with scene.ours() as ours:
            wait_until(lambda: len(scene.received()) >= SOME, ours.tail)
            code, _ = ours.terminate()
        own = scene.row()
        with after:
            after.wait_until(lambda: len(after.names) >= SOME)
            writer.finish()
            first, second = len(before.names), len(before.names) + len(scene.received())
            after.wait_until(lambda: second + len(after.names) >= len(writer.written))
            after.terminate()
    again = scene.row()

    assert before.names == writer.written[:first]
    assert same(scene.received(), writer.written[first:second])
    assert after.names == writer.written[second:]
    assert checked.code == 0
    assert "1 lease is held by a worker of a KCL application, before (1); `poller run` takes only" in checked.out
    assert f"KCL 3 has {scene.application}-CoordinatorState and {scene.application}-WorkerMetricStats" in checked.out
    # A Java worker keeps its name on the row when it stops; ours gives the lease back.
    assert (javas["leaseOwner"], javas["checkpoint"]) == ("before", before.checkpoint)
    (taken,) = ours.events("lease_taken")
    assert (taken["reason"], taken["previous_owner"], taken["checkpoint"]) == ("expired", "before", before.checkpoint)
    assert code == 0
    assert "leaseOwner" not in own
    assert own["streamArn"] == scene.stream_arn
    # Each leaves the other's attributes alone.
    assert (again["leaseOwner"], again["checkpoint"]) == ("after", after.checkpoint)
    assert (again["streamArn"], again["checkpointTime"]) == (own["streamArn"], own["checkpointTime"])
    assert own["endingHashKey"] == javas["endingHashKey"]
    started = after.said("lease")[0]
    assert (started["lease"], started["position"]) == ("started", own["checkpoint"])
    assert (before.logged("ERROR"), after.logged("ERROR")) == ([], [])


@pytest.mark.real
def test_poller_takes_a_lease_from_no_living_java_worker_and_from_a_killed_one_at_its_last_checkpoint(
    scene: Scene,
) -> None:
    java, ours = scene.java("java", checkpoint_ms=NEVER_MS), scene.ours()
    with Writer(scene.table) as writer, java:
        java.wait_until(lambda: bool(java.said("checkpoint")))
        with ours:
            (seen,) = ours.wait_for("foreign_owners_seen")
            renewed = int(scene.row()["leaseCounter"]) + RENEWALS
            wait_until(lambda: int(scene.row()["leaseCounter"]) >= renewed, java.tail)
            status = json.loads(ours.get("/status"))
            assert ours.events("lease_taken") == []
            assert scene.row()["leaseOwner"] == "java"

            java.kill()
            (taken,) = ours.wait_for("lease_taken")
            wait_until(lambda: len(scene.received()) >= SOME, ours.tail)
            writer.finish()
            repeated = processed_by(java, java.checkpoint)
            wait_until(lambda: len(scene.received()) >= len(writer.written) - repeated, ours.tail)
            ours.terminate()

    assert seen["owners"] == ["java"]
    assert [(shard["owner"], shard["state"], shard["mine"]) for shard in status["shards"]] == [
        ("java", "reading", False)
    ]
    assert status["lease_table"]["workers"] == 2
    assert (taken["reason"], taken["previous_owner"], taken["checkpoint"]) == ("expired", "java", java.checkpoint)
    # What Java had not checkpointed comes again, and nothing else does.
    assert java.names == writer.written[: len(java.names)]
    assert same(scene.received(), writer.written[repeated:])
    assert len(java.names) > repeated


@pytest.mark.real
def test_a_java_worker_takes_a_lease_from_no_living_poller_and_from_a_killed_one_at_its_last_checkpoint(
    scene: Scene,
) -> None:
    java, writer = scene.java(), Writer(scene.table)
    with scene.ours() as ours:
        writer.write_some()
        wait_until(lambda: len(scene.received()) >= SOME, ours.tail)
        with java:
            # Nothing is written and no checkpoint moves: only its renewals show that ours lives.
            java.wait_until(lambda: len(java.logged("is a leader, performing assignment")) >= ASSIGNMENTS)
            assert java.said("lease") == []
            assert ours.events("lease_lost") == []

            with writer:
                wait_until(lambda: len(scene.received()) >= 2 * SOME, ours.tail)
                ours.kill()
                left = scene.row()
                java.wait_until(lambda: len(java.names) >= SOME)
            settled = scene.sent_until(left["checkpoint"], writer.written)
            java.wait_until(lambda: len(java.names) >= len(writer.written) - settled)
            java.terminate()

    # What ours had not checkpointed comes again, and that is what it had sent in one interval.
    assert java.said("lease")[0]["position"] == left["checkpoint"]
    assert java.names == writer.written[settled:]
    assert set(scene.received()) >= set(writer.written[:settled])
    repeated = len(scene.received()) - settled
    window_ms = int((CHECKPOINT_INTERVAL_S + 1.0) * 1000)
    assert repeated <= most_within([one.sent_ms for one in scene.mailbox.received], window_ms)
    assert java.logged("ERROR") == []


@pytest.mark.real
def test_poller_ends_a_shard_that_java_began_and_java_goes_on_with_the_rows_that_poller_leaves(scene: Scene) -> None:
    before, writer = scene.java("before"), Writer(scene.table)
    with before:
        writer.write_some()
        before.wait_until(lambda: len(before.names) == SOME)
        before.terminate()
    (old_shard,) = scene.rows()
    writer.write_some()
    scene.table.disable_stream()
    with scene.ours() as ours:
        (finished,) = ours.wait_for("shard_finished")
        ended = scene.row()
        scene.table.enable_stream()
        writer.write_some()
        wait_until(lambda: len(scene.received()) >= 2 * SOME, ours.tail)
        ours.terminate()
    writer.write_some()
    after = scene.java("after")
    with after:
        after.wait_until(lambda: len(after.names) >= SOME)
        after.terminate()

    assert before.names == writer.written[:SOME]
    assert same(scene.received(), writer.written[SOME : 3 * SOME])
    assert after.names == writer.written[3 * SOME :]
    assert finished["shard"] == old_shard
    assert (ended["checkpoint"], ended.get("leaseOwner")) == ("SHARD_END", None)
    assert (before.logged("ERROR"), after.logged("ERROR")) == ([], [])


@pytest.mark.real
def test_poller_reads_what_java_has_left_of_a_stream_that_was_replaced_before_it_started(scene: Scene) -> None:
    java, writer = scene.java(), Writer(scene.table)
    with java:
        writer.write_some()
        java.wait_until(lambda: len(java.names) == SOME)
        java.terminate()
    (old_shard,) = scene.rows()
    writer.write_some()
    scene.table.replace_stream()
    writer.write_some()
    with scene.ours() as ours:
        wait_until(lambda: len(scene.received()) >= 2 * SOME, lambda: f"{scene.rows()}\n{ours.tail()}")
        ours.terminate()

    assert same(scene.received(), writer.written[SOME:])
    assert scene.rows()[old_shard]["checkpoint"] == "SHARD_END"
