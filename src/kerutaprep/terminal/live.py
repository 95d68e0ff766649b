"""A run live at a terminal: a line for each step, below what is logged."""

from __future__ import annotations

import io
import logging
import re
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import anyio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from kerutaprep.plan import RUN
from kerutaprep.report import step_report
from kerutaprep.terminal.step_line import Rates, draw_line, layout_for
from kerutaprep.terminal.waterfall import draw_bars

if TYPE_CHECKING:
    from typing import TextIO

    from anyio.abc import TaskStatus

    from kerutaprep.events import Recorder
    from kerutaprep.terminal.style import Style

_PAUSE = 0.1
"""Seconds between two pictures."""
_IN_THE_LINES = frozenset({"started", "progress", "finished", "skipped", "failed", "cancelled"})
"""Events that a step's own line shows, and those of the run that its end does."""
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class LiveDisplay:
    """Everything that is shown of one run while it runs.

    Args:
        stream: a terminal, which is stderr.
        style: what it can show.
    """

    def __init__(self, stream: TextIO, style: Style) -> None:
        self._style = style
        self._rates = Rates()
        self._console = Console(
            file=cast("TextIO", _Patient(stream)),
            force_terminal=True,
            no_color=not style.colour,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )

    def handler(self) -> logging.Handler:
        """What shows log records: above the lines while they are there."""
        handler = logging.StreamHandler(_Above(self._console))
        handler.addFilter(lambda record: not _is_in_the_lines(record))
        handler.setFormatter(_Formatter())
        return handler

    async def watch(self, recorder: Recorder, *, task_status: TaskStatus[None]) -> None:
        """Show how the steps are doing until it is cancelled; what stays on the terminal is the run's waterfall."""
        try:
            with Live(
                get_renderable=lambda: self._picture(recorder),
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            ) as live:
                task_status.started()
                while True:
                    live.refresh()
                    await anyio.sleep(_PAUSE)
        finally:
            self._leave_waterfall(recorder)

    def _picture(self, recorder: Recorder) -> Text:
        """The lines; where the terminal is too low for all, those of the steps that are at work."""
        records = list(recorder.steps.values())
        if len(records) > self._console.height - 2:
            records = [record for record in records if record.running][: max(1, self._console.height - 2)]
        layout = layout_for(self._console.width, [record.name for record in recorder.steps.values()])
        lines = [draw_line(record, layout, self._rates.of(record), blocks=self._style.blocks) for record in records]
        return Text("\n").join(lines)

    def _leave_waterfall(self, recorder: Recorder) -> None:
        style = self._style._replace(width=self._console.width)
        bars = draw_bars([step_report(step) for step in recorder.steps.values()], recorder.now(), style)
        steps = recorder.steps.values()
        if all(step.status in {"succeeded", "skipped"} for step in steps):
            detail = recorder.steps["clone"].detail if "clone" in recorder.steps else None
            bars.append(f"ready in {recorder.now():.2f} s" + (f": {detail}" if detail else ""))
        self._console.print(Text.from_ansi("\n".join(bars)), soft_wrap=True)


def _is_in_the_lines(record: logging.LogRecord) -> bool:
    event, step = record.__dict__.get("event"), record.__dict__.get("step")
    return event in _IN_THE_LINES and (step != RUN or event not in {"started", "progress"})


class _Formatter(logging.Formatter):
    """The step and the message: the time is in the lines below."""

    def format(self, record: logging.LogRecord) -> str:
        step, output = record.__dict__.get("step", record.name), record.__dict__.get("event") == "output"
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            message = f"\x1b[{31 if record.levelno >= logging.ERROR else 33}m{message}\x1b[0m"
        text = f"\x1b[90m{step:<10}\x1b[0m {'| ' if output else ''}{message}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class _Above(io.TextIOBase):
    """Takes lines and shows them above what is live. Colours pass; what else a script does to a terminal does not."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> int:
        shown = Text.from_ansi(text.rstrip("\n"))
        shown.plain = _UNPRINTABLE.sub(" ", shown.plain)
        self._console.print(shown, soft_wrap=True)
        return len(text)


class _Patient(io.TextIOBase):
    """A terminal that may go away, which is no reason to fail."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the base class has a plain attribute, which none can set
        return self._stream.encoding

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()
