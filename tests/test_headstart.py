"""What is under way before the program is loaded: how early, how often, and what is left where it was for nothing."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from kerutaprep import PrepSettings
from kerutaprep.api.first_request import SentConnection
from kerutaprep.api.request import is_sent_as_written
from kerutaprep.headstart import Checked, HeadStart
from kerutaprep.options import OPTIONS, check_all
from tests.fakes import DOCUMENT, FILES, Fault, Gate, Stage, alive, login, reset, run_program, status

pytestmark = pytest.mark.anyio

_TELLS_WHAT_IS_LOADED = """\
import sys

def note(event, arguments):
    if event == "os.posix_spawn":
        with open({noted!r}, "a") as file:
            print(*sys.modules, file=file)

sys.addaudithook(note)
from kerutaprep.__main__ import main
main()
"""
_COUNTS = """\
#!/bin/sh
echo "$@" >> {calls}
exec {git} "$@"
"""


def _url_given(stage: Stage, *arguments: str) -> list[str]:
    return stage.command("--repository-url", stage.repository_url, *arguments)


def _snapshot(place: Path) -> list[tuple[str, int, int, int]]:
    """Everything below a directory, with its kind, size and times."""
    paths = [place, *sorted(place.rglob("*"))]
    facts = [(path, path.lstat()) for path in paths]
    return [(str(path), found.st_mode, found.st_size, found.st_mtime_ns) for path, found in facts]


def _checked(stage: Stage, **changes: object) -> Checked:
    given = {
        "repository_id": "shop",
        "document_ids": "task-1",
        "api_url": stage.api_url,
        "work_dir": str(stage.work),
        "repository_url": stage.repository_url,
        **changes,
    }
    environment = dict(os.environ)
    values = check_all(given, environment)
    assert values is not None
    return Checked(values, environment)


def _count_git(stage: Stage) -> tuple[Path, str]:
    """Put a git on a PATH that notes how it is called."""
    git = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip() + "/git"
    spy, calls = stage.root / "bin" / "git", stage.root / "calls"
    spy.parent.mkdir()
    spy.write_text(_COUNTS.format(calls=calls, git=git))
    spy.chmod(0o755)
    return calls, f"{spy.parent}:/usr/local/bin:/usr/bin:/bin"


async def test_git_starts_before_anything_heavy_is_loaded(stage: Stage) -> None:
    """When git is started none of the libraries is loaded, nor what of the standard library takes long."""
    noted = stage.root / "modules"
    program = [sys.executable, "-c", _TELLS_WHAT_IS_LOADED.format(noted=str(noted))]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    result = await anyio.run_process([*program, *_url_given(stage)[3:]], check=False, env=clean)

    assert result.returncode == 0, result.stderr.decode()
    loaded = set(noted.read_text().splitlines()[0].split())
    assert "kerutaprep.headstart" in loaded
    heavy = {"pydantic", "pydantic_settings", "anyio", "aiohttp", "tenacity", "aiofiles", "yarl"}
    slow = {"asyncio", "ssl", "logging", "json", "typing", "dataclasses", "inspect", "subprocess", "pathlib", "socket"}
    later = {
        f"kerutaprep.{name}" for name in ("settings", "process", "api.client", "preparation", "supervision", "report")
    }
    assert loaded & (heavy | slow | later) == set()


@pytest.mark.parametrize("given", [True, False], ids=["given", "looked-up"])
async def test_every_request_is_made_once(stage: Stage, given: bool) -> None:
    """What was sent early is not sent again: each request comes once, with its own id, which the log has."""
    stage.content.token = "s3cret"
    command = _url_given(stage) if given else stage.command()
    ended = await run_program([*command, "--log-level", "DEBUG"], KERUTA_API_TOKEN="s3cret")

    assert ended.code == 0, ended.stderr
    paths = [request.path for request in stage.api.requests]
    assert sorted(paths) == sorted({*paths})
    assert len(paths) == (2 if given else 3)
    ids = [request.headers["X-Request-ID"] for request in stage.api.requests]
    assert len({*ids}) == len(ids)
    assert all(f"(request {request_id})" in ended.stderr for request_id in ids)
    for request in stage.api.requests:
        assert request.headers["Accept-Encoding"] == "identity"
        assert request.headers["User-Agent"].startswith("kerutaprep/")
        assert request.headers["Host"] == stage.api_url.removeprefix("http://")


@pytest.mark.parametrize(
    "arguments",
    [(), ("--depth", "0"), ("--ref", "main"), ("--group-write",), ("--work-branch", "task-7")],
    ids=lambda arguments: " ".join(arguments) or "plain",
)
async def test_git_fetches_once(stage: Stage, arguments: tuple[str, ...]) -> None:
    """The run takes the early fetch for its own, whatever it was to fetch."""
    calls, path = _count_git(stage)
    ended = await run_program(_url_given(stage, *arguments), PATH=path)

    assert ended.code == 0, ended.stderr
    assert sorted(_to_the_server(calls)) == ["fetch", *(["ls-remote"] if "--work-branch" in arguments else [])]
    assert stage.run_git("status", "--porcelain") == "?? installed\n"
    assert stage.run_git("rev-parse", "HEAD").strip() == stage.commit


async def test_a_big_number_of_documents(stage: Stage) -> None:
    """More documents than connections are each asked for once, too."""
    names = [f"doc-{number}" for number in range(40)]
    stage.content.documents |= {name: name.encode() for name in names}
    words = _url_given(stage, "--document-id", ",".join(names), "--max-connections", "4")
    ended = await run_program([word for word in words if word != "task-1"])
    assert ended.code == 78  # a flag without its value is no setting

    words = _url_given(stage, "--document-id", ",".join(names), "--max-connections", "4")
    ended = await run_program(words)
    assert ended.code == 0, ended.stderr
    assert sorted(request.path for request in stage.api.to("/content")) == sorted(
        f"/api/v1/documents/{name}/content" for name in ["task-1", *names]
    )
    assert all((stage.keruta("documents") / name).read_text() == name for name in names)


@pytest.mark.parametrize("part", ["/script", "/content", "git-upload-pack"])
@pytest.mark.parametrize("fault", [reset, status(503)], ids=["reset", "503"])
async def test_an_early_attempt_that_fails_is_the_first_of_several(stage: Stage, part: str, fault: Fault) -> None:
    """A request or fetch that failed is tried again, as any other."""
    for fakes in (stage.api, stage.git):
        fakes.on(part, fault)
    ended = await run_program(_url_given(stage, "--retries", "1"))
    assert ended.code == 0, ended.stderr
    assert "attempt 1 failed" in ended.stderr
    assert stage.keruta("README.md").read_bytes() == DOCUMENT


async def test_credentials_are_there_from_the_start(stage: Stage) -> None:
    """The early fetch and requests have the tokens, from files that rotate too, and nobody sees them."""
    stage.git.on("info/refs", *[login("x-access-token", "git-s3cret")] * 2)
    stage.content.token = "api-s3cret"
    (stage.root / "api-token").write_text("api-s3cret\n")
    (stage.root / "git-token").write_text("git-s3cret\n")
    ended = await run_program(
        _url_given(stage),
        KERUTA_API_TOKEN_FILE=str(stage.root / "api-token"),
        KERUTA_GIT_TOKEN_FILE=str(stage.root / "git-token"),
    )
    assert ended.code == 0, ended.stderr
    assert "s3cret" not in ended.stderr
    assert "s3cret" not in stage.keruta("prep.log").read_text()
    assert len(stage.api.requests) == 2


@pytest.mark.parametrize(
    "words",
    [("--depth", "-1"), ("--ref", "..x"), ("--nope", "x"), ("--script-timeout", "soon"), ("--document-id", "a\x07")],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("there", [True, False], ids=["there", "not there"])
async def test_bad_settings_start_nothing(stage: Stage, words: tuple[str, ...], there: bool) -> None:
    """With a wrong setting nobody is asked, and the work directory stays exactly as it was."""
    if there:
        stage.work.mkdir()
        (stage.work / "mine").write_text("mine\n")
    before = _snapshot(stage.root)
    ended = await run_program(_url_given(stage, *words))
    assert ended.code == 78
    assert _snapshot(stage.root) == before
    assert stage.api.requests == stage.git.requests == []


async def test_without_git_nothing_is_touched(stage: Stage) -> None:
    """A machine without git is told of before anything is made or asked."""
    ended = await run_program(_url_given(stage), PATH=str(stage.root))
    assert ended.code == 78
    assert "git can't be started" in ended.last_line
    assert not stage.work.exists()
    assert stage.api.requests == []


@pytest.mark.parametrize("there", [True, False], ids=["there", "not there"])
async def test_a_head_start_can_be_given_up(stage: Stage, there: bool) -> None:
    """What was begun for nothing is removed without a trace, the times of what was there before included."""
    if there:
        stage.work.mkdir()
        (stage.work / "mine").write_text("mine\n")
    before = _snapshot(stage.root)
    gate = Gate()
    stage.git.on("git-upload-pack", gate)
    head_start = HeadStart()
    try:
        await anyio.to_thread.run_sync(head_start.begin, _checked(stage))
        assert head_start.began
        await gate.arrived.wait()
        (pid,) = head_start.process_ids
        assert alive(pid)
        assert list(stage.work.glob(".keruta/.kerutaprep-part-*/clone/.git/config"))
    finally:
        await anyio.to_thread.run_sync(head_start.give_up)
        gate.opened.set()
    assert not alive(pid)
    assert _snapshot(stage.root) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_signal_while_git_works_and_the_program_loads(stage: Stage, number: signal.Signals, code: int) -> None:
    """A signal in the middle of the imports stops the early git, and leaves nothing."""
    slow = stage.root / "slow"
    slow.mkdir()
    (slow / "pydantic_settings.py").write_text("import time\ntime.sleep(600)\n")
    gate = Gate()
    stage.git.on("git-upload-pack", gate)
    environment = {**os.environ, "PYTHONPATH": str(slow)}
    async with await anyio.open_process(_url_given(stage), stderr=subprocess.PIPE, env=environment) as program:
        await gate.arrived.wait()
        (git,) = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        program.send_signal(number)
        assert await program.wait() == code
        assert program.stderr is not None
        assert f"stopped by {number.name}".encode() in await program.stderr.receive()
    gate.opened.set()
    assert not alive(int(git))
    assert not stage.work.exists()


@pytest.mark.parametrize("kind", ["link", "file"])
async def test_what_is_in_the_way_is_not_touched(stage: Stage, kind: str) -> None:
    """A .keruta that is no directory of the volume's own is 74, and nothing is written through it."""
    stage.work.mkdir()
    elsewhere = stage.root / "elsewhere"
    elsewhere.mkdir()
    keruta = stage.work / ".keruta"
    keruta.symlink_to(elsewhere) if kind == "link" else keruta.write_text("mine\n")
    ended = await run_program(_url_given(stage))
    assert ended.code == 74
    assert list(elsewhere.iterdir()) == []
    assert keruta.is_symlink() == (kind == "link")


