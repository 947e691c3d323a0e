"""The pages of a process with several streams: what `poller.observe.status` says of each, side by side."""

from __future__ import annotations

from collections.abc import Mapping

from poller.observe.health import Reason
from poller.observe.http import Answer
from poller.observe.status import Report, Times, json_answer, readiness_answer
from poller.run.ports import Clock


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

    def status(self) -> Answer:
        """What is the process's own, and in the list `streams` what else the page of a single stream has, of each."""
        times, reasons = Times(self._clock), self._reasons()
        first = next(iter(self._reports.values()))
        health = {"ready": not reasons, "reasons": times.reasons(reasons)}
        streams = [report.of_the_stream(times) for report in self._reports.values()]
        return json_answer(first.of_the_process(times) | health | {"streams": streams})

    def _reasons(self) -> list[Reason]:
        named = (reason._replace(stream=name) for name, report in self._reports.items() for reason in report.reasons())
        return sorted(named, key=lambda reason: reason.since)
