"""What goes wrong and when: a task a kind of fault, each with random numbers of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from poller.model import SHARD_END, Lease
from tests.memory.shards import MemoryShard
from tests.sim.crew import Crew
from tests.sim.host import Host
from tests.sim.loop import State
from tests.sim.network import OUTAGES, Link
from tests.sim.themes import NEVER
from tests.sim.world import COMPLETE, ROUTES, World

_OPEN_SHARDS_MAX = 16
_SHARDS_MAX = 80
_LAST_WORDS = 20
_PHASES = (COMPLETE, COMPLETE, COMPLETE, "FILE_UPLOAD_STARTED", "CREATED")
_POISONS = ("refused", "batch", "large", "unreadable")


class Weather:
    """Begins with `start`; `clear` ends all faults at once, and what they have left behind."""

    def __init__(self, seed: int, world: World, crew: Crew) -> None:
        self._seed = seed
        self._world = world
        self._crew = crew
        self._knobs = world.knobs
        self._tasks: list[asyncio.Task[None]] = []
        self._writing: asyncio.Task[None] | None = None
        self._outages = 0
        self._java = 0
        self._unlisted_until_s = 0.0
        self._at_rows = random.Random(f"at rows {seed}")

    def start(self) -> None:
        knobs = self._knobs
        self._writing = asyncio.create_task(self._write())
        if knobs.frozen_at_row_p or knobs.cut_off_at_row_p or knobs.silent_after_release_p:
            self._world.on_row_request = self._strike
        if knobs.frozen_after_read_p:
            self._world.on_row_read = self._strike_reader
        if knobs.first_listing_late_s:
            self._world.on_first_row = self._delay_first_listing
        for mean_s, happen in (
            (knobs.wall_jump_every_s, self._jump),
            (knobs.burst_every_s, self._burst),
            (knobs.roll_every_s, self._roll),
            (knobs.trim_every_s, self._trim),
            (knobs.forget_every_s, self._forget),
            (knobs.replace_every_s, self._replace),
            (knobs.join_every_s, self._join),
            (knobs.leave_every_s, self._leave),
            (knobs.crash_every_s, self._crash),
            (knobs.freeze_every_s, self._freeze),
            (knobs.outage_every_s, self._outage),
            (knobs.unlisted_every_s, self._unlisted),
            (knobs.refusing_every_s, self._refusing),
            (knobs.letters_failing_every_s, self._letters_failing),
            (knobs.row_deleted_every_s, self._delete_row),
            (knobs.table_deleted_every_s, self._delete_table),
            (knobs.java_every_s, self._java_takes),
        ):
            if mean_s != NEVER:
                name = happen.__name__
                rng = random.Random(f"{name} {self._seed}")
                self._tasks.append(asyncio.create_task(self._every(mean_s, happen, rng)))

    def clear(self) -> None:
        """The faults are over; what goes on is the writing."""
        world = self._world
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        world.calm = True
        world.on_row_request = lambda _, __: None
        world.on_row_read = lambda _: None
        world.letters_failing = False
        world.refusing.clear()
        for shard in world.all_shards():
            shard.hidden_answers = 0
        for service in world.services.values():
            service.outage = service.unlisted = None
        for host in world.hosts:
            host.calm()
            if host.process.state is State.FROZEN:
                host.woken_s = world.now_s
                world.loop.thaw(host.process)

    def stop_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()

    async def _every(
        self, mean_s: float, happen: Callable[[random.Random], Coroutine[Any, Any, None]], rng: random.Random
    ) -> None:
        """Each event runs its course beside the next ones."""
        while True:
            await asyncio.sleep(rng.expovariate(1.0 / mean_s))
            self._tasks.append(asyncio.create_task(happen(rng)))

    def _tell(self, name: str, text: str) -> None:
        self._world.story.fault(self._world.now_s, name, text)

    # --- the table and its stream ---

    async def _write(self) -> None:
        rng = random.Random(f"writes {self._seed}")
        while True:
            await asyncio.sleep(rng.expovariate(self._knobs.writes_per_s))
            self._change(rng)

    def _change(self, rng: random.Random) -> None:
        hot = rng.random() < self._knobs.hot_key_p
        key = f"item-{0 if hot else rng.randrange(self._knobs.keys)}"
        poison = rng.choice(_POISONS) if rng.random() < self._knobs.poison_p else None
        self._world.write(key, rng.choice(_PHASES), poison)

    async def _burst(self, rng: random.Random) -> None:
        count = rng.randrange(20, 150)
        self._tell("burst", f"{count} changes at once")
        for _ in range(count):
            self._change(rng)

    async def _roll(self, rng: random.Random) -> None:
        shards = self._world.open_shards()
        chosen = rng.sample(shards, min(len(shards), rng.choice((1, 1, 1, 2, len(shards)))))
        for shard_id in chosen:
            self._end(shard_id, rng)

    def _end(self, shard_id: str, rng: random.Random) -> None:
        """A shard ends and has children; some of these end at once, and some are listed late."""
        world, knobs = self._world, self._knobs
        if len(world.oracle.ledger.shards) > _SHARDS_MAX:
            return
        splits = rng.random() < knobs.split_p and len(world.open_shards()) < _OPEN_SHARDS_MAX
        children = world.split(shard_id) if splits else world.roll(shard_id)
        self._tell("split" if splits else "roll", f"{shard_id[-8:]} into {[child[-8:] for child in children]}")
        for child in children:
            if rng.random() < knobs.late_children_p:
                self._hide(child, rng.uniform(0.2, knobs.late_children_max_s))
            if rng.random() < knobs.rolled_again_p:
                self._end(child, rng)

    def _hide(self, shard_id: str, seconds: float) -> None:
        """No listing shows it for so long."""
        shard = self._world.stream.shards[shard_id]
        shard.hidden_answers = 1 << 30
        self._tasks.append(asyncio.create_task(self._appear(shard, seconds)))

    async def _appear(self, shard: MemoryShard, seconds: float) -> None:
        await asyncio.sleep(seconds)
        shard.hidden_answers = 0

    async def _trim(self, rng: random.Random) -> None:
        """The trim horizon catches up with a reader, or only with what is settled."""
        world = self._world
        books = world.oracle.ledger.shards
        shards = [
            shard for shard in world.stream.shards if shard.entries and 0 <= books[shard.shard_id].checkpoint < 10**30
        ]
        if not shards:
            return
        shard = rng.choice(shards)
        entries = shard.entries
        if rng.random() < 0.5:
            entries = [entry for entry in entries if entry.sequence_number < books[shard.shard_id].checkpoint]
        if entries:
            up_to = rng.choice(entries).sequence_number
            self._tell("trim", f"{shard.shard_id[-8:]} up to {up_to % 1_000_000}")
            world.stream.shards.trim(shard.shard_id, up_to)
            world.oracle.trimmed(shard.shard_id, up_to)

    async def _forget(self, rng: random.Random) -> None:
        """Finished roots leave the tree; where data is trimmed as well, now and then one that is not finished."""
        world = self._world
        tree = world.stream.shards.shards
        lossy = self._knobs.trim_every_s != NEVER and rng.random() < 0.2
        for shard in list(tree.values()):
            row = world.leases.rows.get(shard.shard_id)
            root = shard.parent_id not in tree
            if root and shard.closed and row is not None and (lossy or row.finished):
                self._tell("forget", f"{shard.shard_id[-8:]}, which was read up to {row.checkpoint[-6:]}")
                world.stream.shards.forget(shard.shard_id)
                world.oracle.forgotten(shard.shard_id)
                lossy = False

    async def _replace(self, rng: random.Random) -> None:
        world = self._world
        old = world.stream
        if not any(row.stream_arn == old.info.arn for row in world.leases.rows.values()):
            return  # of a stream without rows nobody who starts now can know
        self._tell("replace", f"the stream {old.info.arn[-12:]}")
        await asyncio.sleep(1.0)  # no two streams of the same second
        if rng.random() < 0.5 or self._knobs.last_words_p:
            for child in world.roll(rng.choice(world.open_shards())):
                self._hide(child, rng.uniform(3.0, self._knobs.late_children_max_s))
        if self._knobs.last_words_p and rng.random() < self._knobs.last_words_p:
            for _ in range(_LAST_WORDS):
                self._change(rng)
        world.replace()
        if rng.random() < self._knobs.stream_gone_p:
            await asyncio.sleep(rng.uniform(0.0, 20.0))
            self._tell("stream_gone", old.info.arn[-12:])
            old.gone = True

    # --- workers ---

    async def _join(self, rng: random.Random) -> None:
        if len(self._crew.alive) < self._knobs.workers_max:
            self._tell("join", self._crew.start().name)

    async def _leave(self, rng: random.Random) -> None:
        if self._crew.staying:
            host = rng.choice(self._crew.staying)
            self._tell("leave", host.name)
            self._crew.leave(host)

    async def _crash(self, rng: random.Random) -> None:
        """At any await: the moment lies between two callbacks of the process."""
        if self._crew.alive:
            host = rng.choice(self._crew.alive)
            self._tell("crash", host.name)
            self._crew.crash(host)
            if rng.random() < 0.7:
                await asyncio.sleep(rng.uniform(0.1, 10.0))
                self._tell("join", self._crew.start().name)

    async def _freeze(self, rng: random.Random) -> None:
        running = [host for host in self._crew.alive if host.process.state is State.RUNNING]
        if running:
            host, seconds = rng.choice(running), rng.uniform(0.2, self._knobs.freeze_max_s)
            self._stop(host, seconds)

    def _stop(self, host: Host, seconds: float) -> None:
        """Freezes a worker, from now on and for so long."""
        if host.process.state is State.RUNNING:
            self._tell("freeze", f"{host.name} for {seconds:.1f} s")
            host.freezes.append(self._world.now_s)
            self._world.loop.freeze(host.process)
            self._tasks.append(asyncio.create_task(self._wake(host, seconds)))

    async def _wake(self, host: Host, seconds: float) -> None:
        await asyncio.sleep(seconds)
        anyhow = self._knobs.woken_anyhow
        host.woken_s = self._world.now_s
        self._world.loop.thaw(host.process, answers_first=self._at_rows.random() < 0.5 if anyhow else None)
        if anyhow and self._at_rows.random() < 0.6:  # hardly awake, as a machine that has no memory left
            await self._freeze_later(host)

    def _strike(self, host: Host, operation: str) -> None:
        """A request for a row has taken effect, and its answer is on its way: the worst moment to fall silent."""
        rng, knobs, drawn = self._at_rows, self._knobs, self._at_rows.random()
        if operation == "release" and knobs.silent_after_release_p:
            if drawn < knobs.silent_after_release_p / 2:
                self._stop(host, self._silence_s(host))
            elif drawn < knobs.silent_after_release_p:
                self._tasks.append(asyncio.create_task(self._freeze_later(host)))
        elif drawn < knobs.frozen_at_row_p / 2:
            self._stop(host, self._knobs.lease_duration_s * rng.uniform(0.1, 1.2))
        elif drawn < knobs.frozen_at_row_p:
            self._tasks.append(asyncio.create_task(self._freeze_later(host)))
        elif drawn < knobs.frozen_at_row_p + knobs.cut_off_at_row_p and host.leases.outage is None:
            kind = rng.choice(("lost", "mute"))
            self._tasks.append(asyncio.create_task(self._cut_off(host, host.leases, kind, self._silence_s(host))))

    def _strike_reader(self, host: Host) -> None:
        """It asks what became of a write whose answer was lost, and falls silent when it knows."""
        if self._at_rows.random() < self._knobs.frozen_after_read_p:
            self._tasks.append(asyncio.create_task(self._freeze_later(host)))

    async def _freeze_later(self, host: Host) -> None:
        await asyncio.sleep(self._at_rows.random() * self._at_rows.choice((1.0, 4.0)))
        self._stop(host, self._silence_s(host))

    def _silence_s(self, host: Host) -> float:
        """As long as brings a worker back when its last write is about as old as a lease lasts; or any time."""
        rng, lease_s = self._at_rows, self._knobs.lease_duration_s
        left_s = host.written_s + lease_s * rng.uniform(0.9, 1.3) - self._world.now_s
        return left_s if left_s > 0 and rng.random() < 0.7 else lease_s * rng.uniform(0.1, 1.0)

    async def _jump(self, rng: random.Random) -> None:
        if self._crew.alive:
            host, seconds = rng.choice(self._crew.alive), rng.choice((3600.0, -3600.0, 0.0))
            self._tell("wall_jump", f"{host.name} by {seconds:.0f} s")
            host.clock.wall_offset_s = seconds

    # --- services ---

    async def _outage(self, rng: random.Random) -> None:
        """A service is away for all, or for one of them."""
        world = self._world
        service, kind, seconds = (
            rng.choice(list(world.services.values())),
            rng.choice(OUTAGES),
            rng.uniform(0.3, self._knobs.outage_max_s),
        )
        if rng.random() < 0.5 or not self._crew.alive:
            self._tell("outage", f"{service.name} {kind} for {seconds:.1f} s")
            service.outage = kind
            await asyncio.sleep(seconds)
            service.outage = None
            return
        host = rng.choice(self._crew.alive)
        await self._cut_off(host, rng.choice(host.links), kind, seconds)

    async def _cut_off(self, host: Host, link: Link, kind: str, seconds: float) -> None:
        self._tell("outage", f"{link.service.name} {kind} for {host.name} for {seconds:.1f} s")
        link.outage = kind
        await asyncio.sleep(seconds)
        link.outage = None

    async def _unlisted(self, rng: random.Random) -> None:
        """DescribeStream is throttled for all: the account's ten calls a second are others'."""
        await self._unlist("throttled", rng.uniform(2.0, self._knobs.outage_max_s))

    def _delay_first_listing(self) -> None:
        rng = random.Random(f"first listing {self._seed}")
        seconds = self._knobs.first_listing_late_s * rng.uniform(0.9, 1.0)
        self._tasks.append(asyncio.create_task(self._unlist("lost", seconds)))

    async def _unlist(self, kind: str, seconds: float) -> None:
        streams, until_s = self._world.services["streams"], self._world.now_s + seconds
        self._tell("unlisted", f"{kind} for {seconds:.1f} s")
        streams.unlisted, self._unlisted_until_s = kind, max(until_s, self._unlisted_until_s)
        await asyncio.sleep(seconds)
        if self._unlisted_until_s <= until_s:
            streams.unlisted = None

    async def _refusing(self, rng: random.Random) -> None:
        world, route = self._world, rng.choice(list(ROUTES))
        self._outages += 1
        seconds = rng.uniform(1.0, self._knobs.outage_max_s)
        self._tell("refusing", f"{route} for {seconds:.1f} s")
        world.refusing[route] = self._outages
        await asyncio.sleep(seconds)
        world.refusing[route] = 0

    async def _letters_failing(self, rng: random.Random) -> None:
        seconds = rng.uniform(1.0, self._knobs.outage_max_s)
        self._tell("letters_failing", f"for {seconds:.1f} s")
        self._world.letters_failing = True
        await asyncio.sleep(seconds)
        self._world.letters_failing = False

    # --- the lease table ---

    async def _delete_row(self, rng: random.Random) -> None:
        rows = self._world.leases.rows
        if rows:
            shard_id = rng.choice(sorted(rows))
            self._tell("row_deleted", shard_id[-8:])
            row = rows.pop(shard_id)
            self._world.row_changed(None, "delete", row, None)
            if self._knobs.remade_p and rng.random() < self._knobs.remade_p:
                rows[shard_id] = Lease(
                    shard_id, parents=row.parents, stream_arn=row.stream_arn, start_time_ms=row.start_time_ms
                )
                self._world.row_changed(None, "create", None, rows[shard_id])

    async def _delete_table(self, rng: random.Random) -> None:
        rows = self._world.leases.rows
        self._tell("table_deleted", f"{len(rows)} rows")
        self._world.table_there = False
        while rows:
            _, row = rows.popitem()
            self._world.row_changed(None, "delete", row, None)

    async def _java_takes(self, rng: random.Random) -> None:
        """A worker of Java's takes some leases, renews each by itself for a while, and gives them back or dies."""
        self._java += 1
        name, rows = f"java-{self._java}", self._world.leases.rows
        free = [
            shard_id for shard_id in sorted(rows) if not rows[shard_id].finished and self._may_start(rows[shard_id])
        ]
        mine = rng.sample(free, min(len(free), rng.randrange(1, 4)))
        self._tell("java", f"{name} takes {[shard_id[-8:] for shard_id in mine]}")
        for shard_id in mine:
            self._java_writes("take", replace(rows[shard_id], owner=name, checkpoint_owner=None))
        until_s = self._world.now_s + rng.uniform(3.0, 30.0)
        while self._world.now_s < until_s:
            await asyncio.sleep(3.0)
            for shard_id in mine:
                row = rows.get(shard_id)
                if row is not None and row.owner == name:
                    self._java_writes("renew", row)
        if rng.random() < 0.5:
            for shard_id in mine:
                row = rows.get(shard_id)
                if row is not None and row.owner == name:
                    self._java_writes("release", replace(row, owner=None))

    def _may_start(self, row: Lease) -> bool:
        rows = self._world.leases.rows
        return all(parent not in rows or rows[parent].checkpoint == SHARD_END for parent in row.parents)

    def _java_writes(self, operation: str, row: Lease) -> None:
        rows = self._world.leases.rows
        before, after = rows[row.shard_id], replace(row, counter=row.counter + 1)
        rows[row.shard_id] = after
        self._world.row_changed(None, operation, before, after)
