"""The clone in the work directory: made in a place of its own, moved in by one rename, and checked out there."""

from __future__ import annotations

import os
import shutil
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import anyio.to_thread

from kerutaprep import journal
from kerutaprep.cache import Cache
from kerutaprep.claim import KERUTA
from kerutaprep.errors import InternalError, InTheWayError, PrepError, WorkDirError
from kerutaprep.fetch import ALL, Remote
from kerutaprep.gitdir import make_git_dir
from kerutaprep.headstart import STAGED
from kerutaprep.lfs import fetch_lfs_files
from kerutaprep.names import parse_clone_url
from kerutaprep.sparse import Extent, narrow, tracked_names
from kerutaprep.submodules import update_submodules
from kerutaprep.target import Target, refspec, write_config, write_refs
from kerutaprep.workspace import disk_errors, make_directory, write_anew

if TYPE_CHECKING:
    from pathlib import Path

    from kerutaprep.events import StepRecord
    from kerutaprep.fetch import Tips
    from kerutaprep.git import Git
    from kerutaprep.names import CloneURL
    from kerutaprep.retry import RetryPolicy
    from kerutaprep.workspace import Workspace

_LOST_AND_FOUND = "lost+found"
_IN_THE_MIDDLE = ("MERGE_HEAD", "rebase-merge", "rebase-apply", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_LOG")
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
        self._replacing = workspace.keruta / ".kerutaprep-replacing"
        self._kept = False

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
        if not await self.is_clone_of(url):
            return await self._clone_afresh(url, ref, replace=True)
        try:
            await self._finish_earlier()
            return await self._update(url, ref)
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
        if self._settings.submodules != "no" and not self._kept:
            await update_submodules(self._git, url, self._git_dir, self._policy, self._record)

    async def exclude(self) -> None:
        """Add Keruta's entry to ``.git/info/exclude`` (gitignore(5)), once, whatever was there before.

        Raises:
            WorkDirError: the file can't be read or written.
        """
        await anyio.to_thread.run_sync(self._exclude, self._git_dir)

    def _exclude(self, git_dir: Path) -> None:
        path = git_dir / "info" / "exclude"
        with disk_errors("adding Keruta's entry to", path):
            make_directory(path.parent)
            self._workspace.share(path.parent)
            before = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            if _EXCLUDED.encode() in before.splitlines():
                return
            line_end = b"" if not before or before.endswith(b"\n") else b"\n"
            write_anew(path, before + line_end + _EXCLUDED.encode() + b"\n")
            path.chmod(0o644)
            self._workspace.share(path)

    async def _clone_afresh(self, url: CloneURL, ref: str | None, *, replace: bool) -> Checkout:
        """Clone into a directory of our own, and put that in the place of ``.git``."""
        staged = self._workspace.parts / STAGED
        if not await anyio.to_thread.run_sync(staged.exists):  # else the fetch into it is under way
            await self._make_git_dir(staged)
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
        extent = await self._narrow(staged, target.commit)
        if not replace:
            await self._refuse_what_is_in_the_way(staged, target.commit)
        self._record.received(await anyio.to_thread.run_sync(_size_of_packs, staged))
        await anyio.to_thread.run_sync(self._move_in, staged, journal.Entry(None, target, extent, replace))
        await self._check_out(journal.Entry(None, target, extent, replace))
        if replace:
            await self._clean()
        return Checkout(target.commit, tips.base.name)

    async def _make_git_dir(self, git_dir: Path) -> None:
        with disk_errors("making", git_dir):
            await anyio.to_thread.run_sync(partial(make_git_dir, str(git_dir), shared=self._workspace.group_write))

    async def _write_refs(self, git_dir: Path, tips: Tips) -> None:
        for tip in filter(None, tips):
            if tip.kind == "branch":
                await self._git.run("update-ref", f"refs/remotes/origin/{tip.name}", tip.object_id, at=git_dir)
            elif tip.kind == "tag" and await self._resolve(f"refs/tags/{tip.name}", git_dir) is None:
                await self._git.run("update-ref", f"refs/tags/{tip.name}", tip.object_id, at=git_dir)
            if tip.is_default:
                origin = f"refs/remotes/origin/{tip.name}"
                await self._git.run("symbolic-ref", "refs/remotes/origin/HEAD", origin, at=git_dir)

    async def _narrow(self, git_dir: Path, commit: str) -> Extent:
        left_out = await tracked_names(self._git, git_dir, commit, self._workspace)
        for path in self._settings.sparse_paths:
            if not await self._git.run("ls-tree", "-d", "--full-tree", commit, "--", path, at=git_dir):
                self._record.note(f"the repository has no directory {path!a} (--sparse-path)")
        extent = Extent(self._settings.sparse_paths, tuple(left_out))
        await narrow(self._git, git_dir, extent)
        return extent

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
            return all(path in own or (path.name == _LOST_AND_FOUND and not any(path.iterdir())) for path in found)

    def _move_in(self, staged: Path, entry: journal.Entry) -> None:
        with disk_errors("moving the clone to", self._git_dir):
            (staged / "FETCH_HEAD").unlink(missing_ok=True)
            self._exclude(staged)  # at once: whatever fails later, nobody is to commit Keruta's files
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

    async def _check_out(self, entry: journal.Entry) -> None:
        await anyio.to_thread.run_sync(journal.begin, self._git_dir, entry)
        target = entry.target
        how = "--force" if entry.force else "--no-overwrite-ignore"
        where = ["--no-track", "-B", target.branch] if target.branch else ["--detach"]
        try:
            await self._in_tree("checkout", "--progress", how, *where, target.commit)
        except InTheWayError:
            await anyio.to_thread.run_sync(journal.end, self._git_dir)  # git looks before it writes anything
            raise
        await anyio.to_thread.run_sync(journal.end, self._git_dir)

    async def _finish_earlier(self) -> None:
        """Do again what an earlier run was killed in."""
        if await anyio.to_thread.run_sync(journal.start_work, self._git_dir):
            await anyio.to_thread.run_sync(journal.remove_stale_locks, self._git_dir)
        entry = await anyio.to_thread.run_sync(journal.read, self._git_dir)
        if entry is not None:
            async with self._workspace.own_files_kept(self._settings.document_ids):
                if await journal.undo(self._git, self._git_dir, entry, self._record):
                    self._record.note("finishing the checkout that an earlier run was stopped in")
                    await self._check_out(entry)
                else:
                    self._record.note("somebody went on where an earlier run was stopped; that is left as it is")
        await anyio.to_thread.run_sync(journal.end, self._git_dir)

    async def is_clone_of(self, url: CloneURL) -> bool:
        """Whether the clone that is there is to be kept. Only looks; has later commands not obey its configuration.

        Raises:
            WorkDirError: it must be neither kept nor replaced.
        """
        policy = self._settings.on_existing
        if policy == "fail":
            raise WorkDirError(f"{self._git_dir} is there already, and --on-existing is fail")
        await self._git.disarm(self._git_dir)
        try:
            if await anyio.to_thread.run_sync(lambda: self._git_dir.is_symlink() or not self._git_dir.is_dir()):
                raise WorkDirError(f"{self._git_dir} is no directory")
            origin = await self._git.run("config", "--get", "remote.origin.url", at=self._git_dir)
            same = parse_clone_url(origin.strip(), local=True).same_repository(url)
        except (ValueError, PrepError):
            same = False
        if not same and policy != "reset":
            raise WorkDirError(f"{self._git_dir} is not a clone of {url.text}; move it, or use --on-existing reset")
        return same

    async def _update(self, url: CloneURL, ref: str | None) -> Checkout:
        shadow = self._workspace.parts / "shadow" / ".git"
        await self._make_git_dir(shadow)
        await anyio.to_thread.run_sync(_share_objects, self._git_dir, shadow)
        remote = Remote(self._git, url, shadow, self._policy, self._record)
        tips = await remote.fetch(ref, self._settings.work_branch, depth=await self._depth_of_update(ref))
        await anyio.to_thread.run_sync(_take_shallow, self._git_dir, shadow)
        await self._write_refs(self._git_dir, tips)
        target = Target.of(tips, self._settings.work_branch)
        if self._settings.on_existing == "reset":
            async with self._workspace.own_files_kept(self._settings.document_ids):
                extent = await self._narrow(self._git_dir, target.commit)
                if not any(extent):
                    await self._in_tree("sparse-checkout", "disable")
                await self._check_out(journal.Entry(await self._resolve("HEAD"), target, extent, force=True))
                await self._clean()
                await anyio.to_thread.run_sync(self._end_what_is_under_way)
            await self._follow(target)
        else:
            await self._go_on(target)
        commit = await self._git.run("rev-parse", "HEAD", at=self._git_dir)
        return Checkout(commit.strip(), tips.base.name)

    async def _depth_of_update(self, ref: str | None) -> int:
        """All that is new since the last fetch; but of a branch that a shallow clone never had, no more than asked."""
        shallow = await anyio.to_thread.run_sync((self._git_dir / "shallow").exists)
        known = await self._resolve(f"refs/remotes/origin/{ref or 'HEAD'}") is not None
        if not shallow or (known and self._settings.on_existing != "reset"):
            return 0
        return self._settings.depth or ALL

    async def _go_on(self, target: Target) -> None:
        """Bring the existing clone to the target where that costs nobody's work, else keep it and say why."""
        head = (await self._git.run("rev-parse", "--abbrev-ref", "HEAD", at=self._git_dir)).strip()
        local = await self._resolve(f"refs/heads/{target.branch}") if target.branch else None
        reason = await self._reason_to_keep(target, head, local)
        if reason is None:
            if local is not None and await self._has_more(local, target.commit):
                target = target._replace(commit=local)  # the branch is continued where it is
                self._record.note(f"{target.branch} has commits of its own, which are kept")
            try:
                async with self._workspace.own_files_kept(self._settings.document_ids):
                    extent = await self._narrow(self._git_dir, target.commit)
                    await self._check_out(journal.Entry(await self._resolve("HEAD"), target, extent))
                await self._follow(target)
            except InTheWayError as error:
                reason = f"a file is in the way ({error})"
        if reason:
            self._kept = True
            self._record.note(f"the existing clone is kept as it is: {reason}")

    async def _reason_to_keep(  # noqa: PLR0911 - a list of reasons, the first of which counts
        self, target: Target, head: str, local: str | None
    ) -> str | None:
        if await anyio.to_thread.run_sync(self.is_in_the_middle):
            return "a merge, rebase, cherry-pick, revert or bisection is under way in it"
        if (await self._in_tree("status", "--porcelain", "--untracked-files=no")).strip():
            return "it has uncommitted changes"
        if target.branch and head != target.branch and await self._is_in_use(target.branch):
            return f"{target.branch} is checked out in another work tree"
        if head == target.branch and local is not None:
            return None
        if head == "HEAD":
            named_elsewhere = ["--branches", "--remotes", "--tags"]  # leaving it would lose sight of any other commit
        elif self._settings.work_branch:
            return None  # what is on the branch that is left stays on it
        else:
            named_elsewhere = ["--remotes", "--tags"]  # somebody is at work on that branch
        unpushed = ["rev-list", "--count", "HEAD", "--not", target.commit, *named_elsewhere]
        if (await self._git.run(*unpushed, at=self._git_dir)).strip() != "0":
            return f"{head} is checked out and has commits of its own"
        return None

    async def _is_in_use(self, branch: str) -> bool:
        listing = await self._git.run("worktree", "list", "--porcelain", at=self._git_dir)
        return f"branch refs/heads/{branch}" in listing.splitlines()

    def is_in_the_middle(self) -> bool:
        """Whether a merge, rebase or the like is under way; for a thread that may block."""
        return any((self._git_dir / name).exists() for name in _IN_THE_MIDDLE)

    def _end_what_is_under_way(self) -> None:
        for name in _IN_THE_MIDDLE:
            path = self._git_dir / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    async def _has_more(self, commit: str, target: str) -> bool:
        return (await self._git.run("rev-list", "--count", f"{target}..{commit}", at=self._git_dir)).strip() != "0"

    async def _follow(self, target: Target) -> None:
        """Let a branch track its upstream, and a clone of few branches follow one more."""
        if target.branch is None or target.upstream is None:
            return
        branch, wanted = target.branch, refspec(target.upstream)
        followed = (await self._git.run("config", "--get-all", "remote.origin.fetch", at=self._git_dir)).splitlines()
        if not {wanted, refspec("*")} & set(followed):
            await self._git.run("config", "--add", "remote.origin.fetch", wanted, at=self._git_dir)
        for key, value in (("remote", "origin"), ("merge", f"refs/heads/{target.upstream}")):
            await self._git.run("config", f"branch.{branch}.{key}", value, at=self._git_dir)

    async def _resolve(self, name: str, git_dir: Path | None = None) -> str | None:
        try:
            return (await self._git.run("rev-parse", "--verify", "--quiet", name, at=git_dir or self._git_dir)).strip()
        except PrepError:
            return None

    async def _clean(self) -> None:
        kept = [f"--exclude=/{name}" for name in (KERUTA, _LOST_AND_FOUND)]
        await self._in_tree("clean", "--quiet", "-ffd", *kept)

    async def _in_tree(self, *arguments: str) -> str:
        return await self._git.run(*arguments, at=self._git_dir, work_tree=self._workspace.root)


def _share_objects(git_dir: Path, shadow: Path) -> None:
    """Make a git directory with a clone's objects and refs, but none of its configuration.

    What talks to the server from there obeys no proxy, cookie file or rewritten URL that somebody put into the clone.
    """
    with disk_errors("preparing the fetch in", shadow):
        for name in ("objects", "refs"):
            shutil.rmtree(shadow / name)
            (shadow / name).symlink_to((git_dir / name).resolve(), target_is_directory=True)
        if (git_dir / "packed-refs").exists():
            (shadow / "packed-refs").symlink_to((git_dir / "packed-refs").resolve())
        if (git_dir / "shallow").exists():
            shutil.copyfile(git_dir / "shallow", shadow / "shallow")


def _take_shallow(git_dir: Path, shadow: Path) -> None:
    """Give the clone the borders of history that the fetch has moved."""
    if (shadow / "shallow").exists():
        write_anew(git_dir / "shallow", (shadow / "shallow").read_bytes())
    else:
        (git_dir / "shallow").unlink(missing_ok=True)


def _size_of_packs(git_dir: Path) -> int:
    return sum(pack.stat().st_size for pack in (git_dir / "objects" / "pack").glob("*.pack"))
