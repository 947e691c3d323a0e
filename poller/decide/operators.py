"""The values of one name in an event pattern, compiled into a test of single values: EventBridge's operators.

Checked against AWS's own engine, event-ruler 2.0.1; where it is meant to differ, the place says so.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from poller.decide.pattern import Budget, Json, PatternError, below, exact_number, show

Path: TypeAlias = tuple[str, ...]
Check: TypeAlias = Callable[[object], bool]
ReadNumber: TypeAlias = Callable[[object], Decimal | None]


@dataclass(frozen=True, slots=True)
class Leaf:
    """The list of values at the end of one path: a value matches if it is one of `strings` or passes one of `checks`.

    `absent_matches`: a record without a value there matches too (`"exists": false`). `text` is the list as JSON.
    `comparisons`: how many a value may cost. `needles`: JSON that holds a matching value, and no `\\u00`, holds one of
    these as it stands; None: nothing of the kind is known.
    """

    path: Path
    text: str
    absent_matches: bool
    strings: frozenset[str]
    checks: tuple[Check, ...]
    comparisons: int
    needles: frozenset[str] | None

    def accepts(self, value: object) -> bool:
        """Whether this one value matches: a string, a number, a boolean or None."""
        if isinstance(value, str) and value in self.strings:
            return True
        return any(check(value) for check in self.checks)


# A wildcard looks through the whole of a value, all others at no more of it than they are long themselves.
_WILDCARD_COMPARISONS: Final = 10
# Characters that JSON writes in one way only, but for `\u` and its digits.
_ONE_SPELLING: Final = re.compile(r"[ !#-.0-\[\]-~]+")
# The longest addresses have 45 characters, and the name of an interface behind a %.
_ADDRESS_MAX: Final = 100


def json_number(value: object) -> Decimal | None:
    """A number of a decoded record, exactly; None for everything else."""
    if isinstance(value, float):
        return Decimal(repr(value)) if math.isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return None


def stored_number(value: object) -> Decimal | None:
    """As `json_number`, and also the text under a DynamoDB `N` or in an `NS`: all its 38 digits, never a float."""
    return exact_number(value) if isinstance(value, str) else json_number(value)


def compile_leaf(path: Path, values: list[Json], where: str, read_number: ReadNumber, budget: Budget) -> Leaf:
    """The list of values under `path`; PatternError for what is neither a value nor an operator of EventBridge's."""
    if not values:
        raise PatternError(where, "an empty list matches nothing; name at least one value")
    strings: set[str] = set()
    numbers: set[Decimal] = set()
    checks: list[Check] = []
    absent_matches = False
    for index, value in enumerate(values):
        place = _Place(f"{where}[{index}]", read_number, budget)
        match value:
            case str():
                strings.add(value)
            case Decimal():
                numbers.add(value)
            case None | bool():
                checks.append(_literally(value))
            case {"exists": False, **rest} if not rest:
                absent_matches = True
            case dict():
                checks.append(_operator(value, place))
            case list():
                raise place.wrong("a list stands in a list; name all values in one")
    if numbers:
        checks.append(lambda found: read_number(found) in numbers)
    comparisons = 1 + sum(map(_comparisons, values))
    needles = _needles(values)
    return Leaf(path, show(list(values)), absent_matches, frozenset(strings), tuple(checks), comparisons, needles)


def _comparisons(value: Json) -> int:
    """Strings and numbers are looked up all at once, operators are tried one by one."""
    if isinstance(value, dict):
        (negated,) = value.values()
        return sum(_each(name, operand) for name, operand in (negated if isinstance(negated, dict) else value).items())
    return 0 if isinstance(value, str | Decimal) else 1


def _each(name: str, operand: Json) -> int:
    one = _WILDCARD_COMPARISONS if name == "wildcard" else 1
    return one * len(operand) if isinstance(operand, list) and name in _NEGATABLE else one


def _needles(values: list[Json]) -> frozenset[str] | None:
    needles = [_needle(value) for value in values]
    known = [needle for needle in needles if needle is not None]
    return frozenset(known) if len(known) == len(needles) else None


