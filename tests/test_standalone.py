"""The parts of a run by themselves: one file, one clone, no keruta-api."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import pytest

from kerutaprep import (
    CredentialsError,
    NotFoundError,
    PrepError,
    ProtocolError,
    SettingsError,
    StepEvent,
    TransportError,
    WorkDirError,
    clone_repository,
    download_file,
    prepare,
)
from tests.fakes import DOCUMENT, Fault, Gate, Stage, body, login, run_git, status, truncated

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from aiohttp import web

pytestmark = pytest.mark.anyio

_BIG = bytes(range(256)) * 20_000


def _url(stage: Stage, query: str = "") -> str:
    return f"{stage.api_url}/api/v1/documents/task-1/content{query}"


def _rest_of(content: bytes) -> Fault:
    """Go on where the request says."""

    async def answer(request: web.Request) -> web.StreamResponse:
        first = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        content_range = {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}
        return await status(206, content_range, content[first:])(request)  # type: ignore[return-value]  # it answers

    return answer


async def _stop_while_held(gate: Gate, call: Callable[[], Coroutine[Any, Any, object]]) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await gate.arrived.wait()
        tasks.cancel_scope.cancel()


async def test_a_url_becomes_a_file(stage: Stage, tmp_path: Path) -> None:
    """The file is whole, replaces what was there, and is alone in its directory."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "task.md").write_text("an older one, and longer than the new one\n")
    size = await download_file(_url(stage), place / "task.md", sha256=hashlib.sha256(DOCUMENT).hexdigest().upper())

    assert size == len(DOCUMENT)
    assert (place / "task.md").read_bytes() == DOCUMENT
    assert [path.name for path in place.iterdir()] == ["task.md"]
    assert "Authorization" not in stage.api.requests[0].headers


