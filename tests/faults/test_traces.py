"""Traces from the stream to the queue: who reads a message finds the page that its record was read in."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from poller.aws.sqs import trace_header
from poller.model import Trace
from poller.observe.traces import Traces
from poller.run.clock import SystemClock
from tests.faults.harness import Site
from tests.standin import Arrival, Fault, Kind


def traced(site: Site) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    site.tracing = Traces(SimpleSpanProcessor(exporter), SystemClock())
    return exporter


def spans(exporter: InMemorySpanExporter, what: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name.startswith(f"{what} ")]


def header(span: ReadableSpan) -> str:
    return trace_header(Trace(span.context.trace_id, span.context.span_id, span.context.trace_flags.sampled))


def linked(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


def attributes(found: Sequence[ReadableSpan], name: str) -> list[object]:
    return [(span.attributes or {})[name] for span in found]


def headers(arrivals: Sequence[Arrival]) -> set[str | None]:
    return {arrival.trace_header for arrival in arrivals}


async def test_every_message_names_the_page_it_is_from_and_every_request_its_pages(site: Site) -> None:
    exporter = traced(site)
    first = site.uploads(2)
    async with site.running():
        await site.until_received(first)
        second = site.uploads(2, first=3)
        await site.until_received(first + second)
        await site.until(site.settled)

    pages, sends = spans(exporter, "page"), spans(exporter, "send")
    assert headers(site.queue.arrived) == {header(page) for page in pages}
    assert sum(map(int, map(str, attributes(pages, "poller.records")))) == 24  # 12 of them are not wanted
    assert sum(map(int, map(str, attributes(pages, "poller.matched")))) == 12
    assert set().union(*map(linked, sends)) == {page.context.span_id for page in pages}
    assert sum(map(int, map(str, attributes(sends, "messaging.batch.message_count")))) == 12


async def test_a_pages_span_begins_with_its_request(site: Site) -> None:
    exporter = traced(site)
    expected = site.uploads(1)
    site.fault(Fault(Kind.DELAY, operation="GetRecords", delay_s=0.2))
    async with site.running():
        await site.until_received(expected)

    for page in spans(exporter, "page"):
        assert (page.end_time or 0) - (page.start_time or 0) >= 0.2e9


async def test_a_batch_of_several_pages_has_a_link_to_each(site: Site) -> None:
    exporter = traced(site)
    other = site.stream.add_shard()
    async with site.running():
        site.queue.down()
        expected = site.uploads(1, "a", "b")
        await site.until(lambda: bool(spans(exporter, "send")))
        expected += site.uploads(1, "c", "d", shard=other)
        await site.until(lambda: len(spans(exporter, "page")) == 2)
        site.queue.up()
        await site.until_received(expected)
        await site.until(site.settled)

    pages = spans(exporter, "page")
    first, *_, last = spans(exporter, "send")
    assert linked(first) == {pages[0].context.span_id}
    assert first.status.description
    assert linked(last) == {page.context.span_id for page in pages}
    assert last.status.description is None


async def test_a_message_that_is_sent_again_and_a_dead_letter_name_the_page_still(site: Site) -> None:
    exporter = traced(site)
    site.queue.refuse(contains='"b"', sender_fault=True, code="InvalidMessageContents")
    site.queue.refuse(contains='"c"', times=1)
    site.uploads(1)
    async with site.running():
        await site.until_received(["a/1", "c/1"])
        await site.until(site.settled)

    (page,) = spans(exporter, "page")
    assert headers([*site.queue.arrived, *site.dead_letters.arrived]) == {header(page)}
    assert len(site.dead_letters.arrived) == 1
    refused = [span for span in spans(exporter, "send") if not span.status.is_ok and span.status.description]
    assert {span.status.description for span in refused} <= {"InvalidMessageContents", "InternalError"}
    assert [span.name for span in spans(exporter, "send") if "dead" in span.name] == ["send dead-letters"]


async def test_without_traces_no_message_has_a_header(site: Site) -> None:
    expected = site.uploads(1)
    async with site.running():
        await site.until_received(expected)
    assert headers(site.queue.arrived) == {None}


async def test_no_span_holds_content_of_an_item(site: Site) -> None:
    exporter = traced(site)
    site.queue.refuse(contains="Mallory", sender_fault=True, code="InvalidMessageContents")
    site.upload("Mallory", secret={"S": "a canary sings"})
    async with site.running():
        await site.until(site.settled)
        await site.until(lambda: bool(site.dead_letters.arrived))

    told = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert site.shard.shard_id in told
    assert "Mallory" not in told
    assert "canary" not in told
