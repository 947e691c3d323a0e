"""`poller init` where SQS takes its time to know of a queue that it has just made."""

from __future__ import annotations

import random

import pytest

from poller.errors import ConfigurationError
from poller.provision import Provision, Step
from poller.settings import load
from poller.startup import World as Shared
from poller.startup import open_aws
from tests.standin import Fault, World
from tests.still import StillClock

SETTINGS = {"POLLER_TABLE": "Uploads", "POLLER_QUEUE": "jobs", "POLLER_DEAD_LETTER_QUEUE": "letters"}


class SleepingClock(StillClock):
    """Goes on by what is slept on it, and not otherwise."""

    async def sleep(self, seconds: float) -> None:
        self.passed_s += seconds


async def made(clock: SleepingClock) -> list[Step]:
    steps: list[Step] = []
    settings = load(SETTINGS, None)
    aws = await open_aws(settings, Shared(clock, lambda _: None, random.Random()))
    try:
        await Provision(settings, aws, clock, steps.append, dry_run=False).run(story_table=False)
    finally:
        aws.close()
    return steps


def unknown(times: int | None) -> Fault:
    """Of the queue of the route: it is looked for once before it is made, and found again so many times later."""
    code, message = "QueueDoesNotExist", "The specified queue does not exist."
    return Fault(operation="GetQueueUrl", queue="jobs", skip=1, times=times, code=code, status=400, message=message)


@pytest.fixture(autouse=True)
def _endpoint(world: World, aws_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", world.url)


async def test_a_queue_that_is_not_known_yet_is_waited_for_and_gets_its_redrive_policy(world: World) -> None:
    clock = SleepingClock()
    world.faults.add(unknown(times=2))
    steps = await made(clock)
    assert [(step.outcome, step.what) for step in steps] == [
        ("made", "lease table"),
        ("made", "dead-letter queue"),
        ("made", "queue"),
        ("set", "redrive policy"),
    ]
    assert clock.passed_s >= 2


async def test_a_queue_that_never_gets_known_is_not_waited_for_without_end(world: World) -> None:
    clock = SleepingClock()
    world.faults.add(unknown(times=None))
    with pytest.raises(ConfigurationError, match="there is no such queue"):
        await made(clock)
    assert clock.passed_s < 60