def _to_the_server(calls: Path) -> list[str]:
    called = [call for call in calls.read_text().splitlines() if "config" not in call]
    return [word for call in called for word in ("fetch", "ls-remote") if f" {word} " in call]


@pytest.mark.parametrize("arguments", [(), ("--ref", "main"), ("--work-branch", "task-7")], ids=" ".join)
async def test_a_clone_whose_remote_has_not_moved(stage: Stage, arguments: tuple[str, ...]) -> None:
    """Of a clone that is there the remote is asked early, and where that has not moved nothing is fetched."""
    assert (await run_program(_url_given(stage, *arguments))).code == 0
    before = stage.run_git("for-each-ref") + stage.run_git("rev-parse", "HEAD")
    calls, path = _count_git(stage)
    ended = await run_program(_url_given(stage, *arguments), PATH=path)
    assert ended.code == 0, ended.stderr
    assert _to_the_server(calls) == ["ls-remote"]
    assert stage.run_git("for-each-ref") + stage.run_git("rev-parse", "HEAD") == before
    assert json.loads(stage.keruta("prep.json").read_text())["commit"] == stage.commit


@pytest.mark.parametrize("arguments", [(), ("--ref", "main"), ("--depth", "0")], ids=" ".join)
async def test_a_clone_whose_remote_has_moved(stage: Stage, arguments: tuple[str, ...]) -> None:
    """What is new is fetched, and checked out."""
    assert (await run_program(_url_given(stage, *arguments))).code == 0
    after = stage.commit_files({"new.txt": "new\n"})
    calls, path = _count_git(stage)
    ended = await run_program(_url_given(stage, *arguments), PATH=path)
    assert ended.code == 0, ended.stderr
    assert _to_the_server(calls) == ["ls-remote", "fetch"]
    assert stage.run_git("rev-parse", "HEAD").strip() == after
    assert (stage.work / "new.txt").read_text() == "new\n"


