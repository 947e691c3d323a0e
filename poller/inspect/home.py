"""Where the settings' things are, and how their queues are encrypted: what AWS tells a policy that settings do not."""

from __future__ import annotations

from dataclasses import dataclass

from poller.aws.session import Aws
from poller.aws.sqs import find_queue
from poller.aws.survey import caller, queue_attributes
from poller.errors import PollerError
from poller.inspect.policy import Home, Keys
from poller.settings import Settings


@dataclass(frozen=True, slots=True)
class Asked:
    """What was found out. `home` None: the account is not known; `unasked`: queues that did not say how, and why."""

    home: Home | None
    keys: Keys
    unasked: tuple[str, ...]


async def ask(settings: Settings, aws: Aws, region: str | None, account: str | None, *, keys: bool) -> Asked:
    """`region`, `account`: known already, and not asked for. `keys`: those of the queues are wanted."""
    account = account or settings.stream.arn_account
    notes: list[str] = []
    if account is None:
        try:
            arn = await caller(aws)
            account = arn.split(":")[4] if arn else None
        except PollerError as error:
            notes.append(str(error))
    home = Home(region or aws.region, account) if account else None
    queues: set[str] = set()
    letters: set[str] = set()
    for route in settings.routes if keys else ():
        for name, found in ((route.queue, queues), (route.dead_letter_queue, letters)):
            if name is None:
                continue
            try:
                key = (await queue_attributes(aws, (await find_queue(aws, name)).info)).get("KmsMasterKeyId")
            except PollerError as error:
                notes.append(f"{name}: {error}")
                continue
            if key:
                found.add(key)
    return Asked(home, Keys(queues, letters), tuple(notes))
