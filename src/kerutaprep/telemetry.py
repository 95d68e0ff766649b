"""A run's spans, by OpenTelemetry's SDK, exported by OTLP over HTTP. Alone imports opentelemetry.

Where the standard ``OTEL_`` variables say something, the SDK reads it from the process's environment; so this is for
the program that owns the process. The global tracer provider is left alone.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import opentelemetry.exporter.otlp.proto.http  # noqa: F401 - light, and tells at once where the exporter is missing
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from kerutaprep._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span

    from kerutaprep.events import StepEvent, StepStatus
    from kerutaprep.tracing import RunEnd

_LONGEST_FLUSH = 2.0
"""Seconds that the run's end waits for a collector."""
_PROPAGATOR = TraceContextTextMapPropagator()
_ID_IN_PATH = re.compile(r"(/api/v1/(?:repositories|documents)/)[^/]+")
_ENDED: dict[str, StepStatus] = {
    "finished": "succeeded",
    "skipped": "skipped",
    "failed": "failed",
    "cancelled": "cancelled",
}
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Spans:
    """The spans of one run.

    Args:
        parent: the parent's context as header fields (W3C Trace Context).
        begun: when the run began, in nanoseconds since the epoch.
        attributes: of the run's span.
        mask: applied to what the SDK logs.

    Raises:
        ValueError: the SDK refuses what an ``OTEL_`` variable says.
    """

    def __init__(
        self, parent: Mapping[str, str], begun: int, attributes: Mapping[str, str], mask: Callable[[str], str]
    ) -> None:
        self._warnings = _Warnings(mask)
        self._exporter = _LateExporter()
        self._processor = BatchSpanProcessor(self._exporter)
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("kerutaprep", __version__)
        context = _PROPAGATOR.extract(parent)
        self._run = self._tracer.start_span("kerutaprep", context, start_time=begun, attributes=attributes)
        self._steps: dict[str, Span] = {}
        self._sent: Counter[str] = Counter()

    def event(self, event: StepEvent, at: int) -> None:
        """Begin a step's span, add to it, or end it.

        Args:
            event: what happened.
            at: when, in nanoseconds since the epoch.
        """
        if event.kind == "started":
            context = set_span_in_context(self._run)
            attributes = {"kerutaprep.step": event.step}
            self._steps[event.step] = self._tracer.start_span(event.step, context, start_time=at, attributes=attributes)
        span = self._steps.get(event.step)
        if span is None:
            return
        if event.kind in {"retried", "note"}:
            span.add_event(event.kind, {"message": event.message, "attempt": event.attempt}, at)
        elif status := _ENDED.get(event.kind):
            _end_step(span, event, status, at)

    def attempt(self, step: str, url: str, request_id: str) -> AttemptSpan:
        """Begin the span of an HTTP attempt, below its step's."""
        parts = urlsplit(url)
        path = _ID_IN_PATH.search(parts.path)
        template = _ID_IN_PATH.sub(r"\1{id}", parts.path[path.start() :]) if path else parts.path
        attributes: dict[str, str | int | Sequence[str]] = {
            "kerutaprep.step": step,
            "http.request.method": "GET",
            "http.request.header.x-request-id": [request_id],
            "url.full": url,
            "url.template": template,
            "server.address": parts.hostname or "",
            "server.port": parts.port or _DEFAULT_PORTS.get(parts.scheme, 0),
        }
        if resent := self._sent[url]:
            attributes["http.request.resend_count"] = resent
        self._sent[url] += 1
        context = set_span_in_context(self._steps.get(step, self._run))
        span = self._tracer.start_span(f"GET {template}", context, SpanKind.CLIENT, attributes)
        return AttemptSpan(span)

    def environment(self, step: str) -> dict[str, str]:
        """A step's context as variables, which stand in for those that the run got itself."""
        context = _context_of(self._steps.get(step, self._run))
        return {"TRACEPARENT": context["traceparent"], "TRACESTATE": context.get("tracestate", "")}

    async def load_exporter(self) -> None:
        """Load the exporter in a thread. That it can't be loaded is told when it is needed."""
        with suppress(ImportError, ValueError, OSError):
            await anyio.to_thread.run_sync(self._exporter.load)

    async def close(self, end: RunEnd) -> None:
        """End the run's span and export what is left, for two seconds at most; then the exporter's thread is left."""
        facts = {"kerutaprep.commit": end.commit, "kerutaprep.ref": end.ref, "kerutaprep.outcome": end.outcome}
        self._run.set_attributes({name: value for name, value in facts.items() if value})
        self._run.set_attribute("kerutaprep.exit_code", end.exit_code)
        if end.exit_code:
            self._run.set_attribute("error.type", str(end.exit_code))
            self._run.set_status(Status(StatusCode.ERROR, end.message))
        self._run.end()
        with anyio.move_on_after(_LONGEST_FLUSH) as flush:
            await anyio.to_thread.run_sync(self._processor.shutdown, abandon_on_cancel=True)
        if flush.cancelled_caught:
            self._warnings.tell(f"the collector did not take the traces within {_LONGEST_FLUSH:g} s")
        self._warnings.close()


