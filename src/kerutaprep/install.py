"""The install script: fetched, checked, and run in the work directory."""

from __future__ import annotations

import codecs
import os
import re
import signal
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from kerutaprep.api.download import Download, file_digest
from kerutaprep.api.request import script_path
from kerutaprep.errors import NotFoundError, ProtocolError, ScriptError, ScriptTimeoutError
from kerutaprep.git.command import environment_config
from kerutaprep.masking import LineSplitter
from kerutaprep.process import run_process
from kerutaprep.workspace import disk_errors

if TYPE_CHECKING:
    from pathlib import Path

    from kerutaprep.api.client import KerutaAPI
    from kerutaprep.events import StepRecord
    from kerutaprep.masking import Masker
    from kerutaprep.retry import RetryPolicy
    from kerutaprep.settings import PrepSettings
    from kerutaprep.workspace import Workspace

_MODE = 0o755
_HTML = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype|html|head|body|title|meta|script)\b", re.I | re.S)
_SHEBANG = re.compile(rb"#![ \t]*([^ \t\r\n]+)[ \t]*([^\r\n]*)")
HEAD = 4096
"""Bytes of a script that tell what it is."""


class InstallScript:
    """One run's install script; ``download`` finds out whether there is one, ``run`` runs it.

    Args:
        settings: its time-out, digest and environment.
        workspace: where it goes and where it runs.
        masker: applied to each line of its output.
    """

    def __init__(self, settings: PrepSettings, workspace: Workspace, masker: Masker) -> None:
        self._settings = settings
        self._workspace = workspace
        self._masker = masker
        self._path: Path | None = None

    async def download(self, api: KerutaAPI, policy: RetryPolicy, record: StepRecord) -> None:
        """Fetch the script and put it in its place, whole, executable and with Unix line ends.

        A repository without script (404, 204 or an empty body) has none run; one that an earlier run left stays there.

        Raises:
            ProtocolError: it is HTML, or not the one that the settings name by its digest.
            PrepError: as ``Download.run``.
        """
        what = f"install script of repository {self._settings.repository_id!a}"
        download = Download(
            api,
            script_path(self._settings.repository_id),
            lambda: self._workspace.parts / "script",
            what=what,
            record=record,
            ready=self._workspace.ready.wait,
        )
        try:
            part = await download.run(policy)
        except NotFoundError:
            part = None
        await self._workspace.ready.wait()
        if part is None or not await anyio.to_thread.run_sync(self._accept, part, download.content_type, what):
            if self._settings.script_sha256:
                record.note("there is no script, although --script-sha256 names one")
            record.note("the repository has no install script")
            record.skip("the repository has no install script")
            return
        await self._workspace.publish(part, self._workspace.script, _MODE)
        self._path = self._workspace.script

    def _accept(self, part: Path, content_type: str, what: str) -> bool:
        with disk_errors("reading", part), part.open("rb") as file:
            head = file.read(HEAD)
        if not head.strip() and part.stat().st_size == len(head):
            return False
        refuse_html(head, content_type, what)
        if self._settings.script_sha256:
            require_digest(file_digest(part, "sha256").hex(), self._settings.script_sha256, what)
        _use_unix_line_ends(part)
        return True

    async def run(self, record: StepRecord) -> None:
        """Run the script in the work directory; what it leaves running is stopped.

        Raises:
            ScriptError: it failed.
            ScriptTimeoutError: it ran too long; it and its descendants are stopped by then.
        """
        if self._path is None:
            record.skip("no install script")
            return
        command = [*await anyio.to_thread.run_sync(_interpreter_of, self._path), str(self._path)]
        output = LineSplitter(self._masker, record.output)
        status: int | None = None
        try:
            with anyio.move_on_after(self._settings.script_timeout):
                status = await run_process(
                    command,
                    environment={**self._environment(), **record.trace_environment()},
                    owner=self._workspace.identity,
                    on_stdout=output.feed,
                    cwd=self._workspace.root,
                    umask=self._workspace.umask,
                    stop_leftovers=True,
                )
        except OSError as error:
            raise ScriptError(f"install.sh can't be started by {command[0]}: {error.strerror}", status=127) from error
        finally:
            output.close()
        if status is None:
            raise ScriptTimeoutError(f"install.sh ran longer than {self._settings.script_timeout:g} s and was stopped")
        if status:
            raise ScriptError(f"install.sh {_ending(status)}; its output is in .keruta/prep.log", status=status)

    def _environment(self) -> dict[str, str]:
        """The environment as it is; on another user's volume, git is told that the work directory is safe."""
        environment = dict(self._settings.environment)
        if self._workspace.root.stat().st_uid == os.geteuid():
            return environment
        return with_safe_directory(environment, self._workspace.root)


def refuse_html(head: bytes, content_type: str, what: str) -> None:
    """Refuse a page that was answered in a script's place.

    Args:
        head: the answer's first bytes, at least ``HEAD`` where it has so many.
        content_type: the answer's.
        what: what was asked for, for messages.

    Raises:
        ProtocolError: it is HTML.
    """
    text = head.removeprefix(codecs.BOM_UTF8)
    if not text.startswith(b"#!") and (_HTML.match(text) or "html" in content_type):
        raise ProtocolError(
            f"{what}: the answer is an HTML page ({content_type}), not a script; a login or proxy page?"
        )


def require_digest(actual: str, expected: str, what: str) -> None:
    """Refuse a script that is not the one that the settings name.

    Raises:
        ProtocolError: the digests, in hexadecimal, differ.
    """
    if actual != expected:
        raise ProtocolError(f"{what}: its SHA-256 is {actual}, but --script-sha256 asks for {expected}; it was not run")


def with_safe_directory(environment: dict[str, str], directory: Path) -> dict[str, str]:
    """Add ``safe.directory`` (git-config(1)) to whatever configuration the environment has for git."""
    count = int(environment.get("GIT_CONFIG_COUNT", "0") or 0)
    values = environment_config([("", "")] * count + [("safe.directory", str(directory))])
    return {**values, **environment, "GIT_CONFIG_COUNT": values["GIT_CONFIG_COUNT"]}


def _ending(status: int) -> str:
    if status >= 0:
        return f"failed with exit status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _interpreter_of(script: Path) -> list[str]:
    """The command that execve(2) would use; called by name it works on a volume mounted noexec, too."""
    with disk_errors("reading", script), script.open("rb") as file:
        return interpreter_in(file.read(HEAD))


def interpreter_in(head: bytes) -> list[str]:
    """The interpreter and its argument that a script's first bytes name; ``/bin/sh`` where they name none."""
    found = _SHEBANG.match(head.removeprefix(codecs.BOM_UTF8))
    if not found:
        return ["/bin/sh"]
    argument = found[2].rstrip().decode(errors="surrogateescape")
    return [found[1].decode(errors="surrogateescape"), *([argument] if argument else [])]


def _use_unix_line_ends(script: Path) -> None:
    converted = script.with_name("script.converted")
    with disk_errors("writing", converted), script.open("rb") as source, converted.open("wb") as target:
        for number, line in enumerate(source):
            text = line.removeprefix(codecs.BOM_UTF8) if number == 0 else line
            target.write(text[:-2] + b"\n" if text.endswith(b"\r\n") else text)
    converted.replace(script)
