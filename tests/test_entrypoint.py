"""The program as a process: command line, exit codes, last words, logs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import pytest
from aiohttp import web

from kerutaprep import __version__
from tests.fakes import DOCUMENT, Ended, Fault, Gate, Stage, body, run_program, status

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


def _run(*words: str) -> Ended:
    result = subprocess.run(
        [sys.executable, "-m", "kerutaprep", *words], capture_output=True, text=True, check=False, timeout=60
    )
    return Ended(result.returncode, result.stdout, result.stderr)


async def test_the_manifests_command_line_works(stage: Stage) -> None:
    """The command and environment of the contract's manifest prepare a work directory, and say so on exit."""
    stage.content.token = "s3cret-token"
    termination_log = stage.root / "termination-log"
    termination_log.touch()
    ended = await run_program(
        stage.command(),
        KERUTA_REPOSITORY_ID="shop",
        KERUTA_DOCUMENT_ID="task-1",
        KERUTA_API_ENDPOINT=stage.api_url,
        KERUTA_API_TOKEN="s3cret-token",
        KERUTA_TERMINATION_LOG=str(termination_log),
    )

    assert ended.code == 0, ended.stderr
    assert stage.keruta("README.md").read_bytes() == DOCUMENT
    facts = json.loads(termination_log.read_text())
    assert facts.keys() == {"commit", "seconds", "bytes"}
    assert facts["commit"] == stage.commit
    assert "s3cret-token" not in ended.stdout + ended.stderr


async def test_the_environment_alone_is_enough(stage: Stage) -> None:
    """Every setting may come from a variable."""
    ended = await run_program(
        [sys.executable, "-m", "kerutaprep", "init"],
        KERUTA_REPOSITORY_ID="shop",
        KERUTA_DOCUMENT_ID="task-1",
        KERUTA_API_URL=stage.api_url,
        KERUTA_WORK_DIR=str(stage.work),
    )
    assert ended.code == 0, ended.stderr


async def test_a_failure_is_the_last_line_of_stderr(stage: Stage) -> None:
    """What failed and why is one line, the last one, also with JSON logs, and goes to the termination log."""
    stage.api.on("/content", status(403, body=b'{"error": {"code": "DENIED", "message": "not yours"}}'))
    termination_log = stage.root / "termination-log"
    ended = await run_program(
        stage.command("--log-format", "json"), KERUTA_TERMINATION_LOG=str(termination_log), KERUTA_API_TOKEN="tok-en"
    )

    assert ended.code == 77
    assert ended.last_line.startswith("kerutaprep: failed: documents: document 'task-1' (request ")
    assert "HTTP 403 (DENIED: not yours); check KERUTA_API_TOKEN" in ended.last_line
    assert stage.api.to("/content")[0].headers["X-Request-ID"] in ended.last_line
    assert termination_log.read_text() == ended.last_line
    records = [json.loads(line) for line in ended.stderr.splitlines()[:-1]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["time"]) for record in records)
    failed = [record for record in records if record.get("event") == "failed" and record["step"] == "documents"]
    assert failed[0].keys() >= {"seconds", "attempt", "bytes"}


async def test_the_scripts_output_is_logged_line_by_line(stage: Stage) -> None:
    """install.sh's lines are in the log on stderr and in prep.log, marked and masked."""
    stage.content.scripts["shop"] = b'#!/bin/sh\necho "token $KERUTA_API_TOKEN"\nprintf "no end"\n'
    stage.content.token = "s3cret-token"
    ended = await run_program(stage.command(), KERUTA_API_TOKEN="s3cret-token")

    for log in (ended.stderr, stage.keruta("prep.log").read_text()):
        assert "install    | token ***\n" in log
        assert "install    | no end\n" in log


async def test_every_silent_step_tells_how_far_it_is(stage: Stage) -> None:
    """A look-up, clone, download or script that says nothing for long is told of all the same, in a pod too."""
    first, second, third = (stage.root / name for name in ("first", "second", "third"))
    stage.content.scripts["shop"] = b"#!/bin/sh\ntouch begun\nwhile [ ! -e go ]; do sleep 0.05; done\n"
    gate = Gate()
    hold = Gate(opened=gate.opened)

    async def run(*arguments: str) -> None:
        ended = await run_program(stage.command(*arguments))
        assert ended.code == 0, ended.stderr

    async def is_told(work: Path, step: str) -> None:
        log = work / ".keruta" / "prep.log"
        while not log.exists() or not re.search(rf" INFO +{step} +running", log.read_text()):
            await anyio.sleep(0.05)

    async with anyio.create_task_group() as runs:
        runs.start_soon(run, "--work-dir", str(first))
        while not (first / "begun").exists():
            await anyio.sleep(0.01)
        stage.api.on("repositories/shop/script", hold)
        stage.api.on("/content", hold)
        stage.git.on("info/refs", hold)
        runs.start_soon(run, "--work-dir", str(second), "--repository-url", stage.repository_url)
        await hold.arrived.wait()
        stage.api.on("repositories/shop", gate, gate)  # the script is asked for at the same time
        runs.start_soon(run, "--work-dir", str(third))
        async with anyio.create_task_group() as tellings:
            tellings.start_soon(is_told, first, "install")
            tellings.start_soon(is_told, third, "repository")
            for step in ("clone", "documents", "script"):
                tellings.start_soon(is_told, second, step)
        for work in (first, second, third):
            work.joinpath("go").touch()
        gate.opened.set()


