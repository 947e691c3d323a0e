"""The settings' filters, compiled: the one check of theirs that the settings cannot make themselves. Knows no AWS."""

from __future__ import annotations

from poller.decide.filter import DEFAULT_PATTERN, Filter, PatternError, compile_filter
from poller.settings import Settings


def compile_filters(settings: Settings) -> tuple[Filter, ...]:
    """Every route's filter. ConfigurationError names the setting and the path to the fault in the pattern."""
    filters = []
    for index, route in enumerate(settings.routes):
        try:
            filters.append(compile_filter([DEFAULT_PATTERN] if route.filter is None else route.filter, route.changed))
        except PatternError as error:
            raise settings.fault(f"route.{index}.filter", str(error)) from error
    return tuple(filters)