async def test_a_new_default_branch_is_followed(stage: Stage) -> None:
    """A default branch that changed its name is noticed, although its commit is the same."""
    assert (await run_program(_url_given(stage))).code == 0
    for words in (["branch", "trunk", "main"], ["symbolic-ref", "HEAD", "refs/heads/trunk"]):
        subprocess.run(["git", "-C", str(stage.repository), *words], check=True)
    assert (await run_program(_url_given(stage))).code == 0
    assert stage.run_git("rev-parse", "--abbrev-ref", "HEAD").strip() == "trunk"


@pytest.mark.parametrize("fault", [status(503), status(404)], ids=["503", "404"])
async def test_an_early_question_that_fails(stage: Stage, fault: Fault) -> None:
    """Where the early question fails, the fetch decides: it is tried again, or says why not."""
    assert (await run_program(_url_given(stage))).code == 0
    stage.git.on("info/refs", fault)
    assert (await run_program(_url_given(stage))).code == 0
    stage.git.on("info/refs", *[status(404)] * 4)
    assert (await run_program(_url_given(stage))).code == 66


async def test_another_clone_is_not_asked_for_long(stage: Stage) -> None:
    """Where another repository's clone is there, the early question ends with the run."""
    assert (await run_program(_url_given(stage))).code == 0
    stage.run_git("remote", "set-url", "origin", f"{stage.git_url}/other.git")
    gate = Gate()
    stage.git.on("info/refs", gate)
    ended = await run_program(_url_given(stage))
    gate.opened.set()
    assert ended.code == 74


