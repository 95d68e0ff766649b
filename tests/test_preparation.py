"""``prepare`` as a whole, against real servers."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import aiohttp
import anyio
import pytest

from kerutaprep import (
    CredentialsError,
    DeadlineError,
    InternalError,
    LockedError,
    NotFoundError,
    PlanError,
    PrepError,
    PrepResult,
    ProtocolError,
    ScriptError,
    Step,
    StepEvent,
    TransportError,
    prepare,
)
from tests.fakes import DOCUMENT, FILES, SCRIPT, Fault, Gate, Stage, body, open_stage, reset, status, truncated

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web

pytestmark = pytest.mark.anyio


async def test_everything_is_there_afterwards(stage: Stage) -> None:
    """A run leaves the work tree, the documents, the script, the log and the report, and a clean tree."""
    result = await prepare(stage.settings())

    assert (result.commit, result.ref, result.work_dir) == (stage.commit, "main", stage.work)
    for name, text in FILES.items():
        assert (stage.work / name).read_text() == text
    assert stage.keruta("README.md").read_bytes() == DOCUMENT
    assert stage.keruta("documents/task-1").read_bytes() == DOCUMENT
    assert stage.keruta("install.sh").read_bytes() == SCRIPT
    assert stage.keruta("install.sh").stat().st_mode & 0o777 == 0o755
    assert (stage.work / "installed").read_text() == "installed\n"
    assert stage.run_git("status", "--porcelain") == "?? installed\n"
    assert sorted(path.name for path in stage.keruta("").iterdir()) == [
        "README.md",
        "documents",
        "install.sh",
        "prep.json",
        "prep.log",
    ]


async def test_the_report_says_what_the_contract_promises(stage: Stage) -> None:
    """prep.json has every field, and its steps in the contract's order."""
    result = await prepare(stage.settings(repository_url=stage.repository_url))

    report = json.loads(stage.keruta("prep.json").read_text())
    assert list(report) == ["version", "outcome", "exit_code", "started_at", "seconds", "commit", "ref", "steps"]
    assert (report["outcome"], report["exit_code"], report["commit"]) == ("succeeded", 0, stage.commit)
    names = ["workspace", "repository", "clone", "exclude", "documents", "script", "install"]
    assert [step["name"] for step in report["steps"]] == names
    statuses = {step["name"]: step["status"] for step in report["steps"]}
    assert statuses.pop("repository") == "skipped"
    assert set(statuses.values()) == {"succeeded"}
    assert list(result.steps) == report["steps"]
    for step in report["steps"]:
        assert list(step) == ["name", "status", "start", "end", "attempts", "bytes", "detail"]
        assert 0 <= step["start"] <= step["end"] <= report["seconds"]


async def test_clone_and_downloads_overlap(stage: Stage) -> None:
    """Clone, document and script are all under way before any of them has its answer."""
    clone, document, script = Gate(), Gate(), Gate()
    stage.git.on("info/refs", clone)
    stage.api.on("/content", document)
    stage.api.on("/script", script)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(prepare, stage.settings(repository_url=stage.repository_url))
        for gate in (clone, document, script):
            await gate.arrived.wait()
        for gate in (clone, document, script):
            gate.opened.set()


async def test_install_waits_for_the_clone(stage: Stage) -> None:
    """install.sh runs only once the whole tree is there, and sees it clean."""
    stage.content.scripts["shop"] = (
        b'#!/bin/sh\nset -e\ncat src/basket.py\nseen=$(git status --porcelain)\necho "saw $seen" > seen\n'
    )
    clone = Gate()
    stage.git.on("info/refs", clone)
    begun: list[str] = []

    def note(event: StepEvent) -> None:
        if event.kind == "finished" and event.step in {"script", "documents"}:
            begun.append(event.step)
            if len(begun) == 2:
                clone.opened.set()
        if event.kind == "started" and event.step == "install":
            begun.append("install")

    await prepare(stage.settings(repository_url=stage.repository_url), on_event=note)

    assert begun[-1] == "install"
    assert (stage.work / "seen").read_text() == "saw \n"


@pytest.mark.parametrize(("install_after", "waits"), [("script", False), ("documents", True)])
async def test_install_waits_for_documents_only_if_asked(stage: Stage, install_after: str, waits: bool) -> None:
    """install.sh does not wait for the documents, unless --install-after says so."""
    document = Gate()
    stage.api.on("/content", document)
    order: list[str] = []

    def note(event: StepEvent) -> None:
        if event.kind == "finished" and event.step in {"install", "documents"}:
            order.append(event.step)
        before_install = "exclude" if waits else "install"
        if event.kind == "finished" and event.step == before_install:
            document.opened.set()

    await prepare(stage.settings(install_after=install_after), on_event=note)

    assert order == (["documents", "install"] if waits else ["install", "documents"])


