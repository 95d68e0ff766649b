"""What the program shows: log records on stderr."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from kerutaprep.events import format_line

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


def configure_logging(level: str, log_format: str) -> None:
    """Send every record to stderr; ours from ``level`` on, other libraries' from WARNING on."""
    handler = logging.StreamHandler(sys.stderr) if sys.stderr is not None else logging.NullHandler()
    handler.setFormatter(JSONFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("kerutaprep").setLevel(level)
    logging.raiseExceptions = False  # a reader of stderr that went away is no reason to fail
