"""The program's commands: from the words of a command line to an exit code, and the last words.

Nothing heavy is imported at the top: a wrong command line is answered at once, and each command loads what it needs.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

from kerutaprep._version import __version__
from kerutaprep.arguments import parse_arguments
from kerutaprep.errors import InternalError, PrepError, SettingsError
from kerutaprep.headstart import Checked, HeadStart, is_traced
from kerutaprep.lastwords import leave_in_pod, say_last, write_line
from kerutaprep.options import check_all, options_help

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any

    from kerutaprep.settings import PrepSettings

_USAGE = """\
Gets a Keruta task's work directory ready.

usage: keruta-agent init [options]          prepare the work directory; the settings are below
       keruta-agent check [options]         what init would meet, without writing anything
       keruta-agent demo [DIRECTORY]        a whole run on an embedded API and git server
       keruta-agent report [FILE] [--svg FILE] [--trace FILE]
                                            draw a run's report [.keruta/prep.json]: as text, picture, Chrome trace
       keruta-agent --version

settings of init and check, as a flag and as a variable; a flag wins:
"""
_FOREIGN_COMMANDS = frozenset({"run", "execute"})


def run_command(words: Sequence[str]) -> int:
    """Run one command line and give its exit code; whatever fails is said on stderr's last line."""
    pods_run = list(words[:1]) != ["check"]  # a check is a person's: it leaves the pod's last words alone
    try:
        return _command(words)
    except PrepError as error:
        say_last(f"failed: {error.summary()}", pods_run=pods_run)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the outermost boundary: what gets here is a bug, and has an exit code
        _show_place_of(error)
        say_last(
            f"failed: a bug in kerutaprep {__version__}, please report it: {type(error).__name__}", pods_run=pods_run
        )
        return InternalError.exit_code


def _command(words: Sequence[str]) -> int:
    command, *rest = words or ("--help",)
    if rest[:1] in (["--help"], ["-h"]):
        command = "--help"
    match command:
        case "init":
            return _init(rest)
        case "check":
            return _check(rest)
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
    environment = dict(os.environ)
    checked = None if problems else check_all(values, environment)
    head_start = HeadStart()
    _stop_by_signal(head_start)
    try:
        if checked is not None:
            if not str(checked["api_url"]).startswith("https:") and not is_traced(environment):
                _read_no_certificates()
            head_start.begin(Checked(checked, environment))
        settings = _settings({**values, "environment": environment}, problems)
        return _run(settings, head_start)
    finally:
        head_start.give_up()


def _run(settings: PrepSettings, head_start: HeadStart) -> int:
    from kerutaprep.terminal.console import configure_logging

    watch = configure_logging(settings.log_level, settings.log_format)
    from kerutaprep.supervision import supervise

    if head_start.began:
        import kerutaprep.api.client  # noqa: F401 - git is at work and needs nothing of us; else it is loaded once it is
    gc.freeze()  # what is loaded stays: looking through it again and again would cost 40 ms
    gc.enable()
    outcome = supervise(settings, head_start, watch)
    if outcome.code:
        say_last(outcome.message)
    else:
        leave_in_pod(outcome.message)
    return outcome.code


def _stop_by_signal(head_start: HeadStart) -> None:
    """Answer signals by leaving nothing behind, until the run has handlers of its own."""

    def leave(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)  # a second one would leave before git is gone
        head_start.give_up()
        say_last(f"stopped by {signal.Signals(number).name} before anything was begun")
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)


def _read_no_certificates() -> None:
    """Keep aiohttp from reading the machine's certificates when it is imported, which takes 35 ms.

    OpenSSL looks these variables up by itself. Who needs certificates, git and ``api`` among them, goes by the
    environment as it was.
    """
    os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = os.devnull


def _check(words: Sequence[str]) -> int:
    from kerutaprep.check.findings import Finding

    try:
        settings = _settings(*parse_arguments(words))
    except SettingsError as error:
        for problem in error.problems:
            write_line(sys.stdout, Finding("failed", "setting", problem).line(colour=False))
        raise
    from kerutaprep.check.everything import supervise_check
    from kerutaprep.terminal.console import configure_logging

    configure_logging(settings.log_level, "json" if settings.log_format == "json" else "text")
    colour = sys.stdout is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    outcome = supervise_check(settings, lambda line: write_line(sys.stdout, line), colour=colour)
    if outcome.code:
        say_last(outcome.message, pods_run=False)
    return outcome.code


def _settings(values: dict[str, Any], problems: list[str]) -> PrepSettings:
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
    outcome = run_demo(words[0] if words else None)
    if outcome.code:
        say_last(outcome.message)
        return outcome.code
    return _say(outcome.message)


def _report(words: Sequence[str]) -> int:
    from kerutaprep.terminal.drawing import draw_report

    drawn = draw_report(words)
    return _say(drawn) if drawn else 0


def _say(text: str) -> int:
    write_line(sys.stdout, text)
    return 0


def _show_place_of(error: BaseException) -> None:
    """Show where a bug was met. Not the exception's text: it may hold anything, a secret too."""
    import traceback

    write_line(sys.stderr, "".join(traceback.format_tb(error.__traceback__)).rstrip())
