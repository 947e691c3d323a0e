"""How each fault is brought about, and its end: a straight line each, in a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from tests.chaos.plan import Fault, Kind
from tests.chaos.site import Site
from tests.servers import Relay
from tests.servers.credentials import Mood

_SETTLING_S: Final = 0.5  # for requests that a server has taken in before its line was cut


def bring_about(site: Site, fault: Fault) -> None:
    """From its beginning to its end."""
    _SCRIPTS[fault.kind](site, fault)


def _kill(site: Site, fault: Fault) -> None:
    for worker in site.some(fault):
        worker.daemon.kill()
        time.sleep(fault.seconds)
        worker.start()


def _stop(site: Site, fault: Fault) -> None:
    for worker in site.some(fault):
        worker.terminate()
        time.sleep(fault.seconds)
        worker.start()


def _freeze(site: Site, fault: Fault) -> None:
    for worker in site.some(fault):
        worker.freeze()
        time.sleep(fault.seconds)
        worker.thaw()


def _fill_log(site: Site, fault: Fault) -> None:
    for worker in site.some(fault):
        worker.fill_disk()
        time.sleep(fault.seconds)
        worker.empty_disk()


def _shift_clock(site: Site, fault: Fault) -> None:
    for worker in site.some(fault):
        worker.set_clock(fault.size)
        time.sleep(fault.seconds)
        worker.set_clock(0.0)


def _spoil_credentials(site: Site, fault: Fault) -> None:
    for mood in (Mood.EXPIRED, Mood.FAILING):
        site.credentials.moods.update(dict.fromkeys(fault.workers, mood))
        time.sleep(fault.seconds / 2)
    site.credentials.moods.update(dict.fromkeys(fault.workers, Mood.WELL))


def _spoil_lines(begin: Callable[[Relay, float], None]) -> Callable[[Site, Fault], None]:
    def script(site: Site, fault: Fault) -> None:
        lines = _lines(site, fault)
        for line in lines:
            begin(line, fault.size)
        time.sleep(fault.seconds)
        for line in lines:
            line.mend()

    return script


def _lines(site: Site, fault: Fault) -> Sequence[Relay]:
    return [worker.lines[service] for worker in site.some(fault) for service in fault.services]


def _slow(line: Relay, held_s: float) -> None:
    line.delay_s = held_s


def _trickle(line: Relay, bytes_per_s: float) -> None:
    line.bytes_per_s = bytes_per_s


def _lose(line: Relay, every: float) -> None:
    line.lose_every = int(every)


def _restart_dynamodb(site: Site, fault: Fault) -> None:
    with site.writer.held():  # whether a write has landed must be known
        site.dynamodb.stop()
        time.sleep(fault.seconds)
        site.dynamodb.start()


def _restart_sqs(site: Site, fault: Fault) -> None:
    """It keeps its messages in memory: it is emptied behind a cut line first."""
    lines = _lines(site, fault)
    for line in lines:
        line.cut()
    with site.consumers_held():
        time.sleep(_SETTLING_S)
        site.empty_queues()
        site.sqs.stop()
        time.sleep(fault.seconds)
        site.sqs.start()
        site.make_queues()
    for line in lines:
        line.mend()


_SCRIPTS: Final[dict[Kind, Callable[[Site, Fault], None]]] = {
    Kind.KILL: _kill,
    Kind.STOP: _stop,
    Kind.FREEZE: _freeze,
    Kind.CUT: _spoil_lines(lambda line, _: line.cut()),
    Kind.HOLD: _spoil_lines(lambda line, _: line.freeze()),
    Kind.SLOW: _spoil_lines(_slow),
    Kind.TRICKLE: _spoil_lines(_trickle),
    Kind.RESET: _spoil_lines(lambda line, _: line.reset()),
    Kind.DEAF: _spoil_lines(lambda line, _: line.deafen()),
    Kind.LOSE: _spoil_lines(_lose),
    Kind.CREDENTIALS: _spoil_credentials,
    Kind.LOG_FULL: _fill_log,
    Kind.CLOCK: _shift_clock,
    Kind.DYNAMODB: _restart_dynamodb,
    Kind.SQS: _restart_sqs,
}
