"""The real program at a real terminal."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import pytest
from aiohttp import web

from tests.fakes import Stage, run_program, status
from tests.terminals import terminal

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

_STEPS = ("workspace", "repository", "clone", "exclude", "documents", "script", "install")
_SIZE = 1024 * 1024 * 4
_SCRIPT = b"#!/bin/sh\nprintf 'one\\033[2J \\033[35mpurple\\033[0m bell\\007\\n'\necho two\n"
_COLOUR = re.compile(rb"\x1b\[[0-9;]*(?:3[0-7]|9[0-7])[0-9;]*m")


@dataclass
class _Half:
    """A document of which the second half waits."""

    whole: anyio.Event = field(default_factory=anyio.Event)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(_SIZE)})
        await response.prepare(request)
        await response.write(bytes(_SIZE // 2))
        await self.whole.wait()
        await response.write(bytes(_SIZE // 2))
        return response


@pytest.fixture
def half(stage: Stage) -> _Half:
    """The stage's document comes by halves; its script says two lines."""
    answer = _Half()
    stage.content.scripts["shop"] = _SCRIPT
    stage.api.on("task-1/content", answer)
    return answer


@pytest.mark.parametrize("columns", [40, 80, 200])
async def test_each_step_has_a_line_while_it_runs(stage: Stage, half: _Half, columns: int) -> None:
    """Every step's line is there once, with what is known; the script's output is above; a waterfall stays."""
    with terminal(stage.command(), columns=columns) as screen:
        await screen.shows("| two", " 50%")
        await screen.shows_last(*_STEPS)
        lines = screen.lines
        starts = [next(row for row, line in enumerate(lines) if line.startswith(name)) for name in _STEPS[:5]]
        assert starts == list(range(starts[0], starts[0] + 5))
        assert all("━" in line or "─" in line for line in lines[-7:])
        assert not screen.cursor_is_shown
        half.whole.set()
        assert await screen.ends() == 0
    assert screen.text.count("| two") == 1
    assert [line.split()[0] for line in screen.lines[-8:-1]] == list(_STEPS)
    assert screen.lines[-1].startswith("ready in ")
    assert "█" in screen.text
    assert not {"━", "─"} & set(screen.text)
    assert screen.cursor_is_shown


async def test_a_line_tells_bytes_rate_and_attempt(stage: Stage, half: _Half) -> None:
    """At a usual width a download has its bytes and its attempt; what is retried is said above, once."""
    stage.api.on("task-2/content", status(503))
    stage.content.documents["task-2"] = b"x"
    with terminal(stage.command("--document-id", "task-2"), columns=120) as screen:
        await screen.shows("attempt 2, 1 of 2 documents", " 75%", "2.0 MiB")
        half.whole.set()
        assert await screen.ends() == 0
    assert screen.text.count("attempt 1 failed") == 1
    assert re.search(r"documents +█+ +[0-9.]+ s +4.0 MiB +2 attempts", screen.text)


async def test_a_script_cannot_disturb_the_display(stage: Stage, half: _Half) -> None:
    """The script's colours pass; what would clear the screen or ring the bell does not."""
    with terminal(stage.command()) as screen:
        await screen.shows("| two")
        half.whole.set()
        assert await screen.ends() == 0
    assert "| one purple bell" in screen.text
    assert b"\x1b[2J" not in screen.written
    assert b"\x07" not in screen.written
    assert re.search(rb"\x1b\[35m *purple", screen.written)


async def test_events_are_told_once(stage: Stage, half: _Half) -> None:
    """What a line shows is not printed besides; prep.log has everything, as always."""
    with terminal(stage.command()) as screen:
        half.whole.set()
        assert await screen.ends() == 0
    assert b"started" not in screen.written
    assert b"finished" not in screen.written
    log = stage.keruta("prep.log").read_text()
    assert "clone      finished in" in log
    assert "install    | two\n" in log
    assert "\x1b[3D" not in log


@pytest.mark.usefixtures("half")
async def test_ctrl_c_ends_cleanly(stage: Stage) -> None:
    """Ctrl-C ends with 130; the last line says so, the waterfall and the cursor are there."""
    with terminal(stage.command()) as screen:
        await screen.shows(" 50%")
        screen.type(b"\x03")
        assert await screen.ends() == 130
    assert screen.lines[-1].startswith("kerutaprep: stopped by SIGINT")
    assert "▒" in screen.text
    assert not {"━", "─"} & set(screen.text)
    assert "^C" not in screen.text
    assert screen.cursor_is_shown


