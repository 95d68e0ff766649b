"""Git's environment, its credentials, and its words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kerutaprep import CredentialsError, WorkDirError, prepare
from kerutaprep.embedded import git_application, serve
from tests.fakes import Fakes, Stage, login, run_git

if TYPE_CHECKING:
    from pathlib import Path


def _protect(fakes: Fakes, user: str, password: str) -> None:
    fakes.on("/", *[login(user, password)] * 50)


@pytest.mark.anyio
async def test_user_and_token_from_the_settings(stage: Stage) -> None:
    """A user and token open a protected repository, and are stored nowhere."""
    _protect(stage.git, "bot", "g1t-t0ken")
    await prepare(stage.settings(git_username="bot", git_token="g1t-t0ken"))
    _assert_nowhere(stage.work, "g1t-t0ken")


@pytest.mark.anyio
async def test_user_info_of_a_given_url(stage: Stage) -> None:
    """User info in the URL is used as credentials, and neither stored nor shown."""
    _protect(stage.git, "bot", "g1t-t0k@n")
    url = stage.repository_url.replace("http://", "http://bot:g1t-t0k%40n@")
    await prepare(stage.settings(repository_url=url))

    assert stage.run_git("remote", "get-url", "origin") == f"{stage.repository_url}\n"
    _assert_nowhere(stage.work, "g1t-t0k")


@pytest.mark.anyio
async def test_wrong_credentials_are_refused_at_once(stage: Stage) -> None:
    """A wrong token is no reason to retry, and is not in the error."""
    _protect(stage.git, "bot", "right")
    with pytest.raises(CredentialsError) as caught:
        await prepare(stage.settings(git_username="bot", git_token="wr0ng-token", retries=5))
    assert "wr0ng-token" not in str(caught.value)
    _assert_nowhere(stage.work, "wr0ng-token")


@pytest.mark.anyio
async def test_no_credentials_where_some_are_needed(stage: Stage) -> None:
    """Without credentials there is no prompt, but an error."""
    _protect(stage.git, "bot", "right")
    with pytest.raises(CredentialsError, match="KERUTA_GIT_TOKEN"):
        await prepare(stage.settings())


@pytest.mark.anyio
async def test_nothing_inherited_changes_what_git_does(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of git's that the caller happens to have are not passed on."""
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_WORK_TREE", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.hooksPath'='/nowhere'")
    stage.content.scripts["shop"] = b""
    await prepare(stage.settings())
    monkeypatch.undo()
    assert run_git(stage.work, "status", "--porcelain") == ""


@pytest.mark.anyio
async def test_hooks_do_not_run_and_stay(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's hooks are not run by us, and run for the user afterwards."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    hook = hooks / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\n")
    hook.chmod(0o755)
    (tmp_path / ".gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n")
    await prepare(stage.settings())
    assert not (tmp_path / "hook-ran").exists()

    stage.run_git("checkout", "-q", "-b", "mine")
    assert (tmp_path / "hook-ran").exists()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "settings",
    [
        {"filter.evil.smudge": "CMD", "filter.evil.clean": "CMD", "filter.evil.required": "true"},
        {"filter.evil.process": "CMD"},
        {"core.fsmonitor": "CMD"},
        {"core.hooksPath": "HOOKS"},
        {"core.sshCommand": "CMD", "core.askPass": "CMD", "credential.helper": "!CMD"},
        {"core.alternateRefsCommand": "CMD", "core.pager": "CMD", "core.editor": "CMD"},
        {"diff.external": "CMD", "merge.evil.driver": "CMD"},
    ],
    ids=lambda settings: next(iter(settings)),
)
async def test_an_existing_clones_configuration_runs_nothing(
    stage: Stage, tmp_path: Path, settings: dict[str, str]
) -> None:
    """What an existing clone's own configuration would have git run is not run by an update."""
    del stage.content.scripts["shop"]
    command = tmp_path / "hooks" / "post-checkout"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    command.chmod(0o755)
    stage.commit_files({".gitattributes": "* filter=evil merge=evil diff=evil\n"})
    await prepare(stage.settings())
    for key, value in settings.items():
        stage.run_git("config", key, value.replace("CMD", str(command)).replace("HOOKS", str(command.parent)))
    (stage.work / "README.md").touch()
    tip = stage.commit_files({"README.md": "changed\n"})
    result = await prepare(stage.settings())

    assert result.commit == tip
    assert (stage.work / "README.md").read_text() == "changed\n"
    assert not (tmp_path / "ran").exists()


@pytest.mark.anyio
async def test_an_existing_clones_configuration_leads_git_nowhere(stage: Stage, tmp_path: Path) -> None:
    """Neither a proxy nor a rewritten URL nor a cookie file in an existing clone sees the credentials of an update."""
    del stage.content.scripts["shop"]
    elsewhere = Fakes()
    await prepare(stage.settings())
    tip = stage.commit_files({"more": "more\n"})
    _protect(stage.git, "bot", "g1t-t0ken")
    async with serve(git_application(stage.root, elsewhere.middleware)) as other:
        stage.run_git("config", "http.proxy", other)
        stage.run_git("config", f"url.{other}/.insteadOf", f"{stage.git_url}/")
        stage.run_git("config", "http.cookieFile", str(tmp_path / "jar"))
        stage.run_git("config", "http.saveCookies", "true")
        result = await prepare(stage.settings(git_username="bot", git_token="g1t-t0ken"))
        assert result.commit == tip
        with pytest.raises(WorkDirError, match=r"http\.proxy"):
            await prepare(stage.settings(submodules="yes", git_username="bot", git_token="g1t-t0ken"))
    assert elsewhere.requests == []
    assert not (tmp_path / "jar").exists()


@pytest.mark.anyio
async def test_no_secret_is_in_an_argv(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git's command lines, taken down by a git of the test's own, hold no credentials."""
    real = run_git(tmp_path, "--exec-path").strip()
    spy = tmp_path / "bin" / "git"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/argv\nexec {real}/git "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:/usr/bin:/bin")
    _protect(stage.git, "bot", "g1t-t0ken")
    url = stage.repository_url.replace("http://", "http://bot:g1t-t0ken@")
    await prepare(stage.settings(repository_url=url))
    argv = (tmp_path / "argv").read_text()
    assert "fetch" in argv
    assert "g1t-t0ken" not in argv


def _assert_nowhere(work: Path, secret: str) -> None:
    for path in work.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path
