"""Themes: weather in which coincidences that are rare elsewhere are common, each in some seeds.

Each draws what it changes of a seed's knobs.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

NEVER: Final = 0.0

Theme = Callable[[random.Random], dict[str, Any]]

_NO_FAULTS: Final = dict.fromkeys(
    ("slow_connect_p", "lost_p", "no_answer_p", "late_effect_p", "slow_answer_p", "throttled_p", "error_p", "astray_p"),
    0.0,
)
_NOTHING_DELETED: Final = dict.fromkeys(("row_deleted_every_s", "table_deleted_every_s", "java_every_s"), NEVER)


_COMING_AND_GOING: Final = {
    **_NO_FAULTS,
    **_NOTHING_DELETED,
    "writes_per_s": 2.0,
    "only_rows_fail": True,
    "outage_every_s": NEVER,
    "replace_every_s": NEVER,
    "refused_p": 0.0,
    "refusing_every_s": NEVER,
    "poison_p": 0.0,
    "crash_every_s": NEVER,
    "freeze_every_s": NEVER,
    "join_every_s": 5.0,
    "leave_every_s": 5.0,
}


def _deadlines(rng: random.Random) -> dict[str, Any]:
    """Few leases, and workers that fall silent for about as long as a lease lasts, each time after a write."""
    return {
        **_NO_FAULTS,
        **_NOTHING_DELETED,
        "workers": rng.choice((3, 4)),
        "workers_max": 5,
        "max_leases": None,
        "clock_drift": rng.choice((0.0, 0.03)),
        "latency_s": rng.choice((0.004, 0.02)),
        "shards": rng.choice((1, 2, 3)),
        "split_p": 0.0,
        "storm_s": 240.0,
        "writes_per_s": rng.choice((0.3, 1.0)),
        "burst_every_s": NEVER,
        "roll_every_s": rng.choice((NEVER, 8.0)),
        "join_every_s": rng.choice((NEVER, 20.0)),
        "leave_every_s": rng.choice((NEVER, 20.0)),
        "only_rows_fail": True,
        **rng.choice(
            (
                {"slow_answer_p": 0.5},
                {"no_answer_p": 0.35, "lost_p": 0.3},
                {"slow_answer_p": 0.2, "no_answer_p": 0.2, "lost_p": 0.2},
            )
        ),
        "slow_scan_s": rng.choice((NEVER, 1.0)),
        "outage_every_s": NEVER,
        "replace_every_s": NEVER,
        "crash_every_s": NEVER,
        "freeze_every_s": NEVER,
        "frozen_at_row_p": rng.choice((0.1, 0.3)),
        "cut_off_at_row_p": rng.choice((0.0, 0.02)),
        "woken_anyhow": True,
    }


def _long_looks(rng: random.Random) -> dict[str, Any]:
    """A look at the lease table takes about as long as a lease lasts."""
    return {
        **_NO_FAULTS,
        **_NOTHING_DELETED,
        "storm_s": 120.0,
        "workers": 3,
        "workers_max": 4,
        "max_leases": None,
        "shards": 12,
        "writes_per_s": 0.3,
        "keys": 200,
        "hot_key_p": 0.0,
        "roll_every_s": NEVER,
        "outage_every_s": NEVER,
        "replace_every_s": NEVER,
        "crash_every_s": NEVER,
        "freeze_every_s": NEVER,
        "join_every_s": 10.0,
        "leave_every_s": 20.0,
        "burst_every_s": NEVER,
        "scan_page": 1,
        "slow_scan_s": 2.5,
    }


def _crowds(rng: random.Random) -> dict[str, Any]:
    """Many workers come and go while answers of the lease table are on their way."""
    return {
        **_COMING_AND_GOING,
        "storm_s": 150.0,
        "workers": 3,
        "workers_max": 7,
        "max_leases": None,
        "shards": rng.choice((1, 2, 4)),
        "roll_every_s": 3.0,
        "split_p": 0.8,
        "slow_answer_p": 0.6,
        "frozen_at_row_p": rng.choice((0.0, 0.02)),
        "woken_anyhow": True,
    }


def _farewells(_rng: random.Random) -> dict[str, Any]:
    """One or two workers come and go, and the queues are slow."""
    return {
        **_COMING_AND_GOING,
        "workers": 1,
        "workers_max": 2,
        "keys": 200,
        "hot_key_p": 0.0,
        "burst_every_s": NEVER,
        "batch_window_s": 0.0,
        "latency_s": 0.02,
        "slow_queue": 20.0,
        "roll_every_s": NEVER,
    }


def _descent(rng: random.Random) -> dict[str, Any]:
    """Shards whose parents and children are listed late."""
    return {
        **_NOTHING_DELETED,
        "workers": rng.choice((2, 3, 4)),
        "max_leases": None,
        "start": "TRIM_HORIZON",
        "shards": rng.choice((1, 2, 4)),
        "keys": 20,
        "writes_per_s": 20.0,
        "roll_every_s": 6.0,
        "rolled_again_p": 0.7,
        "late_children_p": 0.4,
        "late_children_max_s": 7.5,
        "listing_page": 100,
        "replace_every_s": NEVER,
        "trim_every_s": NEVER,
        "freeze_every_s": NEVER,
        "outage_every_s": NEVER,
        "join_every_s": 10.0,
    }


def _successions(rng: random.Random) -> dict[str, Any]:
    """Streams that are replaced as soon as they are read, and whose last shard is listed late."""
    return {
        **_NO_FAULTS,
        **_NOTHING_DELETED,
        "storm_s": 120.0,
        "workers": rng.choice((1, 2, 3)),
        "max_leases": None,
        "start": "TRIM_HORIZON",
        "shards": rng.choice((1, 2)),
        "writes_per_s": 2.0,
        "burst_every_s": NEVER,
        "roll_every_s": NEVER,
        "listing_page": 100,
        "replace_every_s": 15.0,
        "stream_gone_p": rng.choice((0.0, 0.3)),
        "last_words_p": 1.0,
        "late_children_max_s": 7.8,
        "trim_every_s": NEVER,
        "freeze_every_s": NEVER,
        "outage_every_s": NEVER,
        "refused_p": 0.0,
        "refusing_every_s": NEVER,
        "poison_p": 0.0,
    }


def _full_hands(rng: random.Random) -> dict[str, Any]:
    """Workers that have as many leases as they may, come and go, and whose takings are answered late."""
    workers, each = rng.choice((2, 3)), rng.choice((1, 2))
    return {
        **_COMING_AND_GOING,
        "storm_s": 120.0,
        "workers": workers,
        "workers_max": workers,
        "max_leases": each,
        "shards": workers * each,
        "burst_every_s": NEVER,
        "roll_every_s": rng.choice((NEVER, 6.0)),
        "split_p": 0.1,
        "slow_taking_p": 0.5,
    }


def _slow_takings(rng: random.Random) -> dict[str, Any]:
    """Shards change hands all the time, and takings are answered late."""
    return {
        **_COMING_AND_GOING,
        "storm_s": 120.0,
        "workers": 3,
        "workers_max": 4,
        "max_leases": None,
        "shards": rng.choice((1, 2)),
        "burst_every_s": NEVER,
        "roll_every_s": 2.0,
        "split_p": 0.8,
        "slow_taking_p": 0.7,
    }


def _givings_up(rng: random.Random) -> dict[str, Any]:
    """Shards change hands, and who gives one up falls silent before or after it hears that it has."""
    return {
        **_COMING_AND_GOING,
        "storm_s": 120.0,
        "workers": rng.choice((2, 3)),
        "workers_max": 4,
        "max_leases": None,
        "shards": rng.choice((4, 8)),
        "keys": 200,
        "hot_key_p": 0.0,
        "writes_per_s": 0.5,
        "burst_every_s": NEVER,
        "roll_every_s": rng.choice((NEVER, 4.0)),
        "split_p": 0.0,
        "join_every_s": 6.0,
        "leave_every_s": 12.0,
        "slow_release_p": 0.5,
        "silent_after_release_p": 0.5,
        "woken_anyhow": True,
    }


def _unheard(rng: random.Random) -> dict[str, Any]:
    """A lease each, whose renewals land unheard, and then their worker falls silent."""
    return {
        **_deadlines(rng),
        "workers": rng.choice((2, 3)),
        "shards": rng.choice((1, 2)),
        "writes_per_s": 0.1,
        "roll_every_s": NEVER,
        "join_every_s": NEVER,
        "leave_every_s": NEVER,
        "slow_answer_p": 0.0,
        "lost_p": 0.0,
        "no_answer_p": 0.0,
        "slow_scan_s": NEVER,
        "frozen_at_row_p": 0.0,
        "cut_off_at_row_p": 0.0,
        "unheard_renewal_p": 0.4,
        "frozen_after_read_p": 0.4,
    }


def _late_beginnings(rng: random.Random) -> dict[str, Any]:
    """At LATEST: the stream cannot be listed after the first row is made, and shards end meanwhile."""
    return {
        **_NO_FAULTS,
        **_NOTHING_DELETED,
        "start": "LATEST",
        "workers": 1,
        "max_leases": None,
        "shards": rng.choice((4, 8)),
        "roots_trimmed": True,
        "writes_per_s": 8.0,
        "roll_every_s": 2.0,
        "rolled_again_p": 0.5,
        "split_p": 0.0,
        "forget_every_s": NEVER,
        "trim_every_s": NEVER,
        "replace_every_s": NEVER,
        "outage_every_s": NEVER,
        "crash_every_s": NEVER,
        "freeze_every_s": NEVER,
        "join_every_s": NEVER,
        "leave_every_s": NEVER,
        "first_listing_late_s": 16.5,
    }


def _tables_lost(_rng: random.Random) -> dict[str, Any]:
    """At LATEST: the lease table is deleted again and again."""
    return {
        **_NO_FAULTS,
        **_NOTHING_DELETED,
        "start": "LATEST",
        "workers": 3,
        "max_leases": None,
        "storm_s": 90.0,
        "writes_per_s": 20.0,
        "roll_every_s": 3.0,
        "trim_every_s": NEVER,
        "replace_every_s": NEVER,
        "outage_every_s": NEVER,
        "freeze_every_s": NEVER,
        "discovery_s": 15.0,
        "table_deleted_every_s": 12.0,
        "refusing_every_s": 6.0,
        "outage_max_s": 12.0,
    }


def _rows_lost(_rng: random.Random) -> dict[str, Any]:
    """Shards end faster than they are read, and the rows of parents and children are deleted."""
    return {
        **_NO_FAULTS,
        **_NOTHING_DELETED,
        "workers": 4,
        "workers_max": 6,
        "max_leases": None,
        "storm_s": 90.0,
        "shards": 2,
        "keys": 20,
        "writes_per_s": 2.0,
        "burst_every_s": NEVER,
        "roll_every_s": 3.0,
        "rolled_again_p": 0.3,
        "split_p": 0.4,
        "listing_page": 100,
        "late_children_p": 0.5,
        "join_every_s": 10.0,
        "forget_every_s": NEVER,
        "trim_every_s": NEVER,
        "replace_every_s": NEVER,
        "outage_every_s": NEVER,
        "freeze_every_s": NEVER,
        "refusing_every_s": 6.0,
        "outage_max_s": 10.0,
        "discovery_s": 60.0,
        "row_deleted_every_s": 0.4,
    }


def _rows_remade(rng: random.Random) -> dict[str, Any]:
    """Idle leases, whose rows are deleted and made anew."""
    return {
        **_NO_FAULTS,
        **_NOTHING_DELETED,
        "workers": rng.choice((1, 2)),
        "workers_max": 2,
        "max_leases": None,
        "storm_s": 120.0,
        "shards": 12,
        "keys": 200,
        "hot_key_p": 0.0,
        "writes_per_s": 0.3,
        "burst_every_s": NEVER,
        "roll_every_s": NEVER,
        "forget_every_s": NEVER,
        "trim_every_s": NEVER,
        "replace_every_s": NEVER,
        "outage_every_s": NEVER,
        "freeze_every_s": NEVER,
        "row_deleted_every_s": 2.5,
        "remade_p": 0.7,
    }


def _unlisted(_rng: random.Random) -> dict[str, Any]:
    """The stream can be read and not be listed, while others than who lists for all look for themselves."""
    return {
        **_NO_FAULTS,
        **_NOTHING_DELETED,
        "storm_s": 110.0,
        "workers": 4,
        "workers_max": 4,
        "max_leases": None,
        "outage_every_s": NEVER,
        "replace_every_s": NEVER,
        "crash_every_s": NEVER,
        "freeze_every_s": NEVER,
        "join_every_s": NEVER,
        "leave_every_s": NEVER,
        "writes_per_s": 2.0,
        "burst_every_s": NEVER,
        "roll_every_s": NEVER,
        "poison_p": 0.0,
        "refused_p": 0.0,
        "refusing_every_s": NEVER,
        "unlisted_every_s": 15.0,
        "outage_max_s": 60.0,
        "discovery_s": 15.0,
    }


def _left_behind(rng: random.Random) -> dict[str, Any]:
    """Streams are gone soon after they are replaced, while what some worker has read of them waits for a queue."""
    return {
        **_NO_FAULTS,
        **_NOTHING_DELETED,
        "storm_s": 120.0,
        "workers": 3,
        "workers_max": 4,
        "max_leases": None,
        "start": "TRIM_HORIZON",
        "shards": rng.choice((4, 8)),
        "keys": 8,
        "writes_per_s": 6.0,
        "roll_every_s": NEVER,
        "replace_every_s": 20.0,
        "stream_gone_p": 1.0,
        "trim_every_s": NEVER,
        "crash_every_s": NEVER,
        "freeze_every_s": NEVER,
        "outage_every_s": NEVER,
        "poison_p": 0.0,
        "refused_p": rng.choice((0.0, 0.3)),
        "refusing_every_s": 8.0,
        "outage_max_s": 20.0,
    }


_THEMES: Final[tuple[Theme, ...]] = (
    _deadlines,
    _crowds,
    _long_looks,
    _descent,
    _deadlines,
    _farewells,
    _successions,
)
_RARE_THEMES: Final[tuple[Theme, ...]] = (
    _full_hands,
    _slow_takings,
    _tables_lost,
    _late_beginnings,
    _unheard,
    _rows_lost,
    _unlisted,
    _rows_remade,
)
_OF_ROWS: Final[tuple[Theme, ...]] = (_givings_up, _tables_lost, _late_beginnings, _givings_up, _rows_remade)

_OF_STREAMS: Final[tuple[Theme, ...]] = (_left_behind,)

# Of twenty seeds in a row thirteen have a theme: which ones, and of which list.
_ROUND: Final = 20
_TURNS: Final = (
    ((3, 7, 11, 15, 19), _THEMES),
    ((4, 9, 14), _RARE_THEMES),
    ((0, 12, 18), _OF_ROWS),
    ((6, 16), _OF_STREAMS),
)


def theme_of(seed: int) -> Theme | None:
    """What a seed has in place of a mood, None for a third of them."""
    rounds, place = divmod(seed, _ROUND)
    for places, themes in _TURNS:
        if place in places:
            return themes[(rounds * len(places) + places.index(place)) % len(themes)]
    return None
