"""Clones over ssh, by a real sshd on loopback."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from kerutaprep import CredentialsError, prepare
from tests.fakes import run_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes import Stage

_SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
pytestmark = [pytest.mark.anyio, pytest.mark.skipif(_SSHD is None, reason="needs sshd (Debian: openssh-server)")]


@dataclass
class _Server:
    port: int
    known_hosts: Path
    key: Path
    stranger: Path


def _make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def sshd(place: Path) -> AsyncIterator[_Server]:
    """Run an sshd on loopback that lets one key in and logs the test's own user in."""
    place.mkdir(mode=0o700)
    host, key, stranger = (_make_key(place / name) for name in ("host", "key", "stranger"))
    (place / "authorized").write_text(Path(f"{key}.pub").read_text())
    port = _free_port()
    options = {
        "ListenAddress": "127.0.0.1",
        "Port": port,
        "HostKey": host,
        "AuthorizedKeysFile": place / "authorized",
        "PidFile": place / "pid",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
    }
    (place / "config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd confines itself before the login
    known_hosts = place / "known hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {Path(f'{host}.pub').read_text()}")
    assert _SSHD is not None
    command = [_SSHD, "-D", "-e", "-f", str(place / "config")]
    async with await anyio.open_process(command, stderr=subprocess.PIPE) as daemon:
        assert daemon.stderr is not None
        said = b""
        while b"Server listening" not in said:
            said += await daemon.stderr.receive()
        try:
            yield _Server(port, known_hosts, key, stranger)
        finally:
            daemon.terminate()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[_Server]:
    """An sshd that lets one key in."""
    async with sshd(tmp_path / "ssh") as running:
        yield running


def _url(stage: Stage, server: _Server) -> str:
    return f"ssh://{getpass.getuser()}@127.0.0.1:{server.port}{stage.repository}"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o440])
async def test_a_key_of_any_mode_opens_the_repository(stage: Stage, server: _Server, mode: int) -> None:
    """A key file that ssh itself would refuse works, and no copy of it is left."""
    server.key.chmod(mode)
    settings = stage.settings(
        repository_url=_url(stage, server), ssh_key_file=server.key, ssh_known_hosts_file=server.known_hosts
    )
    result = await prepare(settings)

    assert result.commit == stage.commit
    secret = server.key.read_bytes().splitlines()[1]
    assert not [path for path in stage.work.rglob("*") if path.is_file() and secret in path.read_bytes()]


async def test_a_key_without_a_line_end_works(stage: Stage, server: _Server) -> None:
    """A key that lost its last line end on its way through a secret is mended."""
    server.key.write_bytes(server.key.read_bytes().rstrip(b"\n"))
    settings = stage.settings(
        repository_url=_url(stage, server), ssh_key_file=server.key, ssh_known_hosts_file=server.known_hosts
    )
    assert (await prepare(settings)).commit == stage.commit


async def test_a_wrong_key_is_refused_at_once(stage: Stage, server: _Server) -> None:
    """A key that the server does not know is exit 77, without a retry or a prompt."""
    settings = stage.settings(
        repository_url=_url(stage, server), ssh_key_file=server.stranger, ssh_known_hosts_file=server.known_hosts
    )
    with pytest.raises(CredentialsError, match="ssh key"):
        await prepare(settings)


async def test_an_unknown_host_is_refused_with_the_way_out(stage: Stage, server: _Server) -> None:
    """Without known hosts the error says how to get them."""
    settings = stage.settings(repository_url=_url(stage, server), ssh_key_file=server.key)
    with pytest.raises(CredentialsError, match=r"ssh-keyscan.*--ssh-known-hosts-file"):
        await prepare(settings)


async def test_a_changed_host_is_refused(stage: Stage, server: _Server) -> None:
    """A host whose key is another than the known one is not talked to."""
    other = Path(f"{server.stranger}.pub").read_text()
    server.known_hosts.write_text(f"[127.0.0.1]:{server.port} {other}")
    settings = stage.settings(
        repository_url=_url(stage, server), ssh_key_file=server.key, ssh_known_hosts_file=server.known_hosts
    )
    with pytest.raises(CredentialsError, match="host key"):
        await prepare(settings)


async def test_a_check_logs_in_and_writes_nothing(stage: Stage, server: _Server) -> None:
    """A check finds the ref over ssh with the key, and leaves neither known hosts nor anything else behind."""
    settings = ["--repository-url", _url(stage, server), "--ssh-known-hosts-file", str(server.known_hosts)]
    command = [word if word != "init" else "check" for word in stage.command(*settings)]
    let_in = await run_program([*command, "--ssh-key-file", str(server.key)])
    refused = await run_program([*command, "--ssh-key-file", str(server.stranger)])
    assert let_in.code == 0, let_in.stdout
    assert f"main, the default, is {stage.commit[:12]}" in let_in.stdout
    assert refused.code == 77
    assert sorted(path.name for path in stage.root.iterdir()) == ["served", "ssh"]
