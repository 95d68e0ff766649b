"""The work directory: its lock, the places of Keruta's files in it, and publishing them by rename."""

from __future__ import annotations

import errno
import math
import os
import shutil
import stat
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from kerutaprep.claim import KERUTA, PARTS_PREFIX, identity_of, is_still, make_parts, try_lock
from kerutaprep.errors import WorkDirError
from kerutaprep.names import document_file_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from kerutaprep.claim import Claim

KEPT = "kept"
"""Where, in that directory, somebody's work is put that would have been overwritten."""
_FIRST_LOOK, _LONGEST_LOOK = 0.05, 0.5
_QUIET_SECONDS = 8.0


@contextmanager
def disk_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of a file operation into a ``WorkDirError`` that says what to do."""
    try:
        yield
    except OSError as error:
        raise WorkDirError(f"{doing} {path} failed: {_advice(error)}") from error


def _advice(error: OSError) -> str:
    reason = error.strerror or str(error)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"{reason}; the volume needs more room"
        case errno.EROFS | errno.EACCES | errno.EPERM:
            return f"{reason}; user {os.geteuid()} must be able to write to the volume (fsGroup, readOnly)"
        case errno.EISDIR | errno.ENOTDIR | errno.EEXIST | errno.ENOTEMPTY | errno.ELOOP:
            return f"{reason}; something is in the way, move it"
    return reason


class Workspace:
    """One run's view of the work directory.

    Attributes:
        root: the work directory.
        keruta: ``.keruta`` in it.
        parts: a directory of this run alone, inside ``keruta``, for what is not whole yet; gone after the run.
        ready: set once the directories are there.
        publishing: held while files get their final names.
        identity: what this directory is known by on this machine, whatever path leads to it; known while it is locked.

    Args:
        root: the work directory.
        group_write: let the group write to what is made.
        claim: the directory's lock and parts, where they were taken before; they are this workspace's to give back.
    """

    def __init__(self, root: Path, *, group_write: bool, claim: Claim | None = None) -> None:
        self.root = root
        self.keruta = root / KERUTA
        self.documents = self.keruta / "documents"
        self.readme = self.keruta / "README.md"
        self.script = self.keruta / "install.sh"
        self.log = self.keruta / "prep.log"
        self.report = self.keruta / "prep.json"
        self.group_write = group_write
        self.umask = 0o002 if group_write else -1
        self.ready = anyio.Event()
        self.publishing = anyio.Lock()
        self._claim = claim
        self._parts = Path(claim.parts) if claim else None
        self.identity = ""

    @property
    def parts(self) -> Path:
        """Where parts go; only while the run holds the directory."""
        if self._parts is None:
            raise RuntimeError("the workspace was not made yet")
        return self._parts

    def document(self, document_id: str) -> Path:
        """Where a document goes."""
        return self.documents / document_file_name(document_id)

    def replaced_names(self, document_ids: tuple[str, ...]) -> frozenset[str]:
        """The paths, relative to the root, that this run makes whatever the repository tracks there."""
        documents = [self.readme, *map(self.document, document_ids)] if document_ids else []
        paths = [self.script, self.log, self.report, *documents]
        return frozenset(str(path.relative_to(self.root)) for path in paths)

    @asynccontextmanager
    async def locked(self, on_wait: Callable[[], None]) -> AsyncIterator[None]:
        """Hold the work directory alone (flock(2) on the directory itself: no file, and freed by the kernel).

        Args:
            on_wait: called while another run holds it: at once, and every few seconds.

        Raises:
            WorkDirError: the directory can't be made or opened.
        """
        descriptor = self._claim.descriptor if self._claim else await anyio.to_thread.run_sync(self._open_root)
        try:
            wait, told = 0.0, -math.inf
            while not (is_ours := _lock(descriptor, self.root)) or not is_still(str(self.root), descriptor):
                if is_ours:  # of a directory that its maker has removed, since it was stopped
                    os.close(descriptor)
                    descriptor = -1
                    descriptor = await anyio.to_thread.run_sync(self._open_root)
                    continue
                if anyio.current_time() - told >= _QUIET_SECONDS:
                    on_wait()
                    told = anyio.current_time()
                wait = min(wait + _FIRST_LOOK, _LONGEST_LOOK)
                await anyio.sleep(wait)
            self.identity = identity_of(descriptor)
            yield
        finally:
            if descriptor != -1:
                os.close(descriptor)

    def _open_root(self) -> int:
        with disk_errors("making the work directory", self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            return os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)

    async def make(self) -> None:
        """Make the directories, and remove what a killed run left of its parts.

        Raises:
            WorkDirError: something is in the way, above all a ``.keruta`` that is no directory of the volume's own.
        """
        await anyio.to_thread.run_sync(self._make)
        self.ready.set()

    def _make(self) -> None:
        for directory in (self.keruta, self.documents):
            with disk_errors("making", directory):
                make_directory(directory)
                self.share(directory)
        with disk_errors("making a directory in", self.keruta):
            for stale in self.keruta.glob(f"{PARTS_PREFIX}*"):
                if stale != self._parts and not stale.is_symlink():
                    shutil.rmtree(stale)
            self._parts = self._parts or Path(make_parts(str(self.keruta)))

    async def empty_parts(self) -> None:
        """Remove what is among this run's parts, whole or not; never fails, as ``remove_parts``."""
        await anyio.to_thread.run_sync(_empty, self.parts)

    async def remove_parts(self) -> None:
        """Remove this run's parts; never fails, since the next run removes them too."""
        if self._parts is not None:
            parts, self._parts = self._parts, None
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(parts, ignore_errors=True))

    async def publish(self, part: Path, target: Path, mode: int | None = None) -> None:
        """Give a whole file its final name, replacing what was there.

        Raises:
            WorkDirError: a directory has the name, or the disk refuses.
        """
        async with self.publishing:
            await anyio.to_thread.run_sync(self.publish_now, part, target, mode)

    @asynccontextmanager
    async def own_files_kept(self, document_ids: tuple[str, ...]) -> AsyncIterator[None]:
        """Hold publishing back, and put back whatever of this run's own files git removes meanwhile.

        Git does so where a file of the same name was tracked until now.
        """
        async with self.publishing:
            names = self.replaced_names(document_ids)
            kept = await anyio.to_thread.run_sync(self._keep, names)
            try:
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self._put_back, kept)

    def _keep(self, names: frozenset[str]) -> dict[Path, Path]:
        kept = {}
        for number, path in enumerate(self.root / name for name in sorted(names)):
            if path.is_file() and not path.is_symlink():
                kept[path] = self.parts / f"kept-{number}"
                with disk_errors("keeping", path):
                    link_or_copy(path, kept[path])
        return kept

    @staticmethod
    def _put_back(kept: dict[Path, Path]) -> None:
        for path, copy in kept.items():
            with disk_errors("putting back", path):
                if path.exists():
                    copy.unlink()
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    copy.rename(path)

    def publish_now(self, part: Path, target: Path, mode: int | None = None) -> None:
        """``publish``, for a thread that may block."""
        with disk_errors("writing", target):
            require_directory(target.parent)
            if mode is not None:
                part.chmod(mode)
            self.share(part)
            part.replace(target)

    def share(self, path: Path) -> None:
        """Let the group write to what this run made, if it is to."""
        if self.group_write:
            path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IWGRP)


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _lock(descriptor: int, root: Path) -> bool:
    with disk_errors("locking", root):
        return try_lock(descriptor)


def write_anew(path: Path, content: bytes) -> None:
    """Write a file by rename, so that neither a half-written one nor what a symlink leads to is ever touched.

    Raises:
        WorkDirError: the disk refuses, or its directory is none.
    """
    with disk_errors("writing", path):
        require_directory(path.parent)
        descriptor, part = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(part).replace(path)
        except OSError:
            Path(part).unlink(missing_ok=True)
            raise


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the volume has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def make_directory(directory: Path) -> None:
    """Make a directory, or see to it that what has its name is one and no symlink."""
    try:
        directory.mkdir()
    except FileExistsError:
        require_directory(directory)


def require_directory(directory: Path) -> None:
    """Refuse a symlink above all: what it points at is not ours to write to."""
    if not stat.S_ISDIR(directory.lstat().st_mode):
        raise WorkDirError(f"{directory} is in the way: it must be a directory, not a link or a file; move it")
