"""Build the image as a user would, on a base that needs no registry: ``python -m tests.image DIRECTORY``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.image.base import base_image
from tests.image.podman import IMAGE, Podman

_TOOLS = {
    "podman": "podman",
    "buildah": "buildah",
    "runc": "runc",
    "debootstrap": "debootstrap",
    "catatonit": "catatonit",
}
"""Commands, and the Debian packages that have them."""
_PIP_CONF = "[global]\nno-index = true\nfind-links = /wheels\n"


def main(directory: Path) -> None:
    """Build the image; what was built before is reused where nothing it is made from has changed."""
    missing = [package for command, package in _TOOLS.items() if shutil.which(command) is None]
    if missing or os.geteuid() != 0:
        raise SystemExit(f"building and running images takes root and: apt-get install {' '.join(_TOOLS.values())}")
    podman = Podman(directory)
    podman.remove_leftovers()
    base = base_image(podman)
    (directory / "base").write_text(base)
    wheels = _download_wheels(podman, base)
    _build(podman, base, wheels)
    podman.do("image", "prune", "--force", seconds=120)
    sizes = [int(podman.do("image", "inspect", "--format={{.Size}}", image)) for image in (IMAGE, base)]
    sys.stdout.write("the image has {:.0f} MB, its base {:.0f} MB of them\n".format(*(size / 1e6 for size in sizes)))


def _download_wheels(podman: Podman, base: str) -> Path:
    """Get what pip needs in the image, by this machine's own configuration of pip; the build itself needs no index."""
    place = podman.directory / "wheels"
    shutil.rmtree(place, ignore_errors=True)
    say_version = "import sys; print('%d.%d' % sys.version_info[:2])"
    version = podman.do("run", "--rm", base, "python3", "-c", say_version).strip()
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    options = ["--quiet", "--only-binary=:all:", f"--python-version={version}", f"--dest={place}"]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, *wanted], check=True, timeout=300)
    return place


def _build(podman: Podman, base: str, wheels: Path) -> None:
    pip_conf = podman.directory / "pip.conf"
    pip_conf.write_text(_PIP_CONF)
    given = [f"--build-arg=BASE={base}", f"--secret=id=pip.conf,src={pip_conf}", f"--volume={wheels}:/wheels:ro"]
    podman.do("build", "--quiet", *given, f"--tag={IMAGE}", ".", seconds=900)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
