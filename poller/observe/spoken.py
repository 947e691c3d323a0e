"""Lengths of time and counts as a person says them: `4 min 10 s`, `23 h 31 min`, `1,204 records`. Pure."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


def spoken(seconds: float) -> str:
    """No more digits than anybody reads: `0.4 s`, `12 s`, `4 min 10 s`, `23 h 31 min`, `2 d 3 h`."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    for unit_s, unit, part_s, part in _UNITS:
        if whole >= unit_s:
            rest = whole % unit_s // part_s
            return f"{whole // unit_s} {unit} {rest} {part}" if rest else f"{whole // unit_s} {unit}"
    return f"{whole} s"


def counted(count: int, word: str, words: str = "") -> str:
    """`words`: of several, where an s does not do."""
    return f"{count:,} {word if count == 1 else words or f'{word}s'}"
