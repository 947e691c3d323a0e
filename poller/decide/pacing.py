"""When to ask a shard for its next page: from the last page to a pause in seconds.

GetRecords is what the service bills: an idle shard polled every 250 ms costs 2.07 USD a month, every second 0.52. So
a full page is followed at once, a page with records soon, and empty ones ever later up to `idle_max_s`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# A page this full, of records or of bytes (1 MB at most), tells of more behind it.
_FULL_RECORDS = 0.5
_FULL_BYTES = 512 * 1024
_GROWTH = 1.5
# However small the budget: an idle shard is not left alone for longer, as no setting can say either.
STRETCHED_MAX_S = 300.0


@dataclass(frozen=True, slots=True)
class PacingLimits:
    """`idle_min_s`: the pause after a page with records; `idle_max_s`: the longest between two polls of an idle shard.

    On average: whoever rests makes each a little longer or shorter (`poller.run.shard`).
    """

    idle_min_s: float
    idle_max_s: float
    page_limit: int


def next_pause_s(
    limits: PacingLimits, last_pause_s: float, *, records: int, size_bytes: int, caught_up: bool, closed: bool
) -> float:
    """The pause before the next poll.

    `caught_up` is false from the first read of a shard until its first empty page: while it is, a page with records is
    followed at once, since more is known to wait. `closed`: nothing is added to the shard any more, so it has an end to
    hurry to, and its children wait. Empty pages are normal also where there is data further on, so the pauses between
    them grow step by step, not at a stroke.
    """
    if closed:
        return 0.0
    if records:
        full = records >= limits.page_limit * _FULL_RECORDS or size_bytes >= _FULL_BYTES
        return 0.0 if full or not caught_up else limits.idle_min_s
    if last_pause_s < limits.idle_min_s:
        return limits.idle_min_s
    return min(limits.idle_max_s, last_pause_s * _GROWTH)


def stretched_idle_max_s(
    limits: PacingLimits, *, left_usd: float, shards: int, polling_usd: float
) -> tuple[float, bool]:
    """The longest pause between two polls of an idle shard with which so many cost no more than `left_usd` a month.

    `polling_usd`: what one poll a second costs a month. Never shorter than the settings want it, never longer than
    `STRETCHED_MAX_S`; false: not even that keeps the budget.
    """
    needed_s = math.inf if left_usd <= 0.0 else shards * polling_usd / left_usd
    idle_max_s = max(limits.idle_max_s, min(STRETCHED_MAX_S, needed_s))
    return idle_max_s, needed_s <= idle_max_s
