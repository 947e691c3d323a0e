"""`python -m poller.demo.emulator`: DynamoDB, its streams and SQS (moto) in a process of their own, on loopback.

Says its address in one line on stdout, and ends when its stdin does: so it never outlives the demo, not even when that
is killed (-9). A line on stdin is the id of a process that shall end with it: the daemon; an empty line takes it back.
`refuse` and `accept` are the two other lines: whether the queues take messages.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, Final

from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import StreamShard
from moto.dynamodbstreams.models import dynamodbstreams_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

# moto keeps every record (about 10 kB each) and every iterator (3 kB) for ever; a demo may run all night.
RECORDS_MAX: Final = 10_000
ITERATORS_MAX: Final = 1_000
REQUESTS_BETWEEN_TRIMS: Final = 1_000

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class OneAtATime:
    """A WSGI application that lets requests to DynamoDB and its streams through one by one, and trims what they left.

    moto numbers a stream's records without a lock: of two writes at once, both could get the same sequence number.
    Requests to SQS pass freely, since a long poll waits inside of its request.
    """

    def __init__(self, application: WsgiApplication, trim: Callable[[], None]) -> None:
        self._application = application
        self._trim = trim
        self._lock = Lock()
        self._requests = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB"):
            return self._application(environ, start_response)
        with self._lock:
            self._requests += 1
            if self._requests % REQUESTS_BETWEEN_TRIMS == 0:
                self._trim()
            return self._application(environ, start_response)


class Breakable:
    """A WSGI application whose queues can be `broken`: they refuse every message, as SQS does when it is down.

    Whoever receives still gets what had been taken before. Here nobody sends to the dead-letter queue meanwhile.
    """

    def __init__(self, application: WsgiApplication) -> None:
        self._application = application
        self.broken = False

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not self.broken or not environ.get("HTTP_X_AMZ_TARGET", "").startswith("AmazonSQS.SendMessage"):
            return self._application(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))  # else the client may not hear the answer
        error = {"__type": "com.amazonaws.sqs#ServiceUnavailable", "message": "the demo has broken this queue"}
        start_response("503 Service Unavailable", [("Content-Type", "application/x-amz-json-1.0")])
        return [json.dumps(error).encode()]


def trim() -> None:
    """Drops the oldest records and iterators, as the service does (after a day and after 15 minutes)."""
    for regions in dynamodb_backends.values():
        for backend in regions.values():
            for table in backend.tables.values():
                if table.stream_shard is not None:
                    _trim_shard(table.stream_shard)
    for stream_regions in dynamodbstreams_backends.values():
        for streams in stream_regions.values():
            for iterator in list(streams.shard_iterators)[:-ITERATORS_MAX]:
                del streams.shard_iterators[iterator]


def _trim_shard(shard: StreamShard) -> None:
    """A record's sequence number is the shard's first plus the record's index, so both move together."""
    surplus = len(shard.items) - RECORDS_MAX
    if surplus > 0:
        del shard.items[:surplus]
        shard.starting_sequence_number += surplus


def _obey_stdin(queues: Breakable) -> None:
    """Until it ends, and the process with it."""
    charge = ""
    for line in sys.stdin:
        match line.strip():
            case "refuse":
                queues.broken = True
            case "accept":
                queues.broken = False
            case pid:
                charge = pid
    if charge:
        with suppress(ProcessLookupError):
            os.kill(int(charge), signal.SIGTERM)
    os._exit(0)  # at once, whatever the serving threads are doing


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line for each request
    application = Breakable(OneAtATime(DomainDispatcherApplication(create_backend_app), trim))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    Thread(target=_obey_stdin, args=(application,), daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201 - the line that its parent waits for
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads the pipe any more: it must not fill up
    server.serve_forever()


if __name__ == "__main__":
    main()
