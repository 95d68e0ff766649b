"""What is served and must arrive: repositories, documents and the install script, the same bytes in every run."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TASK, NO_SCRIPT = "task", "no-script"
"""Repository ids of the API: one with an install script, one without."""
DOCUMENT_ID, WIDE_ID, HUGE_ID = "document", "wide", "huge"
DOCUMENT = b"# The task\n\n" + b"Make the shop's basket remember what was put into it.\n" * 1000
WIDE = b"A line of a document that takes a while on a narrow link.\n" * 150_000
HUGE_BYTES = 1024**3
INSTALL_SECONDS = 0.1
SCRIPT = f"#!/bin/sh\nset -e\ntest -f README.md\nsleep {INSTALL_SECONDS}\necho done > .keruta/installed\n".encode()
"""Fails without the clone, and leaves a mark where git does not look."""
_MANY, _SMALLEST, _LARGEST = 1000, 1024, 100 * 1024
_MIDSIZE_PACKAGES, _MIDSIZE_MODULES = 106, 100


@dataclass(frozen=True)
class Repository:
    """A repository with one commit."""

    name: str
    title: str
    files: Mapping[str, str]


@cache
def small() -> Repository:
    """200 files, 130 KB."""
    files = {f"src/part_{number:03}.py": f"PART = {number}\n" * 50 for number in range(199)}
    return Repository("small", "200 files", {"README.md": "# A shop\n", **files})


@cache
def midsize() -> Repository:
    """10,600 files of 200 bytes to 6 KB, 30 MB together: about what a product of some years has."""
    draw = random.Random(1)  # noqa: S311 - text, the same each time
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz_", k=draw.randint(2, 12))) for _ in range(5000)]
    lines = [" ".join(draw.choices(words, k=draw.randint(2, 9))) + "\n" for _ in range(20_000)]
    files = {"README.md": "# A large shop\n"}
    for number in range(_MIDSIZE_PACKAGES * _MIDSIZE_MODULES - 1):
        package, module = divmod(number, _MIDSIZE_MODULES)
        files[f"src/package_{package:03}/module_{module:02}.py"] = "".join(draw.choices(lines, k=draw.randint(5, 110)))
    return Repository("midsize", "10,600 files", files)


@cache
def many_documents() -> Mapping[str, bytes]:
    """1,000 documents of 1 to 100 KiB by id."""
    draw = random.Random(2)  # noqa: S311 - bytes, the same each time
    return {f"part-{number:04}": draw.randbytes(draw.randint(_SMALLEST, _LARGEST)) for number in range(_MANY)}
