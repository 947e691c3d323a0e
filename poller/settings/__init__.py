"""The settings: one TOML file and environment variables, environment first; validated, frozen, read once.

`load` makes them, and `load_all` those of several applications in one process. Nothing here reads the environment, a
file or a clock by itself when it is imported.
"""

from __future__ import annotations

from poller.settings.loading import InvalidSettings, load
from poller.settings.model import Settings
from poller.settings.origins import Origin
from poller.settings.report import Row, describe
from poller.settings.sections import RouteSettings
from poller.settings.several import load_all

__all__ = ["InvalidSettings", "Origin", "RouteSettings", "Row", "Settings", "describe", "load", "load_all"]
