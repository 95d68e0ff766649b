"""What a terminal can show."""

from __future__ import annotations

import io
import os
import tempfile
from typing import TYPE_CHECKING

import pytest

from kerutaprep.terminal.style import Style, is_capable_terminal, style_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO


@pytest.fixture
def tty() -> Iterator[TextIO]:
    """A terminal whose size nobody has said."""
    master, slave = os.openpty()
    with open(slave, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a descriptor, not a path
        yield stream
    os.close(master)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm"}, Style(80, colour=True)),
        ({"TERM": "xterm", "COLUMNS": "132"}, Style(132, colour=True)),
        ({"TERM": "xterm", "COLUMNS": "0"}, Style(80, colour=True)),
        ({"TERM": "xterm", "COLUMNS": "wide"}, Style(80, colour=True)),
        ({"TERM": "xterm", "NO_COLOR": "1"}, Style()),
        ({"TERM": "xterm", "NO_COLOR": ""}, Style(80, colour=True)),
        ({"TERM": "dumb"}, Style()),
        ({}, Style()),
        ({"TERM": "xterm", "LC_ALL": "C"}, Style(80, colour=True, blocks=False)),
        ({"TERM": "xterm", "LANG": "POSIX"}, Style(80, colour=True, blocks=False)),
        ({"TERM": "xterm", "LANG": "C", "LC_ALL": "C.UTF-8"}, Style(80, colour=True)),
    ],
)
def test_a_terminal_s_style(tty: TextIO, environment: dict[str, str], expected: Style) -> None:
    """Width, colours and characters come from the terminal, and the environment says otherwise."""
    assert style_of(tty, environment) == expected


def test_what_is_no_terminal_has_no_colours() -> None:
    """A file, a stream in memory and none at all are 80 columns without colour; an unknown encoding is ASCII."""
    with tempfile.TemporaryFile("w", encoding="utf-8") as file:
        assert style_of(file, {"TERM": "xterm"}) == Style()
        assert not is_capable_terminal(file, {"TERM": "xterm"})
    assert style_of(io.StringIO(), {"TERM": "xterm"}) == Style(blocks=False)
    assert style_of(None, {"TERM": "xterm"}) == Style(blocks=False)
    with tempfile.TemporaryFile("w", encoding="latin-1") as file:
        assert style_of(file, {}) == Style(blocks=False)
