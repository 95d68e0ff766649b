"""Where a clone is to be: commit, branch and upstream; and how ``.git/config`` says so."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from kerutaprep.workspace import disk_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kerutaprep.git.fetch import Tips
    from kerutaprep.names import CloneURL


_SHORTEST_PATTERN = 6
"""Characters of a branch's name below which a pattern for it would fit too many others."""


class Target(NamedTuple):
    """What is to be checked out."""

    commit: str
    branch: str | None
    """The local branch to be on, None for a detached HEAD."""
    upstream: str | None
    """The remote's branch that it tracks."""

    @classmethod
    def of(cls, tips: Tips, work_branch: str | None) -> Target:
        """The work branch where there is one to be, else the ref itself."""
        if work_branch:
            return cls((tips.work or tips.base).commit, work_branch, work_branch if tips.work else None)
        branch = tips.base.name if tips.base.kind == "branch" else None
        return cls(tips.base.commit, branch, branch)


def write_config(git_dir: Path, url: CloneURL, tips: Tips, target: Target, depth: int) -> None:
    """Add what ``git clone`` would have written: the remote, and the branch's upstream.

    As there, a shallow clone follows only the branches it has: to follow all would fetch each one's whole history.
    """
    branches = [tip.name for tip in filter(None, tips) if tip.kind == "branch"]
    if not branches or not depth:
        branches = ["*"]
    lines = ['[remote "origin"]', f"\turl = {_quoted(url.text)}"]
    if target.branch and target.upstream is None and depth and len(target.branch) >= _SHORTEST_PATTERN:
        branches.append(_tolerant(target.branch))
    lines += [f"\tfetch = {_quoted(refspec(name))}" for name in branches]
    if target.branch and target.upstream:
        lines += [f"[branch {_quoted(target.branch)}]", "\tremote = origin"]
        lines += [f"\tmerge = {_quoted(f'refs/heads/{target.upstream}')}"]
    with disk_errors("writing", git_dir / "config"), (git_dir / "config").open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def write_refs(git_dir: Path, tips: Tips, share: Callable[[Path], None]) -> None:
    """Write what was fetched into a new git directory, as ``git clone`` does: packed, and the remote's HEAD.

    Nobody else knows of the directory yet, so no lock of git's is needed (gitrepository-layout(5), packed-refs).

    Args:
        git_dir: the new one.
        tips: what was fetched into it.
        share: lets the group write to what was made, if it is to.
    """
    refs = {}
    for tip in filter(None, tips):
        if tip.kind == "branch":
            refs[f"refs/remotes/origin/{tip.name}"] = tip.object_id
        elif tip.kind == "tag":
            refs[f"refs/tags/{tip.name}"] = tip.object_id
    with disk_errors("writing to", git_dir):
        packed = "".join(f"{refs[name]} {name}\n" for name in sorted(refs))
        (git_dir / "packed-refs").write_bytes(os.fsencode(packed))
        share(git_dir / "packed-refs")
        for default in (tip for tip in filter(None, tips) if tip.is_default):
            directory = git_dir / "refs" / "remotes" / "origin"
            directory.mkdir(parents=True, exist_ok=True)
            head = directory / "HEAD"
            head.write_bytes(os.fsencode(f"ref: refs/remotes/origin/{default.name}\n"))
            for path in (directory.parent, directory, head):
                share(path)


def _tolerant(branch: str) -> str:
    """Name a branch that the remote has not got yet, so that a push is tracked and a fetch without it does not fail.

    Git insists on a branch that is named in full, but not on one that is named by a pattern: this one fits the branch,
    and hardly any other.
    """
    return f"{branch[:1]}*{branch[1:]}"


def refspec(branch: str) -> str:
    """How a remote's branch becomes ours to track (git-fetch(1)); ``*`` is all of them."""
    return f"+refs/heads/{branch}:refs/remotes/origin/{branch}"


def _quoted(text: str) -> str:
    """Quote as git-config(1) reads it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
