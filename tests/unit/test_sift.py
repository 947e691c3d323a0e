"""A page, cut and sifted: which routes want which record, what is left of it, and what becomes of a bad one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from poller.aws.page import decode_page
from poller.decide.filter import DEFAULT_PATTERN, compile_filter
from poller.errors import Unavailable
from poller.model import Page, Record, Sifted
from poller.run.sift import Sifter

SHARD = "shardId-00000001700000000000-abcdef01"
COMPLETE = "FILE_UPLOAD_COMPLETE"


def record(
    sequence_number: str = "100", phase: str = "CREATED", event_name: str = "MODIFY", **more: Any
) -> dict[str, Any]:
    return {
        "eventID": f"event-{sequence_number}",
        "eventName": event_name,
        "dynamodb": {
            "ApproximateCreationDateTime": 1_700_000_000,
            "Keys": {"id": {"S": "item"}},
            "NewImage": {"id": {"S": "item"}, "phase": {"S": phase}},
            "SequenceNumber": sequence_number,
        }
        | more,
    }


def page_of(*records: object) -> Page:
    bodies = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in records]
    return decode_page(b'{"Records":[' + b",".join(bodies) + b'],"NextShardIterator":"next"}')


COMPLETED = compile_filter([DEFAULT_PATTERN])
EVERYTHING = compile_filter([])


def sift(*records: object, not_before_s: float | None = None) -> Sifted:
    return Sifter([COMPLETED]).sift(page_of(*records), SHARD, not_before_s)


def only_record(*records: object) -> Record:
    (match,) = Sifter([EVERYTHING]).sift(page_of(*records), SHARD).matches
    return match.record


# --- the page ---------------------------------------------------------------------------------------------------------


def test_a_page_is_cut_into_records_as_they_came() -> None:
    body = b'{"Records": [ {"a" : "\\u0041"} ,\n{"b":1}], "NextShardIterator": "it"}'

    page = decode_page(body)

    assert [bytes(each) for each in page.records] == [b'{"a" : "\\u0041"}', b'{"b":1}']
    assert (page.next_iterator, page.size_bytes) == ("it", len(body))


@pytest.mark.parametrize("body", [b'{"Records":[]}', b'{"Records":[],"NextShardIterator":null}'])
def test_a_page_without_an_iterator_is_the_last_of_its_shard(body: bytes) -> None:
    assert decode_page(body).next_iterator is None


def test_a_new_field_of_the_answer_is_no_fault() -> None:
    assert decode_page(b'{"MillisBehindLatest":5,"Records":[{}]}').records


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b"[]",
        b"{}",
        b'{"Records":null}',
        b'{"Records":{}}',
        b'{"Records":[],"NextShardIterator":5}',
        b'{"Records":[{"a":1}',
        b'{"Records":[{"a":NaN}]}',
        b'{"Records":[]}garbage',
        b'{"__type":"InternalServerError"}',
        b'{"Records":["\\ud800"],"NextShardIterator":5}',
        b'{"Records":' + b"[" * 100_000,
    ],
)
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not an answer of GetRecords"):
        decode_page(body)


def test_half_of_a_surrogate_pair_in_one_record_does_not_spoil_the_page() -> None:
    good, odd = record("1", COMPLETE), record("2", COMPLETE, odd="\ud800")

    sifted = sift(good, odd)

    assert [json.loads(match.record.body) for match in sifted.matches] == [good, odd]
    assert [match.record.fault for match in sifted.matches] == [None, None]


def test_a_usual_page_is_not_even_cut_apart() -> None:
    body = json.dumps([record("1"), record("2", COMPLETE), record("3")], separators=(",", ":")).encode()
    page = decode_page(b'{"NextShardIterator":"next","Records":' + body + b"}")

    sifted = Sifter([COMPLETED]).sift(Page([b"not asked for"], page.next_iterator, page.size_bytes, page.text), SHARD)

    assert [json.loads(match.record.body) for match in sifted.matches] == [record("2", COMPLETE)]
    assert sifted.events == {"INSERT": 0, "MODIFY": 3, "REMOVE": 0, "UNKNOWN": 0}


def test_an_answer_that_turns_out_to_be_none_is_an_error_of_the_service() -> None:
    page = decode_page(b'{"NextShardIterator":"next","Records":[{"a":NaN}]}')

    with pytest.raises(Unavailable, match="UnreadableAnswer"):
        Sifter([COMPLETED]).sift(page, SHARD)


# --- who wants what ---------------------------------------------------------------------------------------------------


def test_only_what_a_route_wants_is_taken_out() -> None:
    sifted = sift(record("1"), record("2", COMPLETE), record("3"))

    (match,) = sifted.matches
    assert match.record.sequence_number == "2"
    assert match.routes == (0,)
    assert (sifted.matched, sifted.filtered) == ((1,), (2,))


def test_a_wanted_record_carries_what_delivery_needs() -> None:
    wanted = record("7", COMPLETE)

    (match,) = sift(wanted).matches

    assert match.record.shard_id == SHARD
    assert match.record.event_id == "event-7"
    assert match.record.event_name == "MODIFY"
    assert match.record.created_s == 1_700_000_000.0
    assert match.record.body == json.dumps(wanted).encode()
    assert match.record.fault is None


def test_each_route_gets_its_own() -> None:
    inserts = compile_filter([{"eventName": ["INSERT"]}])
    sifter = Sifter([COMPLETED, inserts, EVERYTHING])

    sifted = sifter.sift(page_of(record("1"), record("2", COMPLETE), record("3", event_name="INSERT")), SHARD)

    assert [match.routes for match in sifted.matches] == [(2,), (0, 2), (1, 2)]
    assert (sifted.matched, sifted.filtered) == ((1, 1, 3), (2, 2, 0))


def test_a_body_outlives_its_page() -> None:
    body = bytearray(b'{"Records":[' + json.dumps(record("1", COMPLETE)).encode() + b"]}")
    page = Page([memoryview(body)[12:-2]], None, len(body))

    (match,) = Sifter([COMPLETED]).sift(page, SHARD).matches
    del page
    body[:] = b"\0" * len(body)

    assert json.loads(match.record.body) == record("1", COMPLETE)


def test_an_empty_page_is_nothing() -> None:
    assert sift() == Sifted((), {"INSERT": 0, "MODIFY": 0, "REMOVE": 0, "UNKNOWN": 0}, (0,), (0,))


def test_events_are_counted_under_bounded_names() -> None:
    nameless = record("3")
    del nameless["eventName"]

    events = sift(record("1", event_name="INSERT"), record("2", event_name="PURGE"), nameless, record("4")).events

    assert events == {"INSERT": 1, "MODIFY": 1, "REMOVE": 0, "UNKNOWN": 2}


def test_the_place_before_a_record_is_the_record_before_it_wanted_or_not() -> None:
    sifted = sift(record("1", COMPLETE), record("2"), record("3", COMPLETE), record("4", COMPLETE), record("5"))

    assert [match.before for match in sifted.matches] == [None, "2", "3"]
    assert sifted.last_sequence_number == "5"


# --- when it was created ----------------------------------------------------------------------------------------------


def created(sequence_number: str, created_s: object) -> dict[str, Any]:
    return record(sequence_number, COMPLETE, ApproximateCreationDateTime=created_s)


def test_records_from_before_the_start_go_to_no_route() -> None:
    sifted = sift(created("1", 99), created("2", 100), created("3", 100.5), not_before_s=100)

    assert [match.record.sequence_number for match in sifted.matches] == ["2", "3"]
    assert (sifted.skipped, sifted.matched, sifted.filtered) == (1, (2,), (0,))
    assert sifted.matches[0].before == "1"
    assert sifted.events["MODIFY"] == 3


@pytest.mark.parametrize("unknown", [None, "100", True, [], float("inf"), -1, 1e300, 10**400])
def test_a_record_of_unknown_age_is_never_skipped_and_takes_the_age_of_the_one_before(unknown: object) -> None:
    page = Page([json.dumps(created("1", 150)).encode(), json.dumps(created("2", unknown)).encode()], None, 0)

    sifted = Sifter([COMPLETED]).sift(page, SHARD, not_before_s=100)

    assert [match.record.created_s for match in sifted.matches] == [150.0, 150.0]
    assert sifted.matches[1].record.fault is None
    assert sifted.last_created_s == 150


def test_the_last_creation_time_is_that_of_the_last_record_wanted_or_not() -> None:
    assert sift(created("1", 100), record("2", ApproximateCreationDateTime=101.5)).last_created_s == 101.5


# --- the item's group -------------------------------------------------------------------------------------------------


def group_of(keys: str) -> str:
    return only_record(b'{"eventID":"e","dynamodb":{"SequenceNumber":"1","Keys":' + keys.encode() + b"}}").group


def test_the_group_is_the_same_for_one_item_however_its_key_is_written() -> None:
    groups = {
        group_of('{"id":{"S":"a/é"},"n":{"N":"1"}}'),
        group_of('{"n":{"N":"1"},"id":{"S":"a/é"}}'),
        group_of(r'{ "\u0069d" : {"S": "a\/\u00e9"}, "n": {"N": "1"} }'),
    }

    assert len(groups) == 1
    assert len(groups.pop()) == 32


def test_other_items_have_other_groups() -> None:
    keys = [
        '{"id":{"S":"1"}}',
        '{"id":{"N":"1"}}',
        '{"id":{"S":"2"}}',
        '{"di":{"S":"1"}}',
        '{"id":{"S":"1"},"r":{"S":""}}',
    ]

    assert len({group_of(key) for key in keys}) == len(keys)


def test_the_group_of_an_item_does_not_change_between_versions_of_this_program() -> None:
    # A consumer's order during an upgrade hangs on it.
    assert group_of('{"id":{"S":"a"}}') == "2651ec05863cb54fc5b791262a6009e1"


def test_a_key_with_half_of_a_surrogate_pair_has_a_group_too() -> None:
    assert group_of(r'{"id":{"S":"\ud800"}}') != group_of(r'{"id":{"S":"\ud801"}}')


# --- records that cannot be understood --------------------------------------------------------------------------------

GOOD = json.dumps(record("9", COMPLETE)).encode()


def sift_bad(bad: bytes) -> Sifted:
    page = Page([GOOD, bad, GOOD], None, 0)
    return Sifter([COMPLETED, compile_filter([{"eventName": ["NEVER"]}])]).sift(page, SHARD)


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (b"5", "it is not a JSON object"),
        (b"[]", "it is not a JSON object"),
        (b"null", "it is not a JSON object"),
        (b"{}", "it has no dynamodb"),
        (b'{"dynamodb":{}}', "it has no sequence number"),
        (b'{"dynamodb":[]}', "it has no sequence number"),
        (b'{"dynamodb":{"SequenceNumber":5}}', "it has no sequence number"),
        (b'{"dynamodb":{"SequenceNumber":""}}', "it has no sequence number"),
        (b'{"dynamodb":{"SequenceNumber":"1.5"}}', "it has no sequence number"),
        (b'{"dynamodb":{"SequenceNumber":"SHARD_END"}}', "it has no sequence number"),
        (b'{"dynamodb":{"SequenceNumber":"\\u0661"}}', "it has no sequence number"),
        (b'{"dynamodb":{"SequenceNumber":"%s"}}' % (b"1" * 41), "it has no sequence number"),
        (b'{"eventName":5,"dynamodb":{"SequenceNumber":"1"}}', "its eventName is not a string"),
        (
            b'{"eventName":"\xff","dynamodb":{"SequenceNumber":"1"}}',
            "'utf-8' codec can't decode byte 0xff in position 14",
        ),
        (b'{"eventName":"MODIFY"', "Expecting ',' delimiter"),
        (b'{"dynamodb":' + b"[" * 100_000, "maximum recursion depth exceeded"),
    ],
)
def test_a_record_that_cannot_be_understood_goes_to_every_route_and_stops_nobody(bad: bytes, fault: str) -> None:
    sifted = sift_bad(bad)

    assert [match.routes for match in sifted.matches] == [(0,), (0, 1), (0,)]
    assert sifted.matches[1].record.body == bad
    assert (sifted.matches[1].record.fault or "").startswith(fault)
    assert (sifted.matched, sifted.filtered) == ((3, 1), (0, 2))
    assert sum(sifted.events.values()) == 3


def test_of_a_bad_record_is_kept_what_could_be_read() -> None:
    bad = record("55", COMPLETE) | {"eventName": 5}

    (match,) = Sifter([COMPLETED]).sift(page_of(bad), SHARD).matches

    assert (match.record.event_id, match.record.sequence_number, match.record.event_name) == ("event-55", "55", "")
    assert match.record.created_s == 1_700_000_000.0
    assert match.record.group == only_record(record()).group


def test_a_bad_record_has_no_place_but_its_neighbours_have() -> None:
    sifted = sift_bad(b"{}")

    assert [match.before for match in sifted.matches] == [None, "9", "9"]
    assert sift(record("1"), b"{}").last_sequence_number == "1"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"dynamodb": {"SequenceNumber": "1"}}, "it has no Keys"),
        ({"dynamodb": {"SequenceNumber": "1", "Keys": ["id"]}}, "its Keys are not an object"),
        ({"eventID": 5}, "its eventID is not a string"),
    ],
)
def test_a_wanted_record_without_a_key_or_an_id_is_a_bad_one(change: dict[str, Any], fault: str) -> None:
    assert only_record(record() | change).fault == fault


def test_a_record_without_an_event_id_can_be_sent() -> None:
    nameless = record()
    del nameless["eventID"]

    assert (only_record(nameless).fault, only_record(nameless).event_id) == (None, "")


def test_what_no_filter_reads_may_be_of_any_kind() -> None:
    odd = record("1", COMPLETE, OldImage=5, NewAtAws={"ZZ": [1]})

    (match,) = sift(odd).matches

    assert match.record.fault is None


# --- what the filters read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.b", "", "class", "naïve", "相", "😀", '"', "\\", "\0", "x" * 300, "$or?"])
def test_an_attribute_may_have_any_name(name: str) -> None:
    # As text, so that no cache of an earlier encoding stands in for what a decoder should know.
    pattern = compile_filter([json.dumps({"dynamodb": {"NewImage": {name: {"S": ["x"]}}}})])
    wanted = record("1", NewImage={name: {"S": "x"}, "other": {"S": "x"}})

    sifted = Sifter([pattern]).sift(page_of(wanted, record("2")), SHARD)

    assert [match.record.sequence_number for match in sifted.matches] == ["1"]


@pytest.mark.parametrize("pattern", ['{"\\u76f8": ["x"]}', '{"dynamodb": {"\\u76f8": ["x"]}}'])
def test_a_field_of_the_record_may_have_any_name(pattern: str) -> None:
    wanted = record("1", 相="x") | {"相": "x"}

    (match,) = Sifter([compile_filter([pattern])]).sift(page_of(wanted, record("2")), SHARD).matches

    assert match.record.sequence_number == "1"


def test_filters_that_read_a_value_and_something_in_it_both_get_it() -> None:
    whole = compile_filter([], ["phase"])
    part = compile_filter([{"dynamodb": {"NewImage": {"phase": {"S": ["B"]}}}}])
    changed = record("1", OldImage={"phase": {"S": "A"}}, NewImage={"phase": {"S": "B"}})

    (match,) = Sifter([whole, part]).sift(page_of(changed), SHARD).matches

    assert match.routes == (0, 1)


def test_filters_may_read_what_the_sifter_reads_itself() -> None:
    late = compile_filter([{"dynamodb": {"ApproximateCreationDateTime": [{"numeric": [">", 100]}]}}])
    numbered = compile_filter([{"dynamodb": {"SequenceNumber": [{"prefix": "2"}]}, "eventID": [{"suffix": "2"}]}])
    odd = compile_filter([{"dynamodb": ["x"], "eventName": {"x": [1]}}, {"dynamodb": {"SequenceNumber": {"x": [1]}}}])

    sifted = Sifter([late, numbered, odd]).sift(page_of(created("1", 100), created("2", 100.5)), SHARD)

    assert [(match.record.sequence_number, match.routes) for match in sifted.matches] == [("2", (0, 1))]


def test_a_level_of_another_type_is_judged_by_the_whole_record() -> None:
    absent = compile_filter([{"dynamodb": {"NewImage": {"phase": {"S": [{"exists": False}]}}}}])
    listed = compile_filter([{"dynamodb": {"NewImage": {"phase": {"S": ["x"]}}}}])
    records = [record("1", NewImage=None), record("2", NewImage=[{"phase": {"S": "x"}}]), record("3", NewImage=5)]

    sifted = Sifter([absent, listed]).sift(page_of(*records), SHARD)

    assert [(match.record.sequence_number, match.routes) for match in sifted.matches] == [
        ("1", (0,)),
        ("2", (1,)),
        ("3", (0,)),
    ]
