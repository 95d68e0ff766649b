"""One case of the long-form fault test: its directory, the programs run in it, and what must be there at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from tests.torture.upstream import CHANGED, OWN_NAMES, read_tree

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Mapping

    from anyio.abc import Process

    from tests.torture.upstream import Tree, Upstream

LONGEST_RUN = 90.0
"""Seconds after which a program counts as one that does not end."""
SCRIPT = b"#!/bin/sh\nsleep 0.05\necho done > .keruta/installed\n"
_SHOWN = 6


@dataclass
class Run:
    """A program that ended by itself."""

    code: int
    seconds: float
    stderr: str


@dataclass
class Scene:
    """A case's own directory and what is expected of it."""

    directory: Path
    upstream: Upstream
    rng: random.Random
    api_url: str
    repository_url: str
    documents: Mapping[str, bytes]
    arguments: tuple[str, ...] = ()
    work: Path = field(init=False)
    commits: set[str] = field(init=False)
    """Those that may be checked out at the end."""
    theirs: dict[str, bytes] = field(default_factory=dict)
    """Somebody's files and edits, which must be there at the end, by path."""
    aside: bytes | None = None
    """An edit that may have been kept in ``.keruta/kept`` instead of in its place."""
    earlier: dict[Path, bytes] = field(default_factory=dict)
    """What an earlier run left under the final names, which a run that fails may leave there."""
    runs: int = 0

    def __post_init__(self) -> None:
        self.work = self.directory / "work"
        self.commits = {self.upstream.after}
        self.directory.mkdir(parents=True)

    def put(self, name: str, content: bytes) -> None:
        """Write what somebody wants to find again."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.theirs[name] = content

    def use_clone(self) -> None:
        """Begin with a clone from before the push."""
        self.upstream.copy_template(self.work, self.repository_url)
        keruta = self.work / ".keruta"
        names = (keruta / "README.md", keruta / "install.sh", *(keruta / "documents").iterdir())
        self.earlier = {path: path.read_bytes() for path in names}

    @asynccontextmanager
    async def program(self, *arguments: str) -> AsyncIterator[Process]:
        """Start the program; what it says goes to a file, since a pipe would be held open by what it leaves behind."""
        self.runs += 1
        identities = [word for name in self.documents for word in ("--document-id", name)]
        command = [
            *(sys.executable, "-m", "kerutaprep", "init", "--repository-id", "shop", *identities),
            *("--api-url", self.api_url, "--work-dir", str(self.work), *self.arguments, *arguments),
        ]
        kept = ("PATH", "HOME", "PYTHONPATH", "LANG")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment["KERUTA_TERMINATION_LOG"] = str(self.directory / "termination-log")
        with self._output.open("wb") as output:
            process = await anyio.open_process(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            with anyio.CancelScope(shield=True), anyio.fail_after(10):
                await process.wait()

    @property
    def _output(self) -> Path:
        return self.directory / f"output-{self.runs}"

    async def run(self, *arguments: str) -> Run:
        """Run the program to its end."""
        started = time.monotonic()
        async with self.program(*arguments) as process:
            with anyio.move_on_after(LONGEST_RUN):
                await process.wait()
            code = process.returncode
        seconds = time.monotonic() - started
        return Run(-999 if code is None else code, seconds, self._output.read_text(errors="replace"))

    async def recover(self, *arguments: str) -> list[str]:
        """Run the program once more, plainly, and give what is wrong then."""
        ended = await self.run(*arguments)
        if ended.code:
            return [f"a plain run ended with {ended.code}: {ended.stderr[-600:]}"]
        return await self.problems()

    async def problems(self) -> list[str]:
        """What is not as it must be after a run that succeeded."""
        return await anyio.to_thread.run_sync(self._problems)

    def _problems(self) -> list[str]:
        head = self._git("rev-parse", "HEAD").strip()
        if head not in self.commits:
            return [f"HEAD is {head or 'nothing'}, and not one of {sorted(self.commits)}"]
        return [
            *self._wrong_files(head),
            *self._wrong_git(head),
            *self.partial_names(whole=True),
            *[f"{lock} is left" for lock in (self.work / ".git").rglob("*.lock")],
            *[f"{note} is left" for note in (self.work / ".git").glob("kerutaprep-*")],
            *self.left_parts(),
            *self._wrong_report(),
            *[f"process {pid} is left: {words}" for pid, words in left_over(self.work).items()],
            *self._wrong_kept(),
        ]

    def _wrong_files(self, head: str) -> list[str]:
        expected = {name: entry for name, entry in self.upstream.trees[head].items() if not self._is_ours(name)}
        tree = {name: entry for name, entry in read_tree(self.work).items() if not self._is_ours(name)}
        expected |= {name: (expected.get(name, ("file",))[0], content) for name, content in self.theirs.items()}
        if self.aside is not None and self.aside in tree.get(CHANGED, ("", b""))[1]:
            del expected[CHANGED], tree[CHANGED]  # the edit is where it was made
        wrong = [name for name in sorted(expected.keys() | tree.keys()) if expected.get(name) != tree.get(name)]
        return [_difference(name, expected, tree) for name in wrong[:_SHOWN]]

    def _is_ours(self, name: str) -> bool:
        ours = (".keruta/documents/", ".keruta/kept/", ".keruta/.kerutaprep-part-")
        return name in OWN_NAMES or name == ".keruta/installed" or name.startswith(ours)

    def _wrong_git(self, head: str) -> list[str]:
        problems = []
        status = set(self._git("status", "--porcelain", "--untracked-files=all").splitlines())
        if self.aside is not None:
            status.discard(f" M {CHANGED}")
        if status != (expected := set(self._status(head))):
            problems.append(f"git status says {sorted(status)[:_SHOWN]}, and not {sorted(expected)[:_SHOWN]}")
        if self._git("rev-parse", "--abbrev-ref", "HEAD", "@{upstream}").split() != ["main", "origin/main"]:
            problems.append("the branch is not main, or does not track origin/main")
        result = self._run_git("fsck", "--strict")
        if result.returncode:
            problems.append(f"git fsck: {result.stderr[-300:]}")
        return problems

    def _status(self, head: str) -> list[str]:
        tree = self.upstream.trees[head]
        shown = [name for name in self.theirs if not name.endswith(".log") and not name.startswith(".keruta/")]
        return [f" M {name}" if name in tree else f"?? {name}" for name in shown]

    def partial_names(self, *, whole: bool = False) -> list[str]:
        """Which final names hold something else than the whole file, or, where all must be ``whole``, are absent."""
        keruta = self.work / ".keruta"
        expected = {keruta / "documents" / name: content for name, content in self.documents.items()}
        expected |= {keruta / "README.md": next(iter(self.documents.values())), keruta / "install.sh": SCRIPT}
        if whole:
            expected[keruta / "installed"] = b"done\n"
        problems = []
        for path, content in expected.items():
            found = path.read_bytes() if path.is_file() else None
            if found != content and (whole or found not in {None, self.earlier.get(path)}):
                problems.append(f"{path} has {'nothing' if found is None else len(found)} of {len(content)} bytes")
        return problems

    def left_parts(self) -> list[str]:
        """What a run left of its parts."""
        return [f"{part} is left" for part in (self.work / ".keruta").glob(".kerutaprep-part-*")]

    def problems_of_failure(self, ended: Run) -> list[str]:
        """What is not as it must be after a run that failed by itself."""
        problems = self.partial_names()
        problems += [f"process {pid} is left: {words}" for pid, words in left_over(self.work).items()]
        last_line = ended.stderr.rstrip("\n").rpartition("\n")[2]
        if "failed: " not in last_line:
            problems.append("the last line does not say what failed")
        return [f"after the failure: {problem}" for problem in problems]

    def _wrong_report(self) -> list[str]:
        report = json.loads((self.work / ".keruta" / "prep.json").read_text())
        return [] if report["outcome"] == "succeeded" else [f"the report says {report['outcome']}"]

    def _wrong_kept(self) -> list[str]:
        kept = self.work / ".keruta" / "kept"
        found = {path.name: path.read_bytes() for path in kept.rglob("*") if path.is_file()}
        if self.aside is None:
            return [
                f"{name} was kept aside ({len(content)} bytes), which nobody wrote" for name, content in found.items()
            ]
        places = [entry[1] for entry in read_tree(self.work).values() if self.aside in entry[1]]
        return [] if places else ["an edit was lost"]

    def _run_git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(self.work), *arguments]
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=60)

    def _git(self, *arguments: str) -> str:
        return self._run_git(*arguments).stdout


def _difference(name: str, expected: Tree, tree: Tree) -> str:
    def words(entry: tuple[str, bytes] | None) -> str:
        return "absent" if entry is None else f"a {entry[0]} of {len(entry[1])} bytes ({entry[1][:20]!r}…)"

    return f"{name} is {words(tree.get(name))}, and not {words(expected.get(name))}"


def left_over(work: Path) -> dict[int, str]:
    """The processes that a run started and that are at work in a directory, with their command lines."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and _is_at(Path(entry.path), str(work)):
            try:
                found[int(entry.name)] = Path(entry.path, "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
    return found


def _is_at(process: Path, work: str) -> bool:
    try:
        if b"KERUTAPREP_" not in (process / "environ").read_bytes():
            return False
        links = [process / "cwd", *(process / "fd").iterdir()]
    except OSError:
        return False
    places = []
    for link in links:
        with suppress(OSError):
            places.append(str(link.readlink()))
    return any(place == work or place.startswith(f"{work}/") for place in places)
