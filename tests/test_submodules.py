"""Submodules, by real servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread
import pytest

from kerutaprep import CredentialsError, NotFoundError, PrepError, ProtocolError, prepare
from kerutaprep.embedded import git_application, make_repository, serve
from tests.fakes import Fakes, Stage, login, run_git

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def _add_submodule(stage: Stage, url: str, path: str, into: Path | None = None) -> None:
    """Let a served repository name another one, which may be known by a relative URL."""
    clone = stage.root / f"clone-{path}"
    repository = into or stage.repository

    def add() -> None:
        run_git(stage.root, "clone", "-q", str(repository), str(clone))
        source = str(repository.parent / "part.git") if url.startswith("../") else url
        run_git(clone, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", source, path)
        run_git(clone, "config", "-f", ".gitmodules", f"submodule.{path}.url", url)
        run_git(clone, "commit", "-q", "-a", "-m", "Add a part")
        run_git(clone, "push", "-q")

    await anyio.to_thread.run_sync(add)


@pytest.fixture
async def composed(stage: Stage) -> Stage:
    """A repository with a part, which is named by a relative URL and itself has a part."""
    del stage.content.scripts["shop"]
    part, inner = (stage.repository.parent / name for name in ("part.git", "inner.git"))
    make_repository(inner, {"innermost": "i\n"})
    make_repository(part, {"part": "p\n"})
    await _add_submodule(stage, f"{stage.git_url}/inner.git", "inner", into=part)
    await _add_submodule(stage, "../part.git", "part")
    return stage


async def test_no_submodules_unless_asked_for(composed: Stage) -> None:
    """By default a submodule is an empty directory, and the tree is clean."""
    await prepare(composed.settings())
    assert list((composed.work / "part").iterdir()) == []
    assert composed.run_git("status", "--porcelain") == ""


@pytest.mark.parametrize(("submodules", "depth"), [("yes", 1), ("recursive", 1), ("recursive", 0)])
async def test_submodules_are_checked_out(composed: Stage, submodules: str, depth: int) -> None:
    """Relative URLs are followed, also inside of a part if asked, shallow where the clone is, and clean."""
    await prepare(composed.settings(submodules=submodules, depth=depth))

    assert (composed.work / "part" / "part").read_text() == "p\n"
    assert (composed.work / "part" / "inner" / "innermost").exists() is (submodules == "recursive")
    assert composed.run_git("status", "--porcelain") == ""
    assert (composed.work / ".git" / "modules" / "part" / "shallow").exists() is (depth == 1)


async def test_a_submodule_follows_an_update(composed: Stage) -> None:
    """When upstream moves on to another commit of a part, the next run checks that out."""
    await prepare(composed.settings(submodules="yes"))
    clone = composed.root / "clone-part"
    run_git(clone / "part", "commit", "-q", "--allow-empty", "-m", "Next")
    run_git(clone / "part", "push", "-q", str(composed.repository.parent / "part.git"), "HEAD:main")
    run_git(clone, "commit", "-q", "-a", "-m", "Move on")
    run_git(clone, "push", "-q")
    await prepare(composed.settings(submodules="yes"))

    assert run_git(composed.work / "part", "rev-parse", "HEAD") == run_git(clone / "part", "rev-parse", "HEAD")
    assert composed.run_git("status", "--porcelain") == ""


async def test_credentials_reach_a_submodule_of_the_same_origin(composed: Stage) -> None:
    """A part on the repository's own server is cloned with the same credentials."""
    composed.git.on("/", *[login("bot", "g1t-t0ken")] * 60)
    await prepare(composed.settings(submodules="recursive", git_username="bot", git_token="g1t-t0ken"))
    assert (composed.work / "part" / "inner" / "innermost").exists()


