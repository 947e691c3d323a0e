"""Durations and sizes as settings have them: a number and its unit, so that nobody guesses which one was meant.

As annotations of a setting (`Annotated[float, Duration("1s", "1h")]`) they read text and give seconds or bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_MS_PER_UNIT: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_BYTES_PER_UNIT: Final = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)", re.ASCII)
_SIZE = re.compile(r"(\d{1,12})(B|KiB|MiB|GiB)", re.ASCII)
_BARE_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)


def parse_duration(value: object) -> float:
    """`"250ms"` -> 0.25 (seconds). ValueError: no unit, or not a duration."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return float(match[1]) * _MS_PER_UNIT[match[2]] / 1000
    if number := _bare_number(value):
        raise ValueError(f'a duration needs its unit; write "{number}s" or "{number}ms"')
    raise ValueError('not a duration; write a number and ms, s, m, h or d, such as "250ms" or "10s"')


def parse_size(value: object) -> int:
    """`"64KiB"` -> 65,536 (bytes). ValueError: no unit, or not a size."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _BYTES_PER_UNIT[match[2]]
    if number := _bare_number(value):
        bytes_meant = float(number) >= _BYTES_PER_UNIT["MiB"]
        mend = f'"{number}B"' if bytes_meant else f'"{number}MiB" or "{number}KiB"'
        raise ValueError(f"a size needs its unit; write {mend}")
    raise ValueError('not a size; write a whole number and B, KiB, MiB or GiB, such as "64MiB"')


def format_duration(seconds: float) -> str:
    """The shortest way to write it: 0.25 -> `"250ms"`, 120 -> `"2m"`; to the microsecond."""
    ms = round(seconds * 1000, 3)
    for unit, ms_per_unit in _MS_PER_UNIT.items():
        if ms and ms % ms_per_unit == 0:
            return f"{int(ms / ms_per_unit)}{unit}"
    return f"{ms:g}ms"


def format_size(size_bytes: int) -> str:
    """The shortest way to write it: 67,108,864 -> `"64MiB"`."""
    for unit, bytes_per_unit in _BYTES_PER_UNIT.items():
        if size_bytes and size_bytes % bytes_per_unit == 0:
            return f"{size_bytes // bytes_per_unit}{unit}"
    return f"{size_bytes}B"


def _bare_number(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    text = str(value)
    return text if _BARE_NUMBER.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class Duration:
    """Annotates seconds: read from a duration between the two, both included."""

    at_least: str
    at_most: str

    def read(self, value: object) -> float:
        seconds = parse_duration(value)
        if not parse_duration(self.at_least) <= seconds <= parse_duration(self.at_most):
            raise ValueError(f'must be from "{self.at_least}" to "{self.at_most}"')
        return seconds

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(format_duration)
        return core_schema.no_info_plain_validator_function(self.read, serialization=written)


@dataclass(frozen=True, slots=True)
class Size:
    """Annotates bytes: read from a size between the two, both included."""

    at_least: str
    at_most: str

    def read(self, value: object) -> int:
        size_bytes = parse_size(value)
        if not parse_size(self.at_least) <= size_bytes <= parse_size(self.at_most):
            raise ValueError(f'must be from "{self.at_least}" to "{self.at_most}"')
        return size_bytes

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(format_size)
        return core_schema.no_info_plain_validator_function(self.read, serialization=written)
