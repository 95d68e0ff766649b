"""A base image without a registry: this machine's Debian release, bootstrapped from this machine's own mirrors."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.image.podman import Podman

_PACKAGES = "ca-certificates,python3,python3-venv"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UNNEEDED = ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists", "var/log")
"""Emptied, as slim images have them."""


class _Source(NamedTuple):
    """One line of a sources.list(5)."""

    url: str
    release: str
    component: str

    def __str__(self) -> str:
        return f"deb {self.url} {self.release} {self.component}\n"


def base_image(podman: Podman) -> str:
    """The name of the base image: the one that the environment names, else one that is made where it is not there."""
    given = os.environ.get("KERUTAPREP_IMAGE_BASE")
    if given:
        podman.do("pull", "--quiet", given, seconds=600)
        return given
    sources = [source for source in _sources() if source.component == "main"]
    release = next((source for source in sources if "-" not in source.release), None)
    if release is None:
        raise SystemExit("no Debian release among this machine's apt sources: name a base by KERUTAPREP_IMAGE_BASE")
    settings = _apt_settings()
    recipe = "".join(map(str, sources)) + settings + _PACKAGES
    name = f"localhost/base:{release.release}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if not podman.succeeds("image", "exists", name):
        with tempfile.TemporaryDirectory(dir=podman.directory) as place:
            root = Path(place, "root")
            _bootstrap(root, release)
            (root / "etc/apt/sources.list").write_text("".join(map(str, sources)))
            (root / "etc/apt/apt.conf.d/90machine").write_text(settings)
            _import(podman, root, name)
    return name


def _sources() -> Iterator[_Source]:
    """Debian's own among the machine's apt sources, as apt-get(8) itself reads them."""
    line_form = "$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)"
    for line in dict.fromkeys(_output("apt-get", "indextargets", "--format", line_form, "Created-By: Packages")):
        origin, *source = line.split("|")
        if origin == "Debian":
            yield _Source(*source)


def _apt_settings() -> str:
    """How the machine reaches its mirrors, proxies among it."""
    names = ("Acquire::http", "Acquire::https", "Acquire::Check-Valid-Until", "Acquire::Check-Date")
    return "".join(f"{line}\n" for name in names for line in _output("apt-config", "dump", name))


def _output(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


def _bootstrap(root: Path, source: _Source) -> None:
    options = ["--variant=minbase", f"--include={_PACKAGES}"]
    command = ["debootstrap", *options, source.release, str(root), source.url]
    subprocess.run(command, check=True, timeout=900, stdout=subprocess.DEVNULL)
    for directory in _UNNEEDED:
        for entry in (root / directory).iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _import(podman: Podman, root: Path, name: str) -> None:
    archive = root.parent / "root.tar"
    subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True, timeout=300)
    podman.do("import", "--quiet", "--change", f"ENV {_PATH}", str(archive), name, seconds=300)
