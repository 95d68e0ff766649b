"""A new git directory, as ``git init`` would make it without a template, and without a process.

The layout is that of gitrepository-layout(5). What a file system can't do is probed and stored as git-config(1) says of
``core.fileMode``, ``core.symlinks`` and ``core.ignoreCase``.
"""

from __future__ import annotations

import os

_DIRECTORIES = ("objects", "objects/info", "objects/pack", "refs", "refs/heads", "refs/tags", "info")
_SHARED_MODE = 0o2775
"""Of a directory that a group shares: new files in it belong to that group, too (git-init(1), --shared=group)."""


def make_git_dir(path: str, *, shared: bool = False) -> None:
    """Make a git directory with nothing in it; for a thread that may block.

    Args:
        path: where; its parents are made too.
        shared: let the group write to it.

    Raises:
        OSError: the disk refuses, or it is there already.
    """
    for directory in ("", *_DIRECTORIES):
        os.makedirs(os.path.join(path, directory))
        if shared:
            os.chmod(os.path.join(path, directory), _SHARED_MODE)
    for name, text in (("HEAD", "ref: refs/heads/main\n"), ("config", "")):
        _write(path, name, text)
        if shared:
            os.chmod(os.path.join(path, name), 0o664)
    _write(path, "config", _config(path, shared=shared))


def _config(path: str, *, shared: bool) -> str:
    config = os.path.join(path, "config")
    facts = [
        ("repositoryformatversion", "0"),
        ("filemode", _word(_keeps_modes(config))),
        ("bare", "false"),
        ("logallrefupdates", "true"),
    ]
    if not _has_symlinks(os.path.join(path, "link")):
        facts.append(("symlinks", "false"))
    if os.path.exists(os.path.join(path, "CoNfIg")):
        facts.append(("ignorecase", "true"))
    lines = "[core]\n" + "".join(f"\t{name} = {value}\n" for name, value in facts)
    return lines + ("\tsharedrepository = 1\n[receive]\n\tdenyNonFastforwards = true\n" if shared else "")


def _keeps_modes(file: str) -> bool:
    before = os.stat(file).st_mode
    os.chmod(file, before ^ 0o100)
    changed = os.stat(file).st_mode != before
    os.chmod(file, before)
    return changed


def _has_symlinks(link: str) -> bool:
    try:
        os.symlink("nothing", link)
    except OSError:
        return False
    os.unlink(link)
    return True


def _word(truth: bool) -> str:
    return "true" if truth else "false"


def _write(directory: str, name: str, text: str) -> None:
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        file.write(text)
