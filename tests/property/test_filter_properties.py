"""The compiled filter against the plain reference in tests/unit/filter_reference.py."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from poller.decide.filter import compile_filter
from tests.property.event_strategies import NAMES, items, json_values, patterns, records
from tests.unit.filter_reference import wanted, wildcard


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_compiled_filter_wants_what_the_reference_wants(data: st.DataObject) -> None:
    record = data.draw(records())
    some = data.draw(st.lists(patterns(record), max_size=2))
    changed = data.draw(st.sampled_from([(), (), (), ("phase",), ("a", "b")]))

    verdict = compile_filter([json.dumps(pattern) for pattern in some], changed).matches(record)

    event(f"wanted: {verdict}")
    assert verdict is wanted(some, changed, record)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_in_lists_of_objects_one_object_must_have_it_all(data: st.DataObject) -> None:
    element = st.dictionaries(st.sampled_from("abc"), st.sampled_from([1, 2]), max_size=3)
    nested = st.recursive(element, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
    record = {"x": data.draw(nested), "y": data.draw(nested)}
    values = st.sampled_from([[1], [2], [{"exists": False}], [{"exists": False}, 1], [{"anything-but": 1}]])
    below = st.dictionaries(st.sampled_from("abc"), values, min_size=1, max_size=3)
    pattern = data.draw(st.dictionaries(st.sampled_from("xy"), below, min_size=1))

    verdict = compile_filter([pattern]).matches(record)

    event(f"wanted: {verdict}")
    assert verdict is wanted([pattern], (), record)


@given(items, items, st.sampled_from(["INSERT", "MODIFY", "REMOVE"]), st.sets(st.sampled_from(NAMES), min_size=1))
@settings(max_examples=100, deadline=None)
def test_changed_attributes_are_those_of_the_reference(
    old: dict[str, Any], new: dict[str, Any], event_name: str, changed: set[str]
) -> None:
    record = {"eventName": event_name, "dynamodb": {"OldImage": old | dict(list(new.items())[:1]), "NewImage": new}}

    assert compile_filter([], sorted(changed)).matches(record) is wanted([], sorted(changed), record)


@given(st.lists(st.sampled_from(["a", "b", "*", r"\*", r"\\"]), max_size=8), st.text("ab*\\", max_size=8))
@settings(max_examples=200)
def test_a_wildcard_matches_as_if_every_length_of_every_star_were_tried(pieces: list[str], text: str) -> None:
    pattern = "".join(
        piece for piece, before in zip(pieces, ["", *pieces], strict=False) if (piece, before) != ("*", "*")
    )

    verdict = compile_filter([{"a": [{"wildcard": pattern}]}]).matches({"a": text})

    event(f"matches: {verdict}")
    assert verdict is wildcard(pattern, text)


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=20, min_value=-(10**17), max_value=10**17),
    st.decimals(allow_nan=False, allow_infinity=False, places=20, min_value=-(10**17), max_value=10**17),
)
@settings(max_examples=100)
def test_numbers_are_compared_in_all_their_digits(one: Decimal, other: Decimal) -> None:
    more = f'{{"dynamodb": {{"NewImage": {{"n": {{"N": [{{"numeric": [">", {one:f}]}}]}}}}}}}}'
    record = {"dynamodb": {"NewImage": {"n": {"N": f"{other:f}"}}}}

    assert compile_filter([more]).matches(record) is (other > one)


@given(records())
@settings(max_examples=100, deadline=None)
def test_only_the_paths_that_a_filter_names_decide(record: dict[str, Any]) -> None:
    compiled = compile_filter(['{"eventName": ["MODIFY"], "dynamodb": {"NewImage": {"a": {"S": ["a"]}}}}'], ["phase"])
    only_these = _cut(record, compiled.paths)

    assert compiled.matches(only_these) is compiled.matches(record)


@given(st.dictionaries(st.sampled_from(["eventName", "dynamodb", "a"]), json_values, max_size=3))
@settings(max_examples=100)
def test_a_filter_has_a_verdict_on_any_json_object_and_can_explain_it(record: dict[str, Any]) -> None:
    compiled = compile_filter([{"eventName": ["MODIFY"], "dynamodb": {"a": [{"numeric": [">", 1]}]}}], ["a"])

    findings = compiled.explain(record)

    if all(finding.ok for finding in findings):
        assert compiled.matches(record)
    assert {finding.pattern for finding in findings} == {0, None}


def _cut(value: Any, paths: frozenset[tuple[str, ...]]) -> Any:
    if isinstance(value, list):
        return [_cut(each, paths) for each in value]
    if not isinstance(value, dict) or () in paths:
        return value
    below = {name: frozenset(path[1:] for path in paths if path[0] == name) for name in value}
    return {name: _cut(each, below[name]) for name, each in value.items() if below[name]}
