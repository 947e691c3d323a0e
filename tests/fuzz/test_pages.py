"""Any bytes for an answer of GetRecords: refused, or exactly the records that the standard library reads in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from poller.aws.page import decode_page
from poller.errors import Unavailable
from tests.fuzz.effort import examples
from tests.fuzz.mutations import mutated, record_bodies, spelled
from tests.property.event_strategies import json_values, records

# At once, or when the records are cut apart.
REFUSED: Final = pytest.raises(
    (ValueError, Unavailable), match=r"not an answer of GetRecords|not what the service promises"
)


class Members(tuple[tuple[str, Any], ...]):
    """An object of a JSON text, with what it says twice."""

    __slots__ = ()


def read(text: bytes) -> Any:
    """By the standard library, byte for byte: objects as pairs of names and values, numbers as they are written."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    def number(written: str) -> tuple[str, str]:
        return "a number", written

    return json.loads(
        text.decode("latin-1"), object_pairs_hook=Members, parse_int=number, parse_float=number, parse_constant=refuse
    )


def answer_of(body: bytes) -> tuple[list[Any], str | None] | None:
    """Its records and its iterator, None if it is no answer, or says one of the two twice."""
    try:
        pairs = read(body)
    except ValueError:
        return None
    members = dict(pairs) if isinstance(pairs, Members) else {}
    given, iterator = members.get("Records"), members.get("NextShardIterator")
    if not isinstance(given, list) or len(members) < len(pairs):
        return None
    if iterator is not None and not (isinstance(iterator, str) and iterator and iterator.isascii()):
        return None
    return given, iterator


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """As services of its kind write it: members in any order, some that nobody knows, spaces, any records."""
    bodies = draw(st.lists(record_bodies(), max_size=3))
    members = [b'"Records":[' + b",".join(bodies) + b"]"]
    if draw(st.booleans()):
        members.append(
            b'"NextShardIterator":' + draw(st.sampled_from([b'"arn|1|AAAA=="', b"null", b'"\\u0041"', b"5"]))
        )
    unknown = draw(st.lists(st.sampled_from(['"MillisBehindLatest"', '"records"', '"é"', '""']), max_size=2))
    members += [name.encode() + b":" + draw(spelled(draw(json_values))) for name in unknown]
    space = draw(st.sampled_from([b"", b" ", b"\r\n"]))
    members = draw(st.permutations(members))
    return space + b"{" + space + (space + b"," + space).join(members) + space + b"}" + space


@st.composite
def framed(draw: st.DrawFn) -> bytes:
    """As DynamoDB itself writes them; the text of all records may be anything."""
    text = b",".join(draw(st.lists(record_bodies(), max_size=3)))
    text = draw(st.sampled_from([text, text, text + b'],"x":[', text + b'],"NextShardIterator":"y","x":["']))
    frame = draw(
        st.sampled_from([b'{"NextShardIterator":"x","Records":[%b]}', b'{"Records":[%b],"NextShardIterator":"x"}'])
    )
    return frame % text


@given(st.one_of(answers(), framed(), answers().flatmap(mutated), framed().flatmap(mutated), st.binary(max_size=40)))
@example(b'{"Records":[{"a":"\\ud800"},{"n":1e999}]}')
@example(b'{"Records":[{"a":"\\ud800"},{"n":' + b"1" * 5_000 + b"}]}")
@example(b'{"Records":[{"a":"\\ud800"},{"a":"\xff"}]}')
@example(b'{"Records":[{"a":"\\ud800","n":1.7E9}],"NextShardIterator":"\\ud800"}')
@example(b'{"Records":[],"NextShardIterator":""}')
@examples(300)
def test_a_page_is_what_the_standard_library_reads_in_its_bytes_or_refused(body: bytes) -> None:
    expected = answer_of(body)
    try:
        page = decode_page(body)
        written = [bytes(record) for record in page.records]
    except (ValueError, Unavailable):
        event("refused")
        assert expected is None
        return

    event("understood" if page.text is None else "understood when it was cut")
    cut = [read(record) for record in written]
    assert page.size_bytes == len(body)
    if expected is None:  # a name that stands twice, in a body with no room for a record beside those of the page
        assert len(body) < sum(map(len, written)) + 64 + 4 * len(cut) + 40
    else:
        assert (cut, page.next_iterator) == expected


@given(st.lists(records(), min_size=1, max_size=3), st.integers(1, 3), st.sampled_from(["Records", "\\u0052ecords"]))
@examples(50)
def test_no_record_is_lost_behind_a_second_list_of_records(page: list[Any], kept: int, name: str) -> None:
    both = [f'"Records":{json.dumps(page)}', f'"{name}":{json.dumps(page[:kept])}']

    for members in (both, both[::-1]):
        with REFUSED:
            decode_page(f"{{{','.join(members)}}}".encode()).records[0]


@given(st.lists(records().flatmap(spelled), min_size=1, max_size=4), st.data())
@examples(50)
def test_half_of_a_surrogate_pair_leaves_every_record_of_its_page_as_it_came(
    bodies: Sequence[bytes], data: st.DataObject
) -> None:
    bad = data.draw(st.sampled_from([b'{"a":"\\ud800"}', b'{"\\udfff":1}', b'{"a":"\\ud83d\\ud83d\\ude00"}']))
    page = data.draw(st.permutations([*bodies, bad]))

    assert [bytes(record) for record in decode_page(b'{"Records":[' + b",".join(page) + b"]}").records] == [
        record.strip() for record in page
    ]


@pytest.mark.parametrize("inside", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b'"\\ud800"'])
def test_an_answer_nested_too_deep_is_refused(inside: bytes) -> None:
    with REFUSED:
        decode_page(b'{"NextShardIterator":"it","Records":[' + inside + b"]}").records[0]


@given(answers(), st.data())
@examples(50)
def test_a_page_that_breaks_off_is_refused_wherever_it_does(body: bytes, data: st.DataObject) -> None:
    short = body[: data.draw(st.integers(0, len(body.rstrip()) - 1))]

    with REFUSED:
        decode_page(short).records[0]
