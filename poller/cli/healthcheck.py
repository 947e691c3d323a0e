"""`poller healthcheck`: asks the daemon beside it how it is, for containers without curl.

Imports little, and needs no other setting to be valid: it is run every few seconds, and must not fail for its own sake.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

import click

from poller.cli.ask import get
from poller.cli.parameters import Duration
from poller.errors import ConfigurationError

_HOST: Final = "127.0.0.1"
_PORT: Final = 9464
_TIMEOUT_S: Final = 2.0
# Who listens everywhere is reached on loopback.
_EVERYWHERE: Final = {"0.0.0.0": _HOST, "::": "::1"}  # noqa: S104 - an address to ask at, none to listen on


@click.command(short_help="Ask the daemon on this machine whether it is ready; exit code 0 or 1.")
@click.option("--url", metavar="URL", help="Where the daemon serves; by default at POLLER_HTTP_HOST and _PORT.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Duration("10ms", "5m"),
    default=_TIMEOUT_S,
    show_default="2s",
    metavar="2s",
    help="How long to wait for its answer.",
)
@click.option("--live", is_flag=True, help="Only whether its event loop turns (/livez), not whether it is ready.")
def command(url: str | None, timeout_s: float, live: bool) -> int:
    """Asks the daemon's /readyz, and prints what it says against itself.

    Host and port are those of POLLER_HTTP_HOST and POLLER_HTTP_PORT, or of the file in POLLER_CONFIG.

    \b
      poller healthcheck
      poller healthcheck --live --timeout 5s
      poller healthcheck --url http://127.0.0.1:9464
    """
    base = _base(os.environ) if url is None else url
    status, body = get(base, "/livez" if live else "/readyz", timeout_s)
    if status == 200:
        click.echo("alive" if live else "ready")
        return 0
    click.echo(f"{'not alive' if live else 'not ready'}: {base} answers {status}")
    for line in _reasons(body):
        click.echo(f"  {line}")
    return 1


def _base(environ: Mapping[str, str]) -> str:
    """Where the daemon listens, by the same environment and file. What is not given has its default."""
    file = _file(environ.get("POLLER_CONFIG"))
    host = str(environ.get("POLLER_HTTP_HOST") or file.get("host", _HOST))
    port = str(environ.get("POLLER_HTTP_PORT") or file.get("port", _PORT))
    if not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65535:
        raise ConfigurationError(
            f'POLLER_HTTP_PORT="{port}": no port to ask at; set one from 1 to 65535, or give the address as --url'
        )
    host = _EVERYWHERE.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _file(path: str | None) -> Mapping[str, Any]:
    """The file's [http]; nothing if it cannot be read: that is for the daemon to say."""
    if not path:
        return {}
    import tomllib  # noqa: PLC0415 - most containers have no file

    try:
        with open(path, "rb") as file:
            section = tomllib.load(file).get("http", {})
    except (OSError, ValueError):
        return {}
    return section if isinstance(section, dict) else {}


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
