"""Any row of a lease table: a lease that everything can work with, no lease, or one that says what is wrong with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import event, example, given
from hypothesis import strategies as st

from poller.aws import lease_rows as row
from poller.aws.lease_rows import UnreadableRow, item_of, lease_of
from poller.model import SENTINELS, SOUGHT, Lease
from poller.operate.documents import lease_document
from poller.operate.words import checkpoint
from poller.run.shard import begin
from tests.fuzz.effort import examples

TEXTS = (row.KEY, row.OWNER, row.CHECKPOINT, row.CHECKPOINT_OWNER, row.ENTITY_TYPE, row.STREAM_ARN)
OURS = (row.POLLER_OWNER, row.SUCCESSOR, row.START_TIME, row.CHECKPOINT_TIME, row.SEEK_TIME)
NUMBERS = (row.COUNTER, row.SWITCHES, row.SUB_SEQUENCE)
SETS = (row.PARENTS, row.CHILDREN)

texts = st.one_of(
    st.text(max_size=5), st.sampled_from([*sorted(SENTINELS), SOUGHT, "LEASE", "1" * 21, "0", "\u0663", "-1"])
)
numbers = st.one_of(
    st.integers().map(str),
    st.sampled_from(["1700000000000", "1" * 38, "9" * 126, "-1", "0.5", "1E+2", "1E-130", "NaN", "", "9" * 5_000]),
)
# Of every type, and such as no table holds: a row may have come through anything.
values: st.SearchStrategy[dict[str, Any]] = st.one_of(
    texts.map(lambda text: {"S": text}),
    texts.map(lambda text: {"S": text}),
    numbers.map(lambda number: {"N": number}),
    numbers.map(lambda number: {"N": number}),
    st.lists(texts, max_size=3).map(lambda some: {"SS": some}),
    st.sampled_from(
        [
            *({"NULL": True}, {"NULL": False}, {"BOOL": True}, {"B": b"\x00"}, {"L": [{"S": "x"}]}, {"M": {}}),
            *({"NS": ["1"]}, {"BS": [b""]}, {}, {"ZZ": 5}, {"S": None}, {"S": 5}, {"N": 5}, {"N": None}, {"SS": None}),
            *({"SS": "text"}, {"SS": [5, None]}, {"N": ["1"]}, {"S": ["1"]}),
        ]
    ),
)


@st.composite
def items(draw: st.DrawFn) -> dict[str, Any]:
    """A row as it should be, with something else at a few places."""
    item: dict[str, Any] = {
        row.KEY: {"S": "shardId-1"},
        row.COUNTER: {"N": "3"},
        row.CHECKPOINT: {"S": draw(st.sampled_from([*sorted(SENTINELS), "1" * 21]))},
        row.SWITCHES: {"N": "0"},
    }
    names = st.sampled_from([*TEXTS, *OURS, *OURS, *NUMBERS, *SETS, *row.PENDING, "throughputKBps", "é", ""])
    item |= draw(st.dictionaries(names, values, max_size=2))
    for name in draw(st.lists(st.sampled_from(sorted(item)), max_size=1 - draw(st.integers(0, 1)))):
        del item[name]
    return item


def time_row(name: str, number: str) -> dict[str, Any]:
    return {row.KEY: {"S": "s"}, row.COUNTER: {"N": "1"}, row.CHECKPOINT: {"S": "AT_TIMESTAMP"}, name: {"N": number}}


@given(items())
@example(time_row(row.START_TIME, "9" * 38))
@example(time_row(row.SEEK_TIME, "-" + "9" * 20))
@example(time_row(row.CHECKPOINT_TIME, "253402300800000"))
@example(time_row(row.CHECKPOINT_TIME, "253402300799999"))
@example(time_row(row.PARENTS, "1") | {row.CHILDREN: {"SS": [5, None]}})
@examples(400)
def test_any_row_is_a_lease_or_none_or_says_what_is_wrong(item: dict[str, Any]) -> None:
    try:
        lease = lease_of(item)
    except UnreadableRow as refusal:
        lease, fault = None, str(refusal)
    else:
        fault = ""
    if fault:
        event("unreadable")
        assert fault.startswith((*TEXTS, *OURS, *NUMBERS))
        return
    if lease is None:
        event("of another kind")
        assert item[row.ENTITY_TYPE]["S"] != "LEASE"
        return
    event("a lease")
    assert lease_of(item_of(lease)) == lease
    # What every reader of a row does with it.
    lease_document(lease)
    checkpoint(lease)
    position, not_before_s = begin(lease, fresh=False)
    if position.timestamp_ms is not None:
        datetime.fromtimestamp(position.timestamp_ms / 1000, UTC)
    assert not_before_s is None or abs(not_before_s) < 1e12


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
times = st.none() | st.integers(0, 253_402_300_799_999)
sets = st.frozensets(ids, max_size=3)
leases = st.builds(
    Lease,
    shard_id=ids,
    owner=st.none() | ids,
    counter=st.integers(0, 10**37),
    checkpoint=st.sampled_from(sorted(SENTINELS)) | st.integers(0, 10**40).map(str),
    parents=sets,
    children=sets,
    owner_switches=st.integers(0, 10**9),
    checkpoint_owner=st.none() | ids,
    stream_arn=st.none() | ids,
    start_time_ms=times,
    checkpoint_time_ms=times,
    poller_owner=st.none() | ids,
    successor=st.none() | st.just(SOUGHT) | ids,
    seek_time_ms=times,
)


@given(leases, st.dictionaries(st.sampled_from(["later", "throughputKBps", *row.PENDING]), values, max_size=3))
@examples(100)
def test_a_lease_comes_out_of_its_row_as_it_went_in_whatever_else_stands_there(
    lease: Lease, others: dict[str, Any]
) -> None:
    item = item_of(lease)

    assert lease_of({**others, **item}) == lease
    assert all(value.get("SS") != [] for value in item.values())


@given(leases, st.sampled_from([row.OWNER, *OURS, row.STREAM_ARN, row.CHECKPOINT_OWNER]))
@examples(50)
def test_an_attribute_that_is_null_is_one_that_is_not_there(lease: Lease, name: str) -> None:
    item = item_of(lease)
    without = {each: value for each, value in item.items() if each != name}

    assert lease_of({**item, name: {"NULL": True}}) == lease_of(without)
