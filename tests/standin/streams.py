"""Streams and their shard trees, as a test scripts them.

Everything that a listing or a read can do to its reader is a method or a switch here; the wire is in `streams_api`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count
from typing import Final

from poller.model import ViewType
from tests.standin import records
from tests.standin.clock import Clock
from tests.standin.records import Image
from tests.standin.shardlog import ShardLog

# Sequence numbers rise over the whole stream and are not consecutive; neither are the service's.
_SEQUENCE_STEP: Final = 10


class AtTimestamp(StrEnum):
    """What becomes of an iterator of type AT_TIMESTAMP."""

    SUPPORTED = "supported"
    INTERNAL_ERROR = "internal_error"  # as DynamoDB Local 3.3.1 answers
    REFUSED = "refused"  # as a service answers that has never heard of it


@dataclass(frozen=True, slots=True)
class Stored:
    """A record that was put into a shard."""

    sequence_number: str
    event_id: str
    body: bytes


class Shard:
    """One shard of a stream.

    `empty_pages`: that many reads answer with an empty page before the next record comes. `hidden_listings`: absent
    from that many listings, None for as long as `show` is not called.
    """

    def __init__(self, stream: Stream, shard_id: str, parent_id: str | None, starting_sequence: int) -> None:
        self.stream = stream
        self.shard_id = shard_id
        self.parent_id = parent_id
        self.starting_sequence = starting_sequence
        self.ending_sequence: int | None = None
        self.trim_point = 0
        self.log = ShardLog()
        self.empty_pages = 0
        self.hidden_listings: int | None = 0
        self.hidden = False
        self.readers: dict[str, float] = {}

    @property
    def closed(self) -> bool:
        return self.ending_sequence is not None

    def put(
        self,
        key: str | Image,
        event_name: str = "MODIFY",
        *,
        new_image: Image | None = None,
        old_image: Image | None = None,
        created_s: float | None = None,
        user_identity: Mapping[str, str] | None = None,
    ) -> Stored:
        """Adds a record of one change of the item `key` (the hash key's value, or all key attributes)."""
        stream = self.stream
        keys = {stream.key_attribute: {"S": key}} if isinstance(key, str) else key
        sequence = stream.next_sequence()
        created_s = stream.clock.wall() if created_s is None else created_s
        event_id = f"{zlib.crc32(stream.arn.encode()):08x}{sequence:024x}"
        body = records.record(
            keys,
            event_name,
            sequence_number=f"{sequence:021d}",
            created_s=created_s,
            new_image=new_image,
            old_image=old_image,
            view_type=stream.view_type,
            region=stream.region,
            event_id=event_id,
            user_identity=user_identity,
        )
        self._append(sequence, body, created_s)
        return Stored(f"{sequence:021d}", event_id, body)

    def put_raw(self, body: Callable[[str], bytes], created_s: float | None = None) -> str:
        """Adds a record exactly as `body` makes it of its sequence number: for what no record should look like."""
        sequence = self.stream.next_sequence()
        self._append(sequence, body(f"{sequence:021d}"), self.stream.clock.wall() if created_s is None else created_s)
        return f"{sequence:021d}"

    def fill(self, count: int, *, match_every: int = 100, image_bytes: int = 600, first: int = 0) -> None:
        """Adds a backlog of `count` records for benchmarks (see `records.backlog`)."""
        created_s = self.stream.clock.wall()
        backlog = records.backlog(
            count,
            first,
            key_attribute=self.stream.key_attribute,
            sequence_numbers=iter(self.stream.next_sequence, -1),
            created_s=created_s,
            match_every=match_every,
            image_bytes=image_bytes,
            region=self.stream.region,
        )
        for sequence, body in backlog:
            self._append(sequence, body, created_s)

    def _append(self, sequence: int, body: bytes, created_s: float) -> None:
        if self.closed:
            raise ValueError(f"shard {self.shard_id} is closed: nothing can be added to it")
        self.log.append(sequence, body, created_s)

    def close(self) -> None:
        """Closes the shard: no more records, and no next iterator after its last page."""
        if not self.closed:
            self.ending_sequence = self.stream.next_sequence()

    def trim(self, before: str | None = None) -> int:
        """Forgets the records older than the sequence number `before`, None: all of them. Returns how many.

        A sequence number older than that is refused from then on, even where nothing came between it and `before`.
        """
        self.trim_point = self.stream.next_sequence() if before is None else int(before)
        return self.log.trim(self.trim_point)

    def hide(self, listings: int | None = None) -> None:
        """Leaves the shard out of the next so many listings (a CHILD_SHARDS call is one, too), None: until `show`."""
        self.hidden_listings = listings

    def show(self) -> None:
        self.hidden_listings = 0
        self.hidden = False

    def vanish(self) -> None:
        """Removes the shard for good, as after 24 hours: not listed, not readable; children still name it as parent."""
        self.stream.shards.pop(self.shard_id)

    def start_listing(self) -> None:
        """A listing begins: decides whether this shard is in it, all its pages long."""
        self.hidden = self.hidden_listings is None or self.hidden_listings > 0
        if self.hidden_listings:
            self.hidden_listings -= 1


class Stream:
    """One stream of one table.

    Switches, all free to be set at any moment:
    `page_shards`, `page_records`, `page_bytes`: the most that one page holds.
    `page_overlap`: how many shards of a listing's page come again on the next one.
    `on_page(n)`: called when the nth page (from 1) of a listing was made, to change the tree between two pages.
    `iterator_age_s`: how long iterators live. `at_timestamp`: what becomes of that type of iterator.
    `readers_max`: more access keys than that reading one shard within `reader_window_s` are refused, None: any number.
    `final_page_empty`: a closed shard's last records come with a next iterator, and an empty page ends it.
    """

    def __init__(
        self, arn: str, table: str, view_type: ViewType, key_attribute: str, region: str, clock: Clock
    ) -> None:
        self.arn = arn
        self.table = table
        self.view_type = view_type
        self.key_attribute = key_attribute
        self.region = region
        self.clock = clock
        self.created_s = clock.wall()
        self.enabled = True
        self.shards: dict[str, Shard] = {}
        self.page_shards = 100
        self.page_records = 1000
        self.page_bytes = 1024 * 1024
        self.page_overlap = 0
        self.on_page: Callable[[int], None] | None = None
        self.iterator_age_s = 15 * 60.0
        self.at_timestamp = AtTimestamp.SUPPORTED
        self.readers_max: int | None = None
        self.reader_window_s = 1.0
        self.final_page_empty = False
        self.iterator_epoch = 0
        self._sequences: Iterator[int] = count(_SEQUENCE_STEP, _SEQUENCE_STEP)
        self._shard_numbers = count(1)

    @property
    def label(self) -> str:
        return self.arn.rsplit("/", 1)[1]

    def next_sequence(self) -> int:
        return next(self._sequences)

    def add_shard(self, parent: Shard | None = None) -> Shard:
        """A new open shard. Ids rise in the order of creation, as the service's do."""
        number = next(self._shard_numbers)
        millis = int(self.created_s * 1000) + number
        suffix = zlib.crc32(f"{self.arn}/{number}".encode())
        shard_id = f"shardId-{millis:020d}-{suffix:08x}"
        shard = Shard(self, shard_id, parent.shard_id if parent else None, self.next_sequence())
        self.shards[shard_id] = shard
        return shard

    def split(self, shard: Shard) -> tuple[Shard, Shard]:
        """Closes the shard and opens two children, as the service does under load."""
        shard.close()
        return self.add_shard(shard), self.add_shard(shard)

    def roll(self, shard: Shard) -> Shard:
        """Closes the shard and opens one child, as the service does every few hours."""
        shard.close()
        return self.add_shard(shard)

    def disable(self) -> None:
        """Disables the stream: every shard is closed and stays readable."""
        self.enabled = False
        for shard in self.shards.values():
            shard.close()

    def expire_iterators(self) -> None:
        """Every iterator given so far is expired from now on."""
        self.iterator_epoch += 1


def stream_label(wall_s: float) -> str:
    """A stream's label: its creation time to the millisecond."""
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
