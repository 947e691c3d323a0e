"""How the lease table looks: on terminals of several widths, in a file, and as JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from poller.model import AT_TIMESTAMP, SHARD_END, SOUGHT, Lease, Position
from poller.operate import documents, words
from poller.operate.between import Between
from poller.operate.display import draw
from poller.operate.fleet import fleet_of
from poller.operate.looks import Life, Looks
from poller.operate.move import Plan
from poller.operate.release import Released
from poller.operate.watch import Seen

WALL_S = 1_795_629_134.0
ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/Uploads/stream/2026-11-25T08:00:00.000"


def shard_id(number: int) -> str:
    return f"shardId-0000000179562920000{number}-7d3f2a1{number}"


def lease(number: int, owner: str | None = None, **fields: Any) -> Lease:
    return Lease(shard_id(number), owner=owner, **{"poller_owner": owner, "stream_arn": ARN, **fields})


PARENT = lease(
    0,
    checkpoint=SHARD_END,
    children=frozenset({shard_id(3), shard_id(4)}),
    checkpoint_time_ms=int(WALL_S * 1000) - 7_300_000,
)
READ = lease(1, "ip-10-0-3-17:1:5be1a7c2", counter=5, checkpoint="112200000000012345678")
KEPT = lease(2, "ip-10-0-3-17:1:5be1a7c2", counter=5)
CHILD = lease(3, parents=frozenset({shard_id(0)}), checkpoint=AT_TIMESTAMP, seek_time_ms=1_795_629_000_000)
GRANDCHILD = lease(4, parents=frozenset({shard_id(3)}))
JAVA = lease(5, "java", poller_owner=None, checkpoint_time_ms=int(WALL_S * 1000) - 125_000)
ALL = (PARENT, READ, KEPT, CHILD, GRANDCHILD, JAVA)


def seen(before: Sequence[Lease] = ALL, after: Sequence[Lease] | None = None, **fields: Any) -> Seen:
    """Two looks four seconds apart, or only one where nothing comes after it."""
    looks, now = Looks(), 0.0
    looks.look(before, now, now)
    if after is not None:
        now = 4.0
        looks.look(after, now, now)
    fleet = fleet_of(before if after is None else after, looks, 10.0)
    return Seen(fleet, "Uploads-leases", looks.count, now, 10.0, **{"wall_s": WALL_S, **fields})


def renewed(*rows: Lease) -> list[Lease]:
    """The second look: the first row has moved."""
    return [replace(row, counter=row.counter + (row == READ)) for row in rows]


def shown(of: Seen, width: int | None = None, *, everything: bool = False) -> list[str]:
    """The lines on a terminal so wide; None: in a file."""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=width is not None, color_system=None, highlight=False
    )
    console.print(draw(of, console, everything=everything), soft_wrap=width is None)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


SECOND = seen(after=renewed(*ALL))


def test_on_a_terminal_of_80_columns_what_matters_has_room() -> None:
    assert shown(SECOND, 80) == [
        "Uploads-leases: 6 shards: 2 reading, 1 held, 1 unowned, 1 waiting, 1 finished",
        "  ip-10-0-3-17:1:5be1a7c2: 2 shards, at work 0.0s ago",
        "  java (KCL): 1 shard, not seen at work in 4.0s",
        "",
        "SHARD      STATE     OWNER               STILL  CHECKPOINT    WRITTEN  PARENT",
        "…7d3f2a11  reading   ip-10-0-3-17:1:5b…  0.0s   …00012345678  -        -",
        "…7d3f2a12  reading   ip-10-0-3-17:1:5b…  >4.0s  TRIM_HORIZON  -        -",
        "…7d3f2a13  unowned   -                   -      AT_TIMESTAMP  -        …7d3f2a10",
        "…7d3f2a14  waiting   -                   -      TRIM_HORIZON  -        …7d3f2a13",
        "…7d3f2a15  held      java (KCL)          >4.0s  TRIM_HORIZON  2m ago   -",
        "…7d3f2a10  finished  -                   -      SHARD_END     2h ago   -",
    ]


def test_a_wider_terminal_shows_children_and_whole_owners() -> None:
    header, first, *_ = shown(SECOND, 120)[4:]

    assert header.endswith("PARENT     CHILDREN")
    assert "ip-10-0-3-17:1:5be1a7c2" in first


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
def test_no_line_is_longer_than_the_terminal_is_wide(width: int) -> None:
    assert max(map(len, shown(SECOND, width))) <= width


def test_a_narrow_terminal_gives_up_the_columns_that_matter_least() -> None:
    header = next(line for line in shown(SECOND, 60) if line.startswith("SHARD"))

    assert header.split() == ["SHARD", "STATE", "OWNER", "STILL", "CHECKPOINT"]


def test_where_there_is_room_nothing_is_shortened() -> None:
    assert shown(SECOND, 300)[4:] == shown(SECOND)[4:]


def test_in_a_file_every_value_is_whole_and_in_its_column() -> None:
    lines = shown(SECOND)
    row = next(line for line in lines if line.startswith(shard_id(3)))

    assert row.split() == [
        shard_id(3),
        "unowned",
        "-",
        "-",
        AT_TIMESTAMP,
        "2026-11-25T17:50:00Z",
        "-",
        shard_id(0),
        "-",
    ]
    assert [line.index(word) for line in lines[4:6] for word in ("STATE", "reading") if word in line] == [39, 39]
    assert f"{shard_id(3)} {shard_id(4)}" in lines[-1]


def test_after_one_look_nothing_is_said_about_who_is_at_work() -> None:
    lines = shown(seen(), 80)

    assert lines[0] == "Uploads-leases: 6 shards: 3 held, 1 unowned, 1 waiting, 1 finished"
    assert lines[2] == "  java (KCL): 1 shard, not known to be at work after one look"
    assert lines[5].split()[3] == "?"


def test_a_lease_that_is_handed_over_names_its_successor() -> None:
    rows = [lease(1, "old", successor="new"), lease(2, "old", successor=SOUGHT)]
    rows.append(lease(3, "new", poller_owner=None, checkpoint_owner="old"))
    lines = shown(seen(rows))

    assert [" ".join(line.split()[1:-5]) for line in lines[4:]] == [
        "STATE OWNER",
        "handing over old -> new",
        "handing over old -> ?",
        "handing over old -> new (KCL)",
    ]


def test_many_finished_shards_are_counted_and_shown_when_asked_for() -> None:
    finished = [lease(number, checkpoint=SHARD_END) for number in range(6)]
    rows = [*finished, lease(7)]

    assert shown(seen(rows), 80)[-2:] == [
        "…7d3f2a17  unowned  -      -      TRIM_HORIZON  -        -       -",
        "and 6 finished shards (--all shows them)",
    ]
    assert len(shown(seen(rows), 80, everything=True)) == 10


def test_an_empty_table_is_one_line() -> None:
    assert shown(seen([]), 80) == ["Uploads-leases: 0 shards"]


def test_a_look_that_failed_is_said_above_the_table() -> None:
    assert shown(seen(trouble="the last look failed: no answer"), 80)[3] == "the last look failed: no answer"


def test_shards_of_several_streams_are_said_to_be_so() -> None:
    assert shown(seen([lease(1), lease(2, stream_arn=ARN + "1")]), 80)[0].endswith("2 unowned; of 2 streams")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (0.44, "0.4s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h"),
        (90_000, "1d"),
    ],
)
def test_an_age_has_one_unit(seconds: float, text: str) -> None:
    assert words.age(seconds) == text


def test_a_row_that_was_never_seen_to_move_stands_still_for_longer_than_was_looked() -> None:
    assert (words.still(Life(4, moved=False)), words.still(Life(4, moved=True))) == (">4.0s", "4.0s")


# --- JSON -------------------------------------------------------------------------------------------------------------


def test_json_has_every_shard_under_names_that_stay() -> None:
    document = json.loads(json.dumps(documents.fleet_document(SECOND)))

    assert {name: document[name] for name in document if name != "leases"} == {
        "table": "Uploads-leases",
        "at": "2026-11-25T17:52:14Z",
        "looks": 2,
        "looked_for_s": 4.0,
        "lease_duration_s": 10.0,
        "trouble": None,
        "streams": [ARN],
        "states": {"reading": 2, "held": 1, "unowned": 1, "waiting_for_parent": 1, "finished": 1},
        "owners": [
            {
                "owner": "ip-10-0-3-17:1:5be1a7c2",
                "kcl": False,
                "shards": 2,
                "alive": True,
                "moved": True,
                "still_s": 0.0,
            },
            {"owner": "java", "kcl": True, "shards": 1, "alive": None, "moved": False, "still_s": 4.0},
        ],
    }
    assert document["leases"][2] == {
        "shard": shard_id(3),
        "state": "unowned",
        "moved": False,
        "still_s": 4.0,
        "owner": None,
        "kcl": False,
        "successor": None,
        "counter": 0,
        "checkpoint": AT_TIMESTAMP,
        "checkpoint_time": None,
        "start_time": None,
        "seek_time": "2026-11-25T17:50:00Z",
        "parents": [shard_id(0)],
        "children": [],
        "stream_arn": ARN,
    }
    assert len(document["leases"]) == 6


# --- what a move is said to be ----------------------------------------------------------------------------------------

STANDS = lease(1, checkpoint="112200000000012345678", checkpoint_time_ms=int(WALL_S * 1000) - 125_000)


def plan(**fields: Any) -> Plan:
    values: dict[str, Any] = {
        "lease": STANDS,
        "target": Position("TRIM_HORIZON"),
        "checkpoint": "TRIM_HORIZON",
        "seek_time_ms": 0,
        "force": False,
        "between": Between("again", 3, complete=True, first_s=WALL_S - 60, last_s=WALL_S),
        "uncounted": None,
        "warnings": (),
    }
    return Plan(**{**values, **fields})


def test_a_plan_says_what_stands_where_and_what_it_means() -> None:
    assert list(words.plan(plan(warnings=("mind the gap",)), WALL_S)) == [
        ("shard", shard_id(1)),
        ("held by", "nobody"),
        ("stands", "after 112200000000012345678, written 2m ago (2026-11-25T17:50:09Z)"),
        ("goes to", "the trim horizon, the oldest that the stream still has of it"),
        (
            "means",
            (
                "3 records are read again, created from 2026-11-25T17:51:14Z to 2026-11-25T17:52:14Z;"
                " what matches is sent again, under the same deduplication id"
            ),
        ),
        ("warning", "mind the gap"),
    ]


@pytest.mark.parametrize(
    ("between", "text"),
    [
        (Between("skipped"), "no record lies between the two"),
        (Between("skipped", 1, True, WALL_S, WALL_S), "1 record is skipped, created at 2026-11-25T17:52:14Z"),
        (
            Between("skipped", 20_000, False, WALL_S - 1, WALL_S),
            "at least 20,000 records are skipped, created from 2026-11-25T17:52:13Z to 2026-11-25T17:52:14Z",
        ),
        (Between("again", 0, complete=False), "at least 0 records are read again"),
    ],
)
def test_what_lies_between_is_told_as_far_as_it_was_counted(between: Between, text: str) -> None:
    assert dict(words.plan(plan(between=between), WALL_S))["means"] == text


def test_what_was_not_counted_says_why() -> None:
    planned = plan(between=None, uncounted="the stream was not read: throttled")

    assert dict(words.plan(planned, WALL_S))["means"] == "the stream was not read: throttled"


def test_a_holder_that_is_gone_is_told_from_one_that_nobody_has_looked_at() -> None:
    held = replace(STANDS, owner="w", poller_owner="w")

    assert dict(words.plan(plan(lease=held), WALL_S))["held by"] == (
        "w, which has not been seen at work; the lease is taken from it"
    )
    assert (
        "until then it may go on sending beside the next holder"
        in dict(words.plan(plan(lease=held, force=True), WALL_S))["held by"]
    )


def test_the_documents_of_a_move_have_the_row_before_and_after() -> None:
    planned = plan()
    after = planned.after(int(WALL_S * 1000))
    moved = documents.moved_document(planned, after, "t")
    declined = documents.moved_document(planned, None, "t")

    assert (moved["outcome"], moved["before"]["checkpoint"], moved["lease"]["checkpoint"]) == (
        "set",
        "112200000000012345678",
        "TRIM_HORIZON",
    )
    assert (declined["outcome"], declined["lease"]) == ("declined", declined["before"])
    assert moved["records"] == {
        "direction": "again",
        "count": 3,
        "complete": True,
        "first_created": "2026-11-25T17:51:14Z",
        "last_created": "2026-11-25T17:52:14Z",
    }


def test_a_release_says_from_whom_and_where_reading_goes_on() -> None:
    held = replace(STANDS, owner="w", poller_owner="w")
    gone, insisted = Released(held, held.evicted(), forced=False), Released(held, held.evicted(), forced=True)

    assert words.released(gone) == (
        f"{shard_id(1)}: taken from w, and free for any worker; reading goes on after 112200000000012345678"
    )
    assert words.released(insisted).endswith("sent twice and for that time out of order")
    assert words.released(Released(STANDS, STANDS, forced=False)).endswith(
        "nobody holds it; there is nothing to release"
    )
    assert documents.released_document(gone, "t")["outcome"] == "released"
    assert documents.released_document(Released(STANDS, STANDS, forced=False), "t")["outcome"] == "unowned"
