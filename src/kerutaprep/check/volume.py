"""What a run would meet on the work directory's volume, found without writing to it; for threads that may block."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from kerutaprep.check.findings import Finding, failed, ok, skipped, warning
from kerutaprep.errors import LockedError, WorkDirError
from kerutaprep.events import format_bytes
from kerutaprep.lastwords import TERMINATION_LOG
from kerutaprep.workspace import disk_errors, require_directory

if TYPE_CHECKING:
    from kerutaprep.settings import PrepSettings
    from kerutaprep.workspace import Workspace

_LITTLE_ROOM = 64 * 1024 * 1024
_FEW_INODES = 1000


def look_at_work_dir(root: Path) -> list[Finding]:
    """Whether the work directory is there or could be made, and this user may write to it.

    Raises:
        WorkDirError: neither.
    """
    place = _nearest(root)
    require_writable(place)
    if place != root:
        return ok("work dir", f"{root} is not there yet, and can be made in {place} by user {os.geteuid()}")
    if not os.access(root, os.R_OK, effective_ids=True):
        raise WorkDirError(f"{root} can't be read by user {os.geteuid()} (fsGroup?)")
    return ok("work dir", f"{root} is there, and user {os.geteuid()} may write to it")


def look_at_keruta(workspace: Workspace, document_ids: tuple[str, ...]) -> list[Finding]:
    """Whether ``.keruta`` can take this run's files.

    Raises:
        WorkDirError: something in it is in the way, or this user may not write to it.
    """
    for directory in (workspace.keruta, workspace.documents):
        if not os.path.lexists(directory):
            break
        with disk_errors("looking at", directory):
            require_directory(directory)
        require_writable(directory)
    for name in sorted(workspace.replaced_names(document_ids)):
        path = workspace.root / name
        if path.is_dir() and not path.is_symlink():
            raise WorkDirError(f"{path} is a directory, where a file is to be; something is in the way, move it")
    if not os.path.lexists(workspace.keruta):
        return ok("keruta dir", f"{workspace.keruta} is not there yet, and would be made")
    return ok("keruta dir", f"{workspace.keruta} is a directory, and this run's files would replace those in it")


def look_at_lock(settings: PrepSettings) -> list[Finding]:
    """Whether another run holds the work directory; what is taken to find out is given back at once."""
    root = settings.work_dir
    if not root.is_dir():
        return skipped("lock", "nobody holds what is not there yet")
    with disk_errors("opening", root):
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        held = f"another run holds {root} now"
        if settings.deadline is None:
            return warning("lock", f"{held}; init would wait for its end")
        return failed("lock", LockedError(f"{held}; init would wait, at most {settings.deadline:g} s"), 0)
    finally:
        os.close(descriptor)
    return ok("lock", "no other run holds the work directory")


def look_at_space(root: Path, needed: int) -> list[Finding]:
    """How much room the volume has.

    Args:
        root: the work directory.
        needed: bytes of the documents, as far as known.

    Raises:
        WorkDirError: too little for those, or none at all.
    """
    place = _nearest(root)
    with disk_errors("looking at the volume of", place):
        volume = os.statvfs(place)
    free = volume.f_bavail * volume.f_frsize
    inodes = f"{volume.f_favail} inodes" if volume.f_files else "no count of inodes"
    text = f"{format_bytes(free)} and {inodes} are left on the volume of {place}"
    if free <= needed or (volume.f_files and not volume.f_favail):
        need = f"; the documents take {format_bytes(needed)}" if needed else ""
        raise WorkDirError(f"{text}{need}; the volume needs more room")
    if free < needed + _LITTLE_ROOM or (volume.f_files and volume.f_favail < _FEW_INODES):
        return warning("space", f"{text}; that is little for a clone")
    return ok("space", text)


def look_at_cache(directory: Path | None) -> list[Finding]:
    """Whether the directory of mirrors can be used; a run does without one that can't."""
    if directory is None:
        return skipped("git cache", "none is set")
    try:
        require_writable(_nearest(directory))
    except WorkDirError as error:
        return warning("git cache", f"{error}; init would not bring it up to date")
    return ok("git cache", f"{directory} may be written to")


def look_at_termination_log(configured: Path | None) -> list[Finding]:
    """Whether the pod's last words could be written; that they can't harms nothing."""
    path = configured or Path(TERMINATION_LOG)
    if not os.path.lexists(path) and configured is None:
        return skipped("last words", f"there is no {path}: not in a pod")
    place = path if os.path.lexists(path) else path.parent
    if not os.access(place, os.W_OK, effective_ids=True):
        return warning("last words", f"{path} can't be written by user {os.geteuid()}; a run does without it")
    return ok("last words", f"{path} can be written; a check leaves it as it is")


def _nearest(path: Path) -> Path:
    """The path itself, or the closest directory above it that is there."""
    return next(place for place in (path, *path.parents) if os.path.lexists(place))


def require_writable(directory: Path) -> None:
    """Refuse what is no directory that this user may make files in.

    Raises:
        WorkDirError: it says why.
    """
    with disk_errors("writing to", directory):
        if not stat.S_ISDIR(directory.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if os.statvfs(directory).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
