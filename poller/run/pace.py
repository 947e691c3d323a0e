"""How often a worker's loops turn, and how long it takes to leave."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the loops turn, in seconds.

    The look for the children of a shard that has just ended comes after `children_first_s`, and ever later, up to
    `discovery_s`, while there are none; a disabled stream's successor is looked for every `successor_s`. On an empty
    lease table that others may have found as well, the first listing comes within `bootstrap_s`. A lease on its way to
    another worker is settled for `drain_s` at most. A leaving worker reads on for `seek_s` at most, until others have
    claimed its leases; it has `drain_s` to settle what is in flight and `farewell_s` each for the last checkpoints and
    for giving the leases back, or for that what is left of the whole; everything is over within `leave_s`.
    """

    checkpoint_s: float
    discovery_s: float
    children_first_s: float = 0.25
    successor_s: float = 5.0
    bootstrap_s: float = 1.0
    seek_s: float = 4.7
    drain_s: float = 4.0
    farewell_s: float = 2.5
    leave_s: float = 9.0
