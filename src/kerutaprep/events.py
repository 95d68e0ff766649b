"""What happens in a run, told as it happens: to the log, to the caller's hook and to ``prep.log``."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import anyio

from kerutaprep.errors import PrepError
from kerutaprep.plan import RUN
from kerutaprep.tracing import UNTRACED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from kerutaprep.masking import Masker
    from kerutaprep.tracing import Attempt, Tracer

EventKind = Literal["started", "retried", "progress", "note", "output", "finished", "skipped", "failed", "cancelled"]
StepStatus = Literal["succeeded", "failed", "skipped", "cancelled"]

_logger = logging.getLogger("kerutaprep")
_QUIET_SECONDS = 8.0
"""A running step that said nothing for this long tells how far it is; with the clock's grain it stays below 10 s."""
_LEVELS: dict[str, int] = {"retried": logging.WARNING, "failed": logging.ERROR, "cancelled": logging.WARNING}


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One thing that happened to one step."""

    step: str
    kind: EventKind
    at: float
    """Seconds since the run's start."""
    message: str
    seconds: float | None = None
    """Since the step's start, None before it."""
    attempt: int = 0
    """Which attempt is being made, from 1; 0 for a step that makes none."""
    bytes: int = 0
    """Received so far."""


class StepRecord:
    """How one step is doing: written by the step as it works, read for events and for the report."""

    def __init__(self, name: str, recorder: Recorder) -> None:
        self.name = name
        self.status: StepStatus = "cancelled"
        self.start: float | None = None
        self.end: float | None = None
        self.attempts = 0
        self.bytes = 0
        self.detail: str | None = None
        self.state = "running"
        """What it is doing right now, for progress events."""
        self.measure: Callable[[], float | None] = lambda: None
        """Asked by whoever draws it: how much of what it is doing is done, from 0 to 1; None where nobody knows."""
        self._recorder = recorder
        self._spoke = 0.0

    @property
    def running(self) -> bool:
        """Whether it has started and not ended."""
        return self.start is not None and self.end is None

    @property
    def seconds(self) -> float | None:
        """Since it started, None before."""
        return None if self.start is None else round(self._recorder.now() - self.start, 3)

    def attempt(self, number: int) -> None:
        """Say which attempt begins; the highest is reported."""
        self.attempts = max(self.attempts, number)

    def received(self, count: int) -> None:
        """Count bytes."""
        self.bytes += count

    def retried(self, error: PrepError, attempt: int, wait: float) -> None:
        """Say that an attempt failed and that another follows after ``wait`` seconds."""
        self.emit("retried", f"attempt {attempt} failed, the next follows in {wait:.1f} s: {error}", attempt=attempt)

    def note(self, message: str) -> None:
        """Say something that an operator wants to know."""
        self.emit("note", message)

    def output(self, line: str) -> None:
        """Pass on a line of the install script's output."""
        self.emit("output", line)

    def trace_environment(self) -> Mapping[str, str]:
        """The variables by which a command of the step's can join the run's trace."""
        return self._recorder.tracer.environment(self.name)

    def progress(self, state: str, *, least_pause: float) -> None:
        """Say how far it is; told only if nothing was for so many seconds."""
        self.state = state
        if self._recorder.now() - self._spoke >= least_pause:
            self.emit("progress", state)

    def skip(self, reason: str) -> None:
        """Say that there is nothing to do; the step then only returns."""
        self.status, self.detail = "skipped", reason

    def begin(self) -> None:
        """Start the clock."""
        self.start = self._recorder.beginning_of(self.name)
        self.emit("started", "started")

    def finish(self) -> None:
        """Stop the clock of a step that returned."""
        self.end = self._recorder.now()
        if self.status == "skipped":
            self.end = self.end if self.attempts else self.start
            self.emit("skipped", f"skipped: {self.detail}")
            return
        self.status = "succeeded"
        size = f", {format_bytes(self.bytes)}" if self.bytes else ""
        detail = f": {self.detail}" if self.detail else ""
        self.emit("finished", f"finished in {self.end - (self.start or 0):.2f} s{size}{detail}")

    def fail(self, error: PrepError) -> None:
        """Stop the clock of a step that raised."""
        error.step = self.name
        error.args = (self._recorder.masker.mask(str(error)),)
        self.end = self._recorder.now()
        self.status, self.detail = "failed", str(error)
        self.emit("failed", f"failed: {error}")

    def cancel(self) -> None:
        """Stop the clock of a step that was stopped."""
        self.end = self._recorder.now()
        self.status = "cancelled"
        self.emit("cancelled", f"stopped after {self.end - (self.start or 0):.2f} s")

    def emit(self, kind: EventKind, message: str, *, attempt: int | None = None) -> None:
        """Tell one event to everyone who listens."""
        self._spoke = self._recorder.now()
        since = self.seconds
        message = self._recorder.masker.mask(message)
        event = StepEvent(self.name, kind, round(self._spoke, 3), message, since, attempt or self.attempts, self.bytes)
        self._recorder.tell(event)

    async def keep_telling(self) -> None:
        """Say how far the step is whenever it was silent for a while; ends by cancellation."""
        while True:
            await anyio.sleep(max(0.1, self._spoke + _QUIET_SECONDS - self._recorder.now()))
            if self.running and self._recorder.now() - self._spoke >= _QUIET_SECONDS:
                size = f", {format_bytes(self.bytes)}" if self.bytes else ""
                self.emit("progress", f"{self.state}{size}")


