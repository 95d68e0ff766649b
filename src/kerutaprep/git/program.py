"""Running git: a known environment, scoped credentials, progress, and its failures as errors of ours."""

from __future__ import annotations

import re
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from kerutaprep.errors import PrepError, SettingsError, TransportError, WorkDirError
from kerutaprep.git.command import SSHKey, command_line, environment_for, login_for, ssh_environment
from kerutaprep.masking import LineSplitter
from kerutaprep.process import IdleError, run_process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from kerutaprep.events import StepRecord
    from kerutaprep.git.command import Entry
    from kerutaprep.headstart import HeadStart
    from kerutaprep.masking import Masker
    from kerutaprep.names import CloneURL
    from kerutaprep.settings import PrepSettings
    from kerutaprep.workspace import Workspace

_LAST_LINES = 8
_LEAST_PROGRESS_SECONDS = 1.0
"""Between two events of progress: git itself reports up to a hundred a second."""
_RUNS_COMMANDS = re.compile(
    r"filter\..+\.(clean|smudge|process|required)|merge\..+\.driver|diff\..+\.(command|textconv)|diff\.external"
    r"|core\.(alternaterefscommand|sshcommand|gitproxy|editor|pager)|gpg\.(.+\.)?program|submodule\..+\.update"
    r"|credential\.(.+\.)?helper",
    re.IGNORECASE,
)
_LEADS_AWAY = re.compile(
    rf"(?!submodule\..*\.update){_RUNS_COMMANDS.pattern}|http\..*|url\..*|include(if)?\..*"
    r"|lfs\.(?!repositoryformatversion$|.*\.access$).*|remote\..+\.(vcs|uploadpack|proxy)",
    re.IGNORECASE,
)
"""Of these, what a submodule's update is set to is overridden anyway."""
_HARMLESS = {"required": "false", "update": "checkout"}
"""What an entry is overridden with, by the last part of its name; any other with nothing."""
_ITS_OWN = frozenset({"local", "worktree"})
"""The scopes of configuration that are the clone's own."""
_LFS = frozenset(
    {
        ("filter.lfs.clean", "git-lfs clean -- %f"),
        ("filter.lfs.smudge", "git-lfs smudge -- %f"),
        ("filter.lfs.process", "git-lfs filter-process"),
        ("filter.lfs.required", "true"),
    }
)
_PROGRESS = re.compile(
    r"(?:remote: )?(?P<what>[A-Z][a-z]+(?: [a-z]+)*): +(?P<percent>[0-9]{1,3})% \([0-9/]+\)"
    r"(?:, (?P<traffic>[0-9.]+ [A-Za-z]+ \| [0-9.]+ [A-Za-z]+/s))?.*"
)