async def test_a_failure_stops_the_other_steps(stage: Stage) -> None:
    """The first failure cancels what is under way; the report names each step's end, and no part is left."""
    clone, script = Gate(), Gate()
    stage.git.on("info/refs", clone)
    stage.api.on("/script", script)

    async def missing(_request: object) -> None:
        await clone.arrived.wait()
        await script.arrived.wait()

    stage.api.on("/content", missing)
    with pytest.raises(NotFoundError) as caught:
        await prepare(stage.settings(document_ids=["nothing"], repository_url=stage.repository_url))

    assert [error.step for error in caught.value.errors] == ["documents"]
    assert "NOT_FOUND: no such document" in str(caught.value)
    report = json.loads(stage.keruta("prep.json").read_text())
    assert (report["outcome"], report["exit_code"]) == ("failed", 66)
    statuses = {step["name"]: (step["status"], step["start"] is None) for step in report["steps"]}
    assert statuses["documents"] == ("failed", False)
    assert statuses["clone"] == statuses["script"] == ("cancelled", False)
    assert statuses["exclude"] == statuses["install"] == ("cancelled", True)
    assert not (stage.work / ".git").exists()
    assert {path.name for path in stage.keruta("").iterdir()} == {"documents", "prep.json", "prep.log"}


@pytest.mark.parametrize("answer", [status(404), status(204), body(b"")], ids=["404", "204", "empty"])
async def test_no_script_is_no_error(stage: Stage, answer: Fault) -> None:
    """A repository without a script has none run, and the run succeeds."""
    stage.api.on("/script", answer)
    result = await prepare(stage.settings())

    statuses = {step["name"]: step["status"] for step in result.steps}
    assert (statuses["script"], statuses["install"]) == ("skipped", "skipped")
    assert not stage.keruta("install.sh").exists()
    assert "has no install script" in stage.keruta("prep.log").read_text()


@pytest.mark.parametrize(
    ("path_part", "fault", "error", "attempts"),
    [
        ("/content", status(401), CredentialsError, 1),
        ("/content", status(403), CredentialsError, 1),
        ("/content", status(404), NotFoundError, 1),
        ("/content", status(410), NotFoundError, 1),
        ("/content", status(400), ProtocolError, 1),
        ("/script", status(401), CredentialsError, 1),
        ("/script", status(418), ProtocolError, 1),
        ("/script", body(b"<!DOCTYPE html><p>log in", "text/html"), ProtocolError, 1),
        ("/script", body(b"\n <html><p>log in", "text/plain"), ProtocolError, 1),
        ("/repositories/shop", status(404), NotFoundError, 1),
        ("/repositories/shop", body(b"<html>"), ProtocolError, 1),
        ("/repositories/shop", body(b"[]"), ProtocolError, 1),
        ("/repositories/shop", body(b'{"data": {"url": 7}}'), ProtocolError, 1),
        ("/repositories/shop", body(b'{"url": "ext::sh -c true"}'), ProtocolError, 1),
        ("/repositories/shop", body(b'{"url": "file:///etc"}'), ProtocolError, 1),
        ("/repositories/shop", body(b'{"url": "https://h/x", "branch": "--upload-pack=x"}'), ProtocolError, 1),
        ("/content", status(503), TransportError, 2),
        ("/content", status(500), TransportError, 2),
        ("/content", status(408), TransportError, 2),
        ("/content", status(425), TransportError, 2),
        ("/content", status(429), TransportError, 2),
        ("/script", reset, TransportError, 2),
        ("/content", truncated(b"x" * 100, 10), TransportError, 2),
    ],
)
async def test_each_answer_has_its_error(
    stage: Stage, path_part: str, fault: Fault, error: type[PrepError], attempts: int
) -> None:
    """What the API answers decides the error, and whether it was worth a retry."""
    await _only(stage, path_part, fault)
    with pytest.raises(error) as caught:
        await prepare(stage.settings())

    assert caught.value.retryable is (error is TransportError)
    assert len([r for r in stage.api.to(path_part) if r.path.endswith(path_part)]) == attempts


async def _only(stage: Stage, path_part: str, fault: Fault) -> None:
    async def answer(request: web.Request) -> web.StreamResponse | None:
        return await fault(request) if request.path.endswith(path_part) else None

    stage.api.on(path_part, *[answer] * 6)


