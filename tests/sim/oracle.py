"""The oracle: what must hold at every step, whatever the weather. It knows the services' side of things only.

L no record lost, O order, F no act without the lease, D duplicates are explained, C content as it was, R bounded.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from poller.events import DataLost, Event, LeaseLost, LeaseTaken, PageRead, StreamSwitched
from poller.model import SENTINELS, SHARD_END, Lease, Message
from tests.sim.host import Host
from tests.sim.ledger import Ledger, Sending, ShardBook, Tenure, Written
from tests.sim.loop import State

# How long what was settled may stay without a checkpoint in calm weather: an interval, a poll, two requests.
_WINDOW_S: Final = 6.0
# The same where requests to the lease table fail now and then.
_WINDOW_ROUGH_S: Final = 25.0
_LEAVE_S = 10.0
# Until a worker finds out that a row was deleted or taken from it by force: its look, or the end of its lease.
_UNAWARE_S: Final = 16.0
_EVERYTHING: Final = 10**30
# What fits into one request to a queue; and in which time they all are sent, one after another at worst.
_BATCH: Final = 10
_QUICK_S: Final = 1.5
# At LATEST: from the making of the first row until the first iterators stand.
_LATEST_S: Final = 10.0


class Violation(Exception):
    """A promise was broken. `invariant` is its letter in the list of failures."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(invariant, text)  # as they are: it goes from process to process
        self.invariant = invariant
        self.text = text

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text}"


