"""Reads a span of a stream beside the daemon: without leases, parents before children, at a modest pace.

The reader of each shard is the daemon's own; what is added here is an end, and patience that has one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from poller.decide.lineage import unexplained_parents
from poller.decide.retry import Backoff
from poller.decide.span import Span, ready, scope
from poller.errors import AccessDenied, AwsError, DataTrimmed, InvalidRequest, IteratorExpired, NotFound, PollerError
from poller.model import (
    AT_SEQUENCE_NUMBER,
    SENTINELS,
    TRIM_HORIZON,
    Lease,
    Match,
    Page,
    Position,
    Shard,
    Sifted,
    StreamInfo,
)
from poller.run.ports import Clock, Limiter, StreamSource
from poller.run.shard import Reading, ShardReader, Sift
from poller.run.tenure import Standing, Tenure

T = TypeVar("T")

# An open shard never says that there is nothing more. So many empty pages in a row are taken for its tip: one alone,
# or a few, are normal where there is data further on.
TIP_PAGES: Final = 10
# Creation times are whole seconds, and not strictly in order: reading goes on for so long past the span's end.
_PAST_END_S: Final = 2.0
# The pages of one listing may contradict each other: it is believed when two in a row show the same.
_LISTINGS_MAX: Final = 5
_BACKOFF: Final = Backoff(first_s=0.2, max_s=5.0)
# A parent that no listing shows and that can be read all the same: so often it is waited for, ever longer.
_HIDDEN_TRIES: Final = 5
_HIDDEN: Final = Backoff(first_s=0.5, max_s=4.0)
# How often the children of a shard that has ended are asked for, ever later: they may just be being made.
_CHILDREN_TRIES: Final = 12
_CHILDREN: Final = Backoff(first_s=0.25, max_s=10.0)


class GaveUp(PollerError):
    """A call was refused, or has failed for longer than it was to be waited for."""


class Patience:
    """Tries one thing after the other: what fails is told by `GaveUp` once it has failed for `patience_s`."""

    def __init__(self, patience_s: float, clock: Clock) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._since: float | None = None

    def worked(self) -> None:
        self._since = None

    def failed(self, error: AwsError) -> None:
        """GaveUp: it will not change by asking again, or it has been asked for long enough."""
        if isinstance(error, AccessDenied):
            raise GaveUp(str(error)) from error
        now = self._clock.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._patience_s:
            raise GaveUp(f"{error}; it has failed for {now - self._since:.0f} s") from error


class _PatientSource:
    """The source of one shard's reader, which by itself would try for ever."""

    def __init__(self, source: StreamSource, patience: Patience) -> None:
        self.describe = source.describe
        self.children = source.children
        self._source = source
        self._patience = patience

    async def iterator(self, shard_id: str, position: Position) -> str:
        return await self._tried(self._source.iterator(shard_id, position))

    async def records(self, iterator: str, limit: int) -> Page:
        page = await self._tried(self._source.records(iterator, limit))
        self._patience.worked()
        return page

    async def _tried(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except (IteratorExpired, DataTrimmed, NotFound):
            raise  # the reader knows what to do about these, and for how long
        except AwsError as error:
            self._patience.failed(error)
            raise


@dataclass(slots=True, eq=False)
class Passage:
    """One shard of the span on its way. `closed`: its last page was read; `done`: and everything in it is settled.

    `last_sequence_number`, `first_created_s`, `last_created_s`: of the records read so far, None if there were none.
    """

    shard_id: str
    start: Position
    tenure: Tenure
    closed: bool = False
    done: bool = False
    empty_pages: int = 0
    last_sequence_number: str | None = None
    first_created_s: float | None = None
    last_created_s: float | None = None

    @property
    def place(self) -> Position:
        """Up to where everything is settled: where to go on if it is broken off now."""
        checkpoint = self.tenure.frontier.checkpoint
        return self.start if checkpoint in SENTINELS else Position.after(checkpoint)


class _Edge:
    """The daemon's sift up to the span's end: what was created later goes nowhere, and ends the reading.

    `closed`: the shard says by itself where it ends, however many empty pages come before that.
    """

    def __init__(self, sift: Sift, passage: Passage, until_s: float | None, closed: Callable[[], bool]) -> None:
        self._sift = sift
        self._passage = passage
        self._until_s = until_s
        self._closed = closed

    def sift(self, page: Page, shard_id: str, not_before_s: float | None = None) -> Sifted:
        passage, until_s = self._passage, self._until_s
        sifted = self._sift.sift(page, shard_id, not_before_s)
        created_s = sifted.last_created_s
        passage.closed = page.next_iterator is None
        passage.last_sequence_number = sifted.last_sequence_number or passage.last_sequence_number
        passage.empty_pages = 0 if page.records else passage.empty_pages + 1
        if created_s is not None:
            passage.last_created_s = created_s
            passage.first_created_s = created_s if passage.first_created_s is None else passage.first_created_s
        if until_s is None:
            return sifted
        at_tip = passage.empty_pages >= TIP_PAGES and not self._closed()
        if at_tip or (created_s is not None and created_s >= until_s + _PAST_END_S):
            passage.tenure.frontier.saw_end()
        return _before(sifted, until_s)


def _before(sifted: Sifted, until_s: float) -> Sifted:
    kept = tuple(match for match in sifted.matches if match.record.created_s < until_s)
    return sifted if len(kept) == len(sifted.matches) else only(sifted, kept)


def only(sifted: Sifted, matches: Sequence[Match]) -> Sifted:
    """What was sifted, with no other matches than these."""
    matched = [0] * len(sifted.matched)
    for match in matches:
        for index in match.routes:
            matched[index] += 1
    return replace(sifted, matches=tuple(matches), matched=tuple(matched))


class SpanReader:
    """Reads the span once. `reading` is that of all its shards."""

    def __init__(
        self,
        stream: StreamInfo,
        span: Span,
        reading: Reading,
        *,
        shard_limiter: Callable[[], Limiter],
        describe_limiter: Limiter,
        patience_s: float,
    ) -> None:
        self.shards: dict[str, Shard] = {}
        self.passages: dict[str, Passage] = {}
        self._stream = stream
        self._span = span
        self._reading = reading
        self._shard_limiter = shard_limiter
        self._describe_limiter = describe_limiter
        self._patience_s = patience_s
        self._finished = set(span.finished)

    async def run(self) -> None:
        """Returns when the span is read to its end and everything in it is settled; one without an end goes on.

        GaveUp: the stream does not answer any more, or refuses. What a route raises ends it as well.
        """
        self.shards = await self._list()
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                for shard_id in ready(self._span, self.shards, self.passages, self._finished):
                    tasks.add(asyncio.create_task(self._read(self._begin(shard_id))))
                if not tasks:
                    if await self._nothing_new():
                        return
                    continue
                over, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in over:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def shards_within(self) -> int:
        """How many shards belong to the span, as far as they are known."""
        return len(scope(self._span, self.shards))

    @property
    def shards_done(self) -> int:
        return len(scope(self._span, self.shards) & self._finished)

    def rest(self) -> Span:
        """What is left of the span: where each shard that was begun with goes on, and which are done."""
        begun = {passage.shard_id: passage.place for passage in self.passages.values() if not passage.done}
        places = {shard_id: place for shard_id, place in self._span.places.items() if shard_id not in self._finished}
        return replace(self._span, places={**places, **begun}, finished=frozenset(self._finished))

    def _begin(self, shard_id: str) -> Passage:
        start = self._span.place(shard_id)
        parent_id = self.shards[shard_id].parent_id
        lease = Lease(
            shard_id,
            checkpoint=_checkpoint(start),
            # A child of a shard that was read here goes on where that one ended: what is missing there was lost.
            parents=frozenset({parent_id} if parent_id in self.passages and parent_id else ()),
            seek_time_ms=start.timestamp_ms,
        )
        tenure = Tenure(
            lease, math.inf, Standing(math.inf), self._reading.buffer, answered_at=math.inf, fresh_until=math.inf
        )
        passage = self.passages[shard_id] = Passage(shard_id, start, tenure)
        return passage

    async def _read(self, passage: Passage) -> None:
        shard_id, reading = passage.shard_id, self._reading

        def closed() -> bool:
            return self.shards[shard_id].closed

        own = replace(
            reading,
            source=_PatientSource(reading.source, Patience(self._patience_s, reading.clock)),
            sifter=_Edge(reading.sifter, passage, self._span.until_s, closed),
        )
        start = passage.start if passage.start.kind == AT_SEQUENCE_NUMBER else None
        reader = ShardReader(passage.tenure, own, self._shard_limiter(), closed, start=start)
        await reader.run()
        if passage.closed and self._span.until_s is None:
            await self._find_children(shard_id)
        await passage.tenure.drained()
        passage.done = True
        self._finished.add(shard_id)

    async def _nothing_new(self) -> bool:
        """Whether another listing shows no shard that the ones before have left out. What is found then comes last."""
        if self._span.until_s is None:
            return True
        known = scope(self._span, self.shards)
        self.shards = await self._list() | self.shards
        return scope(self._span, self.shards) == known

    async def _list(self) -> dict[str, Shard]:
        reading = self._reading
        return await list_shards(reading.source, self._describe_limiter, reading.clock, self._patience_s)

    async def _find_children(self, shard_id: str) -> None:
        """The children of a shard that has ended while it was read: they may be late."""
        if not self._span.descend or not self._stream.enabled:
            return
        for failures in range(1, _CHILDREN_TRIES + 1):
            if any(shard.parent_id == shard_id for shard in self.shards.values()):
                return
            await self._describe_limiter.acquire()
            try:
                found = await self._reading.source.children(shard_id)
            except InvalidRequest:  # this server does not know the filter
                found = tuple((await self._list()).values())
            except AccessDenied as error:
                raise GaveUp(str(error)) from error
            except AwsError:
                found = ()
            self.shards.update({shard.shard_id: shard for shard in found if shard.shard_id not in self.shards})
            if failures < _CHILDREN_TRIES and not any(shard.parent_id == shard_id for shard in found):
                await self._reading.clock.sleep(_CHILDREN.wait_s(failures, self._reading.rng.random()))


def _checkpoint(start: Position) -> str:
    """What a lease row would say for a place."""
    if start.kind in SENTINELS:
        return start.kind
    return TRIM_HORIZON if start.kind == AT_SEQUENCE_NUMBER else start.sequence_number or TRIM_HORIZON


async def list_shards(source: StreamSource, limiter: Limiter, clock: Clock, patience_s: float) -> dict[str, Shard]:
    """The stream's shards, and of those that no listing shows the parents that can still be read.

    GaveUp: the stream does not answer. NotFound: it is gone.
    """
    asking = _Asking(source, limiter, clock, patience_s)
    shards: dict[str, Shard] = {}
    hidden: list[str] = []
    for tries in range(1, _HIDDEN_TRIES + 1):
        shards |= await asking.agreed_listing()
        hidden = [parent for parent in sorted(unexplained_parents(shards, {})) if await asking.readable(parent)]
        if not hidden:
            return shards
        await clock.sleep(_HIDDEN.wait_s(tries, 0.5))
    # It has been waited for: what comes before them is not known, and they are read as if there was nothing.
    return shards | {parent: Shard(parent, closed=True) for parent in hidden}


class _Asking:
    """Questions about the stream's shards, each asked again until there is an answer or the patience ends."""

    def __init__(self, source: StreamSource, limiter: Limiter, clock: Clock, patience_s: float) -> None:
        self._source = source
        self._limiter = limiter
        self._clock = clock
        self._patience_s = patience_s

    async def agreed_listing(self) -> Mapping[str, Shard]:
        """Two in a row that show the same shards, or all that several of them show."""
        shards = dict(await self._listing())
        for _ in range(_LISTINGS_MAX - 1):
            listed = await self._listing()
            same = listed.keys() == shards.keys()
            shards |= listed
            if same:
                break
        return shards

    async def _listing(self) -> Mapping[str, Shard]:
        shards: dict[str, Shard] = {}
        after: str | None = None
        while True:
            page = await self._ask(partial(self._source.describe, after))
            shards |= {shard.shard_id: shard for shard in page.shards}
            if page.last_shard_id is None or page.last_shard_id == after:
                return shards
            after = page.last_shard_id

    async def readable(self, shard_id: str) -> bool:
        try:
            await self._ask(lambda: self._source.iterator(shard_id, Position(TRIM_HORIZON)))
        except (NotFound, DataTrimmed, InvalidRequest):
            return False
        return True

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        patience, failures = Patience(self._patience_s, self._clock), 0
        while True:
            await self._limiter.acquire()
            try:
                return await call()
            except (NotFound, DataTrimmed, InvalidRequest):
                raise
            except AwsError as error:
                patience.failed(error)
                failures += 1
            await self._clock.sleep(_BACKOFF.wait_s(failures, 0.5))
