"""Skimming, which reads most of a page in one go, against reading it record by record: equal in everything, always."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Final

from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from poller.aws.page import decode_page
from poller.decide.filter import DEFAULT_PATTERN, Filter, compile_filter
from poller.errors import Unavailable
from poller.model import Page, Sifted
from poller.run.sift import Sifter
from tests.fuzz.mutations import record_bodies
from tests.property.event_strategies import json_values, patterns, records

SHARD: Final = "shardId-1"
COMPLETE: Final = "FILE_UPLOAD_COMPLETE"
START_S: Final = 1_700_000_001

PLAIN: Final = compile_filter([DEFAULT_PATTERN])
CHANGED: Final = compile_filter([DEFAULT_PATTERN], ["phase"])
ROUTES: Final[Sequence[Sequence[Filter]]] = [
    [PLAIN],
    [CHANGED],
    [compile_filter(['{"dynamodb": {"NewImage": {"phase": {"S": [{"prefix": "FILE"}, {"suffix": "abab"}]}}}}'])],
    [
        PLAIN,
        compile_filter(
            ['{"eventName": ["REMOVE"]}', '{"eventID": ["abab"], "dynamodb": {"Keys": {"id": {"S": ["a"]}}}}']
        ),
    ],
    [compile_filter(['{"$or": [{"eventName": ["INSERT"]}, {"dynamodb": {"SequenceNumber": ["70000"]}}]}'])],
    [PLAIN, compile_filter([])],
    [PLAIN, compile_filter(['{"dynamodb": {"OldImage": {"phase": {"S": [{"exists": false}]}}}}'])],
    [compile_filter([], ["phase"])],
]
# What the service does not do, or what looks like the frame of a record and is none.
ODD: Final = [
    {"eventName": {"S": "MODIFY"}, "SequenceNumber": {"S": "5"}, "phase": {"S": COMPLETE}},
    {"eventName": "MODIFY", "SequenceNumber": "5", "phase": {"S": COMPLETE}},
    {"list": [{"eventID": "e", "dynamodb": {"SequenceNumber": "7", "Keys": {"id": {"S": COMPLETE}}}}] * 3},
    {"list": [{"eventID": "e", "eventName": "MODIFY", "dynamodb": {"SequenceNumber": "7", "Keys": {}}}] * 3},
    {"phase": {"S": 'FILE_UPLOAD_COMPLETE\\u0041"\\'}, "\\u": {"S": "\\"}},
    {"phase": {"S": ',{"eventID":"FILE_UPLOAD_COMPLETE'}, '"},{"eventID":"': {"S": "]}"}},
    {"phase": {"S": "\ud800"}, "a": {"S": COMPLETE}},
    {"phase": {"S": "ß\u2028"}, "b": {"S": "\x00"}},
    {"text": {"S": '"' * 1_100}},  # more backslashes than are looked at one by one
    {"phase": COMPLETE},
    {"phase": {"S": [[COMPLETE]]}},
    {"phase": 5},
]


@st.composite
def usual(draw: st.DrawFn) -> dict[str, Any]:
    """A record as the service sends it, all with their members in one order."""
    images: dict[str, Any] = {}
    for image in ("NewImage", "OldImage"):
        phase = draw(st.sampled_from(["CREATED", "CREATED", "CREATED", COMPLETE, "abab", "x" * 30]))
        images[image] = {"id": {"S": "a"}, "phase": {"S": phase}}
    heart = {
        "ApproximateCreationDateTime": draw(st.sampled_from([1_700_000_000, 1.7e9, 1_700_000_001])),
        "Keys": {"id": {"S": draw(st.sampled_from(["a", "b"]))}},
        **images,
        "SequenceNumber": draw(st.integers(1, 10**21).map(str)),
    }
    name = draw(st.sampled_from(["INSERT", "MODIFY", "MODIFY", "REMOVE"]))
    return {"eventID": draw(st.sampled_from(["a", "abab"])), "eventName": name, "dynamodb": heart}


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Mostly the usual record as the service writes it, now and then one with something else."""
    record = draw(usual())
    where = draw(st.sampled_from([record, record["dynamodb"], record["dynamodb"]["NewImage"]]))
    match draw(st.sampled_from(["usual"] * 10 + ["any", "damaged", "less", "odd", "other", "altered"])):
        case "any":
            record = draw(records())
        case "damaged":
            return draw(record_bodies())
        case "less":
            del where[draw(st.sampled_from(sorted(where)))]
        case "odd":
            where |= draw(st.sampled_from(ODD))
        case "other":
            where[draw(st.sampled_from(sorted(where)))] = draw(json_values)
        case "altered":
            return altered(compact(record), Random(draw(st.integers(0, 2**32))))
    return compact(record, ascii_only=draw(st.booleans()))


def compact(record: Any, *, ascii_only: bool = True) -> bytes:
    return json.dumps(record, ensure_ascii=ascii_only, separators=(",", ":")).encode(errors="surrogatepass")


