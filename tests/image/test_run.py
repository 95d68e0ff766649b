"""``init`` in a container, in every way in which a pod may run it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import anyio
import pytest
from aiohttp import web

from tests.fakes import SCRIPT, run_git
from tests.image.podman import IMAGE
from tests.test_ssh import sshd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes import Stage
    from tests.image.podman import Ended, Podman

pytestmark = pytest.mark.anyio

_UNKNOWN = ("--user=12345:0", "--passwd=false")  # podman would add an entry for it, Kubernetes does not
_UNPRIVILEGED = ("--cap-drop=all", "--security-opt=no-new-privileges")
_READ_ONLY = ("--read-only", "--read-only-tmpfs=false")
_LIMIT = ("--memory=64m", "--memory-swap=64m")
_DOCUMENT_CHUNKS, _CHUNK = 300, bytes(range(256)) * 4096
"""300 MiB."""


def _init(stage: Stage, volume: Path) -> tuple[str, ...]:
    settings = {"REPOSITORY_ID": "shop", "DOCUMENT_ID": "task-1", "API_ENDPOINT": stage.api_url, "API_TOKEN": "a-token"}
    return (*(f"--env=KERUTA_{name}={value}" for name, value in settings.items()), f"--volume={volume}:/work")


@pytest.fixture(scope="module")
def image_without_tmp(podman: Podman) -> Iterator[str]:
    """The image, but for its ``/tmp``."""
    podman.do("run", "--name=without-tmp", "--user=0", "--entrypoint=rmdir", IMAGE, "/tmp")  # noqa: S108 - the image's
    as_it_was = ('--change=ENTRYPOINT ["keruta-agent"]', '--change=CMD ["init"]', "--change=USER 10001:0")
    podman.do("commit", "--quiet", *as_it_was, "without-tmp", "without-tmp")
    podman.do("rm", "without-tmp")
    yield "without-tmp"
    podman.do("rmi", "--force", "without-tmp")


def _assert_ready(ended: Ended, stage: Stage, volume: Path, user: int) -> None:
    assert ended.code == 0, ended.stderr
    assert (volume / ".keruta" / "README.md").read_bytes() == b"# The task\n"
    assert (volume / "installed").read_text() == "installed\n"
    assert (volume / "README.md").stat().st_uid == user
    trusted = ("-c", f"safe.directory={volume}")
    assert run_git(volume, *trusted, "rev-parse", "HEAD").strip() == stage.commit
    assert run_git(volume, *trusted, "status", "--porcelain") == "?? installed\n"


@pytest.mark.parametrize(
    ("options", "user"),
    [
        pytest.param((), 10001, id="its own user"),
        pytest.param(("--user=0",), 0, id="root"),
        pytest.param(_UNKNOWN, 12345, id="an unknown user of group 0"),
        pytest.param(("--user=12345:12345", "--passwd=false"), 12345, id="an unknown user and group"),
        pytest.param(("--user=0", *_UNPRIVILEGED), 0, id="root without capabilities"),
        pytest.param(_UNPRIVILEGED, 10001, id="no capabilities"),
    ],
)
async def test_any_user_gets_a_work_directory_ready(
    podman: Podman, stage: Stage, volume: Path, options: tuple[str, ...], user: int
) -> None:
    """A volume that is root's is made ready by its own user, root, or one that no database knows, privileged or not."""
    ended = await podman.run(*options, *_init(stage, volume), IMAGE)
    _assert_ready(ended, stage, volume, user)


async def test_nothing_outside_of_the_volume_is_written(
    podman: Podman, stage: Stage, volume: Path, image_without_tmp: str
) -> None:
    """A read-only root file system that has no /tmp, an unknown user and no capability are enough, all at once."""
    options = (*_READ_ONLY, *_UNKNOWN, *_UNPRIVILEGED)
    ended = await podman.run(*options, *_init(stage, volume), image_without_tmp)
    _assert_ready(ended, stage, volume, 12345)

    looked = await podman.run(*options, "--entrypoint=sh", image_without_tmp, "-c", "test ! -e /tmp && ! touch /x")
    assert looked.code == 0, looked.stderr


