"""From a dead letter back to its record: in the letter itself, in the bucket, or in the stream while that has it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from poller.decide.filter import compile_filter
from poller.decide.succession import table_name_of
from poller.errors import AwsError, DataTrimmed, NotFound
from poller.model import Content, Page, Position, Record
from poller.operate.between import Source, told_by
from poller.operate.letters import Letter, Place, Unreadable
from poller.operate.patience import patiently
from poller.run.ports import Clock
from poller.run.sift import Sifter

# Pages may be empty where there is more behind them.
_PAGES_MAX: Final = 5


class Gone(Exception):
    """There is no record to send any more, or none to be had now; the message says why, without content."""


class Originals:
    """Finds the records of the letters of one table.

    `buckets`: those of the settings, and no others are read from: whoever may write to the queue must not choose what
    is fetched. `fetch`: an object by bucket and key; `open_source`: a stream by its ARN.
    """

    def __init__(
        self,
        table: str,
        buckets: Collection[str],
        fetch: Callable[[str, str], Awaitable[bytes]],
        open_source: Callable[[str], Source],
        *,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._table = table
        self._buckets = buckets
        self._fetch = fetch
        self._open_source = open_source
        self._clock = clock
        self._rng = rng
        self._sifter = Sifter([compile_filter([])])

    async def record(self, letter: Letter, keep: Callable[[], Awaitable[None]]) -> Record:
        """The letter's record, as it was read. Gone: there is none.

        `keep` is awaited before each request: with all its tries a look-up may take longer than letters are hidden.
        """
        try:
            body = await self._body(letter, keep)
        except Unreadable as error:
            raise Gone(str(error)) from error
        page = Page([body], None, len(body))
        (match,) = self._sifter.sift(page, letter.shard_id).matches
        return match.record

    async def _body(self, letter: Letter, keep: Callable[[], Awaitable[None]]) -> bytes:
        match letter.content:
            case Content.RECORD:
                return letter.record()
            case Content.S3:
                return await self._stored(*letter.stored_at(), keep)
            case Content.KEYS | Content.POSITION:
                return await self._read_again(letter.place(), keep)

    async def _stored(self, bucket: str, key: str, keep: Callable[[], Awaitable[None]]) -> bytes:
        async def fetch() -> bytes:
            await keep()
            return await self._fetch(bucket, key)

        if bucket not in self._buckets:
            raise Gone(f"its record is in the bucket {bucket}, which no route of the settings names")
        try:
            return await patiently(fetch, self._clock, self._rng)
        except NotFound as error:
            raise Gone(f"its record is not in the bucket {bucket} any more: {error}") from error
        except AwsError as error:
            raise Gone(f"its record was not fetched: {error}") from error

    async def _read_again(self, place: Place, keep: Callable[[], Awaitable[None]]) -> bytes:
        if table_name_of(place.stream_arn) != self._table:
            raise Gone(f"its record is of another stream: {place.stream_arn}")
        try:
            return await patiently(lambda: self._at(place, keep), self._clock, self._rng)
        except (DataTrimmed, NotFound) as error:
            raise Gone("the stream does not have its record any more: it keeps them for 24 hours") from error
        except AwsError as error:
            raise Gone(f"the stream was not read: {error}") from error

    async def _at(self, place: Place, keep: Callable[[], Awaitable[None]]) -> bytes:
        source = self._open_source(place.stream_arn)
        await keep()
        iterator: str | None = await source.iterator(place.shard_id, Position.at(place.sequence_number))
        for _ in range(_PAGES_MAX):
            if iterator is None:
                break
            await keep()
            page = await source.records(iterator, 1)
            for record in page.records:
                told = told_by(record)
                if told is not None and int(told.sequence_number) == int(place.sequence_number):
                    return bytes(record)
                raise Gone("the stream has another record where its record was")
            iterator = page.next_iterator
        raise Gone("the stream has no record where its record was")
