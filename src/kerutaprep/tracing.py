"""Tracing as a run sees it: what a tracer is told, and what it adds to requests. OpenTelemetry is not imported here."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

import anyio

from kerutaprep._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kerutaprep.events import StepEvent, StepStatus
    from kerutaprep.report import Outcome
    from kerutaprep.settings import PrepSettings
    from kerutaprep.telemetry import Spans

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"
_TRACEPARENT = r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?"
_TRACESTATE = r"[ -~]{1,512}"
_UNTRACED = frozenset({"output", "progress"})

_logger = logging.getLogger("kerutaprep")


class Attempt(Protocol):
    """One HTTP request under way."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What is sent with it, so that its receiver can join the trace."""

    def answered(self, status: int) -> None:
        """Take the answer's status code."""

    def end(self, status: StepStatus, error: str = "", message: str = "") -> None:
        """End it.

        Args:
            status: how it ended.
            error: the kind of failure, by a name.
            message: the failure, masked.
        """


class Tracer(Protocol):
    """What one run tells of itself, besides its log. Every text that it is given is masked."""

    def event(self, event: StepEvent) -> None:
        """Take an event of a step, at the time at which it happens."""

    def attempt(self, step: str, url: str, request_id: str) -> Attempt:
        """Begin an HTTP attempt on a step's behalf."""

    def environment(self, step: str) -> Mapping[str, str]:
        """The variables by which a command of a step's can join the trace."""


class RunEnd(NamedTuple):
    """How a run ended."""

    outcome: Outcome
    exit_code: int
    message: str
    """Of a failure, masked."""
    commit: str | None
    ref: str | None


class RunTracer(Tracer, Protocol):
    """A tracer and its exporter, for the program that owns the process."""

    async def load(self) -> None:
        """Load what can wait until git and the API are at work."""

    async def close(self, end: RunEnd) -> None:
        """End the run and export what is left, in a time that is bounded."""


class PassedOn:
    """Makes no span; a parent's context is passed on as it came, if there is one.

    Args:
        headers: the context as header fields.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers

    def event(self, event: StepEvent) -> None:
        """Nothing is told."""

    def attempt(self, step: str, url: str, request_id: str) -> Attempt:
        """An attempt that only has the headers: this."""
        return self

    def answered(self, status: int) -> None:
        """Nothing is told."""

    def end(self, status: StepStatus, error: str = "", message: str = "") -> None:
        """Nothing is told."""

    def environment(self, step: str) -> Mapping[str, str]:
        """Nothing to add: the environment has the parent's context already."""
        return {}

    async def load(self) -> None:
        """Nothing is loaded."""

    async def close(self, end: RunEnd) -> None:
        """Nothing is left."""


UNTRACED: Tracer = PassedOn({})
"""For a run that nobody traces."""


class LateTracer:
    """Makes spans, but loads OpenTelemetry only when the first request needs one, which is after git was started.

    What happens before is kept with its time. Where OpenTelemetry is not there, one warning says so and the run goes
    on with the parent's context passed on.

    Args:
        parent: the parent's context as header fields; empty where the run is a trace's root.
        attributes: of the run.
        mask: applied to what OpenTelemetry itself has to say.
    """

    def __init__(self, parent: Mapping[str, str], attributes: Mapping[str, str], mask: Callable[[str], str]) -> None:
        self._untraced = PassedOn(parent)
        self._attributes = attributes
        self._mask = mask
        self._begun = time.time_ns()
        self._early: list[tuple[StepEvent, int]] = []
        self._loaded = anyio.Event()
        self._spans: Spans | None = None

    def event(self, event: StepEvent) -> None:
        """Take an event, or keep it until there is somebody to take it."""
        if event.kind in _UNTRACED:
            return
        if self._spans is not None:
            self._spans.event(event, time.time_ns())
        elif not self._loaded.is_set():
            self._early.append((event, time.time_ns()))

    def attempt(self, step: str, url: str, request_id: str) -> Attempt:
        """Begin a span for an attempt."""
        spans = self._load()
        return spans.attempt(step, url, request_id) if spans else self._untraced

    def environment(self, step: str) -> Mapping[str, str]:
        """The context of a step's span."""
        spans = self._load()
        return spans.environment(step) if spans else {}

    async def load(self) -> None:
        """Load the exporter in a thread, once there are spans."""
        await self._loaded.wait()
        if self._spans is not None:
            await self._spans.load_exporter()

    async def close(self, end: RunEnd) -> None:
        """End the run's span and export; what a collector does not take within two seconds is given up."""
        spans = self._load()
        if spans is not None:
            await spans.close(end)

    def _load(self) -> Spans | None:
        if not self._loaded.is_set():
            self._loaded.set()
            self._spans = self._begin()
            self._early.clear()
        return self._spans

    def _begin(self) -> Spans | None:
        try:
            from kerutaprep.telemetry import Spans  # noqa: PLC0415 - not before it is needed, as said above

            spans = Spans(self._untraced.headers, self._begun, self._attributes, self._mask)
        except ImportError as error:
            _warn(f"no traces: OpenTelemetry can't be loaded ({error}); pip install 'kerutaprep[otel]'")
            return None
        except ValueError as error:
            _warn(f"no traces: OpenTelemetry refuses a variable: {self._mask(str(error))}")
            return None
        for event, at in self._early:
            spans.event(event, at)
        return spans


def tracer_for(settings: PrepSettings) -> RunTracer:
    """The tracer that the standard variables ask for (OpenTelemetry specification, environment variables).

    Spans are made where an OTLP endpoint is set or ``OTEL_TRACES_EXPORTER`` names ``otlp``, unless that names another
    or ``OTEL_SDK_DISABLED`` is true. Everything else that the variables say is read by the SDK itself.
    """
    environment = settings.environment
    parent = parent_headers(environment)
    if not _is_wanted(environment):
        return PassedOn(parent)
    protocol = next(filter(None, map(environment.get, _PROTOCOLS)), _SPOKEN)
    if protocol != _SPOKEN:
        _warn(f"no traces: OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!a}, and only {_SPOKEN} is spoken")
        return PassedOn(parent)
    attributes = {"kerutaprep.repository.id": settings.repository_id, "kerutaprep.version": __version__}
    if settings.ref:
        attributes["kerutaprep.ref"] = settings.ref
    mask = settings.masker().mask
    return LateTracer(parent, {name: mask(value) for name, value in attributes.items()}, mask)


def _is_wanted(environment: Mapping[str, str]) -> bool:
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporters:
        return "otlp" in map(str.strip, exporters.split(","))
    return any(map(environment.get, _ENDPOINTS))


def parent_headers(environment: Mapping[str, str]) -> dict[str, str]:
    """The parent of the environment as header fields; none without a valid one (W3C Trace Context, 3.2, 3.3)."""
    parent, state = (environment.get(name, "").strip() for name in ("TRACEPARENT", "TRACESTATE"))
    if not parent or not re.fullmatch(_TRACEPARENT, parent):
        return {}
    return {"traceparent": parent, **({"tracestate": state} if re.fullmatch(_TRACESTATE, state) else {})}


def _warn(message: str) -> None:
    _logger.warning("%s", message, extra={"event": "note", "step": "traces"})
