"""A stand-in in a process of its own, and the blocking client that scripts it from outside.

`with StandInProcess() as remote:` for end-to-end tests and benchmarks; the methods mirror the world's.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.standin.calls import Call
from tests.standin.faults import Fault
from tests.standin.items import Written
from tests.standin.queues import Arrival
from tests.standin.wire import Subject
from tests.standin.world import environment

_ROOT = Path(__file__).resolve().parents[2]
_ANSWER_TIMEOUT_S = 30.0


class StreamRef(NamedTuple):
    """A stream by its ARN, and its shards' ids in the order of creation."""

    arn: str
    shards: list[str]


class RemoteError(Exception):
    """The stand-in did not understand a command."""


class Remote:
    """Speaks to the stand-in at `url`. Streams are named by their table: the latest one of it is meant."""

    def __init__(self, url: str, region: str = "us-east-1") -> None:
        self.url = url
        self._region = region

    def do(self, command: str, **arguments: Any) -> Any:
        """Any command of `control`, by name."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_ANSWER_TIMEOUT_S)
        try:
            connection.request("POST", "/_control", json.dumps({"do": command, **arguments}))
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in answer:
            raise RemoteError(f"{command}: {answer['error']}")
        return answer["result"]

    def env(self, access_key: str = "test") -> dict[str, str]:
        return environment(self.url, self._region, access_key)

    # streams

    def stream(self, table: str, shards: int = 1, view_type: str = "NEW_IMAGE") -> StreamRef:
        return StreamRef(**self.do("stream", table=table, shards=shards, view_type=view_type))

    def replace_stream(self, table: str) -> StreamRef:
        return StreamRef(**self.do("replace_stream", table=table))

    def disable(self, table: str) -> None:
        self.do("disable", table=table)

    def expire_iterators(self, table: str) -> None:
        self.do("expire_iterators", table=table)

    def switch(self, table: str, **switches: Any) -> None:
        """Sets a stream's switches, e.g. `page_shards=3, at_timestamp="refused"` (see `streams.Stream`)."""
        self.do("switch", table=table, switches=switches)

    def put(self, table: str, shard: str, *records: Mapping[str, Any]) -> list[str]:
        """Adds records (`{"key": ..., "new_image": ...}`, the arguments of `Shard.put`); their sequence numbers."""
        stored = self.do("put", table=table, shard=shard, records=records)
        return [str(one["sequence_number"]) for one in stored]

    def fill(self, table: str, shard: str, count: int, **how: int) -> None:
        self.do("fill", table=table, shard=shard, count=count, **how)

    def close(self, table: str, shard: str) -> None:
        self.do("close", table=table, shard=shard)

    def split(self, table: str, shard: str) -> tuple[str, str]:
        first, second = self.do("split", table=table, shard=shard)
        return first, second

    def roll(self, table: str, shard: str) -> str:
        return str(self.do("roll", table=table, shard=shard))

    def hide(self, table: str, shard: str, listings: int | None = None) -> None:
        self.do("hide", table=table, shard=shard, listings=listings)

    def show(self, table: str, shard: str) -> None:
        self.do("show", table=table, shard=shard)

    def vanish(self, table: str, shard: str) -> None:
        self.do("vanish", table=table, shard=shard)

    def trim(self, table: str, shard: str, before: str | None = None) -> int:
        return int(self.do("trim", table=table, shard=shard, before=before))

    def empty_pages(self, table: str, shard: str, count: int) -> None:
        self.do("empty_pages", table=table, shard=shard, count=count)

    # queues

    def queue(self, name: str, attributes: Mapping[str, str] | None = None, *, discard: bool = False) -> str:
        """Makes the queue if need be; returns its URL."""
        return str(self.do("queue", queue=name, attributes=attributes, discard=discard))

    def queue_down(self, name: str, outage: str = "unavailable") -> None:
        self.do("queue_down", queue=name, outage=outage)

    def queue_up(self, name: str) -> None:
        self.do("queue_up", queue=name)

    def refuse(self, name: str, **how: Any) -> None:
        """As `Queue.refuse`: `contains`, `every`, `times`, `sender_fault`, `code`."""
        self.do("refuse", queue=name, **how)

    def accept(self, name: str) -> None:
        """Ends every refusal."""
        self.do("accept", queue=name)

    def arrived(self, name: str, since: int = 0) -> list[Arrival]:
        """What the queue took, from the `since`th on, duplicates included."""
        arrivals: list[Arrival] = []
        while page := self.do("arrived", queue=name, since=since + len(arrivals)):
            arrivals += [Arrival(**one) for one in page]
        return arrivals

    # rows, faults, counters

    def rows(self, table: str) -> dict[str, dict[str, Any]]:
        """A table's items by the value of their key."""
        rows: dict[str, dict[str, Any]] = self.do("rows", table=table)
        return rows

    def keep_journal(self, table: str) -> None:
        """From now on the writes to the table of that name are kept, which may be made later."""
        self.do("keep_journal", table=table)

    def journal(self, table: str, since: int = 0) -> list[Written]:
        """The writes that took effect since `keep_journal`, from the `since`th on, in order."""
        journal: list[Written] = []
        while page := self.do("journal", table=table, since=since + len(journal)):
            journal += [Written(**one) for one in page]
        return journal

    def delete_row(self, table: str, key: str) -> None:
        self.do("delete_row", table=table, key=key)

    def delete_table(self, table: str) -> None:
        self.do("delete_table", table=table)

    def fault(self, fault: Fault) -> None:
        self.do("fault", fault=dataclasses.asdict(fault))

    def clear_faults(self) -> None:
        self.do("clear_faults")

    def limit(self, operation: str, per_second: int | None) -> None:
        self.do("limit", operation=operation, per_second=per_second)

    def advance(self, seconds: float) -> None:
        self.do("advance", seconds=seconds)

    def drop_connections(self) -> None:
        self.do("drop_connections")

    def calls(self, operation: str, last: int = 10_000) -> Sequence[Call]:
        """The last calls of an operation, oldest first."""
        calls: list[dict[str, Any]] = self.do("calls", operation=operation, last=last)
        return [Call(**{**call, "subject": Subject(**call["subject"])}) for call in calls]

    def count(self, operation: str, outcome: str | None = None) -> int:
        outcomes: dict[str, int] = self.stats()["calls"].get(operation, {})
        return sum(outcomes.values()) if outcome is None else outcomes.get(outcome, 0)

    def stats(self) -> dict[str, Any]:
        """`cpu_s` of the process, `connections`, `calls` (operation -> outcome -> count), `taken` (queue -> count)."""
        stats: dict[str, Any] = self.do("stats")
        return stats


class StandInProcess:
    """`python -m tests.standin ARGUMENTS` for as long as the block lasts; gives the `Remote` that speaks to it."""

    def __init__(self, *arguments: str) -> None:
        self._command = [sys.executable, "-m", "tests.standin", *arguments]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Remote:
        """Returns once it listens: its address is the first line that it prints."""
        self._process = subprocess.Popen(self._command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the stand-in ended at once, exit code {self._process.wait()}")
        return Remote(json.loads(line)["url"])

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Remote:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()