async def test_a_run_that_fails_early_leaves_no_early_git(stage: Stage) -> None:
    """Where another step fails while the early fetch is still under way, that is stopped and its parts are gone."""
    gate = Gate()
    stage.git.on("git-upload-pack", gate)
    stage.api.on("/script", status(403))
    ended = await run_program(_url_given(stage))
    gate.opened.set()
    assert ended.code == 77
    assert not (stage.work / ".git").exists()
    assert not list(stage.keruta("").glob(".kerutaprep-part-*"))
    steps = {step["name"]: step["status"] for step in json.loads(stage.keruta("prep.json").read_text())["steps"]}
    assert steps["clone"] == "cancelled"


async def test_a_new_clone_is_as_git_makes_it(stage: Stage) -> None:
    """The git directory that was made without git has what git init gives one, for a group too."""
    for name, shared in (("plain", False), ("group", True)):
        words = [
            "git",
            "init",
            "--quiet",
            "--template=",
            *(["--shared=group"] if shared else []),
            str(stage.root / name),
        ]
        subprocess.run(words, check=True)
        ended = await run_program(
            _url_given(stage, *(["--group-write"] if shared else []), "--work-dir", f"{stage.work}-{name}")
        )
        assert ended.code == 0, ended.stderr
        made, ours = stage.root / name / ".git", Path(f"{stage.work}-{name}") / ".git"
        listing = ["git", "config", "--list", "--file"]
        expected = subprocess.run([*listing, str(made / "config")], capture_output=True, text=True, check=True).stdout
        found = subprocess.run([*listing, str(ours / "config")], capture_output=True, text=True, check=True).stdout
        assert {*expected.splitlines()} <= {*found.splitlines()}
        for directory in ("objects", "objects/pack", "refs", "refs/heads"):
            assert stat.S_IMODE((ours / directory).stat().st_mode) == stat.S_IMODE((made / directory).stat().st_mode)
        assert {path: (Path(f"{stage.work}-{name}") / path).read_text() for path in FILES} == FILES


