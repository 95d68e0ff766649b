"""A run's report (``prep.json``): made, written and read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, TypedDict, TypeGuard, get_args

from kerutaprep._version import __version__
from kerutaprep.errors import SettingsError
from kerutaprep.events import StepStatus
from kerutaprep.workspace import disk_errors

if TYPE_CHECKING:
    from pathlib import Path

    from kerutaprep.events import Recorder, StepRecord

Outcome = Literal["succeeded", "failed", "cancelled"]
_LONGEST_RUN = 1e9
"""Seconds that no run takes; a file that says so, or infinity, is no report."""


class StepReport(TypedDict):
    """One step, as it is in ``prep.json``."""

    name: str
    status: StepStatus
    start: float | None
    """Seconds since the run's start, None where it never started."""
    end: float | None
    attempts: int
    bytes: int
    detail: str | None


class Report(TypedDict):
    """A run, as it is in ``prep.json``."""

    version: str
    outcome: Outcome
    exit_code: int
    started_at: str
    """RFC 3339."""
    seconds: float
    commit: str | None
    ref: str | None
    steps: list[StepReport]


def make_report(recorder: Recorder, outcome: Outcome, exit_code: int, *, commit: str | None, ref: str | None) -> Report:
    """Put together what a run's records say."""
    return Report(
        version=__version__,
        outcome=outcome,
        exit_code=exit_code,
        started_at=recorder.started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        seconds=round(recorder.now(), 3),
        commit=commit,
        ref=ref,
        steps=[step_report(step) for step in recorder.steps.values()],
    )


def write_report(report: Report, path: Path) -> None:
    """Write a report as JSON.

    Raises:
        WorkDirError: the disk refuses.
    """
    with disk_errors("writing", path):
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def step_report(step: StepRecord) -> StepReport:
    """One step's part of the report."""
    return StepReport(
        name=step.name,
        status=step.status,
        start=None if step.start is None else round(step.start, 3),
        end=None if step.end is None else round(step.end, 3),
        attempts=step.attempts,
        bytes=step.bytes,
        detail=step.detail,
    )


def read_report(path: Path) -> Report:
    """Read a ``prep.json``.

    Raises:
        SettingsError: there is none, or it is none.
    """
    try:
        report: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is no report of kerutaprep") from error
    if not _is_report(report):
        raise SettingsError(f"{path} is no report of kerutaprep")
    return report


def _is_report(value: object) -> TypeGuard[Report]:
    return (
        isinstance(value, dict)
        and value.get("outcome") in get_args(Outcome)
        and isinstance(value.get("exit_code"), int)
        and _is_moment(value.get("seconds"))
        and all(isinstance(value.get(name), str) for name in ("version", "started_at"))
        and all(isinstance(value.get(name, 0), str | None) for name in ("commit", "ref"))
        and isinstance(steps := value.get("steps"), list)
        and all(map(_is_step, steps))
    )


def _is_step(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and value.get("status") in get_args(StepStatus)
        and all(value.get(name, "") is None or _is_moment(value.get(name)) for name in ("start", "end"))
        and all(isinstance(count := value.get(name), int) and count >= 0 for name in ("attempts", "bytes"))
        and isinstance(value.get("detail", 0), str | None)
    )


def _is_moment(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < _LONGEST_RUN
