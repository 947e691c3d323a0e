"""What a filter means, written down a second time: slow, plain, and on purpose in another way than `poller.decide`.

A record is laid out flat as (path, value, elements of lists it lies in), as the documentation of AWS's event-ruler puts
it, and every way to give each path of a pattern one value is tried.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

Path = tuple[str, ...]
Elements = dict[Path, int]  # of the list at this address, the element with this index
Field = tuple[Path, Any, Elements]


def wanted(patterns: Sequence[dict[str, Any]], changed: Sequence[str], record: dict[str, Any]) -> bool:
    """Whether a filter of these patterns and changed attributes wants the record."""
    fields = list(flat(record, (), (), {}))
    matches = not patterns or any(fits(pattern, fields) for pattern in patterns)
    return matches and (not changed or any(differs(name, record) for name in changed))


def flat(value: Any, path: Path, address: Path, elements: Elements) -> Iterator[Field]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from flat(each, (*path, name), (*address, name), elements)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            inside = {**elements, address: index} if isinstance(each, dict | list) else elements
            yield from flat(each, path, (*address, str(index)), inside)
    else:
        yield path, value, elements


def fits(pattern: dict[str, Any], fields: list[Field]) -> bool:
    return any(alternative_fits(alternative, fields) for alternative in alternatives(pattern, ()))


def alternatives(pattern: dict[str, Any], path: Path) -> list[dict[Path, list[Any]]]:
    """What must hold together, for every choice of branches."""
    choices: list[list[dict[Path, list[Any]]]] = []
    for name, value in pattern.items():
        if name == "$or":
            choices.append([each for branch in value for each in alternatives(branch, path)])
        elif isinstance(value, dict):
            choices.append(alternatives(value, (*path, name)))
        else:
            choices.append([{(*path, name): value}])
    return [{k: v for part in choice for k, v in part.items()} for choice in itertools.product(*choices)]


def alternative_fits(alternative: dict[Path, list[Any]], fields: list[Field]) -> bool:
    options: list[list[Field | None]] = []
    for path, values in alternative.items():
        good: list[Field | None] = [field for field in fields if field[0] == path and accepted(field, values)]
        may_be_absent = any(isinstance(value, dict) and value.get("exists") is False for value in values)
        options.append(good + [None] * may_be_absent)
    return any(chosen_together(choice, list(alternative), fields) for choice in itertools.product(*options))


def chosen_together(choice: Sequence[Field | None], paths: list[Path], fields: list[Field]) -> bool:
    """No two of them in different elements of one list, and nothing beside them at the paths that must be absent."""
    together: Elements = {}
    for field in choice:
        if field is not None:
            if not consistent(field[2], together):
                return False
            together |= field[2]
    absent = {path for path, field in zip(paths, choice, strict=True) if field is None}
    return not any(path in absent and consistent(elements, together) for path, _, elements in fields)


def consistent(one: Elements, other: Elements) -> bool:
    return all(other.get(address, index) == index for address, index in one.items())


def accepted(field: Field, values: list[Any]) -> bool:
    path, found, _ = field
    as_text = path[:1] == ("dynamodb",) and path[-1] in ("N", "NS")
    return any(passes(found, value, as_text) for value in values)


def passes(found: Any, value: Any, as_text: bool) -> bool:
    if isinstance(value, dict):
        ((operator, operand),) = value.items()
        return operate(operator, operand, found, as_text)
    if is_number(value):
        return number(found, as_text) == Fraction(str(value))
    return type(found) is type(value) and bool(found == value)


def operate(operator: str, operand: Any, found: Any, as_text: bool) -> bool:
    if operator == "exists":
        return bool(operand)
    if operator == "anything-but":
        if isinstance(operand, dict):
            ((operator, operand),) = operand.items()
            return not any(operate(operator, each, found, as_text) for each in listed(operand))
        return not any(passes(found, each, as_text) for each in listed(operand))
    if operator == "numeric":
        left = number(found, as_text)
        pairs = zip(operand[::2], operand[1::2], strict=True)
        return left is not None and all(compare(left, sign, Fraction(str(right))) for sign, right in pairs)
    return isinstance(found, str) and text_passes(operator, operand, found)


def text_passes(operator: str, operand: Any, found: str) -> bool:
    if operator == "wildcard":
        return wildcard(operand, found)
    if isinstance(operand, dict):
        found, operand = found.casefold(), operand["equals-ignore-case"].casefold()
    verdicts: dict[str, bool] = {
        "prefix": found[: len(operand)] == operand,
        "suffix": found[max(0, len(found) - len(operand)) :] == operand,
        "equals-ignore-case": found.casefold() == operand.casefold(),
    }
    return verdicts[operator]


def listed(operand: Any) -> list[Any]:
    return operand if isinstance(operand, list) else [operand]


def compare(left: Fraction, sign: str, right: Fraction) -> bool:
    return {"=": left == right, ">": left > right, ">=": left >= right, "<": left < right, "<=": left <= right}[sign]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(found: Any, as_text: bool) -> Fraction | None:
    if is_number(found):
        return Fraction(str(found))
    if as_text and isinstance(found, str) and set(found) <= set("0123456789+-.eE"):
        try:
            return Fraction(found)
        except ValueError:
            return None
    return None


def wildcard(pattern: str, text: str) -> bool:
    """Tries every length for every star."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(wildcard(pattern[1:], text[skipped:]) for skipped in range(len(text) + 1))
    literal, rest = (pattern[1], pattern[2:]) if pattern[0] == "\\" else (pattern[0], pattern[1:])
    return text[:1] == literal and wildcard(rest, text[1:])


def differs(name: str, record: dict[str, Any]) -> bool:
    images = record.get("dynamodb")
    if not isinstance(images, dict):
        return True
    sides: list[str] = []
    for side, without in (("OldImage", "INSERT"), ("NewImage", "REMOVE")):
        image = images[side] if side in images else {} if record.get("eventName") == without else None
        if not isinstance(image, dict):
            return True
        sides.append(canonical(image[name]) if name in image else "absent")
    return sides[0] != sides[1]


def canonical(value: Any) -> str:
    """The same text for values that DynamoDB takes for the same: a set has no order."""
    if isinstance(value, dict):
        parts = []
        for name, each in sorted(value.items()):
            in_set = name in ("SS", "NS", "BS") and isinstance(each, list) and all(isinstance(x, str) for x in each)
            parts.append(f"{json.dumps(name)}:{canonical(sorted(each) if in_set else each)}")
        return "{" + ",".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value)
