"""The clone in the work directory, and what its next users do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kerutaprep import NotFoundError, WorkDirError, prepare
from kerutaprep.embedded import make_repository
from tests.fakes import DOCUMENT, FILES, SCRIPT, Stage, run_git

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

_TRACKED = {
    ".keruta/README.md": "the repository's own\n",
    ".keruta/notes.md": "notes\n",
    ".keruta/install.sh": "exit 9\n",
}


@pytest.fixture
def quiet(stage: Stage) -> Stage:
    """A stage whose script changes nothing in the tree."""
    stage.content.scripts["shop"] = b"#!/bin/sh\ntrue\n"
    return stage


async def test_the_clone_is_an_ordinary_one(quiet: Stage) -> None:
    """Origin and upstream are set, and a person can commit, pull, push, deepen and compare."""
    for number in range(3):
        quiet.commit_files({"counter": f"{number}\n"})
    await prepare(quiet.settings())

    assert quiet.run_git("remote", "get-url", "origin") == f"{quiet.repository_url}\n"
    assert quiet.run_git("rev-parse", "--abbrev-ref", "main@{upstream}") == "origin/main\n"
    assert quiet.run_git("rev-list", "--count", "HEAD") == "1\n"
    (quiet.work / "new").write_text("new\n")
    quiet.run_git("add", "-A")
    quiet.run_git("commit", "-m", "Work")
    assert quiet.run_git("diff", "--name-only", "origin/main") == "new\n"
    await quiet.run_git_online("pull", "--rebase", "--quiet")
    served = quiet.repository
    await quiet.run_git_online("fetch", "--unshallow", "--quiet")
    assert quiet.run_git("rev-list", "--count", "HEAD") == "5\n"
    quiet.run_git("push", "--quiet", str(served), "HEAD:refs/heads/pushed")
    assert run_git(served, "log", "-1", "--format=%s", "pushed") == "Work\n"


async def test_depth_0_is_the_whole_history(quiet: Stage) -> None:
    """With depth 0 every commit is there, and every branch is followed."""
    quiet.commit_files({"more": "more\n"})
    await prepare(quiet.settings(depth=0))

    assert quiet.run_git("rev-list", "--count", "HEAD") == "2\n"
    assert quiet.run_git("config", "remote.origin.fetch") == "+refs/heads/*:refs/remotes/origin/*\n"


async def test_the_default_branch_costs_no_extra_requests(quiet: Stage) -> None:
    """Which branch HEAD is comes with the fetch: no request more than for a branch given by name."""
    await prepare(quiet.settings(work_dir=quiet.root / "named", ref="main"))
    named = len(quiet.git.requests)
    result = await prepare(quiet.settings())

    assert result.ref == "main"
    assert len(quiet.git.requests) == 2 * named


@pytest.mark.parametrize("annotated", [False, True])
async def test_a_tag_is_checked_out_detached(quiet: Stage, annotated: bool) -> None:
    """A tag, annotated or not, leaves HEAD detached at its commit, and the tag there."""
    how = ["-a", "-m", "a tag"] if annotated else []
    run_git(quiet.repository, "tag", *how, "v1", quiet.commit)
    quiet.commit_files({"later": "later\n"})
    result = await prepare(quiet.settings(ref="v1"))

    assert (result.commit, result.ref) == (quiet.commit, "v1")
    assert quiet.run_git("rev-parse", "--abbrev-ref", "HEAD") == "HEAD\n"
    assert quiet.run_git("describe", "--tags") == "v1\n"
    assert quiet.run_git("status", "--porcelain") == ""


async def test_a_branch_wins_over_a_tag_of_its_name(quiet: Stage) -> None:
    """Where a branch and a tag share a name, the branch is meant."""
    moved = quiet.commit_files({"on-branch": "x\n"}, branch="both")
    run_git(quiet.repository, "tag", "both", quiet.commit)
    result = await prepare(quiet.settings(ref="both"))

    assert result.commit == moved
    assert quiet.run_git("symbolic-ref", "HEAD") == "refs/heads/both\n"


async def test_a_commit_id_is_checked_out_detached(quiet: Stage) -> None:
    """A full commit id that is no branch's tip any more is fetched."""
    quiet.commit_files({"later": "later\n"})
    result = await prepare(quiet.settings(ref=quiet.commit))

    assert (result.commit, result.ref) == (quiet.commit, quiet.commit)
    assert not (quiet.work / "later").exists()


async def test_the_branch_of_the_look_up_is_the_ref(quiet: Stage) -> None:
    """The API's branch is used where no ref is given, bare or inside of data."""
    tip = quiet.commit_files({"f": "f\n"}, branch="dev")
    quiet.content.repositories["shop"] = {"data": {"url": quiet.repository_url, "branch": "dev"}}
    result = await prepare(quiet.settings())

    assert (result.commit, result.ref) == (tip, "dev")


