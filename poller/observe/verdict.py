"""How it stands, in one sentence for somebody who was just woken up: a pure decision over what is known.

It never contradicts readiness: it is trouble, a start or an end exactly when there are reasons not to be ready. Of
several troubles the first in `_SENTENCES` is told, since it explains the others or must be seen to first; the rest is
counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from poller.observe.health import Reason
from poller.observe.known import Known, ShardKnown
from poller.observe.shard_metrics import RETENTION_S
from poller.observe.spoken import counted, spoken

# A start that takes longer is trouble.
START_S: Final = 60.0
# Reading that is farther behind is worth a look.
BEHIND_S: Final = 60.0
_ERROR_MAX: Final = 140
_NAMED_MAX: Final = 3
_AT_WORK: Final = ("reading", "draining")
_DONE: Final = ("finished", "waiting_for_parent")


class Level(StrEnum):
    """How loud: OK; ATTENTION: ready, and worth a look; the others are not ready. From the quietest to the loudest."""

    OK = "ok"
    ATTENTION = "attention"
    STOPPING = "stopping"
    STARTING = "starting"
    TROUBLE = "trouble"


_LOUDNESS: Final = tuple(Level)


class Verdict(NamedTuple):
    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What the sentence is made of: what is known at a moment. `queues` are the names of the routes' queues."""

    known: Known
    reasons: Sequence[Reason]
    queues: Mapping[str, str]
    now: float
    wall_s: float

    def of(self, part: str) -> list[Reason]:
        """The reasons of this part, or of all parts that begin so, oldest first.

        A shard that is not read since its records were lost is the loss's matter.
        """
        found = [reason for reason in self.reasons if reason.part == part or reason.part.startswith(f"{part} ")]
        return [reason for reason in found if not (part == "shard" and self._lost(reason))]

    def _lost(self, reason: Reason) -> bool:
        shard = self.known.shards.get(reason.part.removeprefix("shard "))
        return shard is not None and shard.lost_at is not None

    def lasting(self, reasons: Iterable[Reason]) -> str:
        return spoken(self.now - min(reason.since for reason in reasons))


@dataclass(frozen=True, slots=True)
class Tally:
    """The shards of one stream or of several. `here` are this worker's; `open` those that should be read."""

    read: int
    open: int
    here: int
    behind_s: float
    retrying: int
    retrying_s: float
    dead_lettered: int
    failing: int = 0
    unlooked: str = ""
    streams: int = 1

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.read + other.read,
            self.open + other.open,
            self.here + other.here,
            max(self.behind_s, other.behind_s),
            self.retrying + other.retrying,
            max(self.retrying_s, other.retrying_s),
            self.dead_lettered + other.dead_lettered,
            self.failing + other.failing,
            self.unlooked or other.unlooked,
            self.streams + other.streams,
        )


def verdict(seen: Seen) -> Verdict:
    """The verdict on one stream."""
    for part, sentence in _SENTENCES:
        reasons = seen.of(part)
        if reasons:
            level, text = sentence(seen, reasons)
            return Verdict(level, f"{text}{_losses(seen, part)}{_others(seen, part)}.")
    if seen.reasons:
        return Verdict(Level.TROUBLE, seen.reasons[0].text)
    return calm(tally(seen))


def overall(verdicts: Mapping[str, Verdict], tallies: Iterable[Tally]) -> Verdict:
    """The verdict on several streams, by name: that of the one that is worst off, or on all of them together."""
    name, worst = max(verdicts.items(), key=lambda one: _LOUDNESS.index(one[1].level))
    if worst.level is Level.STOPPING:
        return worst
    if worst.level in (Level.OK, Level.ATTENTION):
        first, *rest = tallies
        return calm(sum(rest, first))
    as_bad = sum(one.level not in (Level.OK, Level.ATTENTION) for one in verdicts.values()) - 1
    others = f" {counted(as_bad, 'other stream')} not ready either." if as_bad else ""
    return Verdict(worst.level, f"Stream {name}: {worst.text}{others}")


