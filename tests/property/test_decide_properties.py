"""What holds for every order of events: frontier, lanes, lineage."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from poller.decide.batch import BatchLimits, Lanes
from poller.decide.frontier import Frontier, Ticket
from poller.decide.lineage import Stage, Start, new_leases, removable, stage, start_of, unexplained_parents
from poller.model import LATEST, SHARD_END, TRIM_HORIZON, Lease, Shard

# --- frontier ---------------------------------------------------------------------------------------------------------


@given(wanted=st.lists(st.integers(0, 3), max_size=60), rng=st.randoms(use_true_random=False))
def test_the_checkpoint_is_the_last_record_before_the_first_unsettled_one(
    wanted: list[int], rng: random.Random
) -> None:
    """`wanted[n]`: how many routes want record n. The reference looks at every record, one by one."""
    frontier = Frontier("start")
    open_parts = [0] * len(wanted)
    tickets: dict[int, Ticket] = {}
    read = 0
    while read < len(wanted) or any(open_parts):
        outstanding = [n for n, parts in enumerate(open_parts) if parts]
        if read < len(wanted) and (not outstanding or rng.random() < 0.5):
            page = range(read, min(len(wanted), read + rng.randint(1, 5)))
            for n in page:
                if wanted[n]:
                    before = None if n == page[0] else str(n - 1)
                    tickets[n] = frontier.admit(before=before, parts=wanted[n], created_s=n, size_bytes=1)
                    open_parts[n] = wanted[n]
            frontier.saw(str(page[-1]))
            read = page[-1] + 1
        else:
            n = rng.choice(outstanding)
            frontier.settle(tickets[n])
            open_parts[n] -= 1
        first_open = next((n for n, parts in enumerate(open_parts) if parts), read)
        assert frontier.checkpoint == ("start" if first_open == 0 else str(first_open - 1))
        assert frontier.drained == (not any(open_parts))
        assert frontier.open_records == sum(1 for parts in open_parts if parts)


# --- lanes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    lane: str
    number: int
    size_bytes: int


@given(
    entries=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 70)), max_size=60),
    rng=st.randoms(use_true_random=False),
    entries_max=st.integers(1, 10),
    window_s=st.sampled_from([0.0, 0.5]),
)
def test_every_entry_leaves_once_in_the_order_of_its_lane_and_never_two_of_a_lane_at_once(
    entries: list[tuple[str, int]], rng: random.Random, entries_max: int, window_s: float
) -> None:
    lanes: Lanes[Entry] = Lanes(BatchLimits(entries_max, 100, window_s))
    coming = [Entry(lane, number, size) for number, (lane, size) in enumerate(entries)]
    now = 0.0
    out: list[Entry] = []
    settled: dict[str, list[int]] = defaultdict(list)
    while coming or len(lanes):
        if coming and rng.random() < 0.5:
            lanes.add(coming.pop(0), now)
        batch = lanes.next_batch(now)
        assert len(batch) <= entries_max
        assert len(batch) <= 1 or sum(entry.size_bytes for entry in batch) <= 100
        out += batch
        assert len({entry.lane for entry in out}) == len(out), "two of a lane under way"
        for entry in list(out):
            fate = rng.choice(["done", "again", "later"])
            if fate == "done":
                lanes.done([entry], now)
                settled[entry.lane].append(entry.number)
            elif fate == "again":
                lanes.again(entry, now + rng.choice([0.0, 0.3]))
            if fate != "later":
                out.remove(entry)
        wait_s = lanes.wait_s(now)
        assert wait_s is not None or out or coming or not len(lanes), "entries that nothing will ever send"
        now += wait_s or 0.0
    assert sum(map(len, settled.values())) == len(entries)
    assert all(numbers == sorted(set(numbers)) for numbers in settled.values())


# --- lineage ----------------------------------------------------------------------------------------------------------

ARN = "arn:aws:dynamodb:eu-west-1:000000000000:table/T/stream/1"
T0_MS = 1_700_000_000_000


class Tree:
    """A stream's shards as they really are, and listings of it as they may come: old parents trimmed, children late."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.shards: dict[str, Shard] = {}
        self.trimmed: dict[str, Shard] = {}
        for _ in range(rng.randint(1, 3)):
            self.grow(None)

    def grow(self, parent: str | None) -> None:
        shard_id = f"s{len(self.shards) + len(self.trimmed):03}"
        self.shards[shard_id] = Shard(shard_id, parent)

    def roll(self) -> None:
        """A random open shard is closed and gets one child, or two."""
        shard = self.rng.choice([shard for shard in self.shards.values() if not shard.closed])
        self.shards[shard.shard_id] = Shard(shard.shard_id, shard.parent_id, closed=True)
        for _ in range(self.rng.choice([1, 1, 2])):
            self.grow(shard.shard_id)

    def trim(self, read: Collection[str]) -> str | None:
        """The oldest root is gone, if it was read to its end; its id."""
        roots = (shard for shard in self.shards.values() if shard.parent_id not in self.shards)
        root = next((shard.shard_id for shard in roots if shard.closed and shard.shard_id in read), None)
        if root is not None:
            self.trimmed[root] = self.shards.pop(root)
        return root

    def listing(self, hidden_share: float) -> dict[str, Shard]:
        """Some shards are left out; some that are closed look open still."""
        pairs = [(shard_id, shard) for shard_id, shard in self.shards.items() if self.rng.random() >= hidden_share]
        self.rng.shuffle(pairs)
        return {
            shard_id: Shard(shard_id, shard.parent_id, closed=shard.closed and self.rng.random() >= hidden_share / 2)
            for shard_id, shard in pairs
        }


