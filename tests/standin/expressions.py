"""The part of DynamoDB's expressions that a lease table needs, parsed once and evaluated on one item.

Conditions: comparisons, `attribute_exists`, `attribute_not_exists`, AND, OR, NOT, parentheses. Updates: SET (with +, -
and `if_not_exists`), REMOVE, ADD, DELETE. Paths are top-level names. Anything else is a ValidationException.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from tests.standin.wire import Params, invalid

Value = dict[str, Any]
Item = dict[str, Value]
Condition = Callable[[Item], bool]
Operand = Callable[[Item], Value | None]
Update = Callable[[Item], Item]
_Change = Callable[[Item, Item], None]  # the item as it was, and the one being made

_TOKEN: Final = re.compile(r"\s*(<>|<=|>=|[=<>(),+\-]|:\w+|#\w+|[A-Za-z_]\w*)")
_ORDERINGS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SETS: Final = ("SS", "NS", "BS")


class Expressions:
    """The expressions of one request; `check_all_used` refuses names and values that none of them needed."""

    def __init__(self, params: Params) -> None:
        self._names: dict[str, str] = params.get("ExpressionAttributeNames") or {}
        self._values: dict[str, Value] = params.get("ExpressionAttributeValues") or {}
        self._used: set[str] = set()

    def condition(self, text: str | None) -> Condition:
        """A missing condition holds always."""
        if text is None:
            return lambda item: True
        return _Parser(self, text, "ConditionExpression").whole_condition()

    def update(self, text: str | None) -> Update:
        changes = [] if text is None else _Parser(self, text, "UpdateExpression").whole_update()

        def apply(item: Item) -> Item:
            made = dict(item)
            for change in changes:
                change(item, made)
            return made

        return apply

    def name(self, token: str, kind: str) -> str:
        if not token.startswith("#"):
            return token
        self._used.add(token)
        if token not in self._names:
            raise invalid(
                f"Invalid {kind}: An expression attribute name used in the document path is not defined; "
                f"attribute name: {token}"
            )
        return self._names[token]

    def value(self, token: str, kind: str) -> Value:
        self._used.add(token)
        if token not in self._values:
            raise invalid(
                f"Invalid {kind}: An expression attribute value used in expression is not defined; "
                f"attribute value: {token}"
            )
        return self._values[token]

    def check_all_used(self) -> None:
        for what, given in (("Names", self._names), ("Values", self._values)):
            unused = sorted(set(given) - self._used)
            if unused:
                keys = ", ".join(unused)
                raise invalid(f"Value provided in ExpressionAttribute{what} unused in expressions: keys: {{{keys}}}")


class _Parser:
    """Recursive descent over one expression."""

    def __init__(self, names: Expressions, text: str, kind: str) -> None:
        self._names = names
        self._kind = kind
        self._tokens = self._tokenise(text)
        self._changed: set[str] = set()

    def _tokenise(self, text: str) -> list[str]:
        tokens: list[str] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._error(text[at:].strip())
            tokens.append(match.group(1))
            at = match.end()
        return tokens

    def _error(self, token: str) -> Exception:
        return invalid(f'Invalid {self._kind}: Syntax error; token: "{token}"')

    def _peek(self) -> str:
        return self._tokens[0] if self._tokens else "<EOF>"

    def _take(self, expected: str | None = None) -> str:
        token = self._peek()
        if not self._tokens or (expected is not None and token != expected):
            raise self._error(token)
        return self._tokens.pop(0)

    def _take_word(self, word: str) -> bool:
        """Takes the next token if it is this keyword, in any case."""
        if self._peek().upper() != word:
            return False
        self._tokens.pop(0)
        return True

    def _path(self) -> str:
        token = self._take()
        if not (token[0].isalpha() or token[0] in "#_"):
            raise self._error(token)
        return self._names.name(token, self._kind)

    # conditions, by rising precedence: OR, AND, NOT, a comparison

    def whole_condition(self) -> Condition:
        condition = self._or()
        if self._tokens:
            raise self._error(self._peek())
        return condition

    def _or(self) -> Condition:
        parts = [self._and()]
        while self._take_word("OR"):
            parts.append(self._and())
        return lambda item: any(part(item) for part in parts)

    def _and(self) -> Condition:
        parts = [self._not()]
        while self._take_word("AND"):
            parts.append(self._not())
        return lambda item: all(part(item) for part in parts)

    def _not(self) -> Condition:
        if self._take_word("NOT"):
            negated = self._not()
            return lambda item: not negated(item)
        if self._peek() == "(":
            self._take("(")
            inner = self._or()
            self._take(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Condition:
        if self._peek() in ("attribute_exists", "attribute_not_exists"):
            wanted = self._take() == "attribute_exists"
            self._take("(")
            name = self._path()
            self._take(")")
            return lambda item: (name in item) is wanted
        left = self._operand()
        sign = self._take()
        if sign not in ("=", "<>", *_ORDERINGS):
            raise self._error(sign)
        right = self._operand()
        return lambda item: compare(sign, left(item), right(item))

    def _operand(self) -> Operand:
        if self._peek().startswith(":"):
            value = self._names.value(self._take(), self._kind)
            return lambda item: value
        name = self._path()
        return lambda item: item.get(name)

    # updates

    def whole_update(self) -> list[_Change]:
        sections = {"SET": self._set, "REMOVE": self._remove, "ADD": self._add, "DELETE": self._delete}
        changes: list[_Change] = []
        while self._tokens:
            section = self._take().upper()
            if section not in sections:
                raise self._error(section)
            parse = sections.pop(section)
            changes.append(parse())
            while self._peek() == ",":
                self._take(",")
                changes.append(parse())
        return changes

    def _changed_path(self) -> str:
        name = self._path()
        if name in self._changed:
            raise invalid(
                f"Invalid {self._kind}: Two document paths overlap with each other; "
                f"path one: [{name}], path two: [{name}]"
            )
        self._changed.add(name)
        return name

    def _set(self) -> _Change:
        name = self._changed_path()
        self._take("=")
        left = self._set_operand()
        sign = self._take() if self._peek() in ("+", "-") else ""
        right = self._set_operand() if sign else None

        def change(item: Item, made: Item) -> None:
            value = _there(left(item))
            made[name] = value if right is None else _calculate(sign, value, _there(right(item)))

        return change

    def _set_operand(self) -> Operand:
        if self._peek() != "if_not_exists":
            return self._operand()
        self._take()
        self._take("(")
        name = self._path()
        self._take(",")
        otherwise = self._operand()
        self._take(")")
        return lambda item: item[name] if name in item else otherwise(item)

    def _remove(self) -> _Change:
        name = self._changed_path()

        def change(item: Item, made: Item) -> None:
            made.pop(name, None)

        return change

    def _add(self) -> _Change:
        name = self._changed_path()
        added = self._names.value(self._take(), self._kind)

        def change(item: Item, made: Item) -> None:
            (kind, more), *_ = added.items()
            if kind != "N" and kind not in _SETS:
                raise invalid(f"Invalid UpdateExpression: Incorrect operand type for ADD: {kind}")
            if name not in item:
                made[name] = added
            elif kind == "N":
                made[name] = _calculate("+", item[name], added)
            else:
                made[name] = {kind: sorted({*item[name].get(kind, ()), *more})}

        return change

    def _delete(self) -> _Change:
        name = self._changed_path()
        (kind, less), *_ = self._names.value(self._take(), self._kind).items()

        def change(item: Item, made: Item) -> None:
            left = sorted(set(item.get(name, {}).get(kind, ())) - set(less))
            if left:
                made[name] = {kind: left}
            else:
                made.pop(name, None)  # DynamoDB has no empty sets

        return change


def compare(sign: str, left: Value | None, right: Value | None) -> bool:
    """As DynamoDB compares: a missing attribute and one of another type are unequal to everything, and not ordered."""
    same_kind = left is not None and right is not None and left.keys() == right.keys()
    if sign in ("=", "<>"):
        return (same_kind and _plain(left) == _plain(right)) is (sign == "=")
    return same_kind and _ORDERINGS[sign](_plain(left), _plain(right))


def _plain(value: Value | None) -> Any:
    if value is None:
        return None
    (kind, content), *_ = value.items()
    if kind == "N":
        return Decimal(content)
    if kind == "NS":
        return {Decimal(one) for one in content}
    return set(content) if kind in _SETS else content


def _there(value: Value | None) -> Value:
    if value is None:
        raise invalid("The provided expression refers to an attribute that does not exist in the item")
    return value


def _calculate(sign: str, left: Value, right: Value) -> Value:
    if "N" not in left or "N" not in right:
        raise invalid("An operand in the update expression has an incorrect data type")
    a, b = Decimal(left["N"]), Decimal(right["N"])
    return {"N": f"{a + b if sign == '+' else a - b:f}"}
