"""The program's commands: from the words of a command line to an exit code, and the last words.

Nothing heavy is imported at the top: a wrong command line is answered at once, and each command loads what it needs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from kerutaprep._version import __version__
from kerutaprep.errors import InternalError, PrepError, SettingsError
from kerutaprep.options import options_help, parse_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from kerutaprep.settings import PrepSettings

_USAGE = """\
Gets a Keruta task's work directory ready.

usage: keruta-agent init [options]          prepare the work directory; the settings are below
       keruta-agent demo [DIRECTORY]        a whole run on an embedded API and git server
       keruta-agent report [FILE] [--svg FILE] [--trace FILE]
                                            draw a run's report [.keruta/prep.json]: as text, picture, Chrome trace
       keruta-agent --version

settings of init, as a flag and as a variable; a flag wins:
"""
_FOREIGN_COMMANDS = frozenset({"run", "execute"})


def run_command(words: Sequence[str]) -> int:
    """Run one command line and give its exit code; whatever fails is said on stderr's last line."""
    try:
        return _command(words)
    except PrepError as error:
        say_last(f"failed: {error.summary()}")
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the outermost boundary: what gets here is a bug, and has an exit code
        _show_place_of(error)
        say_last(f"failed: a bug in kerutaprep {__version__}, please report it: {type(error).__name__}")
        return InternalError.exit_code


def _command(words: Sequence[str]) -> int:
    command, *rest = words or ("--help",)
    if rest[:1] in (["--help"], ["-h"]):
        command = "--help"
    match command:
        case "init":
            return _init(rest)
        case "demo":
            return _demo(rest)
        case "report":
            return _report(rest)
        case "--version":
            return _say(f"kerutaprep {__version__}")
        case "--help" | "-h" | "help":
            return _say(_USAGE + options_help())
        case _ if command in _FOREIGN_COMMANDS:
            raise SettingsError(f"{command}: this image only prepares a work directory; its command is init")
    raise SettingsError(f"{command!a}: no such command; try keruta-agent --help")


def _init(words: Sequence[str]) -> int:
    values, problems = parse_arguments(words)
    settings = _settings(values, problems)
    from kerutaprep.console import configure_logging

    watch = configure_logging(settings.log_level, settings.log_format)
    from kerutaprep.supervision import supervise

    outcome = supervise(settings, watch)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the run is over; what is left is to say how it went
    if outcome.code:
        say_last(outcome.message)
    else:
        _write_termination_log(outcome.message)
    return outcome.code


def _settings(values: dict[str, str | list[str]], problems: list[str]) -> PrepSettings:
    from kerutaprep.settings import PrepSettings

    try:
        settings = PrepSettings(**values)
    except SettingsError as error:
        raise SettingsError(*problems, *error.problems) from None
    if problems:
        raise SettingsError(*problems)
    return settings


def _demo(words: Sequence[str]) -> int:
    from kerutaprep.demo import run_demo

    if len(words) > 1 or any(word.startswith("-") for word in words):
        raise SettingsError("demo takes nothing but the directory to prepare")
    return _say(run_demo(words[0] if words else None))


def _report(words: Sequence[str]) -> int:
    from kerutaprep.drawing import draw_report

    drawn = draw_report(words)
    return _say(drawn) if drawn else 0


def write_line(stream: TextIO | None, text: str) -> None:
    """Write a line to a stream that may be closed or have lost its reader, which is no reason to fail."""
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            stream.write(f"{text}\n")
            stream.flush()


def _say(text: str) -> int:
    write_line(sys.stdout, text)
    return 0


def say_last(message: str) -> None:
    """Say how a command ended, on stderr's last line and in the termination log."""
    write_line(sys.stderr, f"kerutaprep: {' '.join(message.split())}")
    _write_termination_log(f"kerutaprep: {message}")


def _write_termination_log(message: str) -> None:
    from kerutaprep.console import write_termination_log

    # Read here and not from the settings: a message about wrong settings goes there, too.
    write_termination_log(message, os.environ.get("KERUTA_TERMINATION_LOG") or None)


def _show_place_of(error: BaseException) -> None:
    """Show where a bug was met. Not the exception's text: it may hold anything, a secret too."""
    import traceback

    write_line(sys.stderr, "".join(traceback.format_tb(error.__traceback__)).rstrip())
