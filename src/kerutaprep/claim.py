"""A run's hold of the work directory: its lock, and a directory of its own for what is not whole yet.

Imports nothing heavy: the program takes it before the rest of itself is loaded.
"""

from __future__ import annotations

import fcntl
import os
import stat
from functools import partial

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from collections.abc import Callable

KERUTA = ".keruta"
PARTS_PREFIX = ".kerutaprep-part-"


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file or directory where nobody else holds it (flock(2))."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def identity_of(descriptor: int) -> str:
    """What an open directory is known by on this machine, whatever path leads to it."""
    facts = os.fstat(descriptor)
    return f"{facts.st_dev}:{facts.st_ino}"


def is_still(path: str, descriptor: int) -> bool:
    """Whether a path leads to an open directory: the run that made it may have removed it before it was locked."""
    try:
        facts = os.stat(path)
    except OSError:
        return False
    return f"{facts.st_dev}:{facts.st_ino}" == identity_of(descriptor)


def make_parts(keruta: str) -> str:
    """Make a directory for parts that nobody else has.

    Raises:
        OSError: the disk refuses.
    """
    parts = os.path.join(keruta, f"{PARTS_PREFIX}{os.urandom(6).hex()}")
    os.mkdir(parts, 0o700)
    return parts


class Claim:
    """The work directory as ours, taken without waiting; for a thread that may block.

    Args:
        root: the work directory.

    Attributes:
        descriptor: the locked directory; whoever takes the claim over closes it.
        identity: what the directory is known by.
        parts: a directory of our own below ``.keruta``.

    Raises:
        OSError: another run has it, something is in the way, or the disk refuses; everything is as it was.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.parts = ""
        self.descriptor = -1
        self._made: list[str] = []
        self._times: list[tuple[str, int, int]] = []
        try:
            self._make(root)
            self.descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            if not try_lock(self.descriptor):
                self._made.clear()  # it is the holder's now
                raise BlockingIOError("another run holds the work directory")
            if not is_still(root, self.descriptor):
                self._made.clear()
                raise FileNotFoundError(f"{root} was removed by who made it")
            self.identity = identity_of(self.descriptor)
            keruta = os.path.join(root, KERUTA)
            self._make(keruta)
            if not stat.S_ISDIR(os.lstat(keruta).st_mode):
                raise NotADirectoryError(f"{keruta} is a link")
            self.parts = make_parts(keruta)
        except OSError:
            self.give_up()
            raise

    def _make(self, directory: str) -> None:
        """Make a directory and those above it, and note what that changes."""
        if os.path.lexists(directory):
            facts = os.stat(directory)
            self._times.append((directory, facts.st_atime_ns, facts.st_mtime_ns))
            return
        self._make(os.path.dirname(directory))
        os.mkdir(directory)
        self._made.append(directory)

    def give_up(self) -> None:
        """Leave everything as it was, the times of what was there before too; never fails, and imports nothing."""
        if self.parts:
            remove_tree(self.parts)
        for directory in reversed(self._made):
            _try(os.rmdir, directory)
        for path, accessed, modified in reversed(self._times):
            _try(partial(os.utime, ns=(accessed, modified)), path)
        if self.descriptor != -1:
            os.close(self.descriptor)
            self.descriptor = -1


def remove_tree(root: str) -> None:
    """Remove a directory and what is in it; never fails, and imports nothing."""
    for directory, directories, files in os.walk(root, topdown=False):
        for name in files:
            _try(os.unlink, os.path.join(directory, name))
        for name in directories:
            _try(os.rmdir, os.path.join(directory, name))
    _try(os.rmdir, root)


def _try(call: Callable[[str], None], path: str) -> None:
    try:
        call(path)
    except OSError:
        return  # somebody else has put something there meanwhile
