"""A cache of mirrors: shared, stale, damaged, read-only, gone."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import anyio
import pytest

from kerutaprep import PrepSettings, prepare
from tests.fakes import FILES, Stage, run_git

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def cached(stage: Stage) -> Stage:
    """A stage without script, whose repository has something to save."""
    del stage.content.scripts["shop"]
    noise = bytes(range(256)) * 4
    stage.commit_files({f"data/{number}": bytes([number % 256]) * 97 + noise[number:] for number in range(300)})
    return stage


def _settings(stage: Stage, number: int, **changes: object) -> PrepSettings:
    changes = {"work_dir": stage.root / f"work-{number}", "git_cache_dir": stage.root / "cache", **changes}
    return stage.settings(**changes)


def _received(stage: Stage) -> int:
    """Requests so far that carried a pack."""
    return len([request for request in stage.git.requests if request.path.endswith("git-upload-pack")])


def _assert_whole(work: Path) -> None:
    for name, text in FILES.items():
        assert (work / name).read_text() == text
    run_git(work, "fsck", "--strict", "--full")
    assert run_git(work, "status", "--porcelain") == ""
    assert not (work / ".git" / "objects" / "info" / "alternates").exists()
    assert "kerutaprep" not in run_git(work, "for-each-ref")


async def _log_of(stage: Stage, number: int) -> str:
    return (stage.root / f"work-{number}" / ".keruta" / "prep.log").read_text()


@pytest.mark.parametrize("depth", [1, 0])
async def test_a_second_clone_comes_from_the_cache(cached: Stage, depth: int) -> None:
    """The first run fills the cache; the second takes from it, is whole, and stays so when the cache is gone."""
    await prepare(_settings(cached, 1, depth=depth))
    first = [path.stat().st_size for path in (cached.root / "cache").rglob("*.pack")]
    assert first
    await prepare(_settings(cached, 2, depth=depth))
    assert "taken from the cache" in await _log_of(cached, 2)
    shutil.rmtree(cached.root / "cache")
    for number in (1, 2):
        _assert_whole(cached.root / f"work-{number}")
        count = run_git(cached.root / f"work-{number}", "rev-list", "--count", "HEAD")
        assert count == ("1\n" if depth else "2\n")


async def test_a_stale_cache_is_still_correct(cached: Stage) -> None:
    """What is new on the server is fetched from there, and kept."""
    await prepare(_settings(cached, 1))
    tip = cached.commit_files({"new": "new\n"})
    for number in (2, 3):
        result = await prepare(_settings(cached, number))
        assert result.commit == tip
        _assert_whole(cached.root / f"work-{number}")


async def test_the_whole_history_comes_through_a_shallow_cache(cached: Stage) -> None:
    """A cache that a shallow clone filled does not cut off one that wants all."""
    await prepare(_settings(cached, 1))
    await prepare(_settings(cached, 2, depth=0))
    assert run_git(cached.root / "work-2", "rev-list", "--count", "HEAD") == "2\n"
    assert run_git(cached.root / "work-2", "rev-parse", "--is-shallow-repository") == "false\n"


async def test_a_damaged_cache_is_left_aside_and_made_anew(cached: Stage) -> None:
    """A mirror with broken packs costs time, not correctness, and is replaced."""
    await prepare(_settings(cached, 1))
    for pack in (cached.root / "cache").rglob("*.pack"):
        pack.chmod(0o644)
        content = bytearray(pack.read_bytes())
        content[100:-20] = bytes(len(content) - 120)
        pack.write_bytes(bytes(content))
    for number in (2, 3):
        await prepare(_settings(cached, number))
        _assert_whole(cached.root / f"work-{number}")
    assert "left aside" in await _log_of(cached, 2)
    assert "taken from the cache" in await _log_of(cached, 3)


async def test_what_a_killed_run_left_in_the_cache_is_overcome(cached: Stage) -> None:
    """Stale locks and temporary packs stop neither reading nor writing."""
    await prepare(_settings(cached, 1))
    (mirror,) = (cached.root / "cache").glob("*.git")
    (mirror / "shallow.lock").touch()
    (mirror / "objects" / "pack" / "tmp_pack_x").touch()
    for lock in list((mirror / "refs").rglob("default")):
        lock.with_name(f"{lock.name}.lock").touch()
    tip = cached.commit_files({"new": "new\n"})
    await prepare(_settings(cached, 2))
    assert not [*mirror.rglob("*.lock"), *mirror.rglob("tmp_*")]
    assert run_git(mirror, "rev-parse", "refs/kerutaprep/default").strip() == tip


async def test_a_cache_that_cannot_be_made_is_no_failure(cached: Stage) -> None:
    """Where the cache can't be written the clone is made all the same, and the log says so."""
    (cached.root / "cache").write_text("a file\n")
    await prepare(_settings(cached, 1))
    _assert_whole(cached.root / "work-1")
    assert "cache is not brought up to date" in await _log_of(cached, 1)


async def test_many_runs_share_one_cache(cached: Stage) -> None:
    """Runs at the same time, on a cold cache and on a warm one, all succeed."""
    for first in (10, 20):
        async with anyio.create_task_group() as tasks:
            for number in range(first, first + 4):
                tasks.start_soon(prepare, _settings(cached, number))
        for number in range(first, first + 4):
            _assert_whole(cached.root / f"work-{number}")


async def test_every_kind_of_ref_may_be_cached(cached: Stage) -> None:
    """A tag, a branch with odd characters and a commit id come through the cache, too."""
    run_git(cached.repository, "tag", "-a", "-m", "v1", "v1", cached.commit)
    cached.commit_files({"odd": "odd\n"}, branch="feature/o.d~d".replace("~", "-"))
    for ref in ("v1", "feature/o.d-d", cached.commit):
        commits = {(await prepare(_settings(cached, hash((ref, n)), ref=ref))).commit for n in range(2)}
        assert len(commits) == 1


async def test_without_a_cache_nothing_is_kept(cached: Stage) -> None:
    """The cache is off by default."""
    await prepare(cached.settings())
    assert not (cached.root / "cache").exists()
    assert _received(cached) == 2


async def test_a_mirror_runs_nothing(cached: Stage) -> None:
    """What somebody put into a shared mirror's configuration is not run, and objects elsewhere are not used."""
    await prepare(_settings(cached, 1))
    (mirror,) = (cached.root / "cache").glob("*.git")
    run_git(mirror, "config", "core.alternateRefsCommand", f"touch {cached.root}/ran; :")
    (mirror / "objects" / "info").mkdir(exist_ok=True)
    (mirror / "objects" / "info" / "alternates").write_text(f"{cached.repository}/objects\n")
    cached.commit_files({"new": "new\n"})
    await prepare(_settings(cached, 2))
    _assert_whole(cached.root / "work-2")
    assert not (cached.root / "ran").exists()


async def test_a_mirror_that_is_a_symlink_is_not_followed(cached: Stage) -> None:
    """Nothing is written or removed where a symlink in the cache leads."""
    await prepare(_settings(cached, 1))
    (mirror,) = (cached.root / "cache").glob("*.git")
    mirror.rename(cached.root / "elsewhere")
    (cached.root / "elsewhere" / "tmp_mine").touch()
    mirror.symlink_to(cached.root / "elsewhere")
    await prepare(_settings(cached, 2))
    _assert_whole(cached.root / "work-2")
    assert (cached.root / "elsewhere" / "tmp_mine").exists()
