"""The lease table for people: on a terminal as wide as that is and in colour, elsewhere plain and whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from poller.model import Lease
from poller.operate import words
from poller.operate.fleet import Fleet, OwnerSeen, ShardSeen, State
from poller.operate.names import printable, short_names
from poller.operate.watch import Seen

# So many finished shards are shown without being asked for: they tell where the present ones come from.
FINISHED_SHOWN_MAX: Final = 5
_GAP: Final = 2
_OWNER_WIDTH_MIN: Final = 12
_CHECKPOINT_SHOWN: Final = 12
# What a narrow terminal does not show, one after the other until the rest has room.
_GIVEN_UP: Final = ("CHILDREN", "PARENT", "WRITTEN")

_STYLES: Final = {
    State.READING: "green",
    State.HELD: "yellow",
    State.HANDING_OVER: "cyan",
    State.EXPIRED: "bold red",
    State.UNOWNED: "bold yellow",
    State.WAITING_FOR_PARENT: "dim",
    State.FINISHED: "dim",
}
_LABELS: Final = {State.HANDING_OVER: "handing over", State.WAITING_FOR_PARENT: "waiting"}


def draw(seen: Seen, console: Console, *, everything: bool) -> RenderableType:
    """What to print: who holds what, then the shards. `everything`: also finished shards beyond the first few."""
    shown = _shown(seen.fleet, everything=everything)
    parts: list[RenderableType] = [_summary(seen), *(_owner(owner, seen) for owner in seen.fleet.owners)]
    if seen.trouble:
        parts.append(Text(printable(seen.trouble), style="bold red"))
    if shown:
        parts += [Text(), _table(shown, seen, console)]
    hidden = len(seen.fleet.shards) - len(shown)
    if hidden:
        parts.append(Text(f"and {words.counted(hidden, 'finished shard')} (--all shows them)", style="dim"))
    return Group(*parts)


def _shown(fleet: Fleet, *, everything: bool) -> list[ShardSeen]:
    finished = [shard for shard in fleet.shards if shard.state is State.FINISHED]
    if everything or len(finished) <= FINISHED_SHOWN_MAX:
        return list(fleet.shards)
    return [shard for shard in fleet.shards if shard.state is not State.FINISHED]


def _summary(seen: Seen) -> Text:
    text = Text(f"{seen.table}: {words.counted(len(seen.fleet.shards), 'shard')}", style="bold")
    for number, (state, count) in enumerate(seen.fleet.states.items()):
        text.append(": " if number == 0 else ", ", style="not bold")
        text.append(f"{count:,} {_label(state)}", style=f"not bold {_STYLES[state]}")
    if len(seen.fleet.streams) > 1:
        text.append(f"; of {len(seen.fleet.streams)} streams", style="not bold")
    return text


def _owner(owner: OwnerSeen, seen: Seen) -> Text:
    name = f"  {printable(owner.name)}{' (KCL)' if owner.foreign else ''}: {words.counted(owner.shards, 'shard')}, "
    style = {True: "green", False: "bold red", None: ""}[owner.alive]
    return Text(name).append(_at_work(owner, seen), style=style)


def _at_work(owner: OwnerSeen, seen: Seen) -> str:
    if owner.life.moved:
        return f"at work {words.age(owner.life.still_s)} ago"
    if seen.looks < 2:
        return "not known to be at work after one look"
    return f"not seen at work in {words.age(owner.life.still_s)}"


def _label(state: State) -> str:
    return _LABELS.get(state, state.value)


# --- the table of shards ----------------------------------------------------------------------------------------------


Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class _Names:
    """How shards and places are written: whole, or shortened."""

    shards: Mapping[str, str]
    whole: bool

    @classmethod
    def of(cls, fleet: Fleet, *, whole: bool) -> _Names:
        ids = {name for one in fleet.shards for name in (one.lease.shard_id, *one.lease.parents, *one.lease.children)}
        return cls({name: name for name in ids} if whole else short_names(ids), whole)

    def several(self, shard_ids: frozenset[str]) -> str:
        return " ".join(self.shards[name] for name in sorted(shard_ids)) or "-"

    def checkpoint(self, lease: Lease) -> str:
        if self.whole:
            return words.checkpoint(lease)
        text = lease.checkpoint
        return text if len(text) <= _CHECKPOINT_SHOWN else "…" + text[1 - _CHECKPOINT_SHOWN :]


def _still(shard: ShardSeen, seen: Seen) -> str:
    """For how long the row has stood still; nobody writes to one that nobody holds."""
    if shard.lease.owner is None or shard.state is State.FINISHED:
        return "-"
    return words.still(shard.life) if seen.looks > 1 else "?"


def _written(lease: Lease, names: _Names, seen: Seen) -> str:
    if lease.checkpoint_time_ms is None:
        return "-"
    at_s = lease.checkpoint_time_ms / 1000
    return words.utc(at_s) if names.whole else f"{words.age(max(0.0, seen.wall_s - at_s))} ago"


def _holder(lease: Lease) -> str:
    if lease.owner is None:
        return "-"
    name = f"{lease.owner} (KCL)" if lease.foreign else lease.owner
    if lease.checkpoint_owner is not None:
        return f"{lease.checkpoint_owner} -> {name}"
    if lease.heir is not None or lease.sought:
        return f"{name} -> {lease.heir or '?'}"
    return name


def _row(shard: ShardSeen, names: _Names, seen: Seen) -> Row:
    """A line of the table, by column."""
    lease = shard.lease
    cells = {
        "SHARD": names.shards[lease.shard_id],
        "STATE": _label(shard.state),
        "OWNER": _holder(lease),
        "STILL": _still(shard, seen),
        "CHECKPOINT": names.checkpoint(lease),
        "WRITTEN": _written(lease, names, seen),
        "PARENT": names.several(lease.parents),
        "CHILDREN": names.several(lease.children),
    }
    return {name: printable(text) for name, text in cells.items()}


def _table(shards: Sequence[ShardSeen], seen: Seen, console: Console) -> RenderableType:
    """Whole where there is room or no terminal; else with short names, and without some columns if need be."""
    whole = [_row(shard, _Names.of(seen.fleet, whole=True), seen) for shard in shards]
    if not console.is_terminal:
        return _plain(whole)
    if _width(whole) <= console.width:
        return _rich(whole, shards, console.width)
    names = _Names.of(seen.fleet, whole=False)
    short = [_row(shard, names, seen) for shard in shards]
    for column in _GIVEN_UP:
        if _width(short, owner_max=_OWNER_WIDTH_MIN) > console.width:
            short = [{name: text for name, text in row.items() if name != column} for row in short]
    return _rich(short, shards, console.width)


def _widths(rows: Sequence[Row]) -> dict[str, int]:
    return {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}


def _width(rows: Sequence[Row], owner_max: int | None = None) -> int:
    widths = _widths(rows)
    if owner_max is not None:
        widths["OWNER"] = min(owner_max, widths["OWNER"])
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _plain(rows: Sequence[Row]) -> Text:
    """Aligned text that no width cuts, for files and other programs."""
    widths = _widths(rows)
    lines = [
        (" " * _GAP).join(f"{row[name]:<{width}}" for name, width in widths.items()).rstrip()
        for row in ({name: name for name in widths}, *rows)
    ]
    return Text("\n".join(lines), no_wrap=True, overflow="ignore")


def _rich(rows: Sequence[Row], shards: Sequence[ShardSeen], width: int) -> Table:
    """The owner's column takes what the others leave; rich would shorten any of them."""
    widths = _widths(rows)
    widths["OWNER"] = min(widths["OWNER"], max(_OWNER_WIDTH_MIN, width - _width(rows) + widths["OWNER"]))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name, column_width in widths.items():
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=column_width)
    for row, shard in zip(rows, shards, strict=True):
        cells = {name: Text(text) for name, text in row.items()}
        cells["STATE"].stylize(_STYLES[shard.state])
        table.add_row(*cells.values(), style="dim" if shard.state is State.FINISHED else "")
    return table
