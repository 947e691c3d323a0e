"""A scriptable stand-in for the parts of AWS that the daemon speaks to: DynamoDB Streams, a lease table, SQS.

Inside a test: `async with StandIn() as world`. As a process of its own: `StandInProcess`, or `python -m tests.standin`.
"""

from tests.standin.calls import Call
from tests.standin.faults import Fault, Kind
from tests.standin.queues import Arrival, Outage, Queue
from tests.standin.records import record
from tests.standin.remote import Remote, StandInProcess, StreamRef
from tests.standin.server import StandIn
from tests.standin.streams import AtTimestamp, Shard, Stored, Stream
from tests.standin.wire import Subject
from tests.standin.world import World

__all__ = [
    "Arrival",
    "AtTimestamp",
    "Call",
    "Fault",
    "Kind",
    "Outage",
    "Queue",
    "Remote",
    "Shard",
    "StandIn",
    "StandInProcess",
    "Stored",
    "Stream",
    "StreamRef",
    "Subject",
    "World",
    "record",
]
