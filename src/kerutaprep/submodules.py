"""Submodules: what a commit names of other repositories, shallow and in parallel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from kerutaprep.errors import NotFoundError
from kerutaprep.retry import retrying

if TYPE_CHECKING:
    from pathlib import Path

    from kerutaprep.events import StepRecord
    from kerutaprep.git import Git
    from kerutaprep.names import CloneURL
    from kerutaprep.retry import RetryPolicy

_JOBS = 4


async def update_submodules(git: Git, url: CloneURL, git_dir: Path, policy: RetryPolicy, record: StepRecord) -> None:
    """Check out every submodule of what is checked out (git-submodule(1), update).

    Git resolves relative URLs against the repository's own. Credentials go to a submodule only where it has the
    repository's scheme, host and port. What a submodule has uncommitted is not overwritten.

    Args:
        git: runs the commands.
        url: the repository's.
        git_dir: the clone's, in its work tree.
        policy: for what fails in transport.
        record: told of attempts.

    Raises:
        NotFoundError: a submodule's repository or commit is not there.
        PrepError: as ``Git.run``.
    """
    work_tree = git_dir.parent
    if not await anyio.to_thread.run_sync((work_tree / ".gitmodules").is_file):
        record.note("the repository has no submodules")
        return None
    recursive = ["--recursive"] if git.settings.submodules == "recursive" else []
    arguments = ["submodule", "update", "--init", "--progress", f"--jobs={_JOBS}", *recursive]

    async def update(*depth: str) -> None:
        async def attempt(_number: int) -> None:
            await git.run(*arguments, *depth, at=git_dir, url=url, work_tree=work_tree)

        await retrying(attempt, policy, record)

    if not git.settings.depth:
        return await update()
    try:
        await update(f"--depth={git.settings.depth}")
    except NotFoundError as error:
        if "unadvertised" not in str(error) and "did not contain" not in str(error):
            raise
        await update()  # the server gives no commit by its id: it is found in the whole history
