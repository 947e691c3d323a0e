"""The status page in a real Chromium: of a real daemon whose queue breaks and which is killed, and of made-up ones.

Nothing of it is asked for elsewhere, and no name that comes from AWS becomes markup.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from poller.events import (
    DaemonReady,
    DaemonStarting,
    Discovered,
    FleetSeen,
    LeaseTaken,
    LoopLagged,
    PageRead,
    QueueFailing,
    ReadFailing,
    RouteWaiting,
    SeenLease,
    ShardBehind,
)
from poller.model import Lease
from poller.observe.http import Answer, HttpServer, Queried, Query, standard_pages
from poller.observe.page import front_page
from poller.observe.status import Report
from poller.observe.watch import Watch
from poller.run.clock import SystemClock
from poller.settings import load
from tests.browser import Browser
from tests.e2e.test_health import Site
from tests.standin import StandInProcess

STREAM, ROUTE, ME = "Uploads", "default", "worker-1"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>&amp;"


# --- a real daemon ----------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with StandInProcess() as remote:
        site = Site(remote, tmp_path / "log")
        try:
            yield site
        finally:
            site.daemon.__exit__()


async def test_the_page_turns_with_a_queue_that_breaks_and_outlives_the_daemon(
    site: Site, chromium: str, tmp_path: Path
) -> None:
    site.daemon.start()
    site.until_ready()
    async with Browser(chromium, tmp_path / "profile") as browser:
        await browser.open(f"{site.url}/")
        await browser.until("#text", lambda text: text == "Both shards are read; up to date; nothing retrying.")
        assert await browser.text("#level") == "OK"
        assert "none taken yet" in await browser.text("#routes")
        site.upload("a")
        await browser.until("#flow", lambda text: "1 since the start" in text)
        await browser.until("#routes", lambda text: "takes messages" in text)
        rows = await browser.text("#shards")
        assert [rows.count("reading"), rows.count("this worker")] == [2, 2]

        site.remote.queue_down("jobs")
        site.upload("b")
        text = await browser.until("#text", lambda text: text.startswith("Queue jobs has refused everything for "))
        assert "; 1 record waits; the first is lost in 23 h 5" in text
        assert await browser.text("#level") == "TROUBLE"
        assert "queue of route default" in await browser.text("#reasons")
        assert "refuses for" in await browser.text("#routes")
        await browser.until("#shards tr:first-child", lambda row: "retrying" in row and "23 h 5" in row)

        site.remote.queue_up("jobs")
        await browser.until("#level", lambda level: level == "OK")

        port = str(urlsplit(site.url).port)
        site.daemon.kill()
        await browser.until("#text", lambda text: text.startswith("No answer since "))
        assert "Both" not in await browser.text("#text")
        assert "reading" in await browser.text("#shards")  # what was last known is still there
        site.start_again(POLLER_HTTP_PORT=port)
        await browser.until("#level", lambda level: level == "OK")

        assert browser.complaints == []
        assert {urlsplit(url).netloc for url in browser.requested} == {f"127.0.0.1:{port}"}
        assert {urlsplit(url).path for url in browser.requested} == {"/", "/status"}


# --- a daemon that is made up -----------------------------------------------------------------------------------------


class Story:
    """A page over whatever is told of a stream."""

    def __init__(self) -> None:
        settings = load({"POLLER_TABLE": STREAM, "POLLER_QUEUE": "jobs", "POLLER_WORKER_ID": ME}, None)
        self.clock = SystemClock()
        self.watch = Watch([ROUTE], self.clock.monotonic)
        self.report = Report(self.watch.known, settings, self.clock)

    def read(self, *rows: SeenLease) -> None:
        """These rows are seen; of those that are mine, all are read."""
        states = [row.state for row in rows]
        self.watch(DaemonStarting(version="1", worker_id=ME))
        self.watch(
            DaemonReady(stream=STREAM, stream_arn="arn", view_type="NEW_IMAGE", lease_table="l", routes=(ROUTE,))
        )
        self.watch(Discovered(stream=STREAM, shards=len(rows), created=0, seconds=0.1))
        for shard in (row.lease.shard_id for row in rows if row.lease.owner == ME):
            self.watch(
                LeaseTaken(stream=STREAM, shard=shard, reason="unowned", previous_owner=None, checkpoint="TRIM_HORIZON")
            )
            self.watch(
                PageRead(
                    stream=STREAM,
                    shard=shard,
                    size_bytes=1,
                    events={"MODIFY": 5},
                    matched={ROUTE: 2},
                    filtered={ROUTE: 3},
                    behind_s=0.4,
                    polled_at_s=self.clock.wall(),
                )
            )
        counts = {state: states.count(state) for state in states}
        self.watch(FleetSeen(stream=STREAM, shards=counts, held=len(rows), workers=2, rows=rows))
        self.watch(LoopLagged(seconds=0.0))


@asynccontextmanager
async def served(status: Any) -> AsyncIterator[str]:
    """The address of a server that answers with this."""
    pages = standard_pages(lambda: b"", None, front_page())
    server = HttpServer({**pages, "/status": Queried(status)})
    url = await server.start("127.0.0.1", 0)
    try:
        yield f"{url}/"
    finally:
        await server.stop()


def thousand() -> Story:
    """Of the shards one cannot be read, one is far behind, and one in three is another worker's."""
    story = Story()
    shards = [f"shardId-{number:020}-{number:08x}" for number in range(1000)]
    story.read(
        *(
            SeenLease(Lease(shard, owner="worker-2" if number % 3 == 0 else ME, checkpoint="7" * 21), "reading")
            for number, shard in enumerate(shards)
        )
    )
    now_s = story.clock.wall()
    story.watch(ShardBehind(stream=STREAM, shard=shards[500], behind_s=900.0, oldest_created_s=now_s - 900))
    story.watch(
        ReadFailing(
            stream=STREAM, shard=shards[700], operation="GetRecords", code="x", error="no", failing_s=30.0, attempts=9
        )
    )
    return story


