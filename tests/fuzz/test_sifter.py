"""Records with something wrong at the level of bytes: judged as the whole record would be, or a dead letter."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from hypothesis import event, example, given
from hypothesis import strategies as st

from poller.decide.filter import Filter, compile_filter
from poller.model import Match, Page, Record
from poller.operate.between import told_by
from poller.operate.words import utc
from poller.run.sift import EVENT_NAMES, Sifter
from tests.fuzz.effort import examples
from tests.fuzz.mutations import record_bodies
from tests.property.event_strategies import patterns, records

SHARD: Final = "shardId-1"
START_S: Final = 1_700_000_001
# Each reads something else of a record, and what another one of them reads as well.
FILTERS: Final[Sequence[Filter]] = [
    compile_filter([]),
    compile_filter(['{"eventName": ["MODIFY"], "dynamodb": {"NewImage": {"phase": {"S": ["FILE_UPLOAD_COMPLETE"]}}}}']),
    compile_filter([], ["phase"]),
    compile_filter(['{"dynamodb": {"NewImage": {"naïve name": {"N": [{"numeric": [">", 1]}]}}}}']),
    compile_filter(['{"dynamodb": {"SequenceNumber": [{"prefix": "1"}], "Keys": {"id": {"S": [{"exists": true}]}}}}']),
    compile_filter(['{"dynamodb": {"NewImage": {"a": {"S": [{"exists": false}]}}}}', '{"eventID": [{"suffix": "b"}]}']),
]


def whole(body: bytes) -> tuple[Any, bool]:
    """The record decoded in full, None if it is no JSON; and whether all in it can be read.

    Where no filter looks, there may be a number beyond all bounds or what is no character: a mark stands in its place.
    """
    try:
        return json.loads(body.decode("utf-8", "surrogatepass")), True
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(body.decode("utf-8", "replace"), parse_int=float), False
    except (ValueError, RecursionError):
        return None, False


def identified(record: Any) -> bool:
    """Whether it says what it is about: without that it can only be a dead letter."""
    heart = record.get("dynamodb") if isinstance(record, dict) else None
    return (
        isinstance(heart, dict)
        and isinstance(heart.get("SequenceNumber"), str)
        and re.fullmatch("[0-9]{1,40}", heart["SequenceNumber"]) is not None
        and isinstance(record.get("eventName", ""), str)
        and isinstance(record.get("eventID", ""), str)
        and isinstance(heart.get("Keys"), dict)
    )


def check(routes: Sequence[Filter], bodies: Sequence[bytes], not_before_s: float | None) -> None:
    """Sifts the page, and the same with each record alone, which says which record became of what."""
    sifter = Sifter(routes)
    sifted = sifter.sift(Page(bodies, None, 0), SHARD, not_before_s)
    each_alone = [sifter.sift(Page([body], None, 0), SHARD, not_before_s) for body in bodies]

    for body, alone in zip(bodies, each_alone, strict=True):
        if alone.skipped:
            event("skipped")
            assert 0 <= whole(body)[0]["dynamodb"]["ApproximateCreationDateTime"] < START_S
        else:
            check_verdict(routes, body, alone.matches[0] if alone.matches else None)
    assert [match.record.body for match in sifted.matches] == [
        body for body, alone in zip(bodies, each_alone, strict=True) if alone.matches
    ]
    places = {sifted.last_sequence_number, *(match.before for match in sifted.matches)}
    assert all(place is None or re.fullmatch("[0-9]{1,40}", place) for place in places)
    assert sifted.skipped == sum(alone.skipped for alone in each_alone)
    assert sum(sifted.events.values()) == len(bodies)
    assert set(sifted.events) == set(EVENT_NAMES)
    wanted = Counter(route for match in sifted.matches for route in match.routes)
    assert sifted.matched == tuple(wanted[route] for route in range(len(routes)))
    assert {sum(pair) for pair in zip(sifted.matched, sifted.filtered, strict=True)} == {len(bodies) - sifted.skipped}


def check_verdict(routes: Sequence[Filter], body: bytes, match: Match | None) -> None:
    record, readable = whole(body)
    if match is not None and match.record.fault is not None:
        event("a dead letter")
        assert match.record.body == body
        assert not (readable and identified(record)), match.record.fault
        return
    assert isinstance(record, dict)
    verdict = tuple(index for index, each in enumerate(routes) if each.matches(record))
    event("wanted" if verdict else "filtered")
    assert (match.routes if match else ()) == verdict
    if match is not None:
        check_identity(match.record, record)


def check_identity(sent: Record, record: Any) -> None:
    assert sent.event_id == record.get("eventID", "")
    assert sent.event_name == record.get("eventName", "")
    assert sent.sequence_number == record["dynamodb"]["SequenceNumber"]
    assert len(sent.group) == 32


HUGE = b'{"eventID":"e","dynamodb":{"Keys":{"a":{"N":"1"}},"SequenceNumber":"1","ApproximateCreationDateTime":%s}}'


@given(st.lists(record_bodies(), min_size=1, max_size=3), st.none() | st.just(START_S))
@example([HUGE % (b"9" * 400)], None)
@example([HUGE % (b"9" * 400)], START_S)
@example([HUGE % (b"9" * 5_000)], None)
@example([HUGE % b"1e999"], START_S)
@example([HUGE % b"-1e308"], START_S)
@examples(200)
def test_a_damaged_record_is_judged_as_a_whole_or_put_aside(bodies: list[bytes], not_before_s: float | None) -> None:
    check(FILTERS, bodies, not_before_s)
    check(FILTERS[1:], bodies, not_before_s)


@given(st.data())
@examples(100)
def test_a_damaged_record_is_judged_by_any_filters_as_a_whole_or_put_aside(data: st.DataObject) -> None:
    record = data.draw(records())
    some = [data.draw(st.lists(patterns(record), max_size=2)) for _ in range(data.draw(st.integers(1, 2)))]
    routes = [compile_filter([json.dumps(pattern) for pattern in each]) for each in some]

    check(routes, data.draw(st.lists(record_bodies(), min_size=1, max_size=2)), None)


@given(record_bodies())
@example(HUGE % (b"9" * 400))
@example(HUGE % b"1e300")
@example(HUGE % b"NaN")
@example((HUGE % b"1").replace(b'"SequenceNumber":"1"', b'"SequenceNumber":"x"'))
@example(b'{"dynamodb":' * 100_000)
@examples(100)
def test_a_damaged_record_tells_its_place_and_time_or_is_not_counted(body: bytes) -> None:
    told = told_by(body)

    event("counted" if told else "not counted")
    if told is not None:
        assert utc(told.created_s)
        assert str(int(told.sequence_number))