def _needle(value: Json) -> str | None:
    """What every text has that this one value accepts: the value with its quotes, or the end of it that is known."""
    match value:
        case str(text):
            needle = f'"{text}"'
        case {"prefix": str(text)}:
            needle = f'"{text}'
        case {"suffix": str(text)}:
            needle = f'{text}"'
        case _:
            return None
    return needle if _ONE_SPELLING.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an operator stands: its path for messages, how numbers are read there, and the filter's budget."""

    where: str
    read_number: ReadNumber
    budget: Budget

    def at(self, index: int) -> _Place:
        return _Place(f"{self.where}[{index}]", self.read_number, self.budget)

    def under(self, name: str) -> _Place:
        return _Place(below(self.where, name), self.read_number, self.budget)

    def wrong(self, message: str) -> PatternError:
        return PatternError(self.where, message)


def _literally(literal: bool | None) -> Check:
    return lambda value: value is literal


def _operator(value: dict[str, Json], place: _Place) -> Check:
    if not value:
        raise place.wrong('an empty object is no operator; write one such as {"prefix": "abc"}')
    name, operand = _only(value, place)
    here = place.under(name)
    if name not in _OPERATORS:
        near = difflib.get_close_matches(name, _OPERATORS, 1)
        hint = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(_OPERATORS)}"
        raise here.wrong(f"no such operator; {hint}")
    return _OPERATORS[name](operand, here)


def _only(operand: dict[str, Json], place: _Place) -> tuple[str, Json]:
    """The one operator of an object."""
    if len(operand) != 1:
        raise place.wrong("needs one operator an object; several objects in the list match if any of them does")
    return next(iter(operand.items()))


def _string(operand: Json, place: _Place) -> str:
    if not isinstance(operand, str):
        raise place.wrong(f'needs a string such as "abc", not {show(operand)}')
    return operand


def _exists(operand: Json, place: _Place) -> Check:
    if not isinstance(operand, bool):
        raise place.wrong(f"needs true or false, not {show(operand)}")
    return lambda _value: operand


def _affix(operand: Json, place: _Place, has: Callable[[str, str], bool], end_of: Callable[[str, int], str]) -> Check:
    if isinstance(operand, dict):
        name, inner = _only(operand, place)
        here = place.under(name)
        if name != "equals-ignore-case":
            raise here.wrong('only "equals-ignore-case" can stand here')
        folded = _string(inner, here).casefold()
        # Folding makes no text shorter: of a long one, no more than this can stand at its end.
        return lambda value: isinstance(value, str) and has(end_of(value, len(folded)).casefold(), folded)
    text = _string(operand, place)
    return lambda value: isinstance(value, str) and has(value, text)


def _prefix(operand: Json, place: _Place) -> Check:
    return _affix(operand, place, str.startswith, lambda value, length: value[:length])


def _suffix(operand: Json, place: _Place) -> Check:
    return _affix(operand, place, str.endswith, lambda value, length: value[max(0, len(value) - length) :])


def _equals_ignore_case(operand: Json, place: _Place) -> Check:
    """Folds case as Unicode says, both ways alike; event-ruler's own rule beyond ASCII is narrower and lopsided."""
    folded = _string(operand, place).casefold()
    return lambda value: isinstance(value, str) and len(value) <= len(folded) and value.casefold() == folded


def _wildcard(operand: Json, place: _Place) -> Check:
    """Linear in the value: with stars only, the leftmost place of each piece is as good as any later one."""
    place.budget.spend_wildcard(place.where)
    pieces = _wildcard_pieces(_string(operand, place), place)
    if len(pieces) == 1:
        return lambda value: value == pieces[0]
    first, *middle, last = pieces

    def matches(value: object) -> bool:
        if not isinstance(value, str) or not (value.startswith(first) and value.endswith(last)):
            return False
        start, end = len(first), len(value) - len(last)
        for piece in middle:
            start = value.find(piece, start, end)
            if start < 0:
                return False
            start += len(piece)
        return start <= end

    return matches


def _wildcard_pieces(text: str, place: _Place) -> list[str]:
    """The literal pieces between the stars."""
    pieces = [""]
    previous = ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            if escaped not in ("*", "\\"):
                raise place.wrong(r"a backslash stands before neither * nor \; to mean itself it is written twice")
            pieces[-1] += escaped
        elif character != "*":
            pieces[-1] += character
        elif previous != "*":
            pieces.append("")
        else:
            raise place.wrong("two stars in a row; one matches any run of characters")
        previous = character
    return pieces


