"""One seed from its beginning to its verdict."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal, TextIO

from tests.sim.crew import Crew
from tests.sim.knobs import Knobs, draw
from tests.sim.loop import Deadlock, Livelock, SimLoop
from tests.sim.oracle import Violation
from tests.sim.recovery import misjudged, unrecovered
from tests.sim.story import Story
from tests.sim.watch import watch
from tests.sim.weather import Weather
from tests.sim.world import World

# A safety run ends with the faults; in a liveness run only P is judged. The first minute of both is one story, so that
# "both" is told and judged at once.
Kind = Literal["both", "safety", "liveness"]

_WRITES_ON_S: Final = 5.0
# After the faults something must move within this time until all is well: the longest backoff is a minute (an entry
# that the queue has refused often), a look at the stream as well, and a lease lasts ten seconds.
_STANDSTILL_S: Final = 100.0
# And all must be well in this time, however much moves meanwhile.
_RECOVERED_S: Final = 600.0
# The last moves, when there are more workers than shards, take a moment.
_REST_S: Final = 12.0
_RESTS: Final = 6
_RESTS_MAX: Final = 30
_LOOK_S: Final = 0.5


@dataclass(slots=True)
class Outcome:
    """What became of one seed. Two runs of it are the same if their digests are."""

    seed: int
    knobs: Knobs
    violation: Violation | None
    virtual_s: float
    real_s: float
    steps: int
    digest: str
    workers: int
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    last: list[str] = field(default_factory=list)


def simulate(seed: int, kind: Kind = "both", out: TextIO | None = None, knobs: Knobs | None = None) -> Outcome:
    """Runs a seed. `out`: where its story goes, line by line."""
    return _Simulation(seed, kind, out, knobs or draw(seed)).run()


class _Simulation:
    def __init__(self, seed: int, kind: Kind, out: TextIO | None, knobs: Knobs) -> None:
        self._seed = seed
        self._kind = kind
        self._violation: Violation | None = None
        self._loop = SimLoop(random.Random(f"loop {seed}") if knobs.shuffled else None, knobs.timer_lag_s)
        self._story = Story(out)
        self._world = World(seed, knobs, self._loop, self._story, self._fail)
        self._crew = Crew(seed, self._world)
        self._weather = Weather(seed, self._world, self._crew)

    def _fail(self, violation: Violation) -> None:
        if self._kind == "liveness" and violation.invariant != "P":
            return
        if self._violation is None:
            self._violation = violation
            self._story.tell(self._loop.true_s, "oracle", str(violation))
            self._loop.stop()

    def run(self) -> Outcome:
        began = time.perf_counter()
        collecting = gc.isenabled()
        gc.disable()
        try:
            self._turn()
            return self._outcome(time.perf_counter() - began)
        finally:
            self._close()
            if collecting:
                gc.enable()

    def _outcome(self, real_s: float) -> Outcome:
        return Outcome(
            seed=self._seed,
            knobs=self._world.knobs,
            violation=self._violation,
            virtual_s=self._loop.true_s - 1_000.0,
            real_s=real_s,
            steps=self._loop.steps,
            digest=self._story.digest,
            workers=len(self._world.hosts),
            faults=self._story.counts,
            counts=self._world.oracle.counts,
            last=list(self._story.last),
        )

    def _turn(self) -> None:
        main = self._loop.create_task(self._tell())
        main.add_done_callback(lambda _: self._loop.stop())
        try:
            self._loop.run_forever()
        except Deadlock:
            self._fail(Violation("P", "everything waits, and nothing will wake it"))
        except Livelock as busy:
            self._fail(Violation("P", f"time stands still: {busy}"))
        if self._violation is None:
            main.result()

    async def _tell(self) -> None:
        world, weather = self._world, self._weather
        weather_began = random.Random(f"beginning {self._seed}")
        for _ in range(weather_began.randrange(0, 60)):
            world.write(f"item-{weather_began.randrange(world.knobs.keys)}", "FILE_UPLOAD_COMPLETE")
        for _ in range(world.knobs.workers):
            self._crew.start()
        weather.start()
        watching = asyncio.create_task(watch(world, self._crew))
        await asyncio.sleep(world.knobs.storm_s)
        if self._kind != "safety":
            await self._recover()
        watching.cancel()

    async def _recover(self) -> None:
        """The faults are over: whatever they have left behind must come right again by itself."""
        world, crew = self._world, self._crew
        world.story.tell(world.now_s, "world", "the faults are over")
        self._weather.clear()
        self._hands()
        await asyncio.sleep(_WRITES_ON_S)
        self._weather.stop_writing()
        settled, since_s, calm_s = -1, world.now_s, world.now_s
        # Where nobody can ask for one shard's children, each end of one takes a whole listing: up to twenty pages.
        recovered_s = _RECOVERED_S if world.knobs.child_filter else 3 * _RECOVERED_S
        while (left := unrecovered(world, crew)) is not None:
            if world.oracle.settled != settled:
                settled, since_s = world.oracle.settled, world.now_s
            if world.now_s - since_s > _STANDSTILL_S:
                self._fail(Violation("P", f"{_STANDSTILL_S:.0f} s without any progress, and {left}"))
            if world.now_s - calm_s > recovered_s:
                self._fail(Violation("P", f"{recovered_s:.0f} s after the faults {left}"))
            await asyncio.sleep(_LOOK_S)
        if self._violation is None:
            await self._rest()

    async def _rest(self) -> None:
        """When all is well, nothing moves any more.

        But for shards that are gone, and are found lost one after another, and for what is read again, shard by shard,
        after the lease table was deleted.
        """
        counts, rests, ended = self._world.oracle.counts, 0, self._finished()
        for _ in range(_RESTS_MAX):
            takes, moved = counts["takes"], counts["losses"] + counts["duplicates"]
            await asyncio.sleep(_REST_S)
            if counts["takes"] == takes:
                self._ask()
                return
            still = ended >= self._finished()
            ended |= self._finished()
            rests += still and counts["losses"] + counts["duplicates"] == moved
            if rests == _RESTS:
                break
        self._fail(Violation("P", f"leases move for {_RESTS * _REST_S:.0f} s, and nothing else does"))

    def _finished(self) -> set[str]:
        return {row.shard_id for row in self._world.leases.rows.values() if row.finished}

    def _ask(self) -> None:
        """The workers say by themselves that all is well, or what is not."""
        if (doubt := misjudged(self._world, self._crew)) is not None:
            self._fail(Violation("P", doubt))

    def _hands(self) -> None:
        """Enough workers for all shards."""
        limit = self._world.knobs.max_leases
        wanted = 1 if limit is None else -(-len(self._world.open_shards()) // limit)
        while len(self._crew.staying) < wanted:
            self._crew.start()

    def _close(self) -> None:
        """Nothing of this world runs on; what its coroutines do when they are taken apart reaches nobody."""
        self._story.end()
        for host in self._world.hosts:
            self._loop.kill(host.process)
        self._loop.take_apart()
        self._loop.close()
        for host in self._world.hosts:
            # What waits in a worker's routes is unknown to the garbage collector, and leads back to it by way of these.
            vars(host).clear()