class Recorder:
    """Keeps every step's record and passes events on.

    Args:
        masker: applied to every message before anyone sees it.
        on_event: the caller's hook, called with each step's events; what it raises is logged and changes nothing.
        log_line: takes each event as a line of text, for ``prep.log``.
        tracer: told of each step's events and of each HTTP attempt.
        begun: when steps began that are under way already, and under ``run`` when that did (``time.monotonic``).
    """

    def __init__(
        self,
        masker: Masker,
        on_event: Callable[[StepEvent], None] | None,
        log_line: Callable[[str], None],
        tracer: Tracer = UNTRACED,
        begun: Mapping[str, float] | None = None,
    ) -> None:
        self.masker = masker
        self.tracer = tracer
        self.steps: dict[str, StepRecord] = {}
        self._begun = begun or {}
        self._clock_start = self._begun.get(RUN, time.monotonic())
        self.started_at = datetime.now(UTC) - timedelta(seconds=self.now())
        self._on_event = on_event
        self._log_line = log_line

    def now(self) -> float:
        """Seconds since the run's start."""
        return time.monotonic() - self._clock_start

    def beginning_of(self, step: str) -> float:
        """When a step that begins now did begin, in seconds since the run's start."""
        return self._begun[step] - self._clock_start if step in self._begun else self.now()

    def add(self, names: Iterable[str]) -> None:
        """Make the records of a plan's steps, in the order in which they are reported."""
        for name in names:
            self.steps[name] = StepRecord(name, self)

    def tell(self, event: StepEvent) -> None:
        """Pass a step's event on."""
        self._log(event)
        self.tracer.event(event)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                _logger.exception("on_event raised for %s %s; the run goes on", event.step, event.kind)

    def run_event(self, kind: EventKind, message: str) -> None:
        """Log something about the run itself."""
        now = round(self.now(), 3)
        self._log(StepEvent(RUN, kind, now, self.masker.mask(message), now, 0, self.total_bytes))

    @contextmanager
    def attempt(self, step: str, url: str, request_id: str) -> Iterator[Attempt]:
        """Trace an HTTP attempt, from its start to its body's end or whatever it raises."""
        attempt = self.tracer.attempt(step, self.masker.mask(url), request_id)
        status: StepStatus = "failed"
        kind = message = ""
        try:
            yield attempt
            status = "succeeded"
        except PrepError as error:
            kind, message = type(error.__cause__ or error).__name__, self.masker.mask(str(error))
            raise
        except anyio.get_cancelled_exc_class():
            status = "cancelled"
            raise
        finally:
            attempt.end(status, kind, message)

    def request(self, step: str, request_id: str, message: str) -> None:
        """Log an HTTP attempt under the id that the API logs too."""
        record = self.steps[step]
        text = self.masker.mask(f"{message} (request {request_id})")
        self._log_line(_log_text("DEBUG", step, text))
        extra = {"event": "request", "step": step, "attempt": record.attempts, "bytes": record.bytes}
        _logger.debug("%s", text, extra={**extra, "seconds": record.seconds, "request_id": request_id})

    @property
    def total_bytes(self) -> int:
        """What all steps received."""
        return sum(step.bytes for step in self.steps.values())

    def _log(self, event: StepEvent) -> None:
        level = _LEVELS.get(event.kind, logging.INFO)
        self._log_line(_log_text(logging.getLevelName(level), event.step, event.message, event.kind == "output"))
        extra = {
            "event": event.kind,
            "step": event.step,
            "seconds": event.seconds,
            "attempt": event.attempt,
            "bytes": event.bytes,
        }
        _logger.log(level, "%s", event.message, extra=extra)


def _log_text(level: str, step: str, message: str, output: bool = False) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return format_line(now, level, step, message, output=output)


def format_line(when: str, level: str, step: str, message: str, *, output: bool) -> str:
    """One line of text for one event; what the install script wrote is marked by a bar."""
    return f"{when} {level:<7} {step:<10} {'| ' if output else ''}{message}"


def format_bytes(count: float) -> str:
    """A size as people write it."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