async def test_the_pods_last_words_go_where_kubernetes_reads_them(
    podman: Podman, stage: Stage, volume: Path, tmp_path: Path
) -> None:
    """The termination log, a file that is mounted into the container, tells the commit, or why there is none."""
    log = tmp_path / "termination-log"
    log.touch()
    log.chmod(0o666)
    mounted = f"--volume={log}:/dev/termination-log"
    assert (await podman.run(mounted, *_init(stage, volume), IMAGE)).code == 0
    assert json.loads(log.read_text())["commit"] == stage.commit

    ended = await podman.run(mounted, *_init(stage, volume), "--env=KERUTA_DOCUMENT_ID=nothing", IMAGE)
    assert ended.code == 66
    assert log.read_text().strip() == ended.stderr.splitlines()[-1]
    assert "nothing" in log.read_text()


async def test_sigterm_ends_pid_1_and_all_that_it_began(podman: Podman, stage: Stage, volume: Path) -> None:
    """The runtime's SIGTERM is passed on to the script, also to what left its session; the next run finishes."""
    stage.content.scripts["shop"] = b"""\
#!/bin/sh
trap 'echo told > told; exit 0' TERM
tr '\\0' ' ' < /proc/1/cmdline > first-process
setsid sh -c 'trap "echo told > told-too; exit 0" TERM; touch begun; while :; do sleep 0.1; done' &
while :; do sleep 0.1; done
"""
    with anyio.fail_after(60):
        async with podman.running(*_init(stage, volume), IMAGE) as process:
            while not (volume / "begun").exists():
                await anyio.sleep(0.05)
            podman.do("kill", "--signal=TERM", "under-test")
            assert await process.wait() == 143
    assert " init" in (volume / "first-process").read_text()
    assert [(volume / name).exists() for name in ("told", "told-too")] == [True, True]
    report = json.loads((volume / ".keruta" / "prep.json").read_text())
    assert (report["outcome"], report["exit_code"]) == ("cancelled", 143)

    stage.content.scripts["shop"] = SCRIPT
    assert (await podman.run(*_init(stage, volume), IMAGE)).code == 0
    left = {path.name for path in (volume / ".keruta").iterdir()}
    assert left == {"README.md", "documents", "install.sh", "prep.json", "prep.log"}


async def test_a_document_larger_than_memory_fits_through(podman: Podman, stage: Stage, volume: Path) -> None:
    """300 MiB are fetched within 64 MiB for everything in the container, git and page cache included."""

    async def large(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(_DOCUMENT_CHUNKS * len(_CHUNK))})
        await response.prepare(request)
        for _ in range(_DOCUMENT_CHUNKS):
            await response.write(_CHUNK)
        return response

    stage.api.on("/documents/", large)
    ended = await podman.run(*_LIMIT, *_init(stage, volume), IMAGE)
    assert ended.code == 0, ended.stderr
    expected = hashlib.sha256()
    for _ in range(_DOCUMENT_CHUNKS):
        expected.update(_CHUNK)
    with (volume / ".keruta" / "documents" / "task-1").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == expected.hexdigest()

    too_much = ("--entrypoint=python", IMAGE, "-c", "bytearray(100 << 20)")
    assert (await podman.run(*_LIMIT, *too_much)).code == 137, "the limit was not one"
    assert (await podman.run(*too_much)).code == 0


async def test_a_user_that_no_database_knows_clones_over_ssh(
    podman: Podman, stage: Stage, volume: Path, tmp_path: Path
) -> None:
    """No entry for the user is needed; the key and the host keys are a secret's files."""
    async with sshd(tmp_path / "ssh") as server:
        server.key.chmod(0o444)
        secrets = {"SSH_KEY_FILE": server.key, "SSH_KNOWN_HOSTS_FILE": server.known_hosts}
        mounts = [f"--volume={path}:/secret/{name}:ro" for name, path in secrets.items()]
        named = [f"--env=KERUTA_GIT_{name}=/secret/{name}" for name in secrets]
        url = f"--env=KERUTA_REPOSITORY_URL=ssh://root@127.0.0.1:{server.port}{stage.repository}"
        ended = await podman.run(*_READ_ONLY, *_UNKNOWN, *_init(stage, volume), *mounts, *named, url, IMAGE)
    _assert_ready(ended, stage, volume, 12345)
