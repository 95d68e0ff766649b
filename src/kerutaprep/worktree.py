"""The clone in the work directory: made in a place of its own, moved in by one rename, and checked out there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import anyio.to_thread

from kerutaprep.errors import WorkDirError
from kerutaprep.fetch import Remote, Tips
from kerutaprep.names import parse_clone_url
from kerutaprep.workspace import KERUTA, disk_errors

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from kerutaprep.events import StepRecord
    from kerutaprep.git import Git
    from kerutaprep.names import CloneURL
    from kerutaprep.retry import RetryPolicy
    from kerutaprep.workspace import Workspace

_JOURNAL = "kerutaprep-checkout"
_STALE_LOCKS = ("index.lock", "HEAD.lock", "config.lock", "shallow.lock", "packed-refs.lock")
_NOT_OURS = ("lost+found",)
_TREE, _LINK = "040000", "120000"
_EXCLUDED = f"/{KERUTA}"


class Checkout(NamedTuple):
    """What is checked out."""

    commit: str
    ref: str
    """The resolved name: of the branch, the tag, or the commit id."""


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
        self._git_dir = workspace.root / ".git"

    async def clone(self, url: CloneURL, ref: str | None) -> Checkout:
        """Put the repository's work tree into the work directory.

        Cancelled or failed, a fresh clone leaves no ``.git``; killed while files are written, it leaves a journal by
        which the next call finishes them.

        Args:
            url: the repository.
            ref: branch, tag, full ref or commit id; None for the remote's default branch.

        Raises:
            WorkDirError: something is in the way, or the disk refuses.
            PrepError: as ``Remote.fetch``.
        """
        await self._workspace.ready.wait()
        if not await anyio.to_thread.run_sync(os.path.lexists, self._git_dir):
            return await self._clone_afresh(url, ref, force=False)
        await self._finish_checkout()
        if not await self._is_clone_of(url):
            return await self._clone_afresh(url, ref, force=True)
        return await self._update(url, ref)

    async def exclude(self) -> None:
        """Add Keruta's entry to ``.git/info/exclude`` (gitignore(5)), once, whatever was there before.

        Raises:
            WorkDirError: the file can't be read or written.
        """
        await anyio.to_thread.run_sync(self._exclude)

    def _exclude(self) -> None:
        path = self._git_dir / "info" / "exclude"
        with disk_errors("adding Keruta's entry to", path):
            path.parent.mkdir(exist_ok=True)
            self._workspace.share(path.parent)
            before = path.read_bytes() if path.exists() else b""
            if _EXCLUDED.encode() in before.splitlines():
                return
            line_end = b"" if not before or before.endswith(b"\n") else b"\n"
            part = self._workspace.parts / "exclude"
            part.write_bytes(before + line_end + _EXCLUDED.encode() + b"\n")
            self._workspace.share(part)
            part.replace(path)

    async def _clone_afresh(self, url: CloneURL, ref: str | None, *, force: bool) -> Checkout:
        staged = self._workspace.parts / "clone" / ".git"
        shared = ["--shared=group"] if self._workspace.group_write else []
        await self._git.run("init", "--quiet", "--template=", *shared, str(staged.parent), at=staged.parent)
        tips = await Remote(self._git, url, staged, self._policy, self._record).fetch(
            ref, self._settings.work_branch, depth=self._settings.depth
        )
        target = _Target.of(tips, self._settings.work_branch)
        await anyio.to_thread.run_sync(_write_config, staged, url, tips, target, self._settings.depth)
        await self._write_refs(staged, tips)
        await self._hide_replaced(staged, target.commit)
        if not force:
            await self._refuse_what_is_in_the_way(staged, target.commit)
        await anyio.to_thread.run_sync(self._move_in, staged, target)
        await self._check_out(target, force=force)
        if force:
            await self._clean()
        return Checkout(target.commit, tips.base.name)

    async def _write_refs(self, git_dir: Path, tips: Tips) -> None:
        for tip in filter(None, tips):
            name = {"branch": "refs/remotes/origin/", "tag": "refs/tags/"}.get(tip.kind)
            if name:
                await self._git.run("update-ref", f"{name}{tip.name}", tip.object_id, at=git_dir)
            if tip.is_default:
                origin = f"refs/remotes/origin/{tip.name}"
                await self._git.run("symbolic-ref", "refs/remotes/origin/HEAD", origin, at=git_dir)

    async def _hide_replaced(self, git_dir: Path, commit: str) -> None:
        """See to it that tracked files of which this run makes its own are neither checked out nor seen as changed.

        They are left out by sparse patterns (git-sparse-checkout(1)), which a later fast-forward respects as well.
        """
        listing = await self._git.run("ls-tree", "-z", "-r", "-t", "--full-tree", commit, "--", KERUTA, at=git_dir)
        modes = {
            path: line.split()[0] for line, _, path in (entry.partition("\t") for entry in listing.split("\0")) if path
        }
        for directory in (KERUTA, f"{KERUTA}/documents"):
            if modes.get(directory, _TREE) != _TREE:
                what = "a symlink" if modes[directory] == _LINK else "a file or submodule"
                raise WorkDirError(f"the repository tracks {directory} as {what}; Keruta needs it to be a directory")
        replaced = self._workspace.replaced_names(self._settings.document_ids)
        tracked = sorted(replaced & modes.keys())
        for path in tracked:
            if modes[path] == _TREE:
                raise WorkDirError(f"the repository tracks {path} as a directory; Keruta needs it to be a file")
        if tracked:
            await anyio.to_thread.run_sync(_write_sparse_patterns, git_dir, tracked)
            for key, value in _SPARSE_CONFIG:
                await self._git.run("config", key, value, at=git_dir)

    async def _refuse_what_is_in_the_way(self, git_dir: Path, commit: str) -> None:
        """Ask git whether a checkout would overwrite a file, before anything of it is visible."""
        if await anyio.to_thread.run_sync(self._is_empty):
            return
        await self._git.run("read-tree", "-n", "-m", "-u", commit, at=git_dir, work_tree=self._workspace.root)

    def _is_empty(self) -> bool:
        with disk_errors("reading", self._workspace.root):
            return {entry.name for entry in os.scandir(self._workspace.root)} <= {KERUTA, *_NOT_OURS}

    def _move_in(self, staged: Path, target: _Target) -> None:
        with disk_errors("moving the clone to", self._git_dir):
            (staged / "FETCH_HEAD").unlink(missing_ok=True)
            (staged / _JOURNAL).write_text(f"{target.commit} {target.branch or ''}\n")
            if os.path.lexists(self._git_dir):
                self._git_dir.rename(self._workspace.parts / "replaced.git")
            staged.rename(self._git_dir)

    async def _check_out(self, target: _Target, *, force: bool) -> None:
        how = ["--force"] if force else ["--no-overwrite-ignore"]
        where = ["--no-track", "-B", target.branch] if target.branch else ["--detach"]
        await self._in_tree("checkout", "--progress", *how, *where, target.commit)
        await anyio.to_thread.run_sync((self._git_dir / _JOURNAL).unlink, True)

    async def _finish_checkout(self) -> None:
        """Finish what a killed run began: its journal says that nothing was in the way, so what is there is its own."""
        journal = self._git_dir / _JOURNAL
        if not journal.is_file():
            return
        commit, _, branch = (await anyio.to_thread.run_sync(journal.read_text)).strip().partition(" ")
        await anyio.to_thread.run_sync(self._remove_stale_locks)
        self._record.note("finishing the checkout that an earlier run was stopped in")
        await self._check_out(_Target(commit, branch or None, None), force=True)

    def _remove_stale_locks(self) -> None:
        with disk_errors("removing stale locks in", self._git_dir):
            for name in _STALE_LOCKS:
                (self._git_dir / name).unlink(missing_ok=True)

    async def _is_clone_of(self, url: CloneURL) -> bool:
        """Whether the clone that is there is to be kept; refuses one that must be neither kept nor replaced."""
        policy = self._settings.on_existing
        if policy == "fail":
            raise WorkDirError(f"{self._git_dir} is there already, and --on-existing is fail")
        try:
            origin = await self._git.run("config", "--get", "remote.origin.url", at=self._git_dir)
            same = parse_clone_url(origin.strip(), local=True).same_repository(url)
        except (ValueError, WorkDirError):
            same = False
        if not same and policy != "reset":
            raise WorkDirError(f"{self._git_dir} is not a clone of {url.text}; move it, or use --on-existing reset")
        return same

    async def _update(self, url: CloneURL, ref: str | None) -> Checkout:
        reset = self._settings.on_existing == "reset"
        depth = self._settings.depth if reset else 0
        tips = await Remote(self._git, url, self._git_dir, self._policy, self._record).fetch(
            ref, self._settings.work_branch, depth=depth
        )
        await self._write_refs(self._git_dir, tips)
        target = _Target.of(tips, self._settings.work_branch)
        await self._hide_replaced(self._git_dir, target.commit)
        if reset:
            await self._check_out(target, force=True)
            await self._clean()
        else:
            await self._fast_forward(target)
        commit = await self._git.run("rev-parse", "HEAD", at=self._git_dir)
        return Checkout(commit.strip(), tips.base.name)

    async def _fast_forward(self, target: _Target) -> None:
        reason = await self._reason_to_keep(target)
        if reason is None:
            try:
                await self._in_tree("merge", "--ff-only", "--no-overwrite-ignore", "--quiet", target.commit)
            except WorkDirError as error:
                reason = f"a file is in the way ({error})"
        if reason:
            self._record.note(f"the existing clone is kept as it is: {reason}")

    async def _reason_to_keep(self, target: _Target) -> str | None:
        head = (await self._git.run("rev-parse", "--abbrev-ref", "HEAD", at=self._git_dir)).strip()
        if head != (target.branch or "HEAD"):
            return f"{head} is checked out, not {target.branch or target.commit}"
        if (await self._in_tree("status", "--porcelain", "--untracked-files=no")).strip():
            return "it has uncommitted changes"
        ahead = await self._git.run("rev-list", "--count", f"{target.commit}..HEAD", at=self._git_dir)
        return f"it has {ahead.strip()} commits that {target.commit[:12]} has not" if ahead.strip() != "0" else None

    async def _clean(self) -> None:
        kept = [f"--exclude=/{name}" for name in (KERUTA, *_NOT_OURS)]
        await self._in_tree("clean", "--quiet", "-ffd", *kept)

    async def _in_tree(self, *arguments: str) -> str:
        return await self._git.run(*arguments, at=self._git_dir, work_tree=self._workspace.root)


class _Target(NamedTuple):
    commit: str
    branch: str | None
    """The local branch to be on, None for a detached HEAD."""
    upstream: str | None
    """The remote's branch that it tracks."""

    @classmethod
    def of(cls, tips: Tips, work_branch: str | None) -> _Target:
        if work_branch:
            return cls((tips.work or tips.base).commit, work_branch, work_branch if tips.work else None)
        branch = tips.base.name if tips.base.kind == "branch" else None
        return cls(tips.base.commit, branch, branch)


