"""The demo: a whole run on an embedded API and git server, nothing else needed."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from kerutaprep.embedded import Content, api_application, delayed, git_application, make_repository, serve
from kerutaprep.errors import WorkDirError
from kerutaprep.report import read_report
from kerutaprep.settings import PrepSettings
from kerutaprep.supervision import Outcome, supervised
from kerutaprep.terminal.console import configure_logging
from kerutaprep.terminal.style import style_of
from kerutaprep.terminal.waterfall import draw_text

if TYPE_CHECKING:
    from kerutaprep.report import Report
    from kerutaprep.terminal.console import Watch

_API_DELAY, _GIT_DELAY = 0.8, 0.4
"""Seconds for each request: three of git's make a clone, so that all of it is about as long."""
_TOKEN = "demo-token"  # noqa: S105 - of the demo's own API
_DOCUMENT = b"# The task\n\nMake the shop's basket remember what was put into it.\n"
_SCRIPT = b"""\
#!/bin/sh
echo "the repository is here: $(git log --oneline -1)"
for part in tools settings dependencies; do
  echo "installing $part"
  sleep 0.2
done
"""


def run_demo(directory: str | None) -> Outcome:
    """Run the demo and tell what came of it.

    Returns:
        the exit code that ``init`` would have had, and what to say last.

    Args:
        directory: the work directory to prepare, empty or not there; None for a new one below the current directory.

    Raises:
        WorkDirError: the directory is not empty.
    """
    work_dir = (
        Path(directory).absolute() if directory else Path(tempfile.mkdtemp(prefix="keruta-demo-", dir=Path.cwd()))
    )
    if work_dir.exists() and any(work_dir.iterdir()):
        raise WorkDirError(f"{work_dir} is not empty; the demo wants a directory of its own")
    watch = configure_logging("INFO", "auto")
    with tempfile.TemporaryDirectory(prefix="keruta-demo-server-") as server:
        outcome = anyio.run(_run, work_dir, Path(server), watch)
    if outcome.code:
        return outcome
    report = read_report(work_dir / ".keruta" / "prep.json")
    waterfall = [] if watch else [draw_text(report, style_of(sys.stdout, os.environ))]
    return Outcome(0, "\n".join(["", *waterfall, *_summary(work_dir, report)]))


async def _run(work_dir: Path, server: Path, watch: Watch | None) -> Outcome:
    make_repository(server / "shop.git", {"README.md": "# A shop\n", "src/basket.py": "basket = []\n"})
    content = Content(token=_TOKEN, scripts={"shop": _SCRIPT}, documents={"task-1": _DOCUMENT})
    async with (
        serve(git_application(server, delayed(_GIT_DELAY))) as git_url,
        serve(api_application(content, delayed(_API_DELAY))) as api_url,
    ):
        content.repositories["shop"] = {"url": f"{git_url}/shop.git", "branch": "main"}
        settings = PrepSettings(
            repository_id="shop",
            document_ids=["task-1"],
            api_url=api_url,
            api_token=_TOKEN,
            work_dir=work_dir,
        )
        return await supervised(settings, watch=watch)


def _summary(work_dir: Path, report: Report) -> list[str]:
    one_by_one = sum((step["end"] or 0) - (step["start"] or 0) for step in report["steps"])
    files = [path for path in sorted(work_dir.rglob("*")) if path.is_file()]
    here = Path.cwd()
    names = [path.relative_to(here) if path.is_relative_to(here) else path for path in files]
    return [
        f"one after the other, the same steps would have taken {one_by_one:.2f} s",
        "",
        *(
            f"  {name}"
            for name, path in zip(names, files, strict=True)
            if path.relative_to(work_dir).parts[0] != ".git"
        ),
    ]
