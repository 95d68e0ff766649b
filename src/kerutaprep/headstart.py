"""What a run starts before the program is loaded: git's first conversation with the server, and requests to the API.

To load the program takes longer than a small repository's fetch, or than most answers of the API. So the settings are
checked with the standard library alone, these are started, and the rest is imported while they are under way. The run
then takes over what it finds under the very words that it would have started it with itself.
"""

from __future__ import annotations

import os
import signal
import time

from kerutaprep.api.request import document_path, is_sent_as_written, proxy_for, repository_path, script_path
from kerutaprep.claim import Claim, remove_tree
from kerutaprep.credentials import api_token, git_token
from kerutaprep.errors import CredentialsError, SettingsError
from kerutaprep.git.command import (
    NO_GIT_DIR,
    PACKET_TRACE,
    SSHKey,
    branch_arguments,
    command_line,
    environment_for,
    fetch_arguments,
    listing_arguments,
    login_for,
    require_git,
    require_lfs,
    ssh_environment,
)
from kerutaprep.git.directory import make_git_dir
from kerutaprep.names import parse_clone_url
from kerutaprep.spawn import Spawned, marks

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from kerutaprep.api.first_request import FirstRequest
    from kerutaprep.names import CloneURL

STAGED = "clone/.git"
"""Where, among a run's parts, a fresh clone's git directory is until it is moved in."""


class Checked:
    """Settings as ``options.check_all`` gives them, as attributes."""

    def __init__(self, values: Mapping[str, object], environment: Mapping[str, str]) -> None:
        self.__dict__ |= values
        self.environment = environment

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class HeadStart:
    """Commands and requests that are under way, until the run takes them.

    Attributes:
        claim: the hold of the work directory, None without one.
        begun: when the run and its steps began, by name (``time.monotonic``).
    """

    def __init__(self) -> None:
        self.claim: Claim | None = None
        self.begun: dict[str, float] = {}
        self._commands: dict[tuple[str, ...], Spawned] = {}
        self._requests: dict[str, FirstRequest] = {}
        self._key: SSHKey | None = None

    def begin(self, settings: Checked) -> None:
        """Start what can be started; what can't be is left to the run, which meets the same and tells of it.

        Signals wait until everything that was started is known here.

        Args:
            settings: all of them, checked.
        """
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
        self.begun["run"] = time.monotonic()
        try:
            require_lfs(settings)
            require_git(settings)
            self.claim = Claim(settings.work_dir)
            if settings.repository_url:
                self._ask_git(settings, self.claim)
            self._ask_api(settings)
        except (OSError, RuntimeError, CredentialsError, SettingsError):
            return  # a RuntimeError is a thread that can't be started
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)

    def _ask_git(self, settings: Checked, claim: Claim) -> None:
        """Fetch where there is no clone yet; of one that is there, ask whether the remote has moved."""
        os.getcwd()  # git can't work in a directory that is gone; the run's own commands work in one of ours
        url = parse_clone_url(settings.repository_url, local=True)
        login = login_for(url, settings.git_username, lambda: git_token(settings.git_token, settings.git_token_file))
        environment = environment_for(settings, url, login) | marks(claim.identity)
        if url.scheme == "ssh":
            self._key = SSHKey(settings.ssh_key_file)
            environment |= ssh_environment(settings, self._key.path)
        if os.path.lexists(os.path.join(settings.work_dir, ".git")):
            if settings.on_existing == "update":
                command = command_line(listing_arguments(url, settings.ref, settings.work_branch), at=NO_GIT_DIR)
                self._start(command, environment)
        elif not settings.git_cache_dir:  # a cache's part comes before the server's
            self._fetch(settings, url, os.path.join(claim.parts, STAGED), environment)

    def _fetch(self, settings: Checked, url: CloneURL, git_dir: str, environment: dict[str, str]) -> None:
        try:
            make_git_dir(git_dir, shared=settings.group_write)
        except OSError:
            remove_tree(os.path.dirname(git_dir))  # the run makes it again, and tells of what it meets
            raise
        fetch = command_line(fetch_arguments(url, settings.ref or "HEAD", depth=settings.depth), at=git_dir)
        packets = {"GIT_TRACE_PACKET": os.path.join(git_dir, PACKET_TRACE)}
        self._start(fetch, environment | packets, 0o002 if settings.group_write else -1)
        if settings.work_branch:
            self._start(command_line(branch_arguments(url, settings.work_branch), at=git_dir), environment)

    def _start(self, command: list[str], environment: Mapping[str, str], umask: int = -1) -> None:
        self._commands[tuple(command)] = Spawned(command, environment, umask)
        self.begun.setdefault("repository", self.begun["run"])  # it was given, which is all there is to that step
        self.begun.setdefault("clone", time.monotonic())

    def _ask_api(self, settings: Checked) -> None:
        if is_traced(settings.environment) or proxy_for(settings.api_url, settings.environment):
            return  # a traced request has a header that is not known yet; a proxy is asked in another way
        if not is_sent_as_written(settings.api_url):
            return  # the client would write the host in another way
        from kerutaprep.api.first_request import FirstRequest  # noqa: PLC0415 - git is on its way by now

        token = api_token(settings.api_token, settings.api_token_file)
        paths = [] if settings.repository_url else [("repository", repository_path(settings.repository_id))]
        paths.append(("script", script_path(settings.repository_id)))
        paths += [("documents", document_path(document_id)) for document_id in settings.document_ids]
        for step, path in paths[: settings.max_connections]:
            self.begun.setdefault(step, time.monotonic())
            self._requests[path] = FirstRequest(settings.api_url, path, token, settings.connect_timeout)

    @property
    def began(self) -> bool:
        """Whether anything was started."""
        return bool(self._commands or self._requests)

    @property
    def process_ids(self) -> set[int]:
        """Of the commands that nobody has taken yet."""
        return {child.pid for child in self._commands.values()}

    def take_claim(self) -> Claim | None:
        """The hold of the work directory, which is the taker's from now on."""
        claim, self.claim = self.claim, None
        return claim

    def has_command(self, command: Sequence[str]) -> bool:
        """Whether this very command was started and nobody has taken it."""
        return tuple(command) in self._commands

    def take_command(self, command: Sequence[str]) -> Spawned | None:
        """The process that runs this very command, if it was started; it is the taker's from now on."""
        return self._commands.pop(tuple(command), None)

    def take_request(self, path: str) -> FirstRequest | None:
        """The first attempt at this path, if it is on its way; it is the taker's from now on."""
        request = self._requests.pop(path, None)
        return request if request is not None and request.is_sent else None

    def stop_commands(self) -> None:
        """Stop what nobody has taken; for a thread that may block."""
        while self._commands:
            self._commands.popitem()[1].stop()

    def give_up(self) -> None:
        """Stop and remove whatever nobody has taken; for a thread that may block."""
        self.stop_commands()
        while self._requests:
            self._requests.popitem()[1].close()
        if (claim := self.take_claim()) is not None:
            claim.give_up()
        if self._key is not None:
            self._key.close()


def is_traced(environment: Mapping[str, str]) -> bool:
    """Whether a variable may ask for traces, or has a parent for one (OpenTelemetry, W3C Trace Context)."""
    return any(name == "TRACEPARENT" or name.startswith("OTEL_") for name in environment)
