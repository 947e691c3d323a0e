"""Shard ids are long and differ in their last digits: how they are shortened, and what a short form means. Pure.

Whoever may write to the lease table chooses the names that stand in it; a terminal must not be told anything by them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from poller.errors import PollerError

_SHOWN_AT_LEAST = 8
_LISTED_MAX = 10
_CUT = "…"
_NO_ROW = "no row of that shard; `poller leases --all` lists those that there are"


def printable(text: str) -> str:
    """The text with all that a terminal would not just show (ends of lines, escapes) written out."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Each name's last characters, as few as tell them all apart; a name that would gain nothing stays whole."""
    known = set(names)
    length = _SHOWN_AT_LEAST
    while len({name[-length:] for name in known}) < len(known):
        length += 1
    return {name: name if len(name) <= length + 1 else _CUT + name[-length:] for name in known}


def match(given: str, names: Collection[str], none: str = _NO_ROW) -> str:
    """The name that is meant: the one written out, or the only one that begins or ends so.

    PollerError: none is, which is told as `none`, or several are; those are listed.
    """
    part = given.removeprefix(_CUT).removeprefix("...")
    if given in names:
        return given
    fitting = sorted(name for name in names if part and (name.startswith(part) or name.endswith(part)))
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise PollerError(f"{given}: {none}")
    more = f" and {len(fitting) - _LISTED_MAX} more" if len(fitting) > _LISTED_MAX else ""
    raise PollerError(
        f"{given}: fits {len(fitting)} shards: {', '.join(fitting[:_LISTED_MAX])}{more}; write more of it"
    )
