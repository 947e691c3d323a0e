"""What the stand-in's logs prove about a fleet: who held which lease when, who read and who sent without holding it,
what came twice and whose doing that was.

Everything is on the stand-in's monotonic clock, and it does one thing after another: its logs are in the order in which
things happened.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.e2e.fleet import Incident, Writer, owner_key
from tests.standin import Arrival, Call, Remote
from tests.standin.items import Written

# How long after its wake-up a worker's last request may reach its queue, on a machine that is busy.
WAKING_S = 2.0


@dataclass(frozen=True)
class Stray:
    """A call of a worker for a shard whose lease was not its own at that moment. `lost_at_s`: since when."""

    key: str
    shard: str
    at_s: float
    lost_at_s: float


@dataclass(frozen=True)
class Lapse:
    """A lease that another took from its owner, none of whose rows had moved for `silent_s`."""

    key: str
    shard: str
    at_s: float
    silent_s: float


class Holders:
    """Who held each lease at every moment, as the lease table's journal has it. Workers are told by access key.

    `lapses`: the tenures that were not ended by their owner.
    """

    def __init__(self, journal: Iterable[Written]) -> None:
        self.lapses: list[Lapse] = []
        self._times: defaultdict[str, list[float]] = defaultdict(list)
        self._keys: defaultdict[str, list[str]] = defaultdict(list)
        moved_at: dict[str, float] = {}
        counters: dict[str, str] = {}
        for written in journal:
            key, keys = owner_key(written.item), self._keys[written.key]
            counter = (written.item or {}).get("leaseCounter", {}).get("N", "")
            if counter != counters.get(written.key):
                counters[written.key] = counter
                if key == written.access_key:  # a row that is given away is no sign of life any more
                    moved_at[key] = written.at_s
            if keys and keys[-1] == key:
                continue
            if keys and keys[-1] and written.access_key != keys[-1]:
                silent_s = written.at_s - moved_at.get(keys[-1], float("-inf"))
                self.lapses.append(Lapse(keys[-1], written.key, written.at_s, silent_s))
            self._times[written.key].append(written.at_s)
            keys.append(key)

    def at(self, shard: str, at_s: float) -> str:
        """The holder of a shard's lease; "" if there was none."""
        place = bisect_right(self._times[shard], at_s)
        return self._keys[shard][place - 1] if place else ""

    def lost_at(self, shard: str, key: str, at_s: float) -> float:
        """When the worker's last tenure before that moment ended; minus infinity if it never had one."""
        place = bisect_right(self._times[shard], at_s)
        for index in range(place - 1, 0, -1):
            if self._keys[shard][index - 1] == key:
                return self._times[shard][index]
        return float("-inf")

    def changes_between(self, from_s: float, to_s: float) -> int:
        """How often a lease has changed hands in that time."""
        return sum(1 for times in self._times.values() for time in times if from_s < time < to_s)

    def stray_reads(self, calls: Iterable[Call]) -> list[Stray]:
        """Pages that were asked for by a worker that did not hold the shard's lease."""
        return [
            Stray(
                call.access_key,
                call.subject.shard,
                call.at_s,
                self.lost_at(call.subject.shard, call.access_key, call.at_s),
            )
            for call in calls
            if self.at(call.subject.shard, call.at_s) != call.access_key
        ]

    def stray_sends(self, messages: Iterable[Message]) -> list[Stray]:
        """Messages that were sent by a worker that did not hold the lease of the shard that they are from."""
        return [
            Stray(message.key, message.shard, message.at_s, self.lost_at(message.shard, message.key, message.at_s))
            for message in messages
            if self.at(message.shard, message.at_s) != message.key
        ]


@dataclass(frozen=True)
class Message:
    """A message that a queue took: which change it tells of, of which shard, and who sent it when."""

    name: str
    shard: str
    key: str
    at_s: float


def messages(arrivals: Iterable[Arrival], shard_of: dict[str, str]) -> list[Message]:
    """What arrived and was no duplicate to the queue itself, in order."""
    found = []
    for arrival in arrivals:
        if not arrival.duplicate:
            image = json.loads(arrival.body)["dynamodb"]["NewImage"]
            name = f"{image['analysisRequestId']['S']}/{image['revision']['N']}"
            found.append(Message(name, shard_of[name], arrival.access_key, arrival.monotonic_s))
    return found


class Missing:
    """What a queue has not heard of yet."""

    def __init__(self, remote: Remote, queue: str, writer: Writer) -> None:
        self.names = set(writer.expected)
        self._remote, self._queue, self._writer = remote, queue, writer
        self._taken = 0

    def none(self) -> bool:
        """Has it heard of everything by now?"""
        arrivals = self._remote.arrived(self._queue, since=self._taken)
        self._taken += len(arrivals)
        self.names -= {message.name for message in messages(arrivals, self._writer.shard_of)}
        return not self.names


def in_order(arrived: Iterable[Message]) -> bool:
    """Does each revision of an item come, for the first time, right after the one before?"""
    last: Counter[str] = Counter()
    for message in arrived:
        item, _, revision = message.name.partition("/")
        if int(revision) > last[item] + 1:
            return False
        last[item] = max(last[item], int(revision))
    return True


@dataclass(frozen=True)
class Repeats:
    """What came a second time, and why."""

    because: Counter[Incident]
    unanswered: list[Message]
    lapsed: list[Message]
    without: list[tuple[Message, Message]]


def repeats(
    arrived: Iterable[Message], incidents: Sequence[Incident], lapses: Sequence[Lapse], answer_max_s: float
) -> Repeats:
    """Why each message came again.

    Whoever sent it before the second time was killed, or frozen, after that; or the second was its own, from the
    request that it had under way when it was frozen. On a machine that is busy, an answer may also take longer than
    its sender waits, and a worker may stand still until its lease is over.
    """
    before: dict[str, Message] = {}
    found = Repeats(Counter(), [], [], [])
    for message in arrived:
        first = before.get(message.name)
        before[message.name] = message
        if first is None:
            continue
        incident = _cause(first, message, incidents)
        if incident is not None:
            found.because[incident] += 1
        elif first.key == message.key and message.at_s - first.at_s >= answer_max_s:
            found.unanswered.append(message)
        elif any(
            (lapse.key, lapse.shard) == (first.key, first.shard) and first.at_s <= lapse.at_s <= message.at_s
            for lapse in lapses
        ):
            found.lapsed.append(message)
        else:
            found.without.append((first, message))
    return found


def _cause(first: Message, again: Message, incidents: Sequence[Incident]) -> Incident | None:
    for incident in incidents:
        unfinished = (
            incident.key == first.key and first.at_s <= incident.over_s + WAKING_S and again.at_s >= incident.at_s
        )
        woken = incident.key == again.key and first.at_s >= incident.at_s and again.at_s <= incident.over_s + WAKING_S
        if unfinished or woken:
            return incident
    return None


def most_sent_within(arrived: Iterable[Message], key: str, seconds: float) -> int:
    """The most that a worker sent within any so many seconds."""
    times = sorted(message.at_s for message in arrived if message.key == key)
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] > seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
