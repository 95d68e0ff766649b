"""A checkout that may be killed: noted before it begins, and undone by the next run, which then does it again.

Git writes a checkout's files one after the other and its index last. A run that is killed in between leaves files that
look like somebody's changes. By the journal the next run knows which checkout was under way, and so which files are the
checkout's own; whatever else it finds in their place is somebody's, and is kept aside.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio.to_thread

from kerutaprep.claim import KERUTA
from kerutaprep.errors import PrepError
from kerutaprep.git.sparse import Extent
from kerutaprep.git.target import Target
from kerutaprep.workspace import KEPT, disk_errors, make_directory, write_anew

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kerutaprep.events import StepRecord
    from kerutaprep.git.program import Git

_NAME = "kerutaprep-checkout"
_AT_WORK = "kerutaprep-at-work"
_STALE_LOCKS = ("index.lock", "HEAD.lock", "config.lock", "shallow.lock", "packed-refs.lock")
_PARTS = ("kerutaprep-*.*", "shallow.????????", "info/exclude.????????", "info/sparse-checkout.????????")
"""What a run leaves in a git directory that is killed while it writes one of its files anew."""
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_SUBMODULE = "160000"


class Entry(NamedTuple):
    """The checkout that is under way."""

    before: str | None
    """The commit that was checked out, None for a tree without any."""
    target: Target
    extent: Extent = Extent()
    force: bool = False
    """Whether whatever is there is to be overwritten: then nothing needs to be told apart."""


def begin(git_dir: Path, entry: Entry) -> None:
    """Note a checkout; for a thread that may block.

    Raises:
        WorkDirError: the disk refuses.
    """
    write_anew(git_dir / _NAME, json.dumps(entry).encode())


def start_work(git_dir: Path) -> bool:
    """Note that a run is at work in a clone; for a thread that may block.

    Returns:
        whether the run before this one never said that its work was done, so that git's locks may be stale.
    """
    with disk_errors("writing to", git_dir):
        interrupted = (git_dir / _AT_WORK).exists()
        for pattern in _PARTS:
            for part in git_dir.glob(pattern):
                part.unlink(missing_ok=True)
    write_anew(git_dir / _AT_WORK, b"")
    return interrupted


def end_work(git_dir: Path) -> None:
    """Note that the work is done; for a thread that may block."""
    (git_dir / _AT_WORK).unlink(missing_ok=True)


def end(git_dir: Path) -> None:
    """Note that it is done, or that it did not begin; for a thread that may block."""
    (git_dir / _NAME).unlink(missing_ok=True)


def read(git_dir: Path) -> Entry | None:
    """The checkout that was under way when a run was killed, if that can be told; for a thread that may block."""
    try:
        before, target, extent, force = json.loads((git_dir / _NAME).read_text(encoding="utf-8"))
        return Entry(before, Target(*target), Extent(*map(tuple, extent)), force)
    except (OSError, ValueError, TypeError):
        return None


async def undo(git: Git, git_dir: Path, entry: Entry, record: StepRecord) -> bool:
    """Take a killed checkout back, so that it can be done again.

    Files that it was not changing are left as they are. What somebody wrote in the meantime into one that it was
    changing is put into ``.keruta/kept`` first. Where somebody went on, by a commit or by staging something, nothing is
    taken back at all.

    Args:
        git: runs the commands.
        git_dir: the clone's, in its work tree.
        entry: the checkout.
        record: told of what is kept aside.

    Returns:
        whether the checkout is to be done again.

    Raises:
        WorkDirError: the disk refuses.
        PrepError: as ``Git.run``.
    """
    if await _commit(git, git_dir, "HEAD") not in {entry.before, entry.target.commit}:
        return False
    if await _commit(git, git_dir, entry.target.commit) is None:
        return False
    if entry.force:
        return True
    if await _index_is_of(git, git_dir, entry.before):
        await _restore(git, git_dir, entry, record)
        return True
    if not await _index_is_of(git, git_dir, entry.target.commit):
        return False
    # The index is written after the files: each is in its place, and HEAD alone is behind. Git would refuse to go on
    # from here where a directory became a file.
    await _move_head(git, git_dir, entry.target)
    return True


async def _move_head(git: Git, git_dir: Path, target: Target) -> None:
    if target.branch is None:
        await git.run("update-ref", "--no-deref", "HEAD", target.commit, at=git_dir)
        return
    await git.run("update-ref", f"refs/heads/{target.branch}", target.commit, at=git_dir)
    await git.run("symbolic-ref", "HEAD", f"refs/heads/{target.branch}", at=git_dir)


async def _restore(git: Git, git_dir: Path, entry: Entry, record: StepRecord) -> None:
    work_tree = git_dir.parent
    changes = await _changes(git, git_dir, entry)
    for change, content in await _touched(git, git_dir, changes):
        partial = content is not None and change.after and (await _blob(git, git_dir, change.after)).startswith(content)
        if not partial:
            kept = await anyio.to_thread.run_sync(_keep_aside, work_tree, change.path)
            record.note(f"{change.path!a} was changed since an earlier run was stopped; that is kept as {kept!a}")
    await anyio.to_thread.run_sync(_remove_added, work_tree, changes)
    restored = [change.path for change in changes if change.before is not None]
    if restored and entry.before is not None:
        paths = git_dir / f"{_NAME}.paths"
        content = b"\0".join(map(os.fsencode, restored))
        await anyio.to_thread.run_sync(write_anew, paths, content)
        source = ["restore", "--worktree", f"--source={entry.before}", "--pathspec-file-nul"]
        literally = {"GIT_LITERAL_PATHSPECS": "1"}
        await git.run(*source, f"--pathspec-from-file={paths}", at=git_dir, work_tree=work_tree, extra=literally)
        await anyio.to_thread.run_sync(paths.unlink)


async def _commit(git: Git, git_dir: Path, name: str) -> str | None:
    try:
        return (await git.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", at=git_dir)).strip()
    except PrepError:
        return None


class _Change(NamedTuple):
    path: str
    before: str | None
    """The object's id before the checkout, None where there was none."""
    after: str | None


