"""A clone that is there already: whose it is, and how it comes to where it is to be without costing anybody's work."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio.to_thread

from kerutaprep.errors import InTheWayError, PrepError, WorkDirError
from kerutaprep.git import journal
from kerutaprep.git.command import NO_GIT_DIR, listing_arguments
from kerutaprep.git.fetch import ALL, Listing, Remote
from kerutaprep.git.target import Target, refspec
from kerutaprep.git.tree import Checkout
from kerutaprep.names import parse_clone_url
from kerutaprep.workspace import disk_errors, write_anew

if TYPE_CHECKING:
    from kerutaprep.git.command import Entry
    from kerutaprep.git.fetch import Tips
    from kerutaprep.git.tree import Tree
    from kerutaprep.names import CloneURL
    from kerutaprep.retry import RetryPolicy

_IN_THE_MIDDLE = ("MERGE_HEAD", "rebase-merge", "rebase-apply", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_LOG")
_ORIGIN = "refs/remotes/origin"


class _Position(NamedTuple):
    """Where a clone is."""

    head: str
    """The commit that is checked out."""
    branch: str
    """The branch that is, or ``HEAD`` for none."""
    refs: dict[str, str]
    """What some refs name: an object, or of a symbolic ref the other ref."""


class ExistingClone:
    """The clone in the work directory.

    Args:
        tree: the work directory.
        policy: for what fails in transport.

    Attributes:
        is_kept: whether it was left as it is, since something would have been lost.
    """

    def __init__(self, tree: Tree, policy: RetryPolicy) -> None:
        self._tree = tree
        self._git = tree.git
        self._git_dir = tree.git_dir
        self._settings = tree.settings
        self._policy = policy
        self._config: list[Entry] = []
        self.is_kept = False

    async def is_of(self, url: CloneURL) -> bool:
        """Whether it is to be kept. Only looks; has later commands not obey the clone's configuration.

        Raises:
            WorkDirError: it must be neither kept nor replaced.
        """
        policy = self._settings.on_existing
        if policy == "fail":
            raise WorkDirError(f"{self._git_dir} is there already, and --on-existing is fail")
        self._config = await self._git.disarm(self._git_dir)
        try:
            if await anyio.to_thread.run_sync(lambda: self._git_dir.is_symlink() or not self._git_dir.is_dir()):
                raise WorkDirError(f"{self._git_dir} is no directory")
            origin = self._configured("remote.origin.url")[-1]
            same = parse_clone_url(origin, local=True).same_repository(url)
        except (ValueError, LookupError, PrepError):
            same = False
        if not same and policy != "reset":
            raise WorkDirError(f"{self._git_dir} is not a clone of {url.text}; move it, or use --on-existing reset")
        return same

    def _configured(self, key: str) -> list[str]:
        return [value for name, value in self._config if name == key]

    async def finish_earlier(self) -> None:
        """Do again what an earlier run was killed in.

        Raises:
            PrepError: as ``Git.run``.
        """
        if await anyio.to_thread.run_sync(journal.start_work, self._git_dir):
            await anyio.to_thread.run_sync(journal.remove_stale_locks, self._git_dir)
        entry = await anyio.to_thread.run_sync(journal.read, self._git_dir)
        if entry is not None:
            async with self._tree.workspace.own_files_kept(self._settings.document_ids):
                if await journal.undo(self._git, self._git_dir, entry, self._tree.record):
                    self._tree.record.note("finishing the checkout that an earlier run was stopped in")
                    await self._tree.check_out(entry)
                else:
                    self._tree.record.note("somebody went on where an earlier run was stopped; that is left as it is")
        await anyio.to_thread.run_sync(journal.end, self._git_dir)

    async def update(self, url: CloneURL, ref: str | None) -> Checkout:
        """Bring it to the ref as the settings say, or keep it and say why.

        Raises:
            PrepError: as ``Remote.fetch``.
        """
        found = await self._unmoved(url, ref)
        if found is not None:
            return await self._move(*found)
        shadow = self._tree.workspace.parts / "shadow" / ".git"
        await self._tree.make_git_dir(shadow)
        await anyio.to_thread.run_sync(_share_objects, self._git_dir, shadow)
        remote = Remote(self._git, url, shadow, self._policy, self._tree.record)
        tips = await remote.fetch(ref, self._settings.work_branch, depth=await self._depth(ref))
        await anyio.to_thread.run_sync(_take_shallow, self._git_dir, shadow)
        target = Target.of(tips, self._settings.work_branch)
        position = await self._position(tips, target)
        await self._write_refs(tips, position)
        return await self._move(tips, target, position)

    async def _move(self, tips: Tips, target: Target, position: _Position) -> Checkout:
        if self._settings.on_existing == "reset":
            await self._reset(target, position)
            return Checkout(target.commit, tips.base.name)
        return Checkout(await self._go_on(target, position), tips.base.name)

    async def _unmoved(self, url: CloneURL, ref: str | None) -> tuple[Tips, Target, _Position] | None:
        """Where it is to be, if the remote was asked before the program was loaded and has not moved since.

        Otherwise a fetch asks as quickly, and brings what is new at once.
        """
        work_branch = self._settings.work_branch
        question, nowhere = listing_arguments(url, ref, work_branch), Path(NO_GIT_DIR)
        if not self._git.is_under_way(*question, at=nowhere):
            return None
        try:
            self._tree.record.attempt(1)
            listing = Listing.parse(await self._git.run(*question, at=nowhere, url=url))
        except PrepError:
            return None  # the fetch meets the same, and is tried again if that helps
        tips = listing.tips(ref, work_branch)
        if tips is None:
            return None
        target = Target.of(tips, work_branch)
        position = await self._position(tips, target)
        here = [position.refs.get(_name_here(tip.kind, tip.name)) == tip.object_id for tip in filter(None, tips)]
        if tips.base.is_default:
            here.append(position.refs.get(f"{_ORIGIN}/HEAD") == f"{_ORIGIN}/{tips.base.name}")
        return (tips, target, position) if all(here) else None

    async def _depth(self, ref: str | None) -> int:
        """All that is new since the last fetch; but of a branch that a shallow clone never had, no more than asked."""
        if not await anyio.to_thread.run_sync((self._git_dir / "shallow").exists):
            return 0
        known = await self._tree.resolve(f"{_ORIGIN}/{ref or 'HEAD'}") is not None
        if known and self._settings.on_existing != "reset":
            return 0
        return self._settings.depth or ALL

    async def _position(self, tips: Tips, target: Target) -> _Position:
        names = [f"{_ORIGIN}/HEAD", *([f"refs/heads/{target.branch}"] if target.branch else [])]
        names += [_name_here(tip.kind, tip.name) for tip in filter(None, tips) if tip.kind != "other"]
        form = "--format=%(refname) %(objectname) %(symref)"
        listing = await self._git.run("for-each-ref", form, *names, at=self._git_dir)
        lines = [line.split(" ") for line in listing.splitlines()]
        refs = {name: symref or commit for name, commit, symref in lines}
        said = await self._git.run("rev-parse", "HEAD", "--abbrev-ref", "HEAD", at=self._git_dir)
        head, branch = said.split()
        return _Position(head, branch, refs)

    async def _write_refs(self, tips: Tips, position: _Position) -> None:
        for tip in filter(None, tips):
            name = _name_here(tip.kind, tip.name)
            # A tag that is here already may be the user's own.
            if (tip.kind == "branch" and position.refs.get(name) != tip.object_id) or (
                tip.kind == "tag" and name not in position.refs
            ):
                await self._git.run("update-ref", name, tip.object_id, at=self._git_dir)
            if tip.is_default and position.refs.get(f"{_ORIGIN}/HEAD") != name:
                await self._git.run("symbolic-ref", f"{_ORIGIN}/HEAD", name, at=self._git_dir)

    async def _reset(self, target: Target, position: _Position) -> None:
        async with self._tree.workspace.own_files_kept(self._settings.document_ids):
            extent = await self._tree.narrow(self._git_dir, target.commit)
            if not any(extent):
                await self._tree.run("sparse-checkout", "disable")
            await self._tree.check_out(journal.Entry(position.head, target, extent, force=True))
            await self._tree.clean()
            await anyio.to_thread.run_sync(self._end_what_is_under_way)
        await self._follow(target)

    async def _go_on(self, target: Target, position: _Position) -> str:
        """Bring it to the target where that costs nobody's work, else keep it; give the commit that it is at."""
        local = position.refs.get(f"refs/heads/{target.branch}")
        reason = await self._reason_to_keep(target, position.branch, local)
        if reason is None:
            if local not in {None, target.commit} and await self._has_more(str(local), target.commit):
                target = target._replace(commit=local)  # the branch is continued where it is
                self._tree.record.note(f"{target.branch} has commits of its own, which are kept")
            try:
                async with self._tree.workspace.own_files_kept(self._settings.document_ids):
                    extent = await self._tree.narrow(self._git_dir, target.commit)
                    if any(extent) or (position.branch, position.head) != (target.branch or "HEAD", target.commit):
                        await self._tree.check_out(journal.Entry(position.head, target, extent))
                await self._follow(target)
            except InTheWayError as error:
                reason = f"a file is in the way ({error})"
        if reason:
            self.is_kept = True
            self._tree.record.note(f"the existing clone is kept as it is: {reason}")
        return position.head if reason else target.commit

    async def _reason_to_keep(  # noqa: PLR0911 - a list of reasons, the first of which counts
        self, target: Target, head: str, local: str | None
    ) -> str | None:
        if await anyio.to_thread.run_sync(self.is_in_the_middle):
            return "a merge, rebase, cherry-pick, revert or bisection is under way in it"
        if (await self._tree.run("status", "--porcelain", "--untracked-files=no")).strip():
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
        wanted = refspec(target.upstream)
        if not {wanted, refspec("*")} & {*self._configured("remote.origin.fetch")}:
            await self._git.run("config", "--add", "remote.origin.fetch", wanted, at=self._git_dir)
        for name, value in (("remote", "origin"), ("merge", f"refs/heads/{target.upstream}")):
            key = f"branch.{target.branch}.{name}"
            if self._configured(key) != [value]:
                await self._git.run("config", key, value, at=self._git_dir)


def _name_here(kind: str, name: str) -> str:
    return f"refs/tags/{name}" if kind == "tag" else f"{_ORIGIN}/{name}"


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