def of_processes(verdicts: Mapping[int, Verdict]) -> Verdict:
    """The verdict on several processes, by number: that of the one that is worst off, and how many are as badly."""
    number, worst = max(verdicts.items(), key=lambda one: _LOUDNESS.index(one[1].level))
    text = f"Process {number}: {worst.text}"
    if worst.level is Level.OK:
        all_ = {1: "", 2: "Both processes are well. "}.get(len(verdicts), f"All {len(verdicts)} processes are well. ")
        return Verdict(worst.level, all_ + text)
    ready = worst.level is Level.ATTENTION
    as_bad = [one for one in verdicts.values() if one.level is not Level.OK and (one.level is Level.ATTENTION) is ready]
    others = counted(len(as_bad) - 1, "other process", "other processes")
    what = "worth a look as well" if ready else "not ready either"
    return Verdict(worst.level, f"{text} {others} {what}." if len(as_bad) > 1 else text)


# --- nothing is wrong -------------------------------------------------------------------------------------------------


def tally(seen: Seen) -> Tally:
    known, states = seen.known, seen.known.fleet.shards if seen.known.fleet else {}
    retrying = [min(one.retrying_since_wall_s.values()) for one in known.shards.values() if one.retrying_since_wall_s]
    return Tally(
        read=sum(states.get(state, 0) for state in _AT_WORK),
        open=sum(count for state, count in states.items() if state not in _DONE),
        here=len(known.shards),
        behind_s=max((one.behind_s or 0.0 for one in known.shards.values()), default=0.0),
        retrying=len(retrying),
        retrying_s=max((seen.wall_s - since_s for since_s in retrying), default=0.0),
        dead_lettered=int(known.flow.recently().dead_lettered),
        failing=sum(one.failing is not None for one in known.shards.values()),
        unlooked="The stream is disabled and read to its end; its table has no newer one" if known.ended else "",
    )


def calm(sums: Tally) -> Verdict:
    """What there is to say while it is ready."""
    parts = [sums.unlooked or _read(sums)]
    if sums.here:
        parts.append(f"{spoken(sums.behind_s)} behind" if sums.behind_s else "up to date")
    if sums.failing:
        parts.append(f"the last reads of {counted(sums.failing, 'shard')} failed")
    if sums.retrying:
        shards = counted(sums.retrying, "shard")
        parts.append(f"{shards} {'retries' if sums.retrying == 1 else 'retry'} a record for {spoken(sums.retrying_s)}")
    else:
        parts.append("nothing retrying")
    if sums.dead_lettered:
        parts.append(f"{counted(sums.dead_lettered, 'record')} dead-lettered in the last 5 min")
    looked_at = sums.failing or sums.retrying or sums.dead_lettered or sums.unlooked or sums.behind_s > BEHIND_S
    level = Level.ATTENTION if looked_at or sums.read < sums.open else Level.OK
    return Verdict(level, "; ".join(parts) + ".")


def _read(sums: Tally) -> str:
    of = f" of {sums.streams} streams" if sums.streams > 1 else ""
    if not sums.open:
        return f"No shard{of} is there to be read"
    if sums.read < sums.open:
        return f"{sums.read:,} of {sums.open:,} shards{of} are read"
    all_ = f"All {sums.open:,} shards{of} are read"
    if sums.open < 3 and sums.streams == 1:
        all_ = "The only shard is read" if sums.open == 1 else "Both shards are read"
    if sums.here == sums.open:
        return all_
    if sums.open == 1:
        return f"{all_}, by another worker"
    return f"{all_}, {f'{sums.here:,} of them' if sums.here else 'none of them'} by this worker"


# --- something is -----------------------------------------------------------------------------------------------------

Sentence = Callable[[Seen, Sequence[Reason]], tuple[Level, str]]


def _stop(seen: Seen, reasons: Sequence[Reason]) -> tuple[Level, str]:
    return Level.STOPPING, f"This worker has been leaving for {seen.lasting(reasons)}: it gives its shards back"


