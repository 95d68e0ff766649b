"""A step's line of the live display."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerutaprep.errors import NotFoundError
from kerutaprep.events import Recorder
from kerutaprep.masking import Masker
from kerutaprep.terminal.step_line import Rates, draw_line, layout_for

if TYPE_CHECKING:
    from kerutaprep.events import StepRecord


def _step(name: str = "clone", *, begun: bool = True) -> StepRecord:
    recorder = Recorder(Masker([]), None, lambda _line: None)
    recorder.add([name])
    if begun:
        recorder.steps[name].begin()
    return recorder.steps[name]


def _line(step: StepRecord, width: int = 120, rate: float | None = None, *, blocks: bool = True) -> str:
    return draw_line(step, layout_for(width, [step.name]), rate, blocks=blocks).plain


@given(
    st.text(st.characters(categories=["L"]), min_size=1, max_size=40),
    st.text(),
    st.integers(min_value=10, max_value=300),
    st.none() | st.floats(min_value=-1, max_value=2),
    st.integers(min_value=0, max_value=2**50),
)
def test_a_line_keeps_to_its_width(name: str, state: str, width: int, fraction: float | None, size: int) -> None:
    """Whatever a step is called, does and received, its line is one line and no wider than the terminal."""
    step = _step(name)
    step.state, step.bytes = state, size
    step.measure = lambda: fraction
    line = draw_line(step, layout_for(width, [name]), float(size), blocks=True)
    assert line.cell_len <= width
    assert len(line.plain.splitlines()) == 1


def test_git_s_own_figures_are_the_clone_s() -> None:
    """A clone under way has the percentage, bytes and rate that git says, and what git is doing."""
    step = _step()
    step.measure = lambda: 0.45
    step.state = "receiving objects 45 %, 12.30 MiB | 4.10 MiB/s"
    assert _line(step).split() == [
        "clone",
        "━" * 17 + "─" * 20,
        "45%",
        "12.30",
        "MiB",
        "4.10",
        "MiB/s",
        "0.0",
        "s",
        "receiving",
        "objects",
    ]


@pytest.mark.parametrize(
    ("width", "shown"), [(40, ["45%"]), (44, ["45%", "2.0 KiB"]), (80, ["45%", "2.0 KiB", "1.0 KiB/s"])]
)
def test_a_narrow_line_has_what_matters_most(width: int, shown: list[str]) -> None:
    """The percentage goes before bytes, and bytes before the rate; name, bar and seconds are always there."""
    step = _step()
    step.bytes = 2048
    step.measure = lambda: 0.45
    line = _line(step, width, 1024.0)
    assert [fact for fact in ("45%", "2.0 KiB", "1.0 KiB/s") if fact in line] == shown
    assert line.startswith("clone ━━")
    assert "0.0 s" in line


def test_a_step_that_ended_says_how() -> None:
    """A step that waits, succeeded, failed, was stopped or skipped says so."""
    waiting, done, failed, stopped, skipped = _step(begun=False), _step(), _step(), _step(), _step()
    done.finish()
    failed.fail(NotFoundError("gone"))
    stopped.cancel()
    skipped.skip("nothing to do")
    skipped.finish()
    words = [_line(step).split()[-1] for step in (waiting, done, failed, stopped, skipped)]
    assert words == ["waiting", "succeeded", "failed", "cancelled", "skipped"]


def test_a_line_of_ascii() -> None:
    """Where blocks can't be shown, neither the bar nor a name is anything but ASCII."""
    assert _line(_step("文書"), blocks=False).isascii()


def test_a_rate_is_of_what_came() -> None:
    """A step that received nothing has no rate, and one that ended has that of its whole time."""
    step = _step()
    assert Rates().of(step) is None
    step.received(1000)
    step.finish()
    assert step.start is not None
    step.end = step.start + 0.5
    assert Rates().of(step) == 2000
