"""The pages of all workers' processes as one service's, made from what each answers at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import msgspec

from poller import __version__
from poller.observe.exposition import CONTENT_TYPE, merged
from poller.observe.health import Reason
from poller.observe.http import Answer, Page, Queried, Query
from poller.observe.page import front_page
from poller.observe.selection import Wanted
from poller.observe.spoken import spoken
from poller.observe.status import Object, Times, json_answer, not_wanted
from poller.observe.verdict import START_S, Level, Verdict, of_processes
from poller.run.ports import Clock

_NO_QUERY: Final[Query] = {}


class Worker(Protocol):
    """A worker's process: how far it is in its life, and whom to ask."""

    @property
    def number(self) -> int: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def newborn(self) -> bool: ...
    @property
    def started_at(self) -> float | None: ...
    @property
    def answered_at(self) -> float | None: ...
    @property
    def ended_at(self) -> float | None: ...

    async def ask(self, path: str) -> Answer | None: ...


class Said(msgspec.Struct):
    """What a worker's `/readyz` says."""

    ready: bool
    reasons: list[dict[str, Any]]


class Sentence(msgspec.Struct):
    """A verdict, as an object of JSON."""

    level: Level
    text: str


class Judged(msgspec.Struct):
    """What is read of a worker's `/status`."""

    verdict: Sentence


class Front:
    """The pages. One that does not answer in time is told of, and holds up nobody."""

    def __init__(self, workers: Sequence[Worker], clock: Clock) -> None:
        self._workers = tuple(workers)
        self._clock = clock
        self._began_at = clock.monotonic()

    def pages(self) -> dict[str, Page]:
        return {
            "/metrics": self.metrics,
            "/livez": self.liveness,
            "/readyz": self.readiness,
            "/status": Queried(self.status),
            "/": front_page(),
        }

    async def metrics(self) -> Answer:
        """All series of all processes, each labelled with its process, and which of those answer."""
        answers = await self._ask("/metrics")
        pages = {worker.number: answer.body if answer else None for worker, answer in answers}
        return Answer(merged(pages), CONTENT_TYPE)

    async def liveness(self) -> Answer:
        """200: the loops of all processes turn. One that is still to start, or on its way there, is none that hangs."""
        answers = await self._ask("/livez")
        dead = [worker.number for worker, answer in answers if _is_dead(worker, answer)]
        if not dead:
            return Answer(b"ok\n")
        return Answer("".join(f"process {number} does not answer\n" for number in dead).encode(), status=503)

    async def readiness(self) -> Answer:
        """As for one process; 200 if all are ready, and each reason has its `process` before its `part`."""
        times = Times(self._clock)
        reasons = [one for worker, answer in await self._ask("/readyz") for one in self._reasons(worker, answer, times)]
        reasons.sort(key=lambda reason: str(reason["since"]))
        return json_answer({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def status(self, query: Query = _NO_QUERY) -> Answer:
        """The verdict on all, and of each process what its own page has, or what `query` wants of it, as `status`.

        null: no answer; then the `verdict` beside it is ours.
        """
        try:
            Wanted.of(query)
        except ValueError as error:
            return not_wanted(error)
        asked = f"?{urlencode(dict(query))}" if query else ""
        answers, times = await self._ask(f"/status{asked}"), Times(self._clock)
        for _, answer in answers:
            if answer is not None and answer.status != HTTPStatus.OK:
                return answer  # written out, the query may be three times as long as it came, and too long for them
        verdicts = {worker.number: self._verdict(worker, answer) for worker, answer in answers}
        verdict = of_processes(verdicts)
        processes: list[Object] = [
            {
                "process": worker.number,
                "pid": worker.pid,
                "up": answer is not None,
                "started_at": times.at(worker.started_at),
                "verdict": verdicts[worker.number]._asdict(),
                "status": msgspec.Raw(answer.body) if answer else None,
            }
            for worker, answer in answers
        ]
        whole = {"verdict": verdict._asdict(), "ready": verdict.level in (Level.OK, Level.ATTENTION)}
        return json_answer(
            {"version": __version__, "now": times.of_wall(times.wall_s), **whole, "processes": processes}
        )

    async def _ask(self, path: str) -> list[tuple[Worker, Answer | None]]:
        answers = await asyncio.gather(*(worker.ask(path) for worker in self._workers))
        return list(zip(self._workers, answers, strict=True))

    def _reasons(self, worker: Worker, answer: Answer | None, times: Times) -> Iterator[Object]:
        if answer is None:
            reasons = times.reasons([self._silent(worker)])
        else:
            reasons = msgspec.json.decode(answer.body, type=Said).reasons
        for reason in reasons:
            yield {"process": worker.number, **reason}

    def _verdict(self, worker: Worker, answer: Answer | None) -> Verdict:
        """The worker's own; of one that says nothing what can be said from outside."""
        if answer is not None:
            own = msgspec.json.decode(answer.body, type=Judged).verdict
            return Verdict(own.level, own.text)
        if worker.ended_at is not None:
            return Verdict(Level.STOPPING, "It has ended, and the others leave.")
        reason = self._silent(worker)
        lasting_s = self._clock.monotonic() - reason.since
        if reason.part == "start":
            return Verdict(Level.STARTING if lasting_s <= START_S else Level.TROUBLE, reason.text)
        text = f"It has not answered for {spoken(lasting_s)}: its event loop stands still, or the process is frozen."
        return Verdict(Level.TROUBLE, text)

    def _silent(self, worker: Worker) -> Reason:
        if worker.started_at is None:
            text = "It is started as soon as the first one has found all that the settings name."
            return Reason("start", self._began_at, text)
        if worker.ended_at is not None:
            return Reason("process", worker.ended_at, "It has ended.")
        if worker.newborn:
            return Reason("start", worker.started_at, "It was started just now, and has not answered yet.")
        since = worker.started_at if worker.answered_at is None else worker.answered_at
        return Reason("process", since, "It does not answer: its event loop stands still, or the process is frozen.")


def _is_dead(worker: Worker, answer: Answer | None) -> bool:
    if answer is not None:
        return answer.status != 200
    return worker.started_at is not None and not worker.newborn
