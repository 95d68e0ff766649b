"""The clone in the work directory: made in a place of its own, moved in by one rename, and checked out there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio.to_thread

from kerutaprep.errors import InternalError, PrepError, WorkDirError
from kerutaprep.git import journal
from kerutaprep.git.cache import Cache
from kerutaprep.git.existing import ExistingClone
from kerutaprep.git.fetch import ALL, Remote
from kerutaprep.git.lfs import fetch_lfs_files
from kerutaprep.git.submodules import update_submodules
from kerutaprep.git.target import Target, write_config, write_refs
from kerutaprep.git.tree import LOST_AND_FOUND, Checkout, Tree
from kerutaprep.headstart import STAGED
from kerutaprep.workspace import disk_errors

if TYPE_CHECKING:
    from pathlib import Path

    from kerutaprep.events import StepRecord
    from kerutaprep.git.program import Git
    from kerutaprep.names import CloneURL
    from kerutaprep.retry import RetryPolicy
    from kerutaprep.workspace import Workspace


class Worktree:
    """The repository in the work directory.

    Args:
        git: runs the commands.
        workspace: the work directory.
        policy: for what fails in transport.
        record: told of attempts and decisions.
    """

    def __init__(self, git: Git, workspace: Workspace, policy: RetryPolicy, record: StepRecord) -> None:
        self._git = git
        self._settings = git.settings
        self._workspace = workspace
        self._policy = policy
        self._record = record
        self._tree = Tree(git, workspace, record)
        self._existing = ExistingClone(self._tree, policy)
        self._git_dir = self._tree.git_dir
        self._replacing = workspace.keruta / ".kerutaprep-replacing"

    async def clone(self, url: CloneURL, ref: str | None) -> Checkout:
        """Put the repository's work tree into the work directory.

        Stopped or failed before files are written, a fresh clone leaves no ``.git``; after that, however it is stopped,
        it leaves a journal by which the next call finishes.

        Args:
            url: the repository.
            ref: branch, tag, full ref or commit id; None for the remote's default branch.

        Raises:
            WorkDirError: something is in the way, or the disk refuses.
            PrepError: as ``Remote.fetch``.
        """
        await self._workspace.ready.wait()
        try:
            checkout = await self._clone(url, ref)
            await self._add_what_it_names(url)
        except PrepError:
            await anyio.to_thread.run_sync(journal.end_work, self._git_dir)  # git removed its locks when it failed
            raise
        await anyio.to_thread.run_sync(journal.end_work, self._git_dir)
        return checkout

    async def _clone(self, url: CloneURL, ref: str | None) -> Checkout:
        if not await anyio.to_thread.run_sync(os.path.lexists, self._git_dir):
            return await self._clone_afresh(url, ref, replace=await self._was_being_replaced())
        if not await self._existing.is_of(url):
            return await self._clone_afresh(url, ref, replace=True)
        try:
            await self._existing.finish_earlier()
            return await self._existing.update(url, ref)
        except InternalError as error:
            if self._settings.on_existing == "reset":
                self._record.note(f"the existing clone is replaced, since git can't use it: {error}")
                return await self._clone_afresh(url, ref, replace=True)
            raise WorkDirError(
                f"git can't use the existing clone (--on-existing reset replaces it): {error}"
            ) from error

    async def _add_what_it_names(self, url: CloneURL) -> None:
        """Add what the repository keeps elsewhere."""
        if self._settings.lfs or self._settings.submodules != "no":
            await self._git.require_plain(self._git_dir)
        if self._settings.lfs:
            await fetch_lfs_files(self._git, url, self._git_dir, self._policy, self._record)
        if self._settings.submodules != "no" and not self._existing.is_kept:
            await update_submodules(self._git, url, self._git_dir, self._policy, self._record)

    async def exclude(self) -> None:
        """Add Keruta's entry to ``.git/info/exclude`` (gitignore(5)), once, whatever was there before.

        Raises:
            WorkDirError: the file can't be read or written.
        """
        await anyio.to_thread.run_sync(self._tree.exclude, self._git_dir)

    async def _clone_afresh(self, url: CloneURL, ref: str | None, *, replace: bool) -> Checkout:
        """Clone into a directory of our own, and put that in the place of ``.git``."""
        staged = self._workspace.parts / STAGED
        if not await anyio.to_thread.run_sync(staged.exists):  # else the fetch into it is under way
            await self._tree.make_git_dir(staged)
        cache = Cache(self._git, url, self._record) if self._settings.git_cache_dir else None
        if cache is not None:
            await cache.fill(staged, ref, self._settings.depth)
        cut_off = await anyio.to_thread.run_sync((staged / "shallow").exists)
        tips = await Remote(self._git, url, staged, self._policy, self._record).fetch(
            ref, self._settings.work_branch, depth=self._settings.depth or (ALL if cut_off else 0)
        )
        target = Target.of(tips, self._settings.work_branch)
        await anyio.to_thread.run_sync(write_config, staged, url, tips, target, self._settings.depth)
        await anyio.to_thread.run_sync(write_refs, staged, tips, self._workspace.share)
        if cache is not None:
            await cache.keep(staged, ref, tips.base)
        extent = await self._tree.narrow(staged, target.commit)
        if not replace:
            await self._refuse_what_is_in_the_way(staged, target.commit)
        self._record.received(await anyio.to_thread.run_sync(_size_of_packs, staged))
        await anyio.to_thread.run_sync(self._move_in, staged, journal.Entry(None, target, extent, replace))
        await self._tree.check_out(journal.Entry(None, target, extent, replace))
        if replace:
            await self._tree.clean()
        return Checkout(target.commit, tips.base.name)

    async def _refuse_what_is_in_the_way(self, git_dir: Path, commit: str) -> None:
        """Ask git whether a checkout would overwrite a file, before anything of it is visible."""
        if not await anyio.to_thread.run_sync(self._is_empty):
            await self._git.run("read-tree", "-n", "-m", "-u", commit, at=git_dir, work_tree=self._workspace.root)

    def _is_empty(self) -> bool:
        """Whether there is nothing but what this run makes."""
        root, keruta = self._workspace.root, self._workspace.keruta
        own = {root / name for name in self._workspace.replaced_names(self._settings.document_ids)}
        own |= {keruta, self._workspace.documents, self._workspace.parts}
        with disk_errors("reading", root):
            found = [path for place in (root, keruta, self._workspace.documents) for path in place.iterdir()]
            return all(path in own or (path.name == LOST_AND_FOUND and not any(path.iterdir())) for path in found)

    def _move_in(self, staged: Path, entry: journal.Entry) -> None:
        with disk_errors("moving the clone to", self._git_dir):
            (staged / "FETCH_HEAD").unlink(missing_ok=True)
            self._tree.exclude(staged)  # at once: whatever fails later, nobody is to commit Keruta's files
            journal.begin(staged, entry)
            journal.start_work(staged)
            if os.path.lexists(self._git_dir):
                self._replacing.touch()  # between the two renames there is no clone, and nothing else would say why
                self._git_dir.rename(self._workspace.parts / "replaced.git")
            staged.rename(self._git_dir)
            self._replacing.unlink(missing_ok=True)

    async def _was_being_replaced(self) -> bool:
        """Whether a run was killed just as it replaced another clone, as this one is to do, too."""
        return self._settings.on_existing == "reset" and await anyio.to_thread.run_sync(self._replacing.exists)


def _size_of_packs(git_dir: Path) -> int:
    return sum(pack.stat().st_size for pack in (git_dir / "objects" / "pack").glob("*.pack"))
