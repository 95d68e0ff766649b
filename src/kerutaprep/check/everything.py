"""``keruta-agent check``: what ``init`` would meet with the same settings. Nothing is written anywhere.

Each thing is tried once, with the time-outs of a run. What can only be told by fetching or writing is said to be so.
"""

from __future__ import annotations

import re
import signal
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVarTuple

import anyio
import anyio.to_thread
from pydantic import SecretStr

from kerutaprep.api.client import KerutaAPI, new_session
from kerutaprep.api.request import proxy_for
from kerutaprep.api.tls import require_certificates
from kerutaprep.check.api import APIChecks
from kerutaprep.check.findings import Finding, Look, decisive_error, look_at_all, ok, skipped
from kerutaprep.check.git import GitChecks
from kerutaprep.check.volume import (
    look_at_cache,
    look_at_keruta,
    look_at_lock,
    look_at_space,
    look_at_termination_log,
    look_at_work_dir,
)
from kerutaprep.events import Recorder
from kerutaprep.git.existing import ExistingClone
from kerutaprep.git.program import Git
from kerutaprep.git.tree import Tree
from kerutaprep.masking import MASK
from kerutaprep.options import OPTIONS
from kerutaprep.preparation import STEPS
from kerutaprep.retry import RetryPolicy
from kerutaprep.supervision import Outcome
from kerutaprep.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import aiohttp
    from anyio.abc import TaskStatus

    from kerutaprep.settings import PrepSettings

Arguments = TypeVarTuple("Arguments")
_PROXY_VARIABLE = re.compile(r"(https?|all|no)_proxy", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=//)[^/]*@|^[^/]*@")


def supervise_check(settings: PrepSettings, show: Callable[[str], None], *, colour: bool) -> Outcome:
    """Check in this process, and answer SIGTERM and SIGINT at once; no process is left.

    Args:
        settings: as for a run.
        show: called with a line for each thing looked at, in a fixed order, each as soon as it is known.
        colour: whether the lines are for a terminal that shows colours.

    Returns:
        the exit code that a run would have, as far as a look can tell, and why.

    Raises:
        SettingsError: a certificate file that the environment names can't be read.
    """
    return anyio.run(_supervised, settings, show, colour)


async def _supervised(settings: PrepSettings, show: Callable[[str], None], colour: bool) -> Outcome:
    received: list[signal.Signals] = []
    outcome = Outcome(0, "")

    async def watch(*, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                received.append(number)
                tasks.cancel_scope.cancel()

    require_certificates(settings.api_url, settings.environment)
    async with anyio.create_task_group() as tasks:
        await tasks.start(watch)
        outcome = await check(settings, show, colour=colour)
        tasks.cancel_scope.cancel()
    if received:
        return Outcome(128 + received[0], f"stopped by {received[0].name}; nothing was written")
    return outcome


async def check(settings: PrepSettings, show: Callable[[str], None], *, colour: bool) -> Outcome:
    """Look at everything that a run would need; arguments and outcome are ``supervise_check``'s.

    On cancellation no process is left.
    """
    masker = settings.masker()
    recorder = Recorder(masker, None, lambda _line: None)
    recorder.add(STEPS)

    def tell(findings: Sequence[Finding]) -> None:
        for finding in findings:
            show(replace(finding, text=masker.mask(finding.text)).line(colour=colour))

    async with new_session(settings) as session:
        findings = await look_at_all(
            _looks(settings, recorder, session), deadline=settings.deadline, retries=settings.retries, tell=tell
        )
    error = decisive_error(findings)
    return Outcome(error.exit_code, masker.mask(f"failed: {error.summary()}")) if error else Outcome(0, "")


def _looks(settings: PrepSettings, recorder: Recorder, session: aiohttp.ClientSession) -> list[Look]:
    """Every look; in the order of a run's steps, since of several errors the first decides."""
    api = APIChecks(settings, KerutaAPI(settings, session, recorder), recorder.masker)
    workspace = Workspace(settings.work_dir, group_write=settings.group_write)
    record = recorder.steps["clone"]
    program = Git(settings, recorder.masker, record, workspace, on_its_way=lambda: None)
    git = GitChecks(program, workspace, ExistingClone(Tree(program, workspace, record), RetryPolicy(retries=0)))
    documents = {f"document {number}": name for number, name in enumerate(settings.document_ids, start=1)}

    async def look_at_git_server() -> Sequence[Finding]:
        return await git.remote(api.known_url, settings.ref or api.branch)

    async def look_at_clone() -> Sequence[Finding]:
        return await git.clone(api.known_url)

    async def look_at_room() -> Sequence[Finding]:
        return await _in_thread(look_at_space, settings.work_dir, api.size)()

    return [
        Look(name="settings", run=_in_thread(_show_settings, settings)),
        Look(name="proxy", run=_in_thread(_show_proxies, settings)),
        Look(name="git-lfs", run=git.lfs),
        Look(name="last words", run=_in_thread(look_at_termination_log, settings.termination_log)),
        Look(name="git cache", run=_in_thread(look_at_cache, settings.git_cache_dir)),
        Look(name="work dir", run=_in_thread(look_at_work_dir, settings.work_dir)),
        Look(name="lock", run=_in_thread(look_at_lock, settings), needs={"work dir"}),
        Look(name="keruta dir", run=_in_thread(look_at_keruta, workspace, settings.document_ids), needs={"work dir"}),
        Look(name="dns", run=api.resolve),
        Look(name="connection", run=api.connect, needs={"dns"}),
        Look(name="repository", run=api.repository, needs=() if settings.repository_url else {"connection"}),
        Look(name="git", run=git.program),
        Look(name="git server", run=look_at_git_server, needs=("git", "repository")),
        Look(name="clone", run=look_at_clone, needs=("work dir", "git", "repository")),
        *(
            Look(name=look, run=partial(api.document, document_id, look), needs={"connection"})
            for look, document_id in documents.items()
        ),
        Look(name="script", run=api.script, needs={"connection"}),
        Look(name="token", run=api.token, needs={"connection"}, after={"script"}),
        Look(name="space", run=look_at_room, needs={"work dir"}, after=documents),
    ]


def _in_thread(
    look: Callable[[*Arguments], Sequence[Finding]], *arguments: *Arguments
) -> Callable[[], Awaitable[Sequence[Finding]]]:
    """Look from a thread, which is left alone where the disk keeps it for too long."""
    return partial(anyio.to_thread.run_sync, look, *arguments, abandon_on_cancel=True)


def _show_settings(settings: PrepSettings) -> list[Finding]:
    findings = []
    for option in OPTIONS:
        if option.field in settings.model_fields_set:
            value = getattr(settings, option.field)
            if isinstance(value, SecretStr):
                value = MASK
            elif option.field == "repository_url" and settings.clone_url:
                value = settings.clone_url.text
            elif isinstance(value, tuple):
                value = ", ".join(value) or "(none)"
            findings += ok("setting", f"{option.flag or option.variables[0]}: {value}")
    return findings


def _show_proxies(settings: PrepSettings) -> list[Finding]:
    used = "the API is asked through one" if proxy_for(settings.api_url, settings.environment) else "not for the API"
    variables = sorted(settings.environment.items())
    return [
        Finding("ok", "proxy", f"{name}: {_LOGIN.sub(f'{MASK}@', value)} ({used})")
        for name, value in variables
        if value and _PROXY_VARIABLE.fullmatch(name)
    ] or skipped("proxy", "none is set")
