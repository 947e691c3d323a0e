"""The pages of a process with several streams: what `poller.observe.status` says of each, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from poller.observe.health import Reason
from poller.observe.http import Answer, Query
from poller.observe.selection import Wanted
from poller.observe.status import Object, Report, Times, readiness_answer, status_answer
from poller.observe.verdict import Verdict, overall
from poller.run.ports import Clock

_NO_QUERY: Final[Query] = {}


class Overview:
    """The two pages, and the answer behind `poller_ready`, over all streams. `reports`: by their tables' names."""

    def __init__(self, reports: Mapping[str, Report], clock: Clock) -> None:
        self._reports = dict(reports)
        self._clock = clock

    def ready(self) -> bool:
        """Are all streams ready at this moment?"""
        return all(report.ready() for report in self._reports.values())

    def readiness(self) -> Answer:
        """As for one stream; each reason has its `stream` before its `part`."""
        return readiness_answer(self._reasons(), Times(self._clock))

    def status(self, query: Query = _NO_QUERY) -> Answer:
        """What is the process's own, and in the list `streams` what else the page of a single stream has, of each.

        Where the query names a stream, the others are there without their shards.
        """
        return status_answer(query, self._status)

    def _status(self, wanted: Wanted) -> Object:
        times, reasons = Times(self._clock), self._reasons()
        first = next(iter(self._reports.values()))
        health = {"verdict": self._verdict()._asdict(), "ready": not reasons, "reasons": times.reasons(reasons)}
        without = replace(wanted, shards=0, settings=False)
        streams = [
            report.of_the_stream(times, wanted if wanted.stream in (None, name) else without)
            for name, report in self._reports.items()
        ]
        return first.of_the_process(times) | health | {"streams": streams}

    def _verdict(self) -> Verdict:
        verdicts = {name: report.verdict() for name, report in self._reports.items()}
        return overall({name: one for name, (one, _) in verdicts.items()}, [one for _, one in verdicts.values()])

    def _reasons(self) -> list[Reason]:
        named = (reason._replace(stream=name) for name, report in self._reports.items() for reason in report.reasons())
        return sorted(named, key=lambda reason: reason.since)
