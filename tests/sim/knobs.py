"""Everything that can go wrong in a simulated world, how often and for how long, in one place; each seed draws its own.

A fault is off in about half of the seeds: what goes wrong always hides what only goes wrong in calm weather. Some seeds
have a theme.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

from tests.sim.themes import NEVER, theme_of


@dataclass(frozen=True, slots=True)
class Knobs:
    """`..._every_s`: the mean time between two such events, NEVER for none; `..._p`: the probability of each.

    Times in true seconds.
    """

    # the fleet and its settings
    workers: int
    workers_max: int
    max_leases: int | None
    lease_duration_s: float
    clock_drift: float  # a machine's clock runs at most so much too fast or too slow
    wall_jump_every_s: float
    start: Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]
    on_data_loss: Literal["stop", "skip"]
    buffer_max_bytes: int
    page_limit: int
    batch_window_s: float
    discovery_s: float
    timer_lag_s: float  # how late a busy event loop wakes a timer
    shuffled: bool  # what happens at one moment in several workers happens in any order
    # the table and its stream
    shards: int
    roots_trimmed: bool  # before the first worker starts
    keys: int
    writes_per_s: float
    hot_key_p: float  # of a write: it changes the hottest item
    burst_every_s: float
    roll_every_s: float
    rolled_again_p: float  # of a new shard: it ends at once, and has children of its own
    split_p: float  # of a roll-over: it splits the shard in two
    late_children_p: float
    listing_page: int  # shards in one page of a listing
    shown_open_p: float  # of a closed shard in an answer: it is shown as open
    child_filter: bool  # does the server know ShardFilter?
    empty_pages_p: float  # of a page with records: a run of empty ones comes before it
    iterator_life_s: float
    trim_every_s: float
    forget_every_s: float  # finished roots are trimmed from the tree
    replace_every_s: float
    stream_gone_p: float  # of a replaced stream: it is deleted with what is unread in it
    # workers
    join_every_s: float
    leave_every_s: float
    crash_every_s: float
    freeze_every_s: float
    freeze_max_s: float
    # each request
    latency_s: float
    slow_connect_p: float
    lost_p: float
    no_answer_p: float
    late_effect_p: float
    slow_answer_p: float
    throttled_p: float
    error_p: float
    astray_p: float  # of a read: the shard is not found, this time
    # services
    outage_every_s: float
    outage_max_s: float
    # the queues
    refused_p: float  # of an entry: the queue refuses it this time
    refusing_every_s: float  # every entry is refused for a while
    poison_p: float  # of a write: its message is refused for ever, or is too large, or is no record at all
    letters_failing_every_s: float
    # the lease table
    row_deleted_every_s: float
    table_deleted_every_s: float
    java_every_s: float
    # what only themes have
    storm_s: float = 60.0  # how long there are faults
    only_rows_fail: bool = False  # of all requests only those for single rows of the lease table go astray
    slow_queue: float = 1.0  # so many times the latency for the queues
    scan_page: int | None = None  # rows in one page of a Scan; None: now and then two, else all
    slow_scan_s: float = NEVER  # of every other Scan: until the answer of each of its pages comes, at most
    frozen_at_row_p: float = 0.0  # of a write to a row: its worker freezes as it takes effect, for about a lease
    cut_off_at_row_p: float = 0.0  # of a write to a row: its worker is cut off from the table then, for about a lease
    woken_anyhow: bool = False  # what has come for a frozen process comes before its timers or after them
    unheard_renewal_p: float = 0.0  # of a renewal: it takes effect, and its answer is lost
    frozen_after_read_p: float = 0.0  # of a read of one row: soon after its worker freezes, for about a lease
    remade_p: float = 0.0  # of a deleted row: it is made anew at once, as a person or a listing does it
    slow_taking_p: float = 0.0  # of a taking: it takes effect at once, and is answered seconds later
    slow_release_p: float = 0.0  # of a release: the same
    silent_after_release_p: float = 0.0  # of a release: soon after it took effect its worker freezes, for about a lease
    unlisted_every_s: float = NEVER  # the stream cannot be listed for a while, and all else can be done
    first_listing_late_s: float = NEVER  # at LATEST: after the first row it cannot be listed for so long, at most
    late_children_max_s: float = 6.0
    last_words_p: float = 0.0  # of a replaced stream: a shard ends with it, and its child holds what came last

    @property
    def requests_fail(self) -> bool:
        """Does any request get lost, fail or take long?"""
        faults = (self.slow_connect_p, self.lost_p, self.no_answer_p, self.late_effect_p, self.slow_answer_p)
        others = (self.throttled_p, self.error_p, self.outage_every_s, self.cut_off_at_row_p, self.slow_scan_s)
        rare = (self.unheard_renewal_p, self.slow_taking_p, self.slow_release_p)
        return any((*faults, *others, *rare))

    @property
    def silence_s(self) -> float:
        """After so long without a sign of life an owner may be gone for others, whose clocks run too fast."""
        return self.lease_duration_s / (1 + self.clock_drift)

    @property
    def queue_s(self) -> float:
        """How long a record on its own is on its way to a queue at most, if nothing goes wrong with it."""
        return self.latency_s * 1.3 * self.slow_queue + self.batch_window_s + self.timer_lag_s

    def calm(self) -> Knobs:
        """The same world without any fault."""
        zero: dict[str, Any] = {field.name: NEVER for field in fields(self) if field.name.endswith(("_every_s", "_p"))}
        kept = {"hot_key_p": self.hot_key_p}
        return replace(self, **{**zero, **kept}, clock_drift=0.0, timer_lag_s=0.0, slow_scan_s=NEVER, slow_queue=1.0)


def draw(seed: int) -> Knobs:
    """The profile of a seed."""
    rng = random.Random(f"knobs {seed}")

    def every(share: float, low_s: float, high_s: float) -> float:
        return rng.uniform(low_s, high_s) if rng.random() < share else NEVER

    def chance(share: float, high: float) -> float:
        return rng.random() ** 2 * high if rng.random() < share else 0.0

    workers = rng.choice((1, 1, 2, 2, 3, 3, 3, 4, 5))
    shards = rng.choice((1, 2, 3, 4, 6, 8, 12))
    knobs = Knobs(
        workers=workers,
        workers_max=rng.randint(workers, 8),
        max_leases=rng.choice((None, None, None, None, max(1, shards // 2), shards)),
        lease_duration_s=10.0,
        clock_drift=rng.choice((0.0, 0.001, 0.03)),
        wall_jump_every_s=every(0.3, 10, 60),
        start=rng.choice(("TRIM_HORIZON", "TRIM_HORIZON", "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP")),
        on_data_loss=rng.choice(("skip", "skip", "stop")),
        buffer_max_bytes=rng.choice((40_000, 200_000, 64 << 20)),
        page_limit=rng.choice((3, 10, 100, 1000)),
        batch_window_s=rng.choice((0.0, 0.0, 0.2)),
        timer_lag_s=rng.choice((0.0, 0.002, 0.05)),
        shuffled=rng.random() < 0.7,
        shards=shards,
        keys=rng.choice((3, 20, 200)),
        writes_per_s=rng.choice((2.0, 8.0, 20.0)),
        hot_key_p=chance(0.5, 0.8),
        burst_every_s=every(0.4, 10, 40),
        roll_every_s=every(0.6, 4, 40),
        split_p=chance(0.6, 0.6),
        late_children_p=chance(0.6, 1.0),
        listing_page=rng.choice((4, 20, 100)),
        shown_open_p=chance(0.3, 0.5),
        child_filter=rng.random() < 0.8,
        empty_pages_p=chance(0.3, 0.1),
        iterator_life_s=rng.choice((900.0, 15.0, 4.0)),
        trim_every_s=every(0.2, 10, 60),
        forget_every_s=every(0.4, 5, 40),
        replace_every_s=every(0.3, 15, 50),
        stream_gone_p=chance(0.6, 1.0),
        join_every_s=every(0.5, 8, 40),
        leave_every_s=every(0.5, 10, 40),
        crash_every_s=every(0.5, 10, 50),
        freeze_every_s=every(0.5, 8, 40),
        freeze_max_s=rng.choice((5.0, 12.0, 30.0)),
        latency_s=rng.choice((0.004, 0.02, 0.1)),
        slow_connect_p=chance(0.4, 0.2),
        lost_p=chance(0.4, 0.25),
        no_answer_p=chance(0.5, 0.3),
        late_effect_p=chance(0.4, 0.15),
        slow_answer_p=chance(0.4, 0.4),
        throttled_p=chance(0.4, 0.15),
        error_p=chance(0.4, 0.1),
        outage_every_s=every(0.5, 10, 60),
        outage_max_s=rng.choice((3.0, 10.0, 25.0)),
        refused_p=chance(0.5, 0.3),
        refusing_every_s=every(0.3, 15, 60),
        poison_p=chance(0.4, 0.1),
        letters_failing_every_s=every(0.3, 10, 40),
        row_deleted_every_s=every(0.08, 20, 60),
        table_deleted_every_s=every(0.06, 25, 80),
        java_every_s=every(0.12, 10, 40),
        astray_p=chance(0.4, 0.05),
        discovery_s=rng.choice((60.0, 60.0, 15.0)),
        roots_trimmed=rng.random() < 0.5,
        rolled_again_p=chance(0.5, 0.7),
    )
    mood = _MOODS[rng.choice((*_MOODS, "mixed", "mixed"))]
    theme = theme_of(seed)
    return _possible(replace(knobs, **(mood if theme is None else theme(rng))))


# What goes wrong together: rare defects need several faults of one kind at once.
_MOODS: Final[dict[str, dict[str, Any]]] = {
    "mixed": {},
    "leases": {
        "workers": 3,
        "workers_max": 4,
        "max_leases": None,
        "clock_drift": 0.03,
        "freeze_every_s": 6.0,
        "freeze_max_s": 12.0,
        "slow_connect_p": 0.1,
        "lost_p": 0.2,
        "late_effect_p": 0.1,
        "slow_answer_p": 0.3,
        "outage_every_s": 10.0,
        "outage_max_s": 12.0,
    },
    "lineage": {
        "roll_every_s": 6.0,
        "split_p": 0.3,
        "rolled_again_p": 0.5,
        "late_children_p": 0.8,
        "listing_page": 20,
        "forget_every_s": 10.0,
    },
    "succession": {
        "replace_every_s": 12.0,
        "stream_gone_p": 0.6,
        "roll_every_s": 8.0,
        "late_children_p": 0.5,
        "crash_every_s": 15.0,
    },
}


def _possible(knobs: Knobs) -> Knobs:
    """Without what nobody could stand."""
    if knobs.replace_every_s != NEVER:
        # Without its rows nobody who starts knows of an older stream; what Java holds of one that is gone is Java's.
        return replace(knobs, table_deleted_every_s=NEVER, row_deleted_every_s=NEVER, java_every_s=NEVER)
    if knobs.start == "LATEST" and (knobs.table_deleted_every_s, knobs.row_deleted_every_s) != (NEVER, NEVER):
        # For a worker that starts on an empty table it is the first start.
        return replace(knobs, join_every_s=NEVER, leave_every_s=NEVER, crash_every_s=NEVER)
    return knobs
