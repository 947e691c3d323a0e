"""The state file of a replay: what is written is read, and whatever else is in it is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from poller.decide.span import Span
from poller.errors import ConfigurationError
from poller.model import AT_TIMESTAMP, TRIM_HORIZON, Position
from poller.operate.account import Left
from poller.operate.order import Order, read_order, write_order

ORDER = Order(
    stream_arn="arn:aws:dynamodb:eu-west-1:123456789012:table/Orders/stream/2026-11-23T08:00:00.000",
    span=Span(
        Position(AT_TIMESTAMP, timestamp_ms=5_000),
        until_s=9.0,
        roots=frozenset({"shard-1", "shard-2"}),
        descend=False,
        places={"shard-1": Position.after("12"), "shard-2": Position.at("13")},
        finished=frozenset({"shard-0"}),
    ),
    routes=("a", "b"),
    queue="jobs",
    filters=("{}",),
    keys=(("id", "4711"),),
    fresh="f00",
    sent={"a": 5},
    left={"shard-1": Left("14", {"a": frozenset({"13", "14"}), "b": frozenset()})},
)


@pytest.mark.parametrize("order", [ORDER, Order("arn", Span(Position(TRIM_HORIZON)), ("a",))])
def test_what_is_written_is_read(order: Order, tmp_path: Path) -> None:
    write_order(tmp_path / "state", order)

    assert read_order(tmp_path / "state") == order
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 2},
        {"places": 5},
        {"places": {"shard-1": ["LATEST"]}},
        {"places": {"shard-1": ["AFTER_SEQUENCE_NUMBER", "x"]}},
        {"start": ["AT_TIMESTAMP", -1]},
        {"until_s": "soon"},
        {"sent": {"a": float("inf")}},
        {"left": {"shard-1": {"upto": "x", "unsent": {}}}},
        {"keys": [["id"]]},
        {"routes": None},
    ],
)
def test_whatever_else_is_in_it_is_refused(damage: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_order(path, ORDER)
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))

    with pytest.raises(ConfigurationError, match=r"--resume .*state: (not the state of a replay|of another version)"):
        read_order(path)


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', "[" * 100_000])
def test_a_file_of_anything_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "state").write_text(text)

    with pytest.raises(ConfigurationError):
        read_order(tmp_path / "state")
