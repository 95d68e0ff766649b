"""Running git: a known environment, scoped credentials, progress, and its failures as errors of ours."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections import deque
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from kerutaprep.diagnosis import classify
from kerutaprep.errors import CredentialsError, PrepError, SettingsError, TransportError, WorkDirError
from kerutaprep.masking import LineSplitter, is_secret
from kerutaprep.process import IdleError, run_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from kerutaprep.events import StepRecord
    from kerutaprep.masking import Masker
    from kerutaprep.names import CloneURL
    from kerutaprep.settings import PrepSettings
    from kerutaprep.workspace import Workspace

_LAST_LINES = 8
_LEAST_PROGRESS_SECONDS = 1.0
"""Between two events of progress: git itself reports up to a hundred a second."""
_FINDS_ITS_PLACE = frozenset({"init", "submodule", "lfs"})
"""Commands that take the git directory from where they run: scripts and programs around git."""
_HELPER_USERNAME, _HELPER_PASSWORD = "KERUTAPREP_GIT_USERNAME", "KERUTAPREP_GIT_PASSWORD"
_HELPER = (
    """!f() { test "$1" = get && """
    f"""printf 'username=%s\npassword=%s\n' "${_HELPER_USERNAME}" "${_HELPER_PASSWORD}"; }}; f"""
)
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
_DROPPED = re.compile(r"GIT_.*|LC_.*|LANG|LANGUAGE|SSH_ASKPASS.*|PAGER|EDITOR|VISUAL|LESS|LV")
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
    """

    def __init__(
        self,
        settings: PrepSettings,
        masker: Masker,
        record: StepRecord,
        workspace: Workspace,
        on_its_way: Callable[[], None],
    ) -> None:
        self._workspace = workspace
        self._on_its_way = on_its_way
        self._disarmed: list[tuple[str, str]] = []
        self.settings = settings
        self._masker = masker
        self._record = record

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
        place = ["--git-dir", str(at), "--work-tree", str(work_tree)] if work_tree else ["--git-dir", str(at)]
        command = ["git", *(() if arguments[0] in _FINDS_ITS_PLACE else place), *arguments]
        environment = {**self._environment(url, own_hooks=own_hooks), **(extra or {})}
        try:
            with self._ssh_key(url, environment):
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
                )
        except FileNotFoundError as error:
            raise SettingsError(f"git can't be started: {error.strerror}; is it on PATH?") from error
        except IdleError as error:
            raise TransportError(f"git {arguments[0]} stalled: {error}") from error
        stderr.close()
        if status:
            raise classify(f"git {arguments[0]}", status, list(last_lines))
        return b"".join(stdout).decode(errors="surrogateescape")

    async def disarm(self, git_dir: Path) -> None:
        """Have no later command obey what an existing clone's own configuration would have git run.

        Whoever could write to the volume could have put it there. Git LFS in the form in which it sets itself up is
        left as it is: without it the tree would look changed.

        Args:
            git_dir: the clone's; one that is none has nothing to disarm.
        """
        try:
            listing = await self.run("config", "--null", "--show-scope", "--includes", "--list", at=git_dir)
        except PrepError:
            return
        fields = listing.split("\0")
        pairs = zip(fields[0::2], fields[1::2], strict=False)
        entries = [entry.partition("\n") for scope, entry in pairs if scope in _ITS_OWN]
        armed = [key for key, _, value in entries if _RUNS_COMMANDS.fullmatch(key) and (key, value) not in _LFS]
        self._disarmed = [(key, _HARMLESS.get(key.rpartition(".")[2], "")) for key in armed]

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
        inherited = self.settings.environment
        environment = {
            name: value for name, value in inherited.items() if not _DROPPED.fullmatch(name) and not is_secret(name)
        }
        environment |= {
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_PAGER": "cat",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_ALLOW_PROTOCOL": "https:http:ssh:git" + (":file" if url is not None and url.scheme == "file" else ""),
        }
        # libcurl takes a plain http proxy from the lower-case name alone; git has names of its own for certificates.
        if "http_proxy" not in inherited and inherited.get("HTTP_PROXY"):
            environment["http_proxy"] = inherited["HTTP_PROXY"]
        for ours, gits in (("SSL_CERT_FILE", "GIT_SSL_CAINFO"), ("SSL_CERT_DIR", "GIT_SSL_CAPATH")):
            if inherited.get(ours):
                environment[gits] = inherited[ours]
        if any(key == "core.gitproxy" for key, _ in self._disarmed):
            environment["GIT_PROXY_COMMAND"] = ""  # of this one the first entry counts, not the last
        hooks = [] if own_hooks else [("core.hooksPath", os.devnull)]
        config = [*hooks, *self._config(), *self._disarmed, *self._credentials(url, environment)]
        return environment | environment_config(config)

    def _config(self) -> list[tuple[str, str]]:
        stall = str(math.ceil(self.settings.read_timeout))
        return [
            # What could run a command or ask a question.
            ("core.fsmonitor", "false"),
            ("core.askPass", ""),
            ("credential.helper", ""),
            # The volume may belong to another user, who is trusted with it by the pod.
            ("safe.directory", "*"),
            ("http.lowSpeedLimit", "1"),
            ("http.lowSpeedTime", stall),
            ("fetch.unpackLimit", "1"),  # keep the pack: a tenth faster than loose objects
            ("checkout.workers", "2"),
            ("gc.auto", "0"),  # maintenance would go on after the call
            ("maintenance.auto", "false"),
            ("fetch.recurseSubmodules", "false"),
            ("submodule.recurse", "false"),
            ("init.defaultRefFormat", "files"),
            ("init.defaultBranch", "main"),
            ("advice.detachedHead", "false"),
        ]

    def _credentials(self, url: CloneURL | None, environment: dict[str, str]) -> list[tuple[str, str]]:
        if url is None or url.scheme not in {"http", "https"}:
            return []
        username, password = url.username or self.settings.git_username, url.password
        if password is None:
            password = self.settings.read_git_token()
        if password is None and url.username is None:
            return []
        if password is None:  # a lone user is how tokens are written: https://TOKEN@host/
            password = ""
        username = username or "x-access-token"
        self._masker.add_login(username, password)
        environment |= {_HELPER_USERNAME: username, _HELPER_PASSWORD: password}
        return [(f"credential.{url.origin}.helper", _HELPER)]

    @contextmanager
    def _ssh_key(self, url: CloneURL | None, environment: dict[str, str]) -> Iterator[None]:
        """Set ssh up: no prompt, known hosts only, and the key from memory, as ssh refuses a file others may read."""
        if url is None or url.scheme != "ssh":
            yield
            return
        settings = self.settings
        words = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
        words += ["-o", f"ConnectTimeout={math.ceil(settings.connect_timeout)}"]
        words += ["-o", f"ServerAliveInterval={math.ceil(settings.read_timeout / 2)}", "-o", "ServerAliveCountMax=2"]
        if settings.ssh_known_hosts_file:
            words += ["-o", f"UserKnownHostsFile={_ssh_quote(settings.ssh_known_hosts_file)}"]
        descriptor = _in_memory(settings.ssh_key_file) if settings.ssh_key_file else None
        if descriptor is not None:
            key = f"/proc/{os.getpid()}/fd/{descriptor}"
            words += ["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i", key]
        environment["GIT_SSH_COMMAND"] = shlex.join(words)
        environment["GIT_SSH_VARIANT"] = "ssh"
        try:
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _ssh_quote(path: Path) -> str:
    return '"' + str(path).replace("%", "%%") + '"'


def _in_memory(key_file: Path) -> int:
    """A private copy that no disk ever sees and that ends with the process (memfd_create(2))."""
    try:
        key = key_file.read_bytes()
    except OSError as error:
        raise CredentialsError(f"the ssh key can't be read from {key_file}: {error.strerror}") from error
    descriptor = os.memfd_create("kerutaprep-ssh-key")
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, key if key.endswith(b"\n") else key + b"\n")
    return descriptor


def environment_config(config: list[tuple[str, str]]) -> dict[str, str]:
    """Variables that give git its configuration for one call (git-config(1), GIT_CONFIG_COUNT)."""
    variables = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables
