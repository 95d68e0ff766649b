"""The documentation's examples, run as they stand."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kerutaprep import NotFoundError, StepEvent
from tests.fakes import DOCUMENT, Fault, Gate, Stage, body, run_program, status

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.anyio

_ROOT = Path(__file__).parent.parent


def _examples(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (_ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def _defined_by(source: str) -> Mapping[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(source, "example", "exec"), names)  # noqa: S102 - the project's own documentation
    return names


async def test_the_readmes_ten_lines_prepare_a_directory(stage: Stage) -> None:
    """The README's example runs as a program of its own."""
    (example,) = _examples("README.md")
    source = example.replace("http://127.0.0.1:8080", stage.api_url).replace('"work"', repr(str(stage.work)))
    ended = await run_program([sys.executable, "-c", source])

    assert ended.code == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].startswith(stage.commit)


@pytest.fixture
def library() -> Mapping[str, Any]:
    """Every name that the examples of the library's page define; each example stands by itself."""
    return {name: value for example in _examples("docs/library.md") for name, value in _defined_by(example).items()}


async def test_many_are_prepared_over_one_session(stage: Stage, library: Mapping[str, Any]) -> None:
    """Two at a time; the one that fails is told in its place, and stops no other."""
    everything = [stage.settings(work_dir=stage.root / f"work-{number}") for number in range(3)]
    everything[1] = stage.settings(work_dir=stage.root / "work-1", ref="gone")
    first, second, third = await library["prepare_all"](everything, 2)
    assert first.commit == third.commit == stage.commit
    assert isinstance(second, NotFoundError)
    assert (stage.root / "work-2" / "README.md").exists()


async def test_a_step_is_added(stage: Stage, library: Mapping[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The example's own step runs after the clone and is reported last."""
    result = await library["prepare_and_count"](stage.settings())
    assert result.steps[-1]["name"] == "count"
    assert "1 modules" in capsys.readouterr().out


async def test_a_run_is_watched(stage: Stage, library: Mapping[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The example's hook prints a line for each event."""
    await library["prepare"](stage.settings(), on_event=library["show"])
    assert "install    finished" in capsys.readouterr().out
    library["show"](StepEvent("clone", "started", 0.0, "started"))
    assert capsys.readouterr().out == "  0.00 clone      started   started\n"


@pytest.mark.parametrize(
    ("path_part", "faults", "said"),
    [
        ("/content", [status(401)], "ask for a new token: "),
        ("/content", [status(404)], "step documents did not find what it needs: "),
        ("/content", [status(503, {"Retry-After": "0"})] * 2, "try again in 60 s"),
        ("/script", [body(b"<html>", "text/html")], "exit code 76, retry helps: False, failed: script (ProtocolError)"),
    ],
)
async def test_errors_are_told_apart(
    stage: Stage, library: Mapping[str, Any], path_part: str, faults: list[Fault], said: str
) -> None:
    """Each kind of failure is caught by its class."""
    prepare_or_say_why = library["prepare_or_say_why"]
    stage.api.on(path_part, *faults)
    assert (await prepare_or_say_why(stage.settings())).startswith(said)
    assert await prepare_or_say_why(stage.settings(retries=3)) == stage.commit


async def test_a_run_that_takes_too_long_is_given_up(stage: Stage, library: Mapping[str, Any]) -> None:
    """Past its time the example's run is stopped, and gives None; the next one has time enough."""
    stage.api.on("/content", Gate())
    assert await library["prepare_within"](stage.settings(), 1) is None
    assert (await library["prepare_within"](stage.settings(), 60)).commit == stage.commit


async def test_parts_are_used_alone(
    stage: Stage, library: Mapping[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file and a clone, without a word to the API about a repository."""
    url = f"{stage.api_url}/api/v1/documents/task-1/content"
    tool = await library["fetch_tool"](url, hashlib.sha256(DOCUMENT).hexdigest(), tmp_path)
    assert (tool.read_bytes(), tool.stat().st_mode & 0o777) == (DOCUMENT, 0o755)
    assert capsys.readouterr().out == f"{len(DOCUMENT)} bytes\n"

    assert await library["check_out"](stage.repository_url, stage.work) == f"{stage.commit} of main"
    assert stage.run_git("branch", "--show-current") == "task-7\n"
    assert len(stage.api.requests) == 1


def test_every_page_with_examples_is_run_here() -> None:
    """No page has an example in Python that these tests don't know of."""
    pages = [_ROOT / "README.md", _ROOT / "CONTRIBUTING.md", *sorted((_ROOT / "docs").glob("*.md"))]
    found = {str(page.relative_to(_ROOT)) for page in pages if page.exists() and "```python" in page.read_text()}
    assert found == {"README.md", "docs/library.md"}
