"""The body of a GetRecords answer, cut into its records without decoding them.

One look at the bytes: a record stays as it came until a route wants it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final, NoReturn, TypeGuard

import msgspec

from poller.model import Page

# What the service writes around the records and the iterator, generously: names and brackets, and a comma each.
_FRAME_BYTES_MAX: Final = 64
_GAP_BYTES_MAX: Final = 4


class _Answer(msgspec.Struct, gc=False):
    records: list[msgspec.Raw] = msgspec.field(name="Records")
    next_iterator: str | None = msgspec.field(name="NextShardIterator", default=None)


_decode_answer = msgspec.json.Decoder(_Answer).decode


def decode_page(body: bytes) -> Page:
    """The page in an answer's body; its records are views into `body`. ValueError: this is no answer of GetRecords.

    A page is either understood or refused as a whole. What is wrong within one record is found when it is sifted.
    """
    try:
        answer = _decode_answer(body)
    except (ValueError, RecursionError) as error:
        return _decode_patiently(body, error)
    records, next_iterator = answer.records, answer.next_iterator
    if not _is_iterator(next_iterator):
        raise ValueError("not an answer of GetRecords: NextShardIterator is no iterator")
    surplus = len(body) - sum(map(len, records)) - len(records) * _GAP_BYTES_MAX - len(next_iterator or "")
    if surplus > _FRAME_BYTES_MAX:
        # Something else is in it: new members or spaces, but perhaps other records, under a name that stands twice.
        return _decode_patiently(body, ValueError("Records stands in it twice"))
    return Page(records, next_iterator, len(body))


def _decode_patiently(body: bytes, reason: Exception) -> Page:
    """For a page in which a string holds half of a surrogate pair (`\\ud800`): a record must not stop its neighbours.

    msgspec refuses the whole text, the standard library takes it. A name that stands twice is refused here.
    """
    try:
        members = _Reader(body).members()
        records, written = members["Records"], members.get("NextShardIterator", "null")
        next_iterator = json.loads(written) if isinstance(written, str) else ""
        if isinstance(records, list) and _is_iterator(next_iterator):
            return Page(records, next_iterator, len(body))
    except (ValueError, RecursionError, KeyError):
        pass  # the first reader's words say it as well
    raise ValueError(f"not an answer of GetRecords: {reason}") from reason


def _is_iterator(value: object) -> TypeGuard[str | None]:
    """Absent, or text that can be sent back."""
    return value is None or (isinstance(value, str) and value.isascii() and value != "")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


class _Reader:
    """Walks through an object's members and cuts `Records` into its elements, each as it was written.

    Every byte is taken for a character (Latin-1): places are those of the bytes, and what is no UTF-8 stays as it is.
    """

    _space: Final = re.compile(r"[ \t\n\r]*")
    # Values are only passed over: no number is too large for that.
    _value: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse).raw_decode

    def __init__(self, body: bytes) -> None:
        self._text = body.decode("latin-1")
        self._place = 0

    def members(self) -> dict[str, str | list[bytes]]:
        """Values by their names. ValueError: the text is not one JSON object, or says something twice."""
        members: dict[str, str | list[bytes]] = {}
        for _ in self._between("{", "}"):
            name = json.loads(self._cut())
            if not isinstance(name, str) or name in members or not self._take(":"):
                raise ValueError("no new name")
            if name == "Records" and self._next() == "[":
                members[name] = [self._cut().encode("latin-1") for _ in self._between("[", "]")]
            else:
                members[name] = self._cut()
        if self._next():
            raise ValueError("more than one value")
        return members

    def _between(self, opening: str, closing: str) -> Iterator[None]:
        """One turn for each element, which its user cuts."""
        if not self._take(opening):
            raise ValueError(f"no {opening}")
        if self._take(closing):
            return
        yield
        while self._take(","):
            yield
        if not self._take(closing):
            raise ValueError(f"no {closing}")

    def _cut(self) -> str:
        self._next()
        begin = self._place
        _, self._place = self._value(self._text, begin)
        return self._text[begin : self._place]

    def _take(self, character: str) -> bool:
        there = self._next() == character
        if there:
            self._place += 1
        return there

    def _next(self) -> str:
        """The next character that is no space, "" at the end."""
        match = self._space.match(self._text, self._place)
        self._place = match.end() if match else self._place
        return self._text[self._place : self._place + 1]
