"""Starts the fakes and the links, and knows where each is."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.content import HUGE_BYTES, midsize, small
from kerutaprep.embedded import make_repository

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.content import Repository
    from benchmarks.fakes import Behaviour

_PATIENCE = 30.0
"""Seconds that a server may take to start, and to answer the benchmark."""
FAR = {"delay": 0.025, "rate": 50e6}
"""A git server 50 ms away, with 50 MB/s."""
NARROW = {"delay": 0.0, "rate": 25e6}


@dataclass(frozen=True)
class Servers:
    """Where the servers are."""

    place: Path
    api: int
    narrow_api: int
    git: int
    far_git: int

    def api_url(self, *, narrow: bool = False) -> str:
        """The API's, directly or over a narrow link."""
        return f"http://127.0.0.1:{self.narrow_api if narrow else self.api}"

    def clone_url(self, repository: str, *, far: bool) -> str:
        """A repository's, directly or over the long link."""
        return f"http://127.0.0.1:{self.far_git if far else self.git}/{repository}.git"

    def repository(self, name: str) -> Path:
        """A repository's directory, to commit to."""
        return self.place / f"{name}.git"

    def behave(self, behaviour: Behaviour) -> None:
        """Tell the API how to answer from now on, and to forget who came."""
        self._ask("behaviour", json.dumps(asdict(behaviour)).encode())

    def arrivals(self) -> list[float]:
        """When each request came since the API was last told how to behave; seconds since the epoch."""
        times: list[float] = json.loads(self._ask("arrivals"))
        return times

    def _ask(self, what: str, body: bytes | None = None) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.api_url()}/benchmark/{what}", body, _PATIENCE) as answer:
            data: bytes = answer.read()
            return data


@contextmanager
def serving(place: Path, environment: Mapping[str, str]) -> Iterator[Servers]:
    """Make the repositories, start the servers, and stop them at the end; they stop by themselves where we are killed.

    Args:
        place: an empty directory for what is served.
        environment: theirs.
    """
    for repository in (small(), midsize()):
        _make(place, repository)
    huge = place / "huge"
    with huge.open("wb") as file:
        os.truncate(file.fileno(), HUGE_BYTES)
    with ExitStack() as stack:
        api = stack.enter_context(_server(environment, "benchmarks.fakes", "api", str(huge)))
        git = stack.enter_context(_server(environment, "benchmarks.fakes", "git", str(place)))
        narrow = stack.enter_context(_server(environment, "benchmarks.link", json.dumps({**NARROW, "port": api})))
        far = stack.enter_context(_server(environment, "benchmarks.link", json.dumps({**FAR, "port": git})))
        yield Servers(place, api=api, narrow_api=narrow, git=git, far_git=far)


def _make(place: Path, repository: Repository) -> None:
    path = place / f"{repository.name}.git"
    make_repository(path, repository.files)
    # As a server keeps it: one pack, its deltas found before anybody asks.
    subprocess.run(["git", "-C", str(path), "repack", "-adq"], check=True)


@contextmanager
def _server(environment: Mapping[str, str], module: str, *arguments: str) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
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
                raise RuntimeError(f"{module} did not start")
            port: int = json.loads(line)["port"]
            yield port
            process.stdin.close()
            process.wait(_PATIENCE)
        finally:
            process.kill()  # harmless where it has ended
