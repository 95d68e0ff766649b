"""The check: what ``init`` would meet, told without writing anything."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
import trustme
from aiohttp import web

from kerutaprep.check.findings import Finding, Look, decisive_error, failed, look_at_all, ok
from kerutaprep.embedded import api_application, make_repository, serve
from kerutaprep.errors import CredentialsError, NotFoundError, PrepError, TransportError
from kerutaprep.git import journal
from kerutaprep.git.target import Target
from tests.fakes import SCRIPT, Ended, Gate, Stage, alive, body, hang_names, login, reset, run_git, run_program, status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.anyio

_OFTEN = 40
"""Faults enough for every attempt of a check and of a run after it."""
_SETPRIV = shutil.which("setpriv") or "setpriv"
_WITHOUT_CAPABILITIES = [_SETPRIV, "--bounding-set=-all"] if os.geteuid() == 0 else []
"""Root itself is then refused what a mode forbids."""


def _checking(command: list[str]) -> list[str]:
    return ["check" if word == "init" else word for word in command]


async def _check(stage: Stage, *arguments: str, **environment: str) -> Ended:
    return await run_program(_checking(stage.command(*arguments)), **environment)


def _lines(ended: Ended) -> dict[str, str]:
    """What was found, by what was looked at: the mark and the text."""
    lines = [line for line in ended.stdout.splitlines() if not line[9:].startswith("setting ")]
    return {line[9:21].strip(): f"{line[:8].strip()}: {line[22:]}" for line in lines}


def _snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a directory: a file that was made and removed shows in its directory's time."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (root, *root.rglob("*")):
        facts = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = (facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, content)
    return found


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


async def test_everything_is_well(stage: Stage) -> None:
    """Each thing is looked at, in a fixed order, and the exit code is 0."""
    stage.content.token = "s3cret-token"
    ended = await _check(stage, KERUTA_API_TOKEN="s3cret-token")

    assert (ended.code, ended.stderr) == (0, "")
    lines = _lines(ended)
    assert list(lines) == [
        *("proxy", "git-lfs", "last words", "git cache", "work dir", "lock", "keruta dir", "dns", "connection", "tls"),
        *("repository", "git", "git server", "ref", "clone", "document 1", "script", "token", "space"),
    ]
    assert {line.partition(":")[0] for line in lines.values()} == {"ok", "skipped"}
    assert lines["ref"] == f"ok: main, the default, is {stage.commit[:12]}"
    assert lines["document 1"] == "ok: 'task-1' is there, 11 B"
    assert lines["script"] == f"ok: is there, {len(SCRIPT)} B, for /bin/sh"
    assert lines["token"] == "ok: *** was not refused"


@pytest.mark.parametrize("state", ["absent", "empty", "clone", "changed", "failing", "bad settings"])
async def test_nothing_is_written(stage: Stage, state: str) -> None:
    """The work directory, its parent, HOME, TMPDIR and the termination log are as they were."""
    (stage.root / "tmp").mkdir()
    (stage.root / "last-words").write_text("the pod's\n")
    if state == "empty":
        stage.work.mkdir()
    elif state != "absent":
        assert (await run_program(stage.command())).code == 0
    if state == "changed":
        os.utime(stage.work / "README.md", (1, 1))  # git status would note that it is unchanged
        stage.work.joinpath("run.sh").write_text("#!/bin/sh\necho mine\n")
    if state == "failing":
        stage.api.on("/content", *[status(404)] * _OFTEN)
    before = _snapshot(stage.root)
    ended = await _check(
        stage,
        *(["--retries", "many"] if state == "bad settings" else []),
        TMPDIR=str(stage.root / "tmp"),
        KERUTA_TERMINATION_LOG=str(stage.root / "last-words"),
        PYTHONDONTWRITEBYTECODE="1",
    )

    assert ended.code == {"failing": 66, "bad settings": 78}.get(state, 0), ended.stdout
    assert _snapshot(stage.root) == before


Arrange = Callable[[Stage], "list[str] | Awaitable[list[str]]"]


def _api_says(path_part: str, code: int) -> Arrange:
    def arrange(stage: Stage) -> list[str]:
        stage.api.on(path_part, *[status(code)] * _OFTEN)
        return []

    return arrange


def _api_gives(path_part: str, content: bytes, content_type: str = "text/plain") -> Arrange:
    def arrange(stage: Stage) -> list[str]:
        stage.api.on(path_part, *[body(content, content_type)] * _OFTEN)
        return []

    return arrange


def _git_says(code: int) -> Arrange:
    def arrange(stage: Stage) -> list[str]:
        stage.git.on("/info/refs", *[status(code)] * _OFTEN)
        return []

    return arrange


def _with(*arguments: str) -> Arrange:
    return lambda _stage: list(arguments)


def _empty_repository(stage: Stage) -> list[str]:
    subprocess.run(["git", "init", "-q", "--bare", str(stage.repository.with_name("empty.git"))], check=True)
    return ["--repository-url", f"{stage.git_url}/empty.git"]


def _file_for_work_dir(stage: Stage) -> list[str]:
    stage.work.write_text("mine\n")
    return []


def _file_above_work_dir(stage: Stage) -> list[str]:
    (stage.root / "file").write_text("mine\n")
    return ["--work-dir", str(stage.root / "file" / "work")]


def _symlink_for_keruta(stage: Stage) -> list[str]:
    stage.work.mkdir()
    (stage.work / ".keruta").symlink_to(stage.root)
    return []


def _directory_for_a_file(stage: Stage) -> list[str]:
    stage.keruta("prep.log").mkdir(parents=True)
    return []


def _unwritable_work_dir(stage: Stage) -> list[str]:
    stage.work.mkdir(mode=0o555)
    return []


def _unwritable_parent(stage: Stage) -> list[str]:
    (stage.root / "shut").mkdir(mode=0o555)
    return ["--work-dir", str(stage.root / "shut" / "work")]


def _no_clone(stage: Stage) -> list[str]:
    (stage.work / ".git").mkdir(parents=True)
    return []


def _another_clone(stage: Stage) -> list[str]:
    make_repository(stage.root / "other.git", {"other": "other\n"})
    run_git(stage.root, "clone", "-q", str(stage.root / "other.git"), str(stage.work))
    return []


def _unusable_clone(stage: Stage) -> list[str]:
    stage.work.mkdir()
    run_git(stage.work, "init", "-q")
    run_git(stage.work, "remote", "add", "origin", stage.repository_url)
    (stage.work / ".git" / "index").write_bytes(b"no index")
    return []


async def _a_clone_that_must_not_be(stage: Stage) -> list[str]:
    assert (await run_program(stage.command())).code == 0
    return ["--on-existing", "fail"]


def _no_git(stage: Stage) -> list[str]:
    (stage.root / "bin").mkdir()
    return [f"PATH={stage.root / 'bin'}"]


def _no_lfs(stage: Stage) -> list[str]:
    return [*_no_git(stage), "--lfs"]


def _empty_token_file(stage: Stage) -> list[str]:
    (stage.root / "token").touch()
    return [f"KERUTA_API_TOKEN_FILE={stage.root / 'token'}"]


def _login_asked(stage: Stage) -> list[str]:
    stage.git.on("/", *[login("deploy", "right")] * _OFTEN)
    return ["KERUTA_GIT_TOKEN=wrong-token"]


def _cut(stage: Stage) -> list[str]:
    stage.api.on("/script", *[reset] * _OFTEN)
    return []


def _several(stage: Stage) -> list[str]:
    stage.api.on("/api/v1/repositories/shop/script", *[status(503)] * _OFTEN)
    stage.api.on("/content", *[status(404)] * _OFTEN)
    return ["--retries", "5"]  # the run would else end with whichever comes first


_FAILURES: dict[str, tuple[Arrange, int]] = {
    "no document": (_api_says("/content", 404), 66),
    "document busy": (_api_says("/content", 503), 75),
    "document refused": (_api_says("/content", 403), 77),
    "document asked wrongly": (_api_says("/content", 400), 76),
    "script refused": (_api_says("/script", 401), 77),
    "script is a page": (_api_gives("/script", b"<!doctype html><p>Log in", "text/html"), 76),
    "script without interpreter": (_api_gives("/script", b"#!/nowhere/sh\n"), 1),
    "script of another digest": (_with("--script-sha256", "0" * 64), 76),
    "connection cut": (_cut, 75),
    "no repository": (_api_says("/repositories/shop", 404), 66),
    "lookup is no JSON": (_api_gives("/repositories/shop", b"<html>"), 76),
    "lookup names a file": (_api_gives("/repositories/shop", b'{"url": "file:///etc"}'), 76),
    "no repository on the server": (_git_says(404), 66),
    "git server broken": (_git_says(500), 75),
    "git refused": (_git_says(403), 77),
    "git login refused": (_login_asked, 77),
    "no ref": (_with("--ref", "nowhere"), 66),
    "empty repository": (_empty_repository, 66),
    "no API": (_with("--api-url", "http://127.0.0.1:9"), 75),
    "no host": (_with("--api-url", "http://keruta-api.invalid"), 75),
    "no git server": (_with("--repository-url", "http://127.0.0.1:9/shop.git"), 75),
    "file for work dir": (_file_for_work_dir, 74),
    "file above work dir": (_file_above_work_dir, 74),
    "symlink for .keruta": (_symlink_for_keruta, 74),
    "directory for a file": (_directory_for_a_file, 74),
    "unwritable work dir": (_unwritable_work_dir, 74),
    "unwritable parent": (_unwritable_parent, 74),
    "no clone": (_no_clone, 74),
    "another clone": (_another_clone, 74),
    "unusable clone": (_unusable_clone, 74),
    "a clone that must not be": (_a_clone_that_must_not_be, 74),
    "no git": (_no_git, 78),
    "no git-lfs": (_no_lfs, 78),
    "bad setting": (_with("--depth", "deep"), 78),
    "empty token file": (_empty_token_file, 77),
    "several": (_several, 66),
}


@pytest.mark.parametrize(("arrange", "code"), _FAILURES.values(), ids=_FAILURES)
async def test_the_exit_code_is_that_of_init(stage: Stage, arrange: Arrange, code: int) -> None:
    """A check ends with the code of a run that meets the same, says why on the last line, and marks what failed."""
    arranged = arrange(stage)
    words = arranged if isinstance(arranged, list) else await arranged
    environment = dict(word.split("=", 1) for word in words if word.startswith(("PATH=", "KERUTA_")))
    arguments = [word for word in words if word.partition("=")[0] not in environment]
    command = stage.command("--retries", "0", *arguments)
    checked = await run_program([*_WITHOUT_CAPABILITIES, *_checking(command)], **environment)
    ran = await run_program([*_WITHOUT_CAPABILITIES, *command], **environment)

    assert (checked.code, ran.code) == (code, code), checked.stdout + checked.stderr + ran.stderr
    assert checked.last_line.startswith(("kerutaprep: failed: ", "kerutaprep: --depth"))
    assert any(line.startswith("failed ") for line in checked.stdout.splitlines())
    assert "skipped" in checked.stdout or code == 78


async def test_one_failure_stops_no_other_look(stage: Stage) -> None:
    """Everything that fails is told at once, and named on the last line; the permanent one decides."""
    stage.api.on("/content", status(404, body=b'{"error": {"code": "GONE", "message": "removed"}}'))
    stage.api.on("/script", status(503))
    ended = await _check(stage, "--ref", "nowhere")

    lines = _lines(ended)
    assert [name for name, line in lines.items() if line.startswith("failed")] == ["ref", "document 1", "script"]
    assert "(GONE: removed)" in lines["document 1"]
    assert lines["script"].endswith("this was one attempt; init would make up to 6")
    assert lines["token"].startswith("skipped")
    assert ended.code == 66
    assert all(part in ended.last_line for part in ("ref: the ref 'nowhere'", "document 1: ", "script: "))
    assert len(stage.api.to("/script")) == 1


async def test_what_needs_a_failed_look_is_skipped(stage: Stage) -> None:
    """Without the API its answers are not looked at; git and the volume still are."""
    ended = await _check(stage, "--api-url", "http://127.0.0.1:9", "--repository-url", stage.repository_url)
    lines = _lines(ended)
    assert lines["connection"].startswith("failed: can't connect to 127.0.0.1:9: Connection refused")
    for what in ("document 1", "script", "token"):
        assert lines[what] == "skipped: not looked at, since it needs connection"
    assert lines["ref"].startswith("ok")
    assert lines["space"].startswith("ok")


async def test_secrets_are_masked(stage: Stage) -> None:
    """Tokens, passwords and the user info of URLs and proxies are shown as three stars, in every line."""
    stage.api.on("/content", status(400, body=b'{"error": {"code": "ECHO", "message": "you sent s3cret-api-token"}}'))
    host = stage.git_url.removeprefix("http://")
    ended = await _check(
        stage,
        *("--repository-url", f"http://deploy:s3cret-url-token@{host}/shop.git", "--log-level", "DEBUG"),
        KERUTA_API_TOKEN="s3cret-api-token",
        KERUTA_GIT_TOKEN="s3cret-git-token",
        HTTPS_PROXY="http://me:s3cret-proxy-word@proxy.invalid:3128",
        NO_PROXY="127.0.0.1",
    )
    assert ended.code == 76
    assert "s3cret" not in ended.stdout + ended.stderr
    assert "KERUTA_API_TOKEN: ***\n" in ended.stdout
    assert f"--repository-url: {stage.repository_url}\n" in ended.stdout
    assert "HTTPS_PROXY: http://***@proxy.invalid:3128 (not for the API)\n" in ended.stdout
    assert "you sent ***" in ended.last_line


@pytest.mark.parametrize("path_part", ["/content", "/info/refs"])
async def test_a_hung_server_ends_by_time_out(stage: Stage, path_part: str) -> None:
    """A server that accepts and never answers is a temporary failure after the read time-out."""
    gate = Gate()
    (stage.git if path_part == "/info/refs" else stage.api).on(path_part, gate)
    try:
        with anyio.fail_after(60):
            ended = await _check(stage, "--read-timeout", "1")
    finally:
        gate.opened.set()
    assert ended.code == 75, ended.stdout
    assert "init would make up to 6" in ended.stdout


async def test_the_deadline_holds_for_the_whole_check(stage: Stage) -> None:
    """What is not known by the deadline has failed as temporary; what is known is told."""
    gate = Gate()
    stage.api.on("/script", gate)
    try:
        ended = await _check(stage, "--deadline", "3")
    finally:
        gate.opened.set()
    lines = _lines(ended)
    assert ended.code == 75
    assert lines["document 1"].startswith("ok")
    assert lines["script"] == lines["token"] == "failed: not known by the deadline of 3 s"


async def test_another_runs_lock_is_told(stage: Stage) -> None:
    """A run would wait for another: no failure without a deadline; one that a retry may mend with it."""
    stage.work.mkdir()
    with _held(stage.work):
        waiting = await _check(stage)
        giving_up = await _check(stage, "--deadline", "30")
    assert waiting.code == 0
    assert _lines(waiting)["lock"].startswith("warning: another run holds")
    assert giving_up.code == 75
    assert _lines(giving_up)["lock"].startswith("failed: another run holds")
    assert _lines(await _check(stage))["lock"] == "ok: no other run holds the work directory"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_signal_ends_it_at_once(stage: Stage, number: signal.Signals, code: int) -> None:
    """The exit code names the signal, and git and its helpers are gone."""
    gate = Gate()
    stage.git.on("/info/refs", gate)
    try:
        command = _checking(stage.command())
        async with await anyio.open_process(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as program:
            await gate.arrived.wait()
            children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
            program.send_signal(number)
            assert program.stderr is not None
            stderr = b"".join([chunk async for chunk in program.stderr]).decode()
            assert await program.wait() == code
    finally:
        gate.opened.set()
    assert children
    assert not any(alive(int(pid)) for pid in children)
    assert stderr == f"kerutaprep: stopped by {number.name}; nothing was written\n"


@pytest.mark.parametrize("end", ["signal", "time-out", "deadline"])
async def test_a_resolver_that_hangs_is_not_waited_for(stage: Stage, end: str) -> None:
    """A name look-up that takes minutes holds up neither a signal nor a time-out."""
    marker, environment = hang_names(stage.root)
    arguments = {"signal": [], "time-out": ["--connect-timeout", "0.5"], "deadline": ["--deadline", "2"]}[end]
    command = _checking(stage.command("--repository-url", stage.repository_url, *arguments))
    with anyio.fail_after(60):
        async with await anyio.open_process(command, stdout=subprocess.DEVNULL, env=environment) as program:
            while not marker.exists():
                await anyio.sleep(0.01)
            if end == "signal":
                program.send_signal(signal.SIGTERM)
            assert await program.wait() == (143 if end == "signal" else 75)


async def test_an_existing_clone_and_its_fate(stage: Stage) -> None:
    """What --on-existing would do with a clone is told before it is done."""
    assert (await run_program(stage.command())).code == 0
    assert _lines(await _check(stage))["clone"] == "ok: is there, with no work of its own, and would be updated"

    run_git(stage.work, "commit", "-q", "--allow-empty", "-m", "mine")
    assert _lines(await _check(stage))["clone"].startswith("warning: is there, and has 1 unpushed commits")
    (stage.work / "README.md").write_text("mine\n")
    assert "kept as it is: it has uncommitted changes" in _lines(await _check(stage))["clone"]
    (stage.work / ".git" / "MERGE_HEAD").write_text(f"{stage.commit}\n")
    assert "a merge, rebase or the like is under way" in _lines(await _check(stage))["clone"]
    reset_line = _lines(await _check(stage, "--on-existing", "reset"))["clone"]
    assert reset_line == "warning: is there, and has uncommitted changes, which --on-existing reset would overwrite"
    run_git(stage.work, "checkout", "-q", "--force", "HEAD")
    assert "exactly the ref" in _lines(await _check(stage, "--on-existing", "reset"))["clone"]


async def test_a_checkout_that_was_killed_is_told(stage: Stage) -> None:
    """That the next run finishes what an earlier one was stopped in is said, and nothing of it is done."""
    assert (await run_program(stage.command())).code == 0
    journal.begin(stage.work / ".git", journal.Entry(stage.commit, Target(stage.commit, "main", "main")))
    before = _snapshot(stage.work)
    ended = await _check(stage)
    assert ended.code == 0
    assert "a run was stopped in its checkout" in _lines(ended)["clone"]
    assert _snapshot(stage.work) == before


async def test_a_clones_configuration_is_not_obeyed(stage: Stage) -> None:
    """A command that somebody put into the clone's configuration is not run by a look at it."""
    assert (await run_program(stage.command())).code == 0
    run_git(stage.work, "config", "core.fsmonitor", f"touch {stage.root}/obeyed")
    run_git(stage.work, "config", "core.sshCommand", f"touch {stage.root}/obeyed")
    assert (await _check(stage)).code == 0
    assert not (stage.root / "obeyed").exists()


