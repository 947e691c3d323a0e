"""Spans: what they say, whom they belong to, and that nothing of them is there while nobody wants them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from poller.aws.page import decode_page
from poller.decide.filter import compile_filter
from poller.errors import ConfigurationError, DeadlinePassed, Unavailable
from poller.filters import compile_filters
from poller.inspect.check import check
from poller.model import Message, Refused, Trace
from poller.observe.traces import SERVICE, Traces
from poller.run.clock import SystemClock
from poller.run.sift import Sifter
from poller.run.traced import PageSpan, SendSpan, TracedQueue, TracedSifter
from poller.settings import load
from poller.traces import missing, open_traces
from tests.memory.clock import ManualClock
from tests.memory.queue import MemoryQueue

SETTINGS = {"POLLER_TABLE": "orders", "POLLER_QUEUE": "jobs", "AWS_REGION": "eu-west-1"}
MEND = "pip install 'dynamodb-stream-poller[otel]', in a checkout pip install '.[otel]'"
WANTED = SETTINGS | {"POLLER_TRACE__ENABLED": "true"}


class Told:
    """`poller.run.traced.Tracing` that keeps what it is told."""

    def __init__(self) -> None:
        self.pages: list[PageSpan] = []
        self.sends: list[SendSpan] = []

    def page(self, span: PageSpan) -> Trace:
        self.pages.append(span)
        return Trace(len(self.pages), 7, sampled=True)

    def send(self, span: SendSpan) -> None:
        self.sends.append(span)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def page(*numbers: int) -> bytes:
    records = [
        {
            "eventID": f"e{number}",
            "eventName": "INSERT",
            "dynamodb": {"Keys": {"id": {"S": "i"}}, "SequenceNumber": f"{number}"},
        }
        for number in numbers
    ]
    return json.dumps({"Records": records, "NextShardIterator": "next"}).encode()


def a_page(**values: object) -> PageSpan:
    plain = {
        "stream": "orders", "shard": "shardId-1", "begun_s": 10.0, "ended_s": 10.5, "size_bytes": 900,
        "events": {"INSERT": 2, "REMOVE": 0}, "matched": 1, "skipped": 0,
        "first_sequence_number": "100", "last_sequence_number": "200",
    }  # fmt: skip
    return PageSpan(**plain | values)  # type: ignore[arg-type]


def a_send(*pages: Trace, code: str | None = None, refused: int = 0) -> SendSpan:
    return SendSpan(
        stream="orders", route="default", queue="jobs", begun_s=11.0, ended_s=11.25,
        messages=3, refused=refused, code=code, pages=pages,
    )  # fmt: skip


# --- around source, sifter and queue ----------------------------------------------------------------------------------


def test_a_page_with_records_has_a_span_of_its_counts_and_ends(clock: ManualClock) -> None:
    told = Told()
    sifter = TracedSifter(
        Sifter([compile_filter(['{"dynamodb": {"SequenceNumber": ["200"]}}'])]), told, "orders", clock.wall
    )

    sifted = sifter.sift(decode_page(page(100, 200, 300)), "shardId-1")

    (span,) = told.pages
    assert (span.first_sequence_number, span.last_sequence_number) == ("100", "300")
    assert (span.events["INSERT"], span.matched, span.skipped) == (3, 1, 0)
    assert sifted.trace == Trace(1, 7, sampled=True)


def test_an_empty_page_has_none(clock: ManualClock) -> None:
    told = Told()

    sifted = TracedSifter(Sifter([compile_filter([])]), told, "orders", clock.wall).sift(
        decode_page(page()), "shardId-1"
    )

    assert (told.pages, sifted.trace) == ([], None)


def test_a_page_that_begins_with_a_damaged_record_has_no_first_sequence_number(clock: ManualClock) -> None:
    told = Told()
    body = b'{"Records": [{"eventName": "INSERT", "dynamodb": 5}], "NextShardIterator": "next"}'

    TracedSifter(Sifter([compile_filter([])]), told, "orders", clock.wall).sift(decode_page(body), "shardId-1")

    assert told.pages[0].first_sequence_number is None


async def test_a_request_has_a_span_with_each_of_its_pages_once_and_the_first_refusal(clock: ManualClock) -> None:
    told, queue = Told(), MemoryQueue("jobs", clock)
    queue.refuse = lambda message: (
        Refused("Broken", "a quoted text", sender_fault=True) if message.body == "b" else None
    )
    first, second = Trace(1, 1, sampled=True), Trace(2, 2, sampled=True)
    batch = [Message("a", 1, trace=first), Message("b", 1, trace=second), Message("c", 1, trace=first)]

    await TracedQueue(queue, told, stream="orders", route="default", clock=clock).send(batch, float("inf"))

    (span,) = told.sends
    assert span.pages == (first, second)
    assert (span.messages, span.refused, span.code) == (3, 1, "Broken")


async def test_a_request_that_fails_has_a_span_that_says_why_and_one_that_is_not_made_has_none(
    clock: ManualClock,
) -> None:
    told, queue = Told(), MemoryQueue("jobs", clock)
    traced = TracedQueue(queue, told, stream="orders", route="default", clock=clock)

    async def down(operation: str, resource: str) -> None:
        raise Unavailable("no answer", operation=operation, resource=resource, code="ReadTimeout", answered=False)

    with pytest.raises(DeadlinePassed):
        await traced.send([Message("a", 1)], clock.monotonic())
    queue.before = down
    with pytest.raises(Unavailable):
        await traced.send([Message("a", 1)], float("inf"))

    (span,) = told.sends
    assert (span.code, span.refused, span.pages) == ("ReadTimeout", 1, ())


# --- by OpenTelemetry -------------------------------------------------------------------------------------------------


def made(clock: ManualClock) -> tuple[Traces, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    return Traces(SimpleSpanProcessor(exporter), clock), exporter


def test_a_pages_span_says_where_it_is_from_and_what_was_in_it(clock: ManualClock) -> None:
    traces, exporter = made(clock)

    traces.page(a_page())

    (span,) = exporter.get_finished_spans()
    assert span.name == "page orders"
    assert (span.start_time, span.end_time) == (10_000_000_000, 10_500_000_000)
    assert dict(span.attributes or {}) == {
        "poller.stream": "orders",
        "poller.shard": "shardId-1",
        "poller.records": 2,
        "poller.records.insert": 2,
        "poller.matched": 1,
        "poller.skipped": 0,
        "poller.size_bytes": 900,
        "poller.sequence_number.first": "100",
        "poller.sequence_number.last": "200",
    }


def test_a_request_is_of_its_first_pages_trace_and_linked_to_all(clock: ManualClock) -> None:
    traces, exporter = made(clock)
    pages = [trace for trace in (traces.page(a_page()), traces.page(a_page())) if trace]

    traces.send(a_send(*pages))

    first, second, send = exporter.get_finished_spans()
    assert [link.context.span_id for link in send.links] == [first.context.span_id, second.context.span_id]
    assert send.context.trace_id == first.context.trace_id
    assert send.status.status_code is StatusCode.UNSET


def test_a_request_that_was_refused_has_failed(clock: ManualClock) -> None:
    traces, exporter = made(clock)

    traces.send(a_send(code="QueueDoesNotExist", refused=3))

    (span,) = exporter.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "QueueDoesNotExist")
    assert (span.attributes or {})["error.type"] == "QueueDoesNotExist"


def test_the_sampler_of_the_environment_decides_on_a_page_and_on_all_that_comes_of_it(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    traces, exporter = made(clock)
    pages = [trace for trace in (traces.page(a_page()) for _ in range(200)) if trace]
    kept = [trace for trace in pages if trace.sampled]
    assert 50 < len(kept) < 150
    exporter.clear()

    for trace in pages:
        traces.send(a_send(trace))

    assert [span.context.trace_id for span in exporter.get_finished_spans()] == [trace.trace_id for trace in kept]


def test_a_traces_number_begins_with_its_time_as_x_ray_wants_it(clock: ManualClock) -> None:
    traces, _ = made(clock)
    numbers = [trace.trace_id for trace in (traces.page(a_page()), traces.page(a_page())) if trace]
    assert [number >> 96 for number in numbers] == [int(clock.wall())] * 2
    assert numbers[0] != numbers[1]


def test_where_the_environment_disables_the_sdk_no_page_has_a_trace(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    traces, exporter = made(clock)
    assert traces.page(a_page()) is None
    traces.send(a_send())
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, SERVICE),
        ({"OTEL_SERVICE_NAME": "uploads"}, "uploads"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=uploads"}, "uploads"),
    ],
)
def test_the_service_is_called_as_the_environment_says(
    variables: dict[str, str], name: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    traces, exporter = made(clock)
    traces.page(a_page())
    assert exporter.get_finished_spans()[0].resource.attributes["service.name"] == name


# --- an exporter that fails -------------------------------------------------------------------------------------------


class Failing(SpanExporter):
    """Raises, or hangs for a while."""

    def __init__(self, hang_s: float = 0.0) -> None:
        self.hang_s = hang_s
        self.asked = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked += 1
        time.sleep(self.hang_s)
        raise ConnectionError("no collector")


def batching(exporter: SpanExporter) -> SpanProcessor:
    return BatchSpanProcessor(exporter, max_queue_size=64, max_export_batch_size=32, schedule_delay_millis=10)


@pytest.mark.parametrize("hang_s", [0.0, 5.0])
async def test_an_exporter_that_fails_or_hangs_disturbs_nobody(hang_s: float) -> None:
    exporter = Failing(hang_s)
    traces = Traces(batching(exporter), SystemClock())
    begun = time.monotonic()
    for _ in range(1000):
        assert traces.page(a_page()) is not None
    assert time.monotonic() - begun < 2

    await traces.close()

    assert time.monotonic() - begun < 4
    assert exporter.asked


async def test_spans_go_to_the_endpoint_of_the_environment_and_the_last_ones_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        traces = open_traces(load(WANTED, None), SystemClock())
        assert traces is not None
        traces.page(a_page())
        await traces.close()
        server.shutdown()

    ((path, body),) = received
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert [span.name for span in resource.scope_spans[0].spans] == ["page orders"]


async def test_the_exporter_tells_no_password_and_says_the_same_thing_in_the_same_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20canary%0Ax")
    traces = open_traces(load(WANTED, None), SystemClock())
    assert traces is not None
    traces.page(a_page())
    await traces.close()
    assert caplog.messages
    assert not any("canary" in text for text in caplog.messages)


# --- off, and missing -------------------------------------------------------------------------------------------------


def run(script: str) -> list[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("POLLER_", "OTEL_"))}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60, check=True)
    return result.stdout.splitlines()


def test_while_they_are_off_nothing_of_opentelemetry_is_imported() -> None:
    script = f"""
