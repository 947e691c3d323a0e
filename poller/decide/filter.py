"""Which records a route wants: EventBridge's event patterns, as Lambda's FilterCriteria has them, compiled once.

A pattern is a tree of names with lists of values at its ends. All its names must match, at each name one of its values;
of several patterns one must match. A record is judged as Lambda would see it, with AWS's engine (event-ruler 2.0.1) as
the measure. On purpose otherwise, in favour of those who would wonder why nothing comes:

- numbers under a DynamoDB `N` or `NS` are compared as numbers, where Lambda sees only strings;
- what could never match is refused, not accepted: an attribute without its DynamoDB type, one path named twice (what is
  odd further below is doubted by `poller.decide.doubts`);
- names are taken as they are: a dot in one is a dot, not a step (event-ruler takes the two for the same);
- letters beyond ASCII are compared without case as Unicode folds them, addresses as text (`cidr` is for ranges);
- in a list of objects `"exists": false` speaks of the object that matches the rest, whatever name sorts first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from poller.decide.alternatives import Tree, alternatives_of, dotted, leaves_of, size_of
from poller.decide.operators import Leaf, Path
from poller.decide.pattern import Budget, PatternError, read_pattern, show

__all__ = ["DEFAULT_PATTERN", "Filter", "Finding", "PatternError", "compile_filter"]

DEFAULT_PATTERN: Final[dict[str, Any]] = {
    "eventName": ["MODIFY"],
    "dynamodb": {"NewImage": {"phase": {"S": ["FILE_UPLOAD_COMPLETE"]}}},
}

# Lambda has 5 to 10 filters a mapping; each costs a walk down the record.
PATTERNS_MAX: Final = 100
# More than any item has a use for; each costs a comparison of two values.
CHANGED_MAX: Final = 100
# What is shown of a value that was found: a line on a terminal.
FOUND_CHARACTERS_MAX: Final = 200

_SETS: Final = ("SS", "NS", "BS")
_ABSENT: Final = object()
# Where a way leads on from a name that is not there: an object has no value of its own either.
_NOTHING: Final[dict[str, Any]] = {}

# What a tree says to a value. PRESENT: it matches by a value that is there; MISSING: only since nothing is there that
# speaks against it (`"exists": false`). In a list one element is enough for the first, the second takes all of them.
Verdict: TypeAlias = int
_NO: Final = 0
_MISSING: Final = 1
_PRESENT: Final = 2
Judge: TypeAlias = Callable[[object], Verdict]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one path of a filter wanted and what a record has there, as text; `found` is `absent` for nothing.

    `pattern` is the index of the pattern that the path stands in, None for an attribute of `changed`.
    """

    path: str
    wanted: str
    found: str
    ok: bool
    pattern: int | None


