"""Traces, where the settings want them: nothing of OpenTelemetry is imported otherwise."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from poller.errors import ConfigurationError
from poller.run.ports import Clock
from poller.settings import Settings

if TYPE_CHECKING:
    from poller.observe.traces import Traces

_SETTING: Final = "trace.enabled"
_NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def missing(settings: Settings) -> ConfigurationError | None:
    """What to raise if the settings want traces, and what makes them is not installed."""
    if not settings.trace.enabled or all(map(_is_there, _NEEDED)):
        return None
    mend = "pip install 'dynamodb-stream-poller[otel]', in a checkout pip install '.[otel]'"
    problem = f"OpenTelemetry is not installed; {mend}"
    return settings.fault(_SETTING, problem)


def open_traces(settings: Settings, clock: Clock) -> Traces | None:
    """None without traces. ConfigurationError: they are wanted, and cannot be made."""
    if not settings.trace.enabled:
        return None
    if fault := missing(settings):
        raise fault
    from poller.observe.traces import Traces, exporting  # noqa: PLC0415 - only where they are wanted

    try:
        return Traces(exporting(), clock)
    except ValueError as error:
        raise settings.fault(_SETTING, f"one of the OTEL_* variables cannot be used: {error}; mend it") from error


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
