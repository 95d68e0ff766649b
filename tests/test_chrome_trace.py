"""A run as a trace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hypothesis import given

from kerutaprep.terminal.chrome_trace import draw_trace
from tests.reports import a_report, a_step, any_report

if TYPE_CHECKING:
    from kerutaprep.report import Report


@given(any_report())
def test_a_trace_has_one_complete_event_for_each_step_that_started(report: Report) -> None:
    """Each step is a named thread of one process; its event has whole microseconds and what the report says of it."""
    trace = json.loads(draw_trace(report))
    events = trace["traceEvents"]
    assert {event["ph"] for event in events} <= {"M", "X"}
    assert {event["pid"] for event in events} == {1}
    threads = {
        event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name" and event["ph"] == "M"
    }
    assert list(threads.values()) == [step["name"] for step in report["steps"]]
    complete = [event for event in events if event["ph"] == "X"]
    started = [step for step in report["steps"] if step["start"] is not None and step["end"] is not None]
    for event, step in zip(complete, started, strict=True):
        assert event["name"] == threads[event["tid"]] == step["name"]
        assert isinstance(event["ts"], int)
        assert isinstance(event["dur"], int)
        assert event["dur"] >= 0
        assert abs(event["ts"] / 1e6 - (step["start"] or 0)) < 1e-6
        assert event["args"] == {name: value for name, value in step.items() if name not in {"name", "start", "end"}}


def test_a_trace_names_the_run() -> None:
    """The process is the run, with how it ended."""
    trace = json.loads(draw_trace(a_report(a_step("succeeded", 0.25, 1.5))))
    names = [event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "process_name"]
    assert names == ["kerutaprep: failed in 2.00 s"]
    assert trace["otherData"]["exit_code"] == 66
    (event,) = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert (event["ts"], event["dur"], event["cat"]) == (250_000, 1_250_000, "succeeded")