async def test_a_cut_download_is_resumed_and_told(stage: Stage, tmp_path: Path) -> None:
    """Each attempt is an event of the step, and the second asks for the rest only."""
    events: list[StepEvent] = []
    stage.api.on("/content", truncated(_BIG, len(_BIG) // 2, {"ETag": '"v1"'}), _rest_of(_BIG))
    await download_file(_url(stage), tmp_path / "big", on_event=events.append)

    assert (tmp_path / "big").read_bytes() == _BIG
    assert [event.kind for event in events if event.kind != "progress"] == ["started", "retried", "finished"]
    assert events[-1].step == "download"


async def test_a_relative_path_and_an_empty_answer(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """204 is an empty file, and a path is relative to the caller's directory."""
    monkeypatch.chdir(tmp_path)
    stage.api.on("/content", status(204))
    assert await download_file(_url(stage), "empty") == 0
    assert (tmp_path / "empty").read_bytes() == b""


async def test_the_session_and_the_token_are_the_callers(stage: Stage, tmp_path: Path) -> None:
    """A session that is given is used and left open; a token is sent as the API's is."""
    async with aiohttp.ClientSession(headers={"X-Mine": "yes"}) as session:
        await download_file(_url(stage), tmp_path / "one", session=session, token="s3cret-token")
        assert not session.closed
    headers = stage.api.requests[0].headers
    assert (headers["X-Mine"], headers["Authorization"]) == ("yes", "Bearer s3cret-token")


async def test_a_tasks_own_variables_change_nothing(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the task's token nor a bad setting in the environment reaches a part that stands alone."""
    for name, value in {"API_TOKEN": "s3cret-token", "GIT_DEPTH": "many", "REPOSITORY_REF": "elsewhere"}.items():
        monkeypatch.setenv(f"KERUTA_{name}", value)
    await download_file(_url(stage), tmp_path / "one")
    assert "Authorization" not in stage.api.requests[0].headers
    assert (await clone_repository(stage.repository_url, stage.work)).ref == "main"


async def test_a_signed_urls_query_is_shown_nowhere(
    stage: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The query is sent as it is, and neither logged nor in an error."""
    caplog.set_level(logging.DEBUG, "kerutaprep")
    stage.api.on("/content", status(400))
    with pytest.raises(ProtocolError) as caught:
        await download_file(_url(stage, "?signature=a%2Fb-s3cret"), tmp_path / "one")

    assert stage.api.requests[0].raw_path.endswith("?signature=a%2Fb-s3cret")
    assert "s3cret" not in caplog.text + str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (status(404), NotFoundError, "/content .*not found"),
        (status(403), CredentialsError, "403"),
        (status(503), TransportError, "503"),
        (body(b"another"), ProtocolError, "SHA-256"),
    ],
    ids=["404", "403", "503", "digest"],
)
async def test_a_failed_download_keeps_what_was_there(
    stage: Stage, tmp_path: Path, answer: Fault, error: type[PrepError], words: str
) -> None:
    """The error is a run's error, of the step; the old file is untouched, and no part is left."""
    target = tmp_path / "place" / "task.md"
    target.parent.mkdir()
    target.write_text("old\n")
    stage.api.on("/content", answer)
    with pytest.raises(error, match=words) as caught:
        await download_file(_url(stage), target, retries=0, sha256=hashlib.sha256(DOCUMENT).hexdigest())

    assert caught.value.step == "download"
    assert {path.name: path.read_text() for path in target.parent.iterdir()} == {"task.md": "old\n"}


async def test_a_file_needs_its_directory(stage: Stage, tmp_path: Path) -> None:
    """A directory that is missing is an error before a request is made, one in the file's place after it."""
    with pytest.raises(WorkDirError, match="nowhere"):
        await download_file(_url(stage), tmp_path / "nowhere" / "task.md")
    assert not stage.api.requests
    (tmp_path / "task.md").mkdir()
    with pytest.raises(WorkDirError, match="in the way"):
        await download_file(_url(stage), tmp_path / "task.md")


@pytest.mark.parametrize("url", ["ftp://host/file", "https://user:pass@host/file", "/file"])
async def test_a_url_that_is_none_is_a_setting(tmp_path: Path, url: str) -> None:
    """What can't be asked for is said to be so, without its secrets."""
    with pytest.raises(SettingsError) as caught:
        await download_file(url, tmp_path / "file")
    assert "user:pass" not in str(caught.value)


async def test_a_cancelled_download_leaves_nothing(stage: Stage, tmp_path: Path) -> None:
    """Neither a part nor its directory is left, whenever it is stopped."""
    place = tmp_path / "place"
    place.mkdir()
    gate = Gate()
    stage.api.on("/content", gate)
    await _stop_while_held(gate, partial(download_file, _url(stage), place / "one"))
    assert not list(place.iterdir())

    written = anyio.Event()
    stage.api.on("/content", truncated(_BIG, len(_BIG) // 2, {"Retry-After": "60"}))
    async with anyio.create_task_group() as tasks:
        retried = partial(_when_retried, written.set)
        tasks.start_soon(partial(download_file, _url(stage), place / "one", on_event=retried))
        await written.wait()
        assert list(place.iterdir())
        tasks.cancel_scope.cancel()
    assert not list(place.iterdir())


def _when_retried(then: Callable[[], None], event: StepEvent) -> None:
    if event.kind == "retried":
        then()


async def test_a_clone_stands_alone(stage: Stage) -> None:
    """The work tree is in the directory itself beside what was there, and nothing of Keruta's is."""
    stage.work.mkdir()
    (stage.work / "notes").write_text("mine\n")
    checkout = await clone_repository(stage.repository_url, stage.work)

    assert (checkout.commit, checkout.ref) == (stage.commit, "main")
    assert not stage.keruta("").exists()
    assert stage.run_git("status", "--porcelain") == "?? notes\n"
    assert stage.run_git("rev-parse", "--abbrev-ref", "@{upstream}") == "origin/main\n"
    assert not stage.api.requests


async def test_a_clone_takes_gits_settings(stage: Stage, tmp_path: Path) -> None:
    """A ref, a work branch, credentials and the environment are given as in PrepSettings; events are told."""
    events: list[StepEvent] = []
    stage.git.on("", *[login("bot", "s3cret-token")] * 20)
    stage.commit_files({"later": "x"})
    checkout = await clone_repository(
        stage.repository_url,
        str(stage.work),
        ref=stage.commit,
        work_branch="task-7",
        depth=0,
        git_username="bot",
        git_token="s3cret-token",
        environment={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        on_event=events.append,
    )
    assert checkout.commit == stage.commit
    assert stage.run_git("branch", "--show-current") == "task-7\n"
    assert {event.step for event in events} == {"clone"}


async def test_a_clone_again_is_an_update(stage: Stage) -> None:
    """What is there is brought up to date, what a run left beside it stays, and somebody's changes are kept."""
    await prepare(stage.settings())
    newer = stage.commit_files({"later": "x"})
    assert (await clone_repository(stage.repository_url, stage.work)).commit == newer
    assert stage.keruta("README.md").read_bytes() == DOCUMENT

    (stage.work / "later").write_text("mine\n")
    stage.commit_files({"later": "y"})
    assert (await clone_repository(stage.repository_url, stage.work)).commit == newer
    assert (stage.work / "later").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("options", "error"),
    [({"ref": "gone"}, NotFoundError), ({"depth": -1}, SettingsError), ({"on_existing": "never"}, SettingsError)],
    ids=["ref", "depth", "policy"],
)
async def test_a_clone_that_fails_leaves_no_clone(
    stage: Stage, options: Mapping[str, object], error: type[PrepError]
) -> None:
    """The errors are a run's, and no ``.git`` is left."""
    with pytest.raises(error):
        await clone_repository(stage.repository_url, stage.work, **options)  # type: ignore[arg-type]  # wrong on purpose
    assert not list(stage.work.glob("*")) + list(stage.work.glob(".*"))


async def test_a_cancelled_clone_leaves_nothing_running(stage: Stage) -> None:
    """Stopped while git talks to the server, no process and no ``.git`` is left, and the next one succeeds."""
    gate = Gate()
    stage.git.on("git-upload-pack", gate)
    await _stop_while_held(gate, partial(clone_repository, stage.repository_url, stage.work))
    assert not list(stage.work.iterdir())
    assert not _processes_in(stage.work)
    assert (await clone_repository(stage.repository_url, stage.work)).commit == stage.commit


def _processes_in(directory: Path) -> list[bytes]:
    """The command lines that name a directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            found.append(path.read_bytes())
    return [line for line in found if str(directory).encode() in line]


async def test_parts_work_beside_runs(stage: Stage, tmp_path: Path) -> None:
    """Clones, downloads and whole runs share a process; two on one directory wait for each other."""
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(prepare, stage.settings())
            tasks.start_soon(clone_repository, stage.repository_url, stage.work)
        tasks.start_soon(clone_repository, stage.repository_url, tmp_path / "other")
        for number in range(3):
            tasks.start_soon(download_file, _url(stage), tmp_path / f"file-{number}")

    assert stage.keruta("README.md").read_bytes() == DOCUMENT
    assert run_git(tmp_path / "other", "rev-parse", "HEAD").strip() == stage.commit
    assert all((tmp_path / f"file-{number}").read_bytes() == DOCUMENT for number in range(3))