class Filter:
    """A compiled filter; made by `compile_filter`.

    `matches(record)`: whether the route wants this record, a decoded JSON object or what of it is on `paths`; it never
    raises. `paths` are the ends of all that it reads of a record, `changed` the attributes of which one must differ,
    `text` the filter for people. `wants_all`: no record can be other than wanted. `needles`: the JSON of every record
    that it wants holds one of these as it stands, unless it holds a `\\u00`; None: that cannot be said.
    """

    def __init__(self, patterns: Sequence[Sequence[Tree]], texts: Sequence[str], changed: tuple[str, ...]) -> None:
        self._patterns = patterns
        self._predicates = [_predicate(tree) for trees in patterns for tree in trees]
        # An empty pattern wants everything, whatever stands beside it.
        self._wants_all = not patterns or any(not tree for trees in patterns for tree in trees)
        self.changed = changed
        alone = self._predicates[0] if len(self._predicates) == 1 and not (self._wants_all or changed) else None
        self.matches: Callable[[Mapping[str, Any]], bool] = alone or self._matches
        self.paths = self._paths()
        self.wants_all = self._wants_all and not changed
        self.needles = self._needles()
        self.reads_new_image = any(path[:2] == ("dynamodb", "NewImage") for path in self.paths)
        self.reads_old_image = any(path[:2] == ("dynamodb", "OldImage") for path in self.paths)
        self.text = "every record" if self._wants_all else " or ".join(texts)
        if changed:
            self.text += f", if {' or '.join(changed)} changed"

    def __repr__(self) -> str:
        return f"<Filter {self.text}>"

    def _matches(self, record: Mapping[str, Any]) -> bool:
        if not self._wants_all:
            for predicate in self._predicates:
                if predicate(record):
                    break
            else:
                return False
        return not self.changed or _changed(record, self.changed)

    def needs(self, *name: str) -> bool:
        """Whether no record can match that has nothing at or below a name: `needs("dynamodb", "NewImage")`."""
        return not self._wants_all and all(
            any(leaf.path[: len(name)] == name and not leaf.absent_matches for leaf in leaves_of(tree))
            for trees in self._patterns
            for tree in trees
        )

    @property
    def exact_paths(self) -> tuple[Path, ...]:
        """The paths at which one of given strings is wanted, such as that of a phase; sorted."""
        leaves = (leaf for trees in self._patterns for tree in trees for leaf in leaves_of(tree))
        return tuple(sorted({leaf.path for leaf in leaves if leaf.strings}))

    def explain(self, record: Mapping[str, Any]) -> tuple[Finding, ...]:
        """Path by path what was wanted and what is there: all paths of one pattern `ok`, and the record is wanted.

        Not quite so with `$or`, where one branch is enough, and in a list of objects, one of which must have it all.
        The findings show content of the item: for the user's own eyes, never for a log.
        """
        findings: list[Finding] = []
        for index, trees in enumerate(self._patterns):
            leaves = {(leaf.path, leaf.text): leaf for tree in trees for leaf in leaves_of(tree)}
            for leaf in leaves.values():
                values = list(_values_at(record, leaf.path))
                ok = any(map(leaf.accepts, values)) if values else leaf.absent_matches
                found = ", ".join(map(_shown, values)) or "absent"
                findings.append(Finding(dotted(leaf.path), leaf.text, found[:FOUND_CHARACTERS_MAX], ok, index))
        for name in self.changed:
            path, found = dotted(("dynamodb", "NewImage", name)), _difference(record, name)
            findings.append(Finding(path, "changed", found[:FOUND_CHARACTERS_MAX], _changed(record, (name,)), None))
        return tuple(findings)

    def _paths(self) -> frozenset[Path]:
        paths = {leaf.path for trees in self._patterns for tree in trees for leaf in leaves_of(tree)}
        for name in self.changed:
            paths |= {("eventName",), ("dynamodb", "NewImage", name), ("dynamodb", "OldImage", name)}
        return frozenset(paths)

    def _needles(self) -> frozenset[bytes] | None:
        """Of each alternative the values of the one path that tells most: whose shortest needle is longest."""
        if self._wants_all:
            return None
        needles: set[str] = set()
        for tree in (tree for trees in self._patterns for tree in trees):
            known = [leaf.needles for leaf in leaves_of(tree) if leaf.needles is not None]
            if not known:
                return None
            needles |= max(known, key=lambda some: min(map(len, some)))
        return frozenset(needle.encode() for needle in needles)


def compile_filter(patterns: Sequence[object | str], changed: Sequence[str] = ()) -> Filter:
    """Compiles event patterns, of which one must match, and the names of attributes, of which one must have changed.

    A pattern is JSON text or the decoded object. No pattern, or an empty one (`{}`), wants every record. Raises
    PatternError with the path to the fault; with more than one pattern the path begins with the pattern's index.

    `changed` compares the old with the new image: the old one of an INSERT and the new one of a REMOVE are empty. Where
    an image is not in the record, since the stream's view type has none, it cannot tell, and the record is wanted: a
    message too many is a lesser evil than one that is missing.
    """
    if isinstance(patterns, str | Mapping):
        raise PatternError("", "a filter is a list of patterns; put this one into a list")
    if len(patterns) > PATTERNS_MAX:
        raise PatternError("", f"{len(patterns)} patterns are more than {PATTERNS_MAX}; use several routes")
    budget = Budget()
    alternatives: list[list[Tree]] = []
    texts: list[str] = []
    for index, raw in enumerate(patterns):
        where = f"[{index}]" if len(patterns) > 1 else ""
        pattern = read_pattern(raw, where, budget)
        trees = alternatives_of(pattern, (), where, budget) if pattern else [{}]
        budget.spend_alternatives(where, *size_of(trees))
        alternatives.append(trees)
        texts.append(show(pattern))
    return Filter(alternatives, texts, _changed_names(changed))


