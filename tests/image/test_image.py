"""What the image is, before anything runs in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kerutaprep._version import __version__
from tests.image.podman import IMAGE

if TYPE_CHECKING:
    from tests.image.podman import Podman

_LARGEST_ADDITION = 100_000_000
"""Bytes that the image may add to its base."""


def _inspect(podman: Podman, image: str) -> Any:
    return json.loads(podman.do("image", "inspect", image))[0]


def _sh(podman: Podman, script: str, *options: str) -> str:
    return podman.do("run", "--rm", "--entrypoint=sh", *options, IMAGE, "-ec", script)


def test_it_is_a_command_of_its_own_user_and_says_what_it_is(podman: Podman) -> None:
    """Without a word it runs ``keruta-agent init``, as a user that is not root, and its labels tell its version."""
    config = _inspect(podman, IMAGE)["Config"]
    assert (config["Entrypoint"], config["Cmd"]) == (["keruta-agent"], ["init"])
    assert (config["User"], config["WorkingDir"]) == ("10001:0", "/work")
    assert config["Labels"]["org.opencontainers.image.title"] == "kerutaprep"
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert podman.do("run", "--rm", IMAGE, "--version") == f"kerutaprep {__version__}\n"


def test_it_has_what_a_clone_may_take(podman: Podman) -> None:
    """Git, git-lfs, ssh and certificates are there, and a HOME that any user of group 0 may write to."""
    certificates = "wc -l < /etc/ssl/certs/ca-certificates.crt"
    script = f"git version; git lfs version; ssh -V 2>&1; {certificates}; touch $HOME/x; echo $HOME"
    git, lfs, ssh, lines, home = _sh(podman, script, "--user=12345:0").splitlines()
    assert (git.split()[0], lfs.split("/")[0], ssh.split("_")[0]) == ("git", "git-lfs", "OpenSSH")
    assert int(lines) > 1000
    assert home == "/home/keruta"


def test_every_module_has_its_bytecode(podman: Podman) -> None:
    """Nothing is compiled at a start: each module that a run loads, the standard library's too, has valid bytecode."""
    script = "import aiohttp.client, kerutaprep.api.client, kerutaprep.settings, kerutaprep.supervision"
    said = podman.do("run", "--rm", "--entrypoint=sh", IMAGE, "-c", f'exec python -v -c "{script}" 2>&1')
    assert "import 'aiohttp'" in said
    assert [line for line in said.splitlines() if "code object from" in line and line.endswith(".py'")] == []


def test_an_image_built_on_it_is_free_to_add_users(podman: Podman) -> None:
    """That ssh runs for unknown users leaves the user database as it was."""
    assert _sh(podman, "useradd --uid 1000 app && id app && ! getent passwd 12345", "--user=0").startswith(
        "uid=1000(app)"
    )


def test_it_is_small(podman: Podman) -> None:
    """What it adds to its base keeps within bounds."""
    base = (podman.directory / "base").read_text()
    added = _inspect(podman, IMAGE)["Size"] - _inspect(podman, base)["Size"]
    assert added < _LARGEST_ADDITION
