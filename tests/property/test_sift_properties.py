"""Sifting, which decodes next to nothing, against decoding everything; and the group of an item."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from poller.decide.filter import Filter, compile_filter
from poller.model import Page
from poller.run.sift import Sifter
from tests.property.event_strategies import items, json_values, patterns, records, texts

SHARD = "shardId-1"


@st.composite
def filters(draw: st.DrawFn, record: dict[str, Any]) -> Filter:
    some = draw(st.lists(patterns(record), max_size=2))
    changed = draw(st.sampled_from([(), (), ("phase",), ("a", "phase")]))
    return compile_filter([json.dumps(pattern) for pattern in some], changed)


def written(value: Any, rng: Random) -> bytes:
    """The same JSON in one of its spellings: order of names, spaces, escapes."""
    if isinstance(value, dict):
        pairs = [written(name, rng) + b" :" + written(value[name], rng) for name in rng.sample([*value], len(value))]
        return b"{" + b", ".join(pairs) + b"}"
    if isinstance(value, list):
        return b"[ " + b",".join(written(each, rng) for each in value) + b"]"
    return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()


@given(st.data(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_sifting_comes_to_the_verdict_of_a_full_decode(data: st.DataObject, rng: Random) -> None:
    page = [data.draw(records()) for _ in range(data.draw(st.integers(1, 3)))]
    routes = [data.draw(filters(page[0])) for _ in range(data.draw(st.integers(1, 3)))]
    bodies = [written(record, rng) for record in page]

    sifted = Sifter(routes).sift(Page(bodies, None, 0), SHARD)

    taken = {match.record.body: match for match in sifted.matches}
    for body in bodies:
        record = json.loads(body)
        wanted = tuple(index for index, each in enumerate(routes) if each.matches(record))
        event(f"wanted by {len(wanted)} of {len(routes)}")
        if body in taken and taken[body].record.fault is not None:
            assert not understood(record)
        else:
            assert (taken[body].routes if body in taken else ()) == wanted
    assert sum(sifted.events.values()) == len(bodies)
    for index in range(len(routes)):
        assert sifted.matched[index] == sum(index in match.routes for match in sifted.matches)
        assert sifted.matched[index] + sifted.filtered[index] == len(bodies)


def understood(record: Any) -> bool:
    heart = record.get("dynamodb")
    return (
        isinstance(heart, dict)
        and isinstance(heart.get("SequenceNumber"), str)
        and re.fullmatch("[0-9]{1,40}", heart["SequenceNumber"]) is not None
        and isinstance(record.get("eventName", ""), str)
        and isinstance(record.get("eventID", ""), str)
        and isinstance(heart.get("Keys"), dict)
    )


@given(
    st.lists(st.one_of(records(), json_values, st.binary(max_size=8)), max_size=5), st.none() | st.just(1_700_000_001)
)
@settings(max_examples=100, deadline=None)
def test_no_record_is_lost_whatever_it_is(page: list[Any], not_before_s: float | None) -> None:
    bodies = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in page]

    sifted = Sifter([compile_filter([])]).sift(Page(bodies, None, 0), SHARD, not_before_s)

    assert len(sifted.matches) + sifted.skipped == len(bodies)
    places = [match.record.sequence_number for match in sifted.matches if match.record.sequence_number]
    assert {match.before for match in sifted.matches} <= {None, *places, *all_places(page)}


def all_places(page: list[Any]) -> set[str]:
    return {str(each["dynamodb"].get("SequenceNumber")) for each in page if is_record(each)}


def is_record(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("dynamodb"), dict)


@given(
    st.dictionaries(texts, st.builds(lambda value: {"S": value}, texts), min_size=1, max_size=2), items, st.randoms()
)
@settings(max_examples=100, deadline=None)
def test_an_items_group_depends_on_nothing_but_its_key(
    keys: dict[str, Any], image: dict[str, Any], rng: Random
) -> None:
    one = {"eventID": "1", "eventName": "INSERT", "dynamodb": {"Keys": keys, "SequenceNumber": "1"}}
    other = {"eventID": "2", "dynamodb": {"Keys": keys, "SequenceNumber": "2", "NewImage": image}}
    page = Page([written(one, rng), written(other, rng)], None, 0)

    first, second = Sifter([compile_filter([])]).sift(page, SHARD).matches

    assert first.record.group == second.record.group
    assert len(first.record.group) == 32
