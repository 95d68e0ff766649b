"""What a git command is: its words, and the known environment that it runs in. Nothing here runs one.

Imports nothing heavy: the program starts its first git before it loads the rest of itself.
"""

from __future__ import annotations

import errno
import os
import re

from kerutaprep.errors import CredentialsError, SettingsError
from kerutaprep.masking import is_secret
from kerutaprep.names import is_commit_id

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Protocol

    from kerutaprep.names import CloneURL

    class Settings(Protocol):
        """What of the settings git's environment depends on; all but the environment as ``PrepSettings`` has it."""

        @property
        def environment(self) -> Mapping[str, str]: ...  # noqa: D102 - described there
        @property
        def lfs(self) -> bool: ...  # noqa: D102 - likewise
        @property
        def connect_timeout(self) -> float: ...  # noqa: D102 - likewise
        @property
        def read_timeout(self) -> float: ...  # noqa: D102 - likewise
        @property
        def ssh_key_file(self) -> os.PathLike[str] | str | None: ...  # noqa: D102 - likewise
        @property
        def ssh_known_hosts_file(self) -> os.PathLike[str] | str | None: ...  # noqa: D102 - likewise


Entry = tuple[str, str]
"""A key and a value of git's configuration."""
PACKET_TRACE = "kerutaprep-packets"
"""A file in a git directory, to which a fetch writes what is said on the wire (git(1), GIT_TRACE_PACKET)."""

NO_GIT_DIR = os.devnull
"""Stands in for a git directory where a command needs none: there is nothing in it that git could obey or write to."""

