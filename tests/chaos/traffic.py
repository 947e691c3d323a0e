"""Who writes all along, and who takes from the queues: threads that ask the servers directly, behind no bad line."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from tests.chaos.ledger import Change, Ledger
from tests.e2e.story import Mailbox, Table

WANTED: Final = "FILE_UPLOAD_COMPLETE"
_UNWANTED: Final = "ANALYSED"
_TICK_S: Final = 0.25
_BATCH: Final = 25
_AWAY: Final = (BotoCoreError, ClientError, OSError)


class Loop(threading.Thread, ABC):
    """Does its work again and again; `held()`: not meanwhile. What goes wrong in it is raised where it is joined."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.failure: Exception | None = None
        self._ended = threading.Event()
        self._turn = threading.Lock()

    @abstractmethod
    def work(self) -> None:
        """One turn."""

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                with self._turn:
                    self.work()
            except Exception as failure:  # noqa: BLE001 - raised again in `end`
                self.failure = failure
                return
            self._ended.wait(0.001)  # lets who wants to hold it have its turn

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._turn:
            yield

    def pause(self, seconds: float) -> None:
        self._ended.wait(seconds)

    def cancel(self) -> None:
        """Ends it whether or not it has begun, and says nothing."""
        self._ended.set()
        if self.is_alive():
            self.join()

    def end(self) -> None:
        """After its present turn."""
        self.cancel()
        if self.failure is not None:
            raise self.failure


class Writer(Loop):
    """`rate` changes a second over all tables, of which some no route wants. Revisions only ever grow."""

    def __init__(self, tables: Sequence[Table], ledger: Ledger, rng: random.Random, *, rate: float, items: int) -> None:
        super().__init__("writer")
        self._tables = tables
        self._ledger = ledger
        self._rng = rng
        self._rate = rate
        self._items = {table.name: [f"{table.name}/{number:03}" for number in range(items)] for table in tables}
        self._revision = 1
        self._due = time.monotonic()
        self._owed = 0.0
        self.written = 0

    def begin(self) -> None:
        """Every item once: from now on they are all modified."""
        for table in self._tables:
            table.write(self._items[table.name], "CREATED", 1)

    def work(self) -> None:
        self._owed = min(self._owed + self._rate * _TICK_S, 10 * self._rate)
        while self._owed >= 1:
            self._owed -= self._write(min(_BATCH, int(self._owed)))
        self._due = max(self._due + _TICK_S, time.monotonic() - 1.0)
        # Waiting is in the turn: whoever holds the writer does so between two writes all the same.
        self.pause(max(0.0, self._due - time.monotonic()))

    def _write(self, count: int) -> int:
        """The same again until it is written: the ledger must know what is in the table. How many changes."""
        table = self._rng.choice(self._tables)
        items = self._rng.sample(self._items[table.name], min(count, len(self._items[table.name])))
        phase = WANTED if self._rng.random() < 0.8 else _UNWANTED
        self._revision += 1
        while True:
            try:
                table.write(items, phase, self._revision)
                break
            except _AWAY:
                time.sleep(0.2)
        self.written += len(items)
        if phase == WANTED:
            self._ledger.expect(Change(item, self._revision) for item in items)
        return len(items)


class Consumer(Loop):
    """Empties one queue into the ledger. `letters`: what came that is no change of an item."""

    def __init__(self, queue: Mailbox, ledger: Ledger | None) -> None:
        super().__init__(f"consumer of {queue.name}")
        self.queue = queue
        self._ledger = ledger
        self.letters: list[Any] = []

    def work(self) -> None:
        try:
            if not self.receive():
                self.pause(0.1)
        except _AWAY:
            self.pause(0.2)

    def receive(self) -> int:
        """What is there now, ten at most; how many."""
        client, url = self.queue.client, self.queue.url
        messages = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["SentTimestamp"]).get(
            "Messages", []
        )
        if not messages:
            return 0
        for message in messages:
            self._note(message)
        entries: Any = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(messages)]
        with contextlib.suppress(*_AWAY):  # then it comes once more, and the ledger knows it
            client.delete_message_batch(QueueUrl=url, Entries=entries)
        return len(messages)

    def _note(self, message: Any) -> None:
        if self._ledger is None:
            self.letters.append(message)
            return
        image = json.loads(message["Body"])["dynamodb"]["NewImage"]
        change = Change(image["analysisRequestId"]["S"], int(image["revision"]["N"]))
        self._ledger.note(self.queue.name, message["MessageId"], change, int(message["Attributes"]["SentTimestamp"]))