_SPARSE_CONFIG = (
    ("core.sparseCheckout", "true"),
    ("core.sparseCheckoutCone", "false"),
    # The files are there, only they are Keruta's: without this git would take them for changed ones.
    ("sparse.expectFilesOutsideOfPatterns", "true"),
)


def _write_sparse_patterns(git_dir: Path, left_out: Collection[str]) -> None:
    with disk_errors("writing to", git_dir):
        (git_dir / "info").mkdir(exist_ok=True)
        lines = ["/*", *(f"!/{path}" for path in left_out)]
        (git_dir / "info" / "sparse-checkout").write_text("".join(f"{line}\n" for line in lines))


def _write_config(git_dir: Path, url: CloneURL, tips: Tips, target: _Target, depth: int) -> None:
    """Add what ``git clone`` would have written: the remote, and the branch's upstream.

    As there, a shallow clone follows only the branches it has: to follow all would fetch each one's whole history.
    """
    branches = [tip.name for tip in filter(None, tips) if tip.kind == "branch"]
    refspecs = [f"+refs/heads/{name}:refs/remotes/origin/{name}" for name in branches] if depth else []
    lines = ['[remote "origin"]', f"\turl = {_config_value(url.text)}"]
    lines += [f"\tfetch = {_config_value(refspec)}" for refspec in refspecs or ["+refs/heads/*:refs/remotes/origin/*"]]
    if target.branch and target.upstream:
        lines += [f"[branch {_config_value(target.branch)}]", "\tremote = origin"]
        lines += [f"\tmerge = {_config_value(f'refs/heads/{target.upstream}')}"]
    with disk_errors("writing", git_dir / "config"), (git_dir / "config").open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def _config_value(text: str) -> str:
    """Quote as git-config(1) reads it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
