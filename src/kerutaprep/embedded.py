"""A small keruta API and a git server on loopback: what the demo, the tests and the benchmarks run against."""

from __future__ import annotations

import os
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from aiohttp.typedefs import Middleware

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Content:
    """What an embedded API has to give, by id."""

    scripts: dict[str, bytes] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)
    repositories: dict[str, dict[str, object]] = field(default_factory=dict)
    token: str | None = None
    """Asked of every request where it is set."""


def api_application(content: Content, *middlewares: Middleware, prefix: str = "") -> web.Application:
    """The three requests of keruta-api over what ``content`` holds at the time of each."""

    def answer(found: bytes | None, what: str) -> web.Response:
        if found is None:
            return _error(404, "NOT_FOUND", f"no such {what}")
        return web.Response(body=found, content_type="text/plain")

    async def script(request: web.Request) -> web.Response:
        return answer(content.scripts.get(request.match_info["id"]), "script")

    async def document(request: web.Request) -> web.Response:
        return answer(content.documents.get(request.match_info["id"]), "document")

    async def repository(request: web.Request) -> web.Response:
        found = content.repositories.get(request.match_info["id"])
        return _error(404, "NOT_FOUND", "no such repository") if found is None else web.json_response(found)

    @web.middleware
    async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
        if content.token and request.headers.get("Authorization") != f"Bearer {content.token}":
            return _error(401, "UNAUTHORIZED", "the token is not valid")
        return await handler(request)

    application = web.Application(middlewares=[*middlewares, authorize])
    application.add_routes(
        [
            web.get(f"{prefix}/api/v1/repositories/{{id}}/script", script),
            web.get(f"{prefix}/api/v1/documents/{{id}}/content", document),
            web.get(f"{prefix}/api/v1/repositories/{{id}}", repository),
        ]
    )
    return application


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message, "status": status}}, status=status)


def git_application(root: Path, *middlewares: Middleware) -> web.Application:
    """Every bare repository below ``root`` over smart HTTP, by git-http-backend(1)."""

    async def backend(request: web.Request) -> web.Response:
        body = await request.read()
        result = await anyio.run_process(
            ["git", "http-backend"], input=body, env=_cgi_environment(request, root, len(body)), check=False
        )
        head, _, payload = result.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, headers=headers, body=payload)

    application = web.Application(middlewares=middlewares, client_max_size=1024**3)
    application.router.add_route("*", "/{path:.*}", backend)
    return application


def _cgi_environment(request: web.Request, root: Path, length: int) -> Mapping[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        "REQUEST_METHOD": request.method,
        "REMOTE_USER": "someone",
        "REMOTE_ADDR": "127.0.0.1",
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query_string,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(length),
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
    }


def delayed(seconds: float) -> Middleware:
    """A middleware that lets every request wait."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        await anyio.sleep(seconds)
        return await handler(request)

    return middleware


@asynccontextmanager
async def serve(application: web.Application, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve an application on a free port of loopback, and give its URL without a slash at the end."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"{'https' if tls else 'http'}://{host}:{port}"
    finally:
        await runner.cleanup()


def make_repository(path: Path, files: Mapping[str, str | bytes], *, branch: str = "main") -> str:
    """Make a bare repository with one commit.

    Returns:
        the commit's id.
    """
    subprocess.run(["git", "init", "--quiet", "--bare", f"--initial-branch={branch}", str(path)], check=True)
    return commit_files(path, files, branch=branch)


def commit_files(path: Path, files: Mapping[str, str | bytes | None], *, branch: str, message: str = "Begin") -> str:
    """Add a commit to a branch of a bare repository, with git-fast-import(1): no work tree, and the same ids each time.

    Args:
        path: the repository.
        files: their contents by path; None removes one.
        branch: made where it is not there.
        message: of the commit.

    Returns:
        the commit's id.
    """
    name = f"refs/heads/{branch}"
    known = subprocess.run(
        ["git", "-C", str(path), "rev-parse", "-q", "--verify", name], capture_output=True, check=False
    )
    stream = bytearray(f"commit {name}\ncommitter Keruta <keruta@localhost> 1700000000 +0000\n".encode())
    stream += _data(message.encode())
    if known.returncode == 0:
        stream += f"from {known.stdout.decode().strip()}\n".encode()
    for file, text in files.items():
        if text is None:
            stream += f"D {file}\n".encode()
        else:
            mode = "100755" if file.endswith(".sh") else "100644"
            stream += f"M {mode} inline {file}\n".encode() + _data(text.encode() if isinstance(text, str) else text)
    subprocess.run(["git", "-C", str(path), "fast-import", "--quiet"], input=bytes(stream), check=True)
    tip = subprocess.run(["git", "-C", str(path), "rev-parse", name], capture_output=True, check=True)
    return tip.stdout.decode().strip()


def _data(content: bytes) -> bytes:
    return f"data {len(content)}\n".encode() + content + b"\n"