@pytest.mark.parametrize("arrange", [_no_clone, _another_clone, _unusable_clone])
async def test_reset_replaces_what_is_no_clone(stage: Stage, arrange: Arrange) -> None:
    """Under reset what would stop an update is told as replaced, and a run agrees."""
    arrange(stage)
    ended = await _check(stage, "--on-existing", "reset")
    assert ended.code == 0
    assert "would be replaced" in _lines(ended)["clone"]
    assert (await run_program(stage.command("--on-existing", "reset"))).code == 0


async def test_other_files_in_the_work_directory(stage: Stage) -> None:
    """That only a fetch tells whether they are in the way is said."""
    stage.work.mkdir()
    (stage.work / "README.md").write_text("mine\n")
    ended = await _check(stage)
    assert ended.code == 0
    assert "1 other entries are, such as 'README.md'" in _lines(ended)["clone"]


async def test_kinds_of_refs(stage: Stage) -> None:
    """Branches, tags and full names are found; of a commit id is said that only a fetch tells."""
    run_git(stage.repository, "tag", "v1", "main")
    elsewhere = stage.commit_files({"later": "later\n"}, branch="topic")
    assert _lines(await _check(stage, "--ref", "main"))["ref"].startswith("ok: refs/heads/main is ")
    assert _lines(await _check(stage, "--ref", "v1"))["ref"].startswith("ok: refs/tags/v1 is ")
    assert _lines(await _check(stage, "--ref", "refs/heads/topic"))["ref"].startswith("ok: refs/heads/topic is ")
    assert _lines(await _check(stage, "--ref", stage.commit))["ref"].endswith("is the default branch's commit")
    unknown = await _check(stage, "--ref", elsewhere)
    assert unknown.code == 0
    assert _lines(unknown)["ref"].endswith("is a commit id, and whether it is there only a fetch tells")


