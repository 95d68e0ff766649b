"""The install script: what is run, how, and what is left of it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from kerutaprep import ProtocolError, ScriptError, ScriptTimeoutError, prepare
from kerutaprep.install import with_safe_directory
from tests.fakes import alive, body

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes import Stage

pytestmark = pytest.mark.anyio


async def test_windows_line_ends_become_unix_ones(stage: Stage) -> None:
    """A script with CRLF line ends and a byte order mark runs."""
    stage.content.scripts["shop"] = b"\xef\xbb\xbf#!/bin/sh\r\nset -e\r\necho ok > ok\r\n"
    await prepare(stage.settings())

    assert (stage.work / "ok").read_text() == "ok\n"
    assert stage.keruta("install.sh").read_bytes() == b"#!/bin/sh\nset -e\necho ok > ok\n"


async def test_a_script_without_interpreter_is_run_by_sh(stage: Stage) -> None:
    """No #! line means /bin/sh."""
    stage.content.scripts["shop"] = b"echo ok > ok\n"
    await prepare(stage.settings())
    assert (stage.work / "ok").exists()


async def test_the_interpreter_gets_its_argument(stage: Stage) -> None:
    """The #! line's rest is one argument, as the kernel has it."""
    stage.content.scripts["shop"] = b"#!/bin/sh -e\nfalse\ntouch never\n"
    with pytest.raises(ScriptError):
        await prepare(stage.settings())
    assert not (stage.work / "never").exists()


async def test_a_missing_interpreter_is_named(stage: Stage) -> None:
    """An interpreter that is not there is the script's failure, named."""
    stage.content.scripts["shop"] = b"#!/no/such/interpreter\n"
    with pytest.raises(ScriptError, match="/no/such/interpreter") as caught:
        await prepare(stage.settings())
    assert caught.value.status == 127


async def test_the_environment_is_passed_on_as_it_is(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script sees the caller's environment, tokens included, and the work directory as its cwd."""
    monkeypatch.setenv("KERUTA_TASK_ID", "task-7")
    monkeypatch.setenv("KERUTA_API_TOKEN", "s3cret")
    stage.content.scripts["shop"] = b'#!/bin/sh\necho "$KERUTA_TASK_ID $KERUTA_API_TOKEN $PWD" > seen\n'
    await prepare(stage.settings())
    assert (stage.work / "seen").read_text() == f"task-7 s3cret {stage.work}\n"


async def test_the_right_digest_is_required(stage: Stage) -> None:
    """With --script-sha256 only the script of that digest is run."""
    script = b"#!/bin/sh\ntouch ran\n"
    stage.content.scripts["shop"] = script
    with pytest.raises(ProtocolError, match="SHA-256"):
        await prepare(stage.settings(script_sha256="0" * 64))
    assert not (stage.work / "ran").exists()
    assert not stage.keruta("install.sh").exists()

    await prepare(stage.settings(script_sha256=hashlib.sha256(script).hexdigest()))
    assert (stage.work / "ran").exists()


async def test_html_is_never_run(stage: Stage) -> None:
    """A page answered as HTML is refused even if it does not look like one."""
    stage.api.on("/script", body(b"touch ran; please log in", "text/html"))
    with pytest.raises(ProtocolError, match="HTML"):
        await prepare(stage.settings())
    assert not (stage.work / "ran").exists()


async def test_a_script_that_runs_too_long_is_stopped(stage: Stage) -> None:
    """After the time-out script and child are gone."""
    stage.content.scripts["shop"] = b"#!/bin/sh\nsleep 600 &\necho $! > child\nwait\n"
    with pytest.raises(ScriptTimeoutError, match=r"0\.5 s"):
        await prepare(stage.settings(script_timeout=0.5))
    assert not alive(int((stage.work / "child").read_text()))


async def test_what_a_script_leaves_running_is_stopped(stage: Stage) -> None:
    """A background process that holds the output neither delays nor survives the run."""
    stage.content.scripts["shop"] = b"#!/bin/sh\nsleep 600 &\necho $! > child\n"
    await prepare(stage.settings())
    assert not alive(int((stage.work / "child").read_text()))


def test_safe_directory_is_added_to_what_is_there(tmp_path: Path) -> None:
    """On another user's volume git trusts the work directory, and keeps what the environment configured."""
    before = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "a.b", "GIT_CONFIG_VALUE_0": "c", "PATH": "/bin"}
    after = with_safe_directory(before, tmp_path)
    assert after == {
        **before,
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_1": "safe.directory",
        "GIT_CONFIG_VALUE_1": str(tmp_path),
    }
