"""Asks a running daemon for one of its pages, wherever it listens, with next to nothing imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from poller.cli.parameters import Duration
from poller.errors import ConfigurationError, PollerError

_HOST: Final = "127.0.0.1"
_PORT: Final = 9464
_TIMEOUT_S: Final = 2.0
# Who listens everywhere is reached on loopback.
_EVERYWHERE: Final = {"0.0.0.0": _HOST, "::": "::1"}  # noqa: S104 - an address to ask at, none to listen on
# As the settings understand them.
_FALSE: Final = {"false", "0", "off", "no", "f", "n"}
# The metrics of a thousand shards are less than that.
_ANSWER_BYTES_MAX: Final = 16 << 20


url_option: Final = click.option(
    "--url", metavar="URL", help="Where the daemon serves; by default at POLLER_HTTP_HOST and _PORT."
)
# Without the variable, whose file need not be there: a daemon that has none is asked at the usual place.
config_option: Final = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Its settings, for where it serves ([http]); by default POLLER_CONFIG.",
)
timeout_option: Final = click.option(
    "--timeout",
    "timeout_s",
    type=Duration("10ms", "5m"),
    default=_TIMEOUT_S,
    show_default="2s",
    metavar="2s",
    help="How long to wait for its answer.",
)


def where(url: str | None, config: str | None, environ: Mapping[str, str]) -> str:
    """Where to ask, by the options and then the environment. ConfigurationError as `base_url`."""
    if url is not None:
        return url
    return base_url(environ if config is None else {**environ, "POLLER_CONFIG": config})


def base_url(environ: Mapping[str, str]) -> str:
    """Where the daemon listens, by the same environment and file. What is not given has its default.

    ConfigurationError: nowhere.
    """
    file = _file(environ.get("POLLER_CONFIG"))
    if off := _switched_off(environ, file):
        raise ConfigurationError(f"{off}: the daemon serves no HTTP, and cannot be asked; set it to true")
    host = str(environ.get("POLLER_HTTP_HOST") or file.get("host", _HOST))
    port = str(environ.get("POLLER_HTTP_PORT") or file.get("port", _PORT))
    if not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65535:
        raise ConfigurationError(
            f'POLLER_HTTP_PORT="{port}": no port to ask at; set one from 1 to 65535, or give the address as --url'
        )
    host = _EVERYWHERE.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _switched_off(environ: Mapping[str, str], file: Mapping[str, Any]) -> str | None:
    """Who says that there is no HTTP, None: nobody does."""
    written = environ.get("POLLER_HTTP__ENABLED")
    if written is not None:
        return f'POLLER_HTTP__ENABLED="{written}"' if written.lower() in _FALSE else None
    return f"http.enabled = false ({environ['POLLER_CONFIG']})" if file.get("enabled") is False else None


def _file(path: str | None) -> Mapping[str, Any]:
    """The file's [http]; nothing if it cannot be read: that is for the daemon to say."""
    if not path:
        return {}
    import tomllib  # noqa: PLC0415 - most containers have no file

    try:
        with open(path, encoding="utf-8-sig") as file:
            section = tomllib.loads(file.read()).get("http", {})
    except (OSError, ValueError):
        return {}
    return section if isinstance(section, dict) else {}


def get(base: str, page: str, timeout_s: float, mend: str = "does it run?") -> tuple[int, bytes]:
    """The answer's status and body. PollerError: there is none."""
    from http.client import HTTPConnection, HTTPException  # noqa: PLC0415 - `--help` asks nobody

    host, port, path = _address(base)
    where = base.rstrip("/") + page.partition("?")[0]
    connection = HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path + page)
        answer = connection.getresponse()
        return answer.status, answer.read(_ANSWER_BYTES_MAX)
    except TimeoutError:
        raise PollerError(f"no answer from {where} within {timeout_s:g} s: the daemon hangs") from None
    except (OSError, HTTPException) as error:
        why = str(error) or type(error).__name__
        raise PollerError(f"no answer from {where}: {why}; {mend}") from error
    finally:
        connection.close()


def _address(base: str) -> tuple[str, int, str]:
    """Host, port and path of an http URL."""
    from urllib.parse import urlsplit  # noqa: PLC0415

    try:
        address = urlsplit(base)
        if address.hostname is not None and address.scheme == "http":
            return address.hostname, address.port or 80, address.path.rstrip("/")
    except ValueError:
        pass  # a port that is none, or brackets that do not match
    raise ConfigurationError(f'--url "{base}": not an address such as http://{_HOST}:{_PORT}')
