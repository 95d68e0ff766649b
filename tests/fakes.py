"""Servers that do as a test tells them, and the programs a test runs against them."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from aiohttp import web

from kerutaprep import PrepSettings
from kerutaprep.embedded import Content, api_application, commit_files, git_application, make_repository, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Answers in place of the server; None lets the request through."""

SCRIPT = b"#!/bin/sh\necho installed > installed\n"
DOCUMENT = b"# The task\n"
FILES = {"README.md": "# A shop\n", "src/basket.py": "basket = []\n", "run.sh": "#!/bin/sh\n"}


@dataclass
class Fakes:
    """Sits before a server: notes each request, and answers with a fault where one is due."""

    requests: list[web.Request] = field(default_factory=list)
    _faults: list[tuple[str, deque[Fault]]] = field(default_factory=list)

    def on(self, path_part: str, *faults: Fault) -> None:
        """Answer the next requests whose path or query holds this with these, one each."""
        self._faults.append((path_part, deque(faults)))

    def to(self, path_part: str) -> list[web.Request]:
        """The requests so far whose path or query holds this."""
        return [request for request in self.requests if path_part in request.path_qs]

    @property
    def middleware(self) -> Any:
        """For the server's application."""

        @web.middleware
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.requests.append(request)
            for path_part, faults in self._faults:
                if path_part in request.path_qs and faults:
                    response = await faults.popleft()(request)
                    if response is not None:
                        return response
            return await handler(request)

        return answer


def status(code: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Fault:
    """Answer with a status."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers=headers, body=body)

    return answer


def body(content: bytes, content_type: str = "text/plain", headers: Mapping[str, str] | None = None) -> Fault:
    """Answer with a body."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=content, content_type=content_type, headers=headers)

    return answer


async def reset(request: web.Request) -> web.StreamResponse:
    """Cut the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def truncated(content: bytes, sent: int, headers: Mapping[str, str] | None = None) -> Fault:
    """Promise the whole content, send the first bytes of it, and cut the connection."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={**(headers or {}), "Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[:sent])
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


def login(user: str, password: str) -> Fault:
    """Ask for a user and a password, and let those through who have them (RFC 7617)."""
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    async def ask(request: web.Request) -> web.StreamResponse | None:
        if request.headers.get("Authorization") == expected:
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})

    return ask


@dataclass
class Gate:
    """A fault that holds a request until it is opened, and tells when one has come."""

    arrived: anyio.Event = field(default_factory=anyio.Event)
    opened: anyio.Event = field(default_factory=anyio.Event)

    async def __call__(self, _request: web.Request) -> None:
        """Hold."""
        self.arrived.set()
        await self.opened.wait()


@dataclass
class Stage:
    """Everything a run needs, on loopback."""

    root: Path
    api_url: str
    git_url: str
    content: Content
    api: Fakes
    git: Fakes
    commit: str

    @property
    def work(self) -> Path:
        """The work directory."""
        return self.root / "work"

    @property
    def repository(self) -> Path:
        """The bare repository that is served."""
        return self.root / "served" / "shop.git"

    @property
    def repository_url(self) -> str:
        """Its clone URL."""
        return f"{self.git_url}/shop.git"

    def settings(self, **changes: object) -> PrepSettings:
        """Settings for a plain run: the clone URL is looked up; one quick retry."""
        return PrepSettings(
            **{
                "repository_id": "shop",
                "document_ids": ["task-1"],
                "api_url": self.api_url,
                "work_dir": self.work,
                "retries": 1,
                **changes,
            }
        )

    def commit_files(self, files: Mapping[str, str | bytes | None], branch: str = "main") -> str:
        """Push a commit to the served repository, as somebody else would."""
        return commit_files(self.repository, files, branch=branch, message="Change")

    def keruta(self, name: str) -> Path:
        """A file of Keruta's in the work directory."""
        return self.work / ".keruta" / name

    def run_git(self, *arguments: str) -> str:
        """Run git in the work directory as the task's next container would."""
        return run_git(self.work, *arguments)

    async def run_git_online(self, *arguments: str) -> str:
        """The same for a command that talks to the server, which this test's loop serves."""
        return await anyio.to_thread.run_sync(lambda: run_git(self.work, *arguments))

    def command(self, *arguments: str) -> list[str]:
        """The manifest's command line."""
        return [
            *(sys.executable, "-m", "kerutaprep", "init", "--repository-id", "shop", "--document-id", "task-1"),
            *("--api-url", self.api_url, "--work-dir", str(self.work), *arguments),
        ]


@asynccontextmanager
async def open_stage(root: Path, *, prefix: str = "") -> AsyncIterator[Stage]:
    """Serve a repository, a document and a script."""
    served = root / "served"
    served.mkdir()
    commit = make_repository(served / "shop.git", FILES)
    content = Content(scripts={"shop": SCRIPT}, documents={"task-1": DOCUMENT})
    api, git = Fakes(), Fakes()
    async with (
        serve(api_application(content, api.middleware, prefix=prefix)) as api_url,
        serve(git_application(served, git.middleware)) as git_url,
    ):
        content.repositories["shop"] = {"url": f"{git_url}/shop.git"}
        yield Stage(root, api_url + prefix, git_url, content, api, git, commit)


def run_git(directory: Path, *arguments: str) -> str:
    """Run git as a person would, and give what it wrote."""
    identity = ["-c", "user.name=A Person", "-c", "user.email=person@localhost"]
    command = ["git", "-C", str(directory), *identity, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


@dataclass
class Ended:
    """A program that ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """Of stderr."""
        return self.stderr.rstrip("\n").rpartition("\n")[2]


async def run_program(command: list[str], **environment: str) -> Ended:
    """Run a program while the servers answer it."""
    result = await anyio.run_process(command, check=False, env={**os.environ, **environment})
    return Ended(result.returncode, result.stdout.decode(), result.stderr.decode())


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def hang_names(place: Path) -> tuple[Path, dict[str, str]]:
    """A file that is there once a name was looked up, and an environment in which every look-up takes minutes."""
    marker = place / "asked"
    (place / "sitecustomize.py").write_text(
        "import pathlib, socket, time\n"
        f"socket.getaddrinfo = lambda *_, **__: (pathlib.Path({str(marker)!r}).touch(), time.sleep(600))\n"
    )
    return marker, {**os.environ, "PYTHONPATH": str(place)}
