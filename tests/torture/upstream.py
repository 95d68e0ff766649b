"""The repository of the long-form fault test: what is in it before and after somebody's push, and a clone to copy."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.fakes import run_git

if TYPE_CHECKING:
    import random
    from pathlib import Path

Tree = dict[str, tuple[str, bytes]]
"""A file's kind (``file``, ``program``, ``link``) and content, by path."""

UNCHANGED = "src/part-1/unchanged.txt"
"""A file that the push does not touch."""
CHANGED = "src/part-2/changed.txt"
"""A file that it changes."""
LEFT = "leaving/0.txt"
"""A file of a directory that it removes."""
OWN_NAMES = frozenset({".keruta/README.md", ".keruta/install.sh", ".keruta/prep.log", ".keruta/prep.json"})
"""What a run makes, whatever the repository tracks there; documents aside."""


def read_tree(root: Path) -> Tree:
    """What is below a directory, ``.git`` aside."""
    tree: Tree = {}
    for where, directories, files in os.walk(root):
        here = root / os.path.relpath(where, root)
        if here == root and ".git" in directories:
            directories.remove(".git")
        links = [name for name in directories if (here / name).is_symlink()]
        for name in (*files, *links):
            tree[os.path.relpath(here / name, root)] = _entry(here / name)
    return tree


def _entry(path: Path) -> tuple[str, bytes]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "link", os.fsencode(path.readlink())
    return "program" if mode & stat.S_IXUSR else "file", path.read_bytes()


@dataclass
class Upstream:
    """The served repository and its two commits."""

    root: Path
    rng: random.Random
    trees: dict[str, Tree] = field(default_factory=dict)
    before: str = ""
    after: str = ""

    @property
    def bare(self) -> Path:
        """The repository as it is served."""
        return self.root / "served" / "shop.git"

    @property
    def template(self) -> Path:
        """A work directory of a run before the push, to be copied."""
        return self.root / "template"

    def make(self) -> None:
        """Make both commits, and serve the first."""
        seed = self.root / "seed"
        _write_first(seed, self.rng)
        run_git(self.root, "init", "--quiet", "--initial-branch=main", str(seed))
        self.before = self._commit(seed)
        _write_second(seed, self.rng)
        self.after = self._commit(seed)
        (self.root / "served").mkdir()
        run_git(self.root, "clone", "--quiet", "--bare", str(seed), str(self.bare))
        run_git(self.bare, "repack", "-a", "-d", "--quiet")  # so that it answers at once, as a forge does
        run_git(self.bare, "config", "pack.window", "0")
        self.show(self.before)

    def show(self, commit: str) -> None:
        """Let the branch be at a commit."""
        run_git(self.bare, "update-ref", "refs/heads/main", commit)

    def copy_template(self, work: Path, url: str) -> None:
        """Make a work directory as an earlier run left it."""
        subprocess.run(["cp", "-a", str(self.template), str(work)], check=True, timeout=60)
        run_git(work, "remote", "set-url", "origin", url)
        run_git(work, "update-index", "-q", "--refresh")

    def _commit(self, seed: Path) -> str:
        run_git(seed, "add", "--all")
        run_git(seed, "commit", "--quiet", "--message=Change")
        commit = run_git(seed, "rev-parse", "HEAD").strip()
        self.trees[commit] = read_tree(seed)
        return commit


def _write(root: Path, name: str, content: str | bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _big(name: str) -> str:
    """A file that takes a while to write, and no time to send."""
    return f"This is a line of {name}.\n" * 8000


def _write_first(seed: Path, rng: random.Random) -> None:
    for number in range(240):
        _write(seed, f"src/part-{number % 7}/deep/er/{number}.bin", rng.randbytes(rng.randrange(6000)))
    for number in range(40):
        _write(seed, f"big/{number % 4}/{number}.txt", _big(f"{number} as it was"))
    for number in range(10):
        _write(seed, f"leaving/{number}.txt", f"{number} leaves\n" * 50)
        _write(seed, f"moving/{number}.txt", f"{number} moves\n" * 50)
    for name in (UNCHANGED, CHANGED, "becomes-a-directory", "becomes-a-directory-too/file", "becomes-a-link"):
        _write(seed, name, f"{name} as it was\n")
    _write(seed, "run.sh", "#!/bin/sh\n")
    (seed / "run.sh").chmod(0o755)
    _write(seed, "becomes-a-program", "#!/bin/sh\n")
    (seed / "link").symlink_to("run.sh")
    (seed / "becomes-a-file").symlink_to("src")
    _write(seed, ".gitignore", "*.log\n")
    for name in ("README.md", "notes.md", "leaves.md", "templates/one.md"):
        _write(seed, f".keruta/{name}", f"the repository's {name}\n")


def _write_second(seed: Path, rng: random.Random) -> None:
    for number in range(0, 240, 4):
        _write(seed, f"src/part-{number % 7}/deep/er/{number}.bin", rng.randbytes(rng.randrange(6000)))
    for number in range(0, 40, 2):
        _write(seed, f"big/{number % 4}/{number}.txt", _big(f"{number} as it is"))
        _write(seed, f"new/{number}/{number}.txt", _big(f"{number}, which is new"))
    shutil.rmtree(seed / "leaving")
    (seed / "moving").rename(seed / "moved")
    _write(seed, CHANGED, "as it is\n" * 200)
    (seed / "becomes-a-directory").unlink()
    _write(seed, "becomes-a-directory/file", "inside\n")
    shutil.rmtree(seed / "becomes-a-directory-too")
    _write(seed, "becomes-a-directory-too", "a file by now\n")
    (seed / "becomes-a-link").unlink()
    (seed / "becomes-a-link").symlink_to(CHANGED)
    (seed / "becomes-a-file").unlink()
    _write(seed, "becomes-a-file", "no link any more\n")
    (seed / "becomes-a-program").chmod(0o755)
    _write(seed, ".keruta/notes.md", "the repository's other notes\n")
    (seed / ".keruta" / "leaves.md").unlink()