async def test_the_work_branch(stage: Stage) -> None:
    """Whether a work branch would be made or continued is told."""
    stage.commit_files({"later": "later\n"}, branch="task")
    assert _lines(await _check(stage, "--work-branch", "task"))["work branch"] == "ok: task is continued"
    assert _lines(await _check(stage, "--work-branch", "new"))["work branch"] == "ok: new would be created"


async def test_scripts_of_all_kinds(stage: Stage) -> None:
    """No script is fine, a digest is looked at, and what comes encoded is not guessed at."""
    digest = hashlib.sha256(SCRIPT).hexdigest()
    assert _lines(await _check(stage, "--script-sha256", digest))["digest"].startswith("ok")
    stage.api.on("/script", status(404), status(204), body(b" \n"), body(b"x", headers={"Content-Encoding": "gzip"}))
    for _ in range(3):
        ended = await _check(stage)
        assert (ended.code, _lines(ended)["script"]) == (0, "ok: none: nothing would be installed")
    assert _lines(await _check(stage))["script"].startswith("warning: it comes encoded")


async def test_documents_are_not_downloaded(stage: Stage) -> None:
    """Of each document only the head of the answer is read; more than the volume holds is a failure."""
    stage.content.documents["empty"] = b""
    size = 2**60

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(size)})
        await response.prepare(request)
        return response

    stage.api.on("/documents/big/content", endless)
    ended = await _check(stage, "--document-id", "big,empty")
    lines = _lines(ended)
    assert lines["document 2"] == "ok: 'big' is there, 1073741824.0 GiB"
    assert lines["document 3"] == "ok: 'empty' is there, 0 B"
    assert lines["space"].startswith("failed")
    assert ended.code == 74


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls(stage: Stage, trusted: bool) -> None:
    """The certificate is looked at by the authorities that a run would trust."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(stage.root / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with serve(api_application(stage.content, stage.api.middleware), tls=tls) as stage.api_url:
        environment = {"SSL_CERT_FILE": str(stage.root / "ca.pem")} if trusted else {}
        checked = await _check(stage, **environment)
        ran = await run_program(stage.command(), **environment)
    assert checked.code == ran.code == (0 if trusted else 76)
    expected = "ok: TLSv1.3, certificate valid until " if trusted else "failed: the certificate of 127.0.0.1:"
    assert _lines(checked)["tls"].startswith(expected)


async def test_no_tls_where_tls_is_asked_for(stage: Stage) -> None:
    """A server that speaks plain HTTP to https is temporary, as for a run."""
    stage.api_url = stage.api_url.replace("http:", "https:")
    checked = await _check(stage)
    assert checked.code == (await run_program(stage.command("--retries", "0"))).code == 75
    assert _lines(checked)["tls"].startswith("failed: no TLS with ")


async def test_certificates_that_are_not_there(stage: Stage) -> None:
    """A certificate file that can't be read is named."""
    ended = await _check(stage, "--api-url", "https://127.0.0.1:9", SSL_CERT_FILE="/nowhere/ca.pem")
    assert ended.code == 78
    assert "SSL_CERT_FILE" in ended.last_line