def altered(body: bytes, rng: Random) -> bytes:
    """The same record, or nearly, in another spelling."""
    old, new = rng.choice(
        [
            (b"COMPLETE", rb"C\u004fMPLETE"),
            (b"FILE", rb"\u0046ILE"),
            (b"eventName", rb"event\u004eame"),
            (b"SequenceNumber", rb"Sequence\u004eumber"),
            (b'"eventName":"MODIFY"', b'"eventName":"REMOVE","eventName":"MODIFY"'),
            (b'"phase":', b'"phase":{"S":"FILE_UPLOAD_COMPLETE"},"phase":'),
            (b'"SequenceNumber":"', b'"SequenceNumber":"x'),
            (b'"SequenceNumber":', b'"SequenceNumber":"8","SequenceNumber":'),
            (b'"ApproximateCreationDateTime":1', b'"ApproximateCreationDateTime":-1'),
            (b'"ApproximateCreationDateTime":', b'"ApproximateCreationDateTime":null,"x":'),
            (b'"id":{"S":"a"}', b'"id":{"S":"\xff"}'),
            (b'"id":{"S":"a"}', b'"id":{"S":"a"},"n":' + b"1" * rng.choice([30, 5_000])),
            (b'"NewImage":{', b'"NewImage":null,"Image":{'),
            (b'{"S":"CREATED"}', b"[" * 30 + b'{"S":"CREATED"}' + b"]" * 30),
            (b":", b": "),
            (b"}", b"} "),
            (b"}", b" }"),
            (b",", b" ,"),
            (b"}", b""),
            (b'{"eventID"', b' {"eventID"'),
        ]
    )
    return body.replace(old, new, rng.choice([1, -1]))


@given(
    st.lists(bodies(), min_size=1, max_size=8),
    st.sampled_from(ROUTES),
    st.none() | st.just(START_S),
    st.sampled_from([b",", b",", b",", b",", b", ", b" ,"]),
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_page_is_the_same_whichever_way_it_is_read(
    page: list[bytes], routes: Sequence[Filter], not_before_s: float | None, comma: bytes
) -> None:
    assert_equal(comma.join(page), routes, not_before_s)


@given(st.data(), st.lists(bodies(), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_page_is_the_same_whichever_way_it_is_read_for_any_filters(data: st.DataObject, page: list[bytes]) -> None:
    record = data.draw(usual())
    some = [data.draw(st.lists(patterns(record), min_size=1, max_size=2)) for _ in range(data.draw(st.integers(1, 2)))]
    changed = data.draw(st.sampled_from([(), ("phase",)]))
    routes = [compile_filter([json.dumps(pattern) for pattern in each], changed) for each in some]

    assert_equal(b",".join([*page, compact(record)]), routes, None)


@given(st.binary(max_size=60), st.sampled_from(ROUTES))
@example(b"{},", [PLAIN])
@example(b",{}", [PLAIN])
@example(b'{"eventID":1},,{"eventID":1}', [PLAIN])
@example(b'{"eventID":"FILE_UPLOAD_COMPLETE"],"x":[{"eventID":1}', [PLAIN])
@example(b'{"eventID":"\\', [PLAIN])
@settings(max_examples=100, deadline=None)
def test_what_is_no_page_is_refused_whichever_way_it_is_read(text: bytes, routes: Sequence[Filter]) -> None:
    assert_equal(text, routes, None)


@given(st.data(), st.one_of(usual(), records()), st.booleans())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_record_is_wanted_without_a_needle_in_it(
    data: st.DataObject, record: dict[str, Any], ascii_only: bool
) -> None:
    wanted = compile_filter([json.dumps(data.draw(patterns(record))) for _ in range(data.draw(st.integers(1, 2)))])
    body = compact(record, ascii_only=ascii_only)

    if wanted.needles is not None and wanted.matches(record) and b"\\u00" not in body:
        event("wanted")
        assert any(needle in body for needle in wanted.needles)


def assert_equal(text: bytes, routes: Sequence[Filter], not_before_s: float | None) -> None:
    body = b'{"NextShardIterator":"it","Records":[' + text + b"]}"
    skimming, patient = Sifter(routes), Sifter(routes)
    patient._skimmer.serves = False
    cutting = Sifter(routes)
    cutting._skimmer.dense = True  # as after a page of which most was wanted

    one = outcome(skimming, body, not_before_s)

    assert one == outcome(patient, body, not_before_s) == outcome(cutting, body, not_before_s)
    event(f"{'skimmed' if skims(skimming, body) else 'read with patience'}, {'refused' if one is None else 'a page'}")


def outcome(sifter: Sifter, body: bytes, not_before_s: float | None) -> Any:
    """All that is known of a page, None if it is none."""
    try:
        return told(sifter.sift(decode_page(body), SHARD, not_before_s))
    except (ValueError, Unavailable):
        return None


def told(sifted: Sifted) -> Any:
    matches = [(*astuple(match.record), match.routes, match.before) for match in sifted.matches]
    return matches, sifted.events, sifted.matched, sifted.filtered, sifted.skipped, *places(sifted)


def places(sifted: Sifted) -> tuple[object, ...]:
    return sifted.last_sequence_number, sifted.last_created_s, type(sifted.last_created_s)


class Asked(Sequence[Any]):
    """Records that say whether somebody has asked for them one by one."""

    def __init__(self) -> None:
        self.asked = False

    def __iter__(self) -> Iterator[Any]:
        self.asked = True
        return iter(())

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: Any) -> Any:
        raise IndexError


def skims(sifter: Sifter, body: bytes) -> bool:
    page, records = decode_page(body), Asked()
    sifter.sift(Page(records, page.next_iterator, page.size_bytes, page.text), SHARD)
    return not records.asked
