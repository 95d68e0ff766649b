"""Every way to run something in this project: `nox -l` lists them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests"]

SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
PYPROJECT = nox.project.load_toml("pyproject.toml")


def _runs(python: str) -> bool:
    found = shutil.which(python)
    return found is not None and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0


def _present() -> list[str]:
    """Each supported Python on this machine, those that pyenv keeps too."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    if "PYENV_VERSION" not in os.environ and kept.is_dir():
        names = [path.name for version in SUPPORTED for path in sorted(kept.glob(f"{version}.*"))]
        os.environ["PYENV_VERSION"] = ":".join(names)  # without it pyenv's stand-ins for the others refuse to run
    return [version for version in SUPPORTED if _runs(f"python{version}")] or [sys.executable]


PYTHONS = _present()


def _install_wheel(session: nox.Session, *groups: str) -> None:
    """Install the wheel, as users get it, and what the groups name."""
    dependencies = [word for group in groups for word in nox.project.dependency_groups(PYPROJECT, group)]
    session.install(".", *dependencies)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests against the installed wheel; arguments go to pytest."""
    _install_wheel(session, "tests")
    data = Path(session.create_tmp()) / "coverage"
    environment = {"COVERAGE_FILE": str(data), "COVERAGE_PROCESS_START": str(Path("pyproject.toml").absolute())}
    arguments = session.posargs or ["-n", "4"]
    session.run("coverage", "erase", env=environment)
    session.run("coverage", "run", "-m", "pytest", *arguments, env=environment)
    if not session.posargs:
        session.run("coverage", "combine", "--quiet", env=environment)
        session.run("coverage", "report", "--fail-under=90", env=environment)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    for schema in ("vendor.github-workflows", "custom.github-workflows-require-timeout"):
        session.run("check-jsonschema", "--builtin-schema", schema, *map(str, Path(".github/workflows").glob("*.yml")))


@nox.session
def types(session: nox.Session) -> None:
    """Check types, the tests' and the benchmarks' too."""
    _install_wheel(session, "types")
    session.run("mypy", "-p", "kerutaprep")
    session.run("mypy", "tests", "benchmarks", "noxfile.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into site/; a warning, such as a link that leads nowhere, is an error."""
    _install_wheel(session, "docs")
    environment = {"NO_MKDOCS_2_WARNING": "1"}  # an advertisement, not a warning
    session.run("mkdocs", *(session.posargs or ["build", "--strict", "--clean"]), env=environment)


@nox.session
def build(session: nox.Session) -> None:
    """Build wheel and sdist into dist/, and try the wheel as a user would."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "build"))
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", "dist")
    built = sorted(map(str, Path("dist").iterdir()))
    session.run("twine", "check", "--strict", *built)
    fresh = Path(session.create_tmp()).absolute()
    session.run("python", "-m", "venv", "--clear", str(fresh / "venv"))
    (wheel,) = (name for name in built if name.endswith(".whl"))
    session.run(str(fresh / "venv/bin/pip"), "install", "--quiet", wheel, external=True)
    program = str(fresh / "venv/bin/keruta-agent")
    session.run(program, "--version", external=True)
    shutil.rmtree(fresh / "demo", ignore_errors=True)
    session.run(program, "demo", str(fresh / "demo"), external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure; `nox -s bench -- --quick` is CI's short form, `-- --publish` puts the figures into the docs."""
    _install_wheel(session)
    session.run("python", "-m", "compileall", "-q", session.virtualenv.location, silent=True)
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def torture(session: nox.Session) -> None:
    """Kill it, cut its network, fill its disk, hundreds of times; `nox -s torture -- --quick` is the short form."""
    _install_wheel(session, "tests")
    session.run("python", "-m", "tests.torture", *session.posargs)


@nox.session
def image(session: nox.Session) -> None:
    """Build the container image and run it as pods would; root, and Debian's podman, are needed."""
    _install_wheel(session, "tests")
    place = session.cache_dir.absolute() / "image"
    session.run("python", "-m", "tests.image", str(place))
    session.run("pytest", "tests/image", *session.posargs, env={"KERUTAPREP_IMAGE_DIR": str(place)})


@nox.session
def demo(session: nox.Session) -> None:
    """Run the main job on an embedded API and git server; at a terminal it is shown live."""
    session.install(".[terminal]")
    session.run("keruta-agent", "demo", *session.posargs)