async def test_through_a_proxy(stage: Stage) -> None:
    """Where a proxy is in force it is the proxy that is looked up and connected to."""
    ended = await _check(
        stage, "--api-url", "http://keruta-api.invalid", HTTP_PROXY=stage.api_url, NO_PROXY="127.0.0.1"
    )
    lines = _lines(ended)
    assert ended.code == 0, ended.stdout
    assert lines["dns"] == "ok: 127.0.0.1 (the proxy) is 127.0.0.1"
    assert "the API is asked through one" in ended.stdout


async def test_without_a_terminal_log_or_cache_that_can_be_written(stage: Stage) -> None:
    """What a run does without is a warning."""
    (stage.root / "file").touch(mode=0o444)
    command = _checking(stage.command("--git-cache-dir", str(stage.root / "file" / "cache")))
    ended = await run_program([*_WITHOUT_CAPABILITIES, *command], KERUTA_TERMINATION_LOG=str(stage.root / "file"))
    assert ended.code == 0
    assert _lines(ended)["git cache"].startswith("warning")
    assert _lines(ended)["last words"].startswith("warning")


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="needs git-lfs (Debian: git-lfs)")
async def test_lfs_and_submodules(stage: Stage) -> None:
    """What only the clone tells is said to be so; a clone that could lead git-lfs away is refused as in a run."""
    arguments = ("--lfs", "--submodules", "yes")
    lines = _lines(await _check(stage, *arguments))
    assert lines["git-lfs"].startswith("ok")
    assert lines["submodules"].startswith("skipped")
    assert (await run_program(stage.command())).code == 0
    run_git(stage.work, "config", "http.proxy", "http://127.0.0.1:9")
    assert (await _check(stage, *arguments)).code == (await run_program(stage.command(*arguments))).code == 74


