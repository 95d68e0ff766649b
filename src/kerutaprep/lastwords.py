"""How a command ended: stderr's last line, and the pod's termination log.

Imports nothing beyond what Python itself has loaded: it is used in signal handlers too, which may come in the middle of
any import.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from typing import TextIO

TERMINATION_LOG = "/dev/termination-log"
"""Kubernetes's own, where there is one."""
_LONGEST_TERMINATION_MESSAGE = 4096
"""Bytes that Kubernetes reads of it."""


def write_line(stream: TextIO | None, text: str) -> None:
    """Write a line to a stream that may be closed or have lost its reader, which is no reason to fail."""
    if stream is not None:
        try:
            stream.write(f"{text}\n")
            stream.flush()
        except (OSError, ValueError, RuntimeError):
            return  # the last is a signal's that came while the stream was being written to


def say_last(message: str, *, pods_run: bool = True) -> None:
    """Say how a command ended, on stderr's last line and, where it is the pod's run, in the termination log."""
    write_line(sys.stderr, f"kerutaprep: {' '.join(message.split())}")
    if pods_run:
        leave_in_pod(f"kerutaprep: {message}")


def leave_in_pod(message: str) -> None:
    """Leave a message in the termination log that the environment names, else in Kubernetes's own.

    The environment is read here: a message about wrong settings goes there, too.
    """
    write_termination_log(message, os.environ.get("KERUTA_TERMINATION_LOG") or None)


def write_termination_log(message: str, configured: str | None) -> None:
    """Leave a message for ``kubectl describe pod``, at most 4096 bytes of it.

    Written in place, since it is a bind mount. That it can't be written harms nothing.

    Args:
        message: one line.
        configured: the path, None for Kubernetes's own where there is one.
    """
    data = message.encode(errors="replace")[:_LONGEST_TERMINATION_MESSAGE]
    data = data.decode(errors="ignore").encode()
    flags = os.O_WRONLY | os.O_TRUNC | (os.O_CREAT if configured else 0)
    try:
        descriptor = os.open(configured or TERMINATION_LOG, flags, 0o644)
    except OSError:
        return
    try:
        os.write(descriptor, data)
    except OSError:
        return
    finally:
        os.close(descriptor)
