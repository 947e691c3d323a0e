"""Skims a page for the records that some route may want; all others are read in one go, and nothing is kept of them.

What comes of it is exact, or nothing does: a page that is written in any other way than the service's is left to those
who read it record by record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from typing_extensions import Buffer

from poller.model import Page, Text
from poller.run.fields import Path, Place

# Each is a search through the whole page, which costs a tenth of what it saves.
_NEEDLES_MAX: Final = 4
# Shorter ones are found everywhere.
_NEEDLE_BYTES_MIN: Final = 5
_ASCII_ESCAPE: Final = b"\\u00"
_BACKSLASHES_MAX: Final = 1_000
_OBJECT_END: Final = ord("}")


class Doubtful(Exception):
    """Something on the page is not as the service writes it: it must be read record by record."""


class Wants(Protocol):
    """What is asked of a filter (`poller.decide.filter.Filter`)."""

    @property
    def paths(self) -> frozenset[Path]:
        """The ends of all that it reads of a record."""

    @property
    def wants_all(self) -> bool:
        """No record can be other than wanted."""

    @property
    def needles(self) -> frozenset[bytes] | None:
        """The JSON of every wanted record holds one of these as it stands, or a `\\u00`; None: that cannot be said."""

    def matches(self, record: Mapping[str, Any]) -> bool:
        """The verdict on a record, or on what of it lies on `paths`. Never raises."""


class Part(NamedTuple):
    """Records of a page that nobody wants, in their order, and those right behind them that somebody may want."""

    passed: Sequence[Place]
    likely: Sequence[bytes]


class Skimmer:
    """For the filters of all routes. `serves`: whether it is of use for them.

    `dense`: most records of a page are wanted, it seems; then each is cut out, and none is searched.
    """

    def __init__(self, filters: Sequence[Wants], places: Callable[[Buffer], Sequence[Place]] | None) -> None:
        """`places` reads a list of records."""
        self._places = places
        self._wants_all = any(each.wants_all for each in filters)
        self._needles = frozenset[bytes]().union(*(each.needles or () for each in filters))
        known = all(each.needles is not None for each in filters)
        searchable = len(self._needles) <= _NEEDLES_MAX and all(map(_is_long, self._needles))
        self.serves = self._wants_all or (known and searchable and places is not None)
        self.dense = False

    def parts(self, page: Page) -> Iterator[Part]:
        """All records of the page, part by part. Doubtful: not this page.

        The page's text is cut around each record that holds a needle, at places where records seem to begin. That they
        do is proved by what is cut: if each piece reads as a record, and all between two of them as records with commas
        in between, then there is no other way to read the whole. So whoever takes the parts must read every piece
        before he believes any.
        """
        if page.text is not None and (self._wants_all or self.dense):
            yield Part((), _cut(page.text))
            return
        if self._wants_all:
            yield Part((), list(map(bytes, page.records)))
            return
        if page.text is None or self._places is None:
            raise Doubtful
        body, begin, end = page.text
        view = memoryview(body)
        passed: Sequence[Place] = ()
        likely: list[bytes] = []
        for first, last in _spans(page.text, self._hits(page.text)):
            if first > begin:
                if likely:
                    yield Part(passed, likely)
                    likely = []
                passed = _read(self._places, view[begin : first - 1])
            likely.append(bytes(view[first:last]))
            begin = last + 1
        yield Part(passed, likely)
        if begin < end:
            yield Part(_read(self._places, view[begin:end]), ())

    def _hits(self, text: Text) -> list[int]:
        """Where something stands that every wanted record has: a needle, or an escape that may hide one; in order."""
        body, begin, end = text
        find, hits = body.find, _escapes(text)
        for needle in self._needles:
            hit = find(needle, begin, end)
            while hit >= 0:
                hits.append(hit)
                hit = find(needle, hit + 1, end)
        hits.sort()
        return hits


def _opening(text: Text) -> bytes:
    """How every record begins behind the comma, if it begins with the same name as the first: `,{"eventID":`."""
    body, begin, end = text
    opening = b"," + body[begin : body.find(b":", begin, end) + 1]
    if not opening.startswith(b',{"'):
        raise Doubtful
    return opening


def _cut(text: Text) -> list[bytes]:
    """All records, as they seem to begin and end."""
    body, begin, end = text
    opening = _opening(text)[1:]
    between = b"}," + opening
    first, *others = bytes(memoryview(body)[begin:end]).split(between)
    if not others:
        return [first]
    *others, last = others
    join = b"".join
    return [first + b"}", *[join((opening, rest, b"}")) for rest in others], opening + last]


def _spans(text: Text, hits: Iterable[int]) -> Iterator[tuple[int, int]]:
    """From where to where the records seem to stand that are hit."""
    body, begin, end = text
    opening = _opening(text)
    behind = begin - 1
    for hit in hits:
        if hit < behind:
            continue  # in the same record as the one before
        first = body.rfind(opening, behind, hit) + 1
        if not first:
            if behind >= begin:
                raise Doubtful
            first = begin
        behind = body.find(opening, hit, end)
        if behind < 0:
            behind = end
        if body[behind - 1] != _OBJECT_END:
            raise Doubtful
        yield first, behind


def _is_long(needle: bytes) -> bool:
    return len(needle) >= _NEEDLE_BYTES_MIN


def _read(places: Callable[[Buffer], Sequence[Place]], text: memoryview) -> Sequence[Place]:
    try:
        read = places(b"".join((b"[", text, b"]")))
    except (ValueError, RecursionError) as error:
        raise Doubtful from error
    if not read:
        raise Doubtful
    return read


def _escapes(text: Text) -> list[int]:
    """Each `\\u` that may stand for a character of a needle: of ASCII, so that `00` follows.

    One character is found many times as fast as four, as long as there are few of it: texts in JSON that hold JSON
    themselves are full of backslashes.
    """
    body, begin, end = text
    find, hits = body.find, list[int]()
    hit = find(b"\\", begin, end)
    for _ in range(_BACKSLASHES_MAX):
        if hit < 0:
            return hits
        if body.startswith(_ASCII_ESCAPE, hit):
            hits.append(hit)
        hit = find(b"\\", hit + 2, end)
    hit = find(_ASCII_ESCAPE, hit, end)
    while hit >= 0:
        hits.append(hit)
        hit = find(_ASCII_ESCAPE, hit + 1, end)
    return hits
