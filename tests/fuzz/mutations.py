"""Records and pages as the service writes them, and the same with something wrong at the level of bytes."""

from __future__ import annotations

import json
from typing import Any, Final

from hypothesis import strategies as st

from tests.property.event_strategies import json_values, records

# What readers of JSON trip over: halves of tokens, of characters and of surrogate pairs, numbers in odd forms.
TOKENS: Final = [
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"\t\r\n", b"\x0b", b"\x00", b"\x1f", b"\x7f"),
    *(b"null", b"true", b"nul", b"NaN", b"-Infinity", b"0", b"-", b"01", b"1e999", b"-1E-999", b"1.", b"9" * 25),
    *(b"\\ud800", b"\\udc00", b"\\ud83d\\ude00", b"\\u0000", b"\\u005", b"\\q", b"\\\\", b"\\/", b'\\"'),
    *(b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xef\xbf\xbf", b"\xef\xbb\xbf", b"\xe2\x80"),
    *(b'"SequenceNumber"', b'"dynamodb":', b'"eventName":"REMOVE",', b'"Keys":{},', b'"Records":[],', b'{"S":'),
]


@st.composite
def mutated(draw: st.DrawFn, text: bytes) -> bytes:
    """The text, changed at a few places: cut, doubled, swapped, something put in, its end gone."""
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        begin, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        match draw(st.sampled_from(["insert", "insert", "replace", "replace", "cut", "double", "end", "byte"])):
            case "insert":
                text = text[:begin] + draw(st.sampled_from(TOKENS)) + text[begin:]
            case "replace":
                there = begin + draw(st.integers(0, 4))
                text = text[:begin] + draw(st.sampled_from(TOKENS)) + text[there:]
            case "cut":
                text = text[:begin] + text[end:]
            case "double":
                text = text[:end] + text[begin:]
            case "end":
                text = text[:end]
            case _:
                text = text[:begin] + draw(st.binary(min_size=1, max_size=2)) + text[begin + 1 :]
    return text


@st.composite
def spelled(draw: st.DrawFn, value: Any) -> bytes:
    """JSON in one of its spellings: escapes or characters, spaces, the names of the uppermost objects in any order."""
    space = draw(st.sampled_from([None, None, " ", "\n\t"]))
    ascii_only = draw(st.booleans())
    if isinstance(value, dict):
        value = {name: value[name] for name in draw(st.permutations(sorted(value)))}
    separators = (",", ":") if space is None else (f"{space},{space}", f"{space}:{space}")
    text = json.dumps(value, ensure_ascii=ascii_only, separators=separators)
    text = text if space is None else f"{space}{text}{space}"
    if draw(st.integers(0, 3)) == 0:  # a name or a value by its escapes
        text = (
            text.replace("dynamodb", "\\u0064ynamodb").replace("phase", "p\\u0068ase").replace("MODIFY", "\\u004dODIFY")
        )
    return text.encode()


@st.composite
def record_bodies(draw: st.DrawFn) -> bytes:
    """Mostly one of the service's, mostly with something wrong; never nothing, which no element of a list is."""
    return draw(mutated(draw(spelled(draw(st.one_of(records(), records(), records(), json_values)))))) or b" "
