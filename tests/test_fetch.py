"""Fetching from servers of other kinds, slow ones and silent ones."""

from __future__ import annotations

import socket
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from kerutaprep import NotFoundError, StepEvent, TransportError, prepare
from tests.fakes import Gate, Stage, run_git, status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def _git_daemon(served: Path) -> AsyncIterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["git", "daemon", "--verbose", "--export-all", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}"]
    async with await anyio.open_process([*command, f"--base-path={served}"], stderr=subprocess.PIPE) as daemon:
        assert daemon.stderr is not None
        said = b""
        while b"Ready to rumble" not in said:
            said += await daemon.stderr.receive()
        try:
            yield f"git://127.0.0.1:{port}"
        finally:
            daemon.terminate()


async def test_git_daemon(stage: Stage) -> None:
    """A git URL works; a repository that is not there is exit 66."""
    async with _git_daemon(stage.repository.parent) as url:
        result = await prepare(stage.settings(repository_url=f"{url}/shop.git"))
        assert result.commit == stage.commit
        with pytest.raises(NotFoundError):
            await prepare(stage.settings(repository_url=f"{url}/none.git", work_dir=stage.root / "other"))


@pytest.fixture
def old(stage: Stage) -> Stage:
    """A client and server that speak the first protocol, where a commit is not given by its id."""
    (stage.root / ".gitconfig").write_text("[protocol]\n\tversion = 0\n")
    for number in range(4):
        stage.commit_files({"counter": f"{number}\n"})
    return stage


@pytest.mark.parametrize("depth", [1, 0])
async def test_a_commit_that_is_not_given_by_its_id_is_dug_for(old: Stage, depth: int) -> None:
    """Where the server insists on branches, history is deepened until the commit is there."""
    result = await prepare(old.settings(ref=old.commit, depth=depth))
    assert result.commit == old.commit
    assert not (old.work / "counter").exists()


async def test_a_commit_that_is_nowhere_is_not_found(old: Stage) -> None:
    """Digging ends with the history."""
    with pytest.raises(NotFoundError, match="in any branch or tag"):
        await prepare(old.settings(ref="0123456789" * 4))


async def test_the_first_protocol_tells_the_default_branch_too(old: Stage) -> None:
    """HEAD's branch is found out over the first protocol as well."""
    run_git(old.repository, "symbolic-ref", "HEAD", "refs/heads/trunk")
    tip = old.commit_files({"trunk": "trunk\n"}, branch="trunk")
    result = await prepare(old.settings())
    assert (result.commit, result.ref) == (tip, "trunk")


async def test_a_detached_remote_head_is_checked_out_detached(stage: Stage) -> None:
    """A remote whose HEAD is no branch gives its commit."""
    (stage.repository / "HEAD").write_text(f"{stage.commit}\n")
    result = await prepare(stage.settings())
    assert (result.commit, result.ref) == (stage.commit, stage.commit)


async def test_another_kind_of_ref_is_checked_out_detached(stage: Stage) -> None:
    """A full ref name, such as a forge's for a change under review, is fetched as it is."""
    run_git(stage.repository, "update-ref", "refs/pull/1/head", stage.commit)
    result = await prepare(stage.settings(ref="refs/pull/1/head"))
    assert (result.commit, result.ref) == (stage.commit, "refs/pull/1/head")


@pytest.mark.parametrize("ref", ["refs/heads/main", "heads/main"])
async def test_a_branch_may_be_named_in_full(stage: Stage, ref: str) -> None:
    """A branch's longer names are the branch."""
    result = await prepare(stage.settings(ref=ref))
    assert result.ref == "main"
    assert stage.run_git("rev-parse", "--abbrev-ref", "@{upstream}") == "origin/main\n"


async def test_transport_failures_are_retried(stage: Stage) -> None:
    """A server that answers 503 costs git an attempt, as it does the API."""
    stage.git.on("info/refs", status(503), status(502))
    events: list[StepEvent] = []
    result = await prepare(stage.settings(retries=2), on_event=events.append)
    assert result.commit == stage.commit
    assert [event.attempt for event in events if event.step == "clone" and event.kind == "retried"] == [1, 2]


async def test_a_server_that_falls_silent_is_noticed(stage: Stage) -> None:
    """A stall is a transport failure, not a run without end."""
    gates = [Gate(), Gate()]
    stage.git.on("git-upload-pack", *gates)
    with pytest.raises(TransportError):
        await prepare(stage.settings(read_timeout=1, retries=0))


async def test_a_silent_peer_of_another_protocol_is_noticed(stage: Stage) -> None:
    """Where curl does not watch, the watchdog does: a git URL whose server says nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"git://127.0.0.1:{silent.getsockname()[1]}/shop.git"
        with pytest.raises(TransportError, match="stalled"):
            await prepare(stage.settings(repository_url=url, read_timeout=0.5, retries=0))


async def test_gits_percentages_become_progress(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git says of its progress is told as events."""
    monkeypatch.setattr("kerutaprep.git.program._LEAST_PROGRESS_SECONDS", 0.0)
    events: list[StepEvent] = []
    await prepare(stage.settings(), on_event=events.append)
    said = {event.message for event in events if (event.step, event.kind) == ("clone", "progress")}
    assert "receiving objects 100 %" in said
