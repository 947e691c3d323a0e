"""A daemon's status on a terminal: the verdict, the flow, the routes, the shards, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from poller.observe.spoken import counted, spoken
from poller.observe.verdict import Level
from poller.operate.told import Object, StreamTold, Told, plain

_WORDS: Final = {
    Level.OK: ("OK", "bold black on green"),
    Level.ATTENTION: ("LOOK", "bold black on yellow"),
    Level.STOPPING: ("LEAVING", "bold black on yellow"),
    Level.STARTING: ("STARTING", "bold black on yellow"),
    Level.TROUBLE: ("TROUBLE", "bold white on red"),
}
_STATES: Final = {
    "waiting_for_parent": "waits for its parent",
    "unowned": "nobody reads it",
    "expired": "its worker is gone",
    "draining": "ending",
}
_FLOW: Final = (
    ("read", "read"),
    ("matched", "matched"),
    ("delivered", "delivered"),
    ("dead_lettered", "dead-lettered"),
)
_BARS: Final = " ▁▂▃▄▅▆▇█"
_BARS_SHOWN: Final = 40
_ID_SHOWN: Final = 24
_TEXT_SHOWN: Final = 60
_REASONS_SHOWN: Final = 5
_LITTLE_S: Final = 6 * 3600.0
# Lines of one stream that are no shards, at the least: names, verdict, flow, heads, gaps.
_LINES: Final = 16

Cell = str | tuple[str, str] | None


def rows_that_fit(lines: int, told: Told) -> int:
    """How many shards of each stream a screen of so many lines has room for."""
    shown = max(1, len(told.streams))
    others = sum(len(one.stream.get("routes", ())) + min(len(one.stream.get("reasons", ())), 5) for one in told.streams)
    return max(3, (lines - others) // shown - _LINES)


def draw(told: Told, rows: int, *, silent: str | None = None) -> RenderableType:
    """`rows`: how many shards of each stream at most; `silent`: why nobody answers any more, what is told being old."""
    parts: list[RenderableType] = []
    if silent is not None:
        parts.append(
            Text(" NO ANSWER ", style="bold white on red").append(f" {silent}", style="not bold red on default")
        )
    several = len(told.streams) > 1
    if several:
        parts += [_verdict(told.level, told.text), Text()]
    for one in told.streams:
        parts.append(_title(one, told))
        parts.append(_verdict(one.level, one.text))
        if one.stream:
            parts += _stream(one.stream, told, rows)
        if several:
            parts.append(Text())
    return Group(*parts)


def _title(one: StreamTold, told: Told) -> Text:
    text = Text(one.name, style="bold")
    if one.process:
        up = told.since(one.process.get("started_at"))
        worker = plain(one.process.get("worker_id", ""))
        text.append(f"  worker {worker}" + (f", up {spoken(up)}" if up is not None else ""), style="not bold dim")
    return text


def _verdict(level: Level, text: str) -> Text:
    word, style = _WORDS[level]
    return Text().append(f" {word} ", style=style).append(f" {text}", style="bold")


def _stream(stream: Object, told: Told, rows: int) -> Iterator[RenderableType]:
    yield from _reasons(stream["reasons"])
    yield Text()
    if "flow" in stream:
        yield _flow(stream["flow"])
        yield Text()
    yield _table(
        ("ROUTE", "QUEUE", "STATE", ">WAITING", ">DELIVERED", ">DEAD-LETTERED", "LAST ERROR"),
        [_route(route, told) for route in stream["routes"]],
    )
    yield Text()
    shards = stream["shards"][:rows]
    if shards:
        heads = ("SHARD", "STATE", "OWNER", ">BEHIND", ">LAST POLL", "CHECKPOINT", ">RETRYING", ">LOST IN")
        yield _table(heads, [_shard(shard, told) for shard in shards])
    yield _beneath(stream, len(shards))


def _reasons(reasons: Sequence[Object]) -> Iterator[Text]:
    for reason in reasons[:_REASONS_SHOWN]:
        text = Text("  ").append(plain(reason["part"]), style="red")
        yield text.append(f" for {spoken(reason['seconds'])}: {plain(reason['text'])}")
    if len(reasons) > _REASONS_SHOWN:
        yield Text(f"  and {counted(len(reasons) - _REASONS_SHOWN, 'more reason')}", style="red")


def _flow(flow: Object) -> Table:
    """Five minutes, a bar for what came in some seconds."""
    history = flow["history"][0]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    for name, title in _FLOW:
        total = flow["totals"][name]
        alarming = name == "dead_lettered" and total
        style = "yellow" if alarming else ""
        table.add_row(
            title,
            Text(_rate(flow["per_second"][name]), style="bold"),
            Text(_bars(history[name]), style=style or "cyan"),
            Text(f"{total:,.0f} since the start", style=style or "dim"),
        )
    return table


def _rate(rate: float) -> str:
    return f"{rate:.1f}/s" if 0 < rate < 9.95 else f"{rate:,.0f}/s"


def _bars(steps: Sequence[float], size: int = 150) -> str:
    """The last `size` steps, summed up to so many bars as are shown; what was not yet is empty."""
    width = -(-size // _BARS_SHOWN)
    padded = [0.0] * (size - len(steps)) + list(steps[-size:])
    sums = [sum(padded[at : at + width]) for at in range(0, size, width)]
    most = max(sums)
    return "".join(_BARS[-(-int(8 * value) // int(most)) if value else 0] if most >= 1 else " " for value in sums)


def _route(route: Mapping[str, Any], told: Told) -> Sequence[Cell]:
    state: Cell = "takes messages" if route["delivered"] else "none taken yet"
    letters = route.get("dead_letters", {})
    if route["failing_since"]:
        state = (f"refuses for {spoken(told.since(route['failing_since']) or 0.0)}", "bold red")
    elif letters.get("failing_since"):
        state = (f"dead letters not stored for {spoken(told.since(letters['failing_since']) or 0.0)}", "bold red")
    error = route["error"] or letters.get("error") or route["last_error"]
    when = told.ago(route["last_error_at"])
    dead = f"{route['dead_lettered']:,}"
    return (
        route["name"],
        _shortened(route["queue"].rstrip("/").rpartition("/")[2], _TEXT_SHOWN),
        state,
        f"{route['waiting']:,}",
        f"{route['delivered']:,}",
        (dead, "yellow") if route["dead_lettered"] else dead,
        f"{_shortened(error, _TEXT_SHOWN)} ({when})" if error else None,
    )


def _shard(shard: Mapping[str, Any], told: Told) -> Sequence[Cell]:
    behind, loss = shard.get("behind_seconds"), told.since(shard.get("data_loss_at"))
    retrying = [told.since(since) or 0.0 for since in shard.get("retrying_since", {}).values()]
    written = told.ago(shard.get("checkpoint_written")) if shard["state"] != "finished" else None
    left: Cell = None
    if loss is not None:
        left = (spoken(-loss) if loss < 0 else "any moment", "bold red" if -loss < _LITTLE_S else "")
    return (
        _tail(shard["shard"].removeprefix("shardId-").lstrip("0") or shard["shard"], _ID_SHOWN),
        _state(shard),
        "this worker" if shard["mine"] else _shortened(shard["owner"], _ID_SHOWN) if shard["owner"] else None,
        None if behind is None else spoken(behind),
        told.ago(shard.get("last_page")),
        _tail(shard["checkpoint"], 13) + (f", {written}" if written else ""),
        (spoken(max(retrying)), "yellow") if retrying else None,
        left,
    )


def _state(shard: Mapping[str, Any]) -> Cell:
    state = shard["state"]
    if shard.get("data_lost_at"):
        return "not read: data lost", "bold red"
    if shard.get("failing_since"):
        return "not read: failing", "bold red"
    if state in ("unowned", "expired"):
        return _STATES[state], "bold red"
    if shard.get("retrying_since"):
        return "retrying", "yellow"
    return _STATES.get(state, state), "dim" if state == "finished" else "" if state == "waiting_for_parent" else "green"


def _beneath(stream: Object, shown: int) -> Text:
    """What is not shown, who shares the work, and what it costs."""
    more = stream["shards_not_shown"] + len(stream["shards"]) - shown
    text = Text(f"and {counted(more, 'more shard')}\n" if more else "", style="dim")
    owners = stream["lease_table"].get("owners", ())
    for number, one in enumerate(owners[:_REASONS_SHOWN]):
        name = f"{plain(one['owner'])}{' (this one)' if one['me'] else ''}: {counted(one['leases'], 'shard')}"
        text.append("workers: " if not number else "; ")
        text.append(name if one["at_work"] else f"{name}, no sign of life", style="" if one["at_work"] else "bold red")
    if len(owners) > _REASONS_SHOWN:
        text.append(f"; and {len(owners) - _REASONS_SHOWN} more")
    costs = stream.get("estimated_cost_usd_per_month")
    if costs:
        together = sum(costs.values())
        text.append(f"\ncost: this worker's requests come to {together:,.2f} USD a month, by the last 15 minutes")
    return text


def _table(heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in heads:
        table.add_column(head.removeprefix(">"), justify="right" if head.startswith(">") else "left", no_wrap=True)
    for row in rows:
        cells = [("-", "dim") if cell is None else (cell, "") if isinstance(cell, str) else cell for cell in row]
        table.add_row(*(Text(plain(text), style=style) for text, style in cells))
    return table


def _shortened(text: str, at_most: int) -> str:
    return text if len(text) <= at_most else f"{text[: at_most - 1]}…"


def _tail(text: str, at_most: int) -> str:
    return text if len(text) <= at_most else f"…{text[1 - at_most :]}"
