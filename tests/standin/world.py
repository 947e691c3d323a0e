"""The world that the stand-in shows to its clients: streams, tables, queues, faults, clock, and the log of calls.

This is what a test holds in its hand; see the parts for what can be done to each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from poller.model import ViewType
from tests.standin.calls import Calls, Rates
from tests.standin.clock import Clock
from tests.standin.faults import Faults
from tests.standin.httpd import HttpServer
from tests.standin.items import Table, Written
from tests.standin.policy import Policies
from tests.standin.queues import Queue
from tests.standin.streams import Stream, stream_label

DEFAULT_KEY: Final = "analysisRequestId"

# Keeps boto3 from looking for settings and credentials in the user's home and at the instance metadata service.
ISOLATION: Final = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent/config",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
}


class World:
    """`streams` by ARN, oldest first; `tables` and `queues` by name, `buckets` too, with their objects by key. `url` is
    the stand-in's address; `policies` say who may do what.

    `creating_describes`: a table that is created now says CREATING so many times. `rates` limits operations per second.
    `journals`: the writes to the tables of these names, once `keep_journal` was called; they may be made later.
    `http` has switches for the answers' form (`chunked`, `close_after`) and `drop_connections()`.
    """

    def __init__(self, *, region: str, account: str, calls_kept: int) -> None:
        self.region = region
        self.account = account
        self.url = ""
        self.clock = Clock()
        self.faults = Faults()
        self.calls = Calls(calls_kept)
        self.rates = Rates()
        self.streams: dict[str, Stream] = {}
        self.tables: dict[str, Table] = {}
        self.queues: dict[str, Queue] = {}
        self.buckets: dict[str, dict[str, bytes]] = {}
        self.policies = Policies()
        self.creating_describes = 0
        self.journals: dict[str, list[Written]] = {}
        self.http: HttpServer

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    def count(self, operation: str, outcome: str | None = None) -> int:
        """How many calls of an operation there were (with that outcome: `OK`, an error's code, a kind of fault)."""
        return self.calls.count(operation, outcome)

    # streams

    def stream(
        self, table: str, view_type: ViewType = ViewType.NEW_IMAGE, *, key_attribute: str = DEFAULT_KEY
    ) -> Stream:
        """A new stream of the table, without shards yet; the table's latest from now on. Makes the table if need be."""
        wall_s = self.clock.wall()
        while (arn := self.arn("dynamodb", f"table/{table}/stream/{stream_label(wall_s)}")) in self.streams:
            wall_s += 0.001
        self.tables.setdefault(table, Table(table, key_attribute))
        stream = Stream(arn, table, view_type, self.tables[table].key_attribute, self.region, self.clock)
        self.streams[arn] = stream
        return stream

    def latest_stream(self, table: str) -> Stream | None:
        return next((stream for stream in reversed(self.streams.values()) if stream.table == table), None)

    def replace_stream(self, table: str, view_type: ViewType | None = None) -> Stream:
        """Disables the table's stream and enables it again: a new ARN, one open shard; the old one stays readable."""
        old = self.latest_stream(table)
        if old is None:
            raise KeyError(f"table {table} has no stream")
        old.disable()
        new = self.stream(table, view_type or old.view_type)
        new.add_shard()
        return new

    def forget_stream(self, stream: Stream) -> None:
        """The stream is gone, as 24 hours after it was disabled, or with its table."""
        del self.streams[stream.arn]

    # tables and queues

    def table(self, name: str, key_attribute: str = "leaseKey") -> Table:
        """The table of that name, made if need be."""
        return self.tables.setdefault(name, Table(name, key_attribute))

    def keep_journal(self, name: str) -> list[Written]:
        """From now on every write to the table of that name, in order."""
        return self.journals.setdefault(name, [])

    def queue(self, name: str, attributes: Mapping[str, str] | None = None) -> Queue:
        """The queue of that name, made if need be; FIFO if the name ends in `.fifo`."""
        if name not in self.queues:
            fifo = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
            self.queues[name] = Queue(name, self.arn("sqs", name), {**fifo, **(attributes or {})}, self.clock)
        return self.queues[name]

    def queue_url(self, name: str) -> str:
        return f"{self.url}/{self.account}/{name}"

    def env(self, access_key: str = "test") -> dict[str, str]:
        """The environment in which an AWS client speaks to this stand-in and to nothing else, under that access key."""
        return environment(self.url, self.region, access_key)


def credentials(region: str, access_key: str) -> dict[str, str]:
    """Static credentials and a region, and no other place to find any."""
    return {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        **ISOLATION,
    }


def environment(url: str, region: str, access_key: str) -> dict[str, str]:
    """The same, and the address to speak to."""
    return {"AWS_ENDPOINT_URL": url, **credentials(region, access_key)}
