"""What docs/filters.md says that a pattern matches, and what not, is so."""

from __future__ import annotations

import json
import re

import pytest

from poller.decide.filter import DEFAULT_PATTERN, compile_filter
from poller.decide.operators import _OPERATORS
from poller.decide.pattern import ALTERNATIVES_MAX, CHARACTERS_MAX, WILDCARDS_MAX
from tests.docs.pages import ROOT, blocks

NAME = "docs/filters.md"
TEXT = (ROOT / NAME).read_text("utf-8")
ROWS = re.findall(r"^\| `(\{.+?\})` \| .+ \| `(\{.+?\})` \| `(\{.+?\})` \|$", TEXT, re.MULTILINE)


@pytest.mark.parametrize(("pattern", "matching", "other"), ROWS)
def test_a_row_matches_what_it_says_and_not_the_other(pattern: str, matching: str, other: str) -> None:
    wanted = compile_filter([{"dynamodb": {"NewImage": {"a": json.loads(pattern)}}}])

    assert wanted.matches({"dynamodb": {"NewImage": {"a": json.loads(matching)}}})
    assert not wanted.matches({"dynamodb": {"NewImage": {"a": json.loads(other)}}})


def test_every_operator_has_a_row() -> None:
    patterns = " ".join(pattern for pattern, _, _ in ROWS)
    assert [operator for operator in _OPERATORS if f'"{operator}"' not in patterns] == []


def test_the_shipped_pattern_and_the_bounds_are_those_of_the_program() -> None:
    assert [json.loads(block.text) for block in blocks(NAME) if block.language == "json"] == [DEFAULT_PATTERN]
    for bound in (CHARACTERS_MAX, WILDCARDS_MAX, ALTERNATIVES_MAX):
        assert f"{bound:,}" in TEXT


def test_empty_patterns_want_every_record_and_or_stands_for_a_name() -> None:
    assert compile_filter([{}]).wants_all
    assert compile_filter([]).wants_all
    either = compile_filter([{"$or": [{"eventName": ["INSERT"]}, {"dynamodb": {"Keys": {"id": {"S": ["a"]}}}}]}])
    assert either.matches({"eventName": "INSERT"})
    assert either.matches({"eventName": "REMOVE", "dynamodb": {"Keys": {"id": {"S": "a"}}}})
    assert not either.matches({"eventName": "REMOVE"})