class Oracle:
    """Is told of everything that reaches a service, and calls `fail` at the first thing that must not be."""

    def __init__(self, now: Callable[[], float], fail: Callable[[Violation], None], *, max_attempts: int) -> None:
        self.ledger = Ledger()
        self.counts: Counter[str] = Counter()
        self.required_from_s = 0.0  # records written before are optional
        self._now = now
        self._fail_with = fail
        self._max_attempts = max_attempts
        self._hidden_s = -math.inf
        self._groups: dict[str, str] = {}
        self._refused_once: set[tuple[int, str, int]] = set()

    @property
    def settled(self) -> int:
        """Grows as long as anything moves."""
        return sum(book.settled for book in self.ledger.shards.values()) + self.counts["takes"]

    def _fail(self, invariant: str, text: str) -> None:
        self._fail_with(Violation(invariant, text))

    # --- what the world writes ---

    def wrote(self, record: Written) -> None:
        record.optional = self._now() < self.required_from_s
        self.ledger.wrote(record)
        self.counts["records"] += 1

    def begins_at_latest(self) -> None:
        """No row was ever made: what is written until the first is there was written before the start."""
        self.required_from_s = math.inf

    @property
    def no_row_yet(self) -> bool:
        """At LATEST: was none ever made?"""
        return self.required_from_s == math.inf

    def row_made(self) -> None:
        if self.no_row_yet:
            self.required_from_s = self._now() + _LATEST_S

    # --- sending ---

    def issued(self, host: Host, route: str, batch: Sequence[Message], begun_s: float, stale: bool) -> list[Sending]:
        """A request to a route's queue leaves a process, begun when it had yet to connect.

        `stale`: the process was stopped with the request in its hands.
        """
        issued = (self._issued(host, route, message, begun_s, stale) for message in batch)
        return [sending for sending in issued if sending is not None]

    def _issued(self, host: Host, route: str, message: Message, begun_s: float, stale: bool) -> Sending | None:
        record = self.ledger.by_body.get(message.body)
        if record is None:
            self._fail("C", f"{host.name} sends to {route} what is no record: {message.body[:200]}")
            return None
        if route not in record.routes:
            self._fail("C", f"{host.name} sends {record} to {route}, which does not want it")
            return None
        self._check_content(record, message)
        book = self.ledger.shards[record.shard_id]
        tenure = self._acting(host, book, f"sends {record} to {route}", begun_s, stale)
        if not book.begun:
            self._check_parents(host, book, record)
            book.begun = True
        earlier = self.ledger.overtaken(record, route)
        if earlier is not None and not record.optional and not record.lost:
            self._fail("O", f"{host.name} sends {record} to {route} before {earlier} is settled")
        return Sending(host, tenure, record, route, stale, self._now())

    def _check_content(self, record: Written, message: Message) -> None:
        if message.deduplication_id is not None and message.deduplication_id != json.loads(record.body)["eventID"]:
            self._fail("C", f"{record} goes under the deduplication id {message.deduplication_id}")
        if message.group_id is not None and self._groups.setdefault(record.key, message.group_id) != message.group_id:
            self._fail("C", f"{record} goes into the group {message.group_id}, others of its item into another")

    def _check_parents(self, host: Host, book: ShardBook, record: Written) -> None:
        for parent in self.ledger.ancestors(book):
            if not parent.complete:
                self._fail("O", f"{host.name} sends {record} before its shard's ancestor {parent.shard_id[-8:]} ends")

    def _acting(self, host: Host, book: ShardBook, what: str, begun_s: float, stale: bool) -> Tenure | None:
        """The tenure in which a worker acts for a shard; without one it must not.

        What was on its way when the worker itself gave the lease back cannot be called back.
        """
        holder = book.holder
        if holder is not None and holder.host is host:
            return holder
        own = next((tenure for tenure in reversed(book.tenures) if tenure.host is host), None)
        if stale or (own is not None and own.end == "released" and begun_s <= own.end_s):
            return own
        unaware = self._now() - book.deleted_s < _UNAWARE_S
        unaware |= holder is not None and holder.host is None and self._now() - holder.began_s < _UNAWARE_S
        if not unaware:
            whose = "nobody's" if holder is None else holder.host.name if holder.host else "Java's"
            self._fail("F", f"{host.name} {what}, and the lease is {whose}")
        return own

    def accepted(self, sending: Sending) -> None:
        """The queue has an entry."""
        record, route, now_s = sending.record, sending.route, self._now()
        before = record.accepted[route]
        if not before:
            self.counts["sent"] += 1
        else:
            self.counts["duplicates"] += 1
            self._check_duplicate(sending, before)
        sending.accepted_s = now_s
        before.append(sending)
        self.ledger.settle(record, route)

    def _check_duplicate(self, sending: Sending, before: Sequence[Sending]) -> None:
        book = self.ledger.shards[sending.record.shard_id]
        why = self._unexplained(sending, before, book)
        if why is not None:
            self._fail("D", f"{sending.host.name} sends {sending.record} to {sending.route} again: {why}")

    def _unexplained(self, sending: Sending, before: Sequence[Sending], book: ShardBook) -> str | None:
        record, tenure, last = sending.record, sending.tenure, before[-1]
        if tenure is None or last.tenure is None or sending.stale or last.stale:
            return None
        if tenure.end == "deleted" or (last.accepted_s is not None and last.accepted_s < book.deleted_s):
            return None  # the row was deleted: everything may come again, also from who has not noticed yet
        if record.sequence <= tenure.checkpoint:
            return "its tenure began behind it"
        if any(each.fate == "unanswered" or self._cannot_hear(each.host) for each in (*before, sending)):
            return None
        if last.tenure is tenure:
            return "its answer had come" if last.fate == "confirmed" else "its answer is awaited still"
        return self._unexplained_by(last.tenure, record)

    @staticmethod
    def _cannot_hear(host: Host) -> bool:
        return host.process.state is not State.RUNNING

    def _unexplained_by(self, ended: Tenure, record: Written) -> str | None:
        """Does the way in which the tenure that had sent it ended explain that the checkpoint stood behind it?"""
        coverable_s = ended.coverable_s.get(record.number)
        if coverable_s is None or ended.host is None or self.ledger.shards[record.shard_id].records[0].optional:
            return None  # something before it was not settled; at LATEST nobody can tell what was to be settled
        if ended.end == "released" and ended.drained and not ended.troubled and ended.lapsed_s == math.inf:
            if coverable_s < ended.in_time_s:
                return f"its lease was given back in order by {ended.host.name}"
            return None
        if record.sequence <= ended.tried_to:
            return None  # a checkpoint was asked for, and did not come about
        window_s = _WINDOW_ROUGH_S if ended.troubled or ended.host.rough else _WINDOW_S
        frozen_s = next((at_s for at_s in ended.host.freezes if at_s >= coverable_s), math.inf)
        until_s = min(ended.end_s, ended.lapsed_s, ended.written_s, frozen_s)
        if coverable_s < until_s - window_s:
            return f"{ended.host.name} had {until_s - coverable_s:.1f} s for a checkpoint"
        return None

    def confirmed(self, sending: Sending) -> None:
        """Its sender knows that the queue has an entry, or that it has not."""
        sending.fate = "confirmed"
        if sending.accepted_s is not None and sending.tenure is not None:
            book = self.ledger.shards[sending.record.shard_id]
            sending.tenure.hears(book, sending.record, sending.route, self._now())

    def refused(self, sending: Sending, outage: int) -> None:
        """The queue does not take an entry. `outage`: it takes nothing at present, which counts once at most; or 0."""
        record, route = sending.record, sending.route
        if outage:
            if (record.number, route, outage) in self._refused_once:
                return
            self._refused_once.add((record.number, route, outage))
        record.refusals[route] = record.refusals.get(route, 0) + 1

    def letter(self, host: Host, message: Message) -> None:
        """A dead-letter queue has a letter."""
        record = self.ledger.by_place.get(message.attributes.get("position", ""))
        route = message.attributes.get("route", "")
        if record is None or route not in record.routes:
            self._fail("C", f"{host.name} stores a letter that is no record of {route}: {message.attributes}")
            return
        if record.poison is None and record.refusals.get(route, 0) < self._max_attempts:
            refusals = record.refusals.get(route, 0)
            self._fail("D", f"{host.name} gives {record} up after {refusals} refusals: {message.attributes}")
        if message.attributes.get("content") == "record" and message.body != record.body:
            self._fail("C", f"the letter of {record} is not the record")
        self.counts["letters"] += 1
        self.ledger.settle(record, route)

    def letter_confirmed(self, host: Host, message: Message) -> None:
        record = self.ledger.by_place[message.attributes["position"]]
        book = self.ledger.shards[record.shard_id]
        if book.holder is not None and book.holder.host is host:
            book.holder.hears(book, record, message.attributes["route"], self._now())

    # --- the lease table ---

    def row_changed(self, host: Host | None, operation: str, before: Lease | None, after: Lease | None) -> None:
        """A write has taken effect. `host` None: somebody else's."""
        row = after or before
        book = self.ledger.shards.get(row.shard_id) if row is not None else None
        if book is None:
            return
        if after is None:
            self._row_deleted(host, book, before)
            return
        if before is None:
            book.cleaned_up = False
            self.row_made()
        elif before.counter != after.counter:
            book.moves.append((self._now(), after.owner))
        if host is not None and before is not None and before.counter != after.counter:
            host.written_s = self._now()
        if before is None or before.checkpoint != after.checkpoint:
            self._check_checkpoint(book, before, after)
        if operation == "take":
            self._end(book, "taken")
            book.holder = Tenure(host, self._now(), _number(after.checkpoint))
            book.tenures.append(book.holder)
            if host is None:
                self._hidden_s = self._now()
            else:
                self._check_alone(host, book)
        elif operation == "release" and before is not None and before.owner is not None:
            tenure = book.holder
            self._end(book, "released")
            if tenure is not None and tenure.host is not None and tenure.lapsed_s == math.inf:
                self._check_release(tenure, tenure.host, book, _number(after.checkpoint))

    def _check_alone(self, host: Host, book: ShardBook) -> None:
        """A worker has taken a shard: no other one may still act for it, frozen or not."""
        for other in host.world.hosts:
            if other is not host and other.alive and other.believes(book.shard_id):
                self.believed(other, book.shard_id)

    def believed(self, host: Host, shard_id: str) -> None:
        """A worker would act for a shard at this moment."""
        book = self.ledger.shards[shard_id]
        forced_s = max((each.began_s for each in book.tenures if each.host is None), default=-math.inf)
        unaware = self._now() - max(book.deleted_s, forced_s) < _UNAWARE_S
        # How a row moved that Java took, or that is deleted, is not to be seen in the table any more.
        hidden = self._now() - self._hidden_s < _UNAWARE_S
        # Its owner may not have heard that the end was written, and somebody has cleaned up since: all is done there.
        if not (unaware or book.cleaned_up) and (book.holder is None or book.holder.host is not host):
            holder = book.holder and book.holder.host
            whose = "nobody's" if book.holder is None else holder.name if holder else "Java's"
            self._fail("F", f"{host.name} believes that it holds {shard_id[-8:]}, which is {whose}")
        silent_s = self._silent_s(host, host.name, self._now())
        if not (unaware or hidden or book.cleaned_up) and silent_s > host.world.knobs.silence_s:
            what = f"believes that it holds {shard_id[-8:]}"
            self._fail("F", f"{host.name} {what}, and has moved no row for {silent_s:.1f} s")

    def taking(self, host: Host, lease: Lease) -> None:
        """A worker asks for a lease. Another's is only to be had after a silence, as its last look could show it."""
        if lease.owner in (None, host.name) or lease.foreign or host.world.knobs.java_every_s:
            return
        silent_s = self._silent_s(host, lease.owner, host.looked_s)
        if silent_s < host.world.knobs.silence_s:
            what = f"would take {lease.shard_id[-8:]} from {lease.owner}"
            self._fail("F", f"{host.name} {what}, which was silent for no more than {silent_s:.1f} s")

    def claiming(self, host: Host, lease: Lease) -> None:
        """A worker asks a living owner for a lease. It must have room for it, as its last look showed."""
        limit = host.world.knobs.max_leases
        if limit is None or self._now() - self._hidden_s < _UNAWARE_S:
            return
        rows = [row for row in host.world.leases.rows.values() if row.owner == host.name and row.heir is None]
        holders = [self.ledger.shards[row.shard_id].holder for row in rows if not row.finished]
        had = sum(1 for each in holders if each is not None and each.began_s < host.looked_s)
        if had >= limit:
            self._fail("R", f"{host.name} claims {lease.shard_id[-8:]}, and has {had} leases, {limit} at most")

    def _silent_s(self, host: Host, owner: str, at_s: float) -> float:
        """For how long no row that an owner still holds had moved, at that moment."""
        rows = host.world.leases.rows.values()
        held = [self.ledger.shards[row.shard_id] for row in rows if row.owner == owner]
        return at_s - max((book.moved_s(owner, at_s) for book in held), default=-math.inf)

    def _end(self, book: ShardBook, how: str) -> None:
        tenure, book.holder = book.holder, None
        if tenure is None:
            return
        tenure.end, tenure.end_s = how, self._now()
        first = book.first_open
        tenure.drained = first is None or first.sequence > tenure.read_to
        if tenure.host is not None:
            tenure.troubled = self._now() - tenure.host.leases.fault_s < _WINDOW_ROUGH_S
            tenure.written_s = tenure.host.written_s

    def _check_release(self, tenure: Tenure, host: Host, book: ShardBook, checkpoint: int) -> None:
        """A lease is given back after the last checkpoint, and that after the last settlement, if no call fails."""
        shard, calm_s = book.shard_id[-8:], self._now() - _WINDOW_ROUGH_S
        settled = max((each.sequence for each in book.records if tenure.knew(each)), default=-1)
        optional = bool(book.records) and book.records[0].optional  # at LATEST or a time what was read may begin later
        # Who was stopped while it left has no time for that any more.
        awake = max(host.woken_s, *host.freezes, -math.inf) < self._now() - _LEAVE_S
        if tenure.drained and not tenure.troubled and settled > checkpoint and not optional and awake:
            self._fail("D", f"{host.name} gives {shard} back without a checkpoint at {settled % 1_000_000}")
        unsettled = _unsettled(book, tenure)
        if (
            tenure.hurried
            and awake
            and unsettled
            and tenure.backlog < min(_BATCH, _QUICK_S / host.world.knobs.queue_s)
            and max(host.sqs.fault_s, host.world.queues_failed_s) < calm_s
        ):
            self._fail("D", f"{host.name} gives {shard} back before {unsettled[0]} is settled")

    def _row_deleted(self, host: Host | None, book: ShardBook, before: Lease | None) -> None:
        if host is not None and before is not None and not before.finished:
            self._fail("L", f"{host.name} deletes the row of {book.shard_id[-8:]}, which is not finished")
        book.cleaned_up = host is not None
        if host is None:
            book.deleted_s = self._hidden_s = self._now()
            book.losing = True
            book.lose(-1, book.trimmed_to)  # with the row went the place by which it could have been told
        self._end(book, "deleted")
        book.checkpoint = -1

    def made_late(self, shard_id: str) -> None:
        """A row is made by a request that its sender has long given up: it may have been there, and been cleaned up."""
        book = self.ledger.shards[shard_id]
        if book.cleaned_up:
            book.deleted_s = self._now()

    def _check_checkpoint(self, book: ShardBook, before: Lease | None, after: Lease) -> None:
        shard = book.shard_id[-8:]
        first = book.first_open
        if after.checkpoint == SHARD_END:
            if before is not None and not (book.closed and first is None):
                self._fail("L", f"the checkpoint of {shard} is SHARD_END, {first or 'which is open'} is not settled")
            book.checkpoint = 10**30
        elif after.checkpoint not in SENTINELS:
            number = _number(after.checkpoint)
            if first is not None and first.sequence <= number:
                self._fail("L", f"the checkpoint of {shard} is {number % 1_000_000}, {first} is not settled")
            if number < book.checkpoint:
                self._fail("F", f"the checkpoint of {shard} falls back to {number % 1_000_000}")
            book.checkpoint = number

    # --- what workers say and ask ---

    def tried(self, host: Host, shard_id: str, checkpoint: str) -> None:
        """A worker asks for a checkpoint, whatever becomes of that."""
        book = self.ledger.shards.get(shard_id)
        tenure = None if book is None else book.holder
        if tenure is not None and tenure.host is host:
            tenure.tried_to = max(tenure.tried_to, _number(checkpoint))

    def read(self, host: Host, shard_id: str, up_to: int) -> None:
        """A page has reached a worker. One without records tells it nothing of what is trimmed meanwhile."""
        book = self.ledger.shards[shard_id]
        if up_to > book.trimmed_to:
            book.losing = False
        tenure = book.holder
        if tenure is not None and tenure.host is host and up_to > tenure.read_to:
            tenure.read_to, tenure.read_s = up_to, self._now()
            tenure.backlog = len(_unsettled(book, tenure))

    def said(self, host: Host, event: Event) -> None:
        match event:
            case DataLost():
                self._said_lost(host, event)
            case LeaseLost():
                self._said_lease_lost(host, event)
            case StreamSwitched():
                self._switched(host, event)
            case LeaseTaken():
                self.counts["takes"] += 1
            case PageRead():
                self.counts["pages"] += 1

    def _said_lease_lost(self, host: Host, event: LeaseLost) -> None:
        holder, row = self.ledger.shards[event.shard].holder, host.world.leases.rows.get(event.shard)
        if holder is None or holder.host is not host:
            return
        holder.lapsed_s = self._now()
        if event.reason == "taken" and row is not None and row.owner == host.name:
            self._fail("P", f"{host.name} says that {event.shard[-8:]} was taken from it, and nobody has")

    def _said_lost(self, host: Host, event: DataLost) -> None:
        book = self.ledger.shards[event.shard]
        self.counts["losses"] += 1
        if event.reason == "trimmed":
            self._said_trimmed(host, event, book)
        elif book.of_old or not host.world.is_gone(event.shard):
            self._fail("P", f"{host.name} says that {event.shard[-8:]} is lost, and it is not")
        elif event.action == "stop" and host.world.is_there(book.arn):
            book.stopped = True
        else:  # where the whole stream is gone nobody stops
            book.lose(-1, math.inf)

    def _said_trimmed(self, host: Host, event: DataLost, book: ShardBook) -> None:
        after = int(event.position.removeprefix("after ")) if event.position.startswith("after ") else -1
        trimmed = host.world.trimmed(event.shard)
        if trimmed < after:
            self._fail("P", f"{host.name} says that records of {event.shard[-8:]} are lost, and none are")
        if event.action == "stop":
            book.stopped = True
            return
        book.lose(after, trimmed)
        book.losing = True

    def _switched(self, host: Host, event: StreamSwitched) -> None:
        """A stream that is gone may have had shards of which nobody knew, and so may one between the two."""
        for book in self.ledger.shards.values():
            unknown = book.arn < event.new_arn and book.shard_id not in host.world.leases.rows
            if unknown and not host.world.is_there(book.arn):
                book.lose(-1, math.inf)

    def trimmed(self, shard_id: str, up_to: int) -> None:
        """The world has trimmed a shard while somebody was told to read on from its horizon."""
        book = self.ledger.shards[shard_id]
        book.trimmed_to = max(book.trimmed_to, up_to)
        if book.losing:
            book.lose(-1, up_to)

    def forgotten(self, shard_id: str) -> None:
        """A shard has left the stream with what is in it. Who has no row of it any more cannot know of that."""
        book = self.ledger.shards[shard_id]
        book.trimmed_to = _EVERYTHING
        if book.losing and book.deleted_s > -math.inf:
            book.lose(-1, _EVERYTHING)


def _unsettled(book: ShardBook, tenure: Tenure) -> list[Written]:
    """What was read in a tenure and is not settled."""
    return [each for each in book.records[book.settled :] if each.sequence <= tenure.read_to and not each.done]


def _number(checkpoint: str) -> int:
    if checkpoint == SHARD_END:
        return 10**30
    return -1 if checkpoint in SENTINELS else int(checkpoint)