async def test_temporary_failures_are_overcome(stage: Stage) -> None:
    """A refused, a reset and a truncated answer cost an attempt each, not the run."""
    stage.api.on("/script", status(503), reset)
    stage.api.on("/content", truncated(DOCUMENT, 3), status(429, {"Retry-After": "0"}))
    stage.git.on("info/refs", status(503))

    result = await prepare(stage.settings(retries=3))

    attempts = {step["name"]: step["attempts"] for step in result.steps}
    assert (attempts["script"], attempts["documents"], attempts["clone"]) == (3, 3, 2)
    assert stage.keruta("README.md").read_bytes() == DOCUMENT


async def test_requests_carry_what_the_api_needs(stage: Stage) -> None:
    """Each attempt has the token, the program's name, identity coding and an id of its own, which is logged."""
    stage.content.token = "s3cret-token"
    stage.api.on("/script", status(503))
    await prepare(stage.settings(api_token="s3cret-token"))

    ids = [request.headers["X-Request-ID"] for request in stage.api.requests]
    assert len(ids) == len(set(ids)) == 4
    for request in stage.api.requests:
        assert request.headers["Authorization"] == "Bearer s3cret-token"
        assert request.headers["User-Agent"].startswith("kerutaprep/")
        assert request.headers["Accept-Encoding"] == "identity"
    log = stage.keruta("prep.log").read_text()
    assert all(request_id in log for request_id in ids)
    assert "s3cret-token" not in log


async def test_ids_are_one_path_segment_each(stage: Stage) -> None:
    """Ids are percent-encoded on the wire and safe as file names."""
    wild = "a/b?c#d%2F ü"
    stage.content.documents[wild] = b"wild"
    stage.content.scripts["my repo"] = SCRIPT
    settings = stage.settings(
        document_ids=[wild, "task-1"], repository_id="my repo", repository_url=stage.repository_url
    )
    await prepare(settings)

    assert {request.raw_path for request in stage.api.requests} == {
        "/api/v1/documents/a%2Fb%3Fc%23d%252F%20%C3%BC/content",
        "/api/v1/documents/task-1/content",
        "/api/v1/repositories/my%20repo/script",
    }
    assert stage.keruta("README.md").read_bytes() == b"wild"
    assert len(list(stage.keruta("documents").iterdir())) == 2


async def test_the_api_may_be_below_a_path(tmp_path: Path) -> None:
    """An API URL with a path and a slash at its end works."""
    async with open_stage(tmp_path, prefix="/keruta") as stage:
        await prepare(stage.settings(api_url=f"{stage.api_url}/"))
        assert stage.keruta("README.md").read_bytes() == DOCUMENT


async def test_no_documents_is_no_error(stage: Stage) -> None:
    """A task without documents gets none."""
    await prepare(stage.settings(document_ids=[]))

    assert not stage.keruta("README.md").exists()
    assert not stage.api.to("/documents/")


async def test_a_failing_script_fails_the_run(stage: Stage) -> None:
    """install.sh's status is in the error; what it wrote is in the log, marked as its own."""
    stage.content.scripts["shop"] = b"#!/bin/sh\necho out\necho err >&2\nexit 7\n"
    with pytest.raises(ScriptError) as caught:
        await prepare(stage.settings())

    assert (caught.value.status, caught.value.exit_code) == (7, 1)
    lines = stage.keruta("prep.log").read_text().splitlines()
    assert [line.partition("| ")[2] for line in lines if "install    | " in line] == ["out", "err"]


async def test_the_deadline_ends_the_run(stage: Stage) -> None:
    """What takes longer than the deadline is stopped, and the error names it."""
    stage.api.on("/content", Gate())
    with pytest.raises(DeadlineError) as caught:
        await prepare(stage.settings(deadline=1.5))

    assert "documents" in str(caught.value)
    report = json.loads(stage.keruta("prep.json").read_text())
    assert (report["outcome"], report["exit_code"]) == ("failed", 75)


async def test_a_second_run_waits_for_the_first(stage: Stage) -> None:
    """Two runs on one work directory never overlap; one that gives up leaves the other's files alone."""
    gate, made = Gate(), anyio.Event()
    stage.api.on("/script", gate)

    def note(event: StepEvent) -> None:
        if (event.step, event.kind) == ("workspace", "finished"):
            made.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(prepare, stage.settings(), None, note)
        await made.wait()
        log = stage.keruta("prep.log").stat().st_ino
        with pytest.raises(LockedError):
            await prepare(stage.settings(deadline=0.3))
        assert stage.keruta("prep.log").stat().st_ino == log
        assert not stage.keruta("prep.json").exists()
        gate.opened.set()


