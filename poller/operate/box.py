"""Messages in hand: received from a dead-letter queue, and hidden from everybody else until they are given back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from poller.errors import AwsError, Throttled, Unavailable
from poller.model import ReceivedMessage
from poller.operate.patience import BACKOFF, TRIES, patiently
from poller.operate.ports import LetterBox
from poller.run.ports import Clock

# Long enough for a batch to be looked up and sent with all its tries; whatever happens to this process, after so long
# the messages are there again for everybody.
HIDDEN_S: Final = 120
# So many at a time: SQS lets 120,000 messages of a queue be hidden, and each costs memory and calls here.
IN_HAND_MAX: Final = 10_000
_BATCH: Final = 10
_GIVE_BACK_S: Final = 10.0
# Answers without a message, or without a new one, after which there are no more.
_EMPTY_MAX: Final = 2
_STALE_MAX: Final = 20


class Hand:
    """What has been received from one queue and is not given back, each message once however often it comes.

    What the far side does comes as AwsError.
    """

    def __init__(self, box: LetterBox, clock: Clock, rng: random.Random) -> None:
        self.box = box
        self._clock = clock
        self._rng = rng
        self._held: dict[str, str] = {}  # receipts by message id
        self._gone: set[str] = set()
        self._hide_again_at = 0.0
        self.exhausted = False

    @property
    def full(self) -> bool:
        return len(self._held) >= IN_HAND_MAX

    async def more(self, count: int) -> list[ReceivedMessage]:
        """New messages, at most so many; none: no more can be seen (`exhausted`), or the hand is full."""
        empty = stale = 0
        while not self.full:
            received = await patiently(lambda: self.box.receive(min(count, _BATCH), HIDDEN_S), self._clock, self._rng)
            new = [message for message in received if self._is_new(message)]
            if not self._hide_again_at:
                self._hide_again_at = self._clock.monotonic() + HIDDEN_S / 2
            if new:
                return new
            await self.keep()
            empty, stale = empty + (not received), stale + 1
            if empty >= _EMPTY_MAX or stale >= _STALE_MAX:
                self.exhausted = True
                return []
        return []

    def _is_new(self, message: ReceivedMessage) -> bool:
        known = message.message_id in self._held or message.message_id in self._gone
        if message.message_id not in self._gone:
            self._held[message.message_id] = message.receipt
        return not known

    async def keep(self) -> None:
        """Hides again, in time, what would show up; what fails to be hidden does show up, and is known when it does."""
        if not self._held or self._clock.monotonic() < self._hide_again_at:
            return
        self._hide_again_at = self._clock.monotonic() + HIDDEN_S / 2
        for some in _tens(list(self._held.values())):
            with suppress(AwsError):
                await self.box.hide(some, HIDDEN_S)

    async def delete(self, messages: Sequence[ReceivedMessage]) -> list[ReceivedMessage]:
        """Deletes them; those that may still be there, though it was tried several times."""
        left = {self._held[message.message_id]: message for message in messages}
        self._gone.update(message.message_id for message in messages)
        for attempt in range(1, TRIES + 1):
            try:
                failed = await self.box.delete(list(left))
                left = {receipt: left[receipt] for receipt in failed}
            except AwsError as error:
                if not isinstance(error, Throttled | Unavailable):
                    break
            if not left or attempt == TRIES:
                break
            await self._clock.sleep(BACKOFF.wait_s(attempt, self._rng.random()))
        for message in messages:
            self._held.pop(message.message_id, None)
        return list(left.values())

    async def give_back(self) -> None:
        """What is still in hand can be received again at once; should that fail, in `HIDDEN_S` at the latest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GIVE_BACK_S):
                for some in _tens(list(self._held.values())):
                    with suppress(AwsError):
                        await self.box.hide(some, 0)
        self._held.clear()


def _tens(receipts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (receipts[index : index + _BATCH] for index in range(0, len(receipts), _BATCH))
