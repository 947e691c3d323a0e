"""boto3's credentials for a signer that must never wait: the last ones that it gave out, renewed in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import MetadataRetrievalError, NoCredentialsError

from poller.aws.direct.signer import Keys
from poller.aws.direct.threads import ignore, in_thread

# How often it is asked whether they are to be renewed, and how often that is tried. botocore wants them renewed from
# 15 minutes before their end on (`botocore.credentials.RefreshableCredentials`).
_LOOK_EVERY_S: Final = 1.0


class Credentials:
    """`source` is a botocore credentials object; `monotonic` a clock in seconds."""

    def __init__(self, source: Any, monotonic: Callable[[], float]) -> None:
        self._source = source
        self._monotonic = monotonic
        self._keys: Keys | None = None
        self._look_at = 0.0
        self._refused = False
        self._renewing: asyncio.Task[Keys] | None = None

    @property
    def wanting(self) -> bool:
        """Is `ready` to be called before the next request?"""
        return self._keys is None or self._refused or self._monotonic() >= self._look_at

    async def ready(self, within_s: float | None = None) -> None:
        """`keys` may be asked for. Waits only for the first ones, and when the last ones were refused.

        Raises what botocore raises when there are none to be had; MetadataRetrievalError if none came within so long,
        which takes minutes where botocore tries again and again by itself.
        """
        if self._keys is None or self._refused:
            limit = asyncio.timeout(within_s)
            try:
                async with limit:
                    await asyncio.shield(self._renew())
            except TimeoutError as error:
                if not limit.expired():
                    raise
                raise MetadataRetrievalError(error_msg=f"none came within {within_s:g} s") from error
            self._refused = False
        self._look_at = self._monotonic() + _LOOK_EVERY_S
        if self._due():
            self._renew()

    @property
    def keys(self) -> Keys:
        """The same object as long as they are the same."""
        if self._keys is None:
            raise NoCredentialsError
        return self._keys

    def refused(self) -> None:
        """A service says that they have expired: no request is made with them any more."""
        self._refused = True

    def fetch(self) -> Keys:
        """boto3's present credentials. May block: for a thread."""
        if self._source is None:
            raise NoCredentialsError
        frozen = self._source.get_frozen_credentials()
        keys = Keys(frozen.access_key, frozen.secret_key, frozen.token)
        if keys != self._keys:
            self._keys = keys
        return keys

    def _due(self) -> bool:
        refresh_needed = getattr(self._source, "refresh_needed", None)  # fixed ones have no such question
        return bool(refresh_needed and refresh_needed())

    def _renew(self) -> asyncio.Task[Keys]:
        """One attempt at a time, in a thread; whoever comes meanwhile waits for the same one."""
        loop = asyncio.get_running_loop()
        if self._renewing is None or self._renewing.done() or self._renewing.get_loop() is not loop:
            self._renewing = loop.create_task(in_thread(self.fetch))
            self._renewing.add_done_callback(ignore)
        return self._renewing