def _start(seen: Seen, reasons: Sequence[Reason]) -> tuple[Level, str]:
    known, lasting = seen.known, seen.lasting(reasons)
    if known.start_failed is not None:
        return Level.TROUBLE, f"It has not been able to start for {lasting}: {_brief(known.start_failed.error)}"
    level = Level.TROUBLE if seen.now - reasons[0].since > START_S else Level.STARTING
    if known.waiting_for is not None:
        return level, f"The start has been waiting for {lasting} for the {_brief(known.waiting_for.error)}"
    if known.found_at is None:
        return level, f"It has been starting for {lasting}: stream, lease table and queues are looked for"
    return level, f"It has been starting for {lasting}: all is found, and the first pages are being read"


def _worker(seen: Seen, reasons: Sequence[Reason]) -> tuple[Level, str]:
    error = f": {_brief(seen.known.worker_failed.error)}" if seen.known.worker_failed else ""
    return Level.TROUBLE, f"This worker has failed and not read for {seen.lasting(reasons)}, and begins again{error}"


def _lease_table(seen: Seen, reasons: Sequence[Reason]) -> tuple[Level, str]:
    failing, lasting = seen.known.lease_table_failing, seen.lasting(reasons)
    if failing is None:
        return Level.TROUBLE, f"The lease table has not been looked at for {lasting}{_first_lost(seen)}"
    text = f"The lease table has not answered as it should for {lasting}, and nothing is sent: {_brief(failing.error)}"
    return Level.TROUBLE, text + _first_lost(seen)


def _queue(seen: Seen, reasons: Sequence[Reason]) -> tuple[Level, str]:
    names = [reason.part.removeprefix("queue of route ") for reason in reasons]
    queues = list(dict.fromkeys(seen.queues.get(name, name) for name in names))
    waiting = sum(seen.known.routes[name].waiting for name in names)
    failing = any(seen.known.routes[name].failing for name in names)
    who = f"Queue {queues[0]} has" if len(queues) == 1 else f"Queues {_listed(queues)} have"
    what = "refused everything" if failing else "not answered"
    wait = f"{counted(waiting, 'record')} wait{'s' if waiting == 1 else ''}"
    return Level.TROUBLE, f"{who} {what} for {seen.lasting(reasons)}; {wait}{_first_lost(seen)}"


def _dead_letters(seen: Seen, reasons: Sequence[Reason]) -> tuple[Level, str]:
    names = [reason.part.removeprefix("dead-letter queue of route ") for reason in reasons]
    waiting = max(1, sum(seen.known.routes[name].dead_letters_waiting for name in names))
    what = "A refused record" if waiting == 1 else f"{waiting:,} refused records"
    where = f"route {names[0]}" if len(names) == 1 else f"routes {_listed(names)}"
    stored = "has not been stored as a dead letter" if waiting == 1 else "have not been stored as dead letters"
    text = f"{what} of {where} {stored} for {seen.lasting(reasons)}, and no checkpoint passes what is not stored"
    return Level.TROUBLE, text + _first_lost(seen)


def _shards(seen: Seen, reasons: Sequence[Reason]) -> tuple[Level, str]:
    names = [reason.part.removeprefix("shard ") for reason in reasons]
    known = [seen.known.shards[name] for name in names if name in seen.known.shards]
    which = (
        f"Shard {names[0]} has not been read as it"
        if len(names) == 1
        else (f"{len(names):,} of this worker's {len(seen.known.shards):,} shards have not been read as they")
    )
    why = next((f": {_brief(one.failing.error)}" for one in known if one.failing), "")
    loss = _first_lost(seen) or _unread_lost(seen, known)
    return Level.TROUBLE, f"{which} should for {seen.lasting(reasons)}{why}{loss}"


def _unowned(seen: Seen, reasons: Sequence[Reason]) -> tuple[Level, str]:
    fleet, nobodys = seen.known.fleet, seen.known.nobodys
    times_ms = [row.lease.checkpoint_time_ms for row in fleet.rows if row.lease.shard_id in nobodys] if fleet else []
    known_s = [time_ms / 1000 for time_ms in times_ms if time_ms]
    which = f"shard {min(nobodys)}" if len(nobodys) == 1 else f"{len(nobodys):,} shards"
    loss = f"; data may be lost {_from_now(seen, min(known_s))}" if known_s else ""
    rowless = fleet is not None and nobodys.keys() <= set(fleet.rowless)
    mend = "its lease row cannot be read" if rowless else "start another worker"
    return Level.TROUBLE, f"Nobody has been reading {which} for {seen.lasting(reasons)}; {mend}{loss}"


