"""`poller dead-letters`: what lies in the dead-letter queues, seen without taking anything out."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

from poller.model import ReceivedMessage
from poller.operate.box import Hand
from poller.operate.letters import Letter, letter_in
from poller.operate.ports import LetterBox
from poller.run.ports import Clock

# A look ends well before the first message that it has hidden shows up again.
_SECONDS_MAX: Final = 60.0


@dataclass(slots=True)
class Kind:
    """Letters of one reason and route. `oldest_s`, `newest_s`: when they died, since the epoch."""

    reason: str
    route: str | None
    count: int = 0
    oldest_s: float = 0.0
    newest_s: float = 0.0
    examples: list[Letter] = field(default_factory=list)

    def add(self, letter: Letter, examples_max: int) -> None:
        self.oldest_s = min(self.oldest_s, letter.died_s) if self.count else letter.died_s
        self.newest_s = max(self.newest_s, letter.died_s)
        self.count += 1
        if len(self.examples) < examples_max:
            self.examples.append(letter)


@dataclass(slots=True)
class Seen:
    """What was found in one queue.

    `waiting`: about how many messages it holds by its own account; `others`: those that are no letters of this daemon.
    """

    queue: str
    fifo: bool
    waiting: int
    kinds: dict[tuple[str, str | None], Kind] = field(default_factory=dict)
    others: int = 0
    others_oldest_s: float = 0.0
    others_newest_s: float = 0.0
    exhausted: bool = False

    @property
    def looked_at(self) -> int:
        return self.others + sum(kind.count for kind in self.kinds.values())

    @property
    def complete(self) -> bool:
        """Whether these are all of them, as far as the queue tells."""
        return self.exhausted and self.looked_at >= self.waiting

    def add(self, message: ReceivedMessage, examples_max: int) -> None:
        letter = letter_in(message)
        if letter is None:
            self.others_oldest_s = min(self.others_oldest_s, message.sent_s) if self.others else message.sent_s
            self.others_newest_s = max(self.others_newest_s, message.sent_s)
            self.others += 1
            return
        key = (letter.reason, letter.route)
        self.kinds.setdefault(key, Kind(*key)).add(letter, examples_max)


async def look(box: LetterBox, clock: Clock, rng: random.Random, *, letters_max: int, examples_max: int) -> Seen:
    """Looks at so many messages at most; all of them are in the queue afterwards as they were."""
    seen = Seen(box.info.name, box.info.fifo, await box.waiting())
    hand = Hand(box, clock, rng)
    end = clock.monotonic() + _SECONDS_MAX
    try:
        while seen.looked_at < letters_max and clock.monotonic() < end:
            messages = await hand.more(letters_max - seen.looked_at)
            if not messages:
                break
            for message in messages:
                seen.add(message, examples_max)
    finally:
        await hand.give_back()
    seen.exhausted = hand.exhausted
    return seen
