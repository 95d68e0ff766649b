"""A run as a trace that ui.perfetto.dev and chrome://tracing open (Trace Event Format, JSON object form)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kerutaprep.report import Report, StepReport

_RUN = 1
"""The process id: one run is one process."""


def draw_trace(report: Report) -> str:
    """Give a run's trace: the run as a process, each step as a thread with one complete event.

    Times are microseconds since the run's start. A step that never started is a thread without an event.
    """
    events = [
        _named("process_name", 0, f"kerutaprep: {report['outcome']} in {report['seconds']:.2f} s"),
        _metadata("process_labels", 0, {"labels": f"exit code {report['exit_code']}"}),
    ]
    for thread, step in enumerate(report["steps"], 1):
        events += [
            _named("thread_name", thread, step["name"]),
            _metadata("thread_sort_index", thread, {"sort_index": thread}),
        ]
        if step["start"] is not None and step["end"] is not None:
            events.append(_complete(step, thread, step["start"], step["end"]))
    run = {name: report[name] for name in ("version", "outcome", "exit_code", "started_at", "seconds", "commit", "ref")}
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms", "otherData": run}, indent=1) + "\n"


def _complete(step: StepReport, thread: int, start: float, end: float) -> dict[str, object]:
    return {
        "ph": "X",
        "name": step["name"],
        "cat": step["status"],
        "pid": _RUN,
        "tid": thread,
        "ts": round(start * 1e6),
        "dur": max(0, round((end - start) * 1e6)),
        "args": {name: step[name] for name in ("status", "attempts", "bytes", "detail")},
    }


def _named(kind: str, thread: int, name: str) -> dict[str, object]:
    return _metadata(kind, thread, {"name": name})


def _metadata(kind: str, thread: int, args: dict[str, object]) -> dict[str, object]:
    return {"ph": "M", "name": kind, "pid": _RUN, "tid": thread, "ts": 0, "args": args}
