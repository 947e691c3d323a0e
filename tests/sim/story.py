"""What happened, in lines for people: the last of them are shown with a violation, all of them with `--trace`."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from typing import TextIO

_KEPT_LINES = 60


class Story:
    """Lines with their time. `digest` is of all of them: two runs of a seed are the same if theirs are."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.last: deque[str] = deque(maxlen=_KEPT_LINES)
        self._out = out
        self._over = False
        self._hash = hashlib.blake2b(digest_size=12)

    def tell(self, true_s: float, who: str, text: str) -> None:
        if self._over:
            return
        line = f"{true_s - 1000.0:9.3f}  {who:<8} {text}"
        self.last.append(line)
        self._hash.update(line.encode())
        if self._out is not None:
            print(line, file=self._out)

    def end(self) -> None:
        """What is told from now on is not part of it."""
        self._over = True

    def fault(self, true_s: float, name: str, text: str) -> None:
        """Something that the world does to the fleet."""
        self.counts[name] += 1
        self.tell(true_s, "world", f"{name}: {text}")

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()