async def test_a_failure_is_the_last_line(stage: Stage) -> None:
    """What failed is in the waterfall, and why is said once, on the last line."""
    stage.api.on("/content", status(404))
    with terminal(stage.command(), columns=300) as screen:
        assert await screen.ends() == 66
    assert screen.lines[-1].startswith("kerutaprep: failed: documents: document 'task-1'")
    assert screen.text.count("HTTP 404") == 1
    assert re.search(r"documents .*▓.* failed", screen.text)
    assert screen.cursor_is_shown


async def test_no_colour_is_none_at_all(stage: Stage, half: _Half) -> None:
    """NO_COLOR is obeyed, for what a script colours too; an empty one says nothing."""
    half.whole.set()
    with terminal(stage.command(), NO_COLOR="1") as screen:
        assert await screen.ends() == 0
    assert not _COLOUR.search(screen.written)
    with terminal(stage.command(), NO_COLOR="") as screen:
        assert await screen.ends() == 0
    assert _COLOUR.search(screen.written)


async def test_a_terminal_without_blocks(stage: Stage, half: _Half) -> None:
    """In the C locale the bars are ASCII."""
    with terminal(stage.command(), LC_ALL="C") as screen:
        await screen.shows(" 50%", "===")
        half.whole.set()
        assert await screen.ends() == 0
    assert "###" in screen.text
    assert screen.written.isascii()


async def test_a_low_terminal_shows_what_is_at_work(stage: Stage, half: _Half) -> None:
    """Where not all lines fit, those of the running steps are shown."""
    with terminal(stage.command(), rows=6) as screen:
        await screen.shows("| two", " 50%")
        assert "exclude" not in screen.text
        half.whole.set()
        assert await screen.ends() == 0
    assert screen.lines[-1].startswith("ready in ")


async def test_a_terminal_that_goes_away_is_no_reason_to_fail(stage: Stage, half: _Half) -> None:
    """With SIGHUP ignored, as nohup does, a run outlives its terminal."""
    with terminal(
        ["sh", "-c", 'trap "" HUP; "$@"; echo $? > "$0"', str(stage.root / "code"), *stage.command()]
    ) as screen:
        await screen.shows(" 50%")
        screen.hang_up()
        half.whole.set()
        while not (stage.root / "code").exists() or not (stage.root / "code").read_text():
            await anyio.sleep(0.01)
    assert (stage.root / "code").read_text() == "0\n"


@pytest.fixture
def without_rich(tmp_path: Path) -> Path:
    """A directory whose ``rich`` notes that it was asked for, and can't be imported."""
    package = tmp_path / "stub" / "rich"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('asked').touch()\nraise ImportError('there is none')\n"
    )
    return package


async def test_without_rich_there_is_text(stage: Stage, without_rich: Path) -> None:
    """At a terminal without rich the events are lines of text, after one line of how to have more."""
    with terminal(stage.command(), columns=200, PYTHONPATH=str(without_rich.parent)) as screen:
        assert await screen.ends() == 0
    assert without_rich.joinpath("asked").exists()
    assert screen.text.count("kerutaprep[terminal]") == 1
    assert re.search(r"INFO +clone +finished in", screen.text)
    assert b"\x1b" not in screen.written


@pytest.mark.parametrize(
    ("words", "term"),
    [([], "dumb"), ([], ""), (["--log-format", "text"], "xterm"), (["--log-format", "json"], "xterm")],
)
async def test_a_terminal_that_is_not_to_be_live(stage: Stage, without_rich: Path, words: list[str], term: str) -> None:
    """At a dumb terminal, or where text or JSON is asked for, rich is not even looked for, nor spoken of."""
    with terminal(stage.command(*words), columns=300, PYTHONPATH=str(without_rich.parent), TERM=term) as screen:
        assert await screen.ends() == 0
    assert not without_rich.joinpath("asked").exists()
    assert b"\x1b" not in screen.written
    assert "[terminal]" not in screen.text
    assert "finished in" in screen.text


async def test_without_a_terminal_rich_is_not_loaded(stage: Stage, without_rich: Path) -> None:
    """Where stderr is a pipe, as in a pod, rich is not even looked for."""
    ended = await run_program(stage.command(), PYTHONPATH=str(without_rich.parent), TERM="xterm")
    assert ended.code == 0, ended.stderr
    assert not without_rich.joinpath("asked").exists()
    assert "[terminal]" not in ended.stderr


async def test_the_demo_is_live_too(tmp_path: Path) -> None:
    """At a terminal the demo shows the display, one waterfall, and the files."""
    with terminal([sys.executable, "-m", "kerutaprep", "demo", str(tmp_path / "demo")], columns=300) as screen:
        await screen.shows("documents  ─", "━")
        assert await screen.ends() == 0
    assert screen.text.count("documents  ") == 1
    assert screen.text.count("ready in") == 1
    assert "demo/.keruta/README.md" in screen.text
    assert screen.cursor_is_shown