def test_the_defaults_are_the_settings_own() -> None:
    """A default of the table of options is the one that PrepSettings has."""
    settings = PrepSettings(repository_id="r", document_ids=[], api_url="http://api")
    for option in OPTIONS:
        if option.field not in {"repository_id", "document_ids", "api_url"}:
            value = getattr(settings, option.field)
            assert (str(value) if isinstance(value, Path) else value) == option.default


def _pair() -> tuple[SentConnection, socket.socket]:
    ours, other = socket.socketpair()
    connection = SentConnection(fileno=ours.detach())
    other.settimeout(10)
    return connection, other


@pytest.mark.parametrize(
    "pieces", [[b"GET / HTTP/1.1\r\n\r\n"], [b"GET / ", b"HTTP/1.1\r\n\r\n"]], ids=["whole", "two"]
)
def test_what_was_sent_is_not_sent_again(pieces: list[bytes]) -> None:
    """The next user's first words, however they come, are those that went before; then it sends as any socket does."""
    connection, other = _pair()
    with connection, other:
        connection.send_early(b"GET / HTTP/1.1\r\n\r\n")
        connection.connect("nowhere")
        assert [connection.send(piece) for piece in pieces] == [len(piece) for piece in pieces]
        assert connection.sendmsg([b"mo", b"re"]) == 4
        connection.shutdown(socket.SHUT_WR)
        assert other.recv(100) + other.recv(100) == b"GET / HTTP/1.1\r\n\r\nmore"


def test_a_longer_first_word_is_sent_in_part() -> None:
    """Of words that begin with what was sent, the rest is left for the next call."""
    connection, other = _pair()
    with connection, other:
        connection.send_early(b"GET")
        assert connection.sendmsg([b"GET ", b"more"]) == 3
        assert connection.send(b" more") == 5
        connection.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: other.recv(100), b"")) == b"GET more"


def test_another_request_is_refused() -> None:
    """Nothing else can be asked on such a connection: its answer would be taken for another's."""
    connection, other = _pair()
    with connection, other:
        connection.send_early(b"GET /script")
        with pytest.raises(ConnectionAbortedError):
            connection.send(b"GET /content")


async def test_the_report_tells_when_the_work_began(stage: Stage) -> None:
    """A run and its early steps begin when they do, not when the program is loaded; nothing ends before it begins."""
    release = Gate()
    stage.api.on("/content", release)
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            assert (await run_program(_url_given(stage))).code == 0

        before = datetime.now(UTC)
        tasks.start_soon(run)
        await release.arrived.wait()
        arrived = datetime.now(UTC)
        release.opened.set()
    report = json.loads(stage.keruta("prep.json").read_text())
    started = datetime.fromisoformat(report["started_at"])
    assert before - timedelta(milliseconds=1) <= started <= arrived
    steps = {step["name"]: step for step in report["steps"]}
    for name in ("clone", "script", "documents"):
        assert started + timedelta(seconds=steps[name]["start"]) <= arrived + timedelta(milliseconds=2)
        assert steps[name]["start"] < steps["workspace"]["start"]
    assert steps["repository"]["end"] <= steps["clone"]["start"]
    assert steps["install"]["start"] >= max(steps[name]["end"] for name in ("clone", "script", "exclude"))
    assert all(0 <= step["start"] <= step["end"] <= report["seconds"] for step in report["steps"])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://api:8080/x", True),
        ("http://api", True),
        ("http://[::1]:8080", True),
        ("http://api:80", False),
        ("http://api:", False),
        ("http://api.svc.:8080", False),
        ("http://@api:8080", False),
        ("http://api:08080", False),
        ("https://api:443", False),
    ],
)
def test_a_host_that_a_client_writes_in_another_way(url: str, expected: bool) -> None:
    """Only a URL whose authority is sent as it stands is asked early: other words would not be the same request."""
    assert is_sent_as_written(url) is expected