class AttemptSpan:
    """The span of one HTTP attempt (semantic conventions for HTTP clients)."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._code = 0
        self.headers = _context_of(span)

    def answered(self, status: int) -> None:
        """Take the answer's status code."""
        self._code = status
        self._span.set_attribute("http.response.status_code", status)

    def end(self, status: StepStatus, error: str = "", message: str = "") -> None:
        """End the span; a failure that the status code explains needs no other words."""
        self._span.set_attribute("kerutaprep.status", status)
        if self._code >= 400:
            self._span.set_attribute("error.type", str(self._code))
            self._span.set_status(Status(StatusCode.ERROR, message or None))
        elif status == "failed":
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR, message))
        self._span.end()


class _LateExporter(SpanExporter):
    """OTLP's exporter, loaded in the thread that first needs it: that takes longer than all of the SDK."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exporter: SpanExporter | None = None

    def load(self) -> SpanExporter:
        """Load it, unless it is."""
        with self._lock:
            if self._exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - as said above
                    OTLPSpanExporter,
                )

                self._exporter = OTLPSpanExporter()
            return self._exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans."""
        return self.load().export(spans)

    def shutdown(self) -> None:
        """Close connections."""
        if self._exporter is not None:
            self._exporter.shutdown()


class _Warnings(logging.Handler):
    """Takes what OpenTelemetry logs, from all of its threads, and passes on the first warning, until it is closed.

    A collector that is away would else fill the log, and might have the last word on stderr.
    """

    def __init__(self, mask: Callable[[str], str]) -> None:
        super().__init__(logging.WARNING)
        self._mask = mask
        self._source = logging.getLogger("opentelemetry")
        self._source.addHandler(self)
        self._source.propagate = False
        self._told = False

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on, an exception without its traceback."""
        error = record.exc_info[1] if record.exc_info else None
        self.tell(f"{record.getMessage()}{f' ({type(error).__name__}: {error})' if error else ''}")

    def tell(self, message: str) -> None:
        """Warn, if nothing was said before."""
        if not self._told:
            self._told = True
            logger = logging.getLogger("kerutaprep")
            extra = {"event": "note", "step": "traces"}
            logger.warning("%s (further warnings are left out)", self._mask(message), extra=extra)

    def close(self) -> None:
        """Say nothing more."""
        self._told = True
        super().close()


def _resource() -> Resource:
    """What the variables say of this service; its name is kerutaprep unless they give another."""
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: "kerutaprep", SERVICE_VERSION: __version__}))
    return resource


def _context_of(span: Span) -> dict[str, str]:
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, set_span_in_context(span))
    return carrier


def _end_step(span: Span, event: StepEvent, status: StepStatus, at: int) -> None:
    attributes = {"kerutaprep.status": status, "kerutaprep.attempts": event.attempt, "kerutaprep.bytes": event.bytes}
    span.set_attributes(attributes)
    if status == "failed":
        span.set_status(Status(StatusCode.ERROR, event.message.removeprefix("failed: ")))
    span.end(at)