async def test_credentials_reach_no_submodule_elsewhere(stage: Stage) -> None:
    """A part on another server never sees the credentials, even if it asks for some."""
    elsewhere = Fakes()
    served = stage.root / "elsewhere"
    make_repository(served / "part.git", {"part": "p\n"})
    async with serve(git_application(served, elsewhere.middleware)) as other:
        await _add_submodule(stage, f"{other}/part.git", "part")
        elsewhere.on("/", *[login("bot", "anything")] * 20)
        seen = len(elsewhere.requests)
        with pytest.raises(CredentialsError):
            await prepare(stage.settings(submodules="yes", git_username="bot", git_token="g1t-t0ken"))
    asked = elsewhere.requests[seen:]
    assert asked
    assert not any("Authorization" in request.headers for request in asked)


async def test_submodules_of_a_clone_that_is_kept_are_kept(composed: Stage) -> None:
    """Commits that somebody made in a part, and never pushed, stay checked out."""
    await prepare(composed.settings(submodules="yes"))
    run_git(composed.work / "part", "commit", "-q", "--allow-empty", "-m", "Mine")
    mine = run_git(composed.work / "part", "rev-parse", "HEAD")
    await prepare(composed.settings(submodules="yes"))
    assert run_git(composed.work / "part", "rev-parse", "HEAD") == mine
    assert "uncommitted changes" in composed.keruta("prep.log").read_text()


async def test_a_submodule_that_was_killed_is_made_again(composed: Stage) -> None:
    """A part whose checkout was killed does not stop the next run, and what there was of it is kept."""
    await prepare(composed.settings(submodules="recursive"))
    (composed.work / ".git" / "modules" / "part" / "index").unlink()
    (composed.work / "part" / "part").write_text("hal")
    await prepare(composed.settings(submodules="recursive", on_existing="reset"))

    assert (composed.work / "part" / "part").read_text() == "p\n"
    assert (composed.work / "part" / "inner" / "innermost").exists()
    assert composed.run_git("status", "--porcelain") == ""
    assert [path.read_text() for path in composed.keruta("kept").rglob("part") if path.is_file()] == ["hal"]


async def test_gitmodules_leads_nowhere_else(composed: Stage) -> None:
    """What .gitmodules names and the tree has not got as a submodule is never touched."""
    victim = composed.root / "victim"
    victim.mkdir()
    (victim / "mine").write_text("mine\n")
    modules = '[submodule "part"]\n\tpath = part\n\turl = ../part.git\n'
    modules += f'[submodule "x"]\n\tpath = ../victim\n[submodule "{victim}"]\n\tpath = src\n'
    composed.commit_files({".gitmodules": modules})
    (composed.repository.parent / "part.git").rename(composed.root / "gone.git")
    for _ in range(2):
        with pytest.raises(PrepError):
            await prepare(composed.settings(submodules="yes"))
    assert (victim / "mine").read_text() == "mine\n"
    assert (composed.work / "src" / "basket.py").exists()
    assert composed.run_git("status", "--porcelain") == ""


async def test_an_empty_gitmodules_is_none(stage: Stage) -> None:
    """What removing the last submodule leaves is no error."""
    stage.commit_files({".gitmodules": ""})
    await prepare(stage.settings(submodules="yes"))


async def test_a_missing_submodule_is_not_found(composed: Stage) -> None:
    """A part whose repository is gone is exit 66."""
    (composed.repository.parent / "part.git").rename(composed.root / "gone.git")
    with pytest.raises(NotFoundError, match=r"part\.git"):
        await prepare(composed.settings(submodules="yes"))


async def test_a_submodule_is_no_way_to_the_local_disk(stage: Stage) -> None:
    """A part named by a file URL is refused where the repository itself came over the network."""
    make_repository(stage.root / "local.git", {"part": "p\n"})
    await _add_submodule(stage, f"file://{stage.root}/local.git", "part")
    with pytest.raises(ProtocolError, match="not allowed"):
        await prepare(stage.settings(submodules="yes"))


async def test_a_repository_without_submodules_is_fine(stage: Stage) -> None:
    """Asking for submodules where there are none changes nothing."""
    await prepare(stage.settings(submodules="recursive"))
    assert "no submodules" in stage.keruta("prep.log").read_text()
