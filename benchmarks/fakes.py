"""The slow API and the git server, in a process of their own on loopback: ``python -m benchmarks.fakes``."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from aiohttp import web

from benchmarks.scenarios import DOCUMENT, DOCUMENT_ID, FILES, REPOSITORY, SCENARIOS, Scenario
from kerutaprep.embedded import Content, api_application, delayed, git_application, make_repository, serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aiohttp.typedefs import Handler, Middleware

_PATIENCE = 30.0
"""Seconds that the servers may take to start, and to stop."""


@dataclass(frozen=True)
class Servers:
    """Where the servers of a scenario are."""

    api_url: str
    clone_url: str

    @property
    def script_url(self) -> str:
        """The install script's place."""
        return f"{self.api_url}/api/v1/repositories/{REPOSITORY}/script"

    @property
    def document_url(self) -> str:
        """The document's place."""
        return f"{self.api_url}/api/v1/documents/{DOCUMENT_ID}/content"


@contextmanager
def running(scenario: Scenario, directory: Path, environment: Mapping[str, str]) -> Iterator[Servers]:
    """Start the servers, and stop them at the end; they stop by themselves where the benchmark is killed.

    Args:
        scenario: what they serve, and how slowly.
        directory: an empty one, for the repository.
        environment: theirs.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.fakes", scenario.name, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        cwd=Path(__file__).parent.parent,
    ) as process:
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            ready, _, _ = select.select([process.stdout], [], [], _PATIENCE)
            line = process.stdout.readline() if ready else b""
            if not line:
                raise RuntimeError("the servers did not start")
            yield Servers(**json.loads(line))
            process.stdin.close()
            process.wait(_PATIENCE)
        finally:
            process.kill()  # harmless where it has ended


def _slow_clone(seconds: float) -> Middleware:
    """A middleware that delays a clone as a whole: over protocol v2 each begins with one request for info/refs."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.endswith("/info/refs"):
            await anyio.sleep(seconds)
        return await handler(request)

    return middleware


async def _serve(scenario: Scenario, directory: Path) -> None:
    make_repository(directory / f"{REPOSITORY}.git", FILES)
    content = Content(scripts={REPOSITORY: scenario.script}, documents={DOCUMENT_ID: DOCUMENT})
    async with (
        serve(git_application(directory, _slow_clone(scenario.clone_delay))) as git_url,
        serve(api_application(content, delayed(scenario.api_delay))) as api_url,
    ):
        print(json.dumps({"api_url": api_url, "clone_url": f"{git_url}/{REPOSITORY}.git"}), flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)  # until the benchmark closes it, or is gone


if __name__ == "__main__":
    chosen = next(scenario for scenario in SCENARIOS if scenario.name == sys.argv[1])
    anyio.run(_serve, chosen, Path(sys.argv[2]))
