"""A task's own branch: created or continued, and what Keruta's next pod step does with it."""

from __future__ import annotations

import pytest

from kerutaprep import prepare
from tests.fakes import Stage, run_git

pytestmark = pytest.mark.anyio

_BRANCH = "keruta-task-7"


@pytest.fixture
def quiet(stage: Stage) -> Stage:
    """A stage without a script, whose remote has more than one commit."""
    del stage.content.scripts["shop"]
    stage.commit_files({"second": "second\n"})
    return stage


async def test_a_new_branch_is_made_on_the_ref(quiet: Stage) -> None:
    """The branch begins at the ref and has no upstream until it is pushed."""
    result = await prepare(quiet.settings(work_branch=_BRANCH))

    assert result.ref == "main"
    assert quiet.run_git("symbolic-ref", "--short", "HEAD") == f"{_BRANCH}\n"
    assert quiet.run_git("rev-parse", "HEAD") == quiet.run_git("rev-parse", "origin/main")
    assert f"## {_BRANCH}\n" == quiet.run_git("status", "--porcelain", "--branch")


async def test_the_next_pod_step_works_from_the_shallow_clone(quiet: Stage) -> None:
    """Add, commit, push by URL, compare with the base, and pull with rebase: what Keruta's pod does next."""
    await prepare(quiet.settings(work_branch=_BRANCH))
    assert quiet.run_git("rev-list", "--count", "HEAD") == "1\n"
    (quiet.work / "done").write_text("done\n")
    quiet.run_git("add", "-A")
    quiet.run_git("commit", "-q", "-m", "Work")
    quiet.run_git("push", "-q", str(quiet.repository), _BRANCH)
    assert "done" in quiet.run_git("diff", "--stat", "origin/main", _BRANCH)
    run_git(quiet.repository, "config", "http.receivepack", "true")
    await quiet.run_git_online("push", "-q", "-u", "origin", _BRANCH)
    await quiet.run_git_online("pull", "-q", "--rebase")
    assert quiet.run_git("rev-parse", "--abbrev-ref", "@{upstream}") == f"origin/{_BRANCH}\n"


async def test_a_branch_that_the_remote_has_is_continued(quiet: Stage) -> None:
    """Its tip is checked out, it tracks its upstream, and the base is there to compare with."""
    tip = quiet.commit_files({"earlier": "earlier\n"}, branch=_BRANCH)
    result = await prepare(quiet.settings(work_branch=_BRANCH))

    assert result.commit == tip
    assert quiet.run_git("rev-parse", "--abbrev-ref", "@{upstream}") == f"origin/{_BRANCH}\n"
    assert "earlier" in quiet.run_git("diff", "--stat", "origin/main", _BRANCH)
    quiet.commit_files({"later": "later\n"}, branch=_BRANCH)
    await quiet.run_git_online("pull", "-q", "--rebase")
    assert (quiet.work / "later").exists()


async def test_a_branch_that_the_work_directory_has_is_continued(quiet: Stage) -> None:
    """Commits that were never pushed stay, whatever branch is checked out."""
    await prepare(quiet.settings(work_branch=_BRANCH))
    quiet.run_git("commit", "-q", "--allow-empty", "-m", "Unpushed")
    mine = quiet.run_git("rev-parse", "HEAD").strip()
    quiet.commit_files({"upstream": "moved\n"})
    assert (await prepare(quiet.settings(work_branch=_BRANCH))).commit == mine

    quiet.run_git("checkout", "-q", "-b", "other", "origin/main")
    assert (await prepare(quiet.settings(work_branch=_BRANCH))).commit == mine
    assert quiet.run_git("symbolic-ref", "--short", "HEAD") == f"{_BRANCH}\n"


async def test_a_child_task_gets_a_branch_of_its_own(quiet: Stage) -> None:
    """On a volume where the parent left its branch, the child's is made, and the parent's commits stay."""
    await prepare(quiet.settings(work_branch=_BRANCH))
    quiet.run_git("commit", "-q", "--allow-empty", "-m", "The parent's")
    parents = quiet.run_git("rev-parse", "HEAD")
    await prepare(quiet.settings(work_branch="child"))

    assert quiet.run_git("symbolic-ref", "--short", "HEAD") == "child\n"
    assert quiet.run_git("rev-parse", _BRANCH) == parents


async def test_without_a_branch_of_its_own_the_parents_work_is_kept(quiet: Stage) -> None:
    """A run without work branch leaves a branch with unpushed commits checked out."""
    await prepare(quiet.settings(work_branch=_BRANCH))
    quiet.run_git("commit", "-q", "--allow-empty", "-m", "The parent's")
    parents = quiet.run_git("rev-parse", "HEAD").strip()
    assert (await prepare(quiet.settings())).commit == parents
    assert "commits of its own" in quiet.keruta("prep.log").read_text()


async def test_commits_on_no_branch_are_not_lost_sight_of(quiet: Stage) -> None:
    """A detached HEAD with commits that nothing else names is kept."""
    await prepare(quiet.settings())
    quiet.run_git("checkout", "-q", "--detach")
    quiet.run_git("commit", "-q", "--allow-empty", "-m", "Nowhere else")
    mine = quiet.run_git("rev-parse", "HEAD").strip()
    assert (await prepare(quiet.settings(work_branch=_BRANCH))).commit == mine


@pytest.mark.parametrize("state", ["MERGE_HEAD", "rebase-merge", "BISECT_LOG"])
async def test_a_clone_in_the_middle_of_something_is_kept(quiet: Stage, state: str) -> None:
    """While a merge, a rebase or the like is under way nothing is touched."""
    await prepare(quiet.settings())
    before = quiet.run_git("rev-parse", "HEAD").strip()
    quiet.commit_files({"upstream": "moved\n"})
    (quiet.work / ".git" / state).write_text(f"{before}\n")
    assert (await prepare(quiet.settings())).commit == before
    assert "under way" in quiet.keruta("prep.log").read_text()


async def test_a_reset_ends_what_is_under_way(quiet: Stage) -> None:
    """A rebase that was begun does not outlive a reset."""
    await prepare(quiet.settings())
    tip = quiet.commit_files({"upstream": "moved\n"})
    (quiet.work / ".git" / "rebase-merge").mkdir()
    assert (await prepare(quiet.settings(on_existing="reset"))).commit == tip
    assert not (quiet.work / ".git" / "rebase-merge").exists()


async def test_another_ref_is_checked_out_where_nothing_is_lost(quiet: Stage) -> None:
    """A clean clone without commits of its own goes to whatever ref is asked for, and tracks it."""
    tip = quiet.commit_files({"dev": "dev\n"}, branch="dev")
    await prepare(quiet.settings())
    result = await prepare(quiet.settings(ref="dev"))

    assert (result.commit, result.ref) == (tip, "dev")
    assert quiet.run_git("rev-parse", "--abbrev-ref", "@{upstream}") == "origin/dev\n"
    assert quiet.run_git("rev-list", "--count", "HEAD") == "1\n"