def _view_type(seen: Seen, reasons: Sequence[Reason]) -> tuple[Level, str]:
    stream = f"a stream of {seen.known.view_type}"
    return Level.TROUBLE, f"For {seen.lasting(reasons)} {stream} has been read, which lacks images that a route needs"


def _buffers(seen: Seen, reasons: Sequence[Reason]) -> tuple[Level, str]:
    waiting = counted(seen.known.buffered_records, "record")
    text = (
        f"Reading has been paused for {seen.lasting(reasons)}, since the queues take less than is read; {waiting} wait"
    )
    return Level.TROUBLE, text + _first_lost(seen)


def _discovery(seen: Seen, reasons: Sequence[Reason]) -> tuple[Level, str]:
    failing = seen.known.discovery_failing
    why = f": {_brief(failing.error)}" if failing else ""
    return Level.TROUBLE, f"Nobody has been able to look for new shards for {seen.lasting(reasons)}{why}"


def _loss(seen: Seen, _reasons: Sequence[Reason]) -> tuple[Level, str]:
    known = seen.known
    if not known.losses:
        return Level.TROUBLE, "Records were lost that were never read"
    first = known.losses[0]
    where = f"shard {first.shard}" if known.losses_total == 1 else f"{known.losses_total:,} places"
    stopped = sum(one.lost_at is not None for one in known.shards.values())
    unread = f"; {counted(stopped, 'shard')} not read since" if stopped else ""
    ago = spoken(seen.now - first.at)
    return Level.TROUBLE, f"Records of {where} were lost unread {ago} ago ({first.reason}){unread}"


# What is told first. A queue that is down stands before the shards that wait for it, and what goes on before a loss
# that has happened, which is told beside it.
_SENTENCES: Final[tuple[tuple[str, Sentence], ...]] = (
    ("stop", _stop),
    ("worker", _worker),
    ("start", _start),
    ("lease table", _lease_table),
    ("queue of route", _queue),
    ("dead-letter queue of route", _dead_letters),
    ("shard", _shards),
    ("unowned shards", _unowned),
    ("view type", _view_type),
    ("buffers", _buffers),
    ("discovery", _discovery),
    ("data loss", _loss),
)


def _losses(seen: Seen, part: str) -> str:
    if part in ("data loss", "stop") or not seen.known.losses_total:
        return ""
    return f"; records were lost in {counted(seen.known.losses_total, 'place')}"


def _others(seen: Seen, part: str) -> str:
    """Troubles of other kinds. A loss is told by itself; a pause follows from a queue that is down."""
    told = {part, "data loss"} | ({"buffers"} if part == "queue of route" else set())
    kinds = [kind for kind, _ in _SENTENCES if kind not in told and seen.of(kind)]
    return f"; {counted(len(kinds), 'more trouble')} below" if kinds and part != "stop" else ""


def _first_lost(seen: Seen) -> str:
    """When the oldest record that is read and not settled is trimmed from the stream."""
    created = [one.oldest_created_wall_s for one in seen.known.shards.values() if one.oldest_created_wall_s]
    return f"; the first is lost {_from_now(seen, min(created))}" if created else ""


def _unread_lost(seen: Seen, shards: Iterable[ShardKnown]) -> str:
    """The same for what was not read: it is younger than the last page."""
    polled = [one.polled_at for one in shards if one.polled_at is not None]
    if not polled:
        return ""
    return f"; data may be lost {_from_now(seen, seen.wall_s - (seen.now - min(polled)))}"


def _from_now(seen: Seen, created_s: float) -> str:
    left_s = created_s + RETENTION_S - seen.wall_s
    return f"in {spoken(left_s)}" if left_s > 0 else "at any moment"


def _listed(names: Sequence[str]) -> str:
    if len(names) > _NAMED_MAX:
        return f"{', '.join(names[:_NAMED_MAX])} and {len(names) - _NAMED_MAX} more"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _brief(error: str) -> str:
    error = error.rstrip(".")
    return error if len(error) <= _ERROR_MAX else f"{error[:_ERROR_MAX]}..."
