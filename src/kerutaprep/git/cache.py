"""A directory of bare mirrors that many pods share: what it has need not cross the network.

The server always has the last word: a clone takes from the mirror what that has, then fetches from the server what is
missing. So a stale mirror costs time only, a damaged one is left aside and made anew, and the clone holds every object
itself, whatever becomes of the mirror.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio
import anyio.to_thread

from kerutaprep.claim import try_lock
from kerutaprep.errors import PrepError, WorkDirError
from kerutaprep.names import CloneURL
from kerutaprep.workspace import disk_errors, write_anew

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from kerutaprep.events import StepRecord
    from kerutaprep.git.fetch import Tip
    from kerutaprep.git.program import Git

_LONGEST_WAIT = 10.0
"""Seconds for the mirror's lock; to clone without it is better than to wait longer."""
_POLL = 0.05
_PACKS = 30
"""Packs after which a mirror is repacked."""
_QUIET_FETCH = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance", "--update-shallow")


class Cache:
    """One repository's mirror.

    Args:
        git: runs the commands; its settings say where the mirrors are.
        url: the repository's; who logs in makes no difference.
        record: told of what the cache did.
    """

    def __init__(self, git: Git, url: CloneURL, record: StepRecord) -> None:
        if git.settings.git_cache_dir is None:
            raise ValueError("the settings name no cache")
        self._git = git
        self._record = record
        self._directory = git.settings.git_cache_dir
        name = hashlib.sha256(repr(url.identity).encode()).hexdigest()[:32]
        self._mirror = self._directory / f"{name}.git"
        self._lock = self._directory / f"{name}.lock"

    async def fill(self, git_dir: Path, ref: str | None, depth: int) -> None:
        """Take into a new git directory what the mirror has of a ref; nothing, where that is not possible.

        Left behind on any failure is a git directory as empty as it was.

        Args:
            git_dir: the new one.
            ref: as the settings have it, None for the default branch.
            depth: commits of history, 0 for all.
        """
        if not await anyio.to_thread.run_sync((self._mirror / "HEAD").exists):
            return
        if await anyio.to_thread.run_sync(self._mirror.is_symlink):
            self._record.note(f"the cache is left aside: {self._mirror} is a symlink")
            return
        for name in dict.fromkeys((_name_of(ref), _name_of(None))):
            try:
                async with self._locked(shared=True):
                    arguments = [*_QUIET_FETCH, *([f"--depth={depth}"] if depth else [])]
                    await self._local(*arguments, str(self._mirror), f"+{name}:{name}", at=git_dir)
            except PrepError as error:
                if "couldn't find remote ref" in str(error):
                    continue
                self._record.note(f"the cache is left aside: {error}")
                if not isinstance(error, WorkDirError) and "ownership" not in str(error):
                    await self._discard()
                return
            self._record.note("taken from the cache what it has")
            return

    async def keep(self, git_dir: Path, ref: str | None, tip: Tip) -> None:
        """Give the mirror what was fetched, unless it is read-only, busy or full; a clone does not fail for that.

        Args:
            git_dir: the new clone's, with the tip.
            ref: as in ``fill``.
            tip: what the server said.
        """
        names = {_name_of(ref)} | ({_name_of(None)} if tip.is_default else set())
        try:
            async with self._locked(shared=False):
                await self._make_mirror()
                await anyio.to_thread.run_sync(self._remove_leftovers)
                await self._git.run("update-ref", _PASSING, tip.commit, at=git_dir)
                await self._local(
                    *_QUIET_FETCH, str(git_dir), *(f"+{_PASSING}:{name}" for name in sorted(names)), at=self._mirror
                )
                if len(list((self._mirror / "objects" / "pack").glob("*.pack"))) > _PACKS:
                    await self._git.run("repack", "-a", "-d", "-q", at=self._mirror)
        except PrepError as error:
            self._record.note(f"the cache is not brought up to date: {error}")
        for name in {_PASSING, *names, _name_of(None)}:
            with contextlib.suppress(PrepError):  # one that never was is as good as removed
                await self._git.run("update-ref", "-d", name, at=git_dir)

    async def _local(self, *arguments: str, at: Path) -> str:
        return await self._git.run(*arguments, at=at, url=_LOCAL)

    async def _make_mirror(self) -> None:
        if await anyio.to_thread.run_sync((self._mirror / "HEAD").exists):
            await anyio.to_thread.run_sync(self._disarm_mirror)
            return
        made = self._mirror.with_name(f"{self._mirror.name}.{os.getpid()}.new")
        with disk_errors("making a mirror in", self._directory):
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(made, ignore_errors=True))
            await self._git.run("init", "--quiet", "--bare", "--template=", "--shared=group", str(made), at=made)
            await anyio.to_thread.run_sync(made.rename, self._mirror)

    def _disarm_mirror(self) -> None:
        """Let a mirror that others may write to have neither configuration nor objects of theirs."""
        if self._mirror.is_symlink():
            raise WorkDirError(f"{self._mirror} is a symlink, which is not followed")
        write_anew(self._mirror / "config", _CONFIG)
        (self._mirror / "objects" / "info" / "alternates").unlink(missing_ok=True)

    def _remove_leftovers(self) -> None:
        """Remove what a killed run left: with the lock held, nobody else's work can be among it."""
        for leftover in [*self._mirror.rglob("*.lock"), *self._mirror.rglob("tmp_*")]:
            if leftover.is_file():
                leftover.unlink(missing_ok=True)

    async def _discard(self) -> None:
        """Remove a damaged mirror, if it may be; the next run makes a new one."""
        try:
            async with self._locked(shared=False):
                dead = self._mirror.with_name(f"{self._mirror.name}.{os.getpid()}.dead")
                with disk_errors("removing the damaged mirror", self._mirror):
                    await anyio.to_thread.run_sync(self._mirror.rename, dead)
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(dead, ignore_errors=True))
        except PrepError as error:
            self._record.note(f"the damaged cache is still there: {error}")

    @asynccontextmanager
    async def _locked(self, *, shared: bool) -> AsyncIterator[None]:
        """Hold the mirror's lock, shared for reading; a reader of a read-only cache needs none."""
        with disk_errors("locking the cache", self._lock):
            descriptor = await anyio.to_thread.run_sync(self._open_lock, shared)
        try:
            deadline = anyio.current_time() + _LONGEST_WAIT
            while descriptor is not None and not try_lock(descriptor, shared=shared):
                if anyio.current_time() > deadline:
                    raise WorkDirError(f"another run has held {self._lock} for {_LONGEST_WAIT:g} s")
                await anyio.sleep(_POLL)
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _open_lock(self, shared: bool) -> int | None:
        try:
            if not shared:
                self._directory.mkdir(parents=True, exist_ok=True)
            return os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError:
            if shared:
                return None
            raise


_LONGEST_NAME = 200
_CONFIG = b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n\tsharedRepository = group\n"
_PASSING = "refs/kerutaprep/passing"
_LOCAL = CloneURL("", "file", "")


def _name_of(ref: str | None) -> str:
    """The mirror's own name for a ref: what it was asked for, as one component that check-ref-format allows."""
    if ref is None:
        return "refs/kerutaprep/default"
    name = quote(ref, safe="").replace(".", "%2E").replace("~", "%7E")
    return f"refs/kerutaprep/{name if len(name) <= _LONGEST_NAME else hashlib.sha256(ref.encode()).hexdigest()}"
