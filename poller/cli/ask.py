"""Asks a running daemon for one of its pages, with next to nothing imported."""

from __future__ import annotations

from typing import Final

from poller.errors import ConfigurationError, PollerError

# The metrics of a thousand shards are less than that.
_ANSWER_BYTES_MAX: Final = 16 << 20


def get(base: str, page: str, timeout_s: float) -> tuple[int, bytes]:
    """The answer's status and body. PollerError: there is none."""
    from http.client import HTTPConnection, HTTPException  # noqa: PLC0415 - `--help` asks nobody

    host, port, path = _address(base)
    where = base.rstrip("/") + page
    connection = HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path + page)
        answer = connection.getresponse()
        return answer.status, answer.read(_ANSWER_BYTES_MAX)
    except TimeoutError:
        raise PollerError(f"no answer from {where} within {timeout_s:g} s: the daemon hangs") from None
    except (OSError, HTTPException) as error:
        why = str(error) or type(error).__name__
        raise PollerError(f"no answer from {where}: {why}; does it run?") from error
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
    raise ConfigurationError(f'--url "{base}": not an address such as http://127.0.0.1:9464')
