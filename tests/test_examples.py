"""The documentation's examples, run as they stand."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kerutaprep import StepEvent, prepare
from tests.fakes import Stage, run_program

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


async def test_the_librarys_examples_do_what_they_say(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Each example of the library's page runs against real servers."""
    imports, many, own_step, watching = map(_defined_by, _examples("docs/library.md"))
    assert imports["prepare"] is prepare

    everything = [stage.settings(work_dir=stage.root / f"work-{number}") for number in range(3)]
    await many["prepare_all"](everything, 2)
    assert all((settings.work_dir / "README.md").exists() for settings in everything)

    result = await own_step["prepare_and_count"](stage.settings())
    assert result.steps[-1]["name"] == "count"
    assert "1 modules" in capsys.readouterr().out

    show = watching["show"]
    await prepare(stage.settings(), on_event=show)
    assert "install    finished" in capsys.readouterr().out
    show(StepEvent("clone", "started", 0.0, "started"))
    assert capsys.readouterr().out == "  0.00 clone      started   started\n"