@pytest.mark.parametrize("plain", [True, False])
async def test_colours_are_for_terminals(stage: Stage, plain: bool) -> None:
    """A terminal gets coloured marks, unless NO_COLOR is set."""
    ours, theirs = os.openpty()
    environment = {**os.environ, **({"NO_COLOR": "1"} if plain else {})}
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        await anyio.run_process(_checking(stage.command()), stdout=theirs, env=environment)
        text = terminal.read(64 * 1024).decode()
        os.close(theirs)
    assert text.startswith("ok       setting" if plain else "\x1b[32mok      \x1b[0m setting")


async def test_findings_are_told_in_order() -> None:
    """A look that ends early is told after those before it; independent ones run side by side."""
    second_done = anyio.Event()
    told: list[str] = []

    async def first() -> Sequence[Finding]:
        await second_done.wait()
        return ok("first", "")

    async def second() -> Sequence[Finding]:
        second_done.set()
        return ok("second", "")

    looks = [Look(name="first", run=first), Look(name="second", run=second)]
    await look_at_all(looks, deadline=None, retries=0, tell=lambda found: told.extend(entry.what for entry in found))
    assert told == ["first", "second"]


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([], None),
        ([TransportError("a"), TransportError("b")], "a"),
        ([TransportError("a"), NotFoundError("b"), CredentialsError("c")], "b"),
    ],
)
def test_the_first_that_a_retry_does_not_mend_decides(errors: list[PrepError], expected: str | None) -> None:
    """As in a run; and it carries them all."""
    decisive = decisive_error([finding for error in errors for finding in failed("x", error, 0)])
    assert (str(decisive) if decisive else None) == expected
    assert decisive is None or decisive.errors == tuple(errors)


def test_a_finding_is_one_printable_line() -> None:
    """Line ends, escapes and what is no text can't garble a terminal."""
    line = Finding("ok", "ref", "a\nb \x1b[31m \udcff").line(colour=False)
    assert line == "ok       ref          a b ?[31m ?"
