"""A terminal to run a program at: a real pseudo-terminal, with a screen that shows what a person would see."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import termios
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pyte

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTINGS = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
_FORGOTTEN = ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR", "COLORTERM")


class Terminal:
    """A program's terminal.

    Args:
        program: runs at it.
        master: the terminal's own side.
        columns: its width.
        rows: its height.
    """

    def __init__(self, program: subprocess.Popen[bytes], master: int, columns: int, rows: int) -> None:
        self.program = program
        self.written = b""
        """Everything that the program wrote."""
        self._master = master
        self._screen = pyte.HistoryScreen(columns, rows, history=1000, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        """What is to be seen, from the first line to the last that has something."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    @property
    def text(self) -> str:
        """The same as one text."""
        return "\n".join(self.lines)

    @property
    def cursor_is_shown(self) -> bool:
        """Whether the cursor is visible."""
        return not self._screen.cursor.hidden

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def hang_up(self) -> None:
        """Go away, as a closed window does."""
        if self._master >= 0:
            os.close(self._master)
        self._master = -1

    async def shows(self, *texts: str) -> None:
        """Wait until all of these are on the screen at a time."""
        while not all(text in self.text for text in texts):
            assert await self._read(), self.text

    async def shows_last(self, *words: str) -> None:
        """Wait until the last lines begin with these words, one each: a display may be read while it is drawn anew."""
        while [(line.split() or [""])[0] for line in self.lines[-len(words) :]] != list(words):
            assert await self._read(), self.text

    async def ends(self) -> int:
        """Wait for the program's end, and give its exit code."""
        while await self._read():
            pass
        return await anyio.to_thread.run_sync(self.program.wait)

    async def _read(self) -> bool:
        await anyio.wait_readable(self._master)
        try:
            data = os.read(self._master, 65536)
        except OSError:  # how Linux says that nobody has the terminal open any more
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)


@contextmanager
def terminal(command: list[str], *, columns: int = 80, rows: int = 40, **environment: str) -> Iterator[Terminal]:
    """Run a program at a terminal that is its controlling one, so that keys become signals."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    known = {name: value for name, value in os.environ.items() if name not in _FORGOTTEN}
    with subprocess.Popen(
        ["setsid", "--ctty", *command],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**known, **_SETTINGS, **environment},
    ) as program:
        os.close(slave)
        screen = Terminal(program, master, columns, rows)
        try:
            yield screen
        finally:
            program.kill()
            screen.hang_up()
