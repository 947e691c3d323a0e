"""What must hold of the workers as processes: how they left, what they held, what they said in their logs."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from tests.chaos.oracle import Spell
from tests.chaos.site import Site
from tests.chaos.worker import Worker

_STOP_S: Final = 10.0
_BORN_S: Final = 5.0
_SETTLED_S: Final = 15.0  # after which a worker has what it needs
_MEMORY_GROWTH: Final = 1.3
_FILES_MAX: Final = 128  # connections, of as many threads as are ever busy at once
_THREADS_MAX: Final = 128
_NEVER: Final = ("task_failed", "data_lost", "dead_lettered", "startup_failed")


def wrongs_of_workers(site: Site) -> list[str]:
    wrongs = list(site.silent_loops())
    for worker in site.workers.values():
        wrongs += _exits(worker, site.machine.spells)
        wrongs += _log(worker)
    wrongs += _footprints(site)
    letters = sum(len(consumer.letters) for consumer in site.consumers)
    if letters:
        wrongs.append(f"{letters} in the dead-letter queue")
    return wrongs


def _exits(worker: Worker, busy: Sequence[Spell]) -> Iterator[str]:
    """Those that took too long count unless the machine was too busy for anybody to be in time.

    One that was asked to go before Python had begun to run it had nothing to leave in order.
    """
    for one in worker.exits:
        if one.code == -signal.SIGTERM and one.age_s < _BORN_S:
            continue
        began_ms = one.at_ms - 1000 * one.seconds
        excused = any(spell.begin_ms <= one.at_ms and spell.end_ms >= began_ms for spell in busy)
        if one.code != 0 or (one.seconds >= _STOP_S and not excused):
            yield f"worker {one.worker} left with {one.code} after {one.seconds:.1f} s"


def _log(worker: Worker) -> Iterator[str]:
    counted = Counter(str(event["event"]) for event in worker.daemon.events())
    yield from (f"worker {worker.number}: {counted[name]} x {name}" for name in _NEVER if counted[name])
    if "Traceback" in worker.daemon.log.read_text(encoding="utf-8", errors="replace"):
        yield f"worker {worker.number}: a traceback in its log"


def _footprints(site: Site) -> Iterator[str]:
    for (number, _), looks in site.memory.lives.items():
        settled = [one.rss_bytes for at_s, one in looks if at_s >= looks[0][0] + _SETTLED_S]
        if settled and max(settled) > _MEMORY_GROWTH * settled[0]:
            yield f"worker {number}: memory grew from {settled[0] >> 20} MiB to {max(settled) >> 20} MiB"
        files, threads = max(one.files for _, one in looks), max(one.threads for _, one in looks)
        if files > _FILES_MAX or threads > _THREADS_MAX:
            yield f"worker {number}: {files} open files, {threads} threads"
