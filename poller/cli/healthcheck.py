"""`poller healthcheck`: asks the daemon beside it how it is, for containers without curl.

Imports little, and needs no other setting to be valid: it is run every few seconds, and must not fail for its own sake.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import click

from poller.cli.ask import config_option, get, timeout_option, url_option, where


@click.command(short_help="Ask the daemon on this machine whether it is ready; exit code 0 or 1.")
@url_option
@config_option
@timeout_option
@click.option("--live", is_flag=True, help="Only whether its event loop turns (/livez), not whether it is ready.")
def command(url: str | None, config: str | None, timeout_s: float, live: bool) -> int:
    """Asks the daemon's /readyz, and prints what it says against itself.

    Host and port are those of POLLER_HTTP_HOST and POLLER_HTTP_PORT, or of the file
    that --config or POLLER_CONFIG names.

    \b
      poller healthcheck
      poller healthcheck --live --timeout 5s
      poller healthcheck --url http://127.0.0.1:9464
    """
    base = where(url, config, os.environ)
    status, body = get(base, "/livez" if live else "/readyz", timeout_s)
    if status == 200:
        click.echo("alive" if live else "ready")
        return 0
    click.echo(f"{'not alive' if live else 'not ready'}: {base} answers {status}")
    for line in _reasons(body):
        click.echo(f"  {line}")
    return 1


def _reasons(body: bytes) -> list[str]:
    """What /readyz says, a line each; what is no such answer says nothing."""
    try:
        reasons = json.loads(body)["reasons"]
        return [f"{_part(one)} (since {one['since']}, {one['seconds']:.0f} s): {one['text']}" for one in reasons]
    except (ValueError, KeyError, TypeError):
        return []


def _part(reason: Mapping[str, Any]) -> str:
    """A daemon of several processes, or with several streams, says of which one it is."""
    return ": ".join([*(f"{name} {reason[name]}" for name in ("process", "stream") if name in reason), reason["part"]])