@settings(max_examples=1500, deadline=None)
@given(seed=st.integers(0, 2**32), start=st.sampled_from([Start(TRIM_HORIZON), Start(LATEST, T0_MS)]))
def test_every_shard_is_read_once_and_never_before_its_parent(seed: int, start: Start) -> None:
    """Listings hide shards and show closed ones as open; finished rows are cleaned up, as KCL does it."""
    rng = random.Random(seed)
    tree = Tree(rng)
    rows: dict[str, Lease] = {}
    known: dict[str, Shard] = {}
    there_at_first: frozenset[str] = frozenset()
    read: list[str] = []
    wanted = start

    def step(hidden_share: float) -> None:
        nonlocal there_at_first, wanted
        listing = tree.listing(hidden_share)
        there_at_first = there_at_first or frozenset(tree.shards)
        for shard in listing.values():
            closed = shard.closed or (shard.shard_id in known and known[shard.shard_id].closed)
            known[shard.shard_id] = Shard(shard.shard_id, shard.parent_id, closed)
        # Asked for by name, they turn out to be only hidden, or trimmed.
        doubtful = unexplained_parents(known, rows) - tree.trimmed.keys()
        certain = {shard.shard_id: shard for shard in known.values() if shard.parent_id not in doubtful}
        begun_at = start_of(rows.values(), wanted)
        for row in new_leases(certain, rows, begun_at, stream_arn=ARN, trimmed=tree.trimmed):
            assert row.shard_id not in rows
            rows[row.shard_id] = row
        wanted = Start(TRIM_HORIZON, wanted.time_ms)  # LATEST is the instant of the first look
        for shard_id in sorted(rows):
            lease = rows[shard_id]
            if stage(lease, rows, known) is Stage.READY and tree.shards[shard_id].closed and rng.random() < 0.7:
                read.append(shard_id)
                rows[shard_id] = Lease(shard_id, checkpoint=SHARD_END, parents=lease.parents)
            elif stage(lease, rows, known) is Stage.READY and rng.random() < 0.5:
                rows[shard_id] = Lease(
                    shard_id, checkpoint="42", parents=lease.parents, start_time_ms=lease.start_time_ms
                )
        clean_up()

    def clean_up() -> None:
        """KCL's rule: a finished row may go when its children exist and have been begun."""
        for shard_id in list(rows):
            children = [shard for shard in tree.shards.values() if shard.parent_id == shard_id]
            moved = [
                child.shard_id in rows and rows[child.shard_id].checkpoint not in (TRIM_HORIZON, LATEST)
                for child in children
            ]
            if rows[shard_id].finished and children and all(moved) and rng.random() < 0.3:
                del rows[shard_id]

    def trim() -> None:
        """What is trimmed leaves the listings, and later the table."""
        gone = tree.trim(read)
        if gone is not None:
            known.pop(gone, None)
        for lease in removable(rows, tree.shards):
            if rng.random() < 0.5:
                del rows[lease.shard_id]

    for _ in range(rng.randint(0, 12)):
        if rng.random() < 0.6:
            tree.roll()
        step(hidden_share=0.3)
        if rng.random() < 0.3:
            trim()
    for _ in range(100):
        step(hidden_share=0.0)

    assert len(read) == len(set(read)), "a shard was read twice"
    order = {shard_id: place for place, shard_id in enumerate(read)}
    for shard_id in read:
        parent_id = (tree.shards | tree.trimmed)[shard_id].parent_id
        if parent_id in order:
            assert order[parent_id] < order[shard_id], "a child was read before its parent"
    closed = {shard.shard_id for shard in tree.shards.values() if shard.closed}
    unread = closed - set(read)
    if start.checkpoint == TRIM_HORIZON:
        assert not unread, "a shard was never read"
    else:
        assert unread <= there_at_first, "LATEST skipped a child"