@pytest.mark.parametrize(
    ("path_part", "answer", "code"),
    [
        ("/content", status(404), 66),
        ("/content", status(503), 75),
        ("/script", body(b"<html></html>", "text/html"), 76),
        ("/script", body(b"#!/bin/sh\nexit 3\n"), 1),
        ("/script", body(b"#!/bin/sh\nsleep 600\n"), 124),
        ("/info/refs", status(404), 66),
        ("/info/refs", status(500), 75),
        ("/info/refs", status(403), 77),
    ],
)
async def test_exit_codes(stage: Stage, path_part: str, answer: Fault, code: int) -> None:
    """Each kind of failure ends with the contract's code."""
    for fakes in (stage.api, stage.git):
        fakes.on(path_part, *[answer] * 4)
    ended = await run_program(stage.command("--retries", "1", "--script-timeout", "0.5"))

    assert ended.code == code, ended.stderr
    assert ended.last_line.startswith("kerutaprep: failed: ")
    assert json.loads(stage.keruta("prep.json").read_text())["exit_code"] == code


async def test_a_big_document_needs_little_memory(stage: Stage) -> None:
    """300 MB pass through a process that stays below 100 MiB."""
    size = 300 * 1024 * 1024
    block = bytes(1024 * 1024)

    async def big(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(size)})
        await response.prepare(request)
        for _ in range(size // len(block)):
            await response.write(block)
        return response

    stage.api.on("/content", big)
    measure = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    ended = await run_program([sys.executable, "-c", measure, *stage.command()])
    assert ended.code == 0, ended.stderr
    assert stage.keruta("README.md").stat().st_size == size
    assert int(ended.stdout) < 100 * 1024  # KiB, getrusage(2)


@pytest.mark.parametrize("where", ["work", "work/below"])
async def test_a_file_in_the_work_directorys_place(stage: Stage, where: str) -> None:
    """A work directory that can't be made is exit 74, and the file in its place is untouched."""
    stage.work.write_text("mine\n")
    ended = await run_program(stage.command("--work-dir", str(stage.root / where)))
    assert ended.code == 74
    assert str(stage.work) in ended.last_line
    assert stage.work.read_text() == "mine\n"


def test_bad_settings_are_named_all_at_once(tmp_path: Path) -> None:
    """Exit 78 before anything is touched, with one message that names each flag and variable."""
    work = tmp_path / "work"
    ended = _run("init", "--repository-id", "", "--document-id", "$(KERUTA_DOCUMENT_ID)", "--work-dir", str(work))

    assert ended.code == 78
    assert len(ended.stderr.splitlines()) == 1
    for part in ("--repository-id / KERUTA_REPOSITORY_ID", "--api-url / KERUTA_API_ENDPOINT", "$(KERUTA_DOCUMENT_ID)"):
        assert part in ended.last_line
    assert not work.exists()


@pytest.mark.parametrize("words", [["run"], ["execute", "--x"], ["prepare"], ["init", "--nope"], ["report", "nowhere"]])
def test_what_is_not_ours_is_refused(words: list[str]) -> None:
    """Another agent's subcommand, an unknown one, an unknown flag and a missing report are exit 78."""
    assert _run(*words).code == 78


def test_another_agents_command_is_told_so() -> None:
    """Run and execute say that this image only prepares."""
    assert "only prepares" in _run("run").last_line


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["init", "--help"], []])
def test_asking_is_no_failure(words: list[str]) -> None:
    """The version and the help are answers."""
    ended = _run(*words)
    assert (ended.code, ended.stderr) == (0, "")
    assert __version__ in ended.stdout or "--repository-id" in ended.stdout


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-", "2> /dev/full", "> /dev/full"])
async def test_a_stream_that_cannot_be_written_changes_nothing(stage: Stage, closed: str) -> None:
    """A closed stdout or stderr, or one without room, neither fails a run nor gets into a file of ours."""
    ended = await run_program(["/bin/sh", "-c", f'"$@" {closed}', "sh", *stage.command()])
    assert ended.code == 0, ended.stderr
    assert stage.keruta("README.md").read_bytes() == DOCUMENT


@pytest.mark.parametrize(("words", "code"), [("--help", 0), ("--version", 0), ("init", 78)])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "> /dev/full", "2> /dev/full"])
def test_asking_into_nowhere(words: str, code: int, closed: str) -> None:
    """An answer that nobody reads is no bug."""
    command = f"{sys.executable} -m kerutaprep {words} {closed}"
    assert subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False, timeout=60).returncode == code


async def test_report_draws_the_run(stage: Stage) -> None:
    """The report is drawn as text, and as a picture."""
    await run_program(stage.command())
    text = _run("report", str(stage.keruta("prep.json")))
    assert text.code == 0
    assert "succeeded in" in text.stdout
    picture = stage.root / "run.svg"
    assert _run("report", str(stage.keruta("prep.json")), "--svg", str(picture)).code == 0
    assert picture.read_text().startswith("<svg")


def test_the_demo_shows_a_whole_run(tmp_path: Path) -> None:
    """The demo ends with the waterfall and says where the files are."""
    ended = _run("demo", str(tmp_path / "demo"))
    assert ended.code == 0, ended.stderr
    assert "succeeded in" in ended.stdout
    assert "demo/.keruta/README.md\n" in ended.stdout
