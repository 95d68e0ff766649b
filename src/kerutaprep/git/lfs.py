"""The contents that a repository keeps in Git LFS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerutaprep.retry import retrying

if TYPE_CHECKING:
    from pathlib import Path

    from kerutaprep.events import StepRecord
    from kerutaprep.git.program import Git
    from kerutaprep.names import CloneURL
    from kerutaprep.retry import RetryPolicy


async def fetch_lfs_files(git: Git, url: CloneURL, git_dir: Path, policy: RetryPolicy, record: StepRecord) -> None:
    """Replace pointers by contents (git-lfs-pull(1)), and let later commits and pushes of the user do their part.

    Args:
        git: runs the commands.
        url: the repository's.
        git_dir: the clone's, in its work tree.
        policy: for what fails in transport.
        record: told of attempts.

    Raises:
        PrepError: as ``Git.run``.
    """
    work_tree = git_dir.parent
    # Stored, and with its hooks: without them the user's own commits would hold contents in place of pointers.
    await git.run("lfs", "install", "--local", at=git_dir, work_tree=work_tree, own_hooks=True)

    async def attempt(_number: int) -> None:
        await git.run("lfs", "pull", at=git_dir, url=url, work_tree=work_tree)

    await retrying(attempt, policy, record)
