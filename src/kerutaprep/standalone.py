"""Two parts of a run, each by itself: a URL into a file, and a clone in place. Neither needs a keruta-api."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import anyio.to_thread

from kerutaprep.api.tls import require_certificates
from kerutaprep.errors import ProtocolError
from kerutaprep.events import Recorder
from kerutaprep.git.command import require_lfs
from kerutaprep.git.program import Git
from kerutaprep.git.worktree import Worktree
from kerutaprep.plan import Plan, Step
from kerutaprep.process import stop_abandoned
from kerutaprep.retry import RetryPolicy
from kerutaprep.runner import run_plan
from kerutaprep.settings import PrepSettings
from kerutaprep.workspace import Workspace, disk_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    import aiohttp
    from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

    from kerutaprep.events import StepEvent
    from kerutaprep.git.tree import Checkout

_NOT_ASKED: dict[str, Any] = {"repository_id": "none", "document_ids": (), "api_url": "http://localhost"}
"""What settings must have, for a part that asks no keruta-api."""


class GitOptions(TypedDict, total=False):
    """What ``clone_repository`` takes beside the URL: git's settings, under their names in ``PrepSettings``."""

    ref: str | None
    """A branch, a tag, a full ref or commit id; None for the remote's default branch."""
    work_branch: str | None
    """A branch to create on the ref, or to continue."""
    depth: int
    """Commits of history, 1 where not given; 0 is all of it."""
    submodules: Literal["no", "yes", "recursive"]
    lfs: bool
    git_cache_dir: Path | None
    sparse_paths: tuple[str, ...]
    git_username: str | None
    git_token: str | None
    git_token_file: Path | None
    ssh_key_file: Path | None
    ssh_known_hosts_file: Path | None
    on_existing: Literal["update", "reset", "fail"]
    """What becomes of a clone that is there: ``update`` where not given."""
    group_write: bool
    retries: int
    """Attempts after the first, 5 where not given."""
    connect_timeout: float
    """Seconds."""
    read_timeout: float
    """Seconds without a byte."""
    environment: Mapping[str, str]
    """What git is given, the process's own where not given."""


