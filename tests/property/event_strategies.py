"""Records and patterns for property tests: few names and values, so that patterns meet records often."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from tests.unit.filter_reference import flat

IMAGES = ("Keys", "NewImage", "OldImage")
# Among them names of types, no identifiers, and what a careless decoder would trip over.
NAMES = ["phase", "a", "b", "N", "SS", "a.b", "naïve name", '"', "self", "class"]
TEXTS = ["", "a", "A", "ab", "abab", "b*", "back\\slash", "FILE_UPLOAD_COMPLETE", "ß", "SS", "\u0000\u2028", "😀"]
NUMBERS = ["0", "5", "-5", "5.0", "0.50", "1E+2", "100", "9" * 38, "9" * 37 + "8", "1E-130", "no number"]

texts = st.sampled_from(TEXTS)
names = st.sampled_from(NAMES)
scalars: st.SearchStrategy[Any] = st.one_of(texts, st.sampled_from([0, 1, 5, 5.0, 0.1, -3, True, False, None]))

json_values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
)
attribute_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.builds(lambda value: {"S": value}, texts),
        st.builds(lambda value: {"N": value}, st.sampled_from(NUMBERS)),
        st.builds(lambda value: {"BOOL": value}, st.booleans()),
        st.just({"NULL": True}),
        st.just({"B": "3q2+7w=="}),
        st.builds(lambda value: {"SS": value}, st.lists(texts, min_size=1, max_size=3, unique=True)),
        st.builds(lambda value: {"NS": value}, st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=2, unique=True)),
    ),
    lambda inner: st.one_of(
        st.builds(lambda value: {"L": value}, st.lists(inner, max_size=3)),
        st.builds(lambda value: {"M": value}, st.dictionaries(names, inner, max_size=3)),
    ),
    max_leaves=4,
)
items = st.dictionaries(names, attribute_values, max_size=3)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly such as DynamoDB sends them; sometimes with something else at some place, or something more."""
    event_name = draw(st.sampled_from(["INSERT", "MODIFY", "REMOVE"]))
    images: dict[str, Any] = {"Keys": {"id": {"S": draw(texts)}}}
    for image in ("NewImage", "OldImage"):
        if draw(st.integers(0, 3)):
            images[image] = draw(items)
    if "NewImage" in images and "OldImage" in images and draw(st.booleans()):
        images["OldImage"] |= {name: value for name, value in images["NewImage"].items() if draw(st.booleans())}
    images["SequenceNumber"] = draw(st.integers(1, 10**21).map(str))
    images["ApproximateCreationDateTime"] = draw(st.sampled_from([1_700_000_000, 1_700_000_000.0, 1_700_000_001]))
    record = {"eventID": draw(texts), "eventName": event_name, "dynamodb": images, "awsRegion": "eu-west-1"}
    if not draw(st.integers(0, 3)):
        where = draw(st.sampled_from([record, images, images.get("NewImage", images)]))
        where[draw(st.sampled_from([*where, "extra"]))] = draw(json_values)
    return record


@st.composite
def leaf_values(draw: st.DrawFn, found: Any) -> list[Any]:
    """A list of values and operators, often such that the value found passes."""
    return [draw(_one_value(found)) for _ in range(draw(st.integers(1, 2)))]


def _one_value(found: Any) -> st.SearchStrategy[Any]:
    text = st.just(found) | texts if isinstance(found, str) else texts
    half = text.map(lambda value: value[: len(value) // 2 + 1] or "a")
    stars = text.map(wildcard_of)
    bounds = st.sampled_from([-5, 0, 5, 5.5, 100, 10**38 - 2, 10**38 - 1])
    folded: st.SearchStrategy[Any] = text.map(lambda value: {"equals-ignore-case": value.swapcase()})
    other = st.dictionaries(st.sampled_from(["prefix", "suffix"]), _some(half), min_size=1, max_size=1)
    return st.one_of(
        st.just(found),
        scalars,
        st.booleans().map(lambda value: {"exists": value}),
        st.tuples(st.sampled_from(["prefix", "suffix"]), half | folded).map(lambda pair: dict([pair])),
        folded,
        stars.map(lambda value: {"wildcard": value}),
        st.tuples(st.sampled_from(["=", ">", ">=", "<", "<="]), bounds).map(lambda pair: {"numeric": list(pair)}),
        st.tuples(bounds, bounds)
        .filter(lambda pair: pair[0] < pair[1])
        .map(lambda pair: {"numeric": [">=", pair[0], "<", pair[1]]}),
        st.one_of(_some(text), _some(bounds), other, _some(stars).map(lambda value: {"wildcard": value}), folded).map(
            lambda value: {"anything-but": value}
        ),
    )


def _some(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return one | st.lists(one, min_size=1, max_size=2)


def wildcard_of(text: str) -> str:
    """A wildcard that matches the text: every second character a star."""
    escaped = [character if character not in "*\\" else "\\" + character for character in text]
    return "".join("*" if index % 2 else character for index, character in enumerate(escaped))


@st.composite
def patterns(draw: st.DrawFn, record: dict[str, Any]) -> dict[str, Any]:
    """A pattern over paths that the record has, or nearly has."""
    there = sorted({(path, json.dumps(value)) for path, value, _ in flat(record, (), (), {}) if _filterable(path)})
    pattern: dict[str, Any] = {}
    for _ in range(draw(st.integers(1, 4))):
        path, found = draw(st.sampled_from(there))
        if not draw(st.integers(0, 5)):
            path = (*path[:-2], draw(names), path[-1]) if len(path) > 3 else (draw(names),)
        _insert(pattern, path, draw(leaf_values(json.loads(found))))
    if len(pattern) > 1 and draw(st.booleans()):
        # Those beside each other become branches of which one must match.
        pattern = {"$or": [{name: value} for name, value in pattern.items()]}
    return pattern


def _filterable(path: tuple[str, ...]) -> bool:
    """Whether a value may stand at the path: within an item only under its type."""
    in_item = len(path) > 1 and path[0] == "dynamodb" and path[1] in IMAGES
    return bool(path) and (not in_item or len(path) > 3)


def _insert(pattern: dict[str, Any], path: tuple[str, ...], values: list[Any]) -> None:
    here: Any = pattern
    for name in path[:-1]:
        here = here.setdefault(name, {})
        if isinstance(here, list):  # values are there already
            return
    here.setdefault(path[-1], values)
