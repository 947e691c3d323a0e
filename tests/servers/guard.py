"""A guard against the network: while it is up, this process connects to the loopback interface only.

It covers Python's sockets and name look-ups (and so boto3, urllib, asyncio), and uvloop, which opens its own.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

import uvloop


class ForeignConnectionError(AssertionError):
    """A test reached for the network."""


def check(address: Any) -> None:
    """Raises for an address that is not of this machine. Unix sockets have a path for an address: they always pass."""
    if not isinstance(address, tuple):
        return
    host = str(address[0])
    if host != "localhost" and not _is_loopback(host):
        raise ForeignConnectionError(f"a test must not connect to {host}: only the loopback interface is allowed")


def check_name(host: Any) -> None:
    """Raises what a failed look-up raises, for a name that only the network could know."""
    text = host.decode() if isinstance(host, bytes) else host
    if text and text != "localhost" and not _is_address(text):
        raise socket.gaierror(socket.EAI_NONAME, f"a test must not look up {text}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    """False for a name: to look it up would be to ask the network."""
    return _is_address(host) and ipaddress.ip_address(host.partition("%")[0]).is_loopback


def _uvloop_address(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """From `create_connection(loop, protocol_factory, host=None, port=None, *, sock=None, ...)`."""
    host = args[2] if len(args) > 2 else kwargs.get("host")
    return None if host is None else (host, 0)


class LoopbackOnly:
    """`with LoopbackOnly():` — every other connection raises ForeignConnectionError."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        for name in ("connect", "connect_ex"):
            self._wrap(socket.socket, name, lambda args, kwargs: check(args[1]))
        self._wrap(socket, "getaddrinfo", lambda args, kwargs: check_name(args[0] if args else kwargs["host"]))
        self._wrap(uvloop.Loop, "create_connection", lambda args, kwargs: check(_uvloop_address(args, kwargs)))

    def __exit__(self, *_: object) -> None:
        while self._undo:
            self._undo.pop()()

    def _wrap(self, owner: Any, name: str, check_call: Callable[[tuple[Any, ...], dict[str, Any]], None]) -> None:
        original = getattr(owner, name)
        own = name in vars(owner)

        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                check_call(args, kwargs)
            except ForeignConnectionError:
                if isinstance(args[0], socket.socket):
                    args[0].close()  # its owner would close it after an OSError, and does not expect any other
                raise
            return original(*args, **kwargs)

        setattr(owner, name, guarded)
        self._undo.append(lambda: setattr(owner, name, original) if own else delattr(owner, name))
