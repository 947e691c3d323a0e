"""Any pattern: refused with its fault, or a filter that judges as the plain reference; and neither without bounds."""

from __future__ import annotations

import ipaddress
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from poller.decide.filter import PatternError, compile_filter
from poller.decide.pattern import ALTERNATIVES_MAX, COMPARISONS_MAX, WILDCARDS_MAX
from tests.fuzz.effort import examples
from tests.fuzz.mutations import mutated
from tests.property.event_strategies import NAMES, TEXTS, patterns, records
from tests.unit.filter_reference import wanted

# --- what it says -----------------------------------------------------------------------------------------------------

OPERATORS: Final = ["prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "exists", "cidr"]
names = st.sampled_from(
    [*NAMES, *OPERATORS, "$or", "dynamodb", "NewImage", "Keys", "eventName", "S", "", "\ud800", "*"]
)
values = st.one_of(
    st.sampled_from([*TEXTS, "**", "\\", "*\\*", "\ud800", "10.0.0.0/8", "=", ">", "<="]),
    st.sampled_from([None, True, False, 0, -1, 1.5, 1e300, 10**37, 10**4_000, float("nan"), float("inf"), b"bytes"]),
)
trees: st.SearchStrategy[Any] = st.recursive(
    values, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)
texts = st.sampled_from(
    [
        '{"a":["x"]}',
        '{"eventName":["MODIFY"],"dynamodb":{"NewImage":{"n":{"N":[{"numeric":[">",0,"<=",5]}]}}}}',
        '{"$or":[{"a":[{"wildcard":"a*b"}]},{"b":[{"anything-but":{"prefix":["x","y"]}}]}]}',
        '{"a":[{"exists":false},{"cidr":"10.0.0.0/24"},{"suffix":{"equals-ignore-case":"É"}}]}',
    ]
)


@given(st.one_of(trees, st.dictionaries(names, trees, max_size=3), texts), records())
@example('{"a":[' + "1" * 5_000 + "]}", {})
@example("[" * 60_000, {})
@example('{"a":' * 10_000, {})
@example({"a": [{"\ud800" * 40_000: 1}]}, {})
@examples(300)
def test_a_filter_of_anything_is_refused_with_its_fault_or_has_a_verdict(pattern: object, record: Any) -> None:
    try:
        compiled = compile_filter([pattern])
    except PatternError as refusal:
        line, refused = str(refusal), True
    else:
        line, refused = compiled.text, False
    event("refused" if refused else "compiled")
    assert line
    if refused:
        assert len(line) < 700
        assert line.isprintable() or line.encode()
    else:
        assert compile_filter([pattern]).matches(record) in (True, False)


@given(st.binary(max_size=60) | texts.map(str.encode).flatmap(mutated), records())
@examples(300)
def test_a_filter_of_any_text_is_refused_with_its_fault_or_judges_as_the_reference(text: bytes, record: Any) -> None:
    pattern = text.decode("utf-8", "surrogateescape")
    try:
        compiled = compile_filter([pattern])
    except PatternError:
        event("refused")
        return
    event("compiled")
    if "cidr" not in pattern:  # the one operator that the reference does not have
        assert compiled.matches(record) is wanted([json.loads(pattern)] if json.loads(pattern) else [], (), record)


@given(st.data())
@examples(150)
def test_a_filter_judges_as_the_reference_does_whatever_is_folded(data: st.DataObject) -> None:
    letters = st.text(st.sampled_from("aAsSiIKfnbß\u017f\u0131\u0130\u212a\ufb01\u0149\u02bc\u0390\u0345"), max_size=6)
    found, operand = data.draw(letters), data.draw(letters)
    operator = data.draw(st.sampled_from(["equals-ignore-case", "prefix", "suffix"]))
    pattern = {operator: operand if operator == "equals-ignore-case" else {"equals-ignore-case": operand}}

    verdict = compile_filter([{"a": [pattern]}]).matches({"a": found})

    event(f"matches: {verdict}")
    assert verdict is wanted([{"a": [pattern]}], (), {"a": found})


@given(st.data())
@examples(100)
def test_several_patterns_with_or_in_each_judge_as_the_reference(data: st.DataObject) -> None:
    record = data.draw(records())
    some = [
        {"$or": [data.draw(patterns(record)), data.draw(patterns(record))]} for _ in range(data.draw(st.integers(1, 3)))
    ]

    assert compile_filter([json.dumps(each) for each in some]).matches(record) is wanted(some, (), record)


# --- what it costs: counted in calls, since a clock says something else on every machine ------------------------------


@contextmanager
def counted() -> Iterator[list[int]]:
    """Counts the calls of Python's and C's functions."""
    calls = [0]

    def profile(_frame: object, what: str, _argument: object) -> None:
        if what in ("call", "c_call"):
            calls[0] += 1

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def products(choices: int, first: int = 0) -> dict[str, Any]:
    """Multiplies out to two to the power of `choices`."""
    return {f"{n}": {"$or": [{"x": ["1"]}, {"y": ["2"]}]} for n in range(first, first + choices)}


def nested_or(levels: int, width: int) -> dict[str, Any]:
    pattern: dict[str, Any] = {"a": ["1"]}
    for level in range(levels):
        pattern = {"$or": [pattern, {f"{level}-{n}": ["1"] for n in range(width)}]}
    return pattern


def deep(levels: int, values: list[Any]) -> dict[str, Any]:
    pattern: Any = values
    for _ in range(levels):
        pattern = {"n": pattern}
    assert isinstance(pattern, dict)
    return pattern


ADVERSARIAL: dict[str, list[Any]] = {
    "products in one pattern": [products(9)],
    "products too large": [products(40)],
    "products in every pattern": [products(9, first=9 * n) for n in range(100)],
    "products of products": [{"$or": [products(4), products(4, 4)], "b": {"$or": [products(4), products(4, 4)]}}],
    "branches": [{"$or": [{"a": ["1"], "b": ["1"]} for _ in range(1_000)]}],
    "branches in every pattern": [{"$or": [{"a": ["1"]} for _ in range(20)]} for _ in range(100)],
    "nested branches": [nested_or(37, 40)],
    "operators beside branches": [
        {"a": [{"prefix": f"{n}"} for n in range(2_000)], "$or": [{f"{n}": ["1"]} for n in range(900)]}
    ],
    "operators beside few branches": [
        {"a": [{"prefix": f"{n}"} for n in range(90)], "$or": [{f"{n}": ["1"]} for n in range(100)]}
    ],
    "denied operators": [
        {"a": [{"anything-but": {"prefix": [f"{n}" for n in range(90)]}}], "$or": [{f"{n}": ["1"]} for n in range(100)]}
    ],
    "wildcards beside branches": [
        {"a": [{"wildcard": f"*{n}"} for n in range(9)], "$or": [{f"{n}": ["1"]} for n in range(100)]}
    ],
    "many values": [{"a": [f"{n}" for n in range(4_900)]}],
    "many operators": [{"a": [{"suffix": f"{n}"} for n in range(2_400)]}],
    "many names": [{f"{n}": ["1"] for n in range(2_400)}],
    "deep": [deep(76, ["1"])],
    "deep and twice": [deep(30, [{"exists": False}]) for _ in range(80)],
    "long wildcards": [{"a": [{"wildcard": "*" + "ab*" * 150} for _ in range(WILDCARDS_MAX)]}],
    "stars": [{"a": [{"wildcard": "*".join("x" * 20_000)}]}],
    "long names": [{"x" * 60_000: ["1"]}],
    "an unknown operator with a long name": [{"a": [{"y" * 60_000: ["1"]}]}],
}
# What a filter within all bounds costs, several times over: compiling looks at each part a few times, and a record
# walks down each alternative once.
COMPILING_MAX: Final = 60 * (COMPARISONS_MAX + ALTERNATIVES_MAX)
JUDGING_MAX: Final = 8 * (COMPARISONS_MAX + ALTERNATIVES_MAX)


@pytest.mark.parametrize("given_patterns", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_no_pattern_makes_a_filter_that_costs_without_bounds(given_patterns: list[Any]) -> None:
    with counted() as compiling:
        try:
            compiled = compile_filter([json.dumps(pattern) for pattern in given_patterns])
        except PatternError:
            compiled = compile_filter([])
    with counted() as judging:
        for record in ({}, {"a": "none of them"}, {"a": ["none", "of", "them"]}, deep(200, ["0"])):
            compiled.matches(record)

    assert compiling[0] < COMPILING_MAX
    assert judging[0] < 6 * JUDGING_MAX  # four records, of which one has a list of three


class Long(str):
    """400 kB, which must not be gone through for every operator of a pattern."""

    __slots__ = ()

    def casefold(self) -> str:
        raise AssertionError("folded as a whole")


@pytest.mark.parametrize(
    "operator",
    [
        {"equals-ignore-case": "Abc"},
        {"prefix": {"equals-ignore-case": "Abc"}},
        {"suffix": {"equals-ignore-case": "Abc"}},
        {"suffix": {"equals-ignore-case": ""}},
        {"anything-but": {"equals-ignore-case": ["Abc", "abd"]}},
    ],
)
def test_a_long_value_is_not_folded_as_a_whole_for_a_short_operand(operator: dict[str, Any]) -> None:
    compiled = compile_filter([{"a": [operator]}])

    assert compiled.matches({"a": Long("abc" * 130_000)}) is compiled.matches({"a": "abc" * 4})


def test_a_long_value_is_not_read_as_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = compile_filter([{"a": [{"cidr": "10.0.0.0/8"}]}])
    monkeypatch.setattr(ipaddress, "ip_address", lambda _: pytest.fail("read"))

    assert not compiled.matches({"a": "1" * 400_000})
