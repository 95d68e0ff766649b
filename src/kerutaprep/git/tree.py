"""A git directory and its work tree: what is done to it, whether the clone is new or was there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import anyio.to_thread

from kerutaprep.claim import KERUTA
from kerutaprep.errors import InTheWayError, PrepError
from kerutaprep.git import journal
from kerutaprep.git.directory import make_git_dir
from kerutaprep.git.sparse import Extent, narrow, tracked_names
from kerutaprep.workspace import disk_errors, make_directory, write_anew

if TYPE_CHECKING:
    from pathlib import Path

    from kerutaprep.events import StepRecord
    from kerutaprep.git.program import Git
    from kerutaprep.workspace import Workspace

LOST_AND_FOUND = "lost+found"
_EXCLUDED = f"/{KERUTA}"


class Checkout(NamedTuple):
    """What is checked out."""

    commit: str
    ref: str
    """The resolved name: of the branch, the tag, or the commit id."""


class Tree:
    """The work directory as a work tree.

    Args:
        git: runs the commands.
        workspace: the work directory.
        record: told of decisions.

    Attributes:
        git_dir: the clone's git directory, there or not.
        settings: the run's.
    """

    def __init__(self, git: Git, workspace: Workspace, record: StepRecord) -> None:
        self.git = git
        self.settings = git.settings
        self.workspace = workspace
        self.record = record
        self.git_dir = workspace.root / ".git"

    async def run(self, *arguments: str) -> str:
        """Run a git command that needs the work tree; raises as ``Git.run``."""
        return await self.git.run(*arguments, at=self.git_dir, work_tree=self.workspace.root)

    async def resolve(self, name: str) -> str | None:
        """The object that a ref or commit id names, None where there is none."""
        try:
            return (await self.git.run("rev-parse", "--verify", "--quiet", name, at=self.git_dir)).strip()
        except PrepError:
            return None

    async def make_git_dir(self, git_dir: Path) -> None:
        """Make a new git directory.

        Raises:
            WorkDirError: the disk refuses.
        """
        with disk_errors("making", git_dir):
            await anyio.to_thread.run_sync(partial(make_git_dir, str(git_dir), shared=self.workspace.group_write))

    async def narrow(self, git_dir: Path, commit: str) -> Extent:
        """Store which of a commit's files are written, and give it.

        Raises:
            WorkDirError: the commit has something else where Keruta's files go.
            PrepError: as ``Git.run``.
        """
        left_out = await tracked_names(self.git, git_dir, commit, self.workspace)
        for path in self.settings.sparse_paths:
            if not await self.git.run("ls-tree", "-d", "--full-tree", commit, "--", path, at=git_dir):
                self.record.note(f"the repository has no directory {path!a} (--sparse-path)")
        extent = Extent(self.settings.sparse_paths, tuple(left_out))
        await narrow(self.git, git_dir, extent)
        return extent

    async def check_out(self, entry: journal.Entry) -> None:
        """Do a checkout, with a journal by which the next run finishes it.

        Raises:
            InTheWayError: it would overwrite a file; nothing was written.
            PrepError: as ``Git.run``.
        """
        await anyio.to_thread.run_sync(journal.begin, self.git_dir, entry)
        target = entry.target
        how = "--force" if entry.force else "--no-overwrite-ignore"
        where = ["--no-track", "-B", target.branch] if target.branch else ["--detach"]
        try:
            await self.run("checkout", "--progress", how, *where, target.commit)
        except InTheWayError:
            await anyio.to_thread.run_sync(journal.end, self.git_dir)  # git looks before it writes anything
            raise
        await anyio.to_thread.run_sync(journal.end, self.git_dir)

    async def clean(self) -> None:
        """Remove untracked files that are not ignored, Keruta's and the file system's own aside."""
        kept = [f"--exclude=/{name}" for name in (KERUTA, LOST_AND_FOUND)]
        await self.run("clean", "--quiet", "-ffd", *kept)

    def exclude(self, git_dir: Path) -> None:
        """Add Keruta's entry to a git directory's ``info/exclude``, once; for a thread that may block.

        Raises:
            WorkDirError: the file can't be read or written.
        """
        path = git_dir / "info" / "exclude"
        with disk_errors("adding Keruta's entry to", path):
            make_directory(path.parent)
            self.workspace.share(path.parent)
            before = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            if _EXCLUDED.encode() in before.splitlines():
                return
            line_end = b"" if not before or before.endswith(b"\n") else b"\n"
            write_anew(path, before + line_end + _EXCLUDED.encode() + b"\n")
            path.chmod(0o644)
            self.workspace.share(path)