_COMPARISONS: Final[dict[Json, Callable[[Decimal, Decimal], bool]]] = {
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def _numeric(operand: Json, place: _Place) -> Check:
    """Exact, of any length. Lambda compares JSON numbers only, so that there it never matches under an `N`."""
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        raise place.wrong(f'needs a comparison such as ["=", 5] or [">", 0, "<=", 5], not {show(operand)}')
    tests = [_comparison(operand, index, place) for index in range(0, len(operand), 2)]
    if len(operand) == 4:
        if operand[0] not in (">", ">=") or operand[2] not in ("<", "<="):
            raise place.wrong('a range names its lower bound first: [">", 0, "<=", 5]')
        if tests[0][1] >= tests[1][1]:
            raise place.wrong(f"nothing lies between {tests[0][1]} and {tests[1][1]}; the lower bound comes first")
    read_number = place.read_number

    def matches(value: object) -> bool:
        number = read_number(value)
        return number is not None and all(compare(number, bound) for compare, bound in tests)

    return matches


def _comparison(operand: list[Json], index: int, place: _Place) -> tuple[Callable[[Decimal, Decimal], bool], Decimal]:
    sign, bound = operand[index], operand[index + 1]
    if not isinstance(sign, str) or sign not in _COMPARISONS:
        raise place.at(index).wrong(f"{show(sign)} is none of = > >= < <=")
    if not isinstance(bound, Decimal):
        raise place.at(index + 1).wrong(f"needs a number such as 5, not {show(bound)}")
    return _COMPARISONS[sign], bound


def _cidr(operand: Json, place: _Place) -> Check:
    text = _string(operand, place)
    if "/" not in text:
        raise place.wrong(f'{show(text)} has no length; write a range such as "10.0.0.0/24"')
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise place.wrong(f'{show(text)} is not a range of addresses such as "10.0.0.0/24"') from error

    def matches(value: object) -> bool:
        try:
            return isinstance(value, str) and len(value) <= _ADDRESS_MAX and ipaddress.ip_address(value) in network
        except ValueError:
            return False

    return matches


def _anything_but(operand: Json, place: _Place) -> Check:
    """True for every value that is there and is none of these; where there is no value, it does not match."""
    if isinstance(operand, dict):
        return _anything_but_operator(*_only(operand, place), place)
    values = [value for value, _ in _one_or_more(operand, place)]
    strings = {value for value in values if isinstance(value, str)}
    numbers = {value for value in values if isinstance(value, Decimal)}
    if (strings and numbers) or not all(isinstance(value, str | Decimal) for value in values):
        raise place.wrong(f"needs strings only or numbers only, not {show(operand)}")
    if strings:
        return lambda value: not (isinstance(value, str) and value in strings)
    read_number = place.read_number
    return lambda value: read_number(value) not in numbers


def _anything_but_operator(name: str, operand: Json, place: _Place) -> Check:
    here = place.under(name)
    if name not in _NEGATABLE:
        raise here.wrong(f"only {', '.join(_NEGATABLE)} can stand under anything-but")
    checks: list[Check] = []
    for text, each in _one_or_more(operand, here):
        if not text and name in ("prefix", "suffix"):
            raise each.wrong("no value is without an empty beginning and end; name a character")
        # Only strings: EventBridge has no anything-but of a prefix that ignores case.
        checks.append(_NEGATABLE[name](_string(text, each), each))
    return lambda value: not any(check(value) for check in checks)


def _one_or_more(operand: Json, place: _Place) -> list[tuple[Json, _Place]]:
    if not isinstance(operand, list):
        return [(operand, place)]
    if not operand:
        raise place.wrong("an empty list excludes nothing; name at least one value")
    return [(each, place.at(index)) for index, each in enumerate(operand)]


_NEGATABLE: Final[dict[str, Callable[[Json, _Place], Check]]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _equals_ignore_case,
    "wildcard": _wildcard,
}
_OPERATORS: Final[dict[str, Callable[[Json, _Place], Check]]] = {
    **_NEGATABLE,
    "anything-but": _anything_but,
    "numeric": _numeric,
    "exists": _exists,
    "cidr": _cidr,
}