@pytest.mark.parametrize("ref", ["no-such-branch", "0" * 40])
async def test_an_unknown_ref_is_not_found(quiet: Stage, ref: str) -> None:
    """A ref that the remote has not is named in the error; nothing is left of the clone."""
    with pytest.raises(NotFoundError, match=ref):
        await prepare(quiet.settings(ref=ref))
    assert not (quiet.work / ".git").exists()


async def test_an_empty_repository_is_not_found(quiet: Stage) -> None:
    """A repository without a commit is exit 66."""
    run_git(quiet.root, "init", "--quiet", "--bare", str(quiet.repository.parent / "empty.git"))
    with pytest.raises(NotFoundError):
        await prepare(quiet.settings(repository_url=f"{quiet.git_url}/empty.git"))


async def test_a_local_repository_may_be_given(quiet: Stage) -> None:
    """A path is a clone URL if a flag or variable gives it."""
    result = await prepare(quiet.settings(repository_url=str(quiet.repository)))
    assert result.commit == quiet.commit


async def test_a_work_directory_that_is_not_empty_is_fine(quiet: Stage) -> None:
    """lost+found and somebody's file stay as they are."""
    (quiet.work / "lost+found").mkdir(parents=True)
    (quiet.work / "mine").write_text("mine\n")
    await prepare(quiet.settings())

    assert (quiet.work / "mine").read_text() == "mine\n"
    assert (quiet.work / "src" / "basket.py").exists()


@pytest.mark.parametrize("ignored", [False, True])
async def test_a_file_in_the_way_is_left_untouched(quiet: Stage, ignored: bool) -> None:
    """A file that the checkout would overwrite, ignored or not, ends the run: named, untouched, no clone left."""
    if ignored:
        quiet.commit_files({".gitignore": "src\n"})
    (quiet.work / "src").mkdir(parents=True)
    (quiet.work / "src" / "basket.py").write_text("mine\n")
    with pytest.raises(WorkDirError, match=r"src/basket\.py"):
        await prepare(quiet.settings())

    assert (quiet.work / "src" / "basket.py").read_text() == "mine\n"
    assert not (quiet.work / ".git").exists()
    assert not (quiet.work / "README.md").exists()


async def test_tracked_files_of_keruta_are_replaced_and_hidden(quiet: Stage) -> None:
    """Ours take the place of .keruta files that the repository tracks; the rest is checked out, and status is clean."""
    quiet.commit_files(_TRACKED)
    await prepare(quiet.settings())

    assert quiet.keruta("README.md").read_bytes() == DOCUMENT
    assert quiet.keruta("install.sh").read_bytes() == b"#!/bin/sh\ntrue\n"
    assert quiet.keruta("notes.md").read_text() == "notes\n"
    assert quiet.run_git("status", "--porcelain") == ""
    (quiet.work / "new").write_text("new\n")
    quiet.run_git("add", "-A")
    assert quiet.run_git("diff", "--cached", "--name-only") == "new\n"


async def test_hidden_files_do_not_block_a_fast_forward(quiet: Stage) -> None:
    """Upstream may change a tracked file that ours hides; the person's pull goes through and ours stays."""
    quiet.commit_files(_TRACKED)
    await prepare(quiet.settings())
    quiet.commit_files({".keruta/README.md": "changed upstream\n", "more": "more\n"})
    await quiet.run_git_online("pull", "--ff-only", "--quiet")

    assert (quiet.work / "more").exists()
    assert quiet.keruta("README.md").read_bytes() == DOCUMENT
    assert quiet.run_git("status", "--porcelain") == ""


@pytest.mark.parametrize("path", [".keruta", ".keruta/documents"])
async def test_a_tracked_symlink_is_never_followed(quiet: Stage, path: str) -> None:
    """A repository that tracks .keruta, or its documents, as a symlink is refused and not written through."""
    outside = quiet.root / "outside"
    outside.mkdir()
    clone = quiet.root / "clone"
    run_git(quiet.root, "clone", "--quiet", str(quiet.repository), str(clone))
    (clone / path).parent.mkdir(exist_ok=True)
    (clone / path).symlink_to(outside)
    run_git(clone, "add", "-A")
    run_git(clone, "commit", "--quiet", "-m", "Link")
    run_git(clone, "push", "--quiet")
    with pytest.raises(WorkDirError, match="symlink"):
        await prepare(quiet.settings())

    assert list(outside.iterdir()) == []
    assert not (quiet.work / ".git").exists()


