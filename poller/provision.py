"""`poller init`: makes what the settings name and AWS does not have yet. What is there stays as it is, and is said.

Queues get a redrive policy: what a queue's consumers fail on goes where goes what the queue refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

from poller.aws.lease_rows import KEY
from poller.aws.lease_table import BotoLeaseTable
from poller.aws.provision import create_queue, create_table, redrive_target, set_redrive
from poller.aws.session import Aws
from poller.aws.sqs import BotoQueue, find_queue
from poller.aws.survey import table_facts
from poller.errors import NotFound
from poller.model import QueueInfo
from poller.run.ports import Clock
from poller.settings import Settings
from poller.startup import find_route_queue

# Often enough for a consumer that was only restarted, soon enough for a message that kills every consumer.
RECEIVES_MAX: Final = 5
# The longest that SQS keeps anything: letters are read by people, after the weekend.
_LETTERS_KEPT_S: Final = 14 * 24 * 3600
# SQS asks for a second at least between the making of a queue and its first use.
_KNOWN_WITHIN_S: Final = 30.0

Outcome = Literal["made", "exists", "would make", "set", "would set", "left"]


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one thing: `made`, `queue`, `analysis-jobs`, `standard`."""

    outcome: Outcome
    what: str
    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Queue:
    """A queue's plan, and what is known of it so far; `info` None: it is not there."""

    name: str
    letters: bool
    info: QueueInfo | None

    @property
    def fifo(self) -> bool:
        return self.name.endswith(".fifo")

    @property
    def kind(self) -> str:
        return "FIFO" if self.fifo else "standard"


class Provision:
    """One run of init. Each step is reported when it is done, so that a failure leaves no doubt about those before it.

    AwsError: AWS refuses something or does not answer. ConfigurationError: a name stands for something else already.
    """

    def __init__(
        self, settings: Settings, aws: Aws, clock: Clock, report: Callable[[Step], None], *, dry_run: bool
    ) -> None:
        self._settings = settings
        self._aws = aws
        self._clock = clock
        self._report = report
        self._dry_run = dry_run

    async def run(self, *, story_table: bool) -> None:
        if story_table:
            await self._story_table()
        await self._lease_table()
        known: dict[str, _Queue] = {}
        for index, route in enumerate(self._settings.routes):
            letters = None
            if route.dead_letter_queue is not None:
                setting = f"route.{index}.dead_letter_queue"
                letters = await self._queue(known, setting, route.dead_letter_queue, letters=True)
            queue = await self._queue(known, f"route.{index}.queue", route.queue, letters=False)
            if letters is not None:
                await self._redrive(queue, letters)

    # --- tables -------------------------------------------------------------------------------------------------------

    async def _story_table(self) -> None:
        if self._settings.stream.table is None:
            raise self._settings.fault("stream.arn", "the table of the story is made by its name; set POLLER_TABLE")
        name, detail = self._settings.stream.table, "key analysisRequestId (S), requestorId-gsi, stream NEW_IMAGE"
        facts = await table_facts(self._aws, name)
        if facts is not None:
            self._report(Step("exists", "table", name, f"key {', '.join(facts.keys)}"))
        elif self._dry_run:
            self._report(Step("would make", "table", name, detail))
        else:
            made = await create_table(self._aws, story_table(name))
            self._report(Step("made" if made else "exists", "table", name, detail))

    async def _lease_table(self) -> None:
        name, detail = self._settings.lease_table, f"key {KEY} (S), billed on demand"
        if await table_facts(self._aws, name) is None and self._dry_run:
            self._report(Step("would make", "lease table", name, detail))
            return
        # Also for one that is there: it may be some other table.
        table = BotoLeaseTable(self._aws, name, lambda _: None)
        made = await table.ensure(create=not self._dry_run, clock=self._clock)
        self._report(Step("made" if made else "exists", "lease table", name, detail if made else f"key {KEY} (S)"))

    # --- queues -------------------------------------------------------------------------------------------------------

    async def _queue(self, known: dict[str, _Queue], setting: str, name_or_url: str, *, letters: bool) -> _Queue:
        """A queue that several routes name is made once."""
        if name_or_url not in known:
            known[name_or_url] = await self._find_or_make(setting, name_or_url, letters)
        return known[name_or_url]

    async def _find_or_make(self, setting: str, name_or_url: str, letters: bool) -> _Queue:
        what = "dead-letter queue" if letters else "queue"
        info = await self._existing(setting, name_or_url)
        queue = _Queue(info.name if info else name_or_url, letters, info)
        if info is not None:
            self._report(Step("exists", what, queue.name, queue.kind))
            return queue
        detail = queue.kind + (", keeps messages for 14 days" if letters else "")
        if self._dry_run:
            self._report(Step("would make", what, queue.name, detail))
            return queue
        attributes = {"FifoQueue": "true"} if queue.fifo else {}
        if letters:
            attributes["MessageRetentionPeriod"] = str(_LETTERS_KEPT_S)
        await create_queue(self._aws, queue.name, attributes)
        self._report(Step("made", what, queue.name, detail))
        return _Queue(queue.name, letters, await self._made(setting, queue.name))

    async def _made(self, setting: str, name: str) -> QueueInfo:
        """A queue that was made just now: SQS may not know of it yet."""
        give_up_at = self._clock.monotonic() + _KNOWN_WITHIN_S
        while self._clock.monotonic() < give_up_at:
            with suppress(NotFound):
                return (await find_queue(self._aws, name)).info
            await self._clock.sleep(1.0)
        return (await find_route_queue(self._settings, self._aws, setting, name)).info

    async def _existing(self, setting: str, name_or_url: str) -> QueueInfo | None:
        """ConfigurationError for a URL at which there is no queue: only a name says which one to make."""
        found: BotoQueue
        try:
            found = await find_queue(self._aws, name_or_url)
        except NotFound as error:
            if "://" not in name_or_url:
                return None
            problem = "there is no such queue, and none is made by its URL; give its name"
            raise self._settings.fault(setting, problem) from error
        return found.info

    async def _redrive(self, queue: _Queue, letters: _Queue) -> None:
        """SQS moves messages only between queues of one type; a policy that is there already is somebody's decision."""
        what, detail = "redrive policy", f"to {letters.name} after {RECEIVES_MAX} receives"
        if queue.fifo != letters.fifo:
            mend = f"none: {letters.name} is a {letters.kind} queue, this is a {queue.kind} one"
            self._report(Step("left", what, queue.name, mend))
            return
        if queue.info is not None:
            target = await redrive_target(self._aws, queue.info)
            if target is not None:
                self._report(Step("exists", what, queue.name, f"to {target.rpartition(':')[2]}"))
                return
        if self._dry_run or queue.info is None or letters.info is None:
            self._report(Step("would set", what, queue.name, detail))
            return
        await set_redrive(self._aws, queue.info, letters.info.arn, RECEIVES_MAX)
        self._report(Step("set", what, queue.name, detail))


def story_table(name: str) -> Mapping[str, Any]:
    """The arguments of `CreateTable` for the table of the story: file uploads, by request and by requestor."""
    return {
        "TableName": name,
        "KeySchema": [{"AttributeName": "analysisRequestId", "KeyType": "HASH"}],
        "AttributeDefinitions": [
            {"AttributeName": "analysisRequestId", "AttributeType": "S"},
            {"AttributeName": "requestorId", "AttributeType": "S"},
        ],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "requestorId-gsi",
                "KeySchema": [{"AttributeName": "requestorId", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        "BillingMode": "PAY_PER_REQUEST",
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    }
