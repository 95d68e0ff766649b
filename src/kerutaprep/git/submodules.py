"""Submodules: what a commit names of other repositories, shallow and in parallel."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from kerutaprep.claim import KERUTA
from kerutaprep.errors import NotFoundError
from kerutaprep.retry import retrying
from kerutaprep.workspace import KEPT, disk_errors, make_directory

if TYPE_CHECKING:
    from kerutaprep.events import StepRecord
    from kerutaprep.git.program import Git
    from kerutaprep.names import CloneURL
    from kerutaprep.retry import RetryPolicy

_JOBS = 4
_LINK = "160000"


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
    await _recover(git, git_dir, record)
    recursive = ["--recursive"] if git.settings.submodules == "recursive" else []
    arguments = ["submodule", "update", "--init", "--progress", f"--jobs={_JOBS}", *recursive]

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


async def _recover(git: Git, git_dir: Path, record: StepRecord) -> None:
    """Put aside what a killed update left half-made: a submodule whose own git directory never got an index.

    Only what the index has as a submodule counts, whatever ``.gitmodules`` says. Nothing is removed: it goes to
    ``.keruta/kept``.
    """
    listing = await git.run("ls-files", "--stage", "-z", at=git_dir, work_tree=git_dir.parent)
    entries = (entry.partition("\t") for entry in listing.split("\0") if entry)
    paths = [path for facts, _, path in entries if facts.startswith(_LINK)]
    await anyio.to_thread.run_sync(_recover_now, git_dir, paths, record)


def _recover_now(git_dir: Path, paths: list[str], record: StepRecord) -> None:
    for path in paths:
        tree = git_dir.parent / path
        own = _own_git_dir(git_dir, tree)
        if own is None or (own / "index").exists():
            continue
        kept = git_dir.parent / KERUTA / KEPT
        with disk_errors("putting aside a half-made submodule in", tree):
            make_directory(kept)
            place = Path(tempfile.mkdtemp(prefix=f"{tree.name}-", dir=kept))
            shutil.move(own, place / "git")
            shutil.move(tree, place / "tree")
            tree.mkdir()
        record.note(f"the submodule {path!a} was half-made; what there was is in {place.name!a} of {KERUTA}/{KEPT}")


def _own_git_dir(git_dir: Path, tree: Path) -> Path | None:
    """Where a submodule's git directory is, if it is inside of the clone's own, as git puts it."""
    link = tree / ".git"
    if tree.is_symlink() or link.is_symlink() or not link.is_file():
        return None
    target = link.read_text(encoding="utf-8", errors="replace").removeprefix("gitdir: ").strip()
    own = (tree / target).resolve()
    modules = (git_dir / "modules").resolve()
    return own if own.is_dir() and own.is_relative_to(modules) and own != modules else None