_SLOW_IMPORT = "import time\ntime.sleep(600)\n"


async def test_a_run_that_waited_goes_on_where_the_first_removed_its_directory(stage: Stage) -> None:
    """The second run makes the directory again that the first, which had made it, took away when it was stopped."""
    slow = stage.root / "slow"
    slow.mkdir()
    (slow / "pydantic_settings.py").write_text(_SLOW_IMPORT)
    gate = Gate()
    stage.git.on("git-upload-pack", gate)
    environment = {**os.environ, "PYTHONPATH": str(slow)}
    async with await anyio.open_process(_url_given(stage), stderr=subprocess.DEVNULL, env=environment) as first:
        await gate.arrived.wait()
        async with await anyio.open_process(_url_given(stage), stderr=subprocess.PIPE) as second:
            assert second.stderr is not None
            said = b""
            while b"waiting for another run" not in said:
                said += await second.stderr.receive()
            first.send_signal(signal.SIGTERM)
            assert await first.wait() == 143
            gate.opened.set()
            said += b"".join([chunk async for chunk in second.stderr])
            assert await second.wait() == 0, said.decode()
    assert stage.keruta("README.md").read_bytes() == DOCUMENT


async def test_descendants_of_an_early_git_are_stopped_too(stage: Stage) -> None:
    """Two signals while the program loads: git that ignores them and what made a session of its own are gone."""
    slow, bin_ = stage.root / "slow", stage.root / "bin"
    for place in (slow, bin_):
        place.mkdir()
    (slow / "pydantic_settings.py").write_text(_SLOW_IMPORT)
    pids = stage.root / "pids"
    (bin_ / "git").write_text(
        f"#!/bin/sh\ntrap '' TERM\nsetsid sh -c 'echo $$ >> {pids}; exec sleep 600' &\n"
        f"echo $$ >> {pids}\nwhile :; do sleep 0.1; done\n"
    )
    (bin_ / "git").chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(slow), "PATH": f"{bin_}:{os.environ['PATH']}"}
    async with await anyio.open_process(_url_given(stage), stderr=subprocess.DEVNULL, env=environment) as program:
        while not pids.exists() or len(pids.read_text().splitlines()) < 2:
            await anyio.sleep(0.01)
        for number in (signal.SIGTERM, signal.SIGINT):
            program.send_signal(number)
        assert await program.wait() in {143, 130}
    assert not any(alive(int(pid)) for pid in pids.read_text().split())
    assert not stage.work.exists()


async def test_a_relative_repository_is_one_place(stage: Stage) -> None:
    """A path is taken from where the program is started, for an early fetch and for any later one."""
    command = stage.command("--repository-url", "./served/shop.git")
    for changed in (False, True):
        tip = stage.commit_files({"new.txt": "new\n"}) if changed else stage.commit
        result = await anyio.run_process(command, check=False, cwd=stage.root)
        assert result.returncode == 0, result.stderr.decode()
        assert stage.run_git("rev-parse", "HEAD").strip() == tip


async def test_a_deleted_current_directory(stage: Stage) -> None:
    """Where the program stands in a directory that is gone, nothing is started early, and the run works."""
    gone = stage.root / "gone"
    gone.mkdir()
    words = ["/bin/sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(gone), *_url_given(stage)]
    ended = await run_program(words)
    assert ended.code == 0, ended.stderr


async def test_a_git_directory_that_can_t_be_made_is_left_to_the_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk leaves no half-made git directory that a run would take for one with a fetch under way."""

    def full(path: str, *, shared: bool) -> None:
        Path(path).mkdir(parents=True)
        raise OSError(errno.ENOSPC, "No space left on device", path)

    monkeypatch.setattr("kerutaprep.headstart.make_git_dir", full)
    head_start = HeadStart()
    try:
        await anyio.to_thread.run_sync(head_start.begin, _checked(stage))
        assert head_start.claim is not None
        assert list(Path(head_start.claim.parts).iterdir()) == []
    finally:
        await anyio.to_thread.run_sync(head_start.give_up)
