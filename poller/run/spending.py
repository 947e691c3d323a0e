"""What one stream's requests come to, as this worker makes them: counted by what it says of itself."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from poller.decide.cost import Meter, Rates, queue_requests, scan_units
from poller.events import DeadLettered, Delivered, Event, FleetSeen, LeaseOperation, PageRead

# Events that are counted.
COUNTED: Final = (PageRead, LeaseOperation, Delivered, DeadLettered, FleetSeen)


class Spending:
    """A sink of the events of one stream. `fifo_routes`: those whose queues are FIFO, which cost more."""

    def __init__(self, fifo_routes: Collection[str], now: float) -> None:
        self._fifo_routes = frozenset(fifo_routes)
        self._get_records = Meter(now)
        self._lease_reads = Meter(now)
        self._lease_writes = Meter(now)
        self._queue = Meter(now)
        self._fifo = Meter(now)
        self._rows = 0

    def note(self, event: Event, now: float) -> None:
        match event:
            case PageRead():
                self._get_records.count(1, now)
            case LeaseOperation(result="error"):
                pass  # nobody bills what failed
            case LeaseOperation(operation="list"):
                self._lease_reads.count(scan_units(self._rows), now)
            case LeaseOperation(operation="read"):
                self._lease_reads.count(1, now)
            case LeaseOperation():
                self._lease_writes.count(1, now)
            case Delivered():
                queue = self._fifo if event.route in self._fifo_routes else self._queue
                queue.count(queue_requests(event.size_bytes), now)
            case DeadLettered():
                self._queue.count(1, now)
            case FleetSeen():
                self._rows = sum(event.shards.values())

    def rates(self, now: float) -> Rates:
        return Rates(
            get_records=self._get_records.rate(now),
            lease_reads=self._lease_reads.rate(now),
            lease_writes=self._lease_writes.rate(now),
            queue_requests=self._queue.rate(now),
            fifo_requests=self._fifo.rate(now),
        )
