"""Which rows of the lease table are shown, and in which order: of thousands, people see the worst first. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from poller.events import SeenLease
from poller.observe.known import ShardKnown

# How many shards are shown at most.
SHARDS_MAX: Final = 2_000
OWNERS_MAX: Final = 50
_TEXT_MAX: Final = 200
_NOBODYS: Final = ("unowned", "expired")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request for the status asks for; of several streams one may be meant, by its table's name.

    `find`: a part of a shard's name, state or owner; `brief`: of each row only what its place in the lineage needs.
    """

    shards: int = SHARDS_MAX
    skip: int = 0
    find: str = ""
    worst_first: bool = False
    brief: bool = False
    settings: bool = True
    stream: str | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Wanted:
        """ValueError: it cannot be read. Names that mean nothing here are passed over."""
        return cls(
            shards=min(_count(query, "shards", SHARDS_MAX), SHARDS_MAX),
            skip=_count(query, "skip", 0),
            find=query.get("find", "")[:_TEXT_MAX].strip().lower(),
            worst_first=_one_of(query, "order", ("lease", "worst")) == "worst",
            brief=_one_of(query, "rows", ("full", "brief")) == "brief",
            settings=_one_of(query, "settings", ("yes", "no")) == "yes",
            stream=query.get("stream"),
        )


def _count(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise ValueError(f'{name}="{text[:_TEXT_MAX]}": not a count; write {name}={default}')
    return int(text)


def _one_of(query: Mapping[str, str], name: str, values: Sequence[str]) -> str:
    text = query.get(name, values[0])
    if text not in values:
        raise ValueError(f'{name}="{text[:_TEXT_MAX]}": one of {", ".join(values)}')
    return text


class Selected(NamedTuple):
    """The rows to show, and how many there are like them and at all."""

    rows: Sequence[SeenLease]
    found: int
    total: int


def select(rows: Sequence[SeenLease], mine: Mapping[str, ShardKnown], wanted: Wanted) -> Selected:
    """`mine`: the shards of this worker."""
    found = [row for row in rows if _has(row, wanted.find)] if wanted.find else rows
    ordered = _worst_first(found, mine) if wanted.worst_first else _mine_first(found, mine)
    return Selected(ordered[wanted.skip : wanted.skip + wanted.shards], len(found), len(rows))


def _has(row: SeenLease, text: str) -> bool:
    return text in row.lease.shard_id.lower() or text in row.state or text in (row.lease.owner or "").lower()


def _mine_first(rows: Iterable[SeenLease], mine: Mapping[str, ShardKnown]) -> list[SeenLease]:
    """Then those of others, then what is finished."""
    return sorted(rows, key=lambda row: 0 if row.lease.shard_id in mine else 2 if row.state == "finished" else 1)


def _worst_first(rows: Iterable[SeenLease], mine: Mapping[str, ShardKnown]) -> list[SeenLease]:
    return sorted(rows, key=lambda row: (*_badness(row, mine.get(row.lease.shard_id)), row.lease.shard_id))


def _badness(row: SeenLease, mine: ShardKnown | None) -> tuple[int, float]:
    """The lower the worse: what is lost, fails, is nobody's, is retried; then how far behind; finished comes last."""
    if mine is None:
        return (2 if row.state in _NOBODYS else 6 if row.state == "finished" else 5), 0.0
    behind_s = -(mine.behind_s or 0.0)
    if mine.lost_at is not None:
        return 0, behind_s
    if mine.failing is not None:
        return 1, mine.failing.since
    if mine.retrying_since_wall_s:
        return 3, min(mine.retrying_since_wall_s.values())
    return 4, behind_s


class Owner(NamedTuple):
    """A worker that holds leases of shards that are not finished. `at_work`: it has shown a sign of life."""

    name: str
    foreign: bool
    leases: int
    at_work: bool


def owners(rows: Iterable[SeenLease]) -> list[Owner]:
    """Whoever holds most comes first."""
    held: Counter[tuple[str, bool]] = Counter()
    expired: Counter[tuple[str, bool]] = Counter()
    for lease, state in rows:
        if lease.owner is not None and state != "finished":
            held[lease.owner, lease.foreign] += 1
            expired[lease.owner, lease.foreign] += state == "expired"
    listed = [Owner(*owner, leases, expired[owner] < leases) for owner, leases in held.most_common(OWNERS_MAX)]
    return sorted(listed, key=lambda owner: (-owner.leases, owner.name))
