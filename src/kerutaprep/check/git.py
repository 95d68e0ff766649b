"""What a run would meet of git: the program, the server and the ref, and a clone that is there already."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from kerutaprep.check.findings import Finding, failed, ok, skipped, warning
from kerutaprep.check.volume import require_writable
from kerutaprep.errors import InternalError, NotFoundError, WorkDirError
from kerutaprep.git import journal
from kerutaprep.git.command import NO_GIT_DIR, listing_arguments, require_lfs
from kerutaprep.git.fetch import Listing
from kerutaprep.names import is_commit_id
from kerutaprep.workspace import disk_errors

if TYPE_CHECKING:
    from kerutaprep.git.existing import ExistingClone
    from kerutaprep.git.program import Git
    from kerutaprep.names import CloneURL
    from kerutaprep.workspace import Workspace

_NO_GIT_DIR = Path(NO_GIT_DIR)
_LOOK_ONLY = {"GIT_OPTIONAL_LOCKS": "0"}
"""Else ``git status`` would write the index anew (git(1))."""


class GitChecks:
    """The looks that git is needed for.

    Args:
        git: runs the commands.
        workspace: the work directory.
        existing: knows what would become of an existing clone.
    """

    def __init__(self, git: Git, workspace: Workspace, existing: ExistingClone) -> None:
        self._git = git
        self._settings = git.settings
        self._workspace = workspace
        self._existing = existing
        self._git_dir = workspace.root / ".git"

    async def program(self) -> list[Finding]:
        """Whether there is a git."""
        return ok("git", (await self._git.run("version", at=_NO_GIT_DIR)).strip())

    async def lfs(self) -> list[Finding]:
        """Whether there is a git-lfs, if one is needed."""
        if not self._settings.lfs:
            return skipped("git-lfs", "not asked for")
        require_lfs(self._settings)
        return ok("git-lfs", "is installed; what it has to fetch only the clone tells")

    async def remote(self, url: CloneURL, ref: str | None) -> list[Finding]:
        """Ask the server for the refs that a run would fetch (git-ls-remote(1)); it sends no commit."""
        work_branch = self._settings.work_branch
        listing = Listing.parse(await self._git.run(*listing_arguments(url, ref, work_branch), at=_NO_GIT_DIR, url=url))
        findings = ok("git server", f"{url.text} answers")
        findings += self._ref(url, ref, listing.refs, listing.default or "HEAD")
        if work_branch:
            is_there = f"refs/heads/{work_branch}" in listing.refs
            findings += ok("work branch", f"{work_branch} {'is continued' if is_there else 'would be created'}")
        if self._settings.submodules != "no":
            findings += skipped("submodules", "which there are only the clone tells")
        return findings

    @staticmethod
    def _ref(url: CloneURL, ref: str | None, refs: dict[str, str], default: str) -> list[Finding]:
        if ref is None:
            if "HEAD" in refs:
                return ok("ref", f"{default}, the default, is {refs['HEAD'][:12]}")
            error = NotFoundError(f"a default branch with a commit was not found in {url.text}")
            return failed("ref", error, 0)
        if is_commit_id(ref):
            if ref.lower() in refs.values():
                return ok("ref", f"{ref[:12]} is the default branch's commit")
            return warning("ref", f"{ref[:12]} is a commit id, and whether it is there only a fetch tells")
        # A branch before a tag of the same name, as a run has it; then what git-fetch(1) tries.
        for name in (f"refs/heads/{ref}", f"refs/tags/{ref}", ref, f"refs/{ref}", f"refs/remotes/{ref}"):
            if name in refs:
                return ok("ref", f"{name} is {refs[name][:12]}")
        return failed("ref", NotFoundError(f"the ref {ref!a} was not found in {url.text}"), 0)

    async def clone(self, url: CloneURL) -> list[Finding]:
        """What would become of what is in the work directory.

        Raises:
            WorkDirError: it would stop a run.
        """
        if not await anyio.to_thread.run_sync(os.path.lexists, self._git_dir):
            return await anyio.to_thread.run_sync(self._look_at_entries, abandon_on_cancel=True)
        reset = self._settings.on_existing == "reset"
        if not await self._existing.is_of(url):
            return warning("clone", f"{self._git_dir} is something else, and would be replaced (--on-existing reset)")
        await anyio.to_thread.run_sync(require_writable, self._git_dir)
        if self._settings.lfs or self._settings.submodules != "no":
            await self._git.require_plain(self._git_dir)
        try:
            return await (self._before_reset() if reset else self._before_update())
        except InternalError as error:
            if reset:
                return warning("clone", f"git can't use the existing clone, which would be replaced: {error}")
            raise WorkDirError(
                f"git can't use the existing clone (--on-existing reset replaces it): {error}"
            ) from error

    def _look_at_entries(self) -> list[Finding]:
        root = self._workspace.root
        own = {self._workspace.keruta.name, "lost+found"}
        with disk_errors("looking into", root):
            others = [entry.name for entry in root.iterdir() if entry.name not in own] if root.is_dir() else []
        if others:
            return warning(
                "clone",
                f"none is there yet, but {len(others)} other entries are, such as {min(others)!a}; whether one is in"
                " the way of the checkout only the fetch tells",
            )
        return ok("clone", "none is there yet: one is made")

    async def _before_reset(self) -> list[Finding]:
        if await self._has_changes():
            return warning("clone", "is there, and has uncommitted changes, which --on-existing reset would overwrite")
        return ok("clone", "is there, and would be made exactly the ref (--on-existing reset)")

    async def _before_update(self) -> list[Finding]:
        if await anyio.to_thread.run_sync(journal.read, self._git_dir):
            return ok("clone", "is there; a run was stopped in its checkout, which the next one finishes")
        if await anyio.to_thread.run_sync(self._existing.is_in_the_middle):
            return warning("clone", "is there, and would be kept as it is: a merge, rebase or the like is under way")
        if await self._has_changes():
            return warning("clone", "is there, and would be kept as it is: it has uncommitted changes")
        unpushed = await self._git.run(
            "rev-list", "--count", "HEAD", "--not", "--remotes", "--tags", at=self._git_dir, extra=_LOOK_ONLY
        )
        if unpushed.strip() != "0":
            return warning("clone", f"is there, and has {unpushed.strip()} unpushed commits, which would not be lost")
        return ok("clone", "is there, with no work of its own, and would be updated")

    async def _has_changes(self) -> bool:
        status = await self._git.run(
            *("status", "--porcelain", "--untracked-files=no"),
            at=self._git_dir,
            work_tree=self._workspace.root,
            extra=_LOOK_ONLY,
        )
        return bool(status.strip())