class _Arguments(PrepSettings):
    """Settings from arguments alone: a variable that is meant for the task's own run changes nothing here."""

    @classmethod
    def settings_customise_sources(  # the signature is pydantic-settings'
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the arguments."""
        return (init_settings,)


async def download_file(  # noqa: PLR0913 - each is a wish of its own, and named
    url: str,
    path: Path | str,
    *,
    token: str | None = None,
    sha256: str | None = None,
    session: aiohttp.ClientSession | None = None,
    on_event: Callable[[StepEvent], None] | None = None,
    retries: int = 5,
    connect_timeout: float = 10.0,
    read_timeout: float = 30.0,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Download a URL into a file, as a run downloads a document: retried, resumed, checked, whole or not at all.

    A body that was cut short goes on where it stopped if the server vouches for it with a strong ETag (RFC 9110,
    13.1.5). Its length is checked, and its ``Content-Digest`` and ``Repr-Digest`` (RFC 9530) where they are sent.

    Args:
        url: ``http`` or ``https``, without user info. Its query is not shown in any log.
        path: the file; what has its name is replaced once the download is whole. Its directory must exist.
        token: sent as ``Authorization: Bearer``, to the URL's own origin only.
        sha256: the digest that the file must have, in hexadecimal.
        session: makes the requests; it is not closed. None: one of our own.
        on_event: called with each event of the step ``download``, in the event loop.
        retries: attempts after the first.
        connect_timeout: seconds.
        read_timeout: seconds without a byte.
        environment: where proxies and certificates are looked up; None for the process's own.

    Returns:
        the file's size in bytes.

    Raises:
        TransportError: every attempt failed.
        CredentialsError: 401 or 403.
        NotFoundError: 404 or 410.
        ProtocolError: another status, or a digest that does not match.
        WorkDirError: the disk refuses.
        SettingsError: an argument is wrong; nothing was touched.

    On an error and on cancellation what had the name before is still there, and nothing else is.
    """
    parts = urlsplit(url)
    settings = _settings(
        api_url=f"{parts.scheme}://{parts.netloc}",
        api_token=token,
        script_sha256=sha256,
        retries=retries,
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        environment=environment,
    )
    require_certificates(settings.api_url, settings.environment)
    recorder = Recorder(settings.masker(), on_event, _nowhere)
    recorder.masker.add(parts.query)  # of a signed URL it is the key
    resource = parts._replace(scheme="", netloc="", fragment="").geturl()
    target = anyio.Path(path)
    sizes: list[int] = []

    async def download() -> None:
        sizes.append(await _download(settings, session, recorder, resource, Path(await target.absolute())))

    await _run_alone(recorder, "download", download)
    return sizes[0]


async def clone_repository(
    url: str,
    work_dir: Path | str,
    *,
    on_event: Callable[[StepEvent], None] | None = None,
    **options: Unpack[GitOptions],
) -> Checkout:
    """Put a repository's work tree into a directory itself, as a run's step ``clone`` does: in place, or updated.

    The directory may hold other files; it is made where it is missing, and locked meanwhile against other runs. The
    clone is an ordinary one, with ``/.keruta`` in its ``.git/info/exclude``. Files of Keruta's names that the
    repository tracks (``.keruta/install.sh``, ``prep.log`` and ``prep.json``) are not checked out.

    Args:
        url: ``https``, ``http``, ``ssh``, ``git``, ``file``, scp-like or a path; user info is used as credentials.
        work_dir: where the work tree goes.
        on_event: called with each event of the step ``clone``, in the event loop.
        options: see ``GitOptions``.

    Returns:
        the commit that is checked out, and the resolved name of the ref.

    Raises:
        NotFoundError: the repository or the ref is not there.
        CredentialsError: the server refused them.
        TransportError: every attempt failed.
        WorkDirError: something is in the way, or the disk refuses.
        SettingsError: an argument is wrong; nothing was touched.

    Stopped before files are written, it leaves no ``.git``; after that, a journal by which the next call finishes. On
    cancellation every process got SIGTERM, after five seconds SIGKILL.
    """
    settings = _settings(repository_url=url, work_dir=work_dir, **options)
    require_lfs(settings)
    recorder = Recorder(settings.masker(), on_event, _nowhere)
    checkouts: list[Checkout] = []

    async def clone() -> None:
        checkouts.append(await _clone(settings, recorder))

    await _run_alone(recorder, "clone", clone)
    return checkouts[0]


def _settings(**given: object) -> PrepSettings:
    return _Arguments(**_NOT_ASKED | {name: value for name, value in given.items() if value is not None})


def _nowhere(_line: str) -> None:
    """There is no ``prep.log``; events go to the logger and to the caller's hook."""


async def _run_alone(recorder: Recorder, name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a plan of one step: that has its events, and its errors as a run's."""
    recorder.add([name])
    await run_plan(Plan(Step(name=name, run=run)), recorder.steps)


async def _download(
    settings: PrepSettings, session: aiohttp.ClientSession | None, recorder: Recorder, resource: str, target: Path
) -> int:
    from kerutaprep.api.client import KerutaAPI, new_session  # noqa: PLC0415 - who only clones needs no HTTP client
    from kerutaprep.api.download import Download  # noqa: PLC0415 - likewise

    what = f"{settings.api_url}{resource.partition('?')[0]}"
    async with AsyncExitStack() as held:
        part = await held.enter_async_context(_scratch_beside(target)) / "body"
        if session is None:
            session = await held.enter_async_context(new_session(settings))
        api = KerutaAPI(settings, session, recorder)
        record = recorder.steps["download"]
        download = Download(api, resource, lambda: part, what=what, record=record, ready=anyio.lowlevel.checkpoint)
        await download.run(RetryPolicy(retries=settings.retries))
        return await anyio.to_thread.run_sync(_publish, part, target, what, settings.script_sha256)


def _publish(part: Path, target: Path, what: str, sha256: str | None) -> int:
    from kerutaprep.api.download import file_digest  # noqa: PLC0415 - as above

    with disk_errors("writing", target):
        part.touch()  # no content (204) is an empty file
        size = part.stat().st_size
    if sha256 and (actual := file_digest(part, "sha256").hex()) != sha256:
        raise ProtocolError(f"{what}: its SHA-256 is {actual}, but {sha256} was asked for")
    with disk_errors("writing", target):
        part.replace(target)
    return size


@asynccontextmanager
async def _scratch_beside(target: Path) -> AsyncIterator[Path]:
    """A directory of our own on the target's volume, gone afterwards."""
    with anyio.CancelScope(shield=True), disk_errors("making a directory beside", target):
        scratch = await anyio.to_thread.run_sync(partial(tempfile.mkdtemp, prefix=".kerutaprep-", dir=target.parent))
    try:
        yield Path(scratch)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(partial(shutil.rmtree, scratch, ignore_errors=True))


async def _clone(settings: PrepSettings, recorder: Recorder) -> Checkout:
    record = recorder.steps["clone"]
    workspace = Workspace(settings.work_dir, group_write=settings.group_write)
    git = Git(settings, recorder.masker, record, workspace, on_its_way=lambda: None)
    url = settings.clone_url
    assert url is not None  # noqa: S101 - it was given
    async with workspace.locked(partial(record.note, f"waiting for another run on {workspace.root}")):
        await stop_abandoned(workspace.identity, set())  # the lock is ours
        try:
            with anyio.CancelScope(shield=True):  # it takes a moment, and its parts are known only afterwards
                await workspace.make()
            policy = RetryPolicy(retries=settings.retries)
            return await Worktree(git, workspace, policy, record).clone(url, settings.ref)
        finally:
            with anyio.CancelScope(shield=True):
                await workspace.remove_parts()
                await anyio.to_thread.run_sync(_remove_empty, workspace.documents, workspace.keruta)


def _remove_empty(*directories: Path) -> None:
    """Keruta's directories are only for Keruta's files."""
    with suppress(OSError):
        for directory in directories:
            directory.rmdir()
