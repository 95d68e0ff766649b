"""What the program shows: log records on stderr, or a live display."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kerutaprep.events import format_line
from kerutaprep.terminal.style import is_capable_terminal, style_of

if TYPE_CHECKING:
    from typing import Protocol, TextIO

    from anyio.abc import TaskStatus

    from kerutaprep.events import Recorder
    from kerutaprep.terminal.live import LiveDisplay

    class Watch(Protocol):
        """Shows how a run is doing until it is cancelled."""

        async def __call__(self, recorder: Recorder, *, task_status: TaskStatus[None]) -> None:
            """Say on ``task_status`` when it shows something."""


_FIELDS = ("event", "step", "seconds", "attempt", "bytes", "request_id")


class TextFormatter(logging.Formatter):
    """One line for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        fields = record.__dict__
        step, output = fields.get("step", record.name), fields.get("event") == "output"
        text = format_line(_time(record), record.levelname, step, record.getMessage(), output=output)
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JSONFormatter(logging.Formatter):
    """One JSON object on one line for each record, with RFC 3339 times."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        entry: dict[str, object] = {"time": _time(record), "level": record.levelname, "logger": record.name}
        entry |= {name: value for name in _FIELDS if (value := record.__dict__.get(name)) is not None}
        entry["message"] = record.getMessage()
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def configure_logging(level: str, log_format: str) -> Watch | None:
    """Send every record to stderr; ours from ``level`` on, other libraries' from WARNING on.

    Args:
        level: of our own records.
        log_format: ``text``, ``json``, or ``auto``: at a terminal a live display, else text.

    Returns:
        for ``auto`` at a terminal, and with rich installed, what shows a run live; else None.
    """
    live = log_format == "auto" and is_capable_terminal(sys.stderr, os.environ)
    display = _live_display(sys.stderr) if live else None
    handler = display.handler() if display else _line_handler(log_format)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("kerutaprep").setLevel(level)
    logging.raiseExceptions = False  # a reader of stderr that went away is no reason to fail
    if live and display is None:
        logging.getLogger("kerutaprep").info("live progress needs rich: pip install 'kerutaprep[terminal]'")
    return display.watch if display else None


def _line_handler(log_format: str) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr) if sys.stderr is not None else logging.NullHandler()
    handler.setFormatter(JSONFormatter() if log_format == "json" else TextFormatter())
    return handler


def _live_display(stream: TextIO) -> LiveDisplay | None:
    try:
        from kerutaprep.terminal.live import LiveDisplay  # noqa: PLC0415 - only people at a terminal need rich, and may not have it
    except ImportError:
        return None
    return LiveDisplay(stream, style_of(stream, os.environ))