_FETCH = ("fetch", "--progress", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance")
_FINDS_ITS_PLACE = frozenset({"init", "submodule", "lfs"})
"""Commands that take the git directory from where they run: scripts and programs around git."""
_HELPER_USERNAME, _HELPER_PASSWORD = "KERUTAPREP_GIT_USERNAME", "KERUTAPREP_GIT_PASSWORD"
_HELPER = (
    """!f() { test "$1" = get && """
    f"""printf 'username=%s\npassword=%s\n' "${_HELPER_USERNAME}" "${_HELPER_PASSWORD}"; }}; f"""
)
_DROPPED = r"GIT_.*|LC_.*|LANG|LANGUAGE|SSH_ASKPASS.*|PAGER|EDITOR|VISUAL|LESS|LV"


def command_line(arguments: Iterable[str], *, at: str, work_tree: str | None = None) -> list[str]:
    """The words of a git command, the program's name first.

    Args:
        arguments: the subcommand and what follows it.
        at: the git directory, or where to start for a command that finds it by itself.
        work_tree: for a command that needs one.
    """
    subcommand, *rest = arguments
    if subcommand in _FINDS_ITS_PLACE:
        return ["git", subcommand, *rest]
    place = ["--git-dir", at, *(["--work-tree", work_tree] if work_tree else [])]
    return ["git", *place, subcommand, *rest]


def fetch_arguments(url: CloneURL, *refspecs: str, depth: int) -> list[str]:
    """The arguments of a fetch (git-fetch(1)); a depth of 0 is all that is missing."""
    return [*_FETCH, *([f"--depth={depth}"] if depth else []), url.text, *refspecs]


def branch_arguments(url: CloneURL, branch: str) -> list[str]:
    """The arguments that ask whether a server has a branch (git-ls-remote(1))."""
    return ["ls-remote", url.text, f"refs/heads/{branch}"]


def listing_arguments(url: CloneURL, ref: str | None, work_branch: str | None) -> list[str]:
    """The arguments that ask what the refs are that a run is about; to be run at ``NO_GIT_DIR``."""
    named = [ref] if ref and not is_commit_id(ref) else []
    named += [f"refs/heads/{work_branch}"] if work_branch else []
    return ["ls-remote", "--symref", url.text, "HEAD", *named]


def require_lfs(settings: Settings) -> None:
    """Refuse settings that ask for git-lfs where there is none.

    Raises:
        SettingsError: as said.
    """
    if settings.lfs:
        import shutil  # noqa: PLC0415 - for LFS only

        if shutil.which("git-lfs", path=settings.environment.get("PATH")) is None:
            raise SettingsError("--lfs / KERUTA_GIT_LFS: git-lfs is not installed; it is a package of that name")


def require_git(settings: Settings) -> None:
    """Refuse to begin where there is no git.

    Raises:
        SettingsError: as said.
    """
    for directory in os.get_exec_path(settings.environment):
        if os.access(os.path.join(directory, "git"), os.X_OK):
            return
    raise SettingsError(f"git can't be started: {os.strerror(errno.ENOENT)}; is it on PATH?")


def login_for(url: CloneURL, username: str | None, read_token: Callable[[], str | None]) -> tuple[str, str] | None:
    """The user and password that a server is given; what a URL holds wins.

    A lone user is how tokens are written: ``https://TOKEN@host/``.

    Raises:
        CredentialsError: the token can't be read.
    """
    if url.scheme not in {"http", "https"}:
        return None
    password = read_token() if url.password is None else url.password
    if password is None and url.username is None:
        return None
    return url.username or username or "x-access-token", password or ""


def environment_for(
    settings: Settings,
    url: CloneURL | None = None,
    login: tuple[str, str] | None = None,
    *,
    disarmed: Iterable[Entry] = (),
    own_hooks: bool = False,
) -> dict[str, str]:
    """The whole environment of a git command.

    Args:
        settings: the inherited environment, and time-outs.
        url: for a command that talks to a server: where. Credentials go there and nowhere else.
        login: user and password for it.
        disarmed: what overrides a clone's own configuration.
        own_hooks: let the command see where the user's hooks are, for one that installs some.
    """
    inherited = settings.environment
    environment = {
        name: value for name, value in inherited.items() if not re.fullmatch(_DROPPED, name) and not is_secret(name)
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
    if any(key == "core.gitproxy" for key, _ in disarmed):
        environment["GIT_PROXY_COMMAND"] = ""  # of this one the first entry counts, not the last
    config = [*([] if own_hooks else [("core.hooksPath", os.devnull)]), *_config(settings.read_timeout), *disarmed]
    if url is not None and login is not None:
        environment |= dict(zip((_HELPER_USERNAME, _HELPER_PASSWORD), login, strict=True))
        config.append((f"credential.{url.origin}.helper", _HELPER))
    return environment | environment_config(config)


def _config(read_timeout: float) -> list[Entry]:
    return [
        # What could run a command or ask a question.
        ("core.fsmonitor", "false"),
        ("core.askPass", ""),
        ("credential.helper", ""),
        # The volume may belong to another user, who is trusted with it by the pod.
        ("safe.directory", "*"),
        ("http.lowSpeedLimit", "1"),
        ("http.lowSpeedTime", _whole(read_timeout)),
        ("fetch.unpackLimit", "1"),  # keep the pack: a tenth faster than loose objects
        ("checkout.workers", "2"),
        ("checkout.thresholdForParallelism", "1000"),  # of fewer files, one is done before two have started
        ("gc.auto", "0"),  # maintenance would go on after the call
        ("maintenance.auto", "false"),
        ("fetch.recurseSubmodules", "false"),
        ("submodule.recurse", "false"),
        ("init.defaultRefFormat", "files"),
        ("init.defaultBranch", "main"),
        ("advice.detachedHead", "false"),
    ]


def environment_config(config: list[Entry]) -> dict[str, str]:
    """Variables that give git its configuration for one call (git-config(1), GIT_CONFIG_COUNT)."""
    variables = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables


class SSHKey:
    """A private key that ssh can use whatever the mode of its file: in memory, and gone with this process.

    Args:
        file: the key's file; None for none.

    Raises:
        CredentialsError: it can't be read.
    """

    def __init__(self, file: os.PathLike[str] | str | None) -> None:
        self._descriptor = None if file is None else _in_memory(file)

    @property
    def path(self) -> str | None:
        """Where ssh finds it, until ``close``."""
        return None if self._descriptor is None else f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def close(self) -> None:
        """Forget the key."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def ssh_environment(settings: Settings, key: str | None) -> dict[str, str]:
    """Variables by which git starts ssh: no prompt, and known hosts only (git(1), GIT_SSH_COMMAND; ssh_config(5)).

    Args:
        settings: the time-outs and the known hosts.
        key: the private key's path; None for ssh's own choice.
    """
    import shlex  # noqa: PLC0415 - for an ssh URL only

    words = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no"]
    words += ["-o", f"ConnectTimeout={_whole(settings.connect_timeout)}"]
    words += ["-o", f"ServerAliveInterval={_whole(settings.read_timeout / 2)}", "-o", "ServerAliveCountMax=2"]
    if settings.ssh_known_hosts_file:
        words += ["-o", f"UserKnownHostsFile={_ssh_quote(settings.ssh_known_hosts_file)}"]
    if key is not None:
        words += ["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i", key]
    return {"GIT_SSH_COMMAND": shlex.join(words), "GIT_SSH_VARIANT": "ssh"}


def _whole(seconds: float) -> str:
    """Seconds rounded up, as programs want them that know whole ones only."""
    return str(-int(-seconds // 1))


def _ssh_quote(path: os.PathLike[str] | str) -> str:
    return '"' + os.fspath(path).replace("%", "%%") + '"'


def _in_memory(key_file: os.PathLike[str] | str) -> int:
    """A private copy that no disk ever sees and that ends with the process (memfd_create(2))."""
    try:
        with open(key_file, "rb") as file:
            key = file.read()
    except OSError as error:
        raise CredentialsError(f"the ssh key can't be read from {key_file}: {error.strerror}") from error
    descriptor = os.memfd_create("kerutaprep-ssh-key")
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, key if key.endswith(b"\n") else key + b"\n")
    return descriptor
