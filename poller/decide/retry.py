"""What becomes of a refused entry, and when to try anything again.

One bad record must stop nobody else, and a queue that is down is not a bad record: an attempt only counts against an
entry when the queue has shown meanwhile that it takes messages.
"""

from __future__ import annotations

from dataclasses import dataclass

from poller.model import Accepted, EntryOutcome, Refused


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential waits: `first_s`, doubled each time up to `max_s`; jitter takes away at most half of each."""

    first_s: float
    max_s: float

    def wait_s(self, failures: int, random_unit: float) -> float:
        """The wait after the `failures`-th failure in a row (from 1). `random_unit`: a random number in [0, 1)."""
        full = min(self.max_s, self.first_s * 2.0 ** min(max(failures, 1) - 1, 30))
        return full * (0.5 + 0.5 * random_unit)


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """`max_attempts` counted refusals of one record (>= 1); `max_record_age_s` since its creation, None: no limit.

    `count_all`: every refusal counts, also by a queue that takes nothing else: for work that is to come to an end.
    """

    max_attempts: int
    max_record_age_s: float | None
    backoff: Backoff
    count_all: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """Settled: the queue has it."""


@dataclass(frozen=True, slots=True)
class Again:
    """Send the same entry again after `wait_s`. `attempts` is its new count of refusals."""

    wait_s: float
    attempts: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Never again: to the dead-letter queue. `reason`: refused, max_attempts or max_record_age."""

    reason: str
    attempts: int


Fate = Sent | Again | DeadLetter


def fate(
    outcome: EntryOutcome,
    limits: RetryLimits,
    *,
    attempts: int,
    tries: int,
    queue_alive: bool,
    age_s: float,
    random_unit: float,
) -> Fate:
    """What becomes of one entry of a batch that the queue answered.

    `attempts`: refusals counted before this one; `tries`: refusals in a row whether they counted or not, this one
    included: they set the wait. `queue_alive`: the queue took some other entry of this very batch, or of one that was
    sent since this entry's last try; without that the refusal is not held against the record: a queue that refuses
    everything is waited for. `age_s`: since the record's creation.
    """
    queue_alive = queue_alive or limits.count_all
    match outcome:
        case Accepted():
            return Sent()
        case Refused(sender_fault=True):
            return DeadLetter("refused", attempts + 1)
        case Refused():
            counted = attempts + 1 if queue_alive else attempts
            if queue_alive and counted >= limits.max_attempts:
                return DeadLetter("max_attempts", counted)
            if queue_alive and limits.max_record_age_s is not None and age_s >= limits.max_record_age_s:
                return DeadLetter("max_record_age", counted)
            return Again(limits.backoff.wait_s(tries, random_unit), counted)
