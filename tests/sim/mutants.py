"""The bugs that the simulator must find, each one that some system of this kind has had, or that is close at hand.

`row` is the row of `docs/reliability.md` (0: of our own making). A mutant that survives is a hole in the simulator.
"""

from __future__ import annotations

from typing import Final

from tests.sim.planting import Mutant

_BATCH = "poller.decide.batch"
_BALANCE = "poller.decide.balance"
_LINEAGE = "poller.decide.lineage"
_SHARD = "poller.run.shard"
_WORKER = "poller.run.worker"
_LEASES = "poller.run.leases"
_SHARES = "poller.run.shares"
_READERS = "poller.run.readers"
_DEPARTURE = "poller.run.departure"
_DELIVERY = "poller.run.delivery"
_LETTERS = "poller.run.dead_letters"
_DISCOVERY = "poller.run.discovery"
_MESSAGE = "poller.run.message"

MUTANTS: Final = (
    Mutant(
        "checkpoint-at-the-highest",
        1,
        "poller.decide.frontier",
        "return self._tickets[0].before if self._tickets else self._seen",
        "return self._seen",
    ),
    Mutant(
        "latest-on-children",
        2,
        _LINEAGE,
        "            checkpoint, time_ms = TRIM_HORIZON, None\n",
        "            checkpoint, time_ms = (LATEST if start.time_ms else TRIM_HORIZON), None\n",
    ),
    Mutant(
        "progress-at-read",
        3,
        "poller.run.tenure",
        "admit(match.before, len(match.routes)",
        "admit(match.record.sequence_number, len(match.routes)",
    ),
    Mutant(
        "last-page-dropped",
        4,
        _SHARD,
        "        matches = sifted.matches\n",
        "        matches = sifted.matches if page.next_iterator else ()\n",
    ),
    Mutant(
        "expired-iterator-kept",
        5,
        _SHARD,
        "            case IteratorExpired():\n                self._iterator = None\n",
        "            case IteratorExpired():\n",
    ),
    Mutant(
        "position-stands-still",
        5,
        _SHARD,
        "            self._position = Position.after(sifted.last_sequence_number)\n",
        "",
    ),
    Mutant(
        "not-found-is-the-end",
        6,
        _SHARD,
        "        gone = absence.failures >= _GONE_AFTER and absence.lasting_s(now) >= _GONE_S\n",
        "        gone = absence.failures > 0\n",
    ),
    Mutant(
        "listing-ends-with-its-first-page",
        7,
        _DISCOVERY,
        "            if page.last_shard_id is None or page.last_shard_id == after:\n",
        "            if True:\n",
    ),
    Mutant(
        "trimmed-in-silence",
        9,
        _SHARD,
        '                return self._lost("trimmed")\n',
        "                self._iterator, self._position = None, Position(TRIM_HORIZON)\n",
    ),
    Mutant(
        "late-children-of-the-last-shard-missed",
        10,
        "poller.run.follow",
        "_LATE_CHILDREN_S = 8.0\n",
        "_LATE_CHILDREN_S = 0.0\n",
    ),
    Mutant(
        "child-before-its-parent",
        12,
        _LINEAGE,
        "            if parent is not None and not parent.finished:\n",
        "            if parent is not None and not parent.begun:\n",
    ),
    Mutant(
        "trimmed-parent-waited-for",
        14,
        _DISCOVERY,
        "                self._trimmed.add(shard_id)\n",
        "                pass\n",
    ),
    Mutant(
        "hidden-parent-taken-for-trimmed",
        14,
        _DISCOVERY,
        "        uncertain = below(doubtful, known, rows)\n",
        "        uncertain = below((), known, rows)\n",
    ),
    Mutant(
        "end-before-the-last-settlement",
        15,
        _READERS,
        "        await reader.run()\n        await tenure.drained()\n",
        "        await reader.run()\n",
    ),
    Mutant(
        "other-owners-rows-not-waited-for",
        19,
        _WORKER,
        "            if tenure is None and lease.owner is not None:\n                under_way = True\n",
        "            if tenure is None and lease.owner is not None:\n",
    ),
    Mutant(
        "newest-stream-next",
        19,
        "poller.decide.succession",
        "    return min((arn for arn in arns if arn > current",
        "    return max((arn for arn in arns if arn > current",
    ),
    Mutant(
        "stream-left-unfinished",
        19,
        _LINEAGE,
        "        and all(lease.finished for lease in leases.values())\n        and shards.keys()",
        "        and shards.keys()",
    ),
    Mutant(
        "late-answer-extends-the-lease",
        21,
        _LEASES,
        '            self._still_valid(tenure, f"{operation} was answered")\n',
        "",
    ),
    Mutant(
        "no-read-back",
        22,
        _LEASES,
        "        elif row.counter - tenure.lease.counter in (0, 1):\n",
        "        elif row.counter - tenure.lease.counter > 1:\n",
    ),
    Mutant(
        "landed-write-counts-from-its-retry",
        22,
        _LEASES,
        "                return row, tenure.unconfirmed_since or sent_at\n",
        "                return row, sent_at\n",
    ),
    Mutant(
        "living-owners-robbed",
        24,
        _BALANCE,
        "        elif silent > 1:\n",
        "        elif silent > 0.25:\n",
    ),
    Mutant(
        "ping-pong",
        24,
        _BALANCE,
        "            count = min(len(leases), self.loads[owner] - share)\n",
        "            count = min(len(leases), self.loads[owner] - share + 1)\n",
    ),
    Mutant(
        "renewed-too-seldom",
        25,
        _LEASES,
        "        return self.duration_s / 3\n",
        "        return self.duration_s / 1\n",
    ),
    Mutant(
        "deadline-from-the-answer",
        25,
        _LEASES,
        "            return await self.table.call(operation, call(tenure.lease)), sent_at\n",
        "            return await self.table.call(operation, call(tenure.lease)), self._clock.monotonic()\n",
    ),
    Mutant(
        "returned-lease-not-read",
        26,
        _SHARES,
        "        self._keeper.on_taken(tenure)\n",
        '        if take.reason != "returned":\n            self._keeper.on_taken(tenure)\n',
    ),
    Mutant(
        "expired-leases-ignored",
        28,
        _BALANCE,
        '(self.overdue if silent > 1 + _OVERDUE_DURATIONS else self.free).append(Take(lease, "expired"))\n',
        "pass\n",
    ),
    Mutant(
        "finished-leases-are-load",
        30,
        _SHARES,
        "if stage is Stage.READY],\n",
        "if stage is not Stage.WAITING_FOR_PARENT],\n",
    ),
    Mutant(
        "deleted-row-not-made-again",
        31,
        _LINEAGE,
        "        if shard.shard_id in leases or shard.shard_id in passed:\n",
        "        if shard.shard_id in leases or shard.closed:\n",
    ),
    Mutant(
        "hand-over-without-checkpoint",
        32,
        _DEPARTURE,
        "        await self._checkpoint_last(tenure)\n        await self._keeper.release(tenure)\n",
        "        await self._keeper.release(tenure)\n",
    ),
    Mutant(
        "released-before-settled",
        32,
        _DEPARTURE,
        "        drained = await bounded(drain_s, [self._drain(tenure) for tenure in tenures])\n",
        "        drained = drain_s > 0\n",
    ),
    Mutant(
        "last-checkpoint-left-out",
        32,
        _DEPARTURE,
        "        written = await bounded(farewell_s, [self._checkpoint_last(tenure) for tenure in tenures])\n",
        "        written = drained\n",
    ),
    Mutant(
        "failed-batch-skipped",
        33,
        _DELIVERY,
        "            self._rest(live)\n            self._queue_fails(",
        "            for entry in live:\n                self.settle(entry)\n            self._queue_fails(",
    ),
    Mutant(
        "partial-failure-ignored",
        34,
        _DELIVERY,
        "            if not isinstance(outcome, Accepted)\n",
        "            if not isinstance(outcome, Accepted | Refused)\n",
    ),
    Mutant(
        "partial-failure-fails-all",
        34,
        _DELIVERY,
        "        refused = [\n            (entry, outcome)\n",
        "        bad = [outcome for outcome in outcomes if isinstance(outcome, Refused)][:1]\n"
        "        outcomes = bad * len(outcomes) if bad else outcomes\n"
        "        refused = [\n            (entry, outcome)\n",
    ),
    Mutant(
        "too-large-dropped",
        35,
        _DELIVERY,
        "                self.dead_letters.bury(entry, entry.doomed)\n",
        "                self.settle(entry)\n",
    ),
    Mutant(
        "body-written-anew",
        36,
        _MESSAGE,
        '            body = text if self._form == "record" else _image_text(text)\n',
        '            body = json.dumps(json.loads(text)) if self._form == "record" else _image_text(text)\n',
    ),
    Mutant(
        "buffer-without-bound",
        41,
        _SHARD,
        "        await reading.buffer.room()\n",
        "",
    ),
    Mutant(
        "two-of-an-item-at-once",
        0,
        _DELIVERY,
        "            lane = record.group\n",
        "            lane = record.sequence_number\n",
    ),
    Mutant(
        "retried-behind-its-successors",
        34,
        _BATCH,
        "        heapq.heappush(self._resting, (at, self._order, entry))\n",
        "        behind = self._behind[entry.lane] or deque()\n"
        "        behind.append(entry)\n"
        "        self._behind[entry.lane] = behind\n"
        "        heapq.heappush(self._resting, (at, self._order, behind.popleft()))\n",
    ),
    Mutant(
        "letter-dropped-when-refused",
        0,
        _LETTERS,
        "                self._put_last(one)  # the letters behind it need not wait\n",
        "                self._letters.remove(one)\n                owner.settle(one.entry)\n",
    ),
    Mutant(
        "queue-that-is-down-kills-records",
        0,
        _DELIVERY,
        "            queue_alive=self._taken_at >= entry.tried_at,\n",
        "            queue_alive=True,\n",
    ),
    Mutant(
        "silence-until-the-looks-end",
        0,
        _BALANCE,
        "        self._rows, self._began = seen, began\n",
        "        self._rows, self._began = seen, ended\n",
    ),
    Mutant(
        "movement-from-the-looks-beginning",
        0,
        _BALANCE,
        "row.checkpoint_time_ms, ended)\n",
        "row.checkpoint_time_ms, began)\n",
    ),
    Mutant(
        "given-back-rows-are-signs-of-life",
        0,
        "poller.run.tenure",
        "        self.written_at = max((tenure.written_at for tenure in held), default=-math.inf)\n",
        "        self.written_at = max(self.written_at, *(tenure.written_at for tenure in held), -math.inf)\n",
    ),
    Mutant(
        "release-under-way-is-a-sign-of-life",
        0,
        _LEASES,
        "may have it\n                    self._stand()\n",
        "may have it\n",
    ),
    Mutant(
        "late-listing-taken-for-the-first",
        2,
        _DISCOVERY,
        "            return Start(TRIM_HORIZON, self._beginning.time_ms) if late else self._beginning\n",
        "            return self._beginning\n",
    ),
    Mutant(
        "failed-listing-never-forgotten",
        0,
        "poller.observe.watch",
        "            known.discovered_at, known.discovery_failing = now, None  # another worker sees to it\n",
        "            known.discovered_at = now\n",
    ),
    Mutant(
        "claim-ignored",
        0,
        _SHARES,
        "        if row.heir is not None and not self._keeper.parting(tenure.shard_id):\n",
        "        if row.heir is None and self._keeper.parting(tenure.shard_id):\n",
    ),
    Mutant(
        "sends-while-giving-back",
        0,
        _LEASES,
        "                tenure.closed = True  # from the moment on at which another worker may have it\n",
        "",
    ),
    Mutant(
        "end-of-a-shard-taken-back",
        0,
        _LEASES,
        "            needless=lambda row: row.finished,\n",
        "",
    ),
    Mutant(
        "lost-end-of-a-shard-taken-back",
        0,
        _LEASES,
        "                if needless(tenure.lease):\n                    return False\n",
        "",
    ),
    Mutant(
        "given-back-while-being-taken",
        0,
        _SHARES,
        "        if lease.shard_id in self._moving or lease.shard_id in self._keeper.tenures:\n            return  #",
        "        if lease.shard_id in self._keeper.tenures:\n            return  #",
    ),
    # No lease too many is taken, since another check stops that; what it claims beyond its maximum is given up in vain.
    Mutant(
        "maximum-ignored",
        0,
        _BALANCE,
        "    room = len(rows) if limits.max_leases is None else limits.max_leases - have\n",
        "    room = len(rows)\n",
    ),
    Mutant(
        "last-record-read-again",
        0,
        _SHARD,
        "        return Position.after(lease.checkpoint), None\n",
        "        return Position.at(lease.checkpoint), None\n",
    ),
    Mutant(
        "item-spread-over-groups",
        0,
        _MESSAGE,
        "            record.group if self._grouped else None,\n",
        "            record.event_id if self._grouped else None,\n",
    ),
    Mutant(
        "lapse-while-giving-back-ends-the-worker",
        23,
        _LEASES,
        "        if self.tenures.get(tenure.shard_id) is not tenure:\n"
        "            return True  # its deadline came before the answer\n",
        "",
    ),
    Mutant(
        "inherits-beyond-its-maximum",
        0,
        _SHARES,
        "        if shard_id in self._moving or self._full:\n",
        "        if shard_id in self._moving:\n",
    ),
    Mutant(
        "latest-again-after-a-deleted-table",
        31,
        _DISCOVERY,
        "        if rows and self._start.checkpoint == LATEST:\n",
        "        if not rows and self._start.checkpoint == LATEST:\n",
    ),
    Mutant(
        "waits-for-a-row-that-nobody-makes",
        31,
        "poller.run.follow",
        "        return self.shards.keys() - already_read(self.shards, rows, followed=self.discovery.followed)\n",
        "        return self.shards\n",
    ),
    # Also what keeps grandchildren of a shard in doubt waiting, should their rows be made too early.
    Mutant(
        "any-listing-tells-of-a-parent",
        31,
        "poller.run.follow",
        "        return self._seen_at.get(shard_id, math.inf) < self.discovery.listed_from\n",
        "        return self.discovery.listed_once\n",
    ),
    Mutant(
        "row-made-anew-taken-for-an-older-one",
        31,
        _SHARES,
        "            elif tenure.answered_at < began:",
        "            elif row.counter >= tenure.lease.counter and tenure.answered_at < began:",
    ),
)