def _changed_names(changed: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(changed, str) or not all(changed) or len(changed) > CHANGED_MAX:
        raise PatternError("changed", f'needs a list of at most {CHANGED_MAX} names of attributes, such as ["phase"]')
    return tuple(dict.fromkeys(changed))


# --- judging a record -------------------------------------------------------------------------------------------------


def _predicate(tree: Tree) -> Callable[[object], bool]:
    """Whether a record matches a tree: straight down its ways to single values, as nearly every record allows.

    Whatever else than an object is on a way is left to the tree: all ways must go through the same object of a list.
    """
    judge = _judge_tree(tree)
    ways = tuple((leaf.path, leaf.strings, not leaf.checks, _judge_leaf(leaf)) for leaf in leaves_of(tree))

    def patiently(record: object) -> bool:
        for path, strings, only_strings, judge_leaf in ways:
            value: Any = record
            try:  # nearly always so: spelled out, since this runs for every record
                for name in path:
                    value = value.get(name, _NOTHING)
            except AttributeError:  # something on the way is no object
                return judge(record) != _NO
            if isinstance(value, str):
                if value in strings:
                    continue
                if only_strings:
                    return False
            if judge_leaf(value) == _NO:
                return False
        return True

    getters = [_getter(path) for path, *_ in ways]
    if not all(only_strings for _, _, only_strings, _ in ways) or None in getters:
        return patiently
    straight = tuple((get, strings) for get, (_, strings, _, _) in zip(getters, ways, strict=True) if get)

    def matches(record: object) -> bool:
        """A quarter of the time, for a record that has a text at the end of each way."""
        try:
            for get, strings in straight:
                value = get(record)
                if value not in strings:
                    return not isinstance(value, str) and patiently(record)
        except (KeyError, TypeError):
            return patiently(record)
        return True

    return matches


def _getter(path: tuple[str, ...]) -> Callable[[Any], Any] | None:
    """What stands at the end of a path through objects; None for a path that is too long to spell out."""
    match path:
        case (a,):
            return lambda record: record[a]
        case (a, b):
            return lambda record: record[a][b]
        case (a, b, c):
            return lambda record: record[a][b][c]
        case (a, b, c, d):
            return lambda record: record[a][b][c][d]
        case (a, b, c, d, e):
            return lambda record: record[a][b][c][d][e]
        case _:
            return None


def _judge_leaf(leaf: Leaf) -> Judge:
    accepts = leaf.accepts
    without = _MISSING if leaf.absent_matches else _NO

    def judge(value: object) -> Verdict:
        if isinstance(value, list):
            found = [each for each in _elements(value) if not isinstance(each, dict)]
            if found:
                return _PRESENT if any(map(accepts, found)) else _NO
            return without
        # An object has no value of its own: only its ends have.
        if value is _ABSENT or isinstance(value, dict):
            return without
        return _PRESENT if accepts(value) else _NO

    return judge


def _judge_tree(tree: Tree) -> Judge:
    judges = [(name, _judge_leaf(part) if isinstance(part, Leaf) else _judge_tree(part)) for name, part in tree.items()]
    without = _MISSING if all(leaf.absent_matches for leaf in leaves_of(tree)) else _NO

    def judge(value: object) -> Verdict:
        if isinstance(value, dict):
            verdict = _MISSING
            for name, judge_part in judges:
                part = judge_part(value.get(name, _ABSENT))
                if part == _NO:
                    return _NO
                if part == _PRESENT:
                    verdict = _PRESENT
            return verdict
        if isinstance(value, list):
            verdicts = {judge(each) for each in _elements(value)}
            if _PRESENT in verdicts:
                return _PRESENT
            return _NO if _NO in verdicts else without
        return without

    return judge


def _elements(values: list[Any]) -> Iterator[object]:
    """The elements of a list and of the lists in it, however deep: EventBridge sees no difference between them."""
    waiting = [iter(values)]
    while waiting:
        for value in waiting[-1]:
            if isinstance(value, list):
                waiting.append(iter(value))
                break
            yield value
        else:
            waiting.pop()


def _values_at(value: object, path: Path) -> Iterator[object]:
    """The values that a path leads to, through lists."""
    if isinstance(value, list):
        for each in _elements(value):
            yield from _values_at(each, path)
    elif path:
        if isinstance(value, dict) and path[0] in value:
            yield from _values_at(value[path[0]], path[1:])
    elif not isinstance(value, dict):
        yield value


# --- what has changed -------------------------------------------------------------------------------------------------


def _images(record: Mapping[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The old and the new image; None for one that is not in the record although there is one."""
    event_name = record.get("eventName")
    images = record.get("dynamodb")
    if not isinstance(images, dict):
        return None, None
    old = images.get("OldImage", {} if event_name == "INSERT" else None)
    new = images.get("NewImage", {} if event_name == "REMOVE" else None)
    return old if isinstance(old, dict) else None, new if isinstance(new, dict) else None


def _changed(record: Mapping[str, Any], names: Sequence[str]) -> bool:
    old, new = _images(record)
    if old is None or new is None:
        return True
    return any(not _same(old.get(name, _ABSENT), new.get(name, _ABSENT)) for name in names)


def _difference(record: Mapping[str, Any], name: str) -> str:
    """Both values, for people."""
    shown = ["not in the record" if image is None else _shown(image.get(name, _ABSENT)) for image in _images(record)]
    return " -> ".join(shown)


def _same(one: object, other: object) -> bool:
    """Equal as JSON (where true is not 1), and as DynamoDB means it: the elements of a set have no order."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return False
        return all(
            _same_set(each, other[name]) if name in _SETS else _same(each, other[name]) for name, each in one.items()
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one is other or (type(one) is type(other) and one == other)


def _same_set(one: object, other: object) -> bool:
    # An attribute that is itself called SS holds an object, not a list of strings: compared like any other.
    if isinstance(one, list) and isinstance(other, list) and all(isinstance(each, str) for each in (*one, *other)):
        return sorted(one) == sorted(other)
    return _same(one, other)


def _shown(value: object) -> str:
    return "absent" if value is _ABSENT else json.dumps(value, ensure_ascii=False)