async def test_of_a_thousand_shards_the_worst_come_first_and_a_refresh_takes_no_50_ms(
    chromium: str, tmp_path: Path
) -> None:
    story = thousand()
    async with served(story.report.status) as url, Browser(chromium, tmp_path / "profile") as browser:
        await browser.open(url)
        await browser.until("#page", lambda text: text == "1 to 50 of 1,000")
        first, second = json.loads(
            await browser.run(
                "JSON.stringify([...document.querySelectorAll('#shards tr')].slice(0,2).map(e => e.innerText))"
            )
        )
        assert "not read: failing" in first
        assert "15 min" in second
        assert await browser.run("document.querySelectorAll('#shards tr').length") == 50
        await browser.run("document.getElementById('on').click()")
        await browser.until("#page", lambda text: text == "51 to 100 of 1,000")
        await browser.run("let f = document.getElementById('find'); f.value = 'Worker-2'; f.oninput()")
        await browser.until("#page", lambda text: text == "1 to 50 of 334")
        await browser.run("f.value = '-000003e7'; f.oninput()")
        await browser.until("#page", lambda text: text == "1 to 1 of 1")
        await browser.run("f.value = ''; f.oninput(); document.getElementById('lineage').open = true")
        await browser.until("#tree", lambda text: text.count("reading") > 100)
        await browser.until("#page", lambda text: text == "1 to 50 of 1,000")
        times_ms = [
            await browser.run("(() => { const t = performance.now(); show(answered); return performance.now() - t })()")
            for _ in range(5)
        ]
        assert min(times_ms) < 50, times_ms
        assert browser.complaints == []


async def test_at_phone_width_by_day_and_by_night_nothing_is_wider_than_the_screen(
    chromium: str, tmp_path: Path
) -> None:
    story = thousand()
    async with served(story.report.status) as url, Browser(chromium, tmp_path / "profile") as browser:
        await browser.size(390, 844)
        await browser.open(url)
        await browser.until("#page", lambda text: "1,000" in text)
        assert await browser.run("document.documentElement.scrollWidth") == 390
        background = "getComputedStyle(document.body).backgroundColor"
        day = await browser.run(background)
        await browser.size(390, 844, dark=True)
        assert await browser.run(background) != day


async def test_a_screen_reader_gets_headings_tables_and_a_verdict_that_speaks_only_when_it_turns(
    chromium: str, tmp_path: Path
) -> None:
    story = Story()
    story.read(SeenLease(Lease("shardId-1", owner=ME), "reading"))
    async with served(story.report.status) as url, Browser(chromium, tmp_path / "profile") as browser:
        for width in (1280, 390):
            await browser.size(width, 844)
            await browser.open(url)
            await browser.until("#live", lambda text: text.startswith("OK: The only shard is read"))
            tree = (await browser.call("Accessibility.getFullAXTree"))["nodes"]
            roles = [node["role"]["value"] for node in tree if not node["ignored"]]
            assert {"status", "heading", "table", "row", "columnheader", "rowheader", "cell", "main"} <= set(roles)
            names = {node["name"]["value"] for node in tree if node["role"]["value"] == "table"}
            assert {"Routes", "Shards", "Workers"} <= names
        await browser.run("let said = 0, hear = new MutationObserver(() => said++)")
        await browser.run("hear.observe(document.getElementById('live'), {childList: true})")
        for behind_s in (1.0, 2.0):
            story.watch(ShardBehind(stream=STREAM, shard="shardId-1", behind_s=behind_s, oldest_created_s=None))
            await browser.until("#text", lambda text, behind_s=behind_s: f"{behind_s} s behind" in text)  # type: ignore[misc]
        assert await browser.run("said") <= 1
        # All that can be done is done by keyboard: everything with a handler is a button, a field, a link or a summary.
        focusable = "[...document.querySelectorAll('button, input, summary, a')].every(e => e.tabIndex >= 0)"
        assert await browser.run(focusable)


