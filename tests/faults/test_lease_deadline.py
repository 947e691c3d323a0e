"""The last moments of a lease that cannot be renewed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from poller.aws.sqs import BotoQueue
from poller.events import LeaseLost, LeaseTaken
from poller.model import EntryOutcome, Message
from tests.faults.harness import LEASES, PATIENCE_S, Site
from tests.standin import Fault, Kind

# A third of the lease is too late to begin a request in.
SLOW_TO_CONNECT = {
    "POLLER_LEASE__DURATION": "2500ms",
    "POLLER_AWS__REQUEST_TIMEOUT": "800ms",
    "POLLER_AWS__CONNECT_TIMEOUT": "800ms",
}


async def test_a_lease_that_can_no_longer_be_used_does_not_make_its_worker_spin(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    sends = 0
    send = BotoQueue.send

    async def counted(self: BotoQueue, batch: Sequence[Message], not_after: float) -> Sequence[EntryOutcome]:
        nonlocal sends
        sends += 1
        return await send(self, batch, not_after)

    monkeypatch.setattr(BotoQueue, "send", counted)
    async with site.running(**SLOW_TO_CONNECT, POLLER_CHECKPOINT__INTERVAL="10m"):
        await site.until(lambda: bool(site.said(LeaseTaken)))
        hang = site.fault(Fault(Kind.HANG, operation="UpdateItem", table=LEASES))
        uploads = 0
        async with asyncio.timeout(PATIENCE_S):
            while not site.said(LeaseLost):
                uploads += 1
                site.upload("item", uploads)
                await asyncio.sleep(0.02)
        site.mend(hang)
    assert sends <= 2 * uploads