async def test_runs_do_not_disturb_each_other(stage: Stage) -> None:
    """Several runs in one process, over one session of the caller's, which stays open."""
    results: list[PrepResult] = []

    async def one(number: int, session: aiohttp.ClientSession) -> None:
        settings = stage.settings(work_dir=stage.root / f"work-{number}")
        results.append(await prepare(settings, session=session))

    async with aiohttp.ClientSession() as session:
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(one, number, session)
        assert not session.closed

    assert {result.commit for result in results} == {stage.commit}
    assert len({result.work_dir for result in results}) == 4


async def test_a_step_can_be_added(stage: Stage) -> None:
    """A step of the caller's runs after what it needs, and is reported after ours."""
    seen: list[bool] = []

    async def look() -> None:
        seen.append((stage.work / "src" / "basket.py").exists())

    result = await prepare(stage.settings(), extra_steps=[Step(name="look", needs={"clone"}, run=look)])

    assert seen == [True]
    assert result.steps[-1]["name"] == "look"


async def test_an_added_step_that_raises_fails_the_run(stage: Stage) -> None:
    """A foreign exception is the cause of an InternalError."""

    async def fail() -> None:
        raise ZeroDivisionError("by zero")

    with pytest.raises(InternalError, match="ZeroDivisionError: by zero") as caught:
        await prepare(stage.settings(), extra_steps=[Step(name="own", run=fail)])

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.errors[0].step == "own"


async def _nothing() -> None:
    return


@pytest.mark.parametrize(
    "steps",
    [
        [Step(name="clone", run=_nothing)],
        [Step(name="own", needs={"nothing"}, run=_nothing)],
        [Step(name="a", needs={"b"}, run=_nothing), Step(name="b", needs={"a"}, run=_nothing)],
    ],
    ids=["duplicate", "unknown need", "cycle"],
)
async def test_a_plan_that_cannot_work_touches_nothing(stage: Stage, steps: list[Step]) -> None:
    """A bad plan is an error before the work directory is so much as made."""
    with pytest.raises(PlanError):
        await prepare(stage.settings(), extra_steps=steps)

    assert not stage.work.exists()
    assert not stage.api.requests


async def test_events_are_told_in_order(stage: Stage) -> None:
    """Each step's events begin with started and end with one ending, and each is frozen."""
    events: list[StepEvent] = []
    await prepare(stage.settings(), on_event=events.append)

    for step in {event.step for event in events}:
        kinds = [event.kind for event in events if event.step == step]
        assert kinds[0] == "started"
        assert kinds[-1] in {"finished", "skipped"}
        assert not {"started", "finished", "skipped"} & set(kinds[1:-1])
    with pytest.raises(AttributeError):
        events[0].step = "other"  # type: ignore[misc]  # that it can't be set is the point


@pytest.mark.parametrize("step", ["documents", "clone", "install"])
async def test_long_steps_tell_how_far_they_are(stage: Stage, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A step that says nothing for a while tells that it is still at work."""
    monkeypatch.setattr("kerutaprep.events._QUIET_SECONDS", 0.1)
    document, clone = Gate(), Gate()
    stage.content.scripts["shop"] = b"#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.01; done\n"
    stage.api.on("/content", document)
    stage.git.on("info/refs", clone)

    def note(event: StepEvent) -> None:
        if event.kind == "progress" and event.step == step:
            document.opened.set()
            clone.opened.set()
            (stage.work / "go").touch()
        if event.step in {"documents", "clone"} and event.kind == "progress" and step == "install":
            document.opened.set()
            clone.opened.set()

    result = await prepare(stage.settings(), on_event=note)
    assert result.commit == stage.commit


async def test_a_hook_that_raises_changes_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """An exception from on_event is logged, and the run goes on."""

    def fail(event: StepEvent) -> None:
        raise LookupError(event.step)

    with caplog.at_level(logging.ERROR, "kerutaprep"):
        result = await prepare(stage.settings(), on_event=fail)

    assert result.commit == stage.commit
    assert "on_event raised" in caplog.text


async def test_running_again_gives_the_same(stage: Stage) -> None:
    """A second run over a finished one succeeds, excludes once, and follows the remote."""
    await prepare(stage.settings())
    moved = stage.commit_files({"new.txt": "new\n"})
    (stage.work / "installed").unlink()
    result = await prepare(stage.settings())

    assert result.commit == moved
    assert (stage.work / "new.txt").read_text() == "new\n"
    exclude = (stage.work / ".git" / "info" / "exclude").read_text().splitlines()
    assert exclude.count("/.keruta") == 1
