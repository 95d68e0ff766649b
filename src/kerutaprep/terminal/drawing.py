"""The report command: which drawings of a run are asked for, and where they go."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kerutaprep.errors import SettingsError
from kerutaprep.report import read_report
from kerutaprep.terminal.chrome_trace import draw_trace
from kerutaprep.terminal.picture import draw_svg
from kerutaprep.terminal.style import style_of
from kerutaprep.terminal.waterfall import draw_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kerutaprep.report import Report

_REPORT = ".keruta/prep.json"
_DRAWINGS: dict[str, Callable[[Report], str]] = {"--svg": draw_svg, "--trace": draw_trace}


def draw_report(words: Sequence[str]) -> str:
    """Carry out ``keruta-agent report``: files are written by rename, so that no half of one is left.

    Args:
        words: the rest of the command line: a report's file, ``--svg FILE``, ``--trace FILE``.

    Returns:
        what goes to stdout: the waterfall as text, unless a file was asked for; the drawing for the file ``-``.

    Raises:
        SettingsError: the words make no sense, the report can't be read, or a file can't be written.
    """
    targets, files = _parse(words)
    report = read_report(Path(files[0] if files else _REPORT))
    if not targets:
        return draw_text(report, style_of(sys.stdout, os.environ))
    shown = []
    for flag, target in targets.items():
        drawing = _DRAWINGS[flag](report)
        if target == "-":
            shown.append(drawing.rstrip("\n"))
        else:
            _write(flag, Path(target), drawing)
    return "\n".join(shown)


def _parse(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    targets: dict[str, str] = {}
    files = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if flag in _DRAWINGS:
            if not equals:
                value = rest.pop(0) if rest else ""
            if not value:
                raise SettingsError(f"{flag}: its file is missing")
            targets[flag] = value
        else:
            files.append(word)
    if len(files) > 1 or any(word.startswith("-") for word in files):
        raise SettingsError("report takes a FILE, --svg FILE and --trace FILE")
    return targets, files


def _write(flag: str, path: Path, text: str) -> None:
    try:
        if path.exists() and not path.is_file():  # a pipe or a device, which a rename would replace
            path.write_text(text, encoding="utf-8")
            return
        path = path.resolve()
        part = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError before Python 3.13
        raise SettingsError(f"{flag}: {path} can't be written: {getattr(error, 'strerror', None) or error}") from error
