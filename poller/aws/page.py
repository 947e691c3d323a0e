"""The body of a GetRecords answer: where its records stand, and each of them without decoding it.

A record stays as it came until a route wants it. Who can do without the records one by one looks at the text of all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final, NoReturn, TypeGuard, overload

import msgspec
from typing_extensions import Buffer

from poller.aws.errors import unreadable
from poller.model import Page, Text

# An answer as the service writes it, and nothing else in it; an iterator of characters that need no escape.
_HEAD: Final = re.compile(rb'\{(?:"NextShardIterator":"([!#-\[\]-~]+)",)?"Records":\[')
_TAIL: Final = re.compile(rb'\],"NextShardIterator":"([!#-\[\]-~]+)"\}')
_TAIL_BEGIN: Final = b'],"NextShardIterator":"'
_END: Final = b"]}"
# What the service writes around the records and the iterator, generously: names and brackets, and a comma each.
_FRAME_BYTES_MAX: Final = 64
_GAP_BYTES_MAX: Final = 4


class _Answer(msgspec.Struct, gc=False):
    records: list[msgspec.Raw] = msgspec.field(name="Records")
    next_iterator: str | None = msgspec.field(name="NextShardIterator", default=None)


_decode_answer = msgspec.json.Decoder(_Answer).decode


def decode_page(body: bytes | bytearray) -> Page:
    """The page in an answer's body; its records are views into `body`. ValueError: this is no answer of GetRecords.

    A page is either understood or refused as a whole. What is wrong within one record is found when it is sifted. Of an
    answer that is written as the service writes it only the frame is looked at: its records are cut apart when somebody
    asks for them, and should the text between the frame's ends be no records, that is when it is refused (AwsError).
    """
    frame = _frame(body)
    if frame is None:
        return _cut(body)
    begin, end, next_iterator = frame
    if begin == end:
        return Page((), next_iterator, len(body))
    return Page(_Uncut(body, next_iterator), next_iterator, len(body), Text(body, begin, end))


def _frame(body: bytes | bytearray) -> tuple[int, int, str] | None:
    """Where the records begin and end, and the iterator; None for every other spelling, and for a shard's last page."""
    head = _HEAD.match(body)
    if head is None:
        return None
    begin = head.end()
    if head[1] is not None:
        end = len(body) - len(_END)
        return (begin, end, str(head[1], "ascii")) if begin <= end and body.endswith(_END) else None
    tail = _TAIL.fullmatch(body, max(begin, body.rfind(_TAIL_BEGIN)))
    return (begin, tail.start(), str(tail[1], "ascii")) if tail else None


class _Uncut(Sequence[Buffer]):
    """The records of an answer, cut apart when the first is asked for."""

    def __init__(self, body: bytes | bytearray, next_iterator: str) -> None:
        self._body = body
        self._next_iterator = next_iterator
        self._records: Sequence[Buffer] | None = None

    def __len__(self) -> int:
        return len(self._cut())

    def __iter__(self) -> Iterator[Buffer]:
        return iter(self._cut())

    @overload
    def __getitem__(self, index: int) -> Buffer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Buffer]: ...
    def __getitem__(self, index: int | slice) -> Buffer | Sequence[Buffer]:
        return self._cut()[index]

    def _cut(self) -> Sequence[Buffer]:
        if self._records is None:
            try:
                page = _cut(self._body)
            except ValueError as error:
                raise unreadable("GetRecords", "the stream") from error
            if page.next_iterator != self._next_iterator:  # it stands twice, and which is meant nobody knows
                raise unreadable("GetRecords", "the stream")
            self._records = page.records
        return self._records


def _cut(body: bytes | bytearray) -> Page:
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


def _decode_patiently(body: bytes | bytearray, reason: Exception) -> Page:
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

    def __init__(self, body: bytes | bytearray) -> None:
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
