"""Spans by OpenTelemetry. Only `poller.traces` imports this, when the settings want them; see docs/traces.md.

Where they go, under which name, and how many of them, say the OTEL_* variables, which the SDK reads itself.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from poller import __version__
from poller.model import Trace
from poller.run.ports import Clock
from poller.run.traced import PageSpan, SendSpan

SERVICE: Final = "dynamodb-stream-poller"
# What the last spans may take at the end: a worker has 10 s to be gone.
_CLOSE_S: Final = 2.0
_LOOK_S: Final = 0.02


def exporting() -> SpanProcessor:
    """Batches, sent by OTLP over HTTP in a thread of their own; what the queue has no room for is dropped."""
    logging.getLogger(OTLPSpanExporter.__module__).addFilter(_plainly)
    return BatchSpanProcessor(OTLPSpanExporter())


class Traces:
    """`poller.run.traced.Tracing`. `processor` gets the spans."""

    def __init__(self, processor: SpanProcessor, clock: Clock) -> None:
        self._clock = clock
        # Without the hook at the interpreter's exit, which waits for half a minute.
        self._provider = TracerProvider(resource=_resource(), id_generator=_Ids(clock), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("poller", __version__)

    def page(self, span: PageSpan) -> Trace | None:
        attributes: dict[str, str | int] = {
            "poller.stream": span.stream,
            "poller.shard": span.shard,
            "poller.records": sum(span.events.values()),
            "poller.matched": span.matched,
            "poller.skipped": span.skipped,
            "poller.size_bytes": span.size_bytes,
        }
        attributes |= {f"poller.records.{name.lower()}": count for name, count in span.events.items() if count}
        if span.first_sequence_number is not None:
            attributes["poller.sequence_number.first"] = span.first_sequence_number
        if span.last_sequence_number is not None:
            attributes["poller.sequence_number.last"] = span.last_sequence_number
        started = self._tracer.start_span(
            f"page {span.stream}",
            context=Context(),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            start_time=_ns(span.begun_s),
        )
        started.end(_ns(span.ended_s))
        made = started.get_span_context()
        return Trace(made.trace_id, made.span_id, made.trace_flags.sampled) if made.is_valid else None

    def send(self, span: SendSpan) -> None:
        """It belongs to the trace of its first page that is sampled, so that a sampler keeps both or neither."""
        pages = [(page, _context(page)) for page in span.pages]
        parent = next((context for page, context in pages if page.sampled), pages[0][1] if pages else None)
        attributes: dict[str, str | int] = {
            "messaging.system": "aws_sqs",
            "messaging.operation.name": "SendMessageBatch",
            "messaging.operation.type": "send",
            "messaging.destination.name": span.queue,
            "messaging.batch.message_count": span.messages,
            "poller.stream": span.stream,
            "poller.route": span.route,
            "poller.refused": span.refused,
        }
        if span.code is not None:
            attributes["error.type"] = span.code
        started = self._tracer.start_span(
            f"send {span.queue}",
            context=Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context()),
            kind=SpanKind.PRODUCER,
            attributes=attributes,
            links=[Link(context) for _, context in pages],
            start_time=_ns(span.begun_s),
        )
        if span.code is not None:
            started.set_status(Status(StatusCode.ERROR, span.code))
        started.end(_ns(span.ended_s))

    async def close(self) -> None:
        """Sends what is left, for so long as there is time; a collector that does not answer is not waited for."""
        thread = threading.Thread(target=self._provider.shutdown, name="traces-close", daemon=True)
        thread.start()
        deadline = self._clock.monotonic() + _CLOSE_S
        while thread.is_alive() and self._clock.monotonic() < deadline:
            await self._clock.sleep(_LOOK_S)


class _Ids(RandomIdGenerator):
    """A trace's number begins with its time, as X-Ray wants it; the rest is random."""

    def __init__(self, clock: Clock) -> None:
        self._wall = clock.wall

    def generate_trace_id(self) -> int:
        return int(self._wall()) << 96 | super().generate_trace_id() & (1 << 96) - 1


def _plainly(record: logging.LogRecord) -> bool:
    """What the exporter logs: errors by their kind, since their texts quote headers, in which there may be a password.

    And numbers without what chance adds to them: what is said again and again is then told once a minute, as always.
    """
    if isinstance(record.args, tuple):
        record.args = tuple(map(_plain, record.args))
    return True


def _plain(argument: object) -> object:
    if isinstance(argument, BaseException):
        return type(argument).__name__
    return round(argument) if isinstance(argument, float) else argument


def _resource() -> Resource:
    """As the OTEL_* variables say, with a name of our own where they give none."""
    known = Resource.create()
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return known if named else known.merge(Resource({SERVICE_NAME: SERVICE}))


def _context(trace: Trace) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT)
    return SpanContext(trace.trace_id, trace.span_id, is_remote=False, trace_flags=flags)


def _ns(time_s: float) -> int:
    return int(time_s * 1e9)
