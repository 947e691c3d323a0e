"""From an event pattern to its alternatives: trees of names without `$or`, one of which a record must match.

Here the names of a pattern are checked; the values at their ends are compiled by `poller.decide.operators`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from poller.decide.operators import Leaf, Path, compile_leaf, json_number, stored_number
from poller.decide.pattern import ALTERNATIVES_MAX, COMPARISONS_MAX, Budget, Json, PatternError, below, show

_IMAGES: Final = ("Keys", "NewImage", "OldImage")

Tree: TypeAlias = "dict[str, Tree | Leaf]"


def alternatives_of(pattern: dict[str, Json], path: Path, where: str, budget: Budget) -> list[Tree]:
    """The pattern without `$or`: trees of which one must match. They are multiplied out as event-ruler does it, so that
    a branch and what stands beside it are matched within one and the same element of a list."""
    if not pattern:
        raise PatternError(where, "an empty object wants nothing; name what must match below it, or leave it out")
    common: Tree = {}
    choices: list[tuple[str, list[Tree]]] = []
    for name, value in pattern.items():
        here = below(where, name)
        if name == "$or":
            choices.append((here, _branches(value, path, here, budget)))
        elif isinstance(value, dict):
            trees: list[Tree] = [{name: tree} for tree in alternatives_of(value, (*path, name), here, budget)]
            if len(trees) == 1:
                common |= trees[0]
            else:
                choices.append((here, trees))
        else:
            common[name] = _leaf(value, (*path, name), here, budget)
    product: list[Tree] = [common]
    size = size_of(product)
    for here, branches in choices:
        size = _times(size, size_of(branches))
        _check(size, here)
        product = [_merged(tree, branch, here) for tree in product for branch in branches]
    return product


def _branches(value: Json, path: Path, where: str, budget: Budget) -> list[Tree]:
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(branch, dict) for branch in value):
        raise PatternError(where, "needs a list of two or more objects, of which one must match")
    trees: list[Tree] = []
    size = Size(0, 0)
    for index, branch in enumerate(value):
        if isinstance(branch, dict):
            more = alternatives_of(branch, path, f"{where}[{index}]", budget)
            size = _plus(size, size_of(more))
            _check(size, where)
            trees += more
    return trees


class Size(NamedTuple):
    """What trees cost a record: so many walks down to their ends, and so many comparisons there."""

    alternatives: int
    comparisons: int


def size_of(trees: Sequence[Tree]) -> Size:
    """A list of values that several trees have in common is compared anew in each of them."""
    return Size(len(trees), sum(leaf.comparisons for tree in trees for leaf in leaves_of(tree)))


def _plus(one: Size, other: Size) -> Size:
    return Size(one.alternatives + other.alternatives, one.comparisons + other.comparisons)


def _times(one: Size, other: Size) -> Size:
    comparisons = one.comparisons * other.alternatives + one.alternatives * other.comparisons
    return Size(one.alternatives * other.alternatives, comparisons)


def _check(size: Size, where: str) -> None:
    """Before they are made: what is multiplied out is never larger than this."""
    if size.alternatives > ALTERNATIVES_MAX or size.comparisons > COMPARISONS_MAX:
        limits = f"{ALTERNATIVES_MAX:,} alternatives or {COMPARISONS_MAX:,} comparisons in them"
        raise PatternError(where, f"$or multiplies out to more than {limits}; use several routes")


def _merged(one: Tree, other: Tree, where: str) -> Tree:
    merged = dict(one)
    for name, tree in other.items():
        mine = merged.get(name)
        if mine is None:
            merged[name] = tree
        elif isinstance(mine, dict) and isinstance(tree, dict):
            merged[name] = _merged(mine, tree, where)
        else:
            path = dotted((mine if isinstance(mine, Leaf) else next(leaves_of(mine))).path)
            raise PatternError(where, f"{path} is named beside $or and in it; say it in one of the two")
    return merged


def _leaf(value: Json, path: Path, where: str, budget: Budget) -> Leaf:
    in_item = path[0] == "dynamodb" and len(path) > 1 and path[1] in _IMAGES
    if path[0] in ("FilterCriteria", "Filters", "Pattern"):
        raise PatternError(where, "is Lambda's wrapping; give what stands in Pattern itself")
    if not isinstance(value, list):
        raise PatternError(where, f"needs a list of values, [{show(value)}], or an object of names")
    if in_item and len(path) == 2:
        raise PatternError(where, 'is an object; name an attribute and its type in it: {"phase": {"S": ["A"]}}')
    if in_item and len(path) == 3:
        raise PatternError(where, f'needs the type of the attribute around its values: {{"S": {show(value)}}}')
    if path[0] in _IMAGES:
        raise PatternError(where, f'the record has it under "dynamodb": {{"dynamodb": {{{show(path[0])}: ...}}}}')
    read_number = stored_number if in_item and path[-1] in ("N", "NS") else json_number
    return compile_leaf(path, value, where, read_number, budget)


def leaves_of(tree: Tree) -> Iterator[Leaf]:
    for below_it in tree.values():
        if isinstance(below_it, Leaf):
            yield below_it
        else:
            yield from leaves_of(below_it)


def dotted(path: Path) -> str:
    where = ""
    for name in path:
        where = below(where, name)
    return where