class Git:
    """Git for one run: where it may go, as whom, and who is told of its progress.

    Args:
        settings: credentials, time-outs and the environment.
        masker: told of each credential before git gets it.
        record: the step on whose behalf it runs.
        workspace: the work directory, on whose behalf it runs.
        on_its_way: called whenever a command that talks to a server is started.
        head_start: what was started before this was made.
    """

    def __init__(  # noqa: PLR0913 - its parts are independent, and all it does is to join them
        self,
        settings: PrepSettings,
        masker: Masker,
        record: StepRecord,
        workspace: Workspace,
        *,
        on_its_way: Callable[[], None],
        head_start: HeadStart | None = None,
    ) -> None:
        self._workspace = workspace
        self._on_its_way = on_its_way
        self._head_start = head_start
        self._disarmed: list[Entry] = []
        self.settings = settings
        self._masker = masker
        self._record = record

    def is_under_way(self, *arguments: str, at: Path) -> bool:
        """Whether this very command was started before, so that ``run`` only waits for it."""
        return self._head_start is not None and self._head_start.has_command(command_line(arguments, at=str(at)))

    async def run(
        self,
        *arguments: str,
        at: Path,
        url: CloneURL | None = None,
        work_tree: Path | None = None,
        extra: Mapping[str, str] | None = None,
        own_hooks: bool = False,
    ) -> str:
        """Run one git command and give what it wrote to stdout.

        Args:
            arguments: its words; no secret is ever among them.
            at: the git directory, or where to start for ``init``.
            url: for a command that talks to a server: where, so that credentials go there and nowhere else.
            work_tree: the work tree, for a command that needs one.
            extra: variables beside the usual ones.
            own_hooks: let the command see where the user's hooks are, for one that installs some.

        Raises:
            PrepError: it failed, classified by its own words, with the last of them.
        """
        stdout: list[bytes] = []
        last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        stderr = LineSplitter(self._masker, partial(self._heard, last_lines))
        command = command_line(arguments, at=str(at), work_tree=str(work_tree) if work_tree else None)
        environment = {**self._environment(url, own_hooks=own_hooks), **(extra or {})}
        key = SSHKey(self.settings.ssh_key_file if url is not None and url.scheme == "ssh" else None)
        if url is not None and url.scheme == "ssh":
            environment |= ssh_environment(self.settings, key.path)
        try:
            status = await run_process(
                command,
                environment=environment,
                owner=self._workspace.identity,
                on_stdout=stdout.append,
                on_stderr=stderr.feed,
                cwd=work_tree or at.parent,
                umask=0o002 if self.settings.group_write else -1,
                idle_timeout=None if url is None else 2 * self.settings.read_timeout,
                on_start=None if url is None else self._on_its_way,
                child=self._head_start.take_command(command) if self._head_start else None,
            )
        except FileNotFoundError as error:
            raise SettingsError(f"git can't be started: {error.strerror}; is it on PATH?") from error
        except IdleError as error:
            raise TransportError(f"git {arguments[0]} stalled: {error}") from error
        finally:
            key.close()
        stderr.close()
        if status:
            from kerutaprep.git.diagnosis import classify  # noqa: PLC0415 - its many patterns are for failures only

            raise classify(f"git {arguments[0]}", status, list(last_lines))
        return b"".join(stdout).decode(errors="surrogateescape")

    async def disarm(self, git_dir: Path) -> list[Entry]:
        """Have no later command obey what an existing clone's own configuration would have git run.

        Whoever could write to the volume could have put it there. Git LFS in the form in which it sets itself up is
        left as it is: without it the tree would look changed.

        Args:
            git_dir: the clone's; one that is none has nothing to disarm.

        Returns:
            the clone's own configuration, as it is.
        """
        try:
            listing = await self.run("config", "--null", "--show-scope", "--includes", "--list", at=git_dir)
        except PrepError:
            return []
        fields = listing.split("\0")
        pairs = zip(fields[0::2], fields[1::2], strict=False)
        own = [entry.partition("\n") for scope, entry in pairs if scope in _ITS_OWN]
        entries = [(key, value) for key, _, value in own]
        armed = [entry[0] for entry in entries if _RUNS_COMMANDS.fullmatch(entry[0]) and entry not in _LFS]
        self._disarmed = [(key, _HARMLESS.get(key.rpartition(".")[2], "")) for key in armed]
        return entries

    async def require_plain(self, git_dir: Path) -> None:
        """Refuse a clone, or a submodule of it, whose configuration could send git and git-lfs anywhere.

        Those talk to servers from inside of the clone, where its configuration counts.

        Raises:
            WorkDirError: it names the entries.
        """
        configs = [git_dir / "config", *sorted((git_dir / "modules").rglob("config"))]
        for config in [path for path in configs if path.is_file()]:
            listing = await self.run("config", "--file", str(config), "--null", "--list", at=git_dir)
            entries = (entry.partition("\n") for entry in listing.split("\0") if entry)
            bad = [key for key, _, value in entries if _LEADS_AWAY.fullmatch(key) and (key, value) not in _LFS]
            if bad:
                raise WorkDirError(f"{config} has {', '.join(bad)}, which are not obeyed: remove them, or use reset")

    def _heard(self, last_lines: deque[str], line: str) -> None:
        found = _PROGRESS.match(line)
        if found:
            traffic = f", {found['traffic']}" if found["traffic"] else ""
            state = f"{found['what'].lower()} {found['percent']} %{traffic}"
            done = int(found["percent"]) / 100
            self._record.measure = lambda: done
            self._record.progress(state, least_pause=_LEAST_PROGRESS_SECONDS)
        elif line.strip():
            last_lines.append(line.strip())

    def _environment(self, url: CloneURL | None, *, own_hooks: bool = False) -> dict[str, str]:
        login = None if url is None else login_for(url, self.settings.git_username, self.settings.read_git_token)
        if login is not None:
            self._masker.add_login(*login)
        return environment_for(self.settings, url, login, disarmed=self._disarmed, own_hooks=own_hooks)
