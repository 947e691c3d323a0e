"""`poller cost` as a user types it: reckoned, counted, measured; and what is wrong input."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.e2e.command import Ended, in_process, poller
from tests.standin import World
from tests.standin.world import credentials

SETTINGS = {"POLLER_TABLE": "Uploads", "POLLER_QUEUE": "jobs"}
PAGE = """\
# HELP poller_leases_held Leases that this worker holds.
# TYPE poller_leases_held gauge
poller_leases_held{stream="Uploads"} 4.0
# HELP poller_estimated_cost_usd_per_month What it costs.
# TYPE poller_estimated_cost_usd_per_month gauge
poller_estimated_cost_usd_per_month{stream="Uploads",what="stream_reads"} 2.5
poller_estimated_cost_usd_per_month{stream="Uploads",what="lease_reads"} 0.1
poller_estimated_cost_usd_per_month{stream="Uploads",what="lease_writes"} 0.4
poller_estimated_cost_usd_per_month{stream="Uploads",what="queue"} 3.0
poller_estimated_cost_usd_per_month{stream="Others",what="queue"} 100.0
"""


def cost(*arguments: str, **more: str) -> Ended:
    return poller("cost", *arguments, environment={**SETTINGS, **more})


def here(*arguments: str, **more: str) -> Ended:
    return in_process("cost", *arguments, environment={**SETTINGS, **more})


@contextmanager
def serving(page: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *args: object) -> None:  # says nothing, whatever it is given
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_it_is_reckoned_from_the_settings_without_asking_anybody() -> None:
    ended = cost("--shards", "64", "--workers", "3")

    assert (ended.code, ended.err) == (0, "")
    assert ended.lines[0] == "64 shards in which nothing happens, 3 workers: reckoned from the settings"
    assert "  reading the stream        33.18" in ended.lines
    assert "  5s            0.10       6.64      26.54   2 s later, 4 s at most" in ended.lines


async def test_the_open_shards_are_counted_if_they_are_not_given(world: World) -> None:
    stream = world.stream("Uploads")
    stream.split(stream.add_shard())
    own = {**credentials("us-east-1", "test"), "AWS_ENDPOINT_URL": world.url}
    ended = await asyncio.to_thread(lambda: here("--json", **own))

    assert (ended.code, ended.err) == (0, "")
    assert (ended.document["shards"], ended.document["source"]) == (2, "settings")
    assert ended.document["usd_per_month"]["stream_reads"] == 1.0368


def test_it_is_taken_from_running_workers() -> None:
    with serving(PAGE) as url:
        ended = here("--url", url, "--url", url, "--json", POLLER_COST__MONTHLY_BUDGET_USD="11")

    assert (ended.code, ended.err) == (0, "")
    document = ended.document
    assert (document["source"], document["shards"], document["workers"]) == ("measured", 8, 2)
    assert (document["usd_per_month"]["queue"], document["total_usd_per_month"]) == (6.0, 12.0)
    assert document["budget"]["kept"]
    assert document["budget"]["idle_max_s"] > 1.0


def test_a_daemon_of_another_stream_or_none_at_all_is_a_failure() -> None:
    with serving(PAGE) as url:
        other = here("--url", url, POLLER_TABLE="Payments")
    nobody = here("--url", url)

    assert (other.code, nobody.code) == (1, 1)
    assert other.err == "poller: the daemon that answers there does not read the stream of Payments\n"
    assert nobody.err.startswith(f"poller: no answer from {url}/metrics: ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--shards", "-1"), "--shards"),
        (("--url", "http://127.0.0.1:1", "--shards", "3"), "--shards goes without --url"),
        (("--url", "ftp://x"), "not an address"),
    ],
)
def test_wrong_input_is_refused_with_code_2(arguments: tuple[str, ...], text: str) -> None:
    ended = here(*arguments)

    assert (ended.code, ended.out) == (2, "")
    assert text in ended.err
