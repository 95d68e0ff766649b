"""The image that ``python -m tests.image`` built, and a volume for it to get ready."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.image.podman import Podman

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    """The image in podman's storage; whatever container, volume or secret a test leaves is removed in the end."""
    podman = Podman(Path(os.environ["KERUTAPREP_IMAGE_DIR"]))
    yield podman
    podman.remove_leftovers()


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A directory like an emptyDir's: root's own, and anybody may write to it."""
    tmp_path.chmod(0o755)
    directory = tmp_path / "volume"
    directory.mkdir()
    directory.chmod(0o777)
    return directory