async def test_hostile_names_are_shown_and_are_no_markup(chromium: str, tmp_path: Path) -> None:
    story = Story()
    story.read(
        SeenLease(Lease(f"shardId-{HOSTILE}", owner=ME, checkpoint=HOSTILE), "reading"),
        SeenLease(Lease("child", owner=HOSTILE, parents=frozenset({f"shardId-{HOSTILE}"})), HOSTILE),
    )
    story.watch(
        QueueFailing(stream=STREAM, route=ROUTE, queue="jobs", code=HOSTILE, error=HOSTILE, failing_s=9.0, waiting=1)
    )
    story.watch(RouteWaiting(stream=STREAM, route=ROUTE, waiting=1, dead_letters=0))

    def status(query: Query) -> Answer:
        told: Mapping[str, Any] = json.loads(story.report.status(query).body)
        table, routes = (
            told["stream"] | {"table": HOSTILE},
            [route | {"queue": HOSTILE, "name": HOSTILE} for route in told["routes"]],
        )
        return Answer(json.dumps({**told, "stream": table, "routes": routes}).encode(), "application/json")

    async with served(status) as url, Browser(chromium, tmp_path / "profile") as browser:
        await browser.open(url)
        await browser.until("#name", lambda text: text == HOSTILE)
        await browser.run("document.getElementById('lineage').open = true")
        await browser.run("document.querySelector('#shards button').click()")
        await browser.until("#tree", lambda text: HOSTILE in text)
        for place in ("#reasons", "#routes", "#shards", "#workers"):
            assert "onerror" in await browser.text(place)
        assert await browser.run("document.querySelectorAll('img').length + document.scripts.length") == 1
        assert "owned" not in str(await browser.run("document.title")).replace(HOSTILE, "")
        assert browser.complaints == []


async def test_several_streams_and_processes_are_picked_by_name_and_what_it_costs_is_shown_where_it_is_told(
    chromium: str, tmp_path: Path
) -> None:
    story = thousand()
    broken = Story()
    broken.read(SeenLease(Lease("shardId-1", owner=ME), "reading"))
    broken.watch(QueueFailing(stream=STREAM, route=ROUTE, queue="jobs", code="x", error="no", failing_s=9.0, waiting=1))
    broken.watch(RouteWaiting(stream=STREAM, route=ROUTE, waiting=1, dead_letters=0))
    as_processes = False

    def status(query: Query) -> Answer:
        first = json.loads(story.report.status(query).body)
        second = json.loads(broken.report.status(query).body)
        second["stream"]["table"] = "Orders"
        second["estimated_cost_usd_per_month"] = {"stream_reads": 0.52, "lease_writes": 1.5}
        verdict = {"level": "trouble", "text": "Stream Orders: It fails."}
        if as_processes:
            processes = [
                {"process": 0, "started_at": first["now"], "status": first},
                {"process": 1, "started_at": first["now"], "status": second},
                {"process": 2, "started_at": first["now"], "status": None, "verdict": verdict},
            ]
            whole = {"level": "trouble", "text": "Process 1: It fails."}
            body = {"version": "1", "now": first["now"], "verdict": whole, "processes": processes}
            return Answer(json.dumps(body).encode())
        return Answer(json.dumps(second | {"verdict": verdict, "streams": [first, second]}).encode())

    async with served(status) as url, Browser(chromium, tmp_path / "profile") as browser:
        await browser.open(url)
        await browser.until("#text", lambda text: text == "Stream Orders: It fails.")
        assert await browser.text("#name") == "Uploads"
        assert (await browser.text("#streams")).split() == ["Uploads", "Look", "Orders", "Trouble"]
        assert not await browser.run("document.getElementById('cost').checkVisibility()")
        # Only with the keyboard: the second button.
        await browser.run("document.querySelectorAll('#streams button')[1].focus()")
        for kind in ("keyDown", "keyUp"):
            await browser.call(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13
            )
        await browser.until("#name", lambda text: text == "Orders")
        assert await browser.text("#costs") == "stream reads\n$0.52\nlease writes\n$1.50\ntogether\n$2.02"
        await browser.open(await browser.run("location.href"))  # the choice is in the address
        await browser.until("#name", lambda text: text == "Orders")
        as_processes = True
        await browser.until("#text", lambda text: text == "Process 1: It fails.")
        await browser.until("#name", lambda text: text == "process 0: Uploads")
        await browser.until("#page", lambda text: text == "1 to 50 of 1,000")
        assert "process 2 Trouble" in (await browser.text("#streams")).replace("\n", " ")
        faint = await browser.run("getComputedStyle(document.querySelector('#streams button:disabled')).opacity")
        assert faint == "1"  # it is the one that people must see
        assert browser.complaints == []
