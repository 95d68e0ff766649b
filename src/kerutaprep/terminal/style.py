"""What a terminal can show: its width, its colours and its characters, from the stream and the environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

_USUAL_WIDTH = 80
_DRAWN = "█▓▒░━─…·"
"""Every character beyond ASCII that is drawn."""


class Style(NamedTuple):
    """How to draw for one stream."""

    width: int = _USUAL_WIDTH
    """Columns."""
    colour: bool = False
    blocks: bool = True
    """Whether block characters can be shown; else it is all ASCII."""


def style_of(stream: TextIO | None, environment: Mapping[str, str]) -> Style:
    """See what a stream can show.

    Colours are for terminals alone, and only without ``NO_COLOR`` (https://no-color.org). A locale that is C by name
    is taken at its word, although Python writes UTF-8 there (PEP 540).
    """
    colour = is_capable_terminal(stream, environment) and not environment.get("NO_COLOR")
    locale = environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG")
    return Style(_width(stream, environment), colour, locale not in {"C", "POSIX"} and _can_encode(stream))


def is_capable_terminal(stream: TextIO | None, environment: Mapping[str, str]) -> bool:
    """Whether a stream is a terminal that knows more than lines; one without a name (``TERM``) may be anything."""
    return stream is not None and stream.isatty() and environment.get("TERM", "") not in {"", "dumb", "unknown"}


def _width(stream: TextIO | None, environment: Mapping[str, str]) -> int:
    columns = environment.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns[:6]) > 0:
        return int(columns[:6])
    try:
        return (os.get_terminal_size(stream.fileno()).columns if stream is not None else 0) or _USUAL_WIDTH
    except (OSError, ValueError):
        return _USUAL_WIDTH


def _can_encode(stream: TextIO | None) -> bool:
    try:
        _DRAWN.encode((stream.encoding if stream is not None else None) or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
