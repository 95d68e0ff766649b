"""Git LFS, with a small LFS server of the tests' own."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from kerutaprep import CredentialsError, NotFoundError, SettingsError, prepare
from kerutaprep.embedded import git_application, serve
from tests.fakes import Fakes, Stage, run_git, status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio
needs_lfs = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="needs git-lfs (Debian: git-lfs)")

_CONTENT = b"big\n" * 1000
_OID = hashlib.sha256(_CONTENT).hexdigest()
_POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{_OID}\nsize {len(_CONTENT)}\n"


def _lfs_application(stage: Stage, fakes: Fakes, uploaded: dict[str, bytes]) -> web.Application:
    """The batch API and the basic transfers of git-lfs, beside the git server."""
    application = git_application(stage.repository.parent, fakes.middleware)

    async def batch(request: web.Request) -> web.Response:
        asked = await request.json()
        objects = []
        for entry in asked["objects"]:
            href = f"http://{request.host}/objects/{entry['oid']}"
            have = entry["oid"] in uploaded
            actions = {asked["operation"]: {"href": href}} if have != (asked["operation"] == "upload") else None
            objects.append({**entry, "authenticated": True, **({"actions": actions} if actions else {})})
            if asked["operation"] == "download" and not have:
                objects[-1]["error"] = {"code": 404, "message": "Object does not exist"}
        return web.json_response({"objects": objects}, content_type="application/vnd.git-lfs+json")

    async def transfer(request: web.Request) -> web.Response:
        oid = request.match_info["oid"]
        if request.method == "PUT":
            uploaded[oid] = await request.read()
            return web.Response()
        return web.Response(body=uploaded[oid])

    routes = web.Application(middlewares=[fakes.middleware], client_max_size=1024**2)
    routes.router.add_post("/shop.git/info/lfs/objects/batch", batch)
    routes.router.add_route("*", "/objects/{oid}", transfer)
    backend = next(iter(application.router.routes())).handler
    routes.router.add_route("*", "/{path:.*}", backend)
    return routes


@pytest.fixture
async def lfs(stage: Stage) -> AsyncIterator[tuple[Stage, dict[str, bytes]]]:
    """A repository with one file in LFS, and the LFS server's objects."""
    del stage.content.scripts["shop"]
    stage.commit_files({".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "big.bin": _POINTER})
    run_git(stage.repository, "config", "http.receivepack", "true")
    uploaded = {_OID: _CONTENT}
    async with serve(_lfs_application(stage, stage.git, uploaded)) as url:
        stage.content.repositories["shop"] = {"url": f"{url}/shop.git"}
        yield stage, uploaded


@needs_lfs
async def test_off_by_default(lfs: tuple[Stage, dict[str, bytes]]) -> None:
    """Without --lfs the pointers stay, and nobody is asked for contents."""
    stage, _ = lfs
    await prepare(stage.settings())
    assert (stage.work / "big.bin").read_text() == _POINTER
    assert not stage.git.to("/info/lfs")
    assert stage.run_git("status", "--porcelain") == ""


@needs_lfs
async def test_contents_take_the_pointers_place(lfs: tuple[Stage, dict[str, bytes]]) -> None:
    """With --lfs the contents are there, the tree is clean, and the user's own commits and pushes use LFS."""
    stage, uploaded = lfs
    await prepare(stage.settings(lfs=True))
    assert (stage.work / "big.bin").read_bytes() == _CONTENT
    assert stage.run_git("status", "--porcelain") == ""

    (stage.work / "new.bin").write_bytes(b"new" * 1000)
    stage.run_git("add", "-A")
    stage.run_git("commit", "-q", "-m", "Add")
    assert stage.run_git("show", "HEAD:new.bin").startswith("version https://git-lfs")
    await stage.run_git_online("push", "-q", "origin", "main")
    assert b"new" * 1000 in uploaded.values()


@needs_lfs
async def test_an_update_brings_new_contents(lfs: tuple[Stage, dict[str, bytes]]) -> None:
    """Running again over an LFS clone is clean and follows the remote."""
    stage, uploaded = lfs
    await prepare(stage.settings(lfs=True))
    content = b"other\n" * 500
    oid = hashlib.sha256(content).hexdigest()
    uploaded[oid] = content
    stage.commit_files({"big.bin": _POINTER.replace(_OID, oid).replace(str(len(_CONTENT)), str(len(content)))})
    await prepare(stage.settings(lfs=True))
    assert (stage.work / "big.bin").read_bytes() == content
    assert stage.run_git("status", "--porcelain") == ""


@needs_lfs
async def test_a_missing_object_is_not_found(lfs: tuple[Stage, dict[str, bytes]]) -> None:
    """A content that the LFS server has not got is exit 66."""
    stage, uploaded = lfs
    uploaded.clear()
    with pytest.raises(NotFoundError):
        await prepare(stage.settings(lfs=True))


@needs_lfs
async def test_refused_credentials(lfs: tuple[Stage, dict[str, bytes]]) -> None:
    """An LFS server that refuses is exit 77."""
    stage, _ = lfs
    stage.git.on("/info/lfs", *[status(401, {"WWW-Authenticate": 'Basic realm="lfs"'})] * 9)
    with pytest.raises(CredentialsError):
        await prepare(stage.settings(lfs=True))


async def test_without_git_lfs_the_settings_are_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git-lfs is missing, --lfs is exit 78 before anything is touched."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SettingsError, match="git-lfs is not installed"):
        await prepare(stage.settings(lfs=True))
    assert not stage.work.exists()
