"""Reads an event pattern: from JSON to plain values with exact numbers, within bounds, or a PatternError with a path.

What the values mean is said in `poller.decide.operators`, what the tree of names means in `poller.decide.filter`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, TypeAlias

Json: TypeAlias = "str | bool | Decimal | list[Json] | dict[str, Json] | None"

# One filter, all its patterns together. Lambda allows 4,096 characters a pattern; this has room for lists of ids.
CHARACTERS_MAX: Final = 65_536
# Names, values and lists, each of which costs memory and at worst a comparison a record.
NODES_MAX: Final = 10_000
# DynamoDB nests values 32 deep, with a type and a name a level; the rest is the way there and the operators.
DEPTH_MAX: Final = 80
# Each costs a pass over the whole of a value, which may be 400 kB.
WILDCARDS_MAX: Final = 100
# EventBridge's own bound for what `$or` multiplies out to. Each alternative costs a walk down the record, and what is
# compared at its ends comes on top.
ALTERNATIVES_MAX: Final = 1_000
COMPARISONS_MAX: Final = 10_000
# A number of DynamoDB has 38 digits and an exponent down to -130: written out, fewer characters than this.
NUMBER_CHARACTERS_MAX: Final = 200
# Of a path or a text in a message, which is one line on a terminal.
_SHOWN_CHARACTERS_MAX: Final = 300

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_$-]+")


class PatternError(ValueError):
    """A pattern that cannot be compiled. `path` leads to the fault, e.g. `dynamodb.NewImage.phase.S[0].prefix`.

    The message says what is wrong there, and what would be right.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{_shortened(path)}: {_shortened(message)}" if path else _shortened(message))
        self.path = path


def _shortened(text: str) -> str:
    half = _SHOWN_CHARACTERS_MAX // 2
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[:half]}...{text[-half:]}"


class Budget:
    """What one filter may still hold, counted down over all its patterns: a filter must never stop the reading."""

    def __init__(self) -> None:
        self._characters = CHARACTERS_MAX
        self._nodes = NODES_MAX
        self._wildcards = WILDCARDS_MAX
        self._alternatives = ALTERNATIVES_MAX
        self._comparisons = COMPARISONS_MAX

    def spend_node(self, where: str, characters: int = 0) -> None:
        self._nodes -= 1
        self._characters -= characters
        if self._nodes < 0:
            raise PatternError(where, f"the filter has more than {NODES_MAX:,} names and values; use several routes")
        if self._characters < 0:
            raise PatternError(where, f"the filter has more than {CHARACTERS_MAX:,} characters; use several routes")

    def spend_wildcard(self, where: str) -> None:
        self._wildcards -= 1
        if self._wildcards < 0:
            raise PatternError(where, f"the filter has more than {WILDCARDS_MAX} wildcards; use prefix and suffix")

    def spend_alternatives(self, where: str, alternatives: int, comparisons: int) -> None:
        self._alternatives -= alternatives
        self._comparisons -= comparisons
        if self._alternatives < 0 or self._comparisons < 0:
            limits = f"{ALTERNATIVES_MAX:,} alternatives or {COMPARISONS_MAX:,} comparisons in them"
            raise PatternError(where, f"the filter's $or multiply out to more than {limits}; use several routes")


def below(where: str, name: str) -> str:
    """The path to `name` under `where`, for messages; a name that is not a plain word is quoted."""
    if not _PLAIN_NAME.fullmatch(name):
        return f"{where}[{json.dumps(name)}]"
    return f"{where}.{name}" if where else name


def exact_number(text: str) -> Decimal | None:
    """The number that a text writes in decimal digits, all of them; None if it writes none that a table can hold."""
    if len(text) <= NUMBER_CHARACTERS_MAX and _NUMBER.fullmatch(text):
        return Decimal(text)
    return None


def show(value: Json) -> str:
    """A pattern's JSON, for people: numbers as they were written."""
    match value:
        case dict():
            return "{" + ", ".join(f"{show(name)}: {show(each)}" for name, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(show, value)) + "]"
        case Decimal():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def read_pattern(raw: object, where: str, budget: Budget) -> dict[str, Json]:
    """The pattern as plain values. A str is JSON text, anything else JSON that is decoded already (from TOML, say).

    Raises PatternError. Doubled names are refused, since JSON's readers silently keep the last one.
    """
    pattern = _plain(_decode(raw, where) if isinstance(raw, str) else raw, where, budget, DEPTH_MAX)
    if not isinstance(pattern, dict):
        raise PatternError(where, f'a pattern is an object such as {{"eventName": ["MODIFY"]}}, not {show(pattern)}')
    return pattern


def _decode(text: str, where: str) -> object:
    if len(text) > CHARACTERS_MAX:
        raise PatternError(where, f"the pattern has more than {CHARACTERS_MAX:,} characters; use several routes")
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=_written_number,
            parse_int=_written_number,
            parse_constant=_refuse_constant,
        )
    except RecursionError as error:
        raise PatternError(where, f"nested deeper than {DEPTH_MAX} levels") from error
    except json.JSONDecodeError as error:
        raise PatternError(where, f"not JSON: {error}") from error
    except ValueError as error:
        raise PatternError(where, str(error)) from error


class _Doubled(dict[str, object]):
    """An object of a JSON text in which `name` stands twice; its path is only known further up."""

    def __init__(self, pairs: list[tuple[str, object]], name: str) -> None:
        super().__init__(pairs)
        self.name = name


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return _Doubled(pairs, name)
        seen.add(name)
    return dict(pairs)


def _written_number(text: str) -> Decimal:
    number = exact_number(text)
    if number is None:
        raise ValueError(f"{text[:40]} is not a number that a table can hold (38 digits, exponents of -130 to 125)")
    return number


def _refuse_constant(name: str) -> Decimal:
    raise ValueError(f"{name} is not JSON; write a number in digits")


def _plain(value: object, where: str, budget: Budget, depth: int) -> Json:
    if depth == 0:
        raise PatternError(where, f"nested deeper than {DEPTH_MAX} levels")
    budget.spend_node(where, len(value) if isinstance(value, str) else 0)
    match value:
        case None | bool():
            return value
        case str():
            return _characters(value, where)
        case int() | float() | Decimal():
            return _number(value, where)
        case list() | tuple():
            return [_plain(each, f"{where}[{index}]", budget, depth - 1) for index, each in enumerate(value)]
        case dict():
            return _plain_object(value, where, budget, depth)
        case _:
            raise PatternError(
                where, f"{type(value).__name__} is no type of JSON; write the value as a string or a number"
            )


def _number(value: float | Decimal, where: str) -> Decimal:
    try:
        # Python does not even write an integer of more than some thousand digits.
        return _written_number(f"{value:#x}" if isinstance(value, int) and value.bit_length() > 1_000 else str(value))
    except ValueError as error:
        raise PatternError(where, str(error)) from error


def _plain_object(value: Mapping[object, object], where: str, budget: Budget, depth: int) -> dict[str, Json]:
    if isinstance(value, _Doubled):
        raise PatternError(below(where, value.name), "stands twice in one object; put all its values into one list")
    plain: dict[str, Json] = {}
    for name, each in value.items():
        if not isinstance(name, str):
            raise PatternError(where, f"the name {name!r} is not a string")
        budget.spend_node(where, len(name))
        plain[_characters(name, where)] = _plain(each, below(where, name), budget, depth - 1)
    return plain


def _characters(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PatternError(where, "holds half of a surrogate pair, which no item can hold; write both") from error
    return text
