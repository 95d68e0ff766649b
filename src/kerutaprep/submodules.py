"""Submodules: what a commit names of other repositories, shallow and in parallel."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import anyio.to_thread

from kerutaprep.errors import NotFoundError
from kerutaprep.retry import retrying
from kerutaprep.workspace import disk_errors

if TYPE_CHECKING:
    from pathlib import Path

    from kerutaprep.events import StepRecord
    from kerutaprep.git import Git
    from kerutaprep.names import CloneURL
    from kerutaprep.retry import RetryPolicy

_JOBS = 4
_JOURNAL = "kerutaprep-submodules"
"""Names, in the git directory, the submodules that were there when an update began; gone when it is done."""


async def update_submodules(git: Git, url: CloneURL, git_dir: Path, policy: RetryPolicy, record: StepRecord) -> None:
    """Check out every submodule of what is checked out (git-submodule(1), update).

    Git resolves relative URLs against the repository's own. Credentials go to a submodule only where it has the
    repository's scheme, host and port. What a submodule has uncommitted is not overwritten.

    Args:
        git: runs the commands.
        url: the repository's.
        git_dir: the clone's, in its work tree.
        policy: for what fails in transport.
        record: told of attempts.

    Raises:
        NotFoundError: a submodule's repository or commit is not there.
        PrepError: as ``Git.run``.
    """
    work_tree = git_dir.parent
    if not await anyio.to_thread.run_sync((work_tree / ".gitmodules").is_file):
        record.note("the repository has no submodules")
        return
    force = await _recover(git, git_dir, record)
    recursive = ["--recursive"] if git.settings.submodules == "recursive" else []
    arguments = ["submodule", "update", "--init", "--progress", f"--jobs={_JOBS}", *recursive, *force]

    async def update(*depth: str) -> None:
        async def attempt(_number: int) -> None:
            await git.run(*arguments, *depth, at=git_dir, url=url, work_tree=work_tree)

        await retrying(attempt, policy, record)

    try:
        await update(*([f"--depth={git.settings.depth}"] if git.settings.depth else []))
    except NotFoundError as error:
        if not git.settings.depth or "unadvertised" not in str(error):
            raise
        await update()  # the server gives no commit by its id: it is found in the whole history
    await anyio.to_thread.run_sync((git_dir / _JOURNAL).unlink)


async def _recover(git: Git, git_dir: Path, record: StepRecord) -> list[str]:
    """Note that an update begins, and take back what a killed one left: clones and checkouts that are not whole.

    Returns:
        what makes git overwrite the files of a checkout that was killed.
    """
    submodules = await _submodules(git, git_dir)
    return await anyio.to_thread.run_sync(_recover_now, git_dir, submodules, record)


async def _submodules(git: Git, git_dir: Path) -> dict[str, str]:
    """The paths of the submodules, by name."""
    where = ("--file", str(git_dir.parent / ".gitmodules"))
    listing = await git.run("config", *where, "--null", "--get-regexp", r"^submodule\..*\.path$", at=git_dir)
    entries = (entry.partition("\n") for entry in listing.split("\0") if entry)
    return {key.removeprefix("submodule.").removesuffix(".path"): path for key, _, path in entries}


def _recover_now(git_dir: Path, submodules: dict[str, str], record: StepRecord) -> list[str]:
    journal = git_dir / _JOURNAL
    killed = journal.exists()
    with disk_errors("recovering submodules in", git_dir):
        if not killed:
            there = [name for name, path in submodules.items() if (git_dir.parent / path / ".git").exists()]
            journal.write_text(json.dumps(there), encoding="utf-8")
            return []
        record.note("doing the submodules again that an earlier run was stopped in")
        there = json.loads(journal.read_text(encoding="utf-8") or "[]")
        for name, path in submodules.items():
            if name in there:
                (git_dir / "modules" / name / "index.lock").unlink(missing_ok=True)
            elif ".." not in name.split("/") and not (git_dir.parent / path).is_symlink():
                shutil.rmtree(git_dir / "modules" / name, ignore_errors=True)
                shutil.rmtree(git_dir.parent / path, ignore_errors=True)
    return ["--force"]