import sys
from poller.app import Daemon
import poller.cli, poller.inspect.check, poller.processes.parent
from poller.settings import load_all
settings = load_all({SETTINGS!r}, [])
daemon = Daemon(settings, lambda: settings)
assert daemon._world.tracing is None
print([name for name in sys.modules if name.startswith(("opentelemetry", "google", "poller.observe.traces"))])
"""
    assert run(script) == ["[]"]


def test_without_the_extra_the_start_ends_with_one_line_and_its_mend(tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['opentelemetry'] = None; from poller.__main__ import main; "
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("POLLER_", "OTEL_"))}
    for arguments in (["run"], ["run", "--processes", "2"]):
        command = [sys.executable, "-c", f"{blocked}sys.argv = {['poller', *arguments]!r}; main()"]
        result = subprocess.run(
            command, env=clean | WANTED, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 2
        assert result.stdout == ""
        assert result.stderr.splitlines() == [
            'poller: POLLER_TRACE__ENABLED="true": OpenTelemetry is not installed; ' + MEND
        ]


async def test_a_check_names_the_missing_extra_as_the_start_would(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, aws_env: dict[str, str]
) -> None:
    monkeypatch.setattr("poller.traces._NEEDED", ("not_installed",))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    settings = load(WANTED, None)

    findings = await check(settings, compile_filters(settings), WANTED, SystemClock())

    (found,) = [finding for finding in findings if finding.part == "traces"]
    assert (found.level, found.mend, found.settings) == ("fault", MEND, True)


def test_with_the_extra_they_are_there_when_they_are_wanted_and_only_then(clock: ManualClock) -> None:
    assert missing(load(WANTED, None)) is None
    assert open_traces(load(SETTINGS, None), clock) is None
    assert isinstance(open_traces(load(WANTED, None), clock), Traces)


def test_a_variable_of_opentelemetrys_that_cannot_be_used_is_the_settings_fault(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(ConfigurationError, match="OTEL_"):
        open_traces(load(WANTED, None), clock)
