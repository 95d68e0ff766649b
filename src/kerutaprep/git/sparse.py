"""What of a commit is written to the work directory: sparse paths, and Keruta's own names left out.

Both are patterns of git-sparse-checkout(1). Keruta's names are left out where the repository tracks files of the same
names: then git neither writes them nor takes ours for changed ones, and a later fast-forward goes through.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import anyio.to_thread

from kerutaprep.claim import KERUTA
from kerutaprep.errors import WorkDirError
from kerutaprep.workspace import KEPT, disk_errors, make_directory, write_anew

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kerutaprep.git.program import Git
    from kerutaprep.workspace import Workspace

_TREE, _LINK = "040000", "120000"
_SPECIAL = re.compile(r"([*?\[\\])")


async def tracked_names(git: Git, git_dir: Path, commit: str, workspace: Workspace) -> list[str]:
    """Those of the names this run makes that a commit tracks, too.

    Raises:
        WorkDirError: the commit has something else where this run needs a directory or a file.
    """
    arguments = ("ls-tree", "-z", "-r", "-t", "--full-tree", commit, "--", KERUTA)
    entries = (entry.partition("\t") for entry in (await git.run(*arguments, at=git_dir)).split("\0"))
    modes = {path: facts.split()[0] for facts, _, path in entries if path}
    for directory in (KERUTA, f"{KERUTA}/documents", f"{KERUTA}/{KEPT}"):
        if modes.get(directory, _TREE) != _TREE:
            what = "a symlink" if modes[directory] == _LINK else "a file or submodule"
            raise WorkDirError(f"the repository tracks {directory} as {what}; Keruta needs it to be a directory")
    tracked = sorted(workspace.replaced_names(git.settings.document_ids) & modes.keys())
    for path in tracked:
        if modes[path] == _TREE:
            raise WorkDirError(f"the repository tracks {path} as a directory; Keruta needs it to be a file")
    return tracked


class Extent(NamedTuple):
    """Which of a commit's files a checkout writes."""

    paths: tuple[str, ...] = ()
    """Directories, with what is beside and above them; none for all."""
    left_out: tuple[str, ...] = ()
    """Files that are not written."""

    def covers(self, path: str) -> bool:
        """Whether a file is written."""
        directory = path.rpartition("/")[0]
        return path not in self.left_out and (
            not self.paths
            or not directory
            or any(
                f"{directory}/".startswith(f"{chosen}/") or chosen.startswith(f"{directory}/") for chosen in self.paths
            )
        )


async def narrow(git: Git, git_dir: Path, extent: Extent) -> None:
    """Store the patterns by which every later checkout goes, the user's own too.

    Args:
        git: runs the commands.
        git_dir: the clone's.
        extent: what to write.

    Raises:
        WorkDirError: the disk refuses.
    """
    paths, left_out = extent
    if not paths and not left_out:
        return
    await anyio.to_thread.run_sync(_write_patterns, git_dir, [*cone(paths), *(f"!/{path}" for path in left_out)])
    config = {"core.sparseCheckout": "true", "core.sparseCheckoutCone": "false" if left_out else "true"}
    if left_out:
        # The files are there, only they are Keruta's: without this git would take them for changed ones.
        config["sparse.expectFilesOutsideOfPatterns"] = "true"
    for key, value in config.items():
        await git.run("config", key, value, at=git_dir)


def cone(paths: Iterable[str]) -> list[str]:
    """The patterns for directories with all that is below them, and for the files beside and above them."""
    chosen = {path for path in paths if not any(path.startswith(f"{other}/") for other in paths)}
    if not chosen:
        return ["/*"]
    above = {"/".join(path.split("/")[:depth]) for path in chosen for depth in range(1, path.count("/") + 1)}
    patterns = ["/*", "!/*/"]
    for path in sorted(above):
        patterns += [f"/{_escaped(path)}/", f"!/{_escaped(path)}/*/"]
    return patterns + [f"/{_escaped(path)}/" for path in sorted(chosen)]


def _escaped(path: str) -> str:
    return _SPECIAL.sub(r"\\\1", path)


def _write_patterns(git_dir: Path, patterns: Iterable[str]) -> None:
    with disk_errors("writing to", git_dir):
        make_directory(git_dir / "info")
    write_anew(git_dir / "info" / "sparse-checkout", "".join(f"{pattern}\n" for pattern in patterns).encode())
