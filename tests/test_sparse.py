"""Sparse paths, alone and together with names that the repository tracks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kerutaprep import prepare
from kerutaprep.git.sparse import Extent, cone
from tests.fakes import DOCUMENT, Stage, run_git

if TYPE_CHECKING:
    from pathlib import Path

_FILES = {
    "top": "top\n",
    "a/x": "x\n",
    "a/b/y": "y\n",
    "a/c/z": "z\n",
    "d/e/f/deep": "deep\n",
    "d/e/beside": "beside\n",
    "o[d]d/w*": "odd\n",
    "plain/p": "p\n",
}


@pytest.mark.parametrize(
    "paths", [["a/b"], ["a", "a/b"], ["d/e/f", "a/c"], ["o[d]d"], ["plain", "d/e"], ["no/such"]], ids=" ".join
)
def test_the_patterns_are_gits_own(tmp_path: Path, paths: list[str]) -> None:
    """What is checked out by our patterns is what git-sparse-checkout would check out."""
    run_git(tmp_path, "init", "-q", "ours")
    for name, text in _FILES.items():
        (tmp_path / "ours" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ours" / name).write_text(text)
    run_git(tmp_path / "ours", "add", "-A")
    run_git(tmp_path / "ours", "commit", "-q", "-m", "Begin")
    run_git(tmp_path, "clone", "-q", "ours", "gits")
    run_git(tmp_path / "gits", "sparse-checkout", "set", "--cone", "--skip-checks", *paths)
    for coned in ("true", "false"):
        ours = tmp_path / "ours"
        (ours / ".git" / "info" / "sparse-checkout").write_text("\n".join(cone(paths)) + "\n")
        run_git(
            ours, "-c", "core.sparseCheckout=true", "-c", f"core.sparseCheckoutCone={coned}", "read-tree", "-mu", "HEAD"
        )
        assert _files_in(ours) == _files_in(tmp_path / "gits")


@pytest.mark.parametrize("paths", [[], ["a/b"], ["d/e/f", "a/c"], ["a", "plain"]], ids=" ".join)
def test_an_extent_covers_what_its_patterns_write(tmp_path: Path, paths: list[str]) -> None:
    """Which files a checkout writes is told without git as git does it."""
    run_git(tmp_path, "init", "-q", "ours")
    ours = tmp_path / "ours"
    for name, text in _FILES.items():
        (ours / name).parent.mkdir(parents=True, exist_ok=True)
        (ours / name).write_text(text)
    run_git(ours, "add", "-A")
    run_git(ours, "commit", "-q", "-m", "Begin")
    (ours / ".git" / "info" / "sparse-checkout").write_text("\n".join([*cone(paths), "!/d/e/beside"]) + "\n")
    run_git(ours, "-c", "core.sparseCheckout=true", "-c", "core.sparseCheckoutCone=false", "read-tree", "-mu", "HEAD")
    extent = Extent(tuple(paths), ("d/e/beside",))
    assert _files_in(ours) == sorted(filter(extent.covers, _FILES))


def _files_in(tree: Path) -> list[str]:
    files = [path.relative_to(tree) for path in tree.rglob("*") if path.is_file()]
    return sorted(str(path) for path in files if path.parts[0] != ".git")


@pytest.mark.anyio
async def test_only_the_chosen_directories_are_checked_out(stage: Stage) -> None:
    """A sparse clone has the chosen directories, is clean, and stays sparse for the user's own commands."""
    stage.commit_files(_FILES)
    stage.content.scripts["shop"] = b"#!/bin/sh\ntrue\n"
    await prepare(stage.settings(sparse_paths=["a/b", "plain"]))

    assert (stage.work / "a" / "b" / "y").exists()
    assert (stage.work / "top").exists()
    assert not (stage.work / "a" / "c").exists()
    assert not (stage.work / "src").exists()
    assert stage.run_git("status", "--porcelain") == ""
    assert stage.run_git("sparse-checkout", "list").split() == ["a/b", "plain"]
    stage.commit_files({"a/c/new": "new\n", "plain/new": "new\n"})
    await stage.run_git_online("pull", "-q", "--ff-only")
    assert (stage.work / "plain" / "new").exists()
    assert not (stage.work / "a" / "c").exists()


@pytest.mark.anyio
@pytest.mark.parametrize("paths", [["plain"], ["plain", ".keruta"]], ids=" ".join)
async def test_tracked_names_of_keruta_are_hidden_in_a_sparse_clone_too(stage: Stage, paths: list[str]) -> None:
    """Ours are there and unseen, whether .keruta is among the sparse paths or not; upstream may change its own."""
    stage.commit_files({**_FILES, ".keruta/README.md": "own\n", ".keruta/notes.md": "notes\n"})
    del stage.content.scripts["shop"]
    await prepare(stage.settings(sparse_paths=paths))

    assert stage.keruta("README.md").read_bytes() == DOCUMENT
    assert stage.keruta("notes.md").exists() is (".keruta" in paths)
    assert stage.run_git("status", "--porcelain") == ""
    stage.commit_files({".keruta/README.md": "changed\n", "plain/more": "more\n"})
    await stage.run_git_online("pull", "-q", "--ff-only")
    assert (stage.work / "plain" / "more").exists()
    assert stage.keruta("README.md").read_bytes() == DOCUMENT


@pytest.mark.anyio
async def test_a_reset_without_sparse_paths_has_everything(stage: Stage) -> None:
    """Exactly the ref: what was left out of an earlier, sparse clone is there again."""
    stage.commit_files(_FILES)
    del stage.content.scripts["shop"]
    await prepare(stage.settings(sparse_paths=["plain"]))
    await prepare(stage.settings(on_existing="reset"))
    assert (stage.work / "a" / "c" / "z").exists()
    assert stage.run_git("status", "--porcelain") == ""


@pytest.mark.anyio
async def test_a_path_that_is_not_there_is_said(stage: Stage) -> None:
    """A sparse path that the repository has not got is in the log; the run succeeds."""
    await prepare(stage.settings(sparse_paths=["no/such"]))
    assert "no directory 'no/such'" in stage.keruta("prep.log").read_text()


@pytest.mark.anyio
@pytest.mark.parametrize("remote_change", [{".keruta/README.md": None, "x": "x\n"}, {".keruta/README.md": "2\n"}])
async def test_an_update_keeps_keruta_files_that_upstream_drops_or_changes(
    stage: Stage, remote_change: dict[str, str | None]
) -> None:
    """Our own update goes through where upstream changes or drops a tracked file that ours hides."""
    stage.commit_files({".keruta/README.md": "own\n"})
    del stage.content.scripts["shop"]
    await prepare(stage.settings())
    tip = stage.commit_files(remote_change)
    result = await prepare(stage.settings())

    assert result.commit == tip
    assert stage.keruta("README.md").read_bytes() == DOCUMENT
    assert stage.run_git("status", "--porcelain") == ""
