"""The program: answers signals from its first line on, runs a command, and leaves with its exit code.

Only what that takes is imported at the top. As PID 1 a process gets no signal for which it has no handler, so every
millisecond before there is one counts.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

from kerutaprep.lastwords import say_last

TYPE_CHECKING = False  # typing itself is not imported here
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn


def main() -> NoReturn:
    """Run the program and leave the process with its exit code."""
    gc.disable()  # what is loaded next is not garbage; looking for some would cost 15 ms
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave_at_once)
    for descriptor in (0, 1, 2):
        _require_open(descriptor)
    from kerutaprep.commands import run_command

    # Nothing is left to tear down, and tearing it down would take longer than a small run's git.
    os._exit(run_command(sys.argv[1:]))


def _leave_at_once(number: int, _frame: FrameType | None) -> None:
    """Answer a signal while nothing runs yet that would have to be stopped; the run has a handler of its own."""
    say_last(f"stopped by {signal.Signals(number).name} before anything was begun", pods_run=sys.argv[1:2] != ["check"])
    os._exit(128 + number)


def _require_open(descriptor: int) -> None:
    """Let a standard stream that was closed lead nowhere, lest a file of ours gets its number."""
    try:
        os.fstat(descriptor)
    except OSError:
        os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    main()