async def test_a_symlink_in_the_work_directory_is_never_followed(quiet: Stage) -> None:
    """A .keruta that is a symlink is in the way."""
    outside = quiet.root / "outside"
    outside.mkdir()
    quiet.work.mkdir()
    (quiet.work / ".keruta").symlink_to(outside)
    with pytest.raises(WorkDirError, match="in the way"):
        await prepare(quiet.settings())
    assert list(outside.iterdir()) == []


async def test_exclude_keeps_what_was_there(quiet: Stage) -> None:
    """The entry is added once, after whatever the file held."""
    await prepare(quiet.settings())
    exclude = quiet.work / ".git" / "info" / "exclude"
    exclude.write_text("*.log")
    await prepare(quiet.settings())
    await prepare(quiet.settings())

    assert exclude.read_text() == "*.log\n/.keruta\n"


async def test_work_that_was_begun_is_kept(quiet: Stage) -> None:
    """Uncommitted changes and local commits keep an existing clone as it is, and the log says so."""
    await prepare(quiet.settings())
    quiet.commit_files({"upstream": "x\n"})
    (quiet.work / "README.md").write_text("my change\n")
    result = await prepare(quiet.settings())
    assert result.commit == quiet.commit
    assert (quiet.work / "README.md").read_text() == "my change\n"
    assert "uncommitted changes" in quiet.keruta("prep.log").read_text()

    quiet.run_git("commit", "-qam", "My work")
    mine = quiet.run_git("rev-parse", "HEAD").strip()
    result = await prepare(quiet.settings())
    assert result.commit == mine


@pytest.mark.parametrize("ignored", [False, True])
async def test_an_update_overwrites_nobodys_file(quiet: Stage, ignored: bool) -> None:
    """An untracked or ignored file in an update's way keeps the clone as it is."""
    await prepare(quiet.settings())
    quiet.commit_files({"theirs": "upstream\n"})
    (quiet.work / "theirs").write_text("mine\n")
    if ignored:
        (quiet.work / ".git" / "info" / "exclude").write_text("/theirs\n")
    result = await prepare(quiet.settings())

    assert result.commit == quiet.commit
    assert (quiet.work / "theirs").read_text() == "mine\n"


async def test_reset_makes_it_exactly_the_ref(quiet: Stage) -> None:
    """Reset overwrites tracked files and removes untracked ones, but not ignored ones, .keruta or lost+found."""
    await prepare(quiet.settings())
    tip = quiet.commit_files({".gitignore": "*.log\n"})
    (quiet.work / "README.md").write_text("my change\n")
    for name in ("untracked", "kept.log"):
        (quiet.work / name).write_text("x\n")
    (quiet.work / "lost+found").mkdir()
    result = await prepare(quiet.settings(on_existing="reset"))

    assert result.commit == tip
    assert (quiet.work / "README.md").read_text() == FILES["README.md"]
    assert not (quiet.work / "untracked").exists()
    assert (quiet.work / "kept.log").exists()
    assert (quiet.work / "lost+found").exists()
    assert quiet.keruta("README.md").exists()


async def test_an_existing_clone_may_be_an_error(quiet: Stage) -> None:
    """Fail refuses any existing clone."""
    await prepare(quiet.settings())
    with pytest.raises(WorkDirError, match="on-existing"):
        await prepare(quiet.settings(on_existing="fail"))


async def test_another_repositorys_clone_is_only_replaced_on_request(quiet: Stage) -> None:
    """Another repository's clone is exit 74 under update, and replaced by reset."""
    make_repository(quiet.repository.parent / "other.git", {"other": "other\n"})
    other = f"{quiet.git_url}/other.git"
    await prepare(quiet.settings())
    with pytest.raises(WorkDirError, match="not a clone of"):
        await prepare(quiet.settings(repository_url=other))
    assert (quiet.work / "src" / "basket.py").exists()

    await prepare(quiet.settings(repository_url=other, on_existing="reset"))
    assert (quiet.work / "other").exists()
    assert not (quiet.work / "src").exists()
    assert quiet.run_git("status", "--porcelain") == ""


async def test_group_write_reaches_everything(quiet: Stage) -> None:
    """With group_write whatever the run makes is writable for the group."""
    quiet.content.scripts["shop"] = b"#!/bin/sh\ntouch made-by-script\n"
    await prepare(quiet.settings(group_write=True))

    objects = quiet.work / ".git" / "objects"  # packs are read-only by design, for their owner too
    shut: list[Path] = [
        path
        for path in [quiet.work / ".git", *quiet.work.rglob("*")]
        if not path.stat().st_mode & 0o020 and not (path.is_file() and path.is_relative_to(objects))
    ]
    assert shut == []
    assert quiet.keruta("install.sh").stat().st_mode & 0o777 == 0o775
    assert quiet.keruta("install.sh").read_bytes() != SCRIPT