async def _index_is_of(git: Git, git_dir: Path, commit: str | None) -> bool:
    if not await anyio.to_thread.run_sync((git_dir / "index").exists):
        return commit is None
    return commit is not None and not await git.run("diff-index", "--cached", "--name-only", commit, at=git_dir)


async def _changes(git: Git, git_dir: Path, entry: Entry) -> list[_Change]:
    trees = (entry.before or _EMPTY_TREE, entry.target.commit)
    fields = (await git.run("diff-tree", "-r", "-z", "--no-renames", *trees, at=git_dir)).split("\0")
    changes = []
    for facts, path in zip(fields[0::2], fields[1::2], strict=False):
        old_mode, new_mode, old, new, _ = facts.lstrip(":").split()
        if _SUBMODULE not in {old_mode, new_mode} and entry.extent.covers(path):
            changes.append(_Change(path, old if old.strip("0") else None, new if new.strip("0") else None))
    return changes


async def _touched(git: Git, git_dir: Path, changes: list[_Change]) -> list[tuple[_Change, bytes | None]]:
    """What is there that is whole in neither of its two forms, with what is in it; None for a directory."""
    suspects = await anyio.to_thread.run_sync(_suspects, git_dir.parent, changes)
    found = []
    for change, content in suspects:
        # Once more as git sees it: line ends and the like may be written differently than they are stored.
        arguments = ("hash-object", "--", change.path)
        if content is None or (await git.run(*arguments, at=git_dir, work_tree=git_dir.parent)).strip() not in {
            change.before,
            change.after,
        }:
            found.append((change, content))
    return found


def _suspects(work_tree: Path, changes: Iterable[_Change]) -> list[tuple[_Change, bytes | None]]:
    found: list[tuple[_Change, bytes | None]] = []
    for change in changes:
        path = work_tree / change.path
        if not _is_inside(work_tree, path) or not os.path.lexists(path):
            continue
        if path.is_dir() and not path.is_symlink():
            # A directory in the place of a file: somebody's, unless the target has files below it.
            if not any(other.path.startswith(f"{change.path}/") for other in changes):
                found.append((change, None))
            continue
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        if _object_id(content) not in {change.before, change.after}:
            found.append((change, content))
    return found


def _is_inside(work_tree: Path, path: Path) -> bool:
    """Whether no symlink leads to a path; one that does is none of the checkout's, nor is what is behind it."""
    return not any(
        parent.is_symlink() for parent in path.parents if parent.is_relative_to(work_tree) and parent != work_tree
    )


def _object_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


async def _blob(git: Git, git_dir: Path, object_id: str) -> bytes:
    text = await git.run("cat-file", "blob", object_id, at=git_dir)
    return text.encode(errors="surrogateescape")


def _keep_aside(work_tree: Path, path: str) -> str:
    kept = work_tree / KERUTA / KEPT
    with disk_errors("keeping a copy in", kept):
        make_directory(kept)
        place = Path(tempfile.mkdtemp(prefix=f"{Path(path).name}-", dir=kept))
        source = work_tree / path
        if source.is_dir() and not source.is_symlink():
            shutil.move(source, place / source.name)
        else:
            shutil.copy2(source, place / source.name, follow_symlinks=False)
    return str((place / source.name).relative_to(work_tree))


def _remove_added(work_tree: Path, changes: Iterable[_Change]) -> None:
    for change in changes:
        path = work_tree / change.path
        if change.before is None and _is_inside(work_tree, path) and (path.is_symlink() or path.is_file()):
            with disk_errors("removing", path):
                path.unlink()


def remove_stale_locks(git_dir: Path) -> None:
    """Remove the locks that a killed git left; for a thread that may block, and only where no git is at work.

    Raises:
        WorkDirError: the disk refuses.
    """
    with disk_errors("removing stale locks in", git_dir):
        for name in _STALE_LOCKS:
            (git_dir / name).unlink(missing_ok=True)
        for lock in [*(git_dir / "refs").rglob("*.lock"), *(git_dir / "modules").rglob("index.lock")]:
            lock.unlink(missing_ok=True)
