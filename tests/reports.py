"""Reports of runs: any, and plain ones."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from kerutaprep.events import StepStatus
from kerutaprep.report import Outcome, Report, StepReport

SECONDS = st.floats(min_value=0, max_value=1e6).map(lambda value: round(value, 3))
WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30)
"""Of characters that XML may hold and that end no line."""
STATUSES: tuple[StepStatus, ...] = get_args(StepStatus)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@st.composite
def _steps(draw: st.DrawFn, total: float) -> StepReport:
    start, end = sorted(draw(st.tuples(*[st.floats(min_value=0, max_value=total)] * 2)))
    began = draw(st.booleans())
    return StepReport(
        name=draw(WORDS),
        status=draw(st.sampled_from(STATUSES)) if began else "cancelled",
        start=round(start, 3) if began else None,
        end=round(end, 3) if began else None,
        attempts=draw(st.integers(min_value=0, max_value=1001)),
        bytes=draw(st.integers(min_value=0, max_value=2**50)),
        detail=draw(st.none() | WORDS),
    )


@st.composite
def any_report(draw: st.DrawFn) -> Report:
    """Any report that a run may leave."""
    total = draw(SECONDS)
    return Report(
        version=draw(WORDS),
        outcome=draw(st.sampled_from(OUTCOMES)),
        exit_code=draw(st.integers(min_value=0, max_value=255)),
        started_at="2026-01-02T03:04:05.678Z",
        seconds=total,
        commit=draw(st.none() | st.just("0a" * 20)),
        ref=draw(st.none() | WORDS),
        steps=draw(st.lists(_steps(total), min_size=1, max_size=8)),
    )


def a_step(status: StepStatus, start: float | None = 0.0, end: float | None = 1.0, **changes: object) -> StepReport:
    """One step, of documents where nothing else is said."""
    step = StepReport(name="documents", status=status, start=start, end=end, attempts=1, bytes=0, detail=None)
    step.update(changes)  # type: ignore[typeddict-item]  # which key has which type is not followed through a mapping
    return step


def a_report(*steps: StepReport, outcome: Outcome = "failed", seconds: float = 2.0) -> Report:
    """A run of some steps."""
    return Report(
        version="1",
        outcome=outcome,
        exit_code=66,
        started_at="2026-01-02T03:04:05.678Z",
        seconds=seconds,
        commit="0a" * 20,
        ref="main",
        steps=list(steps),
    )
